"""Several processes that train one model: the numbers of one process, the life of a run, and what is said where that fails."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed import TCPStore

from ganzoo import machine, processes, ranks
from ganzoo.files import read_lines
from ganzoo.ranks import Part
from ganzoo.registry.catalogue import catalogue
from ganzoo.registry.discovery import CORE
from ganzoo.testing import fresh

RECIPES = [e.name for e in catalogue().entries("recipe") if e.plugin.distribution == CORE]
#: ctgan judges pairs of rows here: parts of odd sizes would be other pairs.
CASES = ["ctgan:" + json.dumps({"batch_size": 12}) if name == "ctgan" else name for name in RECIPES]
CASES += ["dcgan+ada", "dcgan+diffaugment"]
BATCH = 13  # uneven


@functools.cache
def store() -> TCPStore:
    """Where ranks find each other: torchrun has one too, and it outlives them."""
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def rank_environments(n: int) -> list[dict[str, str]]:
    """What torchrun tells each of n processes."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store().port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    place |= {"WORLD_SIZE": str(n), "LOCAL_WORLD_SIZE": str(n), "OMP_NUM_THREADS": "1"}
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
            assert difference <= (1e-8 if rounding else 5e-12), f"{name}: {key}: {difference}"
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


def test_fewer_ranks_may_go_on_and_more_again(tmp_path):
    """2, then 1, then 2 processes, twenty steps, beside 2 all the time: the same but for the order of sums."""

    def went_on(n, first, last, before=None):
        chosen = {"first": first, "last": last} | ({"from": str(before)} if before else {})
        return together(tmp_path / f"{n}-{first}-{last}", n, "dcgan:" + json.dumps(chosen)) / "float64" / "dcgan.safetensors"

    straight = load_file(went_on(2, 0, 20))
    mixed = load_file(went_on(2, 14, 20, went_on(1, 7, 14, went_on(2, 0, 7))))
    assert max(float((straight[name] - mixed[name]).abs().max()) for name in straight if straight[name].numel()) <= 1e-9


# --- The life of a run ---

SMALL = ["--generator.width", "16", "--discriminator.width", "16", "--batch-size", "6", "--sample-every", "1000", "--log-every", "1"]


def started(words, n=2, **env):
    """`ganzoo WORDS` on n ranks."""
    return [fresh.Process(words, place | env) for place in rank_environments(n)]


def ended(processes):
    return [process.wait(120) for process in processes]


@pytest.fixture
def gan(images):
    return ["run", "gan", "--dataset", str(images()), *SMALL]


def tensors(folder, step):
    return load_file(folder / "checkpoints" / f"{step:06d}.safetensors")


