"""Preparing, caching and batching; what a data set author and a user with odd files meet."""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from zoo import prepare

from ganzoo.data import Batches, Prepared, Request, Samples, cache_dir
from ganzoo.data.mapped import Mapped
from ganzoo.errors import GanzooError, UsageError
from ganzoo.randomness import generator, shuffled
from ganzoo.types import DataSet, DataSpec, Field

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GANZOO_DATA", raising=False)
    return tmp_path / "cache"


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def colour(width: int = 8, height: int = 8, rgb=(200, 30, 60)) -> Image.Image:
    return Image.new("RGB", (width, height), rgb)


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is that large and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def folder_of(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def zip_of(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def good(n: int) -> dict[str, bytes]:
    return {f"good{i:04}.png": encoded(colour(4, 4, (i % 256, 0, 9))) for i in range(n)}


# --- what is made of images


def test_a_folder_is_resized_cropped_and_normalised_to_three_channels(tmp_path):
    files = {"a.png": encoded(colour(100, 60)), "b.jpg": encoded(colour(33, 71), "JPEG"), "sub.d/c.webp": encoded(colour(16, 16), "WEBP")}
    prepared = prepare(str(folder_of(tmp_path / "my images", files)), None)
    assert prepared.spec == DataSpec.of("image", (3, 64, 64))
    assert (prepared.name, prepared.count, prepared.skipped) == ("my-images", 3, ())
    data = prepared.load()
    assert set(data) == {"x"}
    assert data["x"].dtype == torch.uint8
    assert data["x"].shape == (3, 3, 64, 64)
    assert data["x"][0, :, 5, 5].tolist() == [200, 30, 60]


def test_the_centre_square_is_kept(tmp_path):
    image = colour(90, 30, (0, 0, 255))
    image.paste((255, 0, 0), (30, 0, 60, 30))
    x = prepare(str(folder_of(tmp_path / "d", {"a.png": encoded(image)})), None, image_size=30).load()["x"]
    assert (x[0, 0] == 255).all()
    assert (x[0, 2] == 0).all()


def test_shrinking_is_antialiased_for_images_and_arrays(tmp_path):
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    np.save(tmp_path / "stripes.npy", stripes[None])
    for path in (tmp_path / "stripes.npy", folder_of(tmp_path / "d", {"a.png": encoded(Image.fromarray(stripes))})):
        x = prepare(str(path), None, image_size=8).load()["x"].float()
        assert (x - 127.5).abs().max() < 12


def test_grey_images_give_one_channel_and_one_colour_image_among_them_three(tmp_path):
    grey = {f"{i}.png": encoded(Image.new("L", (8, 8), i)) for i in range(3)} | {"rgb.png": encoded(colour(8, 8, (7, 7, 7)))}
    folder = folder_of(tmp_path / "d", grey)
    assert prepare(str(folder), None).spec.shape == (1, 64, 64)
    folder_of(folder, {"z.png": encoded(colour())})
    x = prepare(str(folder), None).load()["x"]
    assert x.shape == (5, 3, 64, 64)
    assert x[2].unique().tolist() == [2]


def pixel(tmp_path, content: bytes) -> list[int]:
    x = prepare(str(folder_of(tmp_path / "d", {"a.jpg": content})), None, image_size=4).load()["x"]
    return x[0, :, 1, 1].tolist()


def test_transparency_lies_over_white(tmp_path):
    assert pixel(tmp_path, encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 0)))) == [255]


def test_half_transparency_mixes_with_white(tmp_path):
    red, green, blue = pixel(tmp_path, encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 128))))
    assert red == 255
    assert green == blue == pytest.approx(127, abs=1)


def test_palettes_keep_their_colours(tmp_path):
    assert pixel(tmp_path, encoded(colour(8, 8, (1, 2, 250)).quantize(4))) == [1, 2, 250]


def test_a_palette_with_a_transparent_colour_lies_over_white(tmp_path):
    assert pixel(tmp_path, encoded(Image.new("P", (4, 4), 0), transparency=0)) == [255]


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
    x = np.full((4, 4), 0x8000, np.uint16)
    x[0, 0] = 0xFFFF
    folder = folder_of(tmp_path / "d", {"a.png": encoded(Image.fromarray(x))})
    assert prepare(str(folder), None, image_size=4).load()["x"][0, 0].flatten().tolist() == [255, *[128] * 15]


def test_sixteen_bits_with_small_values_are_scaled_by_the_largest_of_the_set(tmp_path):
    images = {f"{k}.png": encoded(Image.fromarray(np.full((4, 4), k * 1000, np.uint16))) for k in range(1, 5)}
    prepared = prepare(str(folder_of(tmp_path / "d", images)), None, image_size=4)
    assert prepared.load()["x"][:, 0, 0, 0].tolist() == [63, 127, 191, 255]
    assert (prepared.spec.x.peak, prepared.note) == (4000, "16-bit images with values up to 4000: that becomes white")
    same = {f"{k}.png": encoded(Image.fromarray(np.full((4, 4), 7, np.uint16))) for k in range(3)}
    with pytest.raises(GanzooError, match="every pixel of its 16-bit images has the value 7"):
        prepare(str(folder_of(tmp_path / "e", same)), None, image_size=4)


