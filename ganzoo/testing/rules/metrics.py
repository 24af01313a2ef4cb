"""Rules for metrics and feature extractors."""

from __future__ import annotations

from functools import partial

from ganzoo.config import DataOptions
from ganzoo.errors import GanzooError
from ganzoo.registry.catalogue import medium
from ganzoo.testing import toys
from ganzoo.testing.case import Case, Skip, rule
from ganzoo.types import DataSet, Field


@rule("metric")
def figures_are_of_the_samples_alone(case: Case) -> None:
    """On random features it gives the figures that its record names, all finite, whatever lots the samples came in; and the same again from
    the state of its accumulators, which is all that is cached of real samples."""
    import torch

    from ganzoo.metrics import Accumulator, FeatureBatch, Metric
    from ganzoo.randomness import generator

    part, n = case.record, 60
    modes = ((-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0))
    toy = DataSet("clusters", "", "four Gaussians", {"x": Field("points")}, modes=modes, sigma=0.1)
    names = sorted(part.media or ("points",), key=lambda name: name != "points")
    kind = next(medium(name) for name in names)
    field = kind.toys[0] if kind.toys else Field(kind.name, size=toys.CLASSES)
    spec = toys.spec(field)
    entry = case.known_entry
    metric: Metric = entry.build(spec, entry.options({}, ""), toy)

    def filled(side: str, lot: int) -> Accumulator:
        g = generator(side)
        x = kind.toy(n, spec.x)["x"]
        truth = x.flip(0)
        if len(kind.shape_of_output(field)) > x.dim() - 1:  # probabilities of classes
            x = torch.rand(n, *kind.shape_of_output(field), generator=g)
        features, logits = torch.randn(n, 4, generator=g), torch.randn(n, 5, generator=g)
        accumulator = metric.accumulator(n)
        for i in range(0, n, lot):
            lines = slice(i, i + lot)
            inputs, likelihood = {"x": truth[lines]}, -features[lines, 0].double().square()
            accumulator.add(FeatureBatch(x[lines], features[lines], logits[lines], truth[lines], inputs, likelihood))
        return accumulator

    def figures(lot: int, restored: bool = False) -> dict[str, float]:
        real = filled("real", lot) if metric.compares else None
        if real is not None and restored:
            again = metric.accumulator(n)
            again.state = {name: tensor.clone() for name, tensor in real.state.items()}
            real = again
        return metric.compute(filled("fake", lot), real)

    at_once = figures(n)
    assert tuple(at_once) == tuple(part.figures), f"it gives {tuple(at_once)}; its record says {tuple(part.figures)}"
    for name, value in at_once.items():
        finite = isinstance(value, float) and abs(value) < float("inf")
        assert finite, f"{name} is {value!r}, and no finite float"
    for how, other in (("in lots of 7", figures(7)), ("from the cached state of the real samples", figures(n, restored=True))):
        for name, value in other.items():
            first = at_once[name]
            assert abs(value - first) <= 1e-9 * max(1.0, abs(first)), f"{name} is {first} in one lot, and {value} {how}"


@rule("features", may_skip=True)
def each_sample_is_seen_alone(case: Case) -> None:
    """Its features are finite, float32 (N, D), and those of a sample do not depend on the others in its batch; it takes every kind of data
    that its record names, grey and colour, and leaves torch's random state as it was. Skipped where its weights are not at hand."""
    import torch

    from ganzoo.data import prepare
    from ganzoo.data.cache import data_folder
    from ganzoo.metrics import ExtractorContext, FeatureExtractor

    part, entry = case.record, case.known_entry
    for field in [field for kind in toys.media() if not part.media or kind.name in part.media for field in kind.toys[:2]]:
        training = partial(prepare, DataOptions(str(toys.file(field))))
        data, cpu = training(), torch.device("cpu")
        context = ExtractorContext(part.layers[0], training, case.folder, data_folder(None), cpu, lambda what, done, total: None)
        before = torch.random.get_rng_state()
        try:
            extractor: FeatureExtractor = entry.build(data.spec, entry.options(part.check.small, ""), context)
        except GanzooError as e:
            raise Skip(f"it cannot be built here: {str(e).partition('. ')[0]}") from e
        extractor.eval()
        x = data.load()["x"][:5]
        with torch.no_grad():
            features, logits = extractor(x)
            alone, _ = extractor(x[:1])
        assert torch.equal(torch.random.get_rng_state(), before), "it changes torch's random state"
        assert isinstance(extractor.weights_hash, str), "`weights_hash` is no string"
        assert isinstance(extractor.note, str), "`note` is no string"
        assert features.dtype == torch.float32, f"features are {features.dtype}; wanted float32"
        assert features.shape[:-1] == (5,), f"features of 5 samples have the shape {tuple(features.shape)}; wanted (5, D)"
        assert bool(features.isfinite().all()), "features are not finite"
        assert logits is None or logits.shape[:-1] == (5,), "logits are not (N, K)"
        apart = float((features[:1] - alone).abs().max()) / max(float(alone.abs().max()), 1e-6)
        assert apart < 1e-4, f"the features of a sample change by {apart:.1e} with the others in its batch"
