"""Rules for recipes and parts in a combination: do the parts fit, and do the networks give what their records say?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from ganzoo.compose import Resolved
from ganzoo.config import Config
from ganzoo.registry.catalogue import medium
from ganzoo.testing.case import COMBINATIONS, Case, made, products, rule, scalars, steps

if TYPE_CHECKING:
    from torch import Tensor

    from ganzoo.interfaces import Network
    from ganzoo.training.session import Session


@rule(*COMBINATIONS)
def parts_fit(case: Case) -> None:
    """The parts exist and fit each other and some kind of data; all options, those of the presets and of the small version too, are ones
    that they have."""
    for preset in case.zoo.recipe(case.recipe).presets or ["quick"]:
        draft = case.draft()
        draft.changes.run["preset"] = preset
        draft.resolve()
    assert case.fields(), "there is no kind of data that all of its parts take"
    config = case.resolved().config
    assert Config.from_json(json.loads(json.dumps(config.to_json()))).to_json() == config.to_json(), "its configuration changes in JSON"


def _settings(case: Case) -> Iterator[tuple[str, Resolved]]:
    """The combination on each kind and size of data that it takes, with a name."""
    for field in case.fields():
        yield f"{field.medium} {' x '.join(map(str, field.shape))}", case.resolved(field)


@rule(*COMBINATIONS, trains=True)
def products_fit_the_data(case: Case) -> None:
    """What the products give is finite and has the shape of its field: images grey and in colour, of two sizes, points, whatever the parts
    take.

    Images are in [-1, 1]; a linear output may leave it, but not by more than as much again. A single row can be made.
    """
    import torch

    for setting, resolved in _settings(case):
        session = case.session(resolved)
        steps(session, 1)
        for product in products(session):
            name, kind, field = f"{setting}: {product.name}", product.medium, product.field
            for n in (5, 1):
                x = made(session, product, n)
                assert len(x) == n, f"{name}: wanted {n} rows, got {len(x)}"
                assert x.isfinite().all(), f"{name}: not all of it is finite"
                assert x.dtype in (torch.float32, torch.int64), f"{name}: wanted float32, or int64 of what is counted; got {x.dtype}"
                wanted, got = kind.shape_of_output(field), tuple(kind.stored(x, field).shape[1:])
                assert got == wanted, f"{name}: wanted rows of the shape {wanted}, got {got}"
                if kind.pictures:
                    outside = float((x.abs() > 2).float().mean())
                    assert outside < 0.05, f"{name}: {outside:.0%} of the values are beyond [-2, 2]; images are in [-1, 1]"


@rule(*COMBINATIONS, trains=True)
def smallest_batch_works(case: Case) -> None:
    """It trains with batches of one sample, or of as many as the recipe's `min_batch` says."""
    for terms in steps(case.session(case.resolved(batch_size=case.zoo.recipe(case.recipe).min_batch)), 2):
        scalars(terms)


def networks(session: Session) -> dict[str, Network]:
    """The networks of a strategy by attribute, without their averages."""
    from ganzoo.interfaces import Network

    modules = session.strategy.named_modules()
    return {path: m for path, m in modules if isinstance(m, Network) and not path.startswith("averages.")}


def inputs_of(session: Session, network: Network, n: int) -> dict[str, Tensor]:
    """What a network can be called with: the first rows of the data, under its own names, and latents."""
    from ganzoo.randomness import draw, draws

    real = session.batches.peek(n)
    with draws("kit"):
        latents = {name: draw(name, prior, n) for name, prior in network.latents().items()}
    return {key: latents[key] if key in latents else real[network.names.get(key, key)] for key in network.record.parameters}


def called(network: Network, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """All outputs of a network, with the same random numbers each time."""
    from ganzoo.randomness import draws, seed_step

    seed_step(0, 0)
    with draws("kit"):
        outputs = network(**inputs)
    return outputs if isinstance(outputs, tuple) else (outputs,)


@rule(*COMBINATIONS, trains=True)
def networks_give_what_they_say(case: Case) -> None:
    """A network's outputs are those that its record `gives`, in that order: raw logits (N,), or (N, ...) of patches, class_logits
    (N, classes), a reconstruction as x. Its priors are those of its record's `latents`. With what it `may_take`, alone or beside the
    others, the shapes are the same.

    Where the record says `per_sample`, what it says of one sample does not change with the others of the batch.
    """
    import torch

    session = case.session()
    n = len(next(session.batches)[case.parts().main])
    for path, network in networks(session).items():
        record, inputs = network.record, inputs_of(session, network, n)
        told = tuple(network.latents())
        assert told == record.latents, f"{path}: its latents are {told}; its record says {record.latents}"
        first, second, large = (deepcopy(network) for _ in range(3))
        outputs = called(first, inputs)
        assert len(outputs) == len(record.gives), f"{path} gives {len(outputs)} outputs; its record says {', '.join(record.gives)}"
        shapes: dict[str, Any] = {"class_logits": (n, network.spec.classes)}
        if "x" in inputs:
            shapes["reconstruction"] = tuple(inputs["x"].shape)
        for name, output in zip(record.gives, outputs, strict=True):
            wanted, got = shapes.get(name, (n, *output.shape[1:])), tuple(output.shape)
            assert got == wanted, f"{path}: {name}: wanted {wanted}, got {got}"
            assert name != "logits" or got != (n, 1), f"{path}: logits: wanted {(n,)}, got {got}"
        if "logits" in record.gives:
            with torch.no_grad():
                for p in large.parameters():
                    p.mul_(10)
            logits = called(large, inputs)[record.gives.index("logits")]
            inside = ((logits >= 0) & (logits <= 1)).all() and logits.std() != 0
            assert not inside, f"{path}: logits: all in [0, 1], as after a sigmoid; wanted raw ones"
        for name in record.may_take:
            known = {name: session.batches.peek(n)[network.names.get(name, name)]}
            for more in (known, inputs | known):
                again = [tuple(output.shape) for output in called(deepcopy(network), more)]
                far = f"{path}, called with {' and '.join(more)}: it gives {again}"
                assert again == [tuple(output.shape) for output in outputs], far
        if record.per_sample:
            other = {key: value[:1].expand_as(value) for key, value in inputs.items()}  # all rows become the first one
            for name, a, b in zip(record.gives, outputs, called(second, other), strict=True):
                far = f"{path}: {name} of a sample depends on the others, though its record says per_sample"
                assert torch.allclose(a[0], b[0], atol=1e-5), far


@rule(
    *COMBINATIONS, trains=True, applies=lambda case: any(len(n.takes) > (n.role == "discriminator") for n in case.parts().networks.values())
)
def conditions_are_used(case: Case) -> None:
    """A network that takes a condition, a label or a picture, gives something else for another one."""
    import torch

    session = case.session()
    steps(session, 2)
    for path, network in networks(session).items():
        inputs = inputs_of(session, network, 8)
        network.eval()
        for key in network.record.takes:
            if key == "x" and network.record.role == "discriminator":
                continue
            field = network.spec.fields[key]
            counted = medium(field.medium).made_up(0, field) is not None
            other = (inputs[key] + 1) % field.size if counted else inputs[key].roll(1, 0)
            with torch.no_grad():
                a, b = called(network, inputs)[0], called(network, {**inputs, key: other})[0]
            assert not torch.equal(a, b), f"{path}, the {network.record.kind} {network.record.name!r}, does not use {key}"
