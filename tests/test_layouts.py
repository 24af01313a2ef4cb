"""Data as it lies on a disk: splits, two domains, pairs, texts, a labelled few, windows of photos."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from ganzoo import compose, options
from ganzoo.config import Changes, DataOptions
from ganzoo.errors import UsageError
from ganzoo.registry.catalogue import catalogue
from ganzoo.testing import toys
from ganzoo.types import Field


def pictures(folder, n, size=(8, 8), first=0):
    """n pictures whose brightness tells their number."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        Image.fromarray(np.full((*size, 3), 10 * (first + i), np.uint8)).save(folder / f"{i:02d}.png")


def source(dataset, **asked):
    return compose.find_data(catalogue(), options.make(DataOptions, {"dataset": str(dataset), **asked}, "--"))


def prepared(dataset, **asked):
    return source(dataset, **asked).prepare()


def held_out(dataset, **asked):
    found = source(dataset, **asked).held_out
    return None if found is None else found.prepare()


def means(data, key):
    return data.load()[key].float().flatten(1).mean(1).round().int().tolist()


def test_train_and_test_are_splits_with_the_classes_below_them(tmp_path):
    for split, n in (("train", 4), ("Val", 2)):
        for name in ("cat", "dog"):
            pictures(tmp_path / split / name, n)
    train = prepared(tmp_path, image_size="8")
    assert (train.count, train.spec.class_names) == (8, ("cat", "dog"))
    assert "Val is held out" in train.note
    assert held_out(tmp_path, image_size="8").count == 4
    pictures(tmp_path / "test" / "cat", 1)
    pictures(tmp_path / "test" / "dog", 2)
    assert held_out(tmp_path, image_size="8").count == 3  # a test is taken before a val
    pictures(tmp_path / "plain", 3)
    assert held_out(tmp_path / "plain") is None


def test_two_domains_lie_side_by_side_or_are_named(tmp_path):
    for name, n, first in (("trainA", 4, 0), ("trainB", 6, 10), ("testA", 1, 3), ("testB", 2, 13)):
        pictures(tmp_path / "both" / name, n, first=first)
    lying = prepared(tmp_path / "both", image_size="8")
    assert dict(lying.spec.sets) == {"a": ("x_a",), "b": ("x_b",)}
    assert dict(lying.counts) == {"a": 4, "b": 6}
    assert dict(held_out(tmp_path / "both", image_size="8").counts) == {"a": 1, "b": 2}
    named = prepared(f"a={tmp_path / 'both' / 'trainA'},b={tmp_path / 'both' / 'trainB'}", image_size="8")
    assert all(torch.equal(named.load()[key], lying.load()[key]) for key in ("x_a", "x_b"))
    assert means(lying, "x_b") == [100, 110, 120, 130, 140, 150]
    mixed = prepared(f"a={tmp_path / 'both' / 'trainA'},b=fashion-10k", image_size="8")
    assert mixed.counts["b"] == 10_000
    assert "domain b: y is not used" in mixed.note
    with pytest.raises(UsageError, match="--dataset a=PLACE --dataset b=PLACE"):
        source("a=only")
    with pytest.raises(UsageError, match="no data set"):
        source("a=nothing-of-that-name,b=fashion-10k")


def test_a_comma_in_a_path_does_not_end_a_domain(tmp_path):
    for name in ("one, two", "three"):
        pictures(tmp_path / name, 2)
    assert dict(prepared(f"a={tmp_path / 'one, two'},b={tmp_path / 'three'}", image_size="8").counts) == {"a": 2, "b": 2}


def test_the_command_line_takes_two_domains(ganzoo, tmp_path):
    for name in ("winter", "summer"):
        pictures(tmp_path / name, 3)
    done = ganzoo("run", "dcgan", "--dataset", f"a={tmp_path / 'winter'}", "--dataset", f"b={tmp_path / 'summer'}", "--image-size", 16)
    assert done.returncode == 2
    assert "dcgan needs `x`" in done.stderr
    assert "has only 'x_a', 'x_b'" in done.stderr


