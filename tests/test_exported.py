"""A generator's samples: the same ones however many are asked for, wherever the network is."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from zoo import built, small

import ganzoo
from ganzoo import DataSpec
from ganzoo.errors import GanzooError, UsageError
from ganzoo.registry.catalogue import catalogue
from ganzoo.runs.exported import BATCH, LATENTS_PER_SEED, Exported, load
from ganzoo.training import launch
from ganzoo.training.loop import Watch


class Made(ganzoo.Generator):
    """Makes the sum of its latents and its class, with the given number of samples too many."""

    def __init__(self, spec, options=0):
        super().__init__(spec, options)
        self.weight = nn.Parameter(torch.ones(()))

    def latent(self, n):
        return torch.randn(n, 2)

    def forward(self, z, y):
        assert z.device == y.device == self.weight.device
        x = torch.arange(2.0).expand(len(z) + self.options, 2) if z.is_meta else z + y[:, None]
        return torch.cat([x, x[: self.options]]) if self.options and not z.is_meta else x


POINTS = DataSpec.of("points", (2,), 3)


@pytest.mark.parametrize("recipe", ["dcgan", "acgan", "began", "sngan"])
def test_a_sample_depends_on_the_seed_and_its_number_alone(recipe, images):
    exported = Exported.of(built(small(recipe, images(3))).strategy)
    n = LATENTS_PER_SEED + BATCH + 3
    many = torch.cat(list(exported.samples(n, 5)))
    assert many.shape == (n, 3, 16, 16)
    assert many.dtype == torch.uint8
    for some in (1, 7, BATCH, BATCH + 1, LATENTS_PER_SEED + 1):
        assert torch.equal(torch.cat(list(exported.samples(some, 5))), many[:some]), some
    assert not torch.equal(torch.cat(list(exported.samples(7, 6))), many[:7])


def test_drawing_leaves_torchs_random_state_and_the_mode_of_the_network(images):
    strategy = built(small("dcgan", images())).strategy
    before = torch.random.get_rng_state()
    list(Exported.of(strategy).samples(5))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert strategy.G.training


def test_latents_and_classes_go_to_the_networks_device():
    exported = Exported(Made(POINTS).to("meta"), "made", ("y",))
    assert torch.cat(list(exported.samples(BATCH + 1))).tolist() == [[0.0, 1.0]] * (BATCH + 1)


def test_classes_come_in_turn_unless_they_are_named():
    exported = Exported(Made(POINTS), "made", ("y",))
    z = torch.zeros(7, 2)
    assert torch.cat(list(exported.outputs(z)))[:, 0].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert torch.cat(list(exported.outputs(z, labels=torch.full((7,), 2))))[:, 0].tolist() == [2] * 7


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(GanzooError, match=f"makes {BATCH + 1} samples of {BATCH} latents"):
        list(Exported(Made(POINTS, 1), "made", ("y",)).samples(3))
    with pytest.raises(GanzooError, match="not finite numbers"):
        list(Exported(Made(POINTS), "made", ("y",)).outputs(torch.full((1, 2), float("nan"))))
    with pytest.raises(UsageError, match="needs text"):
        Exported(Made(POINTS), "made", ("y", "text")).samples(3)


def test_the_last_sheet_of_a_run_shows_what_its_seed_draws_from_its_file(images, ganzoo, tmp_path):
    folder = launch.start(small("gan", images(), steps=3, seed=4), tmp_path / "run", Watch())
    assert ganzoo("sample", folder, "--seed", 4, "--out", tmp_path / "again.png").returncode == 0
    assert (tmp_path / "again.png").read_bytes() == (folder / "samples" / "000003.png").read_bytes()
    assert load(catalogue(), folder).step == 3
