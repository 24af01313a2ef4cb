"""Pixels; a classifier trained on the data's own labels."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

import ganzoo
from ganzoo import DataSpec, ExtractorContext, GanzooError, UsageError
from ganzoo_features import ClassifierOptions


class Pixels(ganzoo.FeatureExtractor):
    """Flattened pixels in [0, 1], (N, C * H * W), or the coordinates of other data, as its medium has them, (N, D).

    Images are averaged over the smallest windows that leave at most `MOST` numbers: a Fréchet distance takes time by their cube.
    """

    MOST = 1024  # window: pixels a side that are averaged

    @property
    def window(self) -> int:
        w, (channels, *sides) = 1, self.spec.shape if self.spec.kind == "image" else (0,)
        while channels * math.prod(-(-side // w) for side in sides) > self.MOST:
            w += 1
        return w

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        if self.window > 1:
            return F.avg_pool2d(x.float() / 255, self.window, ceil_mode=True).flatten(1), None
        return ganzoo.medium(self.spec.kind).coordinates(x, self.spec.x) / (255 if x.dtype == torch.uint8 else 1), None

    def protocol(self) -> dict[str, Any]:
        return {"resize": f"means of {self.window} x {self.window} pixels"} if self.window > 1 else {}


@contextmanager
def local_seed(seed: int) -> Iterator[None]:
    """Seeds torch's CPU generator and restores its state afterwards, so that no other random draws change."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def single_thread() -> Iterator[None]:
    """Runs torch on one thread. Sums are then always taken in the same order, so the same data gives the same weights on this machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary file in the same folder, which replaces `path` on success. Raises GanzooError if it cannot be written."""
    temporary = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise GanzooError(f"{path} cannot be written ({error.strerror or error}). Name another cache with GANZOO_CACHE.") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def network(shape: tuple[int, ...], classes: int, width: int) -> tuple[nn.Sequential, nn.Linear]:
    """The trunk, from images (N, C, H, W) in [-1, 1] to features (N, 128), and the head, from features to logits (N, classes).

    The first convolution reduces images of more than 32 pixels to about 32, so that they cost about as much as small ones.
    """
    stride = max(1, round(min(shape[1:]) / 32))

    trunk = nn.Sequential(
        nn.Conv2d(shape[0], width, 2 * stride + 1, stride, stride, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.Conv2d(2 * width, 2 * width, 3, 1, 1, bias=False), nn.AdaptiveMaxPool2d(4), nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * width, 128), nn.ReLU(),
    )  # fmt: skip
    return trunk, nn.Linear(128, classes)


class Classifier(ganzoo.FeatureExtractor):
    """A small convolutional network that is trained once on the labels of the data, then kept in the cache.

    A tenth of the images, always the same ones, is held out of the training; `accuracy` is the fraction of them that it classifies
    correctly. Raises UsageError if the data has no labels or its images are smaller than 8 pixels, GanzooError if there are too few images.
    """

    options: ClassifierOptions
    EDITION = 1  # raised when the same data and options give a different network than before

    def __init__(self, spec: DataSpec, options: ClassifierOptions, context: ExtractorContext) -> None:
        super().__init__(spec, options, context)
        if not spec.classes:
            raise UsageError(
                "--features classifier: it learns the data's labels, but this data has none. Take --features random or inception2015, "
                "or add labels: one folder per class, an array 'y', or --labels for CelebA."
            )
        if min(spec.shape[1:]) < 8:
            raise UsageError(f"--features classifier: wanted images of 8 pixels or more, got {spec.shape[1]} x {spec.shape[2]}.")
        data = context.training()
        if not data.spec.classes:
            raise UsageError(f"--features classifier: it learns the labels of {data.name}, which has none. Take random or inception2015.")
        key = repr((self.EDITION, data.checksum, data.spec.shape, data.spec.classes, sorted(asdict(options).items())))
        path = context.cache / f"classifier-{data.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.safetensors"
        self.figure_names, self.channels = {"fid": "cFID", "kid": "cKID"}, data.spec.shape[0]
        with local_seed(0):
            self.trunk, self.head = network(data.spec.shape, data.spec.classes, options.width)
            self.to(memory_format=torch.channels_last)
            if not self._load_cached(path):
                tensors = data.load()
                with atomic_write(path) as file, single_thread(), torch.enable_grad():
                    self.fit(tensors["x"], tensors["y"])
                    state = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
                    self.weights_hash = hash_of(state)
                    file.write_bytes(save(state, {"weights": self.weights_hash, "accuracy": repr(self.accuracy)}))
        self.context.progress(f"the classifier gets {self.accuracy:.1%} of held-out images right", 1, 1)
        counts = data.load()["y"].bincount(minlength=2).double()
        chance, held_out = float(counts.max() / counts.sum()), max(1, int(counts.sum()) // 10)
        margin = 2 * (chance * (1 - chance) / held_out) ** 0.5  # two standard errors
        if held_out < 30:
            self.note = f"The classifier was judged on {held_out} images only: nobody knows what its features are worth."
        elif spec.classes > 1 and self.accuracy <= chance + margin:
            self.worthless = (
                f"the classifier is at chance. It gets {self.accuracy:.1%} of held-out images right, and the most frequent class alone is "
                f"{chance:.1%}: these labels cannot be told from these images, so its features mean nothing. Take --features random."
            )
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with ganzoo.full_precision(x):
            x = (x.float() / 127.5 - 1).expand(-1, self.channels if x.shape[1] == 1 else -1, -1, -1)
            features = self.trunk(x.contiguous(memory_format=torch.channels_last))
            return features, self.head(features)

    def fit(self, x: Tensor, y: Tensor) -> None:
        """Train with Adam; its learning rate rises to the peak in the first fifth of the steps, then falls to 0.

        x: uint8 (N, C, H, W). y: (N,) int64. Raises GanzooError if there are too few images.
        """
        order = torch.randperm(len(x))
        held_out, training = order[: max(1, len(x) // 10)], order[max(1, len(x) // 10) :]
        if len(training) < 2:
            raise GanzooError(f"--features classifier: {len(x)} images are too few to learn from. Take random or pixels.")
        batch_size = min(self.options.batch_size, len(training))
        steps_per_epoch = len(training) // batch_size  # steps per pass; the few images that fill no batch are different ones in each pass
        steps = max(self.options.epochs * steps_per_epoch, self.options.min_steps)
        optimiser = torch.optim.Adam(self.parameters(), fused=True)
        self.train()
        for t in range(steps):
            if t % steps_per_epoch == 0:
                training = training[torch.randperm(len(training))]
            batch = training[t % steps_per_epoch * batch_size :][:batch_size]
            ganzoo.set_lr(optimiser, self.options.lr * min((t + 1) / (0.2 * steps), (steps - t) / (0.8 * steps)))
            ganzoo.update((optimiser, {"class": F.cross_entropy(self(x[batch])[1], y[batch])}))
            if t % 20 == 0:
                self.context.progress("training the classifier", t, steps)
        self.eval()
        with torch.no_grad():
            correct = sum(int((self(x[batch])[1].argmax(1) == y[batch]).sum()) for batch in held_out.split(500))
        self.accuracy = correct / len(held_out)

    def _load_cached(self, path: Path) -> bool:
        """Load the weights from the cached file. Returns False if it is missing or damaged."""
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
            state = load_file(path)
        except (OSError, SafetensorError):
            return False
        self.weights_hash, self.accuracy = hash_of(state), float(metadata.get("accuracy", 0))
        if self.weights_hash != metadata.get("weights"):
            return False
        self.load_state_dict(state)
        return True


def hash_of(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of the tensors' names and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
