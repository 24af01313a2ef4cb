"""GANs that make pictures of pictures: what their networks, pools and phases do, and that other tools read their files."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from test_loop import start
from zoo import small

import ganzoo
from ganzoo import compose
from ganzoo.config import Changes
from ganzoo.errors import UsageError
from ganzoo.files import read_lines
from ganzoo.options import make
from ganzoo.randomness import draws
from ganzoo.registry.catalogue import catalogue
from ganzoo.runs import checkpoint
from ganzoo.runs.exported import load
from ganzoo.testing import toys
from ganzoo.training.session import open_session
from ganzoo.types import DataSpec, Field


def network(role, name, source, x, **options):
    entry = catalogue().get(role, name)
    spec = DataSpec({"source": Field("image", source), "x": Field("image", x)}, {"": ("source", "x")})
    torch.manual_seed(0)
    return entry.network(spec, make(entry.record.options, options, ""))


@pytest.mark.parametrize(("layers", "pixels"), [(0, 1), (1, 16), (2, 34), (3, 70)])
def test_a_patch_is_as_large_as_its_option_says(layers, pixels):
    D = network("discriminator", "patchgan", (3, 128, 128), (3, 128, 128), width=4, layers=layers).eval()
    for module in D.modules():  # instance statistics would see the whole picture
        if isinstance(module, torch.nn.InstanceNorm2d):
            module.forward = lambda x: x
    x = torch.randn(1, 3, 128, 128, requires_grad=True)
    logits = D(x=x)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    seen = x.grad.abs().sum((0, 1))
    assert (int((seen.sum(0) > 0).sum()), int((seen.sum(1) > 0).sum())) == (pixels, pixels)


@pytest.mark.parametrize(("recipe", "channels_last"), [("pix2pix", False), ("cyclegan", False), ("dcgan", True)])
def test_only_networks_without_instance_norm_are_in_channels_last(recipe, channels_last):
    """InstanceNorm takes and gives NCHW: it would copy each picture that it is given."""
    asked = Field("image", (3, 32, 32)), ("source", "x_a", "x_b")
    strategy = small(recipe, toys.file(*asked)).build(toys.spec(*asked), torch.device("cpu"))
    weights = [p for p in strategy.parameters() if p.dim() == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert {p.is_contiguous(memory_format=torch.channels_last) for p in weights} == {channels_last}


def test_a_unet_takes_any_size_and_its_noise_is_that_of_the_seed():
    G = network("generator", "unet", (1, 32, 32), (3, 32, 32), width=4).eval()
    x = torch.randn(2, 1, 45, 70)
    with draws(0, "a"):
        one = G(source=x)
    with draws(0, "a"):
        again = G(source=x)
    with draws(1, "a"):
        other = G(source=x)
    assert one.shape == (2, 3, 45, 70)
    assert torch.equal(one, again)
    assert not torch.allclose(one, other)


def test_a_pool_gives_back_old_pictures_once_it_is_full():
    narrow = {"strategy": {"pool": 2}, "generator": {"width": 2, "blocks": 0}, "discriminator": {"width": 2, "layers": 1}}
    resolved = compose.resolve(catalogue(), "cyclegan", Changes({"batch_size": 1}, options=narrow))
    spec = DataSpec({key: Field("image", (1, 16, 16)) for key in ("x_a", "x_b")}, {"a": ("x_a",), "b": ("x_b",)})
    strategy = resolved.build(spec, torch.device("cpu"))
    shown = []
    for t in range(40):
        with draws(0, "step", t):
            shown.append(float(strategy.pooled("a", torch.full((1, 1, 16, 16), float(t)))[0, 0, 0, 0]))
    assert shown[:2] == [0.0, 1.0]
    old = [t - value for t, value in enumerate(shown[2:], 2) if value != t]
    assert 10 < len(old) < 28  # every second one
    assert min(old) >= 1
    assert len(set(shown)) == len(shown) - 2  # those that filled the pool are shown again, no other is
    assert int(strategy.held_a) == 2


@pytest.mark.parametrize("factor", ["2", "4"])
def test_other_tools_read_the_generator_of_esrgan_and_get_the_same_pixels(factor, images, tmp_path):
    spandrel = pytest.importorskip("spandrel")
    run = start(
        small("esrgan", images(3), steps=2, parts={"strategy": {"pretrain": 1}, "degradation": {"factor": factor}}), tmp_path / "run"
    )
    model = spandrel.ModelLoader().load_from_file(str(run / "generator.safetensors"))
    assert (model.architecture.name, model.scale, model.input_channels, model.output_channels) == ("ESRGAN", int(factor), 3, 3)
    x = torch.rand(2, 3, 12, 10)
    product = load(catalogue(), run)
    ours = torch.cat(list(product.raw(2, given={"source": 2 * x - 1})))
    with torch.no_grad():
        theirs = model.model(x)
    assert torch.allclose((ours + 1) / 2, theirs, atol=1e-5)


def test_super_resolution_begins_with_g_alone_and_then_d_joins_in(images, tmp_path):
    run = start(small("srgan", images(3), steps=4, save_every=2, log_every=1, parts={"strategy": {"pretrain": 2}}), tmp_path / "run")
    lines = read_lines(run / "metrics.jsonl")
    assert [{key.partition("/")[0] for key in line if "/" in key} for line in lines] == [{"g"}, {"g"}, {"d", "g"}, {"d", "g"}]
    early, late = (checkpoint.read(run / "checkpoints" / f"{step:06d}.safetensors")[0] for step in (2, 4))
    moved = {name for name, value in late.items() if name.startswith("model:D.") and not torch.equal(value, early[name])}
    assert any(name.endswith("weight") for name in moved)


def test_what_is_known_of_a_picture_with_a_hole_stays_as_it_is():
    entry = catalogue().get("generator", "context-encoder")
    fields = {"source": (3, 16, 16), "x": (3, 16, 16), "mask": (1, 16, 16)}
    spec = DataSpec({key: Field("image", shape) for key, shape in fields.items()}, {"": tuple(fields)})
    G = entry.network(spec, make(entry.record.options, {"width": 4, "overlap": 2}, ""))
    source, mask = torch.randn(2, 3, 16, 16), torch.full((2, 1, 16, 16), -1.0)
    mask[:, :, 4:10, 6:9] = 1
    drawn = (G.eval()(source=source, mask=mask) != source).any(1)
    assert torch.equal(drawn, mask[:, 0] > 0)
    wider = (G.train()(source=source, mask=mask) != source).any(1)
    assert bool(wider[:, 2:12, 4:11].all())
    assert int(wider.sum()) == 2 * 10 * 7


def test_what_only_the_recipe_chose_gives_way_to_the_data(images, tmp_path):
    x = torch.randint(0, 256, (24, 3, 16, 16), dtype=torch.uint8)
    save_file({"x": x, "source": x.flip(3)}, tmp_path / "pairs.safetensors")
    resolved, data, _ = open_session(compose.resolve(catalogue(), "denoise", Changes({"dataset": str(tmp_path / "pairs.safetensors")})))
    assert ("degradation" in resolved.parts, "degradation" in resolved.config.parts, data.spec.keys) == (False, False, ("source", "x"))
    typed = Changes({"dataset": str(tmp_path / "pairs.safetensors")}, {"degradation": "noise"})
    with pytest.raises(UsageError, match="has a `source` already"):
        open_session(compose.resolve(catalogue(), "denoise", typed))
    small_ones = {"dataset": str(images(3, 32))}
    resolved, _, session = open_session(compose.resolve(catalogue(), "srgan", Changes(small_ones)))
    assert (resolved.run.crop, session.strategy.spec.shape) == (None, (3, 32, 32))
    with pytest.raises(UsageError, match="--crop"):
        open_session(compose.resolve(catalogue(), "srgan", Changes({**small_ones, "crop": "96"})))


def test_a_run_on_windows_is_measured_on_the_windows_in_the_middle(images, tmp_path):
    from ganzoo.evaluation.record import parsed

    x = torch.randint(0, 256, (24, 3, 24, 32), dtype=torch.uint8)
    save_file({"x": x}, tmp_path / "photos.safetensors")
    run = start(
        small(
            "srgan",
            tmp_path / "photos.safetensors",
            crop="16",
            steps=2,
            eval_every=2,
            eval_n=24,
            metric="psnr",
            parts={"strategy": {"pretrain": 1}},
        ),
        tmp_path / "run",
    )
    product = load(catalogue(), run)
    middle = x[:, :, 4:20, 8:24]
    source = product.degradation(middle.float() / 127.5 - 1)["source"]
    made = torch.cat(list(product.outputs(24, given={"source": source})))
    error = (made.double() - middle.double()).square().mean((1, 2, 3))
    wanted = float((10 * (255**2 / error).log10()).mean())
    [line] = read_lines(run / "evaluations.jsonl")
    assert parsed(line).figures["psnr"] == pytest.approx(wanted, abs=1e-6)
    [again] = ganzoo.evaluate(run, metric="psnr")
    assert again.figures["psnr"] == pytest.approx(wanted, abs=1e-6)


def test_features_of_an_installed_extractor_may_be_compared_beside_the_pixels(tmp_path, images):
    def played(**options):
        strategy = {"pretrain": 0, **options}
        run = {"dataset": str(images(3, 32)), "crop": None, "batch_size": 4, "precision": "fp32"}
        session = open_session(compose.resolve(catalogue(), "srgan", Changes(run, options={"strategy": strategy})))[2]
        return session, session.step(0)

    without, plain = played()
    session, terms = played(perceptual="random", perceptual_weight=1.0)
    assert terms.keys() - plain.keys() == {"g/perceptual"}
    assert plain.items() <= terms.items()
    assert not torch.equal(*([*s.strategy.G.parameters()][-1].grad for s in (without, session)))  # the others are 0 in step 0
    assert session.strategy.state_dict().keys() == without.strategy.state_dict().keys()
    with pytest.raises(UsageError, match="learns from the data"):
        played(perceptual="classifier")
