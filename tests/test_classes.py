"""Classes and labels: from folders, tables, dataset.json and arrays; and as a user names them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_data import colour, encoded, folder_of, zip_of
from zoo import prepare

from ganzoo.errors import GanzooError, UsageError
from ganzoo.runs.exported import classes_of
from ganzoo.types import Field

IMAGE = encoded(colour())


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))


def labels(prepared):
    """The name of the class of each row, in their order; None where there are no labels."""
    if "y" not in prepared.spec.keys:
        return None
    names = prepared.spec.class_names or tuple(map(str, range(prepared.spec.classes)))
    return [names[k] for k in prepared.load()["y"].tolist()]


def both(tmp_path, files):
    """The same files as a folder and as a zip, prepared."""
    tmp_path.mkdir(exist_ok=True)
    return [prepare(str(path), None, image_size=4) for path in (folder_of(tmp_path / "d", files), zip_of(tmp_path / "d.zip", files))]


def of(*names):
    return dict.fromkeys(names, IMAGE)


def test_folders_that_are_numbers_are_in_the_order_of_numbers(tmp_path):
    for prepared in both(tmp_path, of(*(f"{k}/{i}.png" for k in (1, 2, 3, 10, 11) for i in range(k)))):
        assert prepared.spec.class_names == ("1", "2", "3", "10", "11")
        assert sorted(map(int, labels(prepared))) == [k for k in (1, 2, 3, 10, 11) for _ in range(k)]


def test_a_loose_file_beside_the_folders_is_left_out_and_named(tmp_path):
    for prepared in both(tmp_path, of("ant/1.png", "bee/2.png", "3.png")):
        assert labels(prepared) == ["ant", "bee"]
        assert "left out, because it lies beside the folders that are the classes: 3.png" in prepared.note


def test_many_loose_files_take_the_labels_away_with_a_word(tmp_path):
    for prepared in both(tmp_path, of("ant/1.png", "bee/2.png", *(f"{i}.png" for i in range(5)))):
        assert labels(prepared) is None
        assert prepared.count == 7
        assert "no labels are taken from the folders ant, bee: 5 images lie beside them, as 0.png" in prepared.note


@pytest.mark.parametrize("label", [lambda k: k + 5, lambda k: [int(i == k) for i in range(3)]])
def test_the_labels_of_stylegan_are_read_and_its_shards_are_no_classes(tmp_path, label):
    names = [f"0000{i % 2}/img{i:08d}.png" for i in range(6)]
    table = {"labels": [[name, label(i % 3)] for i, name in enumerate(names)]}
    for prepared in both(tmp_path, of(*names) | {"dataset.json": json.dumps(table).encode()}):
        offset = label(0) if isinstance(label(0), int) else 0
        assert labels(prepared) == [str(i % 3 + offset) for i in (0, 2, 4, 1, 3, 5)]
        assert prepared.note == "labels are those of dataset.json"


def test_stylegans_file_without_labels_means_none_and_a_broken_one_is_refused(tmp_path):
    names = of("00000/a.png", "00001/b.png")
    for prepared in both(tmp_path / "none", names | {"dataset.json": b'{"labels": null}'}):
        assert labels(prepared) is None
        assert prepared.note == "dataset.json has no labels"
    for content in (b"{", b"[]", b'{"labels": [["00000/a.png", 1.5]]}', b'{"labels": [["00000/a.png", [1, 1]]]}', b'{"labels": 3}'):
        with pytest.raises(UsageError, match=r"dataset\.json: wanted"):
            both(tmp_path / str(len(content)), names | {"dataset.json": content})


def test_numbered_folders_that_are_equally_full_are_parts_of_one_set(tmp_path):
    for prepared in both(tmp_path, of(*(f"{i // 3:05d}/{i}.png" for i in range(8)))):
        assert labels(prepared) is None
        assert "00000, 00001, 00002 are equally full and numbered" in prepared.note
    for prepared in both(tmp_path / "signs", of("00000/1.png", "00001/2.png", "00001/3.png", "00002/4.png", "00002/5.png")):
        assert prepared.spec.class_names == ("00000", "00001", "00002")


def test_masks_are_not_trained_on(tmp_path):
    for prepared in both(tmp_path, of("images/1.png", "images/2.png", "Masks/1.png", "Masks/2.png")):
        assert (labels(prepared), prepared.count) == (None, 2)
        assert prepared.note == "the images in images are taken, without labels; Masks is not read"


def test_splits_alone_are_no_classes_and_in_a_folder_around_them_they_are_splits(tmp_path):
    prepared = prepare(str(folder_of(tmp_path / "d", of("val/1.png", "test/2.png"))), None, image_size=4)
    assert labels(prepared) is None
    assert "test, val are names of splits" in prepared.note
    names = [f"around/{split}/{k}/{i}.png" for split in ("train", "val", "test") for k in ("cat", "dog") for i in range(2)]
    prepared = prepare(str(folder_of(tmp_path / "e", of(*names, "around/extra/1.png"))), None, image_size=4)
    assert labels(prepared) == ["cat", "cat", "dog", "dog"]
    assert prepared.note == "test is held out: --against test measures against it; not read: extra, val"


def test_a_zip_with_the_backslashes_of_windows_has_folders(tmp_path):
    path = zip_of(tmp_path / "d.zip", of("cat\\1.png", "cat\\2.png", "dog\\1.png"))
    assert labels(prepare(str(path), None, image_size=4)) == ["cat", "cat", "dog"]


def test_links_to_folders_are_followed_and_never_in_circles(tmp_path):
    folder_of(tmp_path / "far", of("1.png", "2.png"))
    root = folder_of(tmp_path / "d", of("ant/1.png"))
    (root / "bee").symlink_to(tmp_path / "far")
    (root / "cow").symlink_to(root / "ant")
    (root / "ant" / "loop").symlink_to(root)
    prepared = prepare(str(root), None, image_size=4)
    assert labels(prepared) == ["ant", "bee", "bee"]
    assert "ant/loop, a link to a folder that is there already" in prepared.note
    assert "cow, a link to a folder that is there already" in prepared.note


@pytest.mark.parametrize(
    "table",
    [
        "file,label\n1.png,cat\n2.png,dog\n3.png,cat\n",
        "id;breed\n1;cat\n2;dog\n3;cat\n",
        "width,path,class\n8,1.png,cat\n8,2.png,dog\n8,3.png,cat\n",
    ],
)
def test_a_table_beside_the_images_has_their_labels(tmp_path, table):
    for prepared in both(tmp_path, of("1.png", "2.png", "3.png", "4.png") | {"about.csv": table.encode("utf-8-sig")}):
        assert labels(prepared) == ["cat", "dog", "cat"]
        assert "labels are those of about.csv, column" in prepared.note
        assert "1 images that it does not name are left out: 4.png" in prepared.note


def test_a_table_that_is_not_about_classes_is_told_of(tmp_path):
    images = of(*(f"{i}.png" for i in range(4)))
    for k, (content, why) in enumerate(
        {
            "file,width,height\n" + "".join(f"{i}.png,1,2\n" for i in range(4)): "it has width, height",
            "a,b\n70,80\n71,81\n": "none of its columns has the names of these images",
            "file,label\n" + "".join(f"{i}.png,{i / 7}\n" for i in range(4)): "has 4 different values for 4 images",
        }.items()
    ):
        prepared = prepare(str(folder_of(tmp_path / f"d{k}", images | {"t.csv": content.encode()})), None, image_size=4)
        assert labels(prepared) is None
        assert why in prepared.note


def test_an_empty_folder_beside_classes_is_told_of(tmp_path):
    root = folder_of(tmp_path / "d", of("ant/1.png", "bee/1.png"))
    (root / "cow").mkdir()
    prepared = prepare(str(root), None, image_size=4)
    assert prepared.spec.class_names == ("ant", "bee")
    assert "no class, because there is no image in it: cow" in prepared.note


@pytest.mark.parametrize(
    ("y", "names", "numbers"),
    [
        (np.array([10, 30, 10, 2**33]), ("10", "30", str(2**33)), [0, 1, 0, 2]),
        (np.array([-1, 1, 1, -1]), ("-1", "1"), [0, 1, 1, 0]),
        (np.array([True, False, True, True]), ("False", "True"), [1, 0, 1, 1]),
        (np.array(["dog", "cat", "dog", "ape"]), ("ape", "cat", "dog"), [2, 1, 2, 0]),
        (np.array([1.0, 2.0, 2.0, 1.0]), ("1", "2"), [0, 1, 1, 0]),
        (np.eye(3, dtype=np.float32)[[2, 0, 0, 1]], (), [2, 0, 0, 1]),
        (np.array([[1], [0], [1], [0]], np.uint8), (), [1, 0, 1, 0]),
    ],
)
def test_labels_of_an_array_are_taken_as_what_they_are(tmp_path, y, names, numbers):
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 8, 8), np.uint8), y=y)
    prepared = prepare(str(tmp_path / "a.npz"), None)
    assert prepared.spec.class_names == names
    assert prepared.spec.classes == max(numbers) + 1
    assert prepared.load()["y"].tolist() == numbers


def test_a_class_without_a_sample_is_told_of_and_more_classes_than_samples_are_refused(tmp_path):
    x = np.zeros((4, 8, 8), np.uint8)
    np.savez(tmp_path / "a.npz", x=x, y=np.eye(3)[[0, 0, 2, 2]])
    prepared = prepare(str(tmp_path / "a.npz"), None)
    assert prepared.note == "no sample is of class 1"
    np.savez(tmp_path / "b.npz", x=x, y=np.eye(9)[[0, 1, 2, 3]])
    with pytest.raises(GanzooError, match="9 classes for 4 samples"):
        prepare(str(tmp_path / "b.npz"), None)
    np.savez(tmp_path / "c.npz", x=np.zeros((40, 8, 8), np.uint8), y=np.arange(40) * 7)
    with pytest.raises(GanzooError, match="40 classes for 40 samples"):
        prepare(str(tmp_path / "c.npz"), None)


def test_arrays_of_an_npz_are_listed_and_can_be_chosen(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.full((4, 8, 8), 7, np.uint8), y_train=np.array([3, 4, 3, 4]))
    with pytest.raises(UsageError, match=r"It holds x_train uint8 \(4, 8, 8\), y_train int64 \(4,\)\. Name yours with --arrays x=NAME"):
        prepare(str(tmp_path / "a.npz"), None)
    prepared = prepare(str(tmp_path / "a.npz"), None, arrays="x=x_train,y=y_train")
    assert labels(prepared) == ["3", "4", "3", "4"]
    with pytest.raises(UsageError, match="--arrays x=nothing: wanted KEY=NAME"):
        prepare(str(tmp_path / "a.npz"), None, arrays="x=nothing")


def test_one_picture_is_no_set_of_pictures(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((64, 48, 3), np.uint8))
    with pytest.raises(UsageError, match="looks like one image"):
        prepare(str(tmp_path / "a.npy"), None)


def test_a_class_is_named_exactly_then_without_case_then_by_number():
    said = []
    months = Field("label", (), 12, tuple(map(str, range(1, 13))))
    assert classes_of(["3", "12", "0"], months, said.append) == [2, 11, 0]
    assert said == ["--labels 3 is the class of that name, which is number 2, and not number 3, '4'."]
    assert classes_of(["003"], Field("label", (), 4, ("001", "002", "003", "004"))) == [2]
    assert classes_of(["a", "A"], Field("label", (), 2, ("A", "a"))) == [1, 0]
    assert classes_of(["CAT"], Field("label", (), 2, ("cat", "dog"))) == [0]
    assert classes_of([3], months) == [3]
    assert classes_of(["red, large", "x y,1"], Field("label", (), 3, ("red, large", "x y", "1"))) == [0, 1, 2]
    for word in ("aA", "-1", "9" * 5000):
        with pytest.raises(UsageError, match="--labels: wanted"):
            classes_of([word], Field("label", (), 2, ("AA", "aa")))
