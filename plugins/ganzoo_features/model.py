"""Pixels; a classifier of the data's own labels; DINOv2 (Oquab et al. 2023, arXiv:2304.07193)."""

from __future__ import annotations

import hashlib
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
from ganzoo_features import ClassifierOptions, DinoOptions


class Pixels(ganzoo.FeatureExtractor):
    """Pixels in [0, 1], one after the other; a point's coordinates."""

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return x.flatten(1).float() / (255 if x.dtype == torch.uint8 else 1), None


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """The processor's generator starts from the seed, and is put back afterwards: nobody else's draws change."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums are taken in one order, whatever the number of threads: the same weights come out of the same data on this machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A file beside it that may be filled, and takes its place when that went well."""
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        yield part
        os.replace(part, path)
    except OSError as error:
        raise GanzooError(f"{path} cannot be written ({error.strerror or error}). Name another cache with GANZOO_CACHE.") from error
    finally:
        with suppress(OSError):
            part.unlink()


def network(shape: tuple[int, ...], classes: int, width: int) -> tuple[nn.Sequential, nn.Linear]:
    """Images (N, C, H, W) in [-1, 1] to features (N, 128), and those to logits.

    The first convolution takes images of more than 32 pixels down to about that size, so that they cost about as much as small ones.
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
    """A small convolutional network that learns the labels of the data, once; then it lies in the cache.

    A tenth of the images, always the same ones, is kept out of the training: `accuracy` is the share of them that it gets right.
    """

    options: ClassifierOptions
    EDITION = 1  # raised when the same data and options give another network than before

    def __init__(self, spec: DataSpec, options: ClassifierOptions, context: ExtractorContext) -> None:
        super().__init__(spec, options, context)
        if not spec.classes:
            raise UsageError(
                "--features classifier: it learns the data's labels, and this data has none. Take --features inception2015 or pixels, "
                "or give it labels: a folder a class, an array 'y', or --labels for CelebA."
            )
        if min(spec.shape[1:]) < 8:
            raise UsageError(f"--features classifier: wanted images of 8 pixels or more, got {spec.shape[1]} x {spec.shape[2]}.")
        data = context.training()
        if not data.spec.classes:
            raise UsageError(f"--features classifier: it learns the labels of {data.name}, which has none. Take inception2015 or pixels.")
        told = repr((self.EDITION, data.checksum, data.spec.shape, data.spec.classes, sorted(asdict(options).items())))
        path = context.cache / f"classifier-{data.name}-{hashlib.sha256(told.encode()).hexdigest()[:16]}.safetensors"
        self.figure_names, self.channels = {"fid": "cFID", "kid": "cKID"}, data.spec.shape[0]
        with own_randomness(0):
            self.trunk, self.head = network(data.spec.shape, data.spec.classes, options.width)
            self.to(memory_format=torch.channels_last)
            if not self._cached(path):
                tensors = data.load()
                with written(path) as part, one_thread(), torch.enable_grad():
                    self.fit(tensors["x"], tensors["y"])
                    state = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
                    self.weights_hash = hash_of(state)
                    part.write_bytes(save(state, {"weights": self.weights_hash, "accuracy": repr(self.accuracy)}))
        self.context.progress(f"the classifier gets {self.accuracy:.1%} of held-out images right", 1, 1)
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with ganzoo.full_precision(x):
            x = (x.float() / 127.5 - 1).expand(-1, self.channels if x.shape[1] == 1 else -1, -1, -1)
            features = self.trunk(x.contiguous(memory_format=torch.channels_last))
            return features, self.head(features)

    def fit(self, x: Tensor, y: Tensor) -> None:
        """Learn with Adam; its rate rises to the highest in the first fifth of the steps and falls to 0. x: uint8 (N, C, H, W)."""
        order = torch.randperm(len(x))
        held_out, learnt = order[: max(1, len(x) // 10)], order[max(1, len(x) // 10) :]
        if len(learnt) < 2:
            raise GanzooError(f"--features classifier: {len(x)} images are too few to learn from. Take inception2015 or pixels.")
        size = min(self.options.batch_size, len(learnt))
        each = len(learnt) // size  # steps a pass; those few that fill no batch are others in the next pass
        steps = max(self.options.epochs * each, self.options.min_steps)
        optimiser = torch.optim.Adam(self.parameters(), fused=True)
        self.train()
        for t in range(steps):
            if t % each == 0:
                learnt = learnt[torch.randperm(len(learnt))]
            place = learnt[t % each * size :][:size]
            ganzoo.set_lr(optimiser, self.options.lr * min((t + 1) / (0.2 * steps), (steps - t) / (0.8 * steps)))
            ganzoo.update((optimiser, {"class": F.cross_entropy(self(x[place])[1], y[place])}))
            if t % 20 == 0:
                self.context.progress("training the classifier", t, steps)
        self.eval()
        with torch.no_grad():
            right = sum(int((self(x[place])[1].argmax(1) == y[place]).sum()) for place in held_out.split(500))
        self.accuracy = right / len(held_out)

    def _cached(self, path: Path) -> bool:
        """Take the weights from the file, if it is whole."""
        try:
            with safe_open(path, "pt") as file:
                told = file.metadata() or {}
            state = load_file(path)
        except (OSError, SafetensorError):
            return False
        self.weights_hash, self.accuracy = hash_of(state), float(told.get("accuracy", 0))
        if self.weights_hash != told.get("weights"):
            return False
        self.load_state_dict(state)
        return True


def hash_of(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of the numbers and their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


class DinoV2(ganzoo.FeatureExtractor):
    """The class token (N, 384) of ViT-S/14."""

    options: DinoOptions
    net: Any
    MODEL = "vit_small_patch14_dinov2"
    FILE = "vit_small_patch14_dinov2.lvd142m.safetensors"
    SOURCE = "https://huggingface.co/timm/vit_small_patch14_dinov2.lvd142m (model.safetensors)"
    SIZE = 224
    MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels

    def __init__(self, spec: DataSpec, options: DinoOptions, context: ExtractorContext) -> None:
        super().__init__(spec, options, context)
        try:
            import timm
            from timm.layers.pos_embed import resample_abs_pos_embed
        except ImportError as error:
            raise UsageError("--features dinov2 needs timm, which is not here: pip install 'pyganzoo[dinov2]'.") from error
        path = self._found()
        with own_randomness(0):
            self.net = timm.create_model(self.MODEL, pretrained=False, img_size=self.SIZE, num_classes=0)
        try:
            state = {name: tensor.float() for name, tensor in load_file(path).items()}
            if state["pos_embed"].shape != self.net.pos_embed.shape:  # it was trained on 518 pixels
                state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], list(self.net.patch_embed.grid_size), verbose=False)
            self.net.load_state_dict(state)
        except (SafetensorError, OSError, KeyError, RuntimeError, AssertionError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[-1].strip()
            raise GanzooError(f"{path} does not hold the weights of {self.MODEL} ({reason}). Get it again from {self.SOURCE}.") from error
        self.weights_hash = hash_of(state)
        self.figure_names = {"fid": "FD-DINOv2 (ViT-S)"}
        self.requires_grad_(False).eval()

    def _found(self) -> Path:
        if named := self.options.weights:
            if not Path(named).expanduser().is_file():
                raise UsageError(f"--dinov2.weights {named}: there is no such file.")
            return Path(named).expanduser()
        data = self.context.data_dir
        homes = [data, data / "dinov2", self.context.cache]
        for home in homes:
            if (home / self.FILE).is_file():
                return home / self.FILE
        raise GanzooError(
            f"{self.FILE}, the weights of DINOv2, is needed and is in none of {', '.join(map(str, homes))}. Get {self.SOURCE} and put it "
            f"there by that name, or name the file with --dinov2.weights."
        )

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        with ganzoo.full_precision(x):
            x = F.interpolate(x.float(), (self.SIZE, self.SIZE), mode="bicubic", antialias=True).round_().clamp_(0, 255)
            mean, deviation = (x.new_tensor(values).view(1, 3, 1, 1) for values in (self.MEAN, self.DEVIATION))
            return self.net((x / 255 - mean) / deviation), None  # grey images become three equal colours here

    def protocol(self) -> dict[str, Any]:
        return {"resize": f"bicubic, antialiased, to {self.SIZE}"}
