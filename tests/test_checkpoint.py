"""Checkpoints: whole or refused, by name; the newest good one is taken."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save, save_file
from zoo import built, small

from ganzoo.errors import GanzooError
from ganzoo.runs import checkpoint
from ganzoo.runs.checkpoint import BadCheckpoint
from ganzoo.runs.folder import Run


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "000005.safetensors"
    checkpoint.write(path, {"a": torch.arange(40.0).view(4, 10), "b": torch.tensor(3)}, {"step": 5, "note": "ü"})
    return path


def test_what_was_written_is_read(file):
    tensors, meta = checkpoint.read(file)
    assert torch.equal(tensors["a"], torch.arange(40.0).view(4, 10))
    assert tensors["b"] == 3
    assert meta == {"format": 1, "step": 5, "note": "ü"}


def test_the_same_content_makes_the_same_bytes(file, tmp_path):
    other = tmp_path / "other.safetensors"
    checkpoint.write(other, {"b": torch.tensor(3), "a": torch.arange(40.0).view(4, 10)}, {"note": "ü", "step": 5})
    assert other.read_bytes() == file.read_bytes()


def test_other_programs_are_told_of_a_model_and_its_tensors_are_hashed(file, tmp_path):
    told = {"title": "Ä", "architecture": "a/b"}
    named = tmp_path / "named.safetensors"
    checkpoint.write(named, *checkpoint.read(file), told)
    with safe_open(named, "pt") as opened:
        kept = opened.metadata()
    content = named.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    assert end % 8 == 0
    assert kept.pop("modelspec.hash_sha256") == "0x" + hashlib.sha256(content[end:]).hexdigest()
    del kept["ganzoo"]
    assert kept == {"modelspec.title": "Ä", "modelspec.architecture": "a/b"}
    assert checkpoint.read(named)[1] == checkpoint.read(file)[1]
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(content.replace(b"a/b", b"a/c"))
    with pytest.raises(BadCheckpoint, match="damaged"):
        checkpoint.read(damaged)


def test_files_that_safetensors_itself_has_written_are_read(tmp_path):
    """As earlier versions wrote them: one key of metadata, laid out by the library."""
    path, tensors = tmp_path / "000001.safetensors", {"a": torch.arange(6.0)}
    unsigned = save(tensors, {"ganzoo": json.dumps({"format": 1, "sha256": "0" * 64, "step": 1})})
    path.write_bytes(unsigned.replace(b"0" * 64, hashlib.sha256(unsigned).hexdigest().encode(), 1))
    read, meta = checkpoint.read(path)
    assert torch.equal(read["a"], tensors["a"])
    assert meta["step"] == 1


@pytest.mark.parametrize("told", [None, {"title": "a"}])
def test_any_flipped_bit_is_refused(file, told):
    if told:
        checkpoint.write(file, *checkpoint.read(file), told)
    whole = file.read_bytes()
    for place in range(0, len(whole), 3):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(BadCheckpoint, match="000005"):
            checkpoint.read(file)


def test_any_truncated_file_is_refused(file):
    whole = file.read_bytes()
    for end in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:end])
        with pytest.raises(BadCheckpoint, match="000005"):
            checkpoint.read(file)


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "000001.safetensors"
    save_file({"x": torch.zeros(3)}, path)
    with pytest.raises(BadCheckpoint, match="not one of ganzoo's"):
        checkpoint.read(path)
    torch.save({"x": torch.zeros(3)}, path)
    with pytest.raises(BadCheckpoint, match="000001"):
        checkpoint.read(path)


def test_a_gigantic_header_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "000001.safetensors"
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", 60 << 20))
        f.truncate(61 << 20)
    with pytest.raises(BadCheckpoint, match="header is longer"):
        checkpoint.read(path)


def test_names_shapes_and_types_are_compared_before_any_tensor_is_read(images, tmp_path):
    session = built(small("dcgan", images()))
    strategy = session.strategy
    session.step(0)
    tensors = checkpoint.tensors_of(strategy)
    cases = {
        "missing": {k: v for k, v in tensors.items() if k != "model:G.net.0.weight"},
        "odd": tensors | {"model:G.extra": torch.zeros(2)},
        "shape": tensors | {"model:G.net.0.weight": torch.zeros(3)},
        "type": tensors | {"model:G.net.0.weight": tensors["model:G.net.0.weight"].double()},
        "optimiser": tensors | {"opt_X:G.net.0.weight:exp_avg": torch.zeros(1)},
        "moment": tensors | {"opt_G:G.net.0.weight:exp_avg": torch.zeros(5)},
        "moment type": tensors | {"opt_G:G.net.0.weight:exp_avg": tensors["opt_G:G.net.0.weight:exp_avg"].double()},
        "no moment": tensors | {"opt_G:G.net.0.weight": torch.zeros(1)},
    }
    for name, wrong in cases.items():
        path = tmp_path / f"{name}.safetensors"
        checkpoint.write(path, wrong, {"step": 1})
        whole = path.read_bytes()
        length = 8 + int.from_bytes(whole[:8], "little")
        path.write_bytes(whole[:length] + b"\xff" * (len(whole) - length))  # nobody may have looked at these
        with pytest.raises(BadCheckpoint, match=r"G\.(net|extra)"):
            checkpoint.read(path, lambda header: checkpoint.check_names(strategy, header))


def test_what_is_restored_goes_on_as_what_was_saved(images, tmp_path):
    """Also where weights are channels_last and the file is not: fused optimisers need one layout for a weight and its state."""
    first, second = built(small("dcgan", images(3))), built(small("dcgan", images(3)))
    first.step(0)
    checkpoint.write(tmp_path / "c.safetensors", checkpoint.tensors_of(first.strategy), {})
    second.batches.position = first.batches.position
    with torch.no_grad():
        for p in second.strategy.parameters():
            p.zero_()
    checkpoint.restore(second.strategy, checkpoint.read(tmp_path / "c.safetensors")[0])
    for p, state in second.strategy.opt_G.state.items():
        assert state["exp_avg"].stride() == p.stride()
    for session in (first, second):
        session.step(1)
    one, two = checkpoint.tensors_of(first.strategy), checkpoint.tensors_of(second.strategy)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_full_disk_leaves_the_old_file_and_says_so(file, monkeypatch):
    before = file.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GanzooError, match="No space left"):
        checkpoint.write(file, {"a": torch.zeros(2)}, {})
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == [file.name]


@pytest.fixture
def run(tmp_path):
    with Run.create(tmp_path / "run") as run:
        yield run


def accept(header):
    return None


def test_the_newest_step_is_taken_whatever_the_clock_says(run):
    for step in (5, 10, 100):
        run.save(step, {"a": torch.tensor(step)}, {})
    os.utime(checkpoint.path_of(run.checkpoints, 5), (4e9, 4e9))
    os.utime(checkpoint.path_of(run.checkpoints, 100), (0, 0))
    tensors, meta = run.load(accept, pytest.fail)
    assert (tensors["a"], meta["step"]) == (100, 100)


def test_a_bad_checkpoint_is_passed_over_loudly(run):
    for step in (1, 2):
        run.save(step, {"a": torch.tensor(step)}, {})
    path = checkpoint.path_of(run.checkpoints, 2)
    path.write_bytes(path.read_bytes()[:-1])
    said = []
    tensors, _ = run.load(accept, said.append)
    assert tensors["a"] == 1
    assert len(said) == 1
    assert "BAD CHECKPOINT" in said[0]
    assert "000002.safetensors" in said[0]


def test_where_no_checkpoint_is_good_nothing_is_trained_anew_over_them(run):
    run.save(1, {"a": torch.tensor(1)}, {})
    checkpoint.path_of(run.checkpoints, 1).write_bytes(b"")
    with pytest.raises(GanzooError, match="none of its 1 checkpoints"):
        run.load(accept, lambda text: None)


def test_old_ones_are_pruned_only_after_the_new_one_was_read_back(run, monkeypatch):
    for step in range(1, 6):
        run.save(step, {"a": torch.tensor(step)}, {})
    assert checkpoint.steps_in(run.checkpoints) == [3, 4, 5]

    def torn(path, tensors, meta):
        path.write_bytes(b"torn")

    monkeypatch.setattr(checkpoint, "write", torn)
    with pytest.raises(BadCheckpoint):
        run.save(6, {"a": torch.tensor(6)}, {})
    assert checkpoint.steps_in(run.checkpoints) == [3, 4, 5, 6]


def test_tied_weights_are_saved(tmp_path):
    a = torch.arange(4.0)
    checkpoint.write(tmp_path / "c.safetensors", {"model:G.a": a, "model:D.a": a, "model:D.part": a[:2]}, {})
    tensors, _ = checkpoint.read(tmp_path / "c.safetensors")
    assert torch.equal(tensors["model:G.a"], a)
    assert torch.equal(tensors["model:D.a"], a)
    assert torch.equal(tensors["model:D.part"], a[:2])


@pytest.mark.parametrize("meta", ["[1]", '{"a"', "5", "[" * 100_000])
def test_odd_headers_are_refused_as_bad_checkpoints(meta, tmp_path):
    path = tmp_path / "000001.safetensors"
    save_file({"x": torch.zeros(3)}, path, {"ganzoo": meta})
    with pytest.raises(BadCheckpoint):
        checkpoint.read(path)


def test_a_renamed_checkpoint_is_not_believed(run):
    run.save(1, {"a": torch.tensor(1)}, {})
    checkpoint.path_of(run.checkpoints, 1).rename(checkpoint.path_of(run.checkpoints, 9))
    with pytest.raises(GanzooError):
        run.load(accept, lambda text: None)