def test_pairs_belong_together_by_their_names(tmp_path):
    pictures(tmp_path / "source", 6)
    pictures(tmp_path / "target", 6, first=10)
    data = prepared(tmp_path, image_size="8")
    assert dict(data.spec.sets) == {"": ("x", "source")}
    assert [a - b for a, b in zip(means(data, "x"), means(data, "source"), strict=True)] == [100] * 6
    (tmp_path / "target" / "03.png").unlink()
    data = prepared(tmp_path, image_size="8")
    assert data.count == 5
    assert "1 without a partner are left out: 03" in data.note
    assert [a - b for a, b in zip(means(data, "x"), means(data, "source"), strict=True)] == [100] * 5
    for i in (0, 1, 2, 4):
        (tmp_path / "target" / f"{i:02d}.png").unlink()
    with pytest.raises(UsageError, match="5 have no partner: 00, 01, 02, 03, 04"):
        prepared(tmp_path, image_size="8")


def test_halves_of_pictures_are_pairs(tmp_path):
    left, right = np.full((8, 8, 3), 40, np.uint8), np.full((8, 8, 3), 200, np.uint8)
    for i in range(3):
        Image.fromarray(np.concatenate([left, right], 1)).save(tmp_path / f"{i}.png")
    for side, of_source, of_x in (("left", 40, 200), ("right", 200, 40)):
        data = prepared(tmp_path, pairs=side, image_size="8")
        assert (means(data, "source"), means(data, "x")) == ([of_source] * 3, [of_x] * 3)
    Image.fromarray(np.zeros((8, 7, 3), np.uint8)).save(tmp_path / "odd.png")
    data = prepared(tmp_path, pairs="left", image_size="8")
    assert (data.count, data.skipped) == (3, (("odd.png", "7 pixels wide, which are not two halves"),))


