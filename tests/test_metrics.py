"""Every metric against another implementation on the same features, against closed forms, and at its edges."""

from __future__ import annotations

import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch
from ganzoo_metrics import ganzoo_register
from ganzoo_metrics.model import FID, KID, DensityCoverage, InceptionScore, Memorisation, Modes, PrecisionRecall, distances, nearest

from ganzoo import DataSet, FeatureBatch, Field, GanzooError, UsageError
from ganzoo.options import make
from ganzoo.registry.catalogue import catalogue
from ganzoo.types import DataSpec

SPEC = DataSpec.of("points", (2,))
RECORDS = {record.target.partition(":")[2]: record for record in ganzoo_register()}
ANGLES = [i * math.pi / 4 for i in range(8)]
RING = DataSet("ring", "x:y", "", {"x": Field("points")}, sigma=0.02, modes=tuple((2 * math.cos(a), 2 * math.sin(a)) for a in ANGLES))
COMPARING = (FID, KID, PrecisionRecall, DensityCoverage, Memorisation)


def oracle(module):
    """Another implementation; the comparison is skipped where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(module, reason=f"{module} is not installed: the figures are not compared with its figures")


def metric(cls, data=None, **options):
    return cls(SPEC, make(RECORDS[cls.__name__].options, options), data)


def filled(made, n, batch=64, x=None, features=None, logits=None):
    accumulator = made.accumulator(n)
    for i in range(0, n, batch):
        part = [None if v is None else v[i : i + batch] for v in (x, features, logits)]
        some = next(v for v in part if v is not None)
        accumulator.add(FeatureBatch(some if part[0] is None else part[0], some if part[1] is None else part[1], part[2]))
    return accumulator


def figures(made, fake, real, batch=64):
    values = made.compute(filled(made, len(fake), batch, features=fake), filled(made, len(real), batch, features=real))
    assert tuple(values) == tuple(RECORDS[type(made).__name__].figures)
    assert all(type(v) is float and math.isfinite(v) for v in values.values())
    return values


def score(logits, batch=64, **options):
    made = metric(InceptionScore, **options)
    return made.compute(filled(made, len(logits), batch, logits=logits), None)


def seen_modes(x, data=RING, batch=64):
    made = metric(Modes, data)
    return made.compute(filled(made, len(x), batch, x=x), None)


def noise(n, d, seed=0, scale=1.0, shift=0.0):
    return scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def features(n, m, d):
    """Two sets like those of a network: correlated, of many scales, none below 0."""
    mix = noise(d, d, 9) * torch.arange(1, d + 1) ** -0.7
    return (noise(n, d, 1) @ mix + 0.3).relu(), (1.1 * noise(m, d, 2) @ mix + 0.2).relu()


# --- against others


@pytest.mark.parametrize(("n", "m", "d"), [(300, 400, 8), (500, 400, 64), (900, 700, 256)])
def test_fid_is_that_of_torch_fidelity(n, m, d):
    fid = oracle("torch_fidelity.metric_fid")
    fake, real = features(n, m, d)
    statistics = [fid.fid_features_to_statistics(side.double()) for side in (fake, real)]
    (theirs,) = fid.fid_statistics_to_metric(*statistics, verbose=False).values()
    assert figures(metric(FID), fake, real)["fid"] == pytest.approx(theirs, rel=1e-10)


@pytest.mark.parametrize(
    ("n", "m", "options"),
    [
        (700, 500, {"subsets": 20, "subset_size": 200}),
        (1200, 1000, {"subsets": 5}),
        (300, 300, {"subsets": 9, "subset_size": 50, "degree": 2, "gamma": 0.5, "coef0": 0.0}),
    ],
)
def test_kid_is_that_of_torch_fidelity(n, m, options):
    kid = oracle("torch_fidelity.metric_kid")
    fake, real = features(n, m, 32)
    wanted = {"subset_size": 1000, "degree": 3, "gamma": None, "coef0": 1.0, **options}
    names = {"subsets": "kid_subsets", "subset_size": "kid_subset_size"}
    theirs = {names.get(name, f"kid_kernel_poly_{name}"): value for name, value in wanted.items()}
    mean, std = kid.kid_features_to_metric(fake.double(), real.double(), rng_seed=2020, verbose=False, **theirs).values()
    ours = figures(metric(KID, **options), fake, real)
    assert ours["kid"] == pytest.approx(mean, rel=1e-10)
    assert ours["kid-std"] == pytest.approx(std, rel=1e-10, abs=1e-12)
    single, _ = kid.kid_features_to_metric(fake, real, rng_seed=2020, verbose=False, **theirs).values()
    assert ours["kid"] == pytest.approx(single, rel=1e-3), "it has float32 features in float32"


@pytest.mark.parametrize(("n", "k", "splits"), [(503, 10, 10), (57, 1000, 7), (10, 3, 10), (64, 5, 1)])
def test_inception_score_is_that_of_torch_fidelity(n, k, splits):
    isc = oracle("torch_fidelity.metric_isc")
    logits = noise(n, k, scale=3)
    mean, std = isc.isc_features_to_metric(logits, splits).values()
    ours = score(logits, splits=splits)
    assert ours["inception-score"] == pytest.approx(mean, rel=1e-12)
    assert ours["inception-score-std"] == pytest.approx(std, rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.parametrize(("n", "m", "d"), [(400, 300, 2), (300, 500, 64)])
def test_neighbours_are_those_of_torch_fidelity_and_of_prdc(n, m, d, k, capsys):
    """Shares are equal sample for sample; torch-fidelity has them in float32.

    prdc's precision and recall leave the ball's edge out, where copies lie: in two dimensions some features are (0, 0).
    """
    prc, prdc, joblib = oracle("torch_fidelity.metric_prc"), oracle("prdc"), oracle("joblib")
    fake, real = features(n, m, d)
    ours = {**figures(metric(PrecisionRecall, k=k), fake, real), **figures(metric(DensityCoverage, k=k), fake, real)}
    precision, recall = prc.calculate_precision_recall_full(fake.double(), real.double(), k)
    assert (ours["precision"], ours["recall"]) == pytest.approx((precision, recall), rel=1e-7)
    with joblib.parallel_config(backend="sequential"):
        theirs = prdc.compute_prdc(real.numpy(), fake.numpy(), k)
    assert "Num real" in capsys.readouterr().out
    same = tuple(ours) if d > 2 else ("density", "coverage")
    assert {name: ours[name] for name in same} == pytest.approx({name: theirs[name] for name in same}, rel=1e-12)
    assert ours["coverage"] > 0


def test_nearest_neighbours_are_those_of_scikit_learn_however_the_blocks_are_cut(monkeypatch):
    neighbours = oracle("sklearn.neighbors")
    fake, real = features(70, 90, 16)
    far, which = neighbours.NearestNeighbors(n_neighbors=4, algorithm="brute").fit(real.double().numpy()).kneighbors(fake.double().numpy())
    whole = nearest(fake, real, 4)
    assert np.array_equal(whole[0], which)
    assert np.allclose(whole[1], far, rtol=1e-12, atol=0)
    uncut = [figures(metric(cls), fake, real) for cls in (PrecisionRecall, DensityCoverage, Memorisation)]
    monkeypatch.setattr("ganzoo_metrics.model.distances", lambda x, y: distances(x, y, rows=11, columns=3))
    assert torch.equal(nearest(fake, real, 4)[0], whole[0])
    assert torch.allclose(nearest(fake, real, 4)[1], whole[1], rtol=1e-12, atol=0)
    assert [figures(metric(cls), fake, real) for cls in (PrecisionRecall, DensityCoverage, Memorisation)] == [
        pytest.approx(values, rel=1e-10) for values in uncut
    ]


def test_memorisation_is_its_definition_written_out():
    fake, real = features(80, 120, 6)
    apart = torch.cdist(fake.double(), real.double(), compute_mode="donot_use_mm_for_euclid_dist")
    own = torch.cdist(real.double(), real.double(), compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(math.inf)
    d, which = apart.min(1)
    r = own.min(1).values[which]
    wanted = {"authenticity": float((d > r).double().mean()), "nearest-ratio": float(np.median(d / r))}
    assert figures(metric(Memorisation), fake, real) == pytest.approx(wanted, rel=1e-10)
    assert 0 < wanted["authenticity"] < 1


def test_modes_are_those_that_are_counted_slowly():
    x = torch.tensor(RING.modes)[torch.arange(3000) % 5] + noise(3000, 2, scale=0.03)
    counts = [0] * 8
    for point in x.double().tolist():
        apart = [math.dist(point, mode) for mode in RING.modes]
        if min(apart) <= 0.06:
            counts[apart.index(min(apart))] += 1
    p = [c / sum(counts) for c in counts]
    wanted = {"modes": 5.0, "high-quality": sum(counts) / 3000, "mode-kl": sum(q * math.log(8 * q) for q in p if q)}
    assert seen_modes(x) == pytest.approx(wanted, rel=1e-10)


# --- closed forms


def whitened(n, d, seed=0):
    """Mean 0 and unbiased covariance 1, but for float32."""
    x = noise(n, d, seed).double()
    x = x - x.mean(0)
    return x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T)).T)


def test_fid_of_gaussians_with_known_moments():
    """Diagonal: |m|² + sum (s1 - s2)². Not commuting, of rank 1: the root's trace is |a| |b| |cos|."""
    one, other = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([3.0, 2.0, 0.0]).double()
    shift = torch.tensor([1.0, 0.0, -2.0]).double()
    fake, real = whitened(200, 3) * one, whitened(150, 3, 1) * other + shift
    assert figures(metric(FID), fake.float(), real.float())["fid"] == pytest.approx(5 + 4 + 0 + 0.25, rel=1e-5)
    a, b = torch.tensor([3.0, 0.0]), torch.tensor([1.0, 1.0])
    line = whitened(100, 2).float()[:, :1]
    assert figures(metric(FID), line * a, line * b)["fid"] == pytest.approx(9 + 2 - 2 * 3, rel=1e-5)


