"""Rules for wrappers and degradations."""

from __future__ import annotations

from ganzoo.testing import toys
from ganzoo.testing.case import Case, rule, steps


@rule("wrapper", trains=True)
def looks_are_differentiable(case: Case) -> None:
    """A wrapper has no parameters and saves all its buffers; what D sees through it keeps its shape, is a function of the draws, and passes
    gradients on."""
    import torch

    from ganzoo.randomness import draws

    session = case.session()
    around = [wrapper for wrappers in session.strategy._around.values() for wrapper in wrappers]
    assert around, "it stands around no discriminator"
    for wrapper in around:
        assert not list(wrapper.parameters()), "it has parameters, which no optimiser moves: keep state in buffers"
        unsaved = dict(wrapper.named_buffers()).keys() - wrapper.state_dict().keys()
        assert not unsaved, f"its buffer {min(unsaved)} is not saved: register it as persistent"
        real = session.batches.peek(8)
        x = real["x"].clone().requires_grad_()

        def look(x: torch.Tensor, wrapper: torch.nn.Module = wrapper) -> dict[str, torch.Tensor]:
            with draws("kit"):
                seen: dict[str, torch.Tensor] = wrapper.look({"x": x})  # type: ignore[operator]
            return seen

        seen = look(x)
        assert set(seen) == {"x"}, f"look gives {', '.join(seen)} of x"
        assert seen["x"].shape == x.shape, f"look makes {tuple(seen['x'].shape)} of {tuple(x.shape)}"
        assert torch.equal(seen["x"], look(x)["x"]), "look gives something else each time: it draws from elsewhere than ganzoo.draw"
        assert seen["x"].requires_grad, "look passes no gradient on: G could not learn through it"
        (gradient,) = torch.autograd.grad(seen["x"].sum(), x)
        assert gradient.isfinite().all(), "look passes a gradient on that is not finite"
    steps(session, 2)


@rule("degradation")
def degradations_make_what_they_say(case: Case) -> None:
    """What is made of each kind of toy data has the declared keys and shapes and the range of such data, and is a function of the draws;
    what it is made of stays as it was."""
    import torch

    from ganzoo.data.batches import degraded
    from ganzoo.registry.catalogue import medium

    assert case.fields(), "it takes no toy data"
    for field in case.fields():
        kind, entry = medium(field.medium), case.known_entry
        degradation = entry.build(toys.spec(field), entry.options(case.record.check.small, "--degradation."))
        declared = degradation.fields(field)
        assert tuple(declared) == case.record.gives, f"it declares {', '.join(declared)}; its record says {', '.join(case.record.gives)}"
        x = kind.to_batch(toys.rows(field, n=16)["x"])
        before = x.clone()
        values, again = degraded(degradation, x, "kit"), degraded(degradation, x, "kit")
        assert torch.equal(x, before), "it changes x in place"
        assert set(values) == set(declared), f"it makes {', '.join(values)}; it declares {', '.join(declared)}"
        for key, own in declared.items():
            assert tuple(values[key].shape) == (16, *own.shape), f"{key}: wanted {(16, *own.shape)}, got {tuple(values[key].shape)}"
            assert torch.equal(values[key], again[key]), f"{key} differs the second time: it draws from elsewhere than ganzoo.draw"
            if kind.pictures:
                assert float(values[key].abs().max()) <= 1.001, f"{key} leaves [-1, 1]"