def test_lines_become_words_and_what_is_lost_is_told(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("A cat sees a dog.\nA cat, a cat!\n\nThe end\n", encoding="utf-8")
    data = prepared(path)
    assert data.spec.x.shape == (6,)
    assert data.spec.x.names[:4] == ("<end>", "<unknown>", "a", "cat")
    assert data.count == 3
    assert data.load()["x"][0].tolist()[:2] == [2, 3]
    assert data.note == "", "nothing is lost"
    small = prepared(path, vocabulary=4, length=3)
    assert small.spec.x.size == 4
    assert "2 of 6 words are known, 50.0% of all words are not; 2 longer texts are cut" in small.note
    assert int(small.load()["x"].max()) == 3
    path.write_text("I\x92m here\u202e ok\x07\n", encoding="utf-8")
    assert prepared(path).spec.x.names[2:] == ("here", "i", "m", "ok"), "a control character is no word: files show another in its place"
    path.write_text("")
    with pytest.raises(UsageError, match="it is empty"):
        prepared(path)


def test_a_test_text_is_told_in_the_words_of_the_training_text(tmp_path):
    (tmp_path / "train.txt").write_text("a cat\na dog\n")
    (tmp_path / "test.txt").write_text("a bird\ncat dog a\n")
    train, test = prepared(tmp_path), held_out(tmp_path)
    assert train.spec == test.spec
    assert test.load()["x"].tolist() == [[2, 1], [3, 4]]
    assert "25.0% of all words are not" in test.note  # of those that are kept


def test_labels_before_a_tab_are_labels(tmp_path):
    (tmp_path / "mail.txt").write_text("ham\thello you\nspam\twin now\nham\tsee you\nspam\twin win\n")
    data = prepared(tmp_path / "mail.txt")
    assert data.spec.class_names == ("ham", "spam")
    assert data.load()["y"].tolist() == [0, 1, 0, 1]
    assert "ham" not in data.spec.x.names
    (tmp_path / "train.txt").write_text((tmp_path / "mail.txt").read_text())
    (tmp_path / "test.txt").write_text("spam\twin now\n")
    assert held_out(tmp_path).load()["y"].tolist() == [1]
    assert held_out(tmp_path).spec == data.spec
    (tmp_path / "test.txt").write_text("eggs\twin now\n")
    with pytest.raises(UsageError, match=r"wanted lines that begin with ham or spam and a tab.*one begins with 'eggs'"):
        held_out(tmp_path)
    (tmp_path / "plain.txt").write_text("one\ttwo\nthree\tfour\n")
    assert prepared(tmp_path / "plain.txt").spec.keys == ("x",)


def test_the_labelled_few_are_as_many_of_each_class_and_always_the_same(tmp_path):
    data = prepared("fashion-10k", image_size="16", labelled=32)
    assert dict(data.spec.sets) == {"": ("x",), "l": ("x_l", "y_l")}
    assert dict(data.counts) == {"": 10_000, "l": 32}
    counts = data.load()["y_l"].bincount().tolist()
    assert sorted(counts) == [3] * 8 + [4] * 2
    whole = prepared("fashion-10k", image_size="16").load()
    few = data.load()
    places = [next(i for i in (whole["x"] == x).flatten(1).all(1).nonzero().flatten().tolist()) for x in few["x_l"][:5]]
    assert whole["y"][places].tolist() == few["y_l"][:5].tolist()
    for name, n in (("cat", 5), ("dog", 2)):
        pictures(tmp_path / name, n, first=20 * (name == "dog"))
    few = prepared(tmp_path, image_size="8", labelled=3)
    assert few.load()["y_l"].tolist() == [0, 0, 1]
    assert [mean >= 200 for mean in means(few, "x_l")] == [False, False, True]
    with pytest.raises(UsageError, match=r"dog of data set .* has 2 rows; wanted 3"):
        prepared(tmp_path, image_size="8", labelled=6)
    with pytest.raises(UsageError, match="has no labels"):
        prepared(tmp_path / "cat", image_size="8", labelled=3)
    with pytest.raises(UsageError, match=r"acgan needs labels `y`.*--labelled gives them to the GAN apart, as 'y_l': leave it out"):
        compose.resolve(catalogue(), "acgan", Changes({"dataset": "fashion-10k", "image_size": "16", "labelled": 32})).prepare()


@pytest.mark.parametrize("keys", [("x_a", "x_b"), ("x", "x_l", "y_l")])
def test_an_array_with_sets_of_its_own_is_not_taken_for_pictures_and_labels(keys, monkeypatch):
    path = toys.file(Field("image", (1, 16, 16)), keys)
    monkeypatch.setattr(compose.Parts, "keys", keys)
    for run in ({"dataset": str(path)}, {"dataset": str(path), "image_size": "16"}):
        assert set(keys) <= set(compose.resolve(catalogue(), "dcgan", Changes(run)).prepare().spec.keys)


def test_a_labelled_few_of_a_data_set_by_name_reach_the_parts_that_need_them(monkeypatch):
    monkeypatch.setattr(compose.Parts, "keys", ("x", "x_l", "y_l"))
    run = {"dataset": "fashion-10k", "image_size": "16", "labelled": 20}
    assert compose.resolve(catalogue(), "dcgan", Changes(run)).prepare().counts == {"": 10_000, "l": 20}


def test_windows_are_cut_from_photos_as_they_are(tmp_path):
    for i, (height, width) in enumerate(((20, 30), (24, 26), (40, 40))):
        ramp = np.arange(width, dtype=np.uint8)[None, :, None].repeat(height, 0).repeat(3, 2)
        Image.fromarray(ramp).save(tmp_path / f"{i}.png")
    data = prepared(tmp_path, crop="16x12")
    assert data.spec.x.shape == (1, 20, 26)
    assert data.load()["x"][0, 0, 0].tolist() == list(range(2, 28))  # the middle, not scaled
    assert prepared(tmp_path, crop="8", image_size="16").spec.x.shape == (1, 16, 16)
    with pytest.raises(UsageError, match="no picture has 50 x 50 pixels"):
        prepared(tmp_path, crop="50")


def test_a_run_on_windows_is_resumed_and_its_products_have_their_size(ganzoo, tmp_path):
    for i in range(6):
        noise = np.random.default_rng(i).integers(0, 255, (24 + i, 30, 3))
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(noise.astype(np.uint8)).save(tmp_path / "photos" / f"{i}.png")
    words = ["--crop", 16, "--batch-size", 4, "--generator.width", 8, "--discriminator.width", 8]
    run = tmp_path / "run"
    done = ganzoo("run", "dcgan", "--dataset", tmp_path / "photos", *words, "--steps", 2, "--out", run)
    assert done.returncode == 0, done.stderr
    assert ganzoo("resume", run, "--steps", 3).returncode == 0
    sampled = ganzoo("sample", run, "-n", 1, "--folder", "--out", tmp_path / "one")
    assert sampled.returncode == 0
    with Image.open(tmp_path / "one" / "000000-sample.png") as picture:
        assert picture.size == (16, 16)
    assert "windows of 64 x 64 pixels cannot be cut" in ganzoo("run", "dcgan", "--dataset", "fashion-10k", "--crop", 64).stderr


@pytest.mark.parametrize("asked", [{"crop": "8"}, {"image_size": "8"}])
def test_what_means_nothing_for_texts_is_refused(asked, tmp_path):
    (tmp_path / "lines.txt").write_text("a\nb\n")
    with pytest.raises(UsageError, match="holds no images"):
        prepared(tmp_path / "lines.txt", **asked)
