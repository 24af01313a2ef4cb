"""Degradations of pictures (N, C, H, W) in [-1, 1]."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

import ganzoo
from ganzoo import DataSpec, Field, Prior, UsageError
from ganzoo_degradations import DownscaleOptions, MaskOptions, NoiseOptions

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Downscale(ganzoo.Degradation):
    """source (N, C, H / factor, W / factor): bicubic with antialiasing, as super-resolution papers make their inputs."""

    options: DownscaleOptions

    @property
    def factor(self) -> int:
        return int(self.options.factor)

    def fields(self, x: Field) -> dict[str, Field]:
        c, height, width = x.shape
        if height % self.factor or width % self.factor:
            raise UsageError(f"--degradation downscale: wanted sides that are multiples of {self.factor}, got {width} x {height} pixels.")
        return {"source": replace(x, shape=(c, height // self.factor, width // self.factor))}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        size = [side // self.factor for side in x.shape[2:]]
        small = interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=False)
        return {"source": small.clamp(-1, 1)}


class Mask(ganzoo.Degradation):
    """source (N, C, H, W): x, middle grey where it is missing; mask (N, 1, H, W): 1 where it is missing, -1 elsewhere."""

    options: MaskOptions

    def fields(self, x: Field) -> dict[str, Field]:
        return {"source": x, "mask": replace(x, shape=(1, *x.shape[1:]))}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.applied({"source": x, "mask": self.missing(x).float() * 2 - 1})

    def applied(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        missing = given["mask"] > 0
        return {**given, "source": given["source"].masked_fill(missing, 0.0), "mask": missing.float() * 2 - 1}

    def missing(self, x: Tensor) -> Tensor:
        """Where x is missing: (N, 1, H, W), true there."""
        n, _, height, width = x.shape
        share = self.options.share
        if self.options.kind == "noise":
            return ganzoo.draw("mask", Prior("unit", (1, height, width)), n, x.device) < share
        at = (
            ganzoo.draw("mask", Prior("unit", (2,)), n, x.device)
            if self.options.kind == "block"
            else torch.full((n, 2), 0.5, device=x.device)
        )
        inside = []
        for axis, side in enumerate((height, width)):
            size = max(1, round(side * share**0.5))
            first = (at[:, axis : axis + 1] * (side - size + 1)).floor()
            place = torch.arange(side, device=x.device)
            inside.append((place >= first) & (place < first + size))
        return inside[0][:, None, :, None] & inside[1][:, None, None, :]


class Noise(ganzoo.Degradation):
    """source (N, C, H, W): x with Gaussian noise, cut to [-1, 1]."""

    options: NoiseOptions

    def fields(self, x: Field) -> dict[str, Field]:
        return {"source": x}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        noise = ganzoo.draw("noise", Prior("normal", tuple(x.shape[1:])), len(x), x.device)
        return {"source": (x + noise * (self.options.sigma / 127.5)).clamp(-1, 1)}


class Grey(ganzoo.Degradation):
    """source (N, 1, H, W): the luma of x, by the weights of ITU-R BT.601."""

    weights: Tensor

    def __init__(self, spec: DataSpec, options: Any) -> None:
        super().__init__(spec, options)
        self.register_buffer("weights", torch.tensor(LUMA).view(1, 3, 1, 1), persistent=False)

    def fields(self, x: Field) -> dict[str, Field]:
        if x.shape[0] != 3:
            raise UsageError("--degradation grey: wanted pictures in colour; these are grey already.")
        return {"source": replace(x, shape=(1, *x.shape[1:]))}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"source": (x * self.weights.to(x.dtype)).sum(1, keepdim=True)}
