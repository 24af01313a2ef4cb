"""ganzoo from Python: the same as the command line does, with values in and out."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import ganzoo
from ganzoo import UsageError
from ganzoo.files import read_lines
from ganzoo.registry import catalogue as registry
from ganzoo.registry import discovery

SMALL = {"batch_size": 4, "options": {"generator.width": 8, "discriminator.width": 8}, "image_size": 16}

PAIRS = """
import torch
from torch import nn
import ganzoo
from ganzoo import Export, Field, LossPart, NetworkPart, Recipe, StrategyPart, hookimpl
GANZOO_API = 1

class G(ganzoo.Generator):
    def __init__(self, spec, options):
        super().__init__(spec, options)
        self.net = nn.Conv2d(spec.fields["source"].shape[0] + 1, spec.shape[0], 3, padding=1)
    def forward(self, source, mask):
        return self.net(torch.cat([source, mask], 1)).tanh()

class D(ganzoo.Discriminator):
    def __init__(self, spec, options):
        super().__init__(spec, options)
        self.net = nn.Linear(spec.numel, 1)
    def forward(self, x):
        return self.net(x.flatten(1)).squeeze(1)

class S(ganzoo.Alternating):
    def exports(self):
        verdict = Field("label", size=2, names=("made", "real"))
        return {"mend": Export("G", ("source", "mask")), "judge": Export("D", ("x",), verdict)}

PARTS = {"generator": "zz-mend", "discriminator": "zz-judge", "loss": "hinge", "strategy": "zz-two"}

@hookimpl
def ganzoo_register():
    return [
        NetworkPart("zz-mend", "zz_pairs:G", role="generator", takes=("source", "mask"), gives=("x",), multiple=1),
        NetworkPart("zz-judge", "zz_pairs:D", role="discriminator", takes=("x",), gives=("logits",)),
        StrategyPart("zz-two", "zz_pairs:S", "", ganzoo.AlternatingOptions),
        Recipe("zz-mend", "Mends", PARTS, degradation="mask"),
    ]
