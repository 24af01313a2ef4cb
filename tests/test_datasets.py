"""The data sets that come with ganzoo: what they hold, and what a user is told who lacks a file."""

from __future__ import annotations

import gzip
import io
import math
import shutil
import tarfile
import urllib.request
import zipfile
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from ganzoo_datasets import celeba as celeba_module
from ganzoo_datasets import ganzoo_register, sets
from PIL import Image
from zoo import prepare

from ganzoo.data import Prepared
from ganzoo.errors import GanzooError, UsageError
from ganzoo.types import DataSpec

RECORDS = {record.name: record for record in ganzoo_register()}


def get(name: str, **options) -> Prepared:
    return prepare(name, RECORDS[name], **options)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GANZOO_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def no_network(monkeypatch) -> None:
    def refuse(*args, **kwargs):
        raise URLError("no network in tests")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def real(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"there is no {path}")
    return path


def everything_in(folder: Path) -> set[tuple[str, int]]:
    return {(str(path), path.stat().st_mtime_ns) for path in [folder, *folder.rglob("*")]}


# --- MNIST and Fashion-MNIST


def test_fashion_10k_comes_with_the_package(cache):
    prepared = get("fashion-10k")
    data = prepared.load()
    assert prepared.spec == DataSpec.of("image", (1, 28, 28), 10, sets.FASHION)
    assert data["x"].shape == (10_000, 1, 28, 28)
    assert data["y"].bincount().tolist() == [1000] * 10
    assert data["y"][:5].tolist() == [9, 2, 1, 1, 6]
    assert prepared.name == "fashion-10k"
    assert not [path for path in cache.iterdir() if path.name != "prepared"]  # what was unpacked is gone


def test_the_notice_of_the_embedded_images_lies_beside_them():
    folder = Path(sets.__file__).parent / "fashion_10k"
    assert "Copyright (c) 2017 Zalando SE, https://tech.zalando.com" in (folder / "LICENSE").read_text()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5_000_000


@pytest.mark.parametrize(
    ("name", "kind", "labels"),
    [("mnist", "MNIST", [5, 0, 4, 1, 9]), ("mnist-10k", "MNIST", [7, 2, 1, 0, 4]), ("fashion-mnist", "FashionMNIST", [9, 0, 0, 3, 0])],
)
def test_the_official_files_are_read_where_they_lie_and_the_folder_is_left_alone(real_data, name, kind, labels):
    real(real_data / kind)
    before = everything_in(real_data / kind)
    prepared = get(name, data_dir=real_data)
    assert everything_in(real_data / kind) == before
    n, split = (10_000, "t10k") if name.endswith("-10k") else (60_000, "train")
    assert prepared.count == n
    assert prepared.spec.shape == (1, 28, 28)
    assert prepared.load()["y"][:5].tolist() == labels
    with gzip.open(real_data / kind / "raw" / f"{split}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(n, 1, 28, 28)
    assert np.array_equal(prepared.load()["x"].numpy(), images)


def test_unpacked_files_are_checked_and_used(real_data, tmp_path):
    source = real(real_data / "MNIST" / "raw")
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        with gzip.open(source / f"{name}.gz") as packed, open(raw / name, "wb") as plain:
            shutil.copyfileobj(packed, plain)
    prepared = get("mnist", data_dir=tmp_path / "data")
    assert prepared.count == 60_000
    shutil.rmtree(tmp_path / "data")
    assert get("mnist", data_dir=tmp_path / "data") == prepared  # found again without the files
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte").write_bytes(b"other content")
    with pytest.raises(GanzooError, match="is not the official file"):
        get("mnist", data_dir=tmp_path / "data", image_size=32)


@pytest.mark.parametrize(("name", "file"), [("mnist", "train-images-idx3-ubyte.gz"), ("cifar10", "cifar-10-binary.tar.gz")])
def test_without_a_network_the_message_says_which_file_from_where_and_to_where(tmp_path, name, file):
    with pytest.raises(GanzooError) as caught:
        get(name, data_dir=tmp_path / "data")
    message = str(caught.value)
    assert file in message
    assert "https://" in message
    assert str(tmp_path / "data") in message
    assert "--data-dir" in message
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file() or path.name.startswith(".part")]


