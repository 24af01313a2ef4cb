"""Degradations: what they make of pictures, and how they reach a batch."""

from __future__ import annotations

import pytest
import torch

import ganzoo
from ganzoo import DataSpec, Field, UsageError
from ganzoo.data import Batches
from ganzoo.registry.catalogue import catalogue

COLOUR = Field("image", (3, 16, 16))


def degradation(name, x=COLOUR, **options):
    entry = catalogue().get("degradation", name)
    return entry.build(DataSpec({"x": x}, {"": ("x",)}), entry.options(options, "--degradation."))


def pictures(n=32, size=16):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def made(name, x, seed=0, **options):
    with ganzoo.draws(seed):
        return degradation(name, Field("image", tuple(x.shape[1:])), **options)(x)


@pytest.mark.parametrize(("name", "options"), [("downscale", {"factor": "2"}), ("mask", {}), ("noise", {}), ("grey", {})])
def test_what_is_made_has_the_declared_shape_and_range(name, options):
    x = pictures()
    fields = degradation(name, **options).fields(Field("image", (3, 16, 16)))
    values = made(name, x, **options)
    assert tuple(fields) == catalogue().get("degradation", name).record.gives == tuple(values)
    for key, field in fields.items():
        assert values[key].shape == (32, *field.shape)
        assert float(values[key].abs().max()) <= 1.0 + 1e-6
    assert all(torch.equal(a, b) for a, b in zip(values.values(), made(name, x, **options).values(), strict=True))


def test_downscale_keeps_what_is_constant_and_refuses_odd_sides():
    flat = torch.full((2, 3, 16, 16), 0.25)
    assert torch.allclose(made("downscale", flat, factor="4")["source"], torch.full((2, 3, 4, 4), 0.25), atol=1e-6)
    with pytest.raises(UsageError, match="multiples of 4, got 18 x 16"):
        degradation("downscale").fields(Field("image", (3, 16, 18)))


@pytest.mark.parametrize(("kind", "share"), [("centre", 0.25), ("block", 0.25), ("noise", 0.5)])
def test_a_mask_says_what_is_missing(kind, share):
    x = pictures()
    values = made("mask", x, kind=kind, share=share)
    missing = values["mask"] > 0
    assert set(values["mask"].unique().tolist()) == {-1.0, 1.0}
    assert float(missing.float().mean()) == pytest.approx(share, abs=0.02)
    assert torch.equal(values["source"][~missing.expand_as(x)], x[~missing.expand_as(x)])
    assert not values["source"][missing.expand_as(x)].any()
    first = missing[0]
    assert all(torch.equal(one, first) for one in missing) == (kind == "centre")


def test_noise_has_the_deviation_that_was_asked_for():
    x = torch.zeros(64, 3, 16, 16)
    assert float(made("noise", x, sigma=25.0)["source"].std()) == pytest.approx(25 / 127.5, rel=0.02)


def test_grey_is_luma_and_only_of_colour():
    x = pictures()
    expected = 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]
    assert torch.allclose(made("grey", x)["source"], expected, atol=1e-6)
    with pytest.raises(UsageError, match="grey already"):
        degradation("grey").fields(Field("image", (1, 16, 16)))


def test_batches_carry_what_a_degradation_makes_of_the_mirrored_sample():
    stored = torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8)
    spec = DataSpec.of("image", (3, 8, 8))

    def batches(position=0):
        made = degradation("noise", spec.x)
        return Batches(
            {"x": stored}, spec, 6, seed=3, device=torch.device("cpu"), flip=True, degradation=made, position=position,
        )  # fmt: skip

    first = batches()
    assert first.spec.fields["source"] == spec.x
    assert first.spec.set_of("source") == first.spec.set_of("x")
    one, two = next(first), next(first)
    assert torch.equal(next(batches(1))["source"], two["source"])
    inside = (one["x"].abs() < 0.3) & (one["source"].abs() < 1)
    assert 0 < float((one["source"] - one["x"])[inside].abs().mean()) < 0.4
    assert torch.equal(first.peek(5)["source"], first.peek(5)["source"])
    assert torch.equal(first.peek(5)["x"], stored[first._rows("", 0, 5)].float() / 127.5 - 1)


def test_a_run_says_that_its_degradation_changes_nothing_where_no_part_takes_what_it_makes(tmp_path):
    small = {"generator.width": 8, "discriminator.width": 8}
    with pytest.warns(UserWarning, match="no part of dcgan takes source: the degradation changes nothing"):
        ganzoo.train(
            "dcgan", parts={"degradation": "noise"}, options=small, image_size=16, steps=1, batch_size=4, out=tmp_path / "run"
        )  # fmt: skip
