"""DiffAugment and ADA: what they do to pictures, and how p moves."""

from __future__ import annotations

import pytest
import torch
from zoo import small

import ganzoo
from ganzoo import DataSpec, Turn
from ganzoo.files import read_lines
from ganzoo.registry.catalogue import catalogue
from ganzoo.runs import checkpoint
from ganzoo.training import launch
from ganzoo.training.loop import Watch

SPEC = DataSpec.of("image", (3, 16, 16))


def wrapper(name, spec=SPEC, **options):
    entry = catalogue().get("wrapper", name)
    made = entry.wrapper(spec, entry.options(options, f"--{name}."))
    made.name = name
    return made


def looked(made, seed=0, **seen):
    with ganzoo.draws(seed):
        return made.look(seen)


def pictures(n=64, channels=3, height=16, width=16):
    return torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("name", ["diffaugment", "ada"])
@pytest.mark.parametrize(("channels", "height", "width"), [(3, 16, 16), (1, 16, 16), (3, 16, 24)])
def test_what_d_sees_has_the_same_shape_and_carries_the_gradient(name, channels, height, width):
    made = wrapper(name)
    if name == "ada":
        made.p.fill_(1.0)
    x = pictures(8, channels, height, width).requires_grad_()
    seen = looked(made, x=x)["x"]
    assert seen.shape == x.shape
    assert not torch.equal(seen, x)
    (gradient,) = torch.autograd.grad(seen.square().sum(), x)
    assert gradient.isfinite().all()
    assert (gradient != 0).flatten(1).any(1).all()
    assert torch.equal(looked(made, x=x)["x"], seen)
    assert not torch.equal(looked(made, 1, x=x)["x"], seen)


def test_colour_moves_brightness_saturation_and_contrast_within_the_papers_bounds():
    grey = torch.zeros(500, 3, 4, 4)
    shift = looked(wrapper("diffaugment", policy="colour"), x=grey)["x"].mean((1, 2, 3))
    assert -0.5 <= float(shift.min()) < -0.45
    assert 0.45 < float(shift.max()) <= 0.5
    half = torch.cat([torch.ones(500, 1, 4, 2), -torch.ones(500, 1, 4, 2)], 3)
    contrast = looked(wrapper("diffaugment", policy="colour"), x=half)["x"].std((1, 2, 3), correction=0)
    assert 0.5 <= float(contrast.min()) < 0.55
    assert 1.45 < float(contrast.max()) <= 1.5


