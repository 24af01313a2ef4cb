"""Inception v3 as TensorFlow's graph of 2015-12-05 has it (Szegedy et al. 2015, arXiv:1512.00567), and how FID shows it images.

Modules have the names of the PyTorch conversions, so their weights load here. BatchNorm is folded into the convolutions.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

import ganzoo
from ganzoo import DataSpec, ExtractorContext, GanzooError, UsageError
from ganzoo_inception import InceptionOptions

NAME = "inception2015"
URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
CARD = Path(__file__).with_name("README.md")
STATISTICS = ("weight", "bias", "running_mean", "running_var")


class Conv(nn.Module):
    """A convolution with its BatchNorm in it, and a ReLU."""

    def __init__(self, n_in: int, n_out: int, kernel: int | tuple[int, int], stride: int = 1, border: int | tuple[int, int] = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, kernel, stride, border)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).relu_()


class Mixed(nn.Module):
    """Branches side by side, their outputs one after the other.

    A branch is a chain of steps: "pool", or a convolution as `name:channels`, which is 1 x 1, `name:channels:1x7`, which keeps the
    size, or `name:channels:3x3/2`, which has stride 2 and no border; or two of them on the same input, with + between them.
    """

    def __init__(self, branches: Sequence[str], n_in: int, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool
        self.chains = [[step.split("+") for step in re.sub(r":[^ +]*", "", branch).split()] for branch in branches]
        for branch in branches:
            n = n_in
            for step in branch.replace("pool ", "").split():
                made = 0
                for name, out, height, width, halves in re.findall(r"(\w+):(\d+)(?::(\d)x(\d))?(/2)?", step):
                    h, w = int(height or 1), int(width or 1)
                    self.add_module(name, Conv(n, int(out), (h, w), 2) if halves else Conv(n, int(out), (h, w), 1, (h // 2, w // 2)))
                    made += int(out)
                n = made

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for chain in self.chains:
            y = x
            for names in chain:
                y = torch.cat([self.get_submodule(name)(y) for name in names], 1) if names[1:] else self.get_submodule(names[0])(y)
            outputs.append(y)
        return torch.cat(outputs, 1)


# Figures 5, 10, 6, -, 7 of the paper: at 35 x 35, to 17 x 17, at 17 x 17, to 8 x 8, at 8 x 8.
DOUBLE = "branch3x3dbl_1:64 branch3x3dbl_2:96:3x3 branch3x3dbl_3:96:3x3"
A = ("branch1x1:64", "branch5x5_1:48 branch5x5_2:64:5x5", DOUBLE, "pool branch_pool:{n}")
B = ("branch3x3:384:3x3/2", f"{DOUBLE}/2", "pool")
C = (
    "branch1x1:192", "branch7x7_1:{n} branch7x7_2:{n}:1x7 branch7x7_3:192:7x1",
    "branch7x7dbl_1:{n} branch7x7dbl_2:{n}:7x1 branch7x7dbl_3:{n}:1x7 branch7x7dbl_4:{n}:7x1 branch7x7dbl_5:192:1x7",
    "pool branch_pool:192",
)  # fmt: skip
LONG = "branch7x7x3_1:192 branch7x7x3_2:192:1x7 branch7x7x3_3:192:7x1 branch7x7x3_4:192:3x3/2"
D = ("branch3x3_1:192 branch3x3_2:320:3x3/2", LONG, "pool")
E = (
    "branch1x1:320", "branch3x3_1:384 branch3x3_2a:384:1x3+branch3x3_2b:384:3x1",
    "branch3x3dbl_1:448 branch3x3dbl_2:384:3x3 branch3x3dbl_3a:384:1x3+branch3x3dbl_3b:384:3x1", "pool branch_pool:192",
)  # fmt: skip


def network(layer: str) -> nn.Sequential:
    """The network up to a layer, as shapes: it holds no numbers yet, and no random ones are drawn."""

    def mixed(branches: Sequence[str], n_in: int, n: int = 0) -> Mixed:
        # TensorFlow's average leaves the border out.
        pool = nn.MaxPool2d(3, 2) if "pool" in branches else nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        return Mixed([branch.format(n=n) for branch in branches], n_in, pool)

    with torch.device("meta"):
        parts: list[tuple[str, nn.Module]] = [
            ("Conv2d_1a_3x3", Conv(3, 32, 3, 2)), ("Conv2d_2a_3x3", Conv(32, 32, 3)), ("Conv2d_2b_3x3", Conv(32, 64, 3, 1, 1)),
            ("64", nn.MaxPool2d(3, 2)),
            ("Conv2d_3b_1x1", Conv(64, 80, 1)), ("Conv2d_4a_3x3", Conv(80, 192, 3)), ("192", nn.MaxPool2d(3, 2)),
            ("Mixed_5b", mixed(A, 192, 32)), ("Mixed_5c", mixed(A, 256, 64)), ("Mixed_5d", mixed(A, 288, 64)), ("Mixed_6a", mixed(B, 288)),
            ("Mixed_6b", mixed(C, 768, 128)), ("Mixed_6c", mixed(C, 768, 160)), ("Mixed_6d", mixed(C, 768, 160)),
            ("Mixed_6e", mixed(C, 768, 192)), ("768", nn.Identity()),
            # The last block takes the maximum, where the paper has the average: so does the graph that FID is defined by.
            ("Mixed_7a", mixed(D, 768)), ("Mixed_7b", mixed(E, 1280)), ("Mixed_7c", Mixed(E, 2048, nn.MaxPool2d(3, 1, 1))),
            ("2048", nn.Identity()),
        ]  # fmt: skip
    names = [name for name, _ in parts]
    return nn.Sequential(OrderedDict(parts[: names.index(layer if layer in names else "2048") + 1]))


def resized(x: Tensor, size: int = 299) -> Tensor:
    """(N, C, H, W) to (N, C, size, size) as TensorFlow 1 does, bit for bit: bilinear, pixel i from place i * H / size, not smoothed."""

    def places(n: int) -> tuple[Tensor, Tensor, Tensor]:
        place = torch.arange(size, dtype=torch.float32, device=x.device) * torch.tensor(n / size, dtype=torch.float32)
        low = place.long()
        return low, (low + 1).clamp_max(n - 1), place - low.float()

    low, high, part = places(x.shape[3])
    left = x[..., low]
    x = left + (x[..., high] - left) * part
    low, high, part = places(x.shape[2])
    top = x[:, :, low]
    return top + (x[:, :, high] - top) * part[:, None]


def shown(x: Tensor) -> Tensor:
    """uint8 images (N, 1 or 3, H, W) as the network sees them: float32 (N, 3, 299, 299) in [-1, 1), grey ones as three equal colours."""
    return ((resized(x.float()) - 128) / 128).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


class Weights:
    """A safetensors file with the weights, in fp32 or less: convolutions with a bias, or with the BatchNorm that follows them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.tensors = load_file(path)
        except (SafetensorError, OSError) as error:
            hint = f"ganzoo reads no pickle; {CARD} says how to convert one." if path.suffix in (".pth", ".pt") else "Get it again."
            raise GanzooError(f"{path} is not a whole safetensors file ({error}). {hint}") from error

    def layers(self) -> list[str]:
        """The layers whose weights are all there."""
        held: list[str] = []
        for name, module in network("2048").named_modules():
            if isinstance(module, Conv):
                whole = f"{name}.conv.bias" in self.tensors or all(f"{name}.bn.{part}" in self.tensors for part in STATISTICS)
                if not (whole and f"{name}.conv.weight" in self.tensors):
                    return held
            held += [name] if name.isdecimal() else []
        heads = {"logits_unbiased": {"fc.weight"}, "logits": {"fc.weight", "fc.bias"}}
        return held + [name for name, keys in heads.items() if keys <= set(self.tensors)]

    def fill(self, net: nn.Module) -> None:
        """Put the weights into the network, in fp32."""
        state: dict[str, Tensor] = {}
        try:
            for name in [name for name, module in net.named_modules() if isinstance(module, Conv)]:
                state[f"{name}.conv.weight"], state[f"{name}.conv.bias"] = (tensor.float() for tensor in self.folded(name))
            net.load_state_dict(state, assign=True)
        except RuntimeError as error:
            raise GanzooError(f"{self.path} holds another network: {str(error).splitlines()[-1].strip()}") from error

    def folded(self, name: str) -> tuple[Tensor, Tensor]:
        """Weight and bias of a convolution and its BatchNorm, gamma (w x + b - mean) / sqrt(var + 0.001) + beta, in float64."""
        weight = self[f"{name}.conv.weight"]
        bias = self[f"{name}.conv.bias"] if f"{name}.conv.bias" in self.tensors else torch.zeros(len(weight)).double()
        if f"{name}.bn.running_var" not in self.tensors:
            return weight, bias
        gamma, beta, mean, var = (self[f"{name}.bn.{part}"] for part in STATISTICS)
        scale = gamma / (var + 1e-3).sqrt()
        return weight * scale.view(-1, 1, 1, 1), (bias - mean) * scale + beta

    def __getitem__(self, key: str) -> Tensor:
        if not bool((tensor := self.tensors[key].double()).isfinite().all()):
            raise GanzooError(f"{self.path}: {key} holds what is no finite number. Get the file again.")
        return tensor