"""

pytestmark = pytest.mark.filterwarnings("ignore:.*images are few")


@pytest.fixture(scope="session", name="command")
def _command(request):
    """The command line; `ganzoo` is the module here."""
    return request.getfixturevalue("ganzoo")


@pytest.fixture(scope="module")
def run(images, tmp_path_factory):
    """A run of acgan."""
    return ganzoo.train("acgan", dataset=images(3), steps=2, out=tmp_path_factory.mktemp("api") / "run", **SMALL)


@pytest.fixture(scope="module")
def mended(images, tmp_path_factory):
    """A run of a local plugin with two products that are applied."""
    folder = tmp_path_factory.mktemp("mended")
    (folder / "zz_pairs.py").write_text(PAIRS)
    discovery.named.append(folder / "zz_pairs.py")
    caches = (registry.catalogue, discovery.installed)
    for cache in caches:
        cache.cache_clear()
    yield ganzoo.train("zz-mend", dataset=images(3), steps=2, batch_size=4, out=folder / "run")
    discovery.named.clear()
    for cache in caches:
        cache.cache_clear()
    sys.modules.pop("zz_pairs", None)


def test_a_model_gives_the_images_of_the_command_line(run, command, tmp_path):
    model = ganzoo.load(str(run))
    assert (model.name, model.step, model.asks) == ("generator", 2, ())
    assert "acgan" in repr(model)
    assert len(model.classes) == model.product.classes.size
    done = command("sample", run, "-n", 6, "--seed", 3, "--folder", "--out", tmp_path / "drawn")
    assert done.returncode == 0, done.stderr
    files = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "drawn").iterdir())]
    pictures, array, tensor = (model.sample(6, seed=3, to=to) for to in ("objects", "array", "tensor"))
    assert all(np.array_equal(a, np.asarray(b)) for a, b in zip(files, pictures, strict=True))
    assert np.array_equal(array, np.stack(files))
    assert torch.equal(tensor.permute(0, 2, 3, 1), torch.from_numpy(array))
    assert not tensor.requires_grad


def test_classes_are_chosen_by_number_or_name(run):
    model = ganzoo.load(run / "generator.safetensors")
    one = model.sample(2, labels=model.classes[1], to="tensor")
    assert torch.equal(one, model.sample(2, labels=[1], to="tensor"))
    assert torch.equal(one[:1], model.sample(1, labels=1, to="tensor"))
    with pytest.raises(UsageError, match="wanted numbers from 0"):
        model.sample(labels="no such class")
    with pytest.raises(UsageError, match="takes no files of yours"):
        model.apply(Image.new("RGB", (16, 16)))
    with pytest.raises(UsageError, match="wanted objects, tensor or array"):
        model.sample(to="jpeg")
    with pytest.raises(UsageError, match="at least 1"):
        model.sample(0)


def test_training_twice_in_one_process_is_the_same_and_resuming_goes_on(images, run, tmp_path):
    again = ganzoo.train("acgan", dataset=images(3), steps=2, out=tmp_path / "again", **SMALL)
    a, b = (load_file(folder / "checkpoints" / "000002.safetensors") for folder in (run, again))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert ganzoo.resume(again, steps=3) == again
    assert ganzoo.load(again).step == 3
    with pytest.raises(UsageError, match="Did you mean"):
        ganzoo.train("acgan", dataset=images(3), step=3)
    with pytest.raises(UsageError, match="--out"):
        ganzoo.train("acgan", dataset=images(3), steps=2, out=again, **SMALL)


def test_training_in_another_thread_leaves_signals_and_random_state_alone(images, run, tmp_path):
    handler, state = signal.getsignal(signal.SIGINT), torch.random.get_rng_state()
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(lambda: ganzoo.train("acgan", dataset=images(3), steps=2, out=tmp_path / "again", **SMALL)).result()
    a, b = (load_file(folder / "generator.safetensors") for folder in (run, again))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert signal.getsignal(signal.SIGINT) is handler
    assert torch.equal(torch.random.get_rng_state(), state)


def test_figures_come_with_their_protocol(run):
    settings = {"kid.subset_size": 10, "kid.subsets": 3}
    (evaluation,) = ganzoo.evaluate(run, metric="kid", features="pixels", n=20, n_real=20, settings=settings)
    assert set(evaluation.figures) == {"kid (pixels)", "kid-std (pixels)"}
    assert "subsets 3" in evaluation.line


def test_applied_products_take_what_a_program_has(mended, tmp_path):
    model = ganzoo.load(mended)
    assert model.asks == ("source", "mask")
    rows = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    masks = torch.zeros(3, 1, 16, 16, dtype=torch.uint8)
    made = model.apply(rows, mask=masks, to="tensor")
    assert made.shape == rows.shape
    pictures = [Image.fromarray(row.permute(1, 2, 0).numpy()) for row in rows]
    grey = [Image.new("L", (16, 16), 0)] * 3
    turned = model.apply(pictures, mask=grey)
    assert all(np.array_equal(np.asarray(p), q) for p, q in zip(turned, made.permute(0, 2, 3, 1).numpy(), strict=True))
    pictures[0].save(tmp_path / "one.png")
    single = model.apply(tmp_path / "one.png", mask=grey[0])
    assert np.array_equal(np.asarray(single), made[0].permute(1, 2, 0).numpy())
    large = model.apply([Image.new("RGB", (20, 30)), pictures[0]], mask=[Image.new("L", (20, 30)), grey[0]])
    assert [picture.size for picture in large] == [(20, 30), (16, 16)]
    assert np.array_equal(np.asarray(large[1]), np.asarray(single))
    with pytest.raises(UsageError, match="mask is missing"):
        model.apply(rows)
    with pytest.raises(UsageError, match="equally many"):
        model.apply(rows, mask=masks[:2])
    with pytest.raises(UsageError, match="wanted a PIL image"):
        model.apply([torch.zeros(3, 16, 16)], mask=masks[:1])
    judge = ganzoo.load(mended, network="judge")
    verdicts = judge.apply(rows)
    assert [set(verdict) for verdict in verdicts] == [{"made", "real"}] * 3
    assert sum(verdicts[0].values()) == pytest.approx(1)
    with pytest.raises(UsageError, match=r"--network: .* has mend, judge; got 'G'"):
        ganzoo.load(mended, network="G")


def test_products_are_applied_evaluated_and_shown_by_the_command_line(mended, images, command, tmp_path):
    plugin = ("--plugin", mended.parent / "zz_pairs.py")
    (tmp_path / "photos").mkdir()
    for name, size in (("a", (16, 16)), ("b", (24, 20))):
        Image.new("RGB", size, (200, 30, 30)).save(tmp_path / "photos" / f"{name}.png")
        Image.new("L", size).save(tmp_path / f"{name}-mask.png")
    (tmp_path / "masks").mkdir()
    for name in "ab":
        (tmp_path / f"{name}-mask.png").rename(tmp_path / "masks" / f"{name}.png")
    done = command(*plugin, "apply", mended, tmp_path / "photos", "--input", f"mask={tmp_path / 'masks'}", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    sizes = {}
    for path in (tmp_path / "out").iterdir():
        with Image.open(path) as picture:
            sizes[path.name] = picture.size
    assert sizes == {"a.png": (16, 16), "b.png": (24, 20)}
    done = command(*plugin, "apply", mended, tmp_path / "photos" / "a.png", "--network", "judge", "--out", tmp_path / "judged")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "judged" / "labels.csv").read_text().splitlines()
    assert lines[0] == "name,class,made,real"
    assert lines[1].startswith("a,")
    # What is said of a picture needs no pixels of its own, so another size is brought to that of the training.
    resized = command(*plugin, "apply", mended, tmp_path / "photos" / "b.png", "--network", "judge", "--out", tmp_path / "yes")
    assert resized.returncode == 0, resized.stderr
    assert "say where with --mask PATH" in command(*plugin, "apply", mended, tmp_path / "photos").stderr
    assert "`ganzoo apply" in command(*plugin, "sample", mended).stderr
    assert (mended / "samples" / "000002-judge.png").exists()
    evaluated = command(*plugin, "evaluate", mended, "-n", 10, "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    assert "psnr" in evaluated.stdout
    assert '"inputs": "source, mask of train"' in evaluated.stdout
    report = command(*plugin, "report", mended)
    assert report.returncode == 0, report.stderr
    page = (mended / "report.html").read_text()
    assert "Source, mask of the training data, then mend, then the truth" in page
    assert "judge, step 2" in page


def test_figures_of_applied_products_are_those_of_their_outputs(mended, images):
    """PSNR by hand: the very outputs of the model for the inputs that the degradation makes."""
    from ganzoo.evaluation.evaluator import Evaluator

    pairs, original = [], Evaluator._accumulated
    with pytest.MonkeyPatch.context() as patch:

        def noted(self, accumulators, samples, n, what):
            lots = [make() for make in samples]
            pairs.extend((lot.x, lot.truth, lot.inputs) for lot in lots)
            return original(self, accumulators, [lambda lot=lot: lot for lot in lots], n, what)

        patch.setattr(Evaluator, "_accumulated", noted)
        (evaluation,) = ganzoo.evaluate(mended, metric="psnr", n=7)
    x, truth = (torch.cat([pair[i] for pair in pairs]).double() for i in (0, 1))
    assert len(x) == 7
    assert set(pairs[0][2]) == {"source", "mask"}
    own = (10 * (255**2 / (x - truth).square().mean((1, 2, 3))).log10()).mean()
    assert evaluation.figures["psnr"] == pytest.approx(float(own))
    with pytest.raises(UsageError, match="compares each output with its truth"):
        ganzoo.evaluate(images(3), metric="psnr", against=str(images(3)), n=7)
    with pytest.raises(UsageError, match="nothing to compare it with"):
        ganzoo.evaluate(mended, network="judge")


def test_a_run_that_is_applied_is_measured_against_the_truth_while_it_trains_too(mended, images, tmp_path):
    asked = {"metric": "psnr", "eval_every": 2, "eval_n": 20}
    out = ganzoo.train("zz-mend", dataset=images(3), steps=2, batch_size=4, image_size=16, out=tmp_path / "run", **asked)
    (trained,) = read_lines(out / "evaluations.jsonl")
    (evaluation,) = ganzoo.evaluate(out, metric="psnr", n=20)
    assert (trained["hash"], trained["figures"]) == (evaluation.hash, evaluation.figures)
    assert "mask" in evaluation.protocol["degradation"]


def test_texts_come_as_lines(tmp_path):
    from ganzoo.media.tokens import Tokens
    from ganzoo.types import Field

    field = Field("tokens", (4,), 5, ("<end>", "<unknown>", "a", "cat", "."))
    kind = Tokens()
    assert kind.objects(torch.tensor([[2, 3, 4, 0], [2, 1, 0, 0]]), field) == ["a cat.", "a <unknown>"]
    assert torch.equal(torch.cat(kind.rows("A cat sat.", field)), torch.tensor([[2, 3, 1, 4]]))
    (tmp_path / "lines.txt").write_text("a cat\n\na\n")
    assert torch.equal(torch.cat(kind.rows(tmp_path / "lines.txt", field)), torch.tensor([[2, 3, 0, 0], [2, 0, 0, 0]]))


def test_importing_brings_no_torch():
    code = "import sys, ganzoo; assert not {'torch', 'numpy'} & set(sys.modules); ganzoo.catalogue(); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
