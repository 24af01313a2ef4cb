"""Zhao et al. 2020, "Differentiable augmentation for data-efficient GAN training" (arXiv:2006.10738); Karras et al. 2020, "Training
generative adversarial networks with limited data" (arXiv:2006.06676)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

import ganzoo
from ganzoo import DataSpec, Prior, Terms, Turn
from ganzoo_augmentation import AdaOptions, DiffAugmentOptions


def pictures(seen: dict[str, Tensor]) -> list[str]:
    """The keys of pictures (N, C, H, W) among all that D sees."""
    return [key for key, value in seen.items() if value.dim() == 4 and value.is_floating_point()]


class DiffAugment(ganzoo.Wrapper):
    """Section 4: the same kind of random change, differentiable, for real and fake pictures, when D learns and when G does.

    Colour changes x alone; translation and cutout move the pictures that D is conditioned on as well. Freed places become 0, a middle grey.
    """

    options: DiffAugmentOptions

    def look(self, seen: dict[str, Tensor]) -> dict[str, Tensor]:
        policy, x = self.options.policy.split(","), seen["x"]
        if "colour" in policy:
            x = self.colour(x)
        seen = {**seen, "x": x}
        if "translation" in policy:
            at = ganzoo.draw(f"{self.name} translation", Prior("unit", (2,)), len(x), x.device)
            seen |= {key: self.translated(seen[key], at) for key in pictures(seen)}
        if "cutout" in policy:
            at = ganzoo.draw(f"{self.name} cutout", Prior("unit", (2,)), len(x), x.device)
            seen |= {key: self.cut(seen[key], at) for key in pictures(seen)}
        return seen

    def colour(self, x: Tensor) -> Tensor:
        """Brightness by up to 0.5, saturation by a factor up to 2, contrast by a factor of 0.5 to 1.5."""
        by = ganzoo.draw(f"{self.name} colour", Prior("unit", (3, 1, 1, 1)), len(x), x.device)
        x = x + (by[:, 0] - 0.5)
        grey = x.mean(1, keepdim=True)
        x = (x - grey) * (2 * by[:, 1]) + grey
        mean = x.mean((1, 2, 3), keepdim=True)
        return (x - mean) * (by[:, 2] + 0.5) + mean

    def translated(self, x: Tensor, at: Tensor) -> Tensor:
        """Moved by whole pixels, up to `shift` of the side. at: (N, 2) in [0, 1), how far down and to the right."""
        height, width = x.shape[2:]
        down, right = (round(self.options.shift * side) for side in (height, width))
        rows = (torch.arange(height, device=x.device) + (at[:, :1] * (2 * down + 1)).long())[:, :, None]
        columns = (torch.arange(width, device=x.device) + (at[:, 1:] * (2 * right + 1)).long())[:, None, :]
        n = torch.arange(len(x), device=x.device)[:, None, None]
        return pad(x, (right, right, down, down)).permute(0, 2, 3, 1)[n, rows, columns].permute(0, 3, 1, 2)

    def cut(self, x: Tensor, at: Tensor) -> Tensor:
        """With a hole of `hole` of the side, whose middle lies anywhere. at: (N, 2) in [0, 1)."""
        keep = []
        for axis, side in enumerate(x.shape[2:]):
            place = torch.arange(side, device=x.device) - (at[:, axis : axis + 1] * side).floor()
            size = round(self.options.hole * side)
            keep.append((place >= -(size // 2)) & (place < size - size // 2))
        return x * ~(keep[0][:, None, :, None] & keep[1][:, None, None, :])


class Ada(ganzoo.Wrapper):
    """Sections 2 to 4: each change of a fixed list is done with probability p, and p follows how sure D is of real samples.

    The list is the paper's "bgc": mirroring, quarter turns, whole-pixel shifts; scaling, rotation, stretching, shifts; brightness,
    contrast, luma inversion, hue, saturation. Pictures are resampled bilinearly with their mirror image around them; the paper's wavelet
    filters are left out. p is one buffer, so a resumed run goes on with it.
    """

    options: AdaOptions
    p: Tensor

    def __init__(self, spec: DataSpec, options: Any) -> None:
        super().__init__(spec, options)
        self.register_buffer("p", torch.zeros(()))

    def look(self, seen: dict[str, Tensor]) -> dict[str, Tensor]:
        x = seen["x"]
        n, device = len(x), x.device
        # Of each change: whether it is done, then how much, in [-1, 1) and from N(0, 1).
        done = ganzoo.draw(f"{self.name} done", Prior("unit", (12,)), n, device) < self.p
        amount = ganzoo.draw(f"{self.name} amount", Prior("uniform", (12,)), n, device)
        normal = ganzoo.draw(f"{self.name} normal", Prior("normal", (12,)), n, device)
        moved = self.places(done, amount, normal)
        seen = {**seen, **{key: _resampled(seen[key], moved) for key in pictures(seen)}}
        return {**seen, "x": self.colours(seen["x"], done, amount, normal)}

    def places(self, done: Tensor, amount: Tensor, normal: Tensor) -> Tensor:
        """The maps of appendix B from places in the result to places in the picture, (N, 2, 3), in units of half a side."""
        n, device = len(done), done.device
        maps = torch.eye(3, device=device).expand(n, 3, 3)

        def scaled(across: Tensor, down: Tensor) -> Tensor:
            return torch.diag_embed(torch.stack([across, down, torch.ones_like(across)], 1))

        def turned(angle: Tensor) -> Tensor:
            cos, sin, no, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
            return torch.stack([cos, -sin, no, sin, cos, no, no, no, one], 1).view(n, 3, 3)

        def shifted(by: Tensor) -> Tensor:
            moves = torch.eye(3, device=device).repeat(n, 1, 1)
            moves[:, :2, 2] = by
            return moves

        one = torch.ones(n, device=device)
        quarter = (amount[:, 1] * 2).floor() * (math.pi / 2)
        size, stretch = (0.2 * math.log(2) * normal[:, 3]).exp(), (0.2 * math.log(2) * normal[:, 5]).exp()
        for i, change in (
            (0, scaled(torch.where(amount[:, 0] < 0, -one, one), one)),  # mirroring
            (1, turned(quarter)),
            (2, shifted(amount[:, 2:4] * 0.25)),  # an eighth of the side
            (3, scaled(1 / size, 1 / size)),
            (4, turned(amount[:, 4] * math.pi)),
            (5, scaled(1 / stretch, stretch)),
            (6, shifted(normal[:, 6:8] * 0.25)),
        ):
            maps = maps @ torch.where(done[:, i].view(n, 1, 1), change, torch.eye(3, device=device))
        return maps[:, :2]

    def colours(self, x: Tensor, done: Tensor, amount: Tensor, normal: Tensor) -> Tensor:
        """x (N, C, H, W) with other colours: the affine maps of appendix B in RGB; of grey pictures those that mean something."""
        n, channels = x.shape[:2]
        each = done[:, :, None, None, None].unbind(1)
        value = normal[:, :, None, None, None].unbind(1)
        x = torch.where(each[7], x + 0.2 * value[7], x)  # brightness
        x = torch.where(each[8], x * (0.5 * math.log(2) * value[8]).exp(), x)  # contrast
        luma = x.mean(1, keepdim=True)
        x = torch.where(each[9] & (amount[:, 9].view(n, 1, 1, 1) < 0), x - 2 * luma, x)  # luma inversion
        if channels == 3:
            axis = torch.full((3,), 1 / math.sqrt(3), device=x.device)
            x = torch.where(each[10], _rotated(x, axis, amount[:, 10] * math.pi), x)  # hue: a turn about the grey axis
            luma = x.mean(1, keepdim=True)
            x = torch.where(each[11], luma + (x - luma) * (math.log(2) * value[11]).exp(), x)  # saturation
        return x

    def after_d(self, turn: Turn) -> Terms:
        """Equation 1: r_t = E[sign(D(real))]; p rises where it is above the target.

        Where the loss leaves the zero of the logits free, they are measured from the middle between the means of real and fake ones.
        """
        real, fake = turn.logits["real"].float(), turn.logits["fake"].float()
        middle = 0.0 if turn.anchored else ganzoo.over_ranks((real.mean() + fake.mean()) / 2)
        r = ganzoo.over_ranks((real - middle).sign().mean())
        step = len(ganzoo.gather(real)) / self.options.images
        self.p.add_((r - self.options.target).sign() * step).clamp_(0, self.options.limit)
        return {"p": self.p.clone(), "r": r}


def _resampled(x: Tensor, maps: Tensor) -> Tensor:
    """Pictures (N, C, H, W) by maps (N, 2, 3) of places in the result to places in the picture, bilinear, mirrored at the edges."""
    height, width = x.shape[2:]
    if height != width:  # a turn keeps angles in pixels, not in parts of the sides
        scale = torch.ones(2, 3, device=x.device)
        scale[0, 1], scale[1, 0] = height / width, width / height
        maps = maps * scale
    grid = affine_grid(maps.to(x.dtype), list(x.shape), align_corners=False)
    return grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _rotated(x: Tensor, axis: Tensor, angle: Tensor) -> Tensor:
    """Colours (N, 3, H, W) turned about an axis (3,) by an angle (N,) each: Rodrigues' formula."""
    cos, sin = angle.cos().view(-1, 1, 1, 1), angle.sin().view(-1, 1, 1, 1)
    along = axis.view(1, 3, 1, 1)
    return x * cos + torch.linalg.cross(along.expand_as(x), x, dim=1) * sin + along * (along * x).sum(1, keepdim=True) * (1 - cos)
