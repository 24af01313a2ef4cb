"""What all tests share: a cache of their own, one thread, small data, and the real data where it is at hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["SOURCE_DATE_EPOCH"] = "1700000000"  # files of two runs say that they were begun at one time
for name in ("GANZOO_DISABLE_PLUGINS", "GANZOO_STRICT", "GANZOO_DATA"):
    os.environ.pop(name, None)

import pytest
import torch
from safetensors.torch import save_file

from ganzoo.testing import fresh

torch.set_num_threads(1)
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["GANZOO_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data: GANZOO_TEST_DATA, or shared/data beside the checkout."""
    folder = Path(os.environ.get("GANZOO_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real data is not at hand: {folder} does not exist, and GANZOO_TEST_DATA names no other folder")
    return folder


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that makes an array file of labelled random images: images(channels=1, size=16, n=48)."""
    folder = tmp_path_factory.mktemp("images")

    def make(channels: int = 1, size: int = 16, n: int = 48, classes: int = 3) -> Path:
        path = folder / f"noise-{channels}-{size}-{n}-{classes}.safetensors"
        if not path.exists():
            g = torch.Generator().manual_seed(0)
            x = torch.randint(0, 256, (n, channels, size, size), generator=g, dtype=torch.uint8)
            save_file({"x": x, "y": torch.arange(n) % classes}, path)
        return path

    return make


@pytest.fixture(scope="session")
def ganzoo() -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function that runs the command line in a process of its own: ganzoo("list", "--json", env={...}).

    from_scratch: start an interpreter for it, which takes seconds, in the place of a fork of one that has imported torch.
    """

    def call(
        *args: object, env: dict[str, str] | None = None, cwd: Path | None = None, from_scratch: bool = False
    ) -> subprocess.CompletedProcess[str]:
        words, environment = [str(arg) for arg in args], os.environ | (env or {})
        if not from_scratch:
            return fresh.ganzoo(words, env=environment, cwd=cwd)
        command = [sys.executable, "-m", "ganzoo", *words]
        return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)

    return call