class Inception(ganzoo.FeatureExtractor):
    """Features of one layer, averaged over the image, and logits: without their bias, as the Inception Score takes them."""

    options: InceptionOptions
    fc_weight: Tensor | None
    fc_bias: Tensor | None

    def __init__(self, spec: DataSpec, options: InceptionOptions, context: ExtractorContext) -> None:
        super().__init__(spec, options, context)
        self.layer, self.net = context.layer, network(context.layer)
        found = self._found()
        found.fill(self.net)
        classifies = self.layer not in ("64", "192", "768") and "fc.weight" in found.tensors
        self.register_buffer("fc_weight", found["fc.weight"].float() if classifies else None)
        self.register_buffer("fc_bias", found["fc.bias"].float() if self.layer == "logits" else None)
        if self.fc_weight is not None and self.fc_weight.shape != (1008, 2048):
            raise GanzooError(f"{found.path}: wanted fc.weight of 1008 x 2048, got {tuple(self.fc_weight.shape)}.")
        with open(found.path, "rb") as file:
            self.weights_hash = hashlib.file_digest(file, "sha256").hexdigest()
        at = "" if self.layer == "2048" else f"@{self.layer}"
        score = {"inception-score": "IS"} if classifies and self.fc_bias is None else {}
        self.figure_names = {"fid": f"FID{at}", "kid": f"KID{at}"} | score
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    def _found(self) -> Weights:
        """The file that was named, or the first one that holds the layer."""
        if named := self.options.weights:
            path = Path(named).expanduser()
            if not path.is_file():
                raise UsageError(f"--{NAME}.weights {named}: there is no such file.")
            files = [path]
        else:
            data = self.context.data_dir
            homes = [data, data / "inception", self.context.cache]
            files = [home / f"{NAME}.safetensors" for home in homes if (home / f"{NAME}.safetensors").is_file()]
            files += [file for home in homes for file in sorted(home.glob(f"{NAME}*.safetensors")) if file not in files]
            if not files:
                raise GanzooError(
                    f"{NAME}.safetensors, the weights of Inception, is needed and is in none of {', '.join(map(str, homes))}. "
                    f"They are published as a pickle, which ganzoo does not read: get {URL} (its SHA-256 begins with 6726825d), "
                    f"convert it with the three lines in {CARD}, and put {NAME}.safetensors in {homes[0]}, or name it with "
                    f"--{NAME}.weights. Without it: --features classifier for labelled images, or pixels."
                )
        found = [Weights(file) for file in files]
        for one in found:
            if self.layer in one.layers():
                return one
        held = found[0].layers()
        there = f"holds the network up to {held[-1]}; layers {', '.join(held)} can be had" if held else "holds no layer of this network"
        hint = f", as in --features {NAME}@{held[-1]}" if held else ""
        raise UsageError(
            f"{NAME}: layer {self.layer} needs weights that are missing: {found[0].path} {there}{hint}. {CARD} says how to get them all."
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        with ganzoo.full_precision(x):
            features = self.net(shown(x)).mean((2, 3))
            if self.fc_weight is None:
                return features, None
            logits = features @ self.fc_weight.T + (0 if self.fc_bias is None else self.fc_bias)
            return (logits if self.layer.startswith("logits") else features), logits

    def protocol(self) -> dict[str, Any]:
        return {"resize": "bilinear to 299 as in TensorFlow 1"}
