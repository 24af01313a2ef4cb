"""Evaluations: what they say they are, that they are the same again, and that they change nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from zoo import built, small

from ganzoo.compose import find_data
from ganzoo.config import RunOptions
from ganzoo.errors import GanzooError, UsageError
from ganzoo.evaluation import evaluator
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.evaluation.record import Evaluation, best, parsed
from ganzoo.evaluation.request import Reference, requested, usual
from ganzoo.evaluation.subject import evaluate, find_subject
from ganzoo.files import read_lines
from ganzoo.registry.catalogue import catalogue
from ganzoo.runs import checkpoint
from ganzoo.runs.exported import Exported, load
from ganzoo.runs.folder import EVALUATIONS
from ganzoo.training import launch
from ganzoo.training.loop import Watch
from ganzoo.types import DataSpec

ASKED = {"metrics": "fid,kid", "features": "pixels", "n": 40, "settings": {"kid": {"subset_size": 20, "subsets": 5}}}


@pytest.fixture(scope="module")
def run(images, tmp_path_factory):
    """A run of a GAN with classes and averaged weights, with three checkpoints."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = small("acgan", images(), steps=6, save_every=2, ema=0.9)
    return launch.start(config, folder, Watch())


@pytest.fixture
def copied(run, tmp_path):
    """The same run without evaluations."""
    import shutil

    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / EVALUATIONS).unlink(missing_ok=True)
    return tmp_path / "run"


def request(reference, metrics="", features="", **asked):
    """The request for named metrics and an extractor; asked: further arguments of `requested`."""
    return requested(catalogue(), reference, catalogue().measures(metrics, features), **asked)


def measured(source, asked=ASKED, all_checkpoints=False, **more):
    """The evaluations of a subject; asked: arguments of `request`."""
    zoo = catalogue()
    return evaluate(zoo, find_subject(zoo, source, all_checkpoints), lambda reference: request(reference, **asked), **more)


def test_a_run_its_last_checkpoint_and_its_generators_file_get_the_same_figures(copied):
    made = [measured(copied / place) for place in ("", "checkpoints/000006.safetensors", "generator.safetensors")]
    assert [[e.figures for e in es] for es in made] == [[e.figures for e in made[0]]] * 3
    assert [e.hash for es in made for e in es] == [e.hash for e in made[0]] * 3
    assert [line["step"] for line in read_lines(copied / EVALUATIONS)] == [6] * 6
    assert [parsed(line) for line in read_lines(copied / EVALUATIONS)] == [e for es in made for e in es]


def test_averaged_weights_are_taken_where_there_are_any(run):
    tensors = load_file(run / "checkpoints" / "000006.safetensors")
    exported = load(catalogue(), run / "checkpoints" / "000006.safetensors")
    assert exported.step == 6
    differ = False
    for name, value in exported.network.state_dict().items():
        assert torch.equal(value, tensors[f"model:averages.G.{name}"]), name
        differ |= not torch.equal(value, tensors[f"model:G.{name}"])
    assert differ


@pytest.mark.parametrize(
    "change",
    [
        {"n": 41}, {"n_real": 30}, {"seed": 1}, {"features": "classifier"},
        {"settings": {"kid": {"subset_size": 20, "subsets": 6}}},
    ],
    ids=str,
)  # fmt: skip
def test_whatever_decides_a_figure_is_in_the_protocol(change, copied):
    before, after = measured(copied), measured(copied, ASKED | change)
    assert before[1].hash != after[1].hash
    assert before[1].line.partition(" [")[0] != after[1].line.partition(" [")[0]


def test_the_same_question_gets_the_same_answer_however_many_samples_are_looked_at_together(copied, monkeypatch):
    asked = ASKED | {"features": "classifier"}
    first = measured(copied, asked)
    monkeypatch.setattr(evaluator, "BATCH", 7)
    again = measured(copied, asked)
    assert [e.hash for e in again] == [e.hash for e in first]
    for a, b in zip(first, again, strict=True):
        assert a.figures == pytest.approx(b.figures, rel=1e-4)