@pytest.mark.parametrize(("n", "d"), [(500, 16), (20, 64), (100, 100), (2, 30)])
def test_fid_of_a_set_with_itself_is_0_even_where_the_covariance_is_singular(n, d):
    x, _ = features(n, n, d)
    assert figures(metric(FID), x, x)["fid"] <= 1e-12 * float(x.square().sum(1).mean())


def test_fid_keeps_its_digits_where_there_are_fewer_samples_than_dimensions():
    """The root's trace is the nuclear norm of X Yᵀ, centred samples, which needs no covariance. By eigenvalues it is 1e-8 off."""
    fake, real = features(40, 60, 200)
    x, y = ((side - side.mean(0)) / math.sqrt(len(side) - 1) for side in (fake.double(), real.double()))
    wanted = (fake.double().mean(0) - real.double().mean(0)).square().sum() + x.square().sum() + y.square().sum()
    wanted -= 2 * torch.linalg.svdvals(x @ y.T).sum()
    made = metric(FID)
    assert figures(made, fake, real)["fid"] == pytest.approx(float(wanted), rel=1e-12)
    assert "40 and 60 samples in 200 dimensions" in made.notes[0]


def test_fid_is_exact_far_from_the_origin():
    fake, real = noise(400, 4), noise(400, 4, 1)
    near, far = figures(metric(FID), fake, real)["fid"], figures(metric(FID), fake + 4096, real + 4096)["fid"]
    assert far == pytest.approx(near, rel=1e-2), "the features themselves are float32"