def test_a_run_of_two_ranks_is_resumed_bit_for_bit_and_one_process_warns(gan, tmp_path):
    whole, parted, alone = (tmp_path / name for name in ("whole", "parted", "alone"))
    for words in ([*gan, "--steps", "6", "--out", str(whole)], [*gan, "--steps", "3", "--out", str(parted)]):
        assert [end.returncode for end in ended(started(words))] == [0, 0]
    shutil.copytree(parted, alone)
    ends = ended(started(["resume", str(parted), "--steps", "6"]))
    assert [end.returncode for end in ends] == [0, 0]
    assert ends[1].stdout == ends[1].stderr == "", "the first rank says it all"
    assert "not bit for bit" not in ends[0].stderr
    a, b = tensors(whole, 6), tensors(parted, 6)
    assert all(a[name].equal(b[name]) for name in a)
    assert [line["step"] for line in read_lines(parted / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]
    done = fresh.ganzoo(["resume", str(alone), "--steps", "4"])
    assert (done.returncode, "ranks 1 (was 2)" in done.stderr) == (0, True)


def until(wanted, seconds=60):
    end = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("times", [1, 3])
def test_a_signal_to_one_rank_stops_all_after_one_step_which_is_saved(times, gan, tmp_path):
    """A parent of several threads that dies sends its signal more than once, and so do a terminal and torchrun together."""
    out = tmp_path / "run"
    running = started([*gan, "--steps", "1000000", "--out", str(out)])
    until((out / "metrics.jsonl").exists)
    for _ in range(times):
        running[1].send_signal(signal.SIGTERM)
        time.sleep(0.02)
    ends = ended(running)
    assert [end.returncode for end in ends] == [143, 143]
    step = max(int(path.stem) for path in (out / "checkpoints").iterdir())
    assert f"stopped by SIGTERM after step {step}, which is saved" in ends[0].stderr
    assert "stopped" not in ends[1].stderr


def test_a_rank_that_dies_ends_the_others_and_nothing_is_lost(gan, tmp_path):
    out = tmp_path / "run"
    running = started([*gan, "--steps", "1000000", "--out", str(out)], GANZOO_TIMEOUT="10")
    until((out / "metrics.jsonl").exists)
    running[1].kill()
    start = time.monotonic()
    ends = ended(running)
    assert time.monotonic() - start < 60
    assert ends[0].returncode == 1
    assert re.search(r"rank 0: another one is gone.*in time \(.+\)\. The last healthy state, of step \d+, is saved", ends[0].stderr), ends[
        0
    ].stderr
    assert list((out / "checkpoints").iterdir())


def test_what_the_first_rank_refuses_ends_the_others_in_silence(gan, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    ends = ended(started([*gan, "--steps", "2", "--out", str(tmp_path / "full")]))
    assert [end.returncode for end in ends] == [2, 2]
    assert "is not empty" in ends[0].stderr
    assert ends[1].stderr == ""


FAILING = """
import ganzoo
from ganzoo import MetricPart, hookimpl

GANZOO_API = 1

class Rows(ganzoo.FeatureRows):
    def add(self, batch):
        raise ValueError("never")

class Failing(ganzoo.Metric):
    def accumulator(self, n): return Rows(n)
    def compute(self, fake, real): return {"failing": 0.0}

@hookimpl
def ganzoo_register():
    return [MetricPart("failing", "failing:Failing", "fails", figures={"failing": "lower"})]
"""


def test_what_all_ranks_refuse_is_said_once(gan, tmp_path):
    out = tmp_path / "run"
    assert [end.returncode for end in ended(started([*gan, "--steps", "1", "--out", str(out)]))] == [0, 0]
    more = [*gan, "--out", str(out), "--resume-or-start", "--steps", "3"]
    for words, said in (
        (["resume", str(out)], "is at step 1 already"),
        ([*more, "--strategy.lr-g", "0.01"], "a run with other options"),
        ([*more, "--eval-every", "1", "--metric", "kid", "--features", "inception2015"], "the weights of Inception"),
    ):
        ends = ended(started(words))
        assert ends[0].returncode == ends[1].returncode != 0
        assert sum(end.stderr.count("Error") for end in ends) == 1
        assert any(said in end.stderr for end in ends), ends


def test_ranks_that_have_other_data_end_and_one_says_so(gan, images, tmp_path):
    words = [*gan, "--steps", "1", "--out", str(tmp_path / "run")]
    other = [str(images(n=40)) if word == gan[3] else word for word in words]
    ends = ended([fresh.Process(*each) for each in zip((words, other), rank_environments(2), strict=True)])
    assert [end.returncode for end in ends] == [1, 1]
    assert "rank 1 has other data" in ends[1].stderr
    assert ends[0].stderr.count("Error") == 0


def test_a_metric_that_fails_on_the_first_rank_costs_a_warning_and_no_rank_waits(gan, tmp_path):
    """Accumulators are the first one's alone: the others have to hear of it."""
    plugin = tmp_path / "failing.py"
    plugin.write_text(FAILING)
    asked = ["--eval-every", "1", "--eval-n", "120", "--metric", "failing", "--plugin", str(plugin)]
    start, out = time.monotonic(), tmp_path / "run"
    ends = ended(started([*gan, "--steps", "2", "--out", str(out), *asked]))
    assert ([end.returncode for end in ends], time.monotonic() - start < 50) == ([0, 0], True), ends
    assert [line["text"] for line in read_lines(out / "warnings.jsonl")] == [
        f"not evaluated at step {t}: ValueError: never" for t in (1, 2)
    ]


def test_the_first_rank_waits_for_the_others_where_it_holds_their_store(tmp_path):
    """Without torchrun, as under srun or mpirun, the first rank holds it: who still reads from it when that rank ends would fail."""
    late = """
import time
from ganzoo import processes, ranks
processes.join()
if ranks.rank():
    time.sleep(1)
    processes._ask(processes._stores[0].add, "ganzoo/late", 1)
    print("was answered", flush=True)
processes.end(0)
"""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environments = [
        {k: v for k, v in env.items() if not k.startswith("TORCHELASTIC")} | {"MASTER_PORT": port} for env in rank_environments(2)
    ]
    ranks_of_it = [subprocess.Popen([sys.executable, "-c", late], env=env, stdout=subprocess.PIPE, text=True) for env in environments]
    said = [rank.communicate(timeout=120)[0] for rank in ranks_of_it]
    assert [rank.returncode for rank in ranks_of_it] == [0, 0], said
    assert said == ["", "was answered\n"]


def test_resume_or_start_starts_then_goes_on_then_does_nothing(gan, tmp_path):
    words = [*gan, "--out", str(tmp_path / "run"), "--resume-or-start"]
    (tmp_path / "run" / "samples").mkdir(parents=True)  # as a run leaves it that was killed at once
    assert fresh.ganzoo([*words, "--steps", "3"]).returncode == 0
    assert fresh.ganzoo([*words, "--steps", "5"]).returncode == 0
    done = fresh.ganzoo([*words, "--steps", "5"])
    assert (done.returncode, "nothing left to do" in done.stderr) == (0, True)
    assert [line["step"] for line in read_lines(tmp_path / "run" / "metrics.jsonl")] == [1, 2, 3, 4, 5]
    other = fresh.ganzoo([*words, "--steps", "9", "--strategy.lr-g", "0.01"])
    assert (other.returncode, "a run with other options" in other.stderr) == (2, True)
    nowhere = fresh.ganzoo([*gan, "--resume-or-start"])
    assert (nowhere.returncode, "--out FOLDER" in nowhere.stderr) == (2, True)


def test_ranks_measure_together_what_one_process_measures(gan, tmp_path):
    """The figures of one model: two ranks make the samples, and look at the real ones, in turns."""
    run = tmp_path / "run"
    asked = ["--eval-every", "2", "--eval-n", "120", "--metric", "fid", "--features", "pixels"]
    assert [end.returncode for end in ended(started([*gan, "--steps", "2", "--out", str(run), *asked]))] == [0, 0]
    (line,) = read_lines(run / "evaluations.jsonl")
    done = fresh.ganzoo(["evaluate", str(run), "-n", "120", "--metric", "fid", "--features", "pixels", "--json"])
    assert json.loads(done.stdout)[0]["figures"] == line["figures"]


def test_nproc_starts_the_ranks_and_refuses_in_one_voice(gan, tmp_path):
    out = tmp_path / "run"
    done = fresh.ganzoo([*gan, "--steps", "2", "--out", str(out), "--nproc", "2"])
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "config.json").read_text())["machine"]["ranks"] == 2
    done = fresh.ganzoo(["resume", str(out), "--steps", "3", "--nproc", "2"])
    assert (done.returncode, "not bit for bit" in done.stderr) == (0, False), done.stderr
    assert (out / "checkpoints" / "000003.safetensors").exists()
    for wrong, said in (
        (["--nproc", "7"], "7 ranks share a batch, so it needs at least 7 samples; got 6"),
        (["--nproc", "2"], "is a run already"),
    ):
        done = fresh.ganzoo([*gan, "--steps", "2", "--out", str(out), *wrong])
        assert (done.returncode, done.stderr.count("Error"), said in done.stderr) == (2, 1, True), done.stderr


def test_the_runs_of_a_comparison_are_no_ranks_and_have_a_gpu_each(monkeypatch):
    environment = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "here", "TORCHELASTIC_RUN_ID": "x", "HOME": "/home/me"}
    assert processes.alone(environment) == {"HOME": "/home/me"}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for count, wanted in ((0, [{}, {}]), (1, [{}, {}]), (2, [{"CUDA_VISIBLE_DEVICES": "1"}, {"CUDA_VISIBLE_DEVICES": "0"}])):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert [machine.one_gpu(1), machine.one_gpu(2)] == wanted
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert machine.one_gpu(1) == {"CUDA_VISIBLE_DEVICES": "6"}


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


def test_draws_are_cut_once_where_one_context_is_in_another():
    """As the next batch of a step is: what a degradation draws for it."""
    torch.manual_seed(0)
    whole = torch.rand_like(torch.zeros(4, 3))
    for r in range(2):
        torch.manual_seed(0)
        part = Part(4, r, 2)
        with ranks.sharing(part), ranks.sharing(part):
            assert torch.rand_like(torch.zeros(2, 3)).equal(whole[part.here])
