"""What the conformance kit does not ask: kills, exchanged parts, and what a paper says of one GAN."""

from __future__ import annotations

import json
import signal
import time

import pytest
import torch
from zoo import built, flags, samples, small

from ganzoo import compose
from ganzoo.config import Changes
from ganzoo.randomness import draws
from ganzoo.registry.catalogue import catalogue
from ganzoo.runs import checkpoint
from ganzoo.strategy import update
from ganzoo.testing import fresh


@pytest.mark.parametrize("recipe", ["dcgan", "began", "sngan"])
def test_a_killed_and_resumed_run_equals_a_straight_one_bit_for_bit(recipe, images, ganzoo, tmp_path):
    """In processes of their own; killed by SIGKILL wherever it happens to be."""
    words = [*flags(small(recipe, images(), ema=0.9)), "--flip", "--save-every=3", "--sample-every=4"]
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    process = fresh.Process(["run", *words, "--steps=1000000", f"--out={killed}"])
    while process.poll() is None and not checkpoint.steps_in(killed / "checkpoints"):
        time.sleep(0.01)
    process.kill()
    done = process.wait()
    assert done.returncode == -signal.SIGKILL, done.stderr
    end = checkpoint.steps_in(killed / "checkpoints")[-1] + 5
    resumed = ganzoo("resume", killed, "--steps", end)
    assert resumed.returncode == 0, resumed.stderr
    whole = ganzoo("run", *words, f"--steps={end}", f"--out={straight}")
    assert whole.returncode == 0, whole.stderr
    a, meta_a = checkpoint.read(checkpoint.path_of(killed / "checkpoints", end))
    b, meta_b = checkpoint.read(checkpoint.path_of(straight / "checkpoints", end))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert meta_a == meta_b
    for file in ("generator.safetensors", f"samples/{end:06d}.png"):
        assert (killed / file).read_bytes() == (straight / file).read_bytes()
    terms = [
        [{k: v for k, v in json.loads(line).items() if k not in ("time", "images_per_second", "check")} for line in text.splitlines()]
        for text in ((folder / "metrics.jsonl").read_text() for folder in (killed, straight))
    ]
    logged = [[line for line in lines if line["step"] % 10 == 0 or line["step"] == end] for lines in terms]
    assert logged[0] == logged[1]


@pytest.mark.parametrize("exchange", [{"loss": "hinge"}, {"loss": "least-squares"}, {"loss": "minimax"}, {"loss": "wasserstein"}])
@pytest.mark.parametrize("recipe", ["dcgan", "acgan"])
def test_parts_can_be_exchanged(recipe, exchange, images):
    session = built(small(recipe, images(), exchange))
    assert all(value.isfinite() for line in [session.step(t) for t in range(2)] for value in line.values())


def test_a_loss_with_a_penalty_runs_with_a_critic_that_fits(images):
    session = built(small("dcgan", images(), {"loss": "r1", "discriminator": "dcgan-critic"}))
    assert {"d/real", "d/fake", "d/r1", "g/fake"} <= session.step(0).keys()


def test_dcgan_starts_with_the_weights_of_the_paper(images):
    session = built(small("dcgan", images(3, 64, n=8), batch_size=4))
    strategy = session.strategy
    wide = [m for m in strategy.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d) and m.weight.numel() > 500]
    for module in wide:
        assert abs(float(module.weight.detach().std()) - 0.02) < 0.003
        assert module.bias is None
    for module in (m for m in strategy.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        assert module.eps == 1e-5
        assert (module.bias == 0).all()


@pytest.mark.parametrize(("size", "G", "D"), [(64, 3_576_704, 2_765_568)])
def test_dcgan_at_64_pixels_has_the_parameters_of_the_usual_port(size, G, D, images):
    """The counts of the PyTorch example: 100 latents, 64 channels, 3 colours."""
    from ganzoo.compose import resolve

    wide = {"generator": {"width": 64}, "discriminator": {"width": 64}}
    config = resolve(catalogue(), "dcgan", Changes({"dataset": str(images(3, size, n=8)), "device": "cpu", "ema": 0.0}, options=wide))
    session = built(config)
    strategy = session.strategy
    assert sum(p.numel() for p in strategy.G.parameters()) == G
    assert sum(p.numel() for p in strategy.D.parameters()) == D


def test_acgan_draws_the_class_it_is_told(images):
    session = built(small("acgan", images()))
    x = samples(session, 3, z=torch.randn(1, 100).repeat(3, 1), y=torch.arange(3))
    assert not torch.allclose(x[0], x[1])
    assert not torch.allclose(x[1], x[2])


def test_update_leaves_the_other_network_without_gradients(images):
    session = built(small("dcgan", images()))
    strategy, batches = session.strategy, session.batches
    x = next(batches)["x"]
    D = strategy.view(strategy.D)
    with draws(0):
        x_fake = strategy.fake(strategy.latents(8))
    update((strategy.opt_G, strategy.loss.generator(D, x_fake, x, t=0)))
    assert all(p.grad is None for p in strategy.D.parameters())
    assert all(p.grad is not None for p in strategy.G.parameters())


def test_a_schedule_is_as_long_as_the_run_unless_the_user_says_otherwise():
    zoo = catalogue()
    config = compose.resolve(zoo, "r3gan", Changes({"steps": 77}, options={"strategy": {"anneal": 5}}))
    assert (config.options["loss"].anneal, config.options["strategy"].anneal) == (77, 5)
    config = compose.resolve(zoo, "r3gan", Changes({"steps": 77}, {"loss": "relativistic"}))
    assert config.options["loss"].anneal == 77