def test_kid_is_unbiased():
    values = [figures(metric(KID, subsets=1, subset_size=40), noise(40, 8, 2 * s), noise(40, 8, 2 * s + 1))["kid"] for s in range(60)]
    assert min(values) < 0 < max(values)
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(len(values))
    assert figures(metric(KID, subsets=1, subset_size=40), noise(40, 8), noise(40, 8, 1, shift=1))["kid"] > 10 * max(values)


def test_kid_of_two_points_each():
    """k = (x y + 1)³ of {0, 1} and {1, 2}: within, 0 · 1 gives 1 and 1 · 2 gives 27; across there are 1, 1, 8 and 27."""
    fake, real = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [2.0]])
    wanted = {"kid": 1 + 27 - 2 * (1 + 1 + 8 + 27) / 4, "kid-std": 0}
    assert figures(metric(KID, subset_size=2), fake, real) == pytest.approx(wanted, abs=1e-12)


def test_inception_score_at_its_ends():
    sure = 1000 * torch.eye(5).repeat(40, 1)
    assert score(sure, splits=1)["inception-score"] == pytest.approx(5, rel=1e-12)
    assert score(torch.zeros(50, 5))["inception-score"] == pytest.approx(1, rel=1e-12)
    assert score(1000 * torch.eye(5)[:1].repeat(50, 1)) == pytest.approx({"inception-score": 1, "inception-score-std": 0})


