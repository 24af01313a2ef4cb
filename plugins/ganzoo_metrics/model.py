"""Metrics, in float64. The tests compare each with another implementation or a closed form."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ganzoo import Accumulator, FeatureBatch, FeatureRows, GanzooError, Metric, Moments, UsageError

ROWS, COLUMNS, GROUP = 2048, 4096, 32  # of blocks of distances
EDGE = 1e-9  # `nearest` and `distances` round differently: a sample that is so near to the edge of a ball lies on it
SEED = 2020  # for KID's subsets and the Inception Score's splits: torch-fidelity's seed, so that the figures equal its figures


def check_finite(x: Tensor, name: str) -> None:
    """Raises GanzooError if x, of any shape, holds NaN or infinity, on which linear algebra may hang."""
    if not x.isfinite().all():
        raise GanzooError(f"NaN or infinity in the {name}: nothing can be measured. Check the samples and the extractor.")


def check_samples(minimum: int, **sides: Accumulator) -> None:
    """Raises GanzooError if a side has fewer than `minimum` samples, or if its state is not finite."""
    for name, side in sides.items():
        if side.n < minimum:
            raise GanzooError(f"wanted at least {minimum} {name} samples, got {side.n}. Take more.")
        for key, x in side.state.items():
            check_finite(x, f"{key} of the {name} samples")


def distances(x: Tensor, y: Tensor, rows: int = ROWS, columns: int = COLUMNS) -> Iterator[tuple[slice, slice, Tensor]]:
    """Euclidean distances from x (N, D) to y (M, D) in blocks: the slice of x, the slice of y, and float64 (rows, columns)."""
    for i in range(0, len(x), rows):
        a = x[i : i + rows].double()
        for j in range(0, len(y), columns):
            b = y[j : j + columns].double()
            scale = a.square().sum(1, keepdim=True) + b.square().sum(1)
            squared = torch.addmm(scale, a, b.T, alpha=-2)  # much faster than the sum of squared differences
            squared[squared < 2**-46 * scale] = 0  # below the resolution of float32 features: copies, apart from rounding
            yield slice(i, i + len(a)), slice(j, j + len(b)), squared.sqrt_()


def nearest(x: Tensor, y: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """Indices and distances (N, k) of the k rows of y (M, D) nearest to each row of x (N, D), nearest first; if y is x, itself first."""
    if k > len(y):
        raise GanzooError(f"wanted at least {k} samples to find neighbours among, got {len(y)}. Take more, or a smaller k.")
    centre = y.mean(0, dtype=torch.float64)
    x32, y32 = ((side - centre).float() for side in (x, y))
    indices, values = [], []
    for a, a32 in zip(x.split(ROWS), x32.split(ROWS), strict=True):
        # float32 chooses more than enough, by the squared distance without what is the same for all; float64 measures those.
        best, chosen = torch.full((len(a), 0), 0.0), torch.zeros(len(a), 0, dtype=torch.int64)
        for j in range(0, len(y), COLUMNS):
            b32 = y32[j : j + COLUMNS]
            near, column = smallest(torch.addmm(b32.square().sum(1), a32, b32.T, alpha=-2), 2 * k)
            best, order = torch.cat((best, near), 1).topk(min(2 * k, best.shape[1] + near.shape[1]), largest=False)
            chosen = torch.cat((chosen, column + j), 1).gather(1, order)
        left, right = a.double()[:, None], y[chosen].double()
        squared, scale = (left - right).square().sum(2), left.square().sum(2) + right.square().sum(2)
        squared[squared < 2**-46 * scale] = 0  # as in `distances`
        found, order = squared.sort(dim=1, stable=True)
        values.append(found[:, :k].sqrt())
        indices.append(chosen.gather(1, order[:, :k]))
    return torch.cat(indices), torch.cat(values)


def smallest(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k smallest numbers in each row of x (N, M), or all M, and their places. Those of many columns lie in the k groups of the least
    minima, and minima are found much faster."""
    if x.shape[1] % GROUP or x.shape[1] < 2 * k * GROUP:
        return x.topk(min(k, x.shape[1]), largest=False)
    groups = x.unflatten(1, (-1, GROUP))
    which = groups.amin(2).topk(k, largest=False)[1]
    within, place = groups.gather(1, which[..., None].expand(-1, -1, GROUP)).flatten(1).topk(k, largest=False)
    return within, which.gather(1, place // GROUP) * GROUP + place % GROUP


class Sums(Accumulator):
    """state: by name, sums over all batches of the tensors that `terms(batch, first)` returns; the batch starts with sample `first`."""

    key = ""

    def __init__(self, n: int, key: str, terms: Callable[[FeatureBatch, int], dict[str, Tensor]]) -> None:
        super().__init__(n)
        self.key, self.terms, self.first = key, terms, 0

    def add(self, batch: FeatureBatch) -> None:
        self.state = {name: x + self.state.get(name, 0) for name, x in self.terms(batch, self.first).items()}
        self.first += len(batch.x)


class FeatureRowsMetric(Metric):
    """A metric that needs all features: (N, D) of the fakes and (M, D) of the real samples."""

    def accumulator(self, n: int) -> Accumulator:
        return FeatureRows(n)


class FID(Metric):
    """Heusel et al. 2017 (arXiv:1706.08500), equation 6: |m1 - m2|² + Tr(C1 + C2 - 2 (C1 C2)^(1/2)) of means (D,), covariances (D, D)."""

    def accumulator(self, n: int) -> Accumulator:
        return Moments(n)

    def compute(self, fake: Moments, real: Moments) -> dict[str, float]:
        check_samples(2, generated=fake, real=real)
        if min(fake.n, real.n) <= len(fake.mean):
            self.note(f"{fake.n} and {real.n} samples in {len(fake.mean)} dimensions: compare only with figures of as many samples.")
        # With C = A Aᵀ, the root's trace is the sum of the singular values of A1ᵀ A2. Roots of eigenvalues turn errors of 1e-16 into 1e-8.
        factors = []
        for values, vectors in (torch.linalg.eigh(side.covariance) for side in (fake, real)):
            significant = values > values[-1].clamp_min(0) * len(values) * 2**-52  # the other eigenvalues are rounding errors
            factors.append(vectors[:, significant] * values[significant].sqrt())
        root_trace = torch.linalg.svdvals(factors[0].T @ factors[1]).sum()
        value = (fake.mean - real.mean).square().sum() + fake.covariance.trace() + real.covariance.trace() - 2 * root_trace
        return {"fid": max(0.0, float(value))}


class KID(FeatureRowsMetric):
    """Bińkowski et al. 2018 (arXiv:1801.01401), section 4: squared MMD, kernel (gamma x·y + coef0)^degree, of subsets (m, D) of rows."""

    def compute(self, fake: FeatureRows, real: FeatureRows) -> dict[str, float]:
        check_samples(2, generated=fake, real=real)
        m = min(self.options.subset_size, fake.n, real.n)
        if m < self.options.subset_size:
            self.note(f"KID: subsets of {m} samples, fewer than {self.options.subset_size}. They overlap, so kid-std says little.")
        gamma = 1 / real.rows.shape[1] if self.options.gamma is None else self.options.gamma
        rng, values = np.random.RandomState(SEED), []
        for _ in range(self.options.subsets):
            x, y = (side.rows[torch.from_numpy(rng.choice(side.n, m, replace=False))].double() for side in (fake, real))
            xx, yy, xy = ((a @ b.T).mul_(gamma).add_(self.options.coef0).pow_(self.options.degree) for a, b in ((x, x), (y, y), (x, y)))
            within = xx.sum() - xx.trace() + yy.sum() - yy.trace()  # no sample paired with itself: unbiased, and sometimes below 0
            values.append(float(within / (m * (m - 1)) - 2 * xy.mean()))
        return {"kid": float(np.mean(values)), "kid-std": float(np.std(values))}


class InceptionScore(Metric):
    """Salimans et al. 2016 (arXiv:1606.03498), section 4: exp E KL(p(y|x) | p(y)); p(y|x) from logits (N, K), p(y) its mean in a split."""

    compares = False

    def accumulator(self, n: int) -> Accumulator:
        splits, shuffled = self.options.splits, torch.from_numpy(np.random.RandomState(SEED).permutation(n))
        ends = torch.tensor([(i + 1) * n // splits for i in range(splits)])
        membership = one_hot(torch.searchsorted(ends, shuffled.argsort(), right=True), splits).double()  # (n, splits)

        def terms(batch: FeatureBatch, first: int) -> dict[str, Tensor]:
            assert batch.logits is not None, "the metric's record asks for logits"
            split, log_p = membership[first : first + len(batch.logits)].T, batch.logits.double().log_softmax(1)
            return {"p": split @ log_p.exp(), "p log p": split @ (log_p.exp() * log_p).sum(1), "count": split.sum(1)}

        return Sums(n, f"{splits} splits, seed {SEED}", terms)

    def compute(self, fake: Sums, real: None) -> dict[str, float]:
        check_samples(self.options.splits, generated=fake)
        p = fake.state["p"] / fake.state["count"][:, None]
        scores = (fake.state["p log p"] / fake.state["count"] - torch.xlogy(p, p).sum(1)).exp()
        return {"inception-score": float(scores.mean()), "inception-score-std": float(scores.std(correction=0))}


class PrecisionRecall(FeatureRowsMetric):
    """Kynkäänniemi et al. 2019 (arXiv:1904.06991), equations 1 and 2. A sample's ball reaches to its k-th neighbour in its own set.

    precision: the fraction of fakes in the ball of a real sample. recall: that of real samples in the ball of a fake. Balls are closed.
    """

    def compute(self, fake: FeatureRows, real: FeatureRows) -> dict[str, float]:
        check_samples(2, generated=fake, real=real)
        fake_radius, real_radius = (nearest(side.rows, side.rows, self.options.k + 1)[1][:, -1] for side in (fake, real))
        precise, recalled = torch.zeros(fake.n, dtype=torch.bool), torch.zeros(real.n, dtype=torch.bool)
        for i, j, distance in distances(fake.rows, real.rows):
            precise[i] |= (distance <= (1 + EDGE) * real_radius[j]).any(1)
            recalled[j] |= (distance <= (1 + EDGE) * fake_radius[i, None]).any(0)
        return {"precision": float(precise.double().mean()), "recall": float(recalled.double().mean())}


class DensityCoverage(FeatureRowsMetric):
    """Naeem et al. 2020 (arXiv:2002.09797), section 3. Only real samples have balls, and the balls are open, as in the authors' code.

    density: the mean number of balls that a fake lies in, over k; it can be above 1. coverage: the fraction of balls that hold a fake.
    """

    def compute(self, fake: FeatureRows, real: FeatureRows) -> dict[str, float]:
        check_samples(1, generated=fake, real=real)
        radius, covered, hits = nearest(real.rows, real.rows, self.options.k + 1)[1][:, -1], torch.zeros(real.n, dtype=torch.bool), 0
        if empty := int((radius == 0).sum()):
            self.note(f"{empty} of {real.n} real samples have {self.options.k} copies or more: nothing can cover them.")
        for _, j, distance in distances(fake.rows, real.rows):
            inside = distance < (1 - EDGE) * radius[j]
            hits, covered[j] = hits + int(inside.sum()), covered[j] | inside.any(0)
        return {"density": hits / (self.options.k * fake.n), "coverage": float(covered.double().mean())}


class Modes(Metric):
    """M Gaussians of known centres and one sigma, as in VEEGAN (arXiv:1705.07761). Points within 3 sigma of the nearest centre are good.

    modes: the number of centres with a good point. high-quality: the fraction of good points. mode-kl:  sum_i p_i log(M p_i),
    where p (M,) is the histogram of the good points over the centres.
    """

    compares = False

    def accumulator(self, n: int) -> Accumulator:
        if self.data is None or not self.data.modes or self.data.sigma <= 0:
            raise UsageError("modes: the centres and the spread of this data are not known. Use it for toy data such as 'ring' and 'grid'.")
        centres, radius = torch.tensor(self.data.modes, dtype=torch.float64), 3 * self.data.sigma

        def terms(batch: FeatureBatch, first: int) -> dict[str, Tensor]:
            check_finite(batch.x, "generated points")
            distance, mode = (batch.x[:, None].double() - centres).norm(dim=2).min(1)
            return {"counts": mode[distance <= radius].bincount(minlength=len(centres))}

        return Sums(n, f"within {radius} of {self.data.modes}", terms)

    def compute(self, fake: Sums, real: None) -> dict[str, float]:
        check_samples(1, generated=fake)
        counts = fake.state["counts"].double()
        p = counts / counts.sum().clamp_min(1)
        kl = float(torch.xlogy(p, p * len(p)).sum()) if counts.any() else math.log(len(p))
        return {"modes": float((counts > 0).sum()), "high-quality": float(counts.sum()) / fake.n, "mode-kl": kl}


class Memorisation(FeatureRowsMetric):
    """Alaa et al. 2022 (arXiv:2102.08921). d: distance from a fake to its nearest training sample; r: from that one to its nearest other.

    authenticity: the fraction of fakes with d > r. nearest-ratio: the median of d / r, where a copy has ratio 0.
    """

    against = "train"

    def compute(self, fake: FeatureRows, real: FeatureRows) -> dict[str, float]:
        check_samples(2, generated=fake, training=real)
        index, d = (values[:, 0] for values in nearest(fake.rows, real.rows))
        neighbours, inverse = index.unique(return_inverse=True)
        r = nearest(real.rows[neighbours], real.rows, 2)[1][inverse, 1]
        ratio = float(np.median(torch.where(d == 0, 0, d / r)))
        if math.isinf(ratio):
            raise GanzooError("in these features, most fakes are nearest to training samples that have exact copies. Use other features.")
        return {"authenticity": float((d > r).double().mean()), "nearest-ratio": ratio}
