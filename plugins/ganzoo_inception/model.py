"""Inception v3 as in TensorFlow's graph of 2015-12-05 (Szegedy et al. 2015, arXiv:1512.00567), with FID's preprocessing of images.

Modules have the same names as in the PyTorch conversions, so their weights load here. BatchNorm is folded into the convolutions.
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
    """A convolution with its BatchNorm folded in, then a ReLU."""

    def __init__(self, c_in: int, c_out: int, kernel: int | tuple[int, int], stride: int = 1, padding: int | tuple[int, int] = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).relu_()


class Mixed(nn.Module):
    """Parallel branches whose outputs are concatenated along the channels.

    A branch is a chain of steps. A step is "pool" or a convolution: `name:channels` is 1 x 1, `name:channels:1x7` keeps the size, and
    `name:channels:3x3/2` has stride 2 and no padding. Two convolutions joined by + take the same input.
    """

    def __init__(self, branches: Sequence[str], c_in: int, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool
        self.chains = [[step.split("+") for step in re.sub(r":[^ +]*", "", branch).split()] for branch in branches]
        for branch in branches:
            c = c_in
            for step in branch.replace("pool ", "").split():
                c_step = 0
                for name, c_out, height, width, stride_2 in re.findall(r"(\w+):(\d+)(?::(\d)x(\d))?(/2)?", step):
                    h, w = int(height or 1), int(width or 1)
                    conv = Conv(c, int(c_out), (h, w), 2) if stride_2 else Conv(c, int(c_out), (h, w), 1, (h // 2, w // 2))
                    self.add_module(name, conv)
                    c_step += int(c_out)
                c = c_step

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for chain in self.chains:
            y = x
            for names in chain:
                y = torch.cat([self.get_submodule(name)(y) for name in names], 1) if names[1:] else self.get_submodule(names[0])(y)
            outputs.append(y)
        return torch.cat(outputs, 1)


# A to E are figures 5, 10, 6, -, 7 of the paper: blocks at 35 x 35, to 17 x 17, at 17 x 17, to 8 x 8, and at 8 x 8.
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
    """The network up to a layer, on the meta device: parameters have shapes but no values, and no random numbers are drawn."""

    def mixed(branches: Sequence[str], c_in: int, n: int = 0) -> Mixed:
        # TensorFlow's average pool does not count the padding.
        pool = nn.MaxPool2d(3, 2) if "pool" in branches else nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        return Mixed([branch.format(n=n) for branch in branches], c_in, pool)

    with torch.device("meta"):
        parts: list[tuple[str, nn.Module]] = [
            ("Conv2d_1a_3x3", Conv(3, 32, 3, 2)), ("Conv2d_2a_3x3", Conv(32, 32, 3)), ("Conv2d_2b_3x3", Conv(32, 64, 3, 1, 1)),
            ("64", nn.MaxPool2d(3, 2)),
            ("Conv2d_3b_1x1", Conv(64, 80, 1)), ("Conv2d_4a_3x3", Conv(80, 192, 3)), ("192", nn.MaxPool2d(3, 2)),
            ("Mixed_5b", mixed(A, 192, 32)), ("Mixed_5c", mixed(A, 256, 64)), ("Mixed_5d", mixed(A, 288, 64)), ("Mixed_6a", mixed(B, 288)),
            ("Mixed_6b", mixed(C, 768, 128)), ("Mixed_6c", mixed(C, 768, 160)), ("Mixed_6d", mixed(C, 768, 160)),
            ("Mixed_6e", mixed(C, 768, 192)), ("768", nn.Identity()),
            # The last block has a max pool instead of the paper's average pool, as in the graph that FID is defined with.
            ("Mixed_7a", mixed(D, 768)), ("Mixed_7b", mixed(E, 1280)), ("Mixed_7c", Mixed(E, 2048, nn.MaxPool2d(3, 1, 1))),
            ("2048", nn.Identity()),
        ]  # fmt: skip
    names = [name for name, _ in parts]
    return nn.Sequential(OrderedDict(parts[: names.index(layer if layer in names else "2048") + 1]))


def resize(x: Tensor, size: int = 299) -> Tensor:
    """(N, C, H, W) to (N, C, size, size), bit for bit as TensorFlow 1: bilinear, pixel i read at position i * H / size, no antialiasing."""

    def neighbours(n: int) -> tuple[Tensor, Tensor, Tensor]:
        position = torch.arange(size, dtype=torch.float32, device=x.device) * torch.tensor(n / size, dtype=torch.float32)
        low = position.long()
        return low, (low + 1).clamp_max(n - 1), position - low.float()

    low, high, fraction = neighbours(x.shape[3])
    left = x[..., low]
    x = left + (x[..., high] - left) * fraction
    low, high, fraction = neighbours(x.shape[2])
    top = x[:, :, low]
    return top + (x[:, :, high] - top) * fraction[:, None]


def shown(x: Tensor) -> Tensor:
    """The network's input for uint8 images (N, 1 or 3, H, W): float32 (N, 3, 299, 299) in [-1, 1); grey becomes three equal channels."""
    return ((resize(x.float()) - 128) / 128).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