def test_precision_and_recall_tell_quality_from_variety():
    real = noise(400, 2)
    narrow, wide = (figures(metric(PrecisionRecall), noise(400, 2, 1, scale), real) for scale in (0.2, 5))
    assert narrow["precision"] > 0.95 > 0.5 > narrow["recall"]
    assert wide["recall"] > 0.6 > 0.4 > wide["precision"]
    assert figures(metric(PrecisionRecall), real, real) == {"precision": 1, "recall": 1}


def test_density_and_coverage_of_a_set_with_itself():
    """A ball that reaches to the k-th neighbour holds the sample and k - 1 others: the edge does not belong. So density is 1."""
    x = noise(300, 4)
    assert figures(metric(DensityCoverage), x, x) == pytest.approx({"density": 1, "coverage": 1}, rel=1e-12)


@pytest.mark.parametrize(("offset", "d"), [(0, 3), (10, 700), (100, 12288)])
def test_a_copy_is_a_copy(offset, d):
    """Distance 0, though computed by a difference of large numbers; whatever else the training set holds."""
    real = noise(50, d, shift=offset)
    real = torch.cat((real, real[:10]))
    d_copy = nearest(real, real)[1]
    assert (d_copy == 0).all()
    assert figures(metric(Memorisation), real[5:45], real) == {"authenticity": 0, "nearest-ratio": 0}
    assert figures(metric(Memorisation), real[5:45] + 1e-3 * noise(40, d), real)["authenticity"] <= 5 / 40


def test_samples_far_from_the_training_samples_are_authentic():
    values = figures(metric(Memorisation), noise(50, 3, shift=100), noise(60, 3, 1))
    assert values["authenticity"] == 1
    assert values["nearest-ratio"] > 10


@pytest.mark.parametrize(("which", "modes", "kl"), [(range(8), 8, 0), ((3,), 1, math.log(8)), ((0, 1, 2, 3), 4, math.log(2))])
def test_modes_at_their_centres(which, modes, kl):
    x = torch.tensor(RING.modes)[torch.tensor(tuple(which))].repeat(20, 1)
    assert seen_modes(x) == pytest.approx({"modes": modes, "high-quality": 1, "mode-kl": kl}, abs=1e-12)
    assert seen_modes(x * 1.2) == {"modes": 0, "high-quality": 0, "mode-kl": math.log(8)}


# --- edges


@pytest.mark.parametrize("batch", [1, 7])
def test_figures_do_not_depend_on_how_the_stream_is_cut(batch):
    fake, real = features(61, 83, 5)
    for cls in COMPARING:
        made = metric(cls, **({"subsets": 4, "subset_size": 20} if cls is KID else {}))
        assert figures(made, fake, real, batch) == pytest.approx(figures(made, fake, real, 10_000), rel=1e-10)
    logits = noise(61, 7, scale=4)
    assert score(logits, batch) == pytest.approx(score(logits, 10_000), rel=1e-12)
    x = torch.tensor(RING.modes)[torch.arange(61) % 8] + noise(61, 2, scale=0.03)
    assert seen_modes(x, batch=batch) == seen_modes(x, batch=10_000)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("cls", COMPARING, ids=lambda c: c.__name__)
def test_one_feature_that_is_no_number_is_refused(cls, side, bad):
    sides = list(features(300, 300, 256))
    sides[side][123, 45] = bad
    told = r"NaN or infinity in the \w+ of the " + ("generated" if side == 0 else "training" if cls is Memorisation else "real")
    with pytest.raises(GanzooError, match=told):
        figures(metric(cls), *sides)


def test_logits_and_points_that_are_no_numbers_are_refused():
    logits, x = noise(50, 5), noise(50, 2)
    logits[3, 3] = x[7, 1] = math.nan
    with pytest.raises(GanzooError, match="NaN or infinity in the p of the generated samples"):
        score(logits)
    with pytest.raises(GanzooError, match="NaN or infinity in the generated points"):
        seen_modes(x)