def test_the_odd_image_of_sixteen_bits_is_told_of(tmp_path):
    images = {f"{k:03d}.png": encoded(colour(4, 4, (k, k, k))) for k in range(129)}
    deep = encoded(Image.fromarray(np.full((4, 4), 300, np.uint16)))
    prepared = prepare(str(folder_of(tmp_path / "seen", images | {"064.png": deep})), None, image_size=4)  # every second one is looked at
    assert (prepared.spec.x.peak, "values up to 300" in prepared.note) == (0, False)
    assert "1 of 129 images has 16 bits, of which the upper 8 are taken: 064.png" in prepared.note
    prepared = prepare(str(folder_of(tmp_path / "not-seen", images | {"065.png": deep})), None, image_size=4)
    assert "1 of 129 images has 16 bits, of which the upper 8 are taken: 065.png" in prepared.note


def test_a_few_colour_images_among_grey_ones_and_small_ones_are_told_of(tmp_path):
    grey = {f"{k:03d}.png": encoded(colour(8, 8, (k, k, k))) for k in range(100)}
    files = grey | {"zebra.png": encoded(colour(8, 8)), "small.png": encoded(colour(3, 3, (9, 9, 9)))}
    prepared = prepare(str(folder_of(tmp_path / "d", files)), None, image_size=8)
    assert prepared.spec.shape == (3, 8, 8)
    assert "1 of 102 images is in colour, the others are grey: zebra.png" in prepared.note
    assert "1 of 102 images has less than half of the pixels a side: small.png" in prepared.note


@pytest.mark.parametrize("large", [False, True])
def test_prepared_data_that_was_damaged_is_never_trained_on(tmp_path, monkeypatch, large):
    from ganzoo.data import prepared as module

    monkeypatch.setattr(module, "BLOCK_BYTES", 64)
    monkeypatch.setattr(module, "PAGE_BYTES", 64)
    if large:
        monkeypatch.setattr(module, "SMALL_BYTES", 0)
    folder = str(folder_of(tmp_path / "d", {f"{kind}/{name}": data for name, data in good(30).items() for kind in ("ant", "bee")}))
    first = prepare(folder, None, image_size=4)
    whole = first.path.read_bytes()
    rng = np.random.default_rng(0)
    header = 8 + int.from_bytes(whole[:8], "little")
    for at in [*rng.integers(0, header, 20), *rng.integers(header, len(whole), 20)]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(rng.integers(8))
        first.path.write_bytes(damaged)
        again = prepare(folder, None, image_size=4)
        if large and at >= header:  # told of when the rows are read
            batches = Batches(again.mapped, again.spec, 60, seed=0, device=CPU, check=again.check)
            with pytest.raises(GanzooError, match="is damaged"):
                next(batches)
            assert not first.path.exists()
            again = prepare(folder, None, image_size=4)
        assert again.checksum == first.checksum
        assert torch.equal(again.load()["x"], prepare(folder, None, image_size=4).load()["x"])
        assert again.path.read_bytes() == whole


def test_only_blocks_that_are_read_are_checked(tmp_path, monkeypatch):
    from ganzoo.data import prepared as module

    monkeypatch.setattr(module, "BLOCK_BYTES", 64)
    monkeypatch.setattr(module, "PAGE_BYTES", 64)
    monkeypatch.setattr(module, "SMALL_BYTES", 0)
    folder = str(folder_of(tmp_path / "d", good(30)))
    first = prepare(folder, None, image_size=4)
    content = bytearray(first.path.read_bytes())
    content[-1] ^= 1
    first.path.write_bytes(content)
    again = prepare(folder, None, image_size=4)
    again.check("x", torch.arange(29))
    with pytest.raises(GanzooError, match="rows 29 and on of x"):
        again.check("x", torch.tensor([29]))
    with pytest.raises(GanzooError, match="is damaged"):
        again.load()


def test_cmyk_becomes_rgb(tmp_path):
    red, green, blue = pixel(tmp_path, encoded(colour(16, 16, (255, 0, 0)).convert("CMYK"), "JPEG"))
    assert red > 240
    assert max(green, blue) < 15


def test_one_bit_images_are_black_and_white(tmp_path):
    assert pixel(tmp_path, encoded(Image.new("1", (4, 4), 1))) == [255]