def test_what_is_known_of_real_samples_is_computed_once_and_a_damaged_cache_is_made_again(copied, tmp_path, monkeypatch):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    first = measured(copied)
    looked = Evaluator._real_samples
    monkeypatch.setattr(Evaluator, "_real_samples", lambda self: pytest.fail("it looked at them again"))
    assert [e.figures for e in measured(copied)] == [e.figures for e in first]
    monkeypatch.setattr(Evaluator, "_real_samples", looked)
    for path in (tmp_path / "cache" / "reference").iterdir():
        path.write_bytes(path.read_bytes()[:-3])
    assert [e.figures for e in measured(copied)] == [e.figures for e in first]


@pytest.mark.parametrize("recipe", ["dcgan", "acgan", "began"])
def test_evaluating_while_it_trains_changes_no_bit(recipe, images, tmp_path):
    finals = []
    measures = {"eval_every": 2, "metric": "fid,kid", "features": "classifier", "eval_n": 30}
    for name, more in (("plain", {}), ("measured", measures)):
        launch.start(small(recipe, images(), steps=5, save_every=5, ema=0.9, **more), tmp_path / name, Watch())
        finals.append(load_file(tmp_path / name / "checkpoints" / "000005.safetensors"))
    assert finals[0].keys() == finals[1].keys()
    assert all(torch.equal(finals[0][name], finals[1][name]) for name in finals[0])
    assert [line["step"] for line in read_lines(tmp_path / "measured" / EVALUATIONS)] == [2, 2, 4, 4, 5, 5]


def test_what_fails_in_an_evaluation_costs_a_warning_and_not_the_run(images, tmp_path, monkeypatch):
    class Told(Watch):
        def __init__(self):
            self.warnings = []

        def warned(self, text):
            self.warnings.append(text)

    def fails(self, fake, real):
        raise RuntimeError("DefaultCPUAllocator: not enough memory")

    monkeypatch.setattr("ganzoo_metrics.model.FID.compute", fails)
    config = small("gan", images(), steps=4, eval_every=2, metric="fid", features="pixels", eval_n=20)
    launch.start(config, tmp_path / "run", told := Told())
    said = [text for text in told.warnings if "images are few:" not in text]
    assert [text.partition(":")[0] for text in said] == ["not evaluated at step 2", "not evaluated at step 4"]
    assert (tmp_path / "run" / "checkpoints" / "000004.safetensors").exists()


def test_samples_in_the_order_of_their_classes_are_not_judged_by_the_first(tmp_path):
    x = torch.zeros(200, 1, 8, 8, dtype=torch.uint8)
    x[100:] = 200
    save_file({"x": x}, tmp_path / "sorted.safetensors")
    seen = []
    asked = {"metrics": "fid", "features": "pixels", "n": 50}
    original = Evaluator._accumulated

    def noted(self, accumulators, samples, n, what):
        lots = list(samples)
        seen.append(torch.cat([lot().x for lot in lots]).float().mean().item())
        return original(self, accumulators, lots, n, what)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Evaluator, "_accumulated", noted)
        measured(tmp_path / "sorted.safetensors", asked, against=str(tmp_path / "sorted.safetensors"))
    assert seen[0] == pytest.approx(100, abs=30)


def test_a_run_resumed_from_an_earlier_step_forgets_later_evaluations(images, tmp_path):
    config = small("gan", images(), steps=4, save_every=2, eval_every=1, metric="fid", features="pixels", eval_n=20)
    launch.start(config, tmp_path / "run", Watch())
    (tmp_path / "run" / "checkpoints" / "000004.safetensors").unlink()
    launch.resume(catalogue(), tmp_path / "run", 4, Watch())
    assert [line["step"] for line in read_lines(tmp_path / "run" / EVALUATIONS)] == [1, 2, 3, 4]


def test_real_samples_as_fakes_are_far_nearer_than_noise(images, tmp_path):
    """The whole way from a folder of PNG files to a figure."""
    x = load_file(images(3))["x"]
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)).mul(40).byte()
    for name, some in (("same", x), ("dark", noise)):
        (tmp_path / name).mkdir()
        for i, image in enumerate(some):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / name / f"{i:03d}.png")
    asked = {"metrics": "fid", "features": "pixels", "n": len(x)}
    same, dark = (measured(tmp_path / name, asked, against=str(images(3)))[0] for name in ("same", "dark"))
    assert same.figures["fid (pixels)"] == pytest.approx(0, abs=1e-4)
    assert dark.figures["fid (pixels)"] > 1
    assert any("48" in note for note in same.notes), "48 samples in 768 dimensions are too few, and it is said"