@pytest.mark.parametrize("cls", COMPARING, ids=lambda c: c.__name__)
def test_one_sample_is_too_few(cls):
    x = noise(50, 3)
    for fake, real in ((x[:1], x), (x, x[:1])):
        if cls is DensityCoverage and len(fake) == 1:  # one fake lies in as many balls as it does
            assert figures(metric(cls), fake, real)["coverage"] <= 1
            continue
        with pytest.raises(GanzooError, match="wanted at least"):
            figures(metric(cls), fake, real)


def test_too_few_samples_for_what_was_asked():
    x = noise(9, 3)
    with pytest.raises(GanzooError, match="wanted at least 10 generated samples, got 9"):
        score(x)
    for cls in (PrecisionRecall, DensityCoverage):
        assert figures(metric(cls, k=8), x, x)
        with pytest.raises(GanzooError, match=r"wanted at least 10 samples .* got 9\. Take more, or a smaller k"):
            figures(metric(cls, k=9), x, x)


def test_kid_takes_smaller_subsets_where_there_are_few_samples_and_says_so():
    made = metric(KID)
    fake, real = features(50, 40, 8)
    assert figures(made, fake, real) == figures(metric(KID, subset_size=40), fake, real)
    assert "subsets of 40 samples" in made.notes[0]


def test_features_that_are_constant():
    flat, other = torch.full((30, 5), 0.1), noise(30, 5)
    assert figures(metric(FID), flat, flat + 2)["fid"] == pytest.approx(20, rel=1e-6)
    wanted = float((other.mean(0) - 0.1).square().sum() + torch.cov(other.T).trace())
    assert figures(metric(FID), flat, other)["fid"] == pytest.approx(wanted, rel=1e-6)
    assert figures(metric(KID), flat, flat)["kid"] == pytest.approx(0, abs=1e-12)
    assert figures(metric(PrecisionRecall), flat, flat) == {"precision": 1, "recall": 1}
    assert figures(metric(PrecisionRecall), flat, other)["recall"] == 0
    made = metric(DensityCoverage)
    assert figures(made, flat, flat) == {"density": 0, "coverage": 0}
    assert "30 of 30 real samples have 5 copies or more" in made.notes[0]
    assert figures(metric(Memorisation), flat, flat) == {"authenticity": 0, "nearest-ratio": 0}
    with pytest.raises(GanzooError, match="copies"):
        figures(metric(Memorisation), other, flat)


def test_modes_wants_data_whose_modes_are_known():
    for data in (None, dataclasses.replace(RING, modes=()), dataclasses.replace(RING, sigma=0.0)):
        with pytest.raises(UsageError, match="the centres and the spread of this data are not known"):
            metric(Modes, data).accumulator(10)


def test_what_is_kept_is_called_by_its_settings():
    keys = [metric(InceptionScore, splits=s).accumulator(20).key for s in (5, 10, 10)]
    assert keys[0] != keys[1] == keys[2]
    moved = dataclasses.replace(RING, modes=RING.modes[1:])
    keys = [metric(Modes, data).accumulator(20).key for data in (RING, dataclasses.replace(RING, sigma=0.1), moved, RING)]
    assert len(set(keys)) == 3
    assert keys[0] == keys[3]


def test_records_say_what_the_metrics_do():
    classes = {c.__name__: c for c in (*COMPARING, InceptionScore, Modes)}
    for name, record in RECORDS.items():
        if name not in classes:
            continue
        cls = classes[name]
        assert cls.compares == (cls in COMPARING)
        assert cls.against == ("train" if cls is Memorisation else "")
        assert record.kind == "metric"
        assert make(record.options, record.check.small) is not None or record.options is None


# --- each output beside its truth