def test_translation_moves_whole_pixels_and_leaves_grey():
    x = torch.zeros(200, 1, 16, 16)
    x[:, :, 8, 8] = 1
    seen = looked(wrapper("diffaugment", policy="translation"), x=x)["x"]
    assert torch.equal(seen.sum((1, 2, 3)), torch.ones(200))
    places = seen[:, 0].flatten(1).argmax(1)
    moves = {(int(p) // 16 - 8, int(p) % 16 - 8) for p in places}
    assert {down for down, _ in moves} == {-2, -1, 0, 1, 2} == {right for _, right in moves}
    ones = looked(wrapper("diffaugment", policy="translation"), x=torch.ones(200, 1, 16, 16))["x"]
    assert set(ones.unique().tolist()) == {0.0, 1.0}


def test_cutout_leaves_a_square_hole():
    seen = looked(wrapper("diffaugment", policy="cutout"), x=torch.ones(400, 3, 16, 16))["x"]
    holes = (seen[:, 0] == 0).sum((1, 2))
    assert int(holes.max()) == 64  # 8 x 8, whole
    assert int(holes.min()) >= 16  # its middle lies inside
    assert torch.equal(seen[:, 0], seen[:, 2])


def test_a_picture_that_d_is_conditioned_on_moves_along():
    x = pictures()
    y = torch.arange(64)
    for made in (wrapper("diffaugment", policy="translation,cutout"), wrapper("ada")):
        if hasattr(made, "p"):
            made.p.fill_(0.0)
        seen = looked(made, x=x, source=x.clone(), y=y)
        assert torch.equal(seen["x"], seen["source"])
        assert torch.equal(seen["y"], y)
    small = torch.nn.functional.avg_pool2d(x, 2)
    moved = looked(wrapper("diffaugment", policy="translation", shift=0.25), x=x, source=small)
    assert moved["source"].shape == small.shape


def test_ada_with_p_0_changes_nothing_and_with_p_all_of_its_changes_happen():
    made, x = wrapper("ada"), pictures(256)
    same = looked(made, x=x)["x"]
    assert torch.allclose(same, x, atol=1e-5)
    made.p.fill_(0.5)
    seen = looked(made, x=x)["x"]
    changed = ((seen - x).abs().flatten(1).amax(1) > 1e-3).float().mean()
    assert 0.95 < float(changed) <= 1.0  # 1 - 0.5 ** 12, of changes that may be small


def test_ada_mirrors_about_half_of_those_that_it_may():
    made = wrapper("ada")
    done = torch.zeros(1000, 12, dtype=torch.bool)
    done[:, 0] = True
    amount = torch.rand(1000, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    maps = made.places(done, amount, torch.zeros(1000, 12))
    assert set(maps[:, 0, 0].tolist()) == {1.0, -1.0}
    assert 0.45 < float((maps[:, 0, 0] < 0).float().mean()) < 0.55
    assert torch.equal(maps[:, 1], torch.tensor([0.0, 1.0, 0.0]).expand(1000, 3))


def turn(real, fake, anchored=True):
    x = torch.zeros(len(real), 3, 16, 16)
    return Turn("d", 0, None, x, x, {}, anchored, {"real": torch.tensor(real), "fake": torch.tensor(fake)})


def test_p_follows_how_sure_d_is_of_real_samples():
    """Equation 1 of the paper: up by N / images where the mean sign is above the target, down where it is below, within 0 and the limit."""
    made = wrapper("ada", target=0.6, images=40, limit=0.25)
    logged = made.after_d(turn([1.0, 2.0, 0.5, 3.0], [-1.0] * 4))
    assert float(logged["r"]) == 1.0
    assert float(made.p) == pytest.approx(0.1)
    made.after_d(turn([1.0, 2.0, 0.5, 3.0], [-1.0] * 4))
    made.after_d(turn([1.0, 2.0, 0.5, 3.0], [-1.0] * 4))
    assert float(made.p) == pytest.approx(0.25)
    logged = made.after_d(turn([1.0, -2.0, 0.5, 3.0], [-1.0] * 4))
    assert float(logged["r"]) == 0.5
    assert float(made.p) == pytest.approx(0.15)
    for _ in range(3):
        made.after_d(turn([-1.0] * 4, [1.0] * 4))
    assert float(made.p) == 0.0


def test_where_zero_means_nothing_logits_are_measured_from_the_middle():
    """A constant added to all logits changes nothing for a Wasserstein loss, so nothing for p."""
    for constant in (0.0, 100.0, -100.0):
        made = wrapper("ada", images=40)
        real = [value + constant for value in (1.0, 2.0, -3.0, 3.0)]
        logged = made.after_d(turn(real, [constant - 1.0] * 4, anchored=False))
        assert float(logged["r"]) == 0.5  # the middle of 0.75 and -1 is -0.125
        assert float(made.p) == 0.0
    assert catalogue().get("loss", "wasserstein").record.anchored is False
    assert catalogue().get("loss", "wgan-gp").record.anchored is False
    assert catalogue().get("loss", "relativistic").record.anchored is False
    assert catalogue().get("loss", "non-saturating").record.anchored is True


@pytest.mark.parametrize("recipe", ["dcgan", "wgan-gp", "r3gan", "acgan"])
def test_recipes_train_with_both_around_d_and_resume_with_the_same_bits(recipe, images, tmp_path):
    both = {"wrappers": ("diffaugment", "ada"), "parts": {"ada": {"images": 100}}}
    whole = launch.start(small(recipe, images(3), steps=4, **both), tmp_path / "whole", Watch())
    parts = launch.start(small(recipe, images(3), steps=2, **both), tmp_path / "parts", Watch())
    launch.resume(catalogue(), parts, 4, Watch())
    a, b = (checkpoint.read(checkpoint.path_of(folder / "checkpoints", 4))[0] for folder in (whole, parts))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert [name for name in a if name.endswith("ada.p")] == ["model:wrappers.D.ada.p"]
    assert all("ada/r" in line for line in read_lines(whole / "metrics.jsonl"))
