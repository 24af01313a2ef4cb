"""Several processes that train one model: the numbers of one process, the life of a run, and what is said where that fails."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ganzoo.ranks import Part
from ganzoo.registry.catalogue import catalogue
from ganzoo.registry.discovery import CORE

RECIPES = [e.name for e in catalogue().entries("recipe") if e.plugin.distribution == CORE]
#: ctgan judges pairs of rows here: parts of odd sizes would be other pairs.
CASES = ["ctgan:" + json.dumps({"batch_size": 12}) if name == "ctgan" else name for name in RECIPES]
CASES += ["dcgan+ada", "dcgan+diffaugment"]
BATCH = 13  # uneven


def rank_environments(n: int) -> list[dict[str, str]]:
    """What torchrun tells each of n processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(n), "LOCAL_WORLD_SIZE": str(n), "OMP_NUM_THREADS": "1"}
    return [os.environ | place | {"RANK": str(r), "LOCAL_RANK": str(r)} for r in range(n)] if n > 1 else [dict(os.environ)]


def together(out: Path, n: int, *cases: str) -> Path:
    """Run rank.py in n processes."""
    words = [sys.executable, str(Path(__file__).parent / "rank.py"), str(out), str(BATCH), *cases]
    running = [subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True) for env in rank_environments(n)]
    said = [process.communicate(timeout=300)[1] for process in running]
    assert not any(process.returncode for process in running), "\n".join(said)[-4000:]
    return out


def read(folder, kind, name):
    return load_file(folder / kind / f"{name}.safetensors"), json.loads((folder / kind / f"{name}.json").read_text())


#: Biases right before a normalisation, and the last one of a Wasserstein critic: their gradient should be 0 and is rounding, which Adam
#: divides by its own size; running means follow the biases. And behind began's BatchNorm some weights of the encoder have next to none.
ROUNDING = {"began": r".*", "*": r".*(\.bias|running_mean|bias:exp_avg|bias:exp_avg_sq|bias:square_avg)"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return together(tmp_path_factory.mktemp("alone"), 1, *CASES)


@pytest.mark.parametrize("n", [2, 3])
def test_ranks_learn_what_one_process_learns(n, alone, tmp_path):
    """Every recipe. In float64 all tensors after three steps and the first of each phase, in float32 the gradients of one step: weights are
    no measure there, since Adam makes a step of full size of a gradient that is rounding. The ranks have compared their bits by themselves.
    """
    shared = together(tmp_path / "shared", n, *CASES)
    for name in (case.partition(":")[0] for case in CASES):
        (one, one_terms), (many, many_terms) = read(alone, "float64", name), read(shared, "float64", name)
        assert one.keys() == many.keys()
        for key, value in ((key, value) for key, value in one.items() if value.numel()):
            rounding = re.fullmatch(ROUNDING.get(name, ROUNDING["*"]), key)
            difference = float((value.double() - many[key].double()).abs().max() / value.double().abs().max().clamp_min(1))
            assert difference <= (1e-9 if rounding else 5e-12), f"{name}: {key}: {difference}"
        for mine, theirs in zip(one_terms, many_terms, strict=True):
            assert theirs == pytest.approx(mine, rel=1e-9, abs=1e-11), name
        (one, one_terms), (many, many_terms) = read(alone, "float32", name), read(shared, "float32", name)
        for optimiser in {key.partition(":")[0] for key in one if not key.startswith("model:")}:
            moments = [key for key in one if key.startswith(f"{optimiser}:") and key.endswith((":exp_avg", ":square_avg"))]
            largest = max(float(one[key].abs().max()) for key in moments)
            for key in moments:
                difference = float((one[key] - many[key]).abs().max()) / largest
                assert difference <= 1e-5, f"{name}: {key}: {difference}"
        # ctgan's terms of G come after a step of D, whose first ones are of full size whatever the gradient.
        assert many_terms[0] == pytest.approx(one_terms[0], rel=1e-6, abs=1e-6 if name != "ctgan" else 1e-3), name


def test_batchnorm_of_each_rank_by_itself_is_another_model_and_the_ranks_agree(tmp_path):
    case = "dcgan:" + json.dumps({"sync_batchnorm": False})
    one, two = (read(together(tmp_path / str(n), n, case), "float64", "dcgan")[0] for n in (1, 2))
    assert float((one["model:G.net.0.weight"] - two["model:G.net.0.weight"]).abs().max()) > 1e-6


@pytest.mark.parametrize(("rows", "world"), [(12, 2), (13, 3), (3, 3), (64, 7)])
def test_the_parts_of_a_batch_are_all_of_it(rows, world):
    parts = [Part(rows, r, world) for r in range(world)]
    x = torch.arange(rows)
    assert torch.cat([x[part.here] for part in parts]).equal(x)
    assert sum(part.share for part in parts) == pytest.approx(1)
    assert max(part.size for part in parts) - min(part.size for part in parts) <= 1


def test_each_rank_gets_its_rows_of_every_repetition_of_the_batch():
    parts = [Part(5, r, 2) for r in range(2)]
    cut = [part.cut(torch.arange, 3 * part.size) for part in parts]
    assert cut[0].tolist() == [0, 1, 5, 6, 10, 11]
    assert cut[1].tolist() == [2, 3, 4, 7, 8, 9, 12, 13, 14]
    # Rows of which there are neither as many nor a multiple are nobody else's.
    odd = [part.cut(torch.arange, part.size - 1).tolist() for part in parts]
    assert not set(odd[0]) & set(odd[1])
