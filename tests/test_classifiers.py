"""Classifiers as products: what SGAN's D learns from a labelled few, and D's class head wherever it has one."""

from __future__ import annotations

import csv

import pytest
import torch
from PIL import Image
from torch.nn.functional import softplus
from zoo import built, small

import ganzoo
from ganzoo import DataSpec, compose
from ganzoo.config import Changes
from ganzoo.errors import UsageError
from ganzoo.registry.catalogue import catalogue
from ganzoo.runs import exported
from ganzoo.testing import toys
from ganzoo.types import Field

FIELD = Field("image", (1, 16, 16))
KEYS = ("x", "x_l", "y_l")
SPEC = DataSpec.of("image", (1, 4, 4), 3)


class Says:
    """A discriminator as a loss calls it, that gives what it was told to of each sample tensor."""

    def __init__(self, **outputs):
        self.outputs = outputs

    def __call__(self, x):
        return self.outputs[x]


def loss(name, **values):
    entry = catalogue().get("loss", name)
    return entry.build(SPEC, entry.options(values, ""))


def network(name, **values):
    entry = catalogue().get("discriminator", name)
    return entry.network(SPEC, entry.options(values, ""))


def test_real_against_fake_is_the_sum_of_the_classes_against_a_logit_of_0():
    """Salimans et al. 2016, section 5: D(x) = Z / (Z + 1)."""
    D = network("sgan", width=16).eval()
    logits, classes, features = D(x=torch.randn(5, 1, 4, 4))
    Z = classes.exp().sum(1)
    assert torch.allclose(logits.sigmoid(), Z / (Z + 1), atol=1e-6)
    assert features.shape == (5, 4)


def test_a_logit_of_its_own_for_fakes_is_taken_off():
    D = network("k-plus-1", width=16).eval()
    logits, classes, _, verdicts = D(x=torch.randn(5, 1, 4, 4))
    assert verdicts.shape == (5, 4)
    assert torch.equal(classes, verdicts[:, :3])
    p = verdicts.softmax(1)
    assert torch.allclose(logits.sigmoid(), 1 - p[:, 3], atol=1e-6)


def test_ds_terms_are_those_of_the_paper():
    l_l, l_x, l_g = torch.randn(6, 3), torch.randn(6, 3), torch.randn(6, 3)
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    D = Says(few=(None, l_l, None), real=(l_x.logsumexp(1), l_x, None), fake=(l_g.logsumexp(1), l_g, None))
    terms = loss("sgan").discriminator(D, "real", "fake", t=0, x_l="few", y_l=y)
    lse = l_x.logsumexp(1)
    unlabelled = (-lse / 2 + softplus(lse) / 2).mean() + softplus(l_g.logsumexp(1)).mean() / 2
    assert torch.allclose(terms["real"] + terms["fake"], unlabelled, atol=1e-6)
    assert torch.allclose(terms["class"], (l_l.logsumexp(1) - l_l[range(6), y]).mean(), atol=1e-6)


def test_k_plus_1_classes_are_one_softmax_that_does_not_change_when_all_logits_move():
    v_l, v_x, v_g, y = torch.randn(6, 4), torch.randn(6, 4), torch.randn(6, 4), torch.arange(6) % 3
    made = loss("k-plus-1")
    terms = made.discriminator(Says(few=v_l, real=v_x, fake=v_g), "real", "fake", t=0, x_l="few", y_l=y)
    moved = made.discriminator(Says(few=v_l + 5, real=v_x + 5, fake=v_g + 5), "real", "fake", t=0, x_l="few", y_l=y)
    p_l, p_x, p_g = (v.softmax(1) for v in (v_l, v_x, v_g))
    wanted = {"class": -p_l[range(6), y].log().mean(), "real": -(1 - p_x[:, 3]).log().mean() / 2, "fake": -p_g[:, 3].log().mean() / 2}
    for name, value in wanted.items():
        assert torch.allclose(terms[name], value, atol=1e-5), name
        assert torch.allclose(moved[name], value, atol=1e-5), name


def test_g_matches_the_means_of_features_and_not_each_of_them():
    f = torch.randn(8, 5)
    D, made = Says(real=(None, None, f), fake=(None, None, f.flip(0)), other=(None, None, f + 2)), loss("sgan")
    same = made.generator(D, "fake", "real", t=0, x_l=None, y_l=None)
    moved = made.generator(D, "other", "real", t=0, x_l=None, y_l=None)
    assert float(same["features"]) == pytest.approx(0, abs=1e-10)
    assert float(moved["features"]) == pytest.approx(4, rel=1e-5)


def test_there_is_noise_while_d_trains_and_none_when_it_is_used():
    D, x = network("sgan", width=16), torch.zeros(2, 1, 4, 4)
    assert not torch.equal(D(x=x)[1], D(x=x)[1])
    assert torch.equal(D.eval()(x=x)[1], D(x=x)[1])
    quiet = network("sgan", width=16, input_noise=0.0, noise=0.0)
    assert torch.equal(quiet(x=x)[1], quiet(x=x)[1])