def test_a_damaged_download_is_named_and_not_used(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte.gz").write_bytes(b"<html>quota exceeded</html>")
    with pytest.raises(GanzooError, match=r"train-images-idx3-ubyte.gz is not the official file"):
        get("mnist", data_dir=tmp_path)


def test_a_download_appears_under_its_name_only_when_it_is_checked(tmp_path, monkeypatch):
    content = b"pretend"

    class Response(io.BytesIO):
        url, length = None, len(content)

    monkeypatch.setattr(urllib.request, "urlopen", lambda *args, **kwargs: Response(content))
    with pytest.raises(GanzooError, match="corrupted"):
        get("cifar10", data_dir=tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and "cache" not in path.parts] == []


# --- CIFAR-10


def cifar10_files() -> dict[str, bytes]:
    """Five batches of four records each: the label, then a plane a colour."""
    files = {}
    for i in range(5):
        records = [bytes([(4 * i + j) % 10]) + bytes([10 * i + j]) * 1024 + bytes([1]) * 1024 + bytes([2]) * 1024 for j in range(4)]
        files[f"cifar-10-batches-bin/data_batch_{i + 1}.bin"] = b"".join(records)
    return files


def check_cifar10(prepared: Prepared) -> None:
    data = prepared.load()
    assert prepared.spec == DataSpec.of("image", (3, 32, 32), 10, sets.CIFAR10)
    assert data["x"][:, 0, 0, 0].tolist() == [10 * i + j for i in range(5) for j in range(4)]
    assert data["x"][7, :, 31, 31].tolist() == [13, 1, 2]
    assert data["y"].tolist() == [k % 10 for k in range(20)]


def test_cifar10_is_read_from_the_archive_without_unpacking_it(tmp_path, monkeypatch):
    archive = tmp_path / "data" / "cifar-10-binary.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in cifar10_files().items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(GanzooError, match="is not the official file"):
        get("cifar10", data_dir=tmp_path / "data")
    from torchvision.datasets.utils import calculate_md5

    monkeypatch.setattr(sets, "CIFAR10_MD5", calculate_md5(archive))
    check_cifar10(get("cifar10", data_dir=tmp_path / "data"))
    assert list(archive.parent.iterdir()) == [archive]


def test_cifar10_is_read_from_the_unpacked_folder(tmp_path):
    for name, content in cifar10_files().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    check_cifar10(get("cifar10", data_dir=tmp_path))
    (tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin").write_bytes(b"cut off")
    with pytest.raises(GanzooError, match="wanted records of 3073 bytes"):
        get("cifar10", data_dir=tmp_path)
    (tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin").unlink()
    with pytest.raises(GanzooError, match=r"lacks data_batch_3.bin"):
        get("cifar10", data_dir=tmp_path)


def test_an_array_of_real_cifar10_images_keeps_its_labels(real_data):
    prepared = prepare(str(real(real_data / "cifar10" / "cifar10_train_5k.npz")), None)
    assert (prepared.name, prepared.count) == ("cifar10_train_5k", 5000)
    assert prepared.spec == DataSpec.of("image", (3, 32, 32), 10)
    assert prepared.load()["y"].bincount().tolist() == [500] * 10


# --- CelebA


FACES = {f"{i:06}.jpg": i for i in range(1, 9)}
#: 000002 to 000009: the first image has no row, the last row has no image. Bit 0 is Male, bit 1 is Smiling.
CLASS_OF = {f"{i:06}.jpg": i % 4 for i in range(2, 10)}


def face(i: int) -> bytes:
    """178 x 218 like the official ones: black above and below the centre square."""
    image = Image.new("RGB", (178, 218))
    image.paste((20 * i, 128, 255), (0, 20, 178, 198))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    return file.getvalue()


def official_list() -> str:
    rows = [f"{name} {(1, -1)[k & 1 == 0]:2d} -1 {(1, -1)[k & 2 == 0]:2d}" for name, k in CLASS_OF.items()]
    return "\n".join([str(len(rows)), "Male Mouth_Slightly_Open Smiling ", *rows]) + "\n"


def kaggle_list() -> str:
    rows = [f"{name},{(1, -1)[k & 1 == 0]},-1,{(1, -1)[k & 2 == 0]}" for name, k in CLASS_OF.items()]
    return "\n".join(["image_id,Male,Mouth_Slightly_Open,Smiling", *rows]) + "\n"


def faces_in(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, i in FACES.items():
        (folder / name).write_bytes(face(i))


def faces_zip(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, i in FACES.items():
            archive.writestr(f"img_align_celeba/{name}", face(i))


LAYOUTS = {
    "the official folder": lambda d: (faces_in(d / "celeba" / "img_align_celeba"), d / "celeba"),
    "the official zip": lambda d: (faces_zip(d / "celeba" / "img_align_celeba.zip"), d / "celeba"),
    "the zip as it was downloaded": lambda d: (faces_zip(d / "img_align_celeba.zip"), d),
    "Google Drive's folders": lambda d: (faces_in(d / "celeba" / "Img" / "img_align_celeba"), d / "celeba" / "Anno"),
    "Google Drive's zip": lambda d: (faces_zip(d / "Img" / "img_align_celeba.zip"), d / "Anno"),
    "the PNG form": lambda d: (faces_in(d / "Img" / "img_align_celeba_png"), d / "Anno"),
    "the folder itself": lambda d: (faces_in(d / "img_align_celeba"), d),
    "Kaggle's folder in a folder": lambda d: (faces_in(d / "img_align_celeba" / "img_align_celeba"), d),
    "just images": lambda d: (faces_in(d), d),
    "just images in celeba": lambda d: (faces_in(d / "celeba"), d / "celeba"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("suffix", "content"), [("txt", official_list()), ("csv", kaggle_list())])
def test_celeba_takes_what_people_have(tmp_path, layout, suffix, content):
    data = tmp_path / "data"
    _, home = LAYOUTS[layout](data)
    plain = get("celeba", data_dir=data)
    assert plain.spec == DataSpec.of("image", (3, 64, 64))
    assert plain.count == 8
    x = plain.load()["x"]
    assert x[:, 2, 2:-2].min() > 240  # nothing of what is above and below the centre square
    assert [round(float(v) / 20) for v in x[:, 0].float().mean((1, 2))] == list(FACES.values())

    home.mkdir(exist_ok=True)
    (home / f"list_attr_celeba.{suffix}").write_text(content)
    labelled = get("celeba", data_dir=data, labels=("Male", "smiling"))
    assert labelled.spec.class_names == ("neither", "Male", "Smiling", "Male+Smiling")
    assert labelled.load()["y"].tolist() == [i % 4 for i in range(2, 9)]
    assert torch.equal(labelled.load()["x"], x[1:])
    assert "1 images are left out" in labelled.note


def test_images_with_a_list_but_without_labels_have_none(tmp_path):
    faces_in(tmp_path / "celeba")
    (tmp_path / "celeba" / "list_attr_celeba.txt").write_text(official_list())
    assert get("celeba", data_dir=tmp_path).spec.keys == ("x",)
    assert get("celeba", data_dir=tmp_path, labels=("Male",)).spec.class_names == ("not Male", "Male")


def test_another_list_means_other_labels(tmp_path):
    faces_in(tmp_path / "celeba")
    listed = tmp_path / "celeba" / "list_attr_celeba.csv"
    listed.write_text(kaggle_list())
    first = get("celeba", data_dir=tmp_path, labels=("Male",))
    listed.write_text(kaggle_list().replace(",1,", ",-1,") + "\n")
    assert get("celeba", data_dir=tmp_path, labels=("Male",)).checksum != first.checksum


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (("Smilling",), "Did you mean Smiling"),
        (("xyz",), "It has Male, Mouth_Slightly_Open, Smiling"),
        (("Male", "male"), "each once"),
    ],
)
def test_attributes_that_cannot_be_are_refused(tmp_path, labels, told):
    faces_zip(tmp_path / "img_align_celeba.zip")
    (tmp_path / "list_attr_celeba.txt").write_text(official_list())
    with pytest.raises(UsageError, match=told):
        get("celeba", data_dir=tmp_path, labels=labels)


def test_a_list_of_other_images_or_of_nonsense_is_refused(tmp_path):
    faces_in(tmp_path / "celeba")
    listed = tmp_path / "celeba" / "list_attr_celeba.txt"
    listed.write_text("1\nMale Smiling\nother.jpg 1 1\n")
    with pytest.raises(UsageError, match="none of the 8 images has a label"):
        get("celeba", data_dir=tmp_path, labels=("Male",))
    listed.write_text("1\nMale Smiling\n000001.jpg yes no\n")
    with pytest.raises(GanzooError, match="2 times 1, 0 or -1"):
        get("celeba", data_dir=tmp_path, labels=("Male",))


@pytest.mark.parametrize(("labels", "file"), [((), "img_align_celeba.zip"), (("Male",), "list_attr_celeba.txt")])
def test_when_google_drive_refuses_the_message_says_what_to_do(tmp_path, monkeypatch, labels, file):
    import torchvision.datasets.utils

    def refuse(file_id, root, filename, md5):
        (Path(root) / filename).write_text("<html>Quota exceeded</html>")
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(torchvision.datasets.utils, "download_file_from_google_drive", refuse)
    if labels:
        faces_in(tmp_path / "celeba" / "img_align_celeba")
    with pytest.raises(GanzooError) as caught:
        get("celeba", data_dir=tmp_path, labels=labels)
    message = str(caught.value)
    assert message.startswith(file)
    assert celeba_module.SOURCE in message
    assert f"put it in {tmp_path / 'celeba'}" in message
    assert not (tmp_path / "celeba" / file).exists()


def test_real_celeba_at_the_standard_crop(real_data):
    real(real_data / "celeba")
    before = everything_in(real_data / "celeba")
    prepared = get("celeba", data_dir=real_data, labels=("Male",), sizes=(32, 64))
    assert everything_in(real_data / "celeba") == before
    assert (prepared.count, prepared.skipped, prepared.note) == (10_000, (), "")
    assert prepared.spec == DataSpec.of("image", (3, 64, 64), 2, ("not Male", "Male"))
    data = prepared.load()
    assert 0.40 < data["y"].float().mean() < 0.44  # 41.7 % in all of CelebA
    mean = data["x"].float().mean((0, 2, 3)) / 255
    assert torch.allclose(mean, torch.tensor([0.506, 0.425, 0.383]), atol=0.02)  # published means of the aligned images
    # an independent crop: resize the shorter side, then cut out the centre
    with zipfile.ZipFile(real_data / "celeba" / "img_align_celeba.zip") as archive, archive.open("img_align_celeba/000003.jpg") as file:
        image = Image.open(file)
        image = image.resize((64, round(64 * image.height / image.width)), Image.Resampling.BICUBIC)
    top = (image.height - 64) // 2
    wanted = torch.from_numpy(np.array(image.crop((0, top, 64, top + 64)))).permute(2, 0, 1)
    assert (data["x"][2].float() - wanted.float()).abs().mean() < 4


def test_real_images_of_many_shapes_and_both_kinds_of_colour(real_data):
    prepared = prepare(str(real(real_data / "super-resolution" / "Set14")), None, image_size=96)
    assert prepared.spec.shape == (3, 96, 96)
    x = prepared.load()["x"]
    assert x.shape[0] == 14
    assert (x[2, 0] == x[2, 1]).all()  # bridge.png is grey
    assert not (x[0, 0] == x[0, 1]).all()


# --- points


@pytest.mark.parametrize(("name", "modes", "sigma"), [("ring", 8, 0.02), ("grid", 25, 0.05)])
def test_points_lie_around_their_modes_and_are_always_the_same(name, modes, sigma, monkeypatch, tmp_path):
    prepared = get(name)
    assert prepared.spec == DataSpec.of("points", (2,))
    x = prepared.load()["x"]
    assert x.shape == (100_000, 2)
    if name == "ring":
        centres = torch.tensor([[2 * math.cos(i * math.pi / 4), 2 * math.sin(i * math.pi / 4)] for i in range(8)])
    else:
        centres = torch.cartesian_prod(torch.arange(-4.0, 5, 2), torch.arange(-4.0, 5, 2))
    distance, nearest = torch.cdist(x, centres).min(1)
    assert len(nearest.unique()) == modes
    assert nearest.bincount().min() > 0.9 * 100_000 / modes
    assert distance.square().mean().div(2).sqrt() == pytest.approx(sigma, rel=0.02)
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "another"))
    assert get(name).checksum == prepared.checksum


# --- the records


def test_the_manifest_names_functions_that_exist_and_keys_that_are_true():
    import importlib

    for record in RECORDS.values():
        module, function = record.target.split(":")
        assert callable(getattr(importlib.import_module(module), function))
        assert all(field.size for key, field in record.fields.items() if key == "y")
        assert record.licence