def pictures(n=6, size=16, channels=3):
    x = torch.randint(0, 256, (n, channels, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return x, (x.int() + torch.randint(-9, 10, x.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 255).to(torch.uint8)


def beside(name, x, truth, spec=None, lot=4, **options):
    figures, metric = all_beside(name, x, truth, spec, lot, **options)
    return figures[name], metric


def all_beside(name, x, truth, spec=None, lot=4, inputs=None, **options):
    """The figures of x; inputs: what it was made of, by key."""
    entry = catalogue().get("metric", name)
    metric = entry.load()(spec or DataSpec.of("image", tuple(x.shape[1:])), make(entry.record.options, options))
    filled = metric.accumulator(len(x))
    for i in range(0, len(x), lot):
        given = {key: value[i : i + lot] for key, value in (inputs or {}).items()}
        filled.add(FeatureBatch(x[i : i + lot], x[i : i + lot].flatten(1).float(), truth=truth[i : i + lot], inputs=given))
    return metric.compute(filled, None), metric


def test_psnr_is_that_of_the_mean_squared_error_of_each_picture():
    """One grey level off everywhere: 10 log10(255²) = 48.13 dB; two: 6.02 dB less; the figure is the mean of both."""
    truth = torch.full((2, 3, 12, 12), 100, dtype=torch.uint8)
    x = truth.clone()
    x[0] += 1
    x[1] += 2
    assert beside("psnr", x, truth)[0] == pytest.approx(48.1308 - 3.0103, abs=1e-4)
    assert beside("psnr", truth, truth)[0] == 100
    assert beside("psnr", x[:1], truth[:1], luma=True)[0] == pytest.approx(48.1308 + 20 * math.log10(255 / 219), abs=1e-3)
    x[:, :, 0] = 0
    assert beside("psnr", x[:1], truth[:1], border=1)[0] == pytest.approx(48.1308, abs=1e-4)
    with pytest.raises(UsageError, match="leave nothing of 12 x 12"):
        beside("psnr", x, truth, border=6)


@pytest.mark.parametrize("name", ["psnr", "ssim"])
def test_the_figure_of_an_input_stands_beside_that_of_the_output_where_both_have_one_size(name):
    x, truth = pictures()
    worse = x // 2
    own, others = (beside(name, rows, truth)[0] for rows in (x, worse))
    assert all_beside(name, x, truth, inputs={"source": worse})[0] == pytest.approx({name: own, f"input-{name}": others})
    assert all_beside(name, x, truth, inputs={"source": worse[:, :, ::2, ::2], "mask": worse[:, :1]})[0] == {name: own}


def test_ssim_equals_its_definition_written_out():
    """Wang et al. 2004, window by window, with numpy."""
    x, truth = pictures(2, 13, 1)
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    values = []
    for a, b in zip(x.numpy().astype(float)[:, 0], truth.numpy().astype(float)[:, 0], strict=True):
        own = []
        for i in range(3):
            for j in range(3):
                p, q = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
                m, k = (window * p).sum(), (window * q).sum()
                v, w, c = (window * (p - m) ** 2).sum(), (window * (q - k) ** 2).sum(), (window * (p - m) * (q - k)).sum()
                own.append((2 * m * k + 2.55**2) * (2 * c + 7.65**2) / ((m * m + k * k + 2.55**2) * (v + w + 7.65**2)))
        values.append(np.mean(own))
    assert beside("ssim", x, truth)[0] == pytest.approx(np.mean(values), rel=1e-9)
    assert beside("ssim", x, x)[0] == pytest.approx(1)
    with pytest.raises(UsageError, match="at least 11 pixels"):
        beside("ssim", x[:, :, :9], truth[:, :, :9])


def test_accuracy_counts_the_most_probable_class_and_says_when_it_is_chance():
    spec = DataSpec({"x": Field("label", (), 4)}, {"": ("x",)})
    probable = torch.eye(4)[torch.tensor([0, 1, 2, 3, 0, 1])] * 0.5 + 0.1
    value, metric = beside("accuracy", probable, torch.tensor([0, 1, 2, 3, 1, 2]), spec)
    assert value == pytest.approx(4 / 6)
    assert not metric.notes
    value, metric = beside("accuracy", probable, torch.tensor([1, 2, 3, 0, 0, 0]), spec)
    assert value == pytest.approx(1 / 6)
    assert "guessing" in metric.notes[0]


def test_matching_is_the_accuracy_of_the_best_names_for_classes():
    spec = DataSpec({"x": Field("label", (), 4)}, {"": ("x",)})
    y = torch.tensor([0, 1, 2, 3] * 5)
    found = torch.tensor([2, 0, 3, 1])[y]  # the same classes by other numbers
    value, metric = beside("matching", torch.eye(4)[found], y, spec)
    assert (value, metric.notes) == (1, [])
    assert beside("accuracy", torch.eye(4)[found], y, spec)[0] == 0
    value, metric = beside("matching", torch.eye(6)[torch.zeros_like(y)], y, spec)  # all in one of six, of which one is one of four
    assert value == 1 / 4
    assert "5 of the 6 classes" in metric.notes[0]
    assert beside("matching", torch.eye(2)[y % 2], y, spec)[0] == 1 / 2  # two classes are left without a match


def test_the_largest_sum_is_that_of_scipy():
    from ganzoo_metrics.truth import largest_sum

    optimize = pytest.importorskip("scipy.optimize")
    g = np.random.default_rng(0)
    for _ in range(300):
        counts = g.integers(0, 5, g.integers(1, 9, 2)).astype(float)  # small numbers: many ties
        assert largest_sum(counts) == counts[optimize.linear_sum_assignment(-counts)].sum()
    counts = g.random((60, 40))
    assert largest_sum(counts) == pytest.approx(counts[optimize.linear_sum_assignment(-counts)].sum())


def texts(*rows, length=6):
    return torch.tensor([[*row, *[0] * (length - len(row))] for row in rows])


def bleu(fake, real, **options):
    entry = catalogue().get("metric", "bleu")
    metric = entry.load()(DataSpec.of("tokens", (6,)), make(entry.record.options, options))
    sides = []
    for rows in (fake, real):
        sides.append(metric.accumulator(len(rows)))
        for i in range(0, len(rows), 2):
            sides[-1].add(FeatureBatch(rows[i : i + 2], rows[i : i + 2].float()))
    return metric.compute(*sides)


def test_bleu_is_the_papers_on_its_own_examples():
    """Papineni et al. 2002, section 2.1: "the the the the the the the" scores 2/7 in single words against "the cat is on the mat"."""
    the, cat, is_, on, mat = range(2, 7)
    fake, real = texts([the] * 7, length=7), texts([the, cat, is_, on, the, mat], [the, cat], length=7)
    assert bleu(fake.repeat(2, 1), real, order=1)["bleu"] == pytest.approx(2 / 7)
    same = texts([the, cat, is_, on, mat], [cat, is_, on, the, mat])
    assert bleu(same, same)["bleu"] == 1
    assert bleu(texts([9, 10, 11, 12]).repeat(2, 1), same)["bleu"] == 0
    # Half of the words known, and one word too few: 1/2 * e^(1 - 4/3).
    short = bleu(texts([the, 9, cat, 10][:3], [the, 9, 10]), texts([the, cat, is_, on], [the, cat, is_, on]), order=1)
    assert short["bleu"] == pytest.approx(0.5 * math.exp(1 - 4 / 3))


def test_self_bleu_tells_repetition_and_leaves_a_text_out_of_its_own_references():
    alike, apart = texts([2, 3, 4, 5]).repeat(3, 1), texts([2, 3, 4, 5], [6, 7, 8, 9], [10, 11, 12, 13])
    assert bleu(alike, apart)["self-bleu"] == 1
    assert bleu(apart, alike)["self-bleu"] == 0
    assert bleu(texts([2, 3, 4, 5], [2, 3, 9, 9]), apart, order=1)["self-bleu"] == pytest.approx(0.5)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_bleu_is_that_of_nltk(order):
    """Digit by digit, on texts of 4 to 12 words of 6, so that many n-grams are there and many are not."""
    from nltk.translate.bleu_score import corpus_bleu

    g = torch.Generator().manual_seed(order)
    sides = []
    for n in (30, 40):
        rows = torch.randint(1, 7, (n, 12), generator=g)
        lengths = torch.randint(4, 13, (n, 1), generator=g)
        sides.append(torch.where(torch.arange(12) < lengths, rows, 0))
    fake, real = sides
    words = [[[k for k in row if k] for row in side.tolist()] for side in sides]
    weights = [1 / order] * order
    told = bleu(fake, real, order=order)
    assert told["bleu"] == pytest.approx(corpus_bleu([words[1]] * len(words[0]), words[0], weights), abs=1e-12)
    others = [words[0][:i] + words[0][i + 1 :] for i in range(len(words[0]))]
    assert told["self-bleu"] == pytest.approx(corpus_bleu(others, words[0], weights), abs=1e-12)
