"""Every recipe of the catalogue keeps the rules."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import pytest
import torch
from zoo import RECIPES, built, flags, small

from ganzoo import checkpoint
from ganzoo.catalogue import catalogue
from ganzoo.compose import Config
from ganzoo.interfaces import update
from ganzoo.randomness import seed_step


def fingerprint(strategy):
    return {name: value.clone() for name, value in checkpoint.tensors_of(strategy).items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def steps(strategy, batches, n, start=0):
    told = []
    for t in range(start, start + n):
        seed_step(0, t)
        told.append(strategy.step(batches, t))
    return told


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_step_returns_finite_detached_scalars_and_moves_every_parameter_of_its_optimisers(recipe, channels, images):
    strategy, batches = built(small(recipe, images(channels)))
    owned = {id(p) for o in strategy.optimisers().values() for g in o.param_groups for p in g["params"]}
    assert owned == {id(p) for p in strategy.parameters()}
    before = {name: p.detach().clone() for name, p in strategy.named_parameters()}
    told = steps(strategy, batches, 3)
    for line in told:
        assert all(value.dim() == 0 and value.isfinite() and not value.requires_grad for value in line.values())
        assert {name.split("/")[0] for name in line} >= {"d", "g"}
    still = [name for name, p in strategy.named_parameters() if torch.equal(before[name], p)]
    assert not still


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(("channels", "size"), [(1, 16), (3, 16), (1, 32), (3, 64)])
def test_samples_fit_what_the_data_is(recipe, channels, size, images):
    strategy, batches = built(small(recipe, images(channels, size, n=8), batch_size=4))
    x = strategy.sample(strategy.G.latent(5), {"y": torch.tensor([0, 1, 2, 0, 1])})
    assert x.shape == (5, channels, size, size)
    assert x.dtype == torch.float32
    assert x.isfinite().all()
    assert next(batches)["x"].shape == (4, channels, size, size)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_discriminator_gives_what_its_record_says(recipe, images):
    config = small(recipe, images())
    strategy, batches = built(config)
    part = catalogue().part("discriminator", config.parts["discriminator"])
    D = strategy.build.discriminator()
    batch = next(batches)
    outputs = D(batch["x"], **{key: batch[key] for key in part.given})
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    shapes = {"logits": (8,), "class_logits": (8, 3), "reconstruction": tuple(batch["x"].shape)}
    assert [tuple(o.shape) for o in outputs] == [shapes[name] for name in part.gives]


@pytest.mark.parametrize("name", [e.name for e in catalogue().entries("discriminator") if e.record.per_sample])
def test_a_discriminator_that_says_so_treats_every_sample_by_itself(name, images):
    strategy, batches = built(small("began" if "began" in name else "gan", images(), {"discriminator": name}))
    D = strategy.build.discriminator().train()
    x = next(batches)["x"]
    assert torch.allclose(D(x)[:3], D(x[:3]), atol=1e-5)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_same_seed_gives_the_same_steps_and_another_seed_others(recipe, images):
    def run(seed):
        strategy, batches = built(small(recipe, images(), seed=seed))
        for t in range(2):
            seed_step(seed, t)
            strategy.step(batches, t)
        return fingerprint(strategy)

    assert same(run(0), run(0))
    assert not same(run(0), run(1))


@pytest.mark.parametrize("recipe", RECIPES)
def test_sampling_changes_nothing(recipe, images):
    def run(look):
        strategy, batches = built(small(recipe, images(), ema=0.9))
        for t in range(3):
            seed_step(0, t)
            strategy.step(batches, t)
            strategy.average(0.9, t)
            if look:
                strategy.sample(strategy.G.latent(8), {"y": torch.zeros(8, dtype=torch.long)})
        return fingerprint(strategy)

    assert same(run(False), run(True))


@pytest.mark.parametrize("recipe", RECIPES)
def test_bf16_gives_finite_terms_near_those_of_fp32(recipe, images):
    told = {}
    for enabled in (False, True):
        strategy, batches = built(small(recipe, images()))
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            told[enabled] = steps(strategy, batches, 2)
        assert all(p.dtype == torch.float32 for p in strategy.parameters())
    for low, full in zip(told[True], told[False], strict=True):
        for name, value in full.items():
            assert abs(float(low[name]) - float(value)) < 0.25 * abs(float(value)) + 0.1, name


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_configuration_survives_json(recipe, images):
    config = small(recipe, images())
    assert asdict(Config.from_json(json.loads(json.dumps(config.to_json())))) == asdict(config)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_killed_and_resumed_run_equals_a_straight_one_bit_for_bit(recipe, images, ganzoo, tmp_path):
    """In processes of their own; killed by SIGKILL wherever it happens to be."""
    words = [*flags(small(recipe, images(), ema=0.9)), "--flip", "--save-every=3", "--sample-every=4"]
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    command = [sys.executable, "-m", "ganzoo", "run", *words, "--steps=1000000", f"--out={killed}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ) as process:
        while process.poll() is None and not checkpoint.steps_in(killed / "checkpoints"):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        _, err = process.communicate()
    assert process.returncode == -signal.SIGKILL, err
    end = checkpoint.steps_in(killed / "checkpoints")[-1] + 5
    resumed = ganzoo("resume", killed, "--steps", end)
    assert resumed.returncode == 0, resumed.stderr
    whole = ganzoo("run", *words, f"--steps={end}", f"--out={straight}")
    assert whole.returncode == 0, whole.stderr
    a, meta_a = checkpoint.read(checkpoint.path_of(killed / "checkpoints", end))
    b, meta_b = checkpoint.read(checkpoint.path_of(straight / "checkpoints", end))
    assert same(a, b)
    assert meta_a == meta_b
    for file in ("generator.safetensors", f"samples/{end:06d}.png"):
        assert (killed / file).read_bytes() == (straight / file).read_bytes()
    terms = [
        [{k: v for k, v in json.loads(line).items() if k not in ("time", "images_per_second")} for line in text.splitlines()]
        for text in ((folder / "metrics.jsonl").read_text() for folder in (killed, straight))
    ]
    logged = [[line for line in lines if line["step"] % 10 == 0 or line["step"] == end] for lines in terms]
    assert logged[0] == logged[1]


@pytest.mark.parametrize("exchange", [{"loss": "hinge"}, {"loss": "least-squares"}, {"loss": "minimax"}, {"loss": "wasserstein"}])
@pytest.mark.parametrize("recipe", ["dcgan", "acgan"])
def test_parts_can_be_exchanged(recipe, exchange, images):
    strategy, batches = built(small(recipe, images(), exchange))
    assert all(value.isfinite() for line in steps(strategy, batches, 2) for value in line.values())


def test_a_loss_with_a_penalty_runs_with_a_critic_that_fits(images):
    strategy, batches = built(small("dcgan", images(), {"loss": "r1", "discriminator": "dcgan-critic"}))
    assert {"d/real", "d/fake", "d/r1", "g/fake"} <= steps(strategy, batches, 1)[0].keys()


def test_dcgan_starts_with_the_weights_of_the_paper(images):
    strategy, _ = built(small("dcgan", images(3, 64, n=8), batch_size=4))
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
    config = resolve(catalogue(), "dcgan", {"dataset": str(images(3, size, n=8)), "device": "cpu", "ema": 0.0}, {}, wide)
    strategy, _ = built(config)
    assert sum(p.numel() for p in strategy.G.parameters()) == G
    assert sum(p.numel() for p in strategy.D.parameters()) == D


def test_acgan_draws_the_class_it_is_told(images):
    strategy, _ = built(small("acgan", images()))
    z = strategy.G.latent(1).repeat(3, 1)
    x = strategy.sample(z, {"y": torch.arange(3)})
    assert not torch.allclose(x[0], x[1])
    assert not torch.allclose(x[1], x[2])


def test_update_leaves_the_other_network_without_gradients(images):
    strategy, batches = built(small("dcgan", images()))
    x = next(batches)["x"]
    D = strategy.view(strategy.D)
    update((strategy.opt_G, strategy.loss.generator(D, strategy.fake(8), x)))
    assert all(p.grad is None for p in strategy.D.parameters())
    assert all(p.grad is not None for p in strategy.G.parameters())
