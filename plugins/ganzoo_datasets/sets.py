"""MNIST, Fashion-MNIST, CIFAR-10, and points in the plane.

A fingerprint stands for the official files, whose MD5s are checked when they are read. So a prepared data set is found again in
the cache without the files. Only CIFAR-10's unpacked folder is identified by the sizes and times of its files.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganzoo import Field, GanzooError, Request, Samples
from ganzoo_datasets import GRID, GRID_SIGMA, RING, RING_SIGMA
from ganzoo_datasets.download import fetch, find_file, verified

FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
DIGITS = tuple("0123456789")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

CIFAR10_MIRROR = "https://www.cs.toronto.edu/~kriz/"
CIFAR10_FILE = "cifar-10-binary.tar.gz"
CIFAR10_URL = CIFAR10_MIRROR + CIFAR10_FILE
CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
CIFAR10_FOLDER = "cifar-10-batches-bin"
#: Bytes of one record: the label, then the 32 x 32 red, green and blue planes.
CIFAR10_RECORD = 1 + 3 * 32 * 32

#: MD5s of the unpacked images and labels; torchvision has only those of the .gz files.
UNPACKED = {
    ("MNIST", "train"): ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
    ("MNIST", "t10k"): ("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
    ("FashionMNIST", "train"): ("f4a8712d7a061bf5bd6d2ca38dc4d50a", "9018921c3c673c538a1fc5bad174d6f9"),
    ("FashionMNIST", "t10k"): ("8181f5470baa50b63fa0f6fddb340f0a", "15d484375f8d13e6eb1aabb0c3f46965"),
}


def labelled_images(class_names: Sequence[str]) -> dict[str, Field]:
    """Images with a class each."""
    return {"x": Field("image"), "y": Field("label", (), len(class_names), tuple(class_names))}


def fashion_10k(request: Request) -> Samples:
    """The 10,000 test images of Fashion-MNIST, which are included in this package."""
    return _idx("FashionMNIST", "t10k", FASHION, request, [Path(__file__).parent / "fashion_10k"])


def fashion_mnist(request: Request) -> Samples:
    """The 60,000 training images of Fashion-MNIST (Xiao et al. 2017): 28 x 28, grey."""
    return _idx("FashionMNIST", "train", FASHION, request)


def mnist(request: Request) -> Samples:
    """The 60,000 training digits of MNIST: 28 x 28, grey."""
    return _idx("MNIST", "train", DIGITS, request)


def mnist_10k(request: Request) -> Samples:
    """The 10,000 test digits of MNIST."""
    return _idx("MNIST", "t10k", DIGITS, request)


def _idx(kind: str, split: str, class_names: Sequence[str], request: Request, folders: Sequence[Path] = ()) -> Samples:
    """One split, "train" or "t10k", of a data set in MNIST's IDX format. kind: the name of torchvision's class and of its folder."""
    data_dir = request.data_dir
    folders = folders or [data_dir / kind / "raw", data_dir / "raw", data_dir / kind, data_dir]

    def arrays() -> Mapping[str, Any]:
        from torchvision import datasets  # type: ignore[import-untyped]
        from torchvision.datasets.mnist import read_image_file, read_label_file  # type: ignore[import-untyped]
        from torchvision.datasets.utils import extract_archive  # type: ignore[import-untyped]

        official = getattr(datasets, kind)
        resources = [(name, md5) for name, md5 in official.resources if name.startswith(split)]
        unpacked: list[str] = []
        # the files are unpacked in the cache, because the data folder may be read-only
        with tempfile.TemporaryDirectory(dir=request.cache) as temporary:
            for (name, md5), unpacked_md5 in zip(resources, UNPACKED[kind, split], strict=True):
                source = f"{official.mirrors[0]}{name}"
                if archive := find_file(name, folders):
                    extract_archive(str(verified(archive, md5, source)), temporary)
                    unpacked.append(str(Path(temporary, name).with_suffix("")))
                elif file := find_file(name.removesuffix(".gz"), folders):
                    unpacked.append(str(verified(file, unpacked_md5, source)))
                else:
                    archive = fetch(name, data_dir / kind / "raw", source, _from_mirrors(official.mirrors, md5))
                    extract_archive(str(archive), temporary)
                    unpacked.append(str(Path(temporary, name).with_suffix("")))
            return {"x": read_image_file(unpacked[0]), "y": read_label_file(unpacked[1])}

    return Samples(f"{kind} {split} of the official files", arrays=arrays, fields=labelled_images(class_names), size=(28, 28))


def _from_mirrors(mirrors: Sequence[str], md5: str) -> Any:
    """A `get` function for `fetch` that tries the mirrors in order."""

    def get(folder: str, name: str) -> None:
        from torchvision.datasets.utils import download_url

        for mirror in mirrors:
            try:
                return download_url(f"{mirror}{name}", folder, name, md5)
            except (OSError, RuntimeError):
                if mirror == mirrors[-1]:
                    raise
        return None

    return get


def cifar10(request: Request) -> Samples:
    """The 50,000 training images of CIFAR-10 (Krizhevsky 2009): 32 x 32, colour.

    Uses the archive for C programs, because the one for Python holds pickles, which could run code. It is read without unpacking.
    """
    data_dir = request.data_dir
    folders = [data_dir, data_dir / "cifar10"]
    archive = find_file(CIFAR10_FILE, folders)
    unpacked = next((folder / CIFAR10_FOLDER for folder in folders if (folder / CIFAR10_FOLDER).is_dir()), None)
    names = [f"data_batch_{i}.bin" for i in range(1, 6)]

    def from_folder() -> Mapping[str, Any]:
        assert unpacked is not None
        return _cifar10_arrays((name, (unpacked / name).read_bytes()) for name in names)

    def from_archive() -> Mapping[str, Any]:
        path = archive or fetch(CIFAR10_FILE, data_dir / "cifar10", CIFAR10_URL, _from_mirrors([CIFAR10_MIRROR], CIFAR10_MD5))
        verified(path, CIFAR10_MD5, CIFAR10_URL)
        with tarfile.open(path, "r:gz") as tar:
            return _cifar10_arrays((name, _member(tar, f"{CIFAR10_FOLDER}/{name}")) for name in names)

    if unpacked and not archive:
        missing = [name for name in names if not (unpacked / name).is_file()]
        if missing:
            raise GanzooError(f"{unpacked} lacks {', '.join(missing)}. Unpack {CIFAR10_URL} there again, or put the archive beside it.")
        statuses = [(unpacked / name).stat() for name in names]
        print_ = repr([(s.st_size, s.st_mtime_ns) for s in statuses])
        return Samples(print_, arrays=from_folder, fields=labelled_images(CIFAR10), size=(32, 32))
    return Samples(CIFAR10_MD5, arrays=from_archive, fields=labelled_images(CIFAR10), size=(32, 32))


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise GanzooError(f"{name} in {CIFAR10_URL} is not a file. Delete the archive and get it again.")
    return file.read()


def _cifar10_arrays(files: Any) -> Mapping[str, Any]:
    """Images (N, 3, 32, 32) and labels (N,), both uint8, from (name, content) pairs. Raises GanzooError if a file is cut off."""
    import torch

    batches = []
    for name, content in files:
        if not content or len(content) % CIFAR10_RECORD:
            raise GanzooError(f"{name}: wanted records of {CIFAR10_RECORD} bytes, got {len(content)} bytes. Get {CIFAR10_URL} again.")
        batches.append(torch.frombuffer(bytearray(content), dtype=torch.uint8).view(-1, CIFAR10_RECORD))
    records = torch.cat(batches)
    return {"x": records[:, 1:].reshape(-1, 3, 32, 32), "y": records[:, 0]}


def ring(request: Request) -> Samples:
    """100,000 points from 8 Gaussians of standard deviation 0.02, centred at 2 (cos 2πi/8, sin 2πi/8)."""
    return _gaussians("ring", RING, RING_SIGMA)


def grid(request: Request) -> Samples:
    """100,000 points from 25 Gaussians of standard deviation 0.05, centred at {-4, -2, 0, 2, 4} x {-4, -2, 0, 2, 4}."""
    return _gaussians("grid", GRID, GRID_SIGMA)


def _gaussians(name: str, modes: Sequence[tuple[float, float]], sigma: float, n: int = 100_000) -> Samples:
    """n points (n, 2) of a mixture with equal weights; the same points on every call."""

    def arrays() -> Mapping[str, Any]:
        import torch

        generator = torch.Generator().manual_seed(0)
        component = torch.randint(len(modes), (n,), generator=generator)
        return {"x": torch.tensor(modes)[component] + sigma * torch.randn(n, 2, generator=generator)}

    return Samples(f"{name} {list(modes)} {sigma} {n}", arrays=arrays, fields={"x": Field("points")})