def test_a_generator_of_what_is_no_number_is_refused_at_once(copied):
    path = copied / "generator.safetensors"
    tensors, said = checkpoint.read(path)
    tensors = {name: value * float("nan") if value.is_floating_point() else value for name, value in tensors.items()}
    checkpoint.write(path, tensors, said)
    with pytest.raises(GanzooError, match="not a finite number"):
        measured(copied)


def test_samples_of_classes_are_drawn_as_often_as_the_data_has_them(images, tmp_path):
    data = load_file(images(classes=2, n=48))
    data["y"] = (torch.arange(48) % 4 == 0).long()
    save_file(data, tmp_path / "uneven.safetensors")
    prepared = find_data(catalogue(), RunOptions(dataset=str(tmp_path / "uneven.safetensors"))).prepare()
    reference = Reference(prepared, "train")
    made = Evaluator(request(reference, **ASKED), reference, lambda: prepared, torch.device("cpu"))
    product = Exported.of(built(small("acgan", tmp_path / "uneven.safetensors")).strategy)
    y = made._labels(product, 4000)["y"]
    assert float(y.float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(y, made._labels(product, 4000)["y"])


def test_points_are_judged_by_their_modes(tmp_path):
    config = small("gan", "ring", steps=2, batch_size=16)
    launch.start(config, tmp_path / "run", Watch())
    (made,) = measured(tmp_path / "run", {"metrics": "modes", "features": "", "n": 100})
    assert set(made.figures) == {"modes", "high-quality", "mode-kl"}


def _evaluation(step, value, hashed="a"):
    return Evaluation({"fid": value}, {"fid": "lower"}, (), {}, "", hashed, "", 0.0, step)


def test_best_and_last_are_told_apart_and_never_across_protocols():
    told = best([_evaluation(1, 5.0), _evaluation(2, 3.0), _evaluation(3, 4.0), _evaluation(3, 1.0, "b")])
    last, top, several = told["fid", "a"]
    assert (last.step, top.step, several) == (3, 2, True)
    last, top, several = told["fid", "b"]
    assert (last.step, top.step, several) == (3, 3, False)


@pytest.mark.parametrize(
    ("asked", "more", "said"),
    [
        ({"metrics": "fidd", "features": "pixels"}, {}, "Did you mean 'fid'"),
        ({"metrics": "fid", "features": "pixel"}, {}, "no feature extractor 'pixel'"),
        ({"metrics": "fid", "features": "pixels@top"}, {}, "has no layer 'top'"),
        ({"metrics": ",", "features": "pixels"}, {}, "--metric: wanted names"),
        ({"metrics": "modes", "features": "pixels"}, {}, "takes points data"),
        ({"metrics": "inception-score", "features": "pixels", "n": 20}, {}, "gives no logits"),
        ({"metrics": "memorisation", "features": "pixels", "n": 20}, {"against": "{data}"}, "take --against train"),
        ({"metrics": "fid", "features": "pixels", "settings": {"kid": {"subsets": 3}}}, {}, "--kid.subsets: kid is not asked for"),
        ({"metrics": "fid", "features": "pixels"}, {"against": "test"}, "holds nothing out"),
        ({"metrics": "fid", "features": "pixels"}, {"against": "{colour}"}, "they cannot be compared"),
        ({"metrics": "kid", "features": "pixels", "settings": {"kid": {"subsets": 0}}}, {}, "--kid.subsets: wanted"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_measured_is_refused_with_what_to_do(asked, more, said, run, images):
    more = {key: value.format(data=images(n=32), colour=images(3)) for key, value in more.items()}
    with pytest.raises(UsageError) as error:
        measured(run, asked, **more)
    assert said in str(error.value)


def test_data_that_has_changed_is_no_reference(copied):
    config = json.loads((copied / "config.json").read_text())
    config["data"]["checksum"] = "0" * 64
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="has changed since the run was started"):
        measured(copied)


def test_what_is_kept_of_a_stream_for_fid_does_not_grow_with_it():
    from ganzoo.metrics import FeatureBatch, Moments

    sizes = []
    for n in (100, 1000):
        moments = Moments(n)
        for _ in range(n // 50):
            moments.add(FeatureBatch(torch.zeros(50, 1), torch.randn(50, 8)))
        sizes.append(sum(tensor.nbytes for tensor in moments.state.values()))
    assert sizes[0] == sizes[1]


def test_the_usual_question_fits_the_data():
    assert usual(None, DataSpec.of("image", (1, 8, 8), 10)) == ("fid", "classifier", 10_000)
    assert usual(None, DataSpec.of("image", (1, 8, 8)))[1] == "random"
    assert usual(catalogue().dataset("ring"), DataSpec.of("points", (2,)))[0] == "modes"
    assert usual(None, DataSpec.of("points", (2,)))[:2] == ("fid", "pixels")


def test_photos_without_labels_are_measured_without_a_download_and_it_is_said_what_the_figures_are_worth(images, tmp_path, monkeypatch):
    monkeypatch.setenv("GANZOO_DATA", str(tmp_path))
    save_file({"x": load_file(images(3, n=24))["x"]}, tmp_path / "photos.safetensors")
    config = small("dcgan", tmp_path / "photos.safetensors", steps=2, eval_every=2, eval_n=20)
    launch.start(config, tmp_path / "run", Watch())
    (during,) = map(parsed, read_lines(tmp_path / "run" / EVALUATIONS))
    (made,) = measured(tmp_path / "run", {"n": 20})
    assert made.figures == during.figures
    assert tuple(made.figures) == ("FD-random",)
    assert any("no FID" in note for note in made.notes)
    assert ", resize bilinear, antialiased, to 32, random seed 0, n 20, against 24" in made.line
    both = measured(tmp_path / "run", {"metrics": "fid,kid", "n": 20, "settings": {"kid": {"subset_size": 20, "subsets": 5}}})
    assert [name for e in both for name in e.figures] == ["FD-random", "KD-random", "kid-std (random)"]
    assert all(any("no FID" in note for note in e.notes) for e in both)
    (plain,) = measured(tmp_path / "run", {"metrics": "fid", "features": "pixels", "n": 20})
    assert not any("no FID" in note for note in plain.notes)


def test_the_command_prints_figures_with_their_protocol_and_the_best_beside_the_last(ganzoo, copied):
    settled = ["--metric", "kid", "--features", "pixels", "-n", "30", "--kid.subset-size", "10", "--kid.subsets", "4"]
    done = ganzoo("evaluate", copied, *settled, "--all-checkpoints")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines[:3]] == ["step 2", "step 4", "step 6"]
    hashed = read_lines(copied / EVALUATIONS)[0]["hash"]
    assert "against 48 of" in lines[3]
    assert f"[{hashed}]" in lines[3]
    assert lines[4].startswith("kid (pixels): best ")
    assert "last " in lines[4]
    told = json.loads(ganzoo("evaluate", copied / "generator.safetensors", *settled, "--json").stdout)
    assert told[0]["figures"]["kid (pixels)"] == read_lines(copied / EVALUATIONS)[2]["figures"]["kid (pixels)"]
    done = ganzoo("evaluate", copied / "nothing")
    assert (done.returncode, "does not exist" in done.stderr) == (2, True)


def test_texts_in_other_words_are_not_compared(tmp_path):
    (tmp_path / "lines.txt").write_text("a cat\na dog\n" * 5)
    (tmp_path / "other.txt").write_text("two cars\ntwo boats\n" * 5)
    with pytest.raises(UsageError, match="other has other words than these samples know"):
        measured(tmp_path / "lines.txt", {"metrics": "bleu"}, against=str(tmp_path / "other.txt"))


def test_real_samples_are_measured_by_the_name_of_their_data_set():
    (made,) = measured(Path("ring"), {"metrics": "modes", "features": "", "n": 500}, against="grid")
    assert made.figures["high-quality"] < 0.5, "a point of the ring is seldom one of the grid"
    (made,) = measured(Path("ring"), {"metrics": "modes", "features": "", "n": 500}, against="ring")
    assert made.figures["modes"] == 8
    assert made.figures["high-quality"] == pytest.approx(0.989, abs=0.02)


@pytest.mark.parametrize(
    "line", [{}, {"figures": 3}, {"figures": {"fid": "low"}}, {"figures": {}, "step": 3}, {"figures": {"fid": True}}], ids=str
)
def test_a_line_of_somebody_elses_is_left_out(line):
    assert parsed(line) is None
    assert parsed({"figures": {"fid": 1}, "better": 5, "step": "x", "notes": 7, "hash": None}) == Evaluation(
        {"fid": 1.0}, {}, (), {}, "", "", "", 0.0
    )


def test_what_mends_pictures_is_measured_against_the_truth_and_beside_its_input(tmp_path):
    """Noise of 25 grey levels on middle grey is 10 log10(255² / 25²) = 20.17 dB away from it."""
    save_file({"x": torch.full((40, 3, 16, 16), 128, dtype=torch.uint8)}, tmp_path / "grey.safetensors")
    config = small("denoise", tmp_path / "grey.safetensors", steps=2, eval_every=2)
    launch.start(config, tmp_path / "run", Watch())
    psnr, ssim = measured(tmp_path / "run", {"settings": {"psnr": {"border": 2}}})
    assert list(ssim.figures) == ["ssim", "input-ssim"]
    assert psnr.better == {"psnr": "higher"}
    assert psnr.figures["input-psnr"] == pytest.approx(20.17, abs=0.1)
    made = f"of grey (train, {psnr.protocol['checksum'][:8]}), from source of train, made by noise sigma 25.0, 1x16x16, seed 0, float64"
    assert psnr.line == f"psnr and input-psnr, n 40, {made}, border 2, luma off [{psnr.hash}]"
    during = [parsed(line) for line in read_lines(tmp_path / "run" / EVALUATIONS)][:2]
    assert [list(e.figures) for e in during] == [["psnr", "input-psnr"], ["ssim", "input-ssim"]]
    assert during[1].figures == ssim.figures
    assert during[1].line == ssim.line


def test_translations_are_measured_against_the_real_pictures_of_the_other_domain(tmp_path):
    from ganzoo_metrics.model import FID

    from ganzoo.metrics import FeatureBatch

    g = torch.Generator().manual_seed(0)
    for folder, middle in (("trainA", 60), ("trainB", 180), ("testA", 60), ("testB", 180)):
        (tmp_path / "data" / folder).mkdir(parents=True)
        for i, x in enumerate(torch.randint(middle - 40, middle + 40, (12, 16, 16), generator=g, dtype=torch.uint8)):
            Image.fromarray(x.numpy()).save(tmp_path / "data" / folder / f"{i}.png")
    launch.start(small("cyclegan", tmp_path / "data", steps=2, image_size="16"), tmp_path / "run", Watch())
    zoo = catalogue()
    held_out = find_data(zoo, RunOptions(dataset=str(tmp_path / "data"), image_size="16")).held_out.prepare().load()
    lines = []
    for name, taken, given in (("a-to-b", "x_a", "x_b"), ("b-to-a", "x_b", "x_a")):
        subject = find_subject(zoo, tmp_path / "run", False, name)
        (made,) = evaluate(zoo, subject, lambda reference: request(reference, "fid", "pixels", n=12), against="test")
        outputs = torch.cat(list(load(zoo, tmp_path / "run", name).outputs(12, given={taken: held_out[taken].float() / 127.5 - 1})))
        metric = FID(DataSpec.of("image", (1, 16, 16)), None)
        sides = [metric.accumulator(12) for _ in range(2)]
        for side, rows in zip(sides, (outputs, held_out[given]), strict=True):
            side.add(FeatureBatch(rows, rows.flatten(1).float() / 255))
        assert made.figures["fid (pixels)"] == pytest.approx(metric.compute(*sides)["fid"], rel=1e-5)
        assert f"n 12, against 12 {given} of data (test, " in made.line
        assert f"), from {taken} of test, 1x16x16" in made.line
        lines.append(made.hash)
    assert len(set(lines)) == 2
    usual_ = measured(tmp_path / "run", against="test", asked={})
    assert [list(e.figures) for e in usual_] == [["FD-random"]]
