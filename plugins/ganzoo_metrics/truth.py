"""Metrics that compare each output with the row of the data that it should be, in float64."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, one_hot

from ganzoo import Accumulator, FeatureBatch, Metric, UsageError
from ganzoo_metrics import PictureOptions
from ganzoo_metrics.model import Sums, check_samples


class Truths(Metric):
    """A metric that compares each output with its truth, row by row, and reports the mean."""

    compares = False
    figure: ClassVar[str]

    def each(self, x: Tensor, truth: Tensor) -> Tensor:
        """The figure of each row, float64 (N,)."""
        raise NotImplementedError

    def accumulator(self, n: int) -> Accumulator:
        def terms(batch: FeatureBatch, first: int) -> dict[str, Tensor]:
            assert batch.truth is not None, "the metric's record asks for the truth"
            return {name: self.each(x, batch.truth).sum() for name, x in self.sides(batch, batch.truth).items()}

        return Sums(n, f"{type(self).__name__} {self.options}", terms)

    def sides(self, batch: FeatureBatch, truth: Tensor) -> dict[str, Tensor]:
        """What is compared with the truth, by the name of its figure."""
        return {self.figure: batch.x}

    def compute(self, fake: Sums, real: None) -> dict[str, float]:
        check_samples(1, generated=fake)
        return {name: float(total) / fake.n for name, total in fake.state.items()}


class Pictures(Truths):
    """The same of pictures; where an input has the size of the truth, its own figure stands beside that of the output: what was gained."""

    options: PictureOptions

    def sides(self, batch: FeatureBatch, truth: Tensor) -> dict[str, Tensor]:
        alike = [x for x in batch.inputs.values() if x.shape == truth.shape]
        return super().sides(batch, truth) | ({f"input-{self.figure}": alike[0]} if alike else {})


def compared(x: Tensor, options: PictureOptions) -> Tensor:
    """The part of uint8 pictures (N, C, H, W) that is compared, float64, in grey levels of 255.

    Y of ITU-R BT.601 in its studio range, 16 to 235, as MATLAB's rgb2ycbcr gives it and papers on super-resolution take it.
    """
    y = x.double()
    if options.luma and x.shape[1] == 3:
        weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64).view(1, 3, 1, 1) / 255
        y = 16 + (y * weights).sum(1, keepdim=True)
    b = options.border
    if min(y.shape[2:]) <= 2 * b:
        raise UsageError(f"border: {b} pixels at each edge leave nothing of {x.shape[3]} x {x.shape[2]} pixels.")
    return y[:, :, b : y.shape[2] - b, b : y.shape[3] - b]


class PSNR(Pictures):
    """10 log10(255² / MSE) of each picture, in dB; the same picture counts as 100 dB. The figure is the mean."""

    figure = "psnr"

    def each(self, x: Tensor, truth: Tensor) -> Tensor:
        error = (compared(x, self.options) - compared(truth, self.options)).square().mean((1, 2, 3))
        return 10 * (255**2 / error.clamp_min(255**2 * 1e-10)).log10()


class SSIM(Pictures):
    """Wang et al. 2004, equations 13 to 16: a Gaussian window of 11 x 11 pixels, deviation 1.5, K1 0.01, K2 0.03, where it fits whole."""

    figure = "ssim"

    def each(self, x: Tensor, truth: Tensor) -> Tensor:
        a, b = compared(x, self.options), compared(truth, self.options)
        if min(a.shape[2:]) < 11:
            raise UsageError(f"ssim: wanted at least 11 pixels a side, got {a.shape[3]} x {a.shape[2]}.")
        place = torch.arange(11, dtype=torch.float64) - 5
        line = (-place.square() / (2 * 1.5**2)).exp()
        window = torch.outer(line, line) / line.sum() ** 2

        def mean(v: Tensor) -> Tensor:
            return conv2d(v.flatten(0, 1)[:, None], window[None, None])

        (mean_a, mean_b), c1, c2 = (mean(a), mean(b)), (0.01 * 255) ** 2, (0.03 * 255) ** 2
        var_a, var_b, cov = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2, mean(a * b) - mean_a * mean_b
        ssim = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
        return ssim.mean((1, 2, 3)).view(a.shape[:2]).mean(1)


class Accuracy(Truths):
    """The share of rows whose most probable class is the true one. x: probabilities (N, K); truth: classes (N,)."""

    figure = "accuracy"

    def each(self, x: Tensor, truth: Tensor) -> Tensor:
        return (x.argmax(1) == truth).double()

    def compute(self, fake: Sums, real: None) -> dict[str, float]:
        figures, classes = super().compute(fake, real), self.spec.x.size
        share = figures["accuracy"]
        if share <= 1.5 / max(classes, 1):
            self.note(f"an accuracy of {share:.1%} with {classes} classes is what guessing gives.")
        return figures


class Matching(Metric):
    """The accuracy of classes that a network has found without labels, when each true class is given one of them, and none to two, in the
    way that is best for it. Classes that are left over, where their numbers differ, count as wrong. x: probabilities (N, K); truth (N,)."""

    compares = False

    def accumulator(self, n: int) -> Accumulator:
        def counts(batch: FeatureBatch, first: int) -> dict[str, Tensor]:
            assert batch.truth is not None, "the metric's record asks for the truth"
            found = one_hot(batch.x.argmax(1), batch.x.shape[1]).double()
            return {"counts": found.T @ one_hot(batch.truth, self.spec.x.size).double()}

        return Sums(n, "Matching", counts)

    def compute(self, fake: Sums, real: None) -> dict[str, float]:
        check_samples(1, generated=fake)
        counts = fake.state["counts"]
        empty = int((counts.sum(1) == 0).sum())
        if empty:
            self.note(f"{empty} of the {len(counts)} classes that it knows are given to no row.")
        return {"matching": largest_sum(counts.numpy()) / fake.n}


def largest_sum(counts: np.ndarray) -> float:
    """The largest sum of entries of (K, C), at most one a row and one a column: Kuhn 1955, by shortest augmenting paths, O(n^3).

    Prices of rows and columns never exceed a pair's cost together, and are equal to it for pairs that are matched. A new row takes the
    cheapest way to a free column, on which every matched row that it meets moves on to another; then the prices are put right.
    """
    cost = np.zeros((max(counts.shape),) * 2)
    cost[: counts.shape[0], : counts.shape[1]] = -counts
    n = len(cost)
    row_price, column_price, owner = np.zeros(n), np.zeros(n), np.full(n, -1)
    for new in range(n):
        way, before, seen = np.full(n, np.inf), np.full(n, -1), np.zeros(n, bool)  # of columns: length, row that it leads through
        row, length, met = int(new), 0.0, [new]
        while True:
            further = length + cost[row] - row_price[row] - column_price
            shorter = ~seen & (further < way)
            way[shorter], before[shorter] = further[shorter], row
            column = int(np.where(seen, np.inf, way).argmin())
            length, seen[column], row = float(way[column]), True, int(owner[column])
            if row < 0:
                break
            met.append(row)
        column_of = {int(owner[j]): int(j) for j in np.flatnonzero(seen)}
        for other in met:
            row_price[other] += length - (0.0 if other == new else way[column_of[other]])
        column_price[seen] -= length - way[seen]
        while True:
            row = int(before[column])
            owner[column], column = row, column_of.get(row, -1)
            if row == new:
                break
    return float(-cost[owner, np.arange(n)].sum())
