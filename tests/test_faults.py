"""Kills, full disks, damaged files and broken plugins: a part of what `benchmarks/faults.py` tries."""

from __future__ import annotations

import random

import pytest
from faulty import chains, mutants, others

RECIPES = ("gan", "dcgan", "acgan")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with chains.Server(tmp_path_factory.mktemp("faults"), warm=True) as made:
        yield made


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_that_is_killed_three_times_is_the_straight_run_file_by_file(recipe, server, images, tmp_path):
    case = chains.straight(server, tmp_path / "straight", chains.words_of(recipe, images(3)))
    rng = random.Random(recipe)
    for i in range(2):
        folder = tmp_path / f"chain-{i}"
        kills = chains.kills_of(case, rng, folder, 3)
        outcome = chains.chain(server, case, folder, kills)
        assert (outcome.fault, outcome.differences) == ("", []), kills


def test_a_run_that_is_killed_while_it_prunes_prunes_when_it_is_resumed(server, images, tmp_path):
    case = chains.straight(server, tmp_path / "straight", chains.words_of("gan", images()))
    folder = tmp_path / "run"
    outcome = chains.chain(server, case, folder, ["unlink:run/checkpoints/000006@1=kill"])
    assert (outcome.fault, outcome.differences, (folder / "checkpoints" / "000006.safetensors").exists()) == ("", [], False)


def test_a_save_that_is_broken_on_purpose_is_caught(server, images, tmp_path):
    words = chains.words_of("gan", images())
    case = chains.straight(server, tmp_path / "straight", words)
    done = server("run", *words, f"--out={tmp_path / 'broken'}", faults=["write:broken/samples/.tmp-PID-000004@1=break"])
    assert done.status == 0, done.err
    assert chains.differences(case.folder, tmp_path / "broken") == ["samples/000004.png differs"]
    done = server("run", *words, f"--out={tmp_path / 'export'}", faults=["write:export/.tmp-PID-generator.safetensors@1+=break"])
    assert done.status == 1
    assert "generator.safetensors: it is truncated or damaged" in done.err
    done = server("run", *words, f"--out={tmp_path / 'unread'}", faults=["write:unread/checkpoints/.tmp-PID-000010@1+=break"])
    assert done.status == 1
    assert "its sha256 is not the one in it" in done.err


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "open"])
def test_a_disk_that_refuses_costs_a_warning_and_a_later_save_holds_all(call, server, images, tmp_path):
    words = chains.words_of("gan", images())
    folder = tmp_path / "run"
    done = server("run", *words, f"--out={folder}", faults=[f"{call}:run/checkpoints/.tmp-PID-000004@1+=fail:ENOSPC"])
    assert done.status == 0, done.err
    assert "2 steps are not saved: the last checkpoint is that of step 2" in done.err
    case = chains.straight(server, tmp_path / "straight", words)
    assert set(chains.differences(case.folder, folder)) <= {"warnings.jsonl is left over"}


def test_damaged_files_are_never_silently_wrong(server, tmp_path):
    bench = mutants.Bench(server, tmp_path)
    bench.build(compared=False)
    rng, found = random.Random(1), []
    for kind in mutants.KINDS:
        if kind.name == "compare.json":
            continue
        made = mutants.mutants(kind, rng)
        for _ in range(2):
            name, command, mutate = next(made)
            verdict, why = bench.judge(kind, command, mutate)
            if verdict in ("wrong", "crash"):
                found.append(f"{kind.name}, {name}, {command}: {verdict}: {why}")
    assert not found, "\n".join(found)


@pytest.fixture(scope="module")
def cold(tmp_path_factory):
    with chains.Server(tmp_path_factory.mktemp("cold")) as made:
        yield made


@pytest.mark.parametrize("what", list(others.BROKEN))
def test_a_broken_plugin_is_named_and_ends_with_an_error(what, cold, images, tmp_path):
    assert others.broken_plugin(cold, tmp_path / "plugin", what, images()) == ""


@pytest.mark.parametrize("kilobytes", [60, 300, 700])
def test_a_run_on_a_disk_that_fills_up_leaves_good_checkpoints(server, images, tmp_path, kilobytes):
    wrong = others.full_disk(server, tmp_path / "disk", chains.words_of("gan", images()), kilobytes)
    if wrong is None:
        pytest.skip("this user may not mount a tmpfs")
    assert wrong == ""