class Weights:
    """A safetensors file of weights in fp32, fp16 or bf16: convolutions with a bias, or with the BatchNorm that follows them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.tensors = load_file(path)
        except (SafetensorError, OSError) as error:
            hint = f"ganzoo reads no pickle; {CARD} says how to convert one." if path.suffix in (".pth", ".pt") else "Get it again."
            raise GanzooError(f"{path} is not a whole safetensors file ({error}). {hint}") from error

    def layers(self) -> list[str]:
        """The layers for which the file has all weights."""
        complete: list[str] = []
        for name, module in network("2048").named_modules():
            if isinstance(module, Conv):
                has_bias = f"{name}.conv.bias" in self.tensors or all(f"{name}.bn.{key}" in self.tensors for key in STATISTICS)
                if not (has_bias and f"{name}.conv.weight" in self.tensors):
                    return complete
            complete += [name] if name.isdecimal() else []
        heads = {"logits_unbiased": {"fc.weight"}, "logits": {"fc.weight", "fc.bias"}}
        return complete + [name for name, keys in heads.items() if keys <= set(self.tensors)]

    def fill(self, net: nn.Module) -> None:
        """Load the weights into the network, in fp32. Raises GanzooError if they do not fit."""
        state: dict[str, Tensor] = {}
        try:
            for name in [name for name, module in net.named_modules() if isinstance(module, Conv)]:
                state[f"{name}.conv.weight"], state[f"{name}.conv.bias"] = (tensor.float() for tensor in self.folded(name))
            net.load_state_dict(state, assign=True)
        except RuntimeError as error:
            raise GanzooError(f"{self.path} holds another network: {str(error).splitlines()[-1].strip()}") from error

    def folded(self, name: str) -> tuple[Tensor, Tensor]:
        """Weight and bias of a convolution with its BatchNorm, gamma (w x + b - mean) / sqrt(var + 0.001) + beta, in float64."""
        weight = self[f"{name}.conv.weight"]
        bias = self[f"{name}.conv.bias"] if f"{name}.conv.bias" in self.tensors else torch.zeros(len(weight)).double()
        if f"{name}.bn.running_var" not in self.tensors:
            return weight, bias
        gamma, beta, mean, var = (self[f"{name}.bn.{key}"] for key in STATISTICS)
        scale = gamma / (var + 1e-3).sqrt()
        return weight * scale.view(-1, 1, 1, 1), (bias - mean) * scale + beta

    def __getitem__(self, key: str) -> Tensor:
        if not bool((tensor := self.tensors[key].double()).isfinite().all()):
            raise GanzooError(f"{self.path}: {key} holds what is no finite number. Get the file again.")
        return tensor


class Inception(ganzoo.FeatureExtractor):
    """Features (N, D) of one layer, averaged over the image, and logits (N, 1008), without their bias as in the Inception Score.

    At layer "logits" the bias is added. Raises UsageError or GanzooError if the weights are missing, damaged or of another network.
    """

    options: InceptionOptions
    fc_weight: Tensor | None
    fc_bias: Tensor | None

    def __init__(self, spec: DataSpec, options: InceptionOptions, context: ExtractorContext) -> None:
        super().__init__(spec, options, context)
        self.layer, self.net = context.layer, network(context.layer)
        weights = self._find_weights()
        weights.fill(self.net)
        has_logits = self.layer not in ("64", "192", "768") and "fc.weight" in weights.tensors
        self.register_buffer("fc_weight", weights["fc.weight"].float() if has_logits else None)
        self.register_buffer("fc_bias", weights["fc.bias"].float() if self.layer == "logits" else None)
        if self.fc_weight is not None and self.fc_weight.shape != (1008, 2048):
            raise GanzooError(f"{weights.path}: wanted fc.weight of 1008 x 2048, got {tuple(self.fc_weight.shape)}.")
        with open(weights.path, "rb") as file:
            self.weights_hash = hashlib.file_digest(file, "sha256").hexdigest()
        suffix = "" if self.layer == "2048" else f"@{self.layer}"
        score = {"inception-score": "IS"} if has_logits and self.fc_bias is None else {}
        self.figure_names = {"fid": f"FID{suffix}", "kid": f"KID{suffix}"} | score
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    def _find_weights(self) -> Weights:
        """The file that --inception2015.weights names, or else the first file that has all weights of the layer."""
        if name := self.options.weights:
            path = Path(name).expanduser()
            if not path.is_file():
                raise UsageError(f"--{NAME}.weights {name}: there is no such file.")
            files = [path]
        else:
            data_dir = self.context.data_dir
            folders = [data_dir, data_dir / "inception", self.context.cache]
            files = [folder / f"{NAME}.safetensors" for folder in folders if (folder / f"{NAME}.safetensors").is_file()]
            files += [file for folder in folders for file in sorted(folder.glob(f"{NAME}*.safetensors")) if file not in files]
            if not files:
                raise GanzooError(
                    f"{NAME}.safetensors, the weights of Inception, is needed and is in none of {', '.join(map(str, folders))}. "
                    f"The weights are published as a pickle, which ganzoo does not read: get {URL} (its SHA-256 begins with 6726825d), "
                    f"convert it with the three lines in {CARD}, and put {NAME}.safetensors in {folders[0]}, or name it with "
                    f"--{NAME}.weights. Without it, use --features random, or classifier for labelled images."
                )
        candidates = [Weights(file) for file in files]
        for weights in candidates:
            if self.layer in weights.layers():
                return weights
        path, layers = candidates[0].path, candidates[0].layers()
        held = f"the network up to {layers[-1]}; layers {', '.join(layers)} can be had" if layers else "no layer of this network"
        hint = f", as in --features {NAME}@{layers[-1]}" if layers else ""
        raise UsageError(
            f"{NAME}: layer {self.layer} needs weights that are missing: {path} holds {held}{hint}. {CARD} says how to get them all."
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