@pytest.mark.parametrize("exchanged", [{}, {"loss": "k-plus-1", "discriminator": "k-plus-1"}])
def test_without_unlabelled_terms_d_learns_from_the_labelled_few_alone(exchanged):
    """The control of the paper's claim is a control: other unlabelled pictures leave D as it was. With the terms they do not."""

    def classes(weight, other):
        session = built(small("sgan", toys.file(FIELD, KEYS), exchanged, {"loss": {"unlabelled": weight}}, labelled=0))
        if other:
            session.batches = ({**batch, "x": -batch["x"]} for batch in session.batches)
        session.step(0)
        session.step(1)
        return torch.cat([p.flatten() for p in session.strategy.D.parameters()])

    assert torch.equal(classes(0.0, False), classes(0.0, True))
    assert not torch.equal(classes(1.0, False), classes(1.0, True))


def test_the_two_ways_of_saying_fake_are_not_mixed():
    with pytest.raises(UsageError, match=r"loss 'k-plus-1' needs a discriminator that gives 'verdicts'; 'sgan' gives .* do: k-plus-1\."):
        compose.resolve(catalogue(), "sgan", Changes(parts={"loss": "k-plus-1"}))
    both = compose.resolve(catalogue(), "sgan", Changes(parts={"loss": "k-plus-1", "discriminator": "k-plus-1"}))
    assert both.config.parts["loss"] == "k-plus-1"


def test_data_without_a_labelled_few_is_told_how_to_have_them(images):
    with pytest.raises(UsageError, match=r"sgan needs `x_l` and `y_l`.*--labelled N keeps the labels of N rows"):
        compose.resolve(catalogue(), "sgan", Changes({"dataset": str(images()), "labelled": 0})).prepare()
    run = {"dataset": str(images(size=32)), "image_size": "32", "labelled": 9}
    with pytest.raises(UsageError, match=r"needs labels `y`"):  # a network that is given y wants one a row, and not those of the few
        compose.resolve(catalogue(), "sgan", Changes(run, {"generator": "acgan"})).prepare()


def test_data_that_brings_the_few_is_left_as_it_is():
    data = compose.resolve(catalogue(), "sgan", Changes({"dataset": str(toys.file(FIELD, KEYS)), "labelled": 8})).prepare()
    assert data.counts["l"] == toys.FEW
    assert "it brings the labelled few itself" in data.note


def test_a_class_head_is_a_product_that_metrics_find(images, ganzoo, tmp_path):
    """Of acgan, whose strategy knows nothing of it; from the command line, on somebody's own pictures."""
    run = ganzoo_run("acgan", images(1, 32), tmp_path, ema=0.9)
    assert list(exported.exports_of(run)) == ["generator", "classifier"]
    done = ganzoo("evaluate", run, "--metric", "accuracy", "-n", "40")
    assert done.returncode == 0, done.stderr
    assert "y of noise-1-32-48-3 (train" in done.stdout
    assert ", from x of train, seed 0" in done.stdout
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(3):
        Image.new("L", (32, 32), 80 * i).save(pictures / f"grey-{i}.png")
    done = ganzoo("apply", run, pictures, "--network", "classifier", "--out", tmp_path / "told")
    assert done.returncode == 0, done.stderr
    assert "through classifier" in ganzoo("apply", run, pictures).stdout  # the main product cannot be applied
    with open(tmp_path / "told" / "labels.csv") as file:
        rows = list(csv.reader(file))
    assert rows[0][:2] == ["name", "class"]
    assert [row[0] for row in rows[1:]] == ["grey-0", "grey-1", "grey-2"]
    for row in rows[1:]:
        p = [float(value) for value in row[2:]]
        assert sum(p) == pytest.approx(1, abs=1e-4)
        assert row[1] == rows[0][2:][p.index(max(p))]


def ganzoo_run(recipe, data, place, **run):
    resolved = small(recipe, data, steps=2, **run)
    from ganzoo.training.launch import start
    from ganzoo.training.loop import Watch

    return start(resolved, place / "run", Watch())


def test_only_a_head_that_sees_nothing_but_the_picture_is_a_classifier(images):
    strategies = {name: built(small(name, images(3, 32), ema=0.9)).strategy for name in ("acgan", "cgan", "dcgan", "sngan")}
    assert [name for name, s in strategies.items() if "classifier" in s.exports()] == ["acgan"]
    assert set(strategies["acgan"].averages) == {"G"}  # an average of D would cost time


def test_a_few_steps_on_mnist_tell_digits_apart(real_data, tmp_path):
    """From 100 labels, on the digits that it holds out. Guessing is right in 0.1 of them."""
    if not (real_data / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz").exists():
        pytest.skip(f"{real_data} has no MNIST/raw: the official files are wanted there")
    run = ganzoo.train(
        "sgan", dataset="mnist", data_dir=real_data, labelled=100, steps=60, ema=0.9, precision="fp32", out=tmp_path / "run",
        options={"discriminator.width": 200, "generator.width": 100},
    )  # fmt: skip
    (evaluation,) = ganzoo.evaluate(run, metric="accuracy", against="test")
    assert evaluation.figures["accuracy"] > 0.5
    assert "y of mnist-10k (test" in evaluation.line


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_of_acgan_drops_as_often_and_scales_as_torchs(dtype):
    from ganzoo_acgan.model import Dropout

    x = torch.ones(64, 32, 8, 8, dtype=dtype, requires_grad=True)
    for p in (0.1, 0.25, 0.5):
        ours, theirs = Dropout(p), torch.nn.Dropout(p)
        y, z = ours(x), theirs(x)
        assert y.dtype == dtype
        assert abs(float((y == 0).float().mean()) - p) < 0.01
        assert y.max().item() == pytest.approx(z.max().item(), rel=1e-6)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert torch.equal(gradient, y.detach())  # the same mask on the way back
        assert torch.equal(ours.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
