"""Rules for recipes and parts in a combination: do the parts fit, and do the networks give what their records say?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from ganzoo import compose
from ganzoo.compose import Resolved
from ganzoo.config import Config
from ganzoo.registry.catalogue import medium
from ganzoo.testing.case import COMBINATIONS, Case, rule, scalars, steps, toy_labels

if TYPE_CHECKING:
    from torch import Tensor


@rule(*COMBINATIONS)
def parts_fit(case: Case) -> None:
    """The parts exist and fit each other and some kind of data; all options, those of the small version too, are ones that they have."""
    compose.resolve(case.zoo, case.recipe, {}, case.exchanged, {})
    assert case.fields(), "there is no kind of data that all of its parts take"
    config = case.resolved().config
    assert Config.from_json(json.loads(json.dumps(config.to_json()))).to_json() == config.to_json(), "its configuration changes in JSON"


def _settings(case: Case) -> Iterator[tuple[str, Resolved]]:
    """The combination on each kind and size of data that it takes, with a name."""
    for field in case.fields():
        yield f"{field.medium} {' x '.join(map(str, field.shape))}", case.resolved(field)


@rule(*COMBINATIONS, trains=True)
def samples_fit_the_data(case: Case) -> None:
    """Samples are finite float32 of the data's shape: images grey and in colour, of two sizes, and points, as far as the parts take them.

    Images are in [-1, 1]; a linear output may leave it, but not by more than as much again. A single sample can be drawn.
    """
    import torch

    from ganzoo.runs.exported import Exported

    for name, resolved in _settings(case):
        session = case.session(resolved)
        steps(session, 1)
        exported, spec = Exported.of(session.strategy), session.strategy.spec
        network, z, labels = exported.network.eval(), exported.latents(5, 0), toy_labels(spec, exported.given, 5)
        with torch.no_grad():
            x, one = (network(z[:n], **({} if labels is None else {"y": labels[:n]})) for n in (5, 1))
        assert tuple(x.shape) == (5, *spec.shape), f"{name}: wanted {(5, *spec.shape)}, got {tuple(x.shape)}"
        assert x.dtype == torch.float32, f"{name}: wanted float32, got {x.dtype}"
        assert x.isfinite().all(), f"{name}: not all of the samples are finite"
        if medium(spec.kind).pictures:
            outside = float((x.abs() > 2).float().mean())
            assert outside < 0.05, f"{name}: {outside:.0%} of the samples' values are beyond [-2, 2]; images are in [-1, 1]"
        assert tuple(one.shape) == (1, *spec.shape), f"{name}: one sample has the shape {tuple(one.shape)}"


@rule(*COMBINATIONS, trains=True)
def smallest_batch_works(case: Case) -> None:
    """It trains with batches of one sample, or of as many as the recipe's `min_batch` says."""
    for terms in steps(case.session(case.resolved(batch_size=case.zoo.recipe(case.recipe).min_batch)), 2):
        scalars(terms)


@rule(*COMBINATIONS, trains=True)
def discriminator_gives_what_it_says(case: Case) -> None:
    """D's outputs are those that its record `gives`, in that order: raw logits (N,), class_logits (N, classes), a reconstruction as x.

    Where the record says `per_sample`, what it says of one sample does not change with the others of the batch.
    """
    import torch

    from ganzoo.randomness import seed_step

    session = case.session()
    strategy, spec = session.strategy, session.strategy.spec
    part = strategy.build.parts["discriminator"]
    D, batch = strategy.build.discriminator(), next(session.batches)
    n, given = len(batch["x"]), {key: batch[key] for key in part.given}

    def judged(D: Any, x: Tensor) -> tuple[Tensor, ...]:
        seed_step(0, 0)
        outputs = D(x, **given)
        return outputs if isinstance(outputs, tuple) else (outputs,)

    first, second = deepcopy(D), deepcopy(D)
    outputs = judged(first, batch["x"])
    assert len(outputs) == len(part.gives), f"it gives {len(outputs)} outputs; its record says {', '.join(part.gives)}"
    shapes = {"logits": (n,), "class_logits": (n, spec.classes), "reconstruction": tuple(batch["x"].shape)}
    for name, output in zip(part.gives, outputs, strict=True):
        wanted, got = shapes.get(name, (n, *output.shape[1:])), tuple(output.shape)
        assert got == wanted, f"{name}: wanted {wanted}, got {got}"
    if "logits" in part.gives:
        large = strategy.build.discriminator()
        with torch.no_grad():
            for p in large.parameters():
                p.mul_(10)
        logits = judged(large, batch["x"])[part.gives.index("logits")]
        assert not ((logits >= 0) & (logits <= 1)).all() or logits.std() == 0, "logits: all in [0, 1], as after a sigmoid; wanted raw ones"
    if part.per_sample:
        other = batch["x"].clone()
        other[1:] = other[1:].flip(-1) * 0.5
        for name, a, b in zip(part.gives, outputs, judged(second, other), strict=True):
            assert torch.allclose(a[0], b[0], atol=1e-5), f"{name} of a sample depends on the others, though its record says per_sample"


@rule(*COMBINATIONS, trains=True, applies=lambda case: any(case.parts()[kind].given for kind in ("generator", "discriminator")))
def conditions_are_used(case: Case) -> None:
    """A network that is `given` a condition gives other samples, or other outputs, for another one."""
    import torch

    parts, session = case.parts(), case.session()
    steps(session, 2)
    x, spec = next(session.batches)["x"], session.strategy.spec
    G, D = session.strategy.G, session.strategy.build.discriminator()
    for kind, network, inputs in (("generator", G, G.latent(len(x))), ("discriminator", D, x)):
        y = toy_labels(spec, parts[kind].given, len(x))
        if y is not None:
            network.eval()
            with torch.no_grad():
                a, b = network(inputs, y=y), network(inputs, y=(y + 1) % spec.classes)
            a, b = (outputs[0] if isinstance(outputs, tuple) else outputs for outputs in (a, b))
            assert not torch.equal(a, b), f"the {kind} {parts[kind].name!r} does not use {', '.join(parts[kind].given)}"