def test_exif_orientation_is_applied(tmp_path):
    image = colour(40, 20, (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right by 90 degrees: its left half is then above
    x = prepare(str(folder_of(tmp_path / "d", {"a.jpg": encoded(image, "JPEG", exif=exif)})), None, image_size=16).load()["x"]
    assert x[0, 0, 0].min() > 240
    assert x[0, 0, -1].max() < 15


def test_an_image_one_pixel_wide_and_very_long_stays_small(tmp_path):
    assert len(pixel(tmp_path, encoded(colour(1, 60_000)))) == 3


# --- bad input


BAD = {
    "truncated.jpg": (encoded(Image.effect_noise((64, 64), 90), "JPEG")[:900], "truncated"),
    "truncated.png": (encoded(Image.effect_noise((64, 64), 90))[:900], ""),
    "empty.png": (b"", "empty"),
    "text.png": (b"this is no image at all", "not a JPEG, PNG, WebP, BMP, GIF or PPM image"),
    "eps.jpg": (encoded(colour(), "EPS"), "not a JPEG, PNG, WebP, BMP, GIF or PPM image"),
    "tiff.jpg": (encoded(colour(), "TIFF"), "not a JPEG, PNG, WebP, BMP, GIF or PPM image"),
    "64-megapixels.png": (png_header(8000, 8000), "8000 x 8000: more than 50,000,000 pixels"),
    "100-megapixels.png": (png_header(10000, 10000), "more than 50,000,000 pixels"),
    "4-gigapixels.png": (png_header(65000, 65000), "more than 50,000,000 pixels"),
}


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_bad_images_are_skipped_counted_and_listed_by_name(tmp_path, kind):
    files = good(1000) | {name: content for name, (content, _) in BAD.items()}
    path = folder_of(tmp_path / "d", files) if kind == "folder" else zip_of(tmp_path / "d.zip", files)
    prepared = prepare(str(path), None, image_size=4)
    assert prepared.count == 1000
    assert [name for name, _ in prepared.skipped] == sorted(BAD)
    for name, reason in prepared.skipped:
        assert BAD[name][1] in reason
    assert prepared.load()["x"][:, 0, 2, 2].tolist() == [i % 256 for i in range(1000)]
    assert prepare(str(path), None, image_size=4) == prepared  # the list is kept with the cache


def peak_growth(code: str) -> int:
    """By how many MB the code, as the body of a program, raises the memory that the process takes at the most."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs Linux's VmHWM: ru_maxrss begins with the parent's")
    program = f"""
import re
from pathlib import Path
from ganzoo.media.decode import pixels
from ganzoo.data.sources import images_in_zip
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
content = b""
before = peak()
try:
    {code}
except Exception as error:
    assert "pixels" in str(error) or "CRC" in str(error)
print(peak() - before - len(content) // 2**20)
"""
    return int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP"])
def test_a_gigantic_image_is_refused_before_its_pixels_take_memory(tmp_path, format):
    (tmp_path / "large").write_bytes(encoded(Image.new("L", (9000, 6000)), format, quality=1, method=0))
    code = f"content = Path({str(tmp_path / 'large')!r}).read_bytes(); pixels(content, (64, 64))"
    assert peak_growth(code) < 20  # 54 MB is the least that its pixels take


def test_a_png_named_jpg_is_fine(tmp_path):
    assert prepare(str(folder_of(tmp_path / "d", {"a.jpg": encoded(colour())})), None).count == 1


def test_more_than_one_percent_of_bad_images_stops_and_leaves_nothing(tmp_path, cache):
    folder = folder_of(tmp_path / "d", good(196) | {"bad1.png": b"x", "bad2.png": b"", "bad3.jpg": b"y", "bad4.jpg": b"z"})
    with pytest.raises(GanzooError, match=r"4 of the first 200 images.*too many: more than 3 and more than 1%") as caught:
        prepare(str(folder), None, image_size=4)
    assert "bad2.png: empty" in str(caught.value)
    assert not [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_one_bad_image_among_few_is_left_out_and_named_and_half_of_them_are_not(tmp_path):
    assert prepare(str(folder_of(tmp_path / "d", good(20) | {"bad.png": b"x"})), None, image_size=4).skipped[0][0] == "bad.png"
    with pytest.raises(GanzooError, match="2 of the first 3 images"):
        prepare(str(folder_of(tmp_path / "e", good(1) | {"bad.png": b"x", "worse.png": b"y"})), None, image_size=4)


def test_labels_of_skipped_images_go_with_them(tmp_path):
    files = {f"{kind}/{name}": content for name, content in good(100).items() for kind in ("ant", "bee")} | {"ant/bad.png": b"x"}
    prepared = prepare(str(folder_of(tmp_path / "d", files)), None, image_size=4)
    assert prepared.load()["y"].tolist() == [0] * 100 + [1] * 100
    assert prepared.skipped[0][0] == "ant/bad.png"


# --- folders and zips


def layouts(tmp_path, files: dict[str, bytes]) -> list[Prepared]:
    return [
        prepare(str(folder_of(tmp_path / "f", files)), None, image_size=4),
        prepare(str(zip_of(tmp_path / "z.zip", files)), None, image_size=4),
    ]


def test_class_sub_folders_are_labels_also_inside_one_more_folder(tmp_path):
    image = encoded(colour())
    names = ["photos/cat/1.png", "photos/ant/2.png", "photos/ant/deep/3.png", "photos/bee/4.png"]
    files = dict.fromkeys(names, image) | {"photos/readme.txt": b"x", "photos/.cache/5.png": image, "__MACOSX/photos/cat/._1.png": b"x"}
    for prepared in layouts(tmp_path, files):
        assert prepared.spec.class_names == ("ant", "bee", "cat")
        assert prepared.spec.classes == 3
        assert prepared.load()["y"].tolist() == [0, 0, 1, 2]


def test_files_that_are_not_read_are_counted_by_their_endings_and_one_without_is_judged_by_its_content(tmp_path):
    files = {"a": encoded(colour()), "b.gif": encoded(colour(), "GIF"), "c.ppm": encoded(colour(), "PPM")}
    files |= {"notes.txt": b"", "e.HEIC": b"", "f": b"f"}
    for prepared in layouts(tmp_path, files):
        assert prepared.count == 3
        assert prepared.note.startswith("not read: 1 without an ending, 1 .heic, 1 .txt (convert them")


def test_member_names_that_would_escape_a_folder_do_no_harm(tmp_path, cache):
    image = encoded(colour())
    path = zip_of(tmp_path / "evil.zip", {"../../escaped.png": image, "/abs.png": image, "a/../../b.png": image})
    before = {p for p in tmp_path.rglob("*") if cache not in p.parents and p != cache}
    assert prepare(str(path), None).count == 3
    assert {p for p in tmp_path.rglob("*") if cache not in p.parents and p != cache} == before
    assert all(p.suffix in (".safetensors", ".lock") for p in cache.rglob("*") if p.is_file())


def test_a_member_that_says_it_is_huge_is_not_read(tmp_path):
    path = zip_of(tmp_path / "z.zip", {"bomb.png": b""})
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02") + 24  # the uncompressed size in the central directory
    content[at : at + 4] = struct.pack("<I", 3_000_000_000)
    path.write_bytes(content)
    with pytest.raises(GanzooError, match="larger than 200 MB"):
        prepare(str(path), None)


def test_a_member_that_holds_more_than_it_says_is_not_inflated(tmp_path):
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", bytes(150_000_000))
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = struct.pack("<I", 1000)
    path.write_bytes(content)
    assert peak_growth(f"images_in_zip(Path({str(path)!r})).files['x'].read(0)") < 20
    with pytest.raises(GanzooError, match="bomb"):
        prepare(str(path), None)


def test_members_compressed_without_a_bound_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.png", encoded(colour()))
    with pytest.raises(GanzooError, match="stored or deflated"):
        prepare(str(tmp_path / "z.zip"), None)


def test_pipes_and_dangling_links_do_not_hang(tmp_path):
    folder = folder_of(tmp_path / "d", good(100))
    os.mkfifo(folder / "pipe.png")
    (folder / "nowhere.png").symlink_to("missing")
    (folder / "zero.png").symlink_to("/dev/zero")
    prepared = prepare(str(folder), None, image_size=4)
    assert prepared.count == 100
    assert "pipe.png, which is a pipe or a device" in prepared.note
    assert "zero.png, which is a pipe or a device" in prepared.note
    for name in ("pipe.npy", "pipe.zip", "pipe.txt"):
        os.mkfifo(folder / name)
        with pytest.raises(UsageError, match="is a pipe or a device"):
            prepare(str(folder / name), None)
    assert [name for name, _ in prepared.skipped] == ["nowhere.png"]


@pytest.mark.parametrize("folders", [("source", "target"), ("trainA", "trainB"), ("train", "val")])
def test_pairs_domains_and_splits_in_a_zip_are_not_taken_for_classes(folders, tmp_path):
    path = zip_of(tmp_path / "z.zip", {f"{folder}/{name}": data for folder in folders for name, data in good(2).items()})
    with pytest.raises(UsageError, match=f"(?i){folders[0]}, {folders[1]} in it are no classes. Unpack it"):
        prepare(str(path), None)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda p: p, "no data set and no file"),
        (lambda p: p.mkdir() or p, "got no files"),
        (lambda p: folder_of(p, {"a.txt": b"", "b.csv": b""}), "got 1 .txt"),
        (lambda p: folder_of(p, {"a.tif": b""}), "got 1 .tif .convert"),
        (lambda p: folder_of(p, {"a.tar": b""}) / "a.tar", "got a '.tar' file"),
        (lambda p: folder_of(p, {"a.zip": b"no zip"}) / "a.zip", "cannot be read as a zip"),
        (lambda p: folder_of(p, {"a.npy": b"no array"}) / "a.npy", "cannot be read"),
        (lambda p: folder_of(p, {"a.safetensors": b"\xff" * 99}) / "a.safetensors", "not a safetensors file"),
    ],
)
def test_a_path_with_nothing_to_train_on_says_what_was_wanted(tmp_path, make, told):
    with pytest.raises(UsageError, match=told) as caught:
        prepare(str(make(tmp_path / "d")), None)
    assert "wanted" in str(caught.value).lower() or "complete" in str(caught.value)


# --- arrays


def save_array(path: Path, x: np.ndarray, y: np.ndarray | None = None) -> str:
    arrays = {"x": x} | ({} if y is None else {"y": y})
    if path.suffix == ".npy":
        np.save(path, x)
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        save_file({key: torch.from_numpy(value) for key, value in arrays.items()}, path)
    return str(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
@pytest.mark.parametrize("shape", [(5, 12, 12), (5, 12, 12, 1), (5, 12, 12, 3), (5, 1, 12, 12), (5, 3, 12, 12)])
def test_arrays_of_images_of_the_right_size_are_kept_as_they_are(tmp_path, suffix, shape):
    x = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    prepared = prepare(save_array(tmp_path / f"a{suffix}", x), None)
    wanted = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2) if shape[3] in (1, 3) else x
    assert prepared.spec.shape == wanted.shape[1:]
    assert np.array_equal(prepared.load()["x"].numpy(), wanted)


def test_arrays_that_are_not_square_are_cropped_to_their_shorter_side(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (4, 10, 20, 3)).astype(np.uint8)
    prepared = prepare(save_array(tmp_path / "a.npy", x), None)
    assert np.array_equal(prepared.load()["x"].numpy(), x[:, :, 5:15].transpose(0, 3, 1, 2))
    assert prepare(save_array(tmp_path / "a.npy", x), None, image_size=7).spec.shape == (3, 7, 7)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_labels_of_arrays_are_int64(tmp_path, suffix):
    prepared = prepare(save_array(tmp_path / f"a{suffix}", np.zeros((4, 8, 8), np.uint8), np.array([0, 2, 1, 2], np.uint8)), None)
    assert prepared.spec.classes == 3
    assert prepared.load()["y"].dtype == torch.int64
    assert prepared.load()["y"].tolist() == [0, 2, 1, 2]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ">f4"])
def test_points_are_float32_and_have_no_size(tmp_path, dtype):
    path = save_array(tmp_path / "a.npy", np.arange(6).reshape(3, 2).astype(dtype))
    prepared = prepare(path, None, sizes=(64,))
    assert prepared.spec == DataSpec.of("points", (2,))
    assert prepared.load()["x"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert prepared.load()["x"].dtype == torch.float32
    with pytest.raises(UsageError, match="--image-size"):
        prepare(path, None, image_size=64)


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((4, 8, 8), np.float32),
        np.zeros((4, 3, 8, 8), np.float32),
        np.zeros((4, 8), np.uint8),
        np.zeros((4, 8, 8, 4), np.uint8),
        np.zeros((4, 8, 8), np.int64),
        np.zeros((0, 8, 8), np.uint8),
        np.zeros((4, 0, 8), np.uint8),
    ],
    ids=lambda x: f"{x.dtype}{x.shape}",
)
def test_other_arrays_are_refused_with_what_was_wanted(tmp_path, x):
    with pytest.raises(UsageError, match="wanted uint8 images") as caught:
        prepare(save_array(tmp_path / "a.npy", x), None)
    assert str(x.shape) in str(caught.value)


def test_arrays_that_hold_objects_or_are_cut_off_are_refused(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    path = Path(save_array(tmp_path / "a.npy", np.zeros((9, 8, 8), np.uint8)))
    path.write_bytes(path.read_bytes()[:-100])
    save_array(tmp_path / "a.safetensors", np.zeros((9, 8, 8), np.uint8))
    os.truncate(tmp_path / "a.safetensors", 300)
    for name in ("objects.npy", "a.npy", "a.safetensors"):
        with pytest.raises(UsageError, match="cannot be read"):
            prepare(str(tmp_path / name), None)


@pytest.mark.parametrize("y", [np.zeros(3, np.int64), np.array([0.5, 1, 0, 0]), np.ones((4, 3), np.int64)])
def test_labels_that_do_not_fit_are_refused(tmp_path, y):
    with pytest.raises(GanzooError, match=r"labels|3 rows of y"):
        prepare(save_array(tmp_path / "a.npz", np.zeros((4, 8, 8), np.uint8), y), None)


def test_points_that_are_not_finite_are_refused(tmp_path):
    with pytest.raises(GanzooError, match="NaN"):
        prepare(save_array(tmp_path / "a.npy", np.array([[0.0, np.nan]])), None)


# --- the cache


READS: list[int] = []


def counted(request: Request) -> Samples:
    """A data set of a plugin: it says what there is, and notes when it is read."""

    def read(i: int) -> bytes:
        READS.append(i)
        return encoded(colour(20, 20, (i, i + 1, 0)))

    names = [f"{i}.png" for i in range(5)]
    return Samples.of_files(f"version 1 {request.labels}", names, read, [0, 1, 0, 1, 1], ("a", "b"))


RECORD = DataSet("counted", f"{__name__}:counted", title="", fields={"x": Field("image"), "y": Field("label", (), 2)}, attributes=True)


def test_what_is_prepared_is_not_read_again(monkeypatch):
    READS.clear()
    told: list[tuple[str, int, int]] = []
    first = prepare("counted", RECORD, progress=lambda *args: told.append(args))
    assert sorted(READS) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]  # the first few are looked at before, whether they have 16 bits
    assert told[-1] == ("preparing counted", 5, 5)
    assert prepare("counted", RECORD) == first
    assert len(READS) == 10
    assert first.path.parent.parent == cache_dir()
    assert first.spec == DataSpec.of("image", (3, 64, 64), 2, ("a", "b"))


def test_size_and_labels_and_name_have_caches_of_their_own():
    prepared = [
        prepare("counted", RECORD),
        prepare("counted", RECORD, image_size=32),
        prepare("counted", RECORD, labels=("Smiling",)),
        prepare("other", DataSet("other", RECORD.target, title="")),
    ]
    assert len({p.path for p in prepared}) == 4
    assert len({p.checksum for p in prepared}) == 2  # labels and name do not change what this one holds


def test_a_changed_file_is_prepared_anew(tmp_path):
    folder = folder_of(tmp_path / "d", good(3))
    first = prepare(str(folder), None, image_size=4)
    folder_of(folder, {"good0001.png": encoded(colour(4, 4, (99, 99, 0)))})
    os.utime(folder / "good0001.png", ns=(0, time.time_ns() + 10**9))
    second = prepare(str(folder), None, image_size=4)
    assert second.path != first.path
    assert second.checksum != first.checksum
    assert second.load()["x"][1, 0, 0, 0] == 99


def test_the_same_zip_elsewhere_has_the_same_checksum(tmp_path):
    checksums = {prepare(str(zip_of(tmp_path / f"{name}.zip", good(3))), None, image_size=4).checksum for name in "ab"}
    assert len(checksums) == 1


@pytest.mark.parametrize(
    ("asked", "usual", "sizes", "used"),
    [
        (None, None, (), 64),
        (None, 28, (), 28),
        (None, 28, (32, 64), 32),
        (None, 64, (64, 32), 64),
        (None, 128, (32, 64), 64),
        (20, 28, (32, 64), 20),
    ],
)
def test_the_size_is_what_is_asked_for_else_the_usual_one_that_fits(asked, usual, sizes, used):
    record = DataSet("counted", f"{__name__}:counted", title="", image_size=usual)
    assert prepare("counted", record, image_size=asked, sizes=sizes).spec.shape == (3, used, used)


@pytest.mark.parametrize("size", [0, -1, 5000])
def test_a_size_that_cannot_be_is_refused(size):
    with pytest.raises(UsageError, match="--image-size: wanted 1 to 2048"):
        prepare("counted", RECORD, image_size=size)


def test_labels_are_refused_where_there_are_no_attributes(tmp_path):
    with pytest.raises(UsageError, match="has no attributes"):
        prepare("counted", DataSet("counted", RECORD.target, title=""), labels=("Smiling",))
    with pytest.raises(UsageError, match="has no attributes"):
        prepare(str(folder_of(tmp_path / "d", good(1))), None, labels=("Smiling",))


@pytest.mark.parametrize("damage", ["cut", "emptied", "garbage", "foreign"])
def test_a_damaged_cache_file_is_prepared_anew(damage):
    first = prepare("counted", RECORD)
    content = first.path.read_bytes()
    foreign = io.BytesIO()
    header = json.dumps({"x": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    foreign.write(struct.pack("<Q", len(header)) + header + b"\0")
    first.path.write_bytes({"cut": content[:-1], "emptied": b"", "garbage": b"\xff" * 1000, "foreign": foreign.getvalue()}[damage])
    assert prepare("counted", RECORD) == first
    assert first.path.read_bytes() == content


def test_an_unwritable_cache_says_so(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(GanzooError, match="GANZOO_CACHE"):
        prepare("counted", RECORD)


@pytest.mark.parametrize("room", [1000, 5 * 3 * 64 * 64])  # not enough for the rows; for the rows, but not for the file
def test_a_full_disk_says_so_and_leaves_nothing_half_written(cache, room):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(GanzooError, match=r"cannot be written: .*GANZOO_CACHE"):
            prepare("counted", RECORD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert prepare("counted", RECORD).count == 5


SLOW = """
import io, sys, time
from pathlib import Path
from PIL import Image
from ganzoo.config import DataOptions
from ganzoo.data import Samples, prepare
from ganzoo.types import DataSet

def slow(request):
    def read(i):
        with open("reads", "a") as log:
            log.write("read\\n")
        time.sleep(0.1)
        file = io.BytesIO()
        Image.new("RGB", (8, 8), (i, 0, 0)).save(file, "PNG")
        return file.getvalue()
    return Samples.of_files("1", [str(i) for i in range(20)], read)

if __name__ == "__main__":
    prepared = prepare(DataOptions("slow"), DataSet("slow", "slow:slow", title=""), progress=lambda what, done, total: print(what))
    print(prepared.checksum, prepared.count)
"""


def test_two_processes_prepare_the_same_data_set_once(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    import ganzoo

    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(ganzoo.__file__).parents[1])])}
    both = [
        subprocess.Popen([sys.executable, "slow.py"], cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert outputs[0][0].splitlines()[-1] == outputs[1][0].splitlines()[-1]
    assert len((tmp_path / "reads").read_text().splitlines()) == 20 + 20  # the second time for its depth


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys; from ganzoo.data import Request, Samples, images_in_zip; print({'torch', 'numpy', 'PIL'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


# --- batches


IMAGES = DataSpec.of("image", (1, 2, 2), 3)


def data(n: int) -> dict[str, torch.Tensor]:
    """Image i holds i and 255 - i side by side; its label is i % 3."""
    i = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1)
    return {"x": torch.cat([i, 255 - i], 3).expand(n, 1, 2, 2).contiguous(), "y": torch.arange(n) % 3}


def numbers(batch: dict[str, torch.Tensor]) -> list[int]:
    return ((batch["x"][:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


def test_a_batch_is_float_between_minus_one_and_one_with_its_labels():
    batch = next(Batches(data(10), IMAGES, 4, seed=0, device=CPU))
    assert batch["x"].dtype == torch.float32
    assert batch["y"].dtype == torch.int64
    assert [i % 3 for i in numbers(batch)] == batch["y"].tolist()
    white = {"x": torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)}
    x = next(Batches(white, DataSpec.of("image", (1, 1, 1)), 2, seed=0, device=CPU))["x"]
    assert sorted(x.flatten().tolist()) == [-1, 1]


def test_every_epoch_shows_every_sample_once_in_another_order():
    batches = Batches(data(10), IMAGES, 4, seed=0, device=CPU)
    stream = [i for _ in range(5) for i in numbers(next(batches))]
    assert sorted(stream[:10]) == sorted(stream[10:]) == list(range(10))
    assert stream[:10] != stream[10:]


def test_a_data_set_smaller_than_a_batch_is_repeated():
    assert sorted(numbers(next(Batches(data(3), IMAGES, 8, seed=0, device=CPU)))[:6]) == [0, 0, 1, 1, 2, 2]


def test_the_same_arguments_give_the_same_bits_and_another_seed_does_not():
    def first(seed: int) -> list[torch.Tensor]:
        batches = Batches(data(50), IMAGES, 8, seed=seed, device=CPU, flip=True)
        return [next(batches)["x"] for _ in range(9)]

    assert all(torch.equal(a, b) for a, b in zip(first(1), first(1), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first(1), first(2), strict=True))


@pytest.mark.parametrize("skipped", [1, 3, 7, 30])
def test_starting_at_a_position_equals_skipping_to_it(skipped):
    whole = Batches(data(13), IMAGES, 5, seed=3, device=CPU, flip=True)
    for _ in range(skipped):
        next(whole)
    later = Batches(data(13), IMAGES, 5, seed=3, device=CPU, flip=True, position=skipped)
    moved = Batches(data(13), IMAGES, 5, seed=3, device=CPU, flip=True)
    next(moved)
    moved.position = skipped
    for _ in range(4):
        wanted, got, also = next(whole), next(later), next(moved)
        assert torch.equal(wanted["x"], got["x"])
        assert torch.equal(wanted["y"], got["y"])
        assert torch.equal(wanted["x"], also["x"])
    assert whole.position == later.position == skipped + 4


def test_flips_mirror_about_half_of_the_images_and_nothing_else():
    plain = next(Batches(data(100), IMAGES, 100, seed=0, device=CPU))["x"]
    flipped = next(Batches(data(100), IMAGES, 100, seed=0, device=CPU, flip=True))["x"]
    mirrored = (flipped == plain.flip(3)).flatten(1).all(1)
    assert (mirrored | (flipped == plain).flatten(1).all(1)).all()
    assert 30 < mirrored.sum() < 70


def test_the_global_random_state_is_neither_read_nor_moved():
    state = torch.get_rng_state()
    batches = Batches(data(10), IMAGES, 4, seed=0, device=CPU, flip=True)
    first = next(batches)["x"]
    assert torch.equal(torch.get_rng_state(), state)
    with torch.random.fork_rng():
        torch.manual_seed(99)
        assert torch.equal(next(Batches(data(10), IMAGES, 4, seed=0, device=CPU, flip=True))["x"], first)


def test_points_are_given_as_they_are_and_never_flipped():
    points = {"x": torch.tensor([[5.0, -7.0], [1.0, 2.0]])}
    batch = next(Batches(points, DataSpec.of("points", (2,)), 2, seed=0, device=CPU, flip=True))
    assert sorted(batch["x"].tolist()) == [[1, 2], [5, -7]]
    assert set(batch) == {"x"}


def test_batches_leave_the_mapped_data_alone():
    held = data(10)
    before = held["x"].clone()
    batches = Batches(held, IMAGES, 10, seed=0, device=CPU, flip=True)
    next(batches)["x"].zero_()
    points = torch.ones(4, 2)
    next(Batches({"x": points}, DataSpec.of("points", (2,)), 4, seed=0, device=CPU))["x"].zero_()
    assert torch.equal(held["x"], before)
    assert (points == 1).all()


def test_up_to_ten_million_rows_are_in_the_order_of_torchs_permutation():
    batches = Batches(data(13), IMAGES, 5, seed=3, device=CPU)
    wanted = torch.cat([torch.randperm(13, generator=generator(3, "order", "", epoch)) for epoch in range(2)])
    assert torch.equal(batches._rows("", 0, 26), wanted)


@pytest.mark.parametrize("n", [1, 2, 3, 15, 16, 17, 100, 255, 256, 257, 1000, 1023, 1025, 65_536, 65_537, 99_991])
def test_an_order_computed_row_by_row_has_every_row_once(n):
    order = shuffled(torch.arange(n), n, 0, "order", 1)
    assert torch.equal(order.sort().values, torch.arange(n))
    places = torch.arange(n)[::3]
    assert torch.equal(shuffled(places, n, 0, "order", 1), order[places])
    assert n < 15 or not torch.equal(order, shuffled(torch.arange(n), n, 0, "order", 2))


def test_an_order_computed_row_by_row_favours_no_place_and_no_distance():
    n, seeds = 30, 2000
    orders = torch.stack([shuffled(torch.arange(n), n, seed) for seed in range(seeds)])
    lands = torch.stack([orders[:, place].bincount(minlength=n) for place in range(n)]).double()
    steps = ((orders[:, 1:] - orders[:, :-1]) % n).flatten().bincount(minlength=n)[1:].double()  # from one row to the next
    for counts, free in ((lands, (n - 1) ** 2), (steps, n - 2)):
        chi2 = float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
        assert abs(chi2 - free) < 4 * (2 * free) ** 0.5  # four standard deviations


def test_a_batch_of_more_rows_than_could_be_ordered_costs_no_more():
    n = 10**12  # a permutation of them would take 8 TB
    batches = Batches({"x": torch.ones(1, 2).expand(n, 2)}, DataSpec.of("points", (2,)), 64, seed=0, device=CPU, position=3 * n // 64 - 1)
    rows = batches._rows("", 3 * n - 32, 64)
    assert rows[:32].tolist() == shuffled(torch.arange(n - 32, n), n, 0, "order", "", 2).tolist()
    assert rows[32:].tolist() == shuffled(torch.arange(32), n, 0, "order", "", 3).tolist()
    assert next(batches)["x"].shape == (64, 2)


# --- data that outgrows memory


def test_a_file_larger_than_the_memory_can_be_opened(tmp_path):
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    n = 4 * memory // 3
    header = json.dumps({"x": {"dtype": "U8", "shape": [n, 3], "data_offsets": [0, 3 * n]}}).encode()
    with open(tmp_path / "large.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        try:
            file.truncate(8 + len(header) + 3 * n)  # a hole takes no room
        except OSError as e:
            pytest.skip(f"no file of {3 * n} bytes can be made here: {e}")
    x = Mapped(tmp_path / "large.safetensors").rows["x"]
    x[n - 1] = 7
    assert x[n - 2 :].tolist() == [[0, 0, 0], [7, 7, 7]]
    assert Mapped(tmp_path / "large.safetensors").rows["x"][n - 1].tolist() == [0, 0, 0]  # what is written stays in the process


def bytes_read() -> int:
    """By this process, from the disk."""
    return int(next(line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("read_bytes")).split()[1])


def test_a_cold_batch_reads_its_own_rows_and_nothing_around_them(tmp_path, monkeypatch):
    from ganzoo.data import prepared as module

    if not Path("/proc/self/io").exists():
        pytest.skip("needs Linux, which counts what is read")
    monkeypatch.setattr(module, "SMALL_BYTES", 1 << 20)
    path = tmp_path / "a.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (3000, 3, 64, 64), np.uint8))
    found = prepare(str(path), None)
    descriptor = os.open(found.path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    again = prepare(str(path), None)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    batches, before = Batches(again.mapped, again.spec, 8, seed=0, device=CPU, check=again.check), bytes_read()
    for _ in range(4):
        next(batches)
    read = bytes_read() - before
    again.load()
    if bytes_read() - before < 3000 * 12288 * 0.9:
        pytest.skip("the files of this folder stay in memory")
    assert 32 * 12288 <= read <= 1.5 * 32 * 12288


def test_preparing_takes_no_memory_that_grows_with_the_data(tmp_path):
    if "RssAnon" not in Path("/proc/self/status").read_text():
        pytest.skip("needs Linux's RssAnon")
    program = """
import re, sys, threading, time
from pathlib import Path
from ganzoo.config import DataOptions
from ganzoo.data import prepare
anonymous = lambda: int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
most = 0
def watch():
    global most
    while True:
        most = max(most, anonymous())
        time.sleep(0.002)
prepare(DataOptions(sys.argv[1]))  # what the libraries take
before = most = anonymous()
threading.Thread(target=watch, daemon=True).start()
print(prepare(DataOptions(sys.argv[2])).spec.shape, most - before)
"""
    for name, n in (("few", 300), ("many", 12_000)):  # grey, in colour: 144 MB, of which 48 are kept
        np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", np.uint8, (n, 3, 64, 64)).flush()
    words = [sys.executable, "-c", program, str(tmp_path / "few.npy"), str(tmp_path / "many.npy")]
    shape, _, growth = subprocess.run(words, capture_output=True, text=True, check=True).stdout.rpartition(" ")
    assert shape == "(1, 64, 64)"
    assert int(growth) < 24


# --- parts


def in_parts(source: Path | str, out: Path, n: int, order=None, record: DataSet | None = None, **asked) -> list[Prepared]:
    from ganzoo import data as package
    from ganzoo.config import DataOptions

    options = DataOptions(str(source), **asked)
    return [package.prepare(options, record, part=(k, n), out=out) for k in order or range(1, n + 1)]


def photos(folder: Path) -> Path:
    """13 pictures of two classes: ants in grey, bees in colour, and one that cannot be read."""
    files = {f"ant/{i}.png": encoded(Image.new("L", (8, 8), 20 * i)) for i in range(7)}
    return folder_of(folder, files | {f"bee/{i}.png": encoded(colour(8, 8, (i, 9, 40 * i))) for i in range(6)} | {"bee/x.png": b"x"})


def numbered(path: Path) -> Path:
    """31 points, and classes of which only the last row tells how many there are."""
    save_file({"x": torch.arange(62.0).view(31, 2), "y": torch.tensor([0, 1] * 14 + [2, 2, 3])}, path)
    return path


@pytest.mark.parametrize(("make", "asked"), [(photos, {"image_size": "4"}), (numbered, {})])
@pytest.mark.parametrize("n", [1, 3, 4])
def test_parts_end_to_end_are_the_whole(make, asked, n, tmp_path):
    source = make(tmp_path / "d.safetensors")
    whole = prepare(source, None, **asked)
    in_parts(source, tmp_path / "parts", n, order=range(n, 0, -1), **asked)  # in any order, by anyone
    joined = prepare(tmp_path / "parts", None)
    assert (joined.spec, joined.checksum, joined.count) == (whole.spec, whole.checksum, whole.count)
    assert all(torch.equal(joined.load()[key], rows) for key, rows in whole.load().items())
    assert ("1 images of the parts could not be read" in joined.note) == (make is photos)


def test_parts_of_a_data_set_of_a_plugin_are_the_whole(tmp_path):
    in_parts("counted", tmp_path / "parts", 2, record=RECORD)
    assert prepare(tmp_path / "parts", None).checksum == prepare("counted", RECORD).checksum


def test_parts_that_are_missing_damaged_or_of_another_kind_are_refused(tmp_path):
    with pytest.raises(UsageError, match="fewer rows than 40"):
        in_parts(numbered(tmp_path / "d.safetensors"), tmp_path / "none", 40)
    parts = [part.path for part in in_parts(tmp_path / "d.safetensors", tmp_path / "parts", 3)]
    content = parts[1].read_bytes()
    parts[1].unlink()
    with pytest.raises(UsageError, match=r"wanted the 3 parts of d-.*-0002-of-0003\.safetensors"):
        prepare(tmp_path / "parts", None)
    parts[1].write_bytes(content[:-1] + b"\x01")
    with pytest.raises(UsageError, match=r"-0002-of-0003\.safetensors: wanted data as `ganzoo prepare --part` writes it"):
        prepare(tmp_path / "parts", None)
    assert parts[1].exists()  # it is the user's
    save_file({"x": torch.zeros(4, 3)}, tmp_path / "other.safetensors")
    other = in_parts(tmp_path / "other.safetensors", tmp_path / "others", 3)[1].path
    parts[1].write_bytes(other.read_bytes())
    with pytest.raises(UsageError, match="wanted parts of one kind, prepared with the same options"):
        prepare(tmp_path / "parts", None)
