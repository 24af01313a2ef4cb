"""Figures of merit, in float64. Each is compared with another implementation, or a closed form, in the tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ganzoo import Accumulator, FeatureBatch, FeatureRows, GanzooError, Metric, Moments, UsageError

SEED = 2020  # of KID's subsets and the Inception Score's splits: torch-fidelity's, so that the figures are those that it would give


def finite(x: Tensor, what: str) -> None:
    """Raises GanzooError where x, of any shape, holds NaN or infinity, on which linear algebra may hang."""
    if not x.isfinite().all():
        raise GanzooError(f"NaN or infinity in the {what}: nothing can be measured. Look at the samples, and at the extractor.")


def ready(least: int, **sides: Accumulator) -> None:
    """Raises GanzooError where a side has fewer than `least` samples, or its state is not finite."""
    for name, side in sides.items():
        if side.n < least:
            raise GanzooError(f"wanted at least {least} {name} samples, got {side.n}. Take more.")
        for key, x in side.state.items():
            finite(x, f"{key} of the {name} samples")


def distances(x: Tensor, y: Tensor, rows: int = 2048, columns: int = 4096) -> Iterator[tuple[slice, slice, Tensor]]:
    """Euclidean distances of x (N, D) to y (M, D), block by block: rows of x, rows of y, float64 (rows, columns)."""
    for i in range(0, len(x), rows):
        a = x[i : i + rows].double()
        for j in range(0, len(y), columns):
            b = y[j : j + columns].double()
            scale = a.square().sum(1, keepdim=True) + b.square().sum(1)
            square = torch.addmm(scale, a, b.T, alpha=-2)  # much faster than the sum of squared differences
            square[square < 2**-46 * scale] = 0  # finer than float32: copies, but for rounding
            yield slice(i, i + len(a)), slice(j, j + len(b)), square.sqrt_()


def nearest(x: Tensor, y: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """The k rows of y (M, D) nearest to each row of x (N, D), the nearest first (itself, in its own set): indices and distances (N, k)."""
    if k > len(y):
        raise GanzooError(f"wanted at least {k} samples to find neighbours among, got {len(y)}. Take more, or a smaller k.")
    best, which = torch.full((len(x), k), math.inf, dtype=torch.float64), torch.zeros((len(x), k), dtype=torch.int64)
    for i, j, apart in distances(x, y):
        near, column = apart.topk(min(k, apart.shape[1]), largest=False)
        best[i], order = torch.cat((best[i], near), 1).topk(k, largest=False)
        which[i] = torch.cat((which[i], column + j.start), 1).gather(1, order)
    return which, best


class Sums(Accumulator):
    """state: by name, sums over the stream of what `of(batch, first)` gives of a batch that begins with sample number `first`."""

    key = ""

    def __init__(self, n: int, key: str, of: Callable[[FeatureBatch, int], dict[str, Tensor]]) -> None:
        super().__init__(n)
        self.key, self.of, self.first = key, of, 0

    def add(self, batch: FeatureBatch) -> None:
        self.state = {name: x + self.state.get(name, 0) for name, x in self.of(batch, self.first).items()}
        self.first += len(batch.x)


class OnRows(Metric):
    """Of all the features (N, D) of the fakes and (M, D) of the reals."""

    def accumulator(self, n: int) -> Accumulator:
        return FeatureRows(n)


class FID(Metric):
    """Heusel et al. 2017 (arXiv:1706.08500), equation 6: |m1 - m2|² + Tr(C1 + C2 - 2 (C1 C2)^(1/2)) of means (D,), covariances (D, D)."""

    def accumulator(self, n: int) -> Accumulator:
        return Moments(n)

    def compute(self, fake: Moments, real: Moments) -> dict[str, float]:
        ready(2, generated=fake, real=real)
        if min(fake.n, real.n) <= len(fake.mean):
            self.note(f"{fake.n} and {real.n} samples in {len(fake.mean)} dimensions: compare this figure with those of as many only.")
        # With C = A Aᵀ the root's trace is the sum of singular values of A1ᵀ A2. Eigenvalues would have to be rooted: 1e-16 off, then 1e-8.
        factors = []
        for values, vectors in (torch.linalg.eigh(side.covariance) for side in (fake, real)):
            true = values > values[-1].clamp_min(0) * len(values) * 2**-52  # the others are rounding errors
            factors.append(vectors[:, true] * values[true].sqrt())
        root = torch.linalg.svdvals(factors[0].T @ factors[1]).sum()
        value = (fake.mean - real.mean).square().sum() + fake.covariance.trace() + real.covariance.trace() - 2 * root
        return {"fid": max(0.0, float(value))}


class KID(OnRows):
    """Bińkowski et al. 2018 (arXiv:1801.01401), section 4: squared MMD by (gamma x·y + coef0)^degree, of subsets (m, D) of features."""

    def compute(self, fake: FeatureRows, real: FeatureRows) -> dict[str, float]:
        ready(2, generated=fake, real=real)
        m = min(self.options.subset_size, fake.n, real.n)
        if m < self.options.subset_size:
            self.note(f"KID: subsets of {m} samples, for want of {self.options.subset_size}. They overlap: kid-std says little.")
        gamma = 1 / real.rows.shape[1] if self.options.gamma is None else self.options.gamma
        draw, values = np.random.RandomState(SEED), []
        for _ in range(self.options.subsets):
            x, y = (side.rows[torch.from_numpy(draw.choice(side.n, m, replace=False))].double() for side in (fake, real))
            xx, yy, xy = ((a @ b.T).mul_(gamma).add_(self.options.coef0).pow_(self.options.degree) for a, b in ((x, x), (y, y), (x, y)))
            within = xx.sum() - xx.trace() + yy.sum() - yy.trace()  # no sample with itself: unbiased, and below 0 now and then
            values.append(float(within / (m * (m - 1)) - 2 * xy.mean()))
        return {"kid": float(np.mean(values)), "kid-std": float(np.std(values))}


class InceptionScore(Metric):
    """Salimans et al. 2016 (arXiv:1606.03498), section 4: exp E KL(p(y|x) | p(y)), p(y|x) from logits (N, K), p(y) its mean in a split."""

    compares = False

    def accumulator(self, n: int) -> Accumulator:
        splits, shuffled = self.options.splits, torch.from_numpy(np.random.RandomState(SEED).permutation(n))
        ends = torch.tensor([(i + 1) * n // splits for i in range(splits)])
        split = one_hot(torch.searchsorted(ends, shuffled.argsort(), right=True), splits).double()

        def of(batch: FeatureBatch, first: int) -> dict[str, Tensor]:
            assert batch.logits is not None, "its record needs them"
            mine, log_p = split[first : first + len(batch.logits)].T, batch.logits.double().log_softmax(1)
            return {"p": mine @ log_p.exp(), "p log p": mine @ (log_p.exp() * log_p).sum(1), "count": mine.sum(1)}

        return Sums(n, f"{splits} splits, seed {SEED}", of)

    def compute(self, fake: Sums, real: None) -> dict[str, float]:
        ready(self.options.splits, generated=fake)
        p = fake.state["p"] / fake.state["count"][:, None]
        scores = (fake.state["p log p"] / fake.state["count"] - torch.xlogy(p, p).sum(1)).exp()
        return {"inception-score": float(scores.mean()), "inception-score-std": float(scores.std(correction=0))}


class PrecisionRecall(OnRows):
    """Kynkäänniemi et al. 2019 (arXiv:1904.06991), equations 1 and 2. A ball reaches from a sample to its k-th neighbour of its own kind.

    precision: the share of fakes in the ball of some real. recall: the share of reals in that of some fake. The edge belongs to it.
    """

    def compute(self, fake: FeatureRows, real: FeatureRows) -> dict[str, float]:
        ready(2, generated=fake, real=real)
        of_fake, of_real = (nearest(side.rows, side.rows, self.options.k + 1)[1][:, -1] for side in (fake, real))
        precise, recalled = torch.zeros(fake.n, dtype=torch.bool), torch.zeros(real.n, dtype=torch.bool)
        for i, j, apart in distances(fake.rows, real.rows):
            precise[i] |= (apart <= of_real[j]).any(1)
            recalled[j] |= (apart <= of_fake[i, None]).any(0)
        return {"precision": float(precise.double().mean()), "recall": float(recalled.double().mean())}


class DensityCoverage(OnRows):
    """Naeem et al. 2020 (arXiv:2002.09797), section 3. The balls are those of the reals alone; the edge does not belong, as in their code.

    density: in how many balls a fake is, on average, divided by k; it can be above 1. coverage: the share of balls that hold a fake.
    """

    def compute(self, fake: FeatureRows, real: FeatureRows) -> dict[str, float]:
        ready(1, generated=fake, real=real)
        reach, covered, hits = nearest(real.rows, real.rows, self.options.k + 1)[1][:, -1], torch.zeros(real.n, dtype=torch.bool), 0
        if empty := int((reach == 0).sum()):
            self.note(f"{empty} of {real.n} real samples have {self.options.k} copies or more: nothing can cover them.")
        for _, j, apart in distances(fake.rows, real.rows):
            inside = apart < reach[j]
            hits, covered[j] = hits + int(inside.sum()), covered[j] | inside.any(0)
        return {"density": hits / (self.options.k * fake.n), "coverage": float(covered.double().mean())}


class Modes(Metric):
    """For equal Gaussians with M known centres, as in VEEGAN (arXiv:1705.07761): a point (D,) is good within 3 sigma of its nearest centre.

    modes: how many centres have a good point. high-quality: the share of those. mode-kl:  sum_i p_i log(M p_i),  p (M,) their histogram.
    """

    compares = False

    def accumulator(self, n: int) -> Accumulator:
        if self.data is None or not self.data.modes or self.data.sigma <= 0:
            raise UsageError("modes: the centres and the spread of this data are not known. It is for toy data such as 'ring' and 'grid'.")
        centres, reach = torch.tensor(self.data.modes, dtype=torch.float64), 3 * self.data.sigma

        def of(batch: FeatureBatch, first: int) -> dict[str, Tensor]:
            finite(batch.x, "generated points")
            apart, mode = (batch.x[:, None].double() - centres).norm(dim=2).min(1)
            return {"counts": mode[apart <= reach].bincount(minlength=len(centres))}

        return Sums(n, f"within {reach} of {self.data.modes}", of)

    def compute(self, fake: Sums, real: None) -> dict[str, float]:
        ready(1, generated=fake)
        counts = fake.state["counts"].double()
        p = counts / counts.sum().clamp_min(1)
        kl = float(torch.xlogy(p, p * len(p)).sum()) if counts.any() else math.log(len(p))
        return {"modes": float((counts > 0).sum()), "high-quality": float(counts.sum()) / fake.n, "mode-kl": kl}


class Memorisation(OnRows):
    """Alaa et al. 2022 (arXiv:2102.08921). d: from a fake to its nearest training sample; r: from that to its nearest other one.

    authenticity: the share of fakes with d > r. nearest-ratio: the median of d / r, 0 for copies.
    """

    against = "train"

    def compute(self, fake: FeatureRows, real: FeatureRows) -> dict[str, float]:
        ready(2, generated=fake, training=real)
        which, d = (found[:, 0] for found in nearest(fake.rows, real.rows))
        met, at = which.unique(return_inverse=True)
        r = nearest(real.rows[met], real.rows, 2)[1][at, 1]
        ratio = float(np.median(torch.where(d == 0, 0, d / r)))
        if math.isinf(ratio):
            raise GanzooError("most fakes are nearest to training samples that have copies, to these features: take others.")
        return {"authenticity": float((d > r).double().mean()), "nearest-ratio": ratio}
