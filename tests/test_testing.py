"""The conformance kit finds what is sick: for each rule, a plugin that breaks it on purpose."""

# ruff: noqa: E501

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest

from ganzoo.errors import RunStopped, UsageError
from ganzoo.registry.catalogue import Catalogue, catalogue
from ganzoo.registry.discovery import Plugin, discover
from ganzoo.testing import check, check_recipe
from ganzoo.testing.cases import Cases
from ganzoo.testing.kit import judge
from ganzoo.testing.rules import RULES
from ganzoo.types import Part

HEALTHY = """
from dataclasses import dataclass
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import softplus
import ganzoo
from ganzoo import Check, DataSet, DegradationPart, FeaturesPart, Field, LossPart, MediumPart, MetricPart, NetworkPart, Prior, Recipe, Samples, StrategyPart, WrapperPart, hookimpl, option

GANZOO_API = 1

@dataclass(frozen=True)
class Options:
    width: int = option(64, "units", min=1)
    rate: float = option(2e-3, "learning rate")

class G(ganzoo.Generator):
    def __init__(self, spec, options):
        super().__init__(spec, options)
        self.net = nn.Sequential(nn.Linear(8 + spec.classes, options.width), nn.LeakyReLU(), nn.Linear(options.width, spec.numel), nn.Tanh())
    def latents(self): return {"z": Prior("normal", (8,))}
    def forward(self, z, y):
        return self.net(torch.cat([z, nn.functional.one_hot(y, self.spec.classes)], 1)).unflatten(1, self.spec.shape)

class D(ganzoo.Discriminator):
    def __init__(self, spec, options):
        super().__init__(spec, options)
        self.net = nn.Sequential(nn.Linear(spec.numel, options.width), nn.LeakyReLU(), nn.Linear(options.width, 1))
    def forward(self, x):
        return self.net(x.flatten(1)).squeeze(1)

class L(ganzoo.Loss):
    def discriminator(self, D, x_real, x_fake, *, t):
        return {"real": softplus(-D(x_real)).mean(), "fake": softplus(D(x_fake)).mean()}
    def generator(self, D, x_fake, x_real, *, t):
        return {"fake": softplus(-D(x_fake)).mean()}

class S(ganzoo.Strategy):
    def __init__(self, build, options):
        super().__init__(build, options)
        self.G, self.D = build.network("generator"), build.network("discriminator")
        self.opt_G, self.opt_D = (torch.optim.Adam(n.parameters(), options.rate, (0.5, 0.99)) for n in (self.G, self.D))
    def phases(self): return {"first": 0, "second": 3}
    def step(self, batches, t):
        batch = next(batches)
        given = {**batch, **self.latents(len(batch["x"]))}
        D = self.view(self.D, given)
        terms_d = self.loss.discriminator(D, batch["x"], self.fake(given).detach(), t=t, **given)
        self.update((self.opt_D, terms_d))
        given |= self.latents(len(batch["x"]))
        terms_g = self.loss.generator(D, self.fake(given), batch["x"], t=t, **given)
        self.update((self.opt_G, terms_g))
        return self.metrics(d=terms_d, g=terms_g)

class W(ganzoo.Wrapper):
    def __init__(self, spec, options):
        super().__init__(spec, options)
        self.register_buffer("seen", torch.zeros(()))
    def look(self, seen): return {**seen, "x": seen["x"] + 0.1 * ganzoo.draw("zz", Prior("normal", tuple(seen["x"].shape[1:])), len(seen["x"]))}
    def after_d(self, turn):
        self.seen.add_(1)
        return {"seen": self.seen.clone()}

class B(ganzoo.Degradation):
    def fields(self, x): return {"source": x}
    def forward(self, x): return {"source": x * ganzoo.draw("zz", Prior("unit", (1, 1, 1)), len(x))}

class K(ganzoo.Medium):
    name, dtype, toys = "zz", torch.float32, (Field("zz", (1, 4)),)
    def accepts(self, shape, dtype): return len(shape) == 3 and dtype == "float32"
    def field(self, shape, dtype, given): return Field("zz", tuple(shape[1:]))
    def store(self, rows, field): return rows.float()
    def read(self, path, field): return (row[None] for row in torch.from_numpy(np.load(path)))
    def write(self, rows, folder, field, names): np.save(folder / "x.npy", rows.numpy())
    def cells(self, rows, field): return [Image.new("L", (4, 4)) for _ in rows]
    def toy(self, n, field): return {"x": torch.arange(4.0 * n).view(n, 1, 4), "y": torch.arange(n) % 4}

FIELDS = {"x": Field("image"), "y": Field("label", (), 4)}

def data(request):
    x = torch.arange(40 * 64).view(40, 8, 8).remainder(256).to(torch.uint8).numpy()
    return Samples("1", arrays=lambda: {"x": x, "y": torch.arange(40).numpy() % 4}, fields=FIELDS)

class M(ganzoo.Metric):
    def accumulator(self, n): return ganzoo.Moments(n)
    def compute(self, fake, real): return {"apart": float((fake.mean - real.mean).square().sum())}

class F(ganzoo.FeatureExtractor):
    def forward(self, x): return x.float().flatten(1)[:, :8] / 255, None

@hookimpl
def ganzoo_register():
    return [
        MetricPart("zz", "zz_sick:M", "small", figures={"apart": "lower"}),
        FeaturesPart("zz", "zz_sick:F", "small", layers=("all",)),
        NetworkPart("zz", "zz_sick:G", "small", Options, role="generator", latents=("z",), takes=("y",), gives=("x",)),
        NetworkPart("zz", "zz_sick:D", "small", Options, role="discriminator", takes=("x",), gives=("logits",), media=("image", "points"), per_sample=True),
        LossPart("zz", "zz_sick:L", "small"),
        StrategyPart("zz", "zz_sick:S", "small", Options),
        WrapperPart("zz", "zz_sick:W", "small"),
        DegradationPart("zz", "zz_sick:B", "small"),
        MediumPart("zz", "zz_sick:K", "small"),
        Recipe("zz", "Small", {"generator": "zz", "discriminator": "zz", "loss": "zz", "strategy": "zz"}, check=Check(small={"steps": 120})),
        DataSet("zz", "zz_sick:data", "Small", {"x": Field("image"), "y": Field("label", size=4)}, licence="none needed", source="made by code"),
    ]
"""

#: rule -> (what of it is replaced, by what, what the reason says); "kind name" picks the record, by default the recipe.
SICK = {
    "hooks-are-marked": [
        ("@hookimpl\ndef ganzoo_register", "def ganzoo_commands(cli): ...\n@hookimpl\ndef ganzoo_register", "never called")
    ],
    "no-pickle": [
        ("import torch\n", "import torch\ndef load(path): return torch.load(path)\n", "torch.load is pickle"),
        ("import torch\n", "import torch\nimport pickle as p\n", "imports pickle"),
        ("import torch\n", "import torch\ndef load(path, np): return np.load(path, allow_pickle=True)\n", "allow_pickle"),
    ],
    "target-resolves": [
        ("class D(ganzoo.Discriminator)", "class D(nn.Module)", "wanted a ganzoo.Discriminator", "discriminator"),
        ("    def forward(self, z, y):", "    def forwards(self, z, y):", "lacks forward", "generator"),
    ],
    "options-can-be-typed": [('"units"', '""', "has no help", "generator")],
    "data-says-where-it-comes-from": [('licence="none needed"', 'licence=""', "names no licence", "dataset")],
    "parts-fit": [
        ('gives=("logits",)', 'gives=("features",)', "needs a discriminator that gives 'logits'"),
        ('small={"steps": 120}', 'small={"generator.widht": 120}', "Did you mean '--generator.width'"),
    ],
    "products-fit-the-data": [
        ("self.net(torch.cat", "127.5 + 127.5 * self.net(torch.cat", "beyond [-2, 2]"),
        (".unflatten(1, self.spec.shape)", "", "wanted rows of the shape (1, 16, 16)"),
        (
            ".unflatten(1, self.spec.shape)",
            ".unflatten(1, self.spec.shape).to(torch.float32 if self.training else torch.float64)",
            "wanted float32",
        ),
        (".unflatten(1, self.spec.shape)", ".view(-1, 1, *self.spec.shape[1:]).repeat(1, self.spec.shape[0], 1, 1)", "gives"),
    ],
    "smallest-batch-works": [
        (
            "nn.LeakyReLU(), nn.Linear(options.width, spec.numel)",
            "nn.BatchNorm1d(options.width), nn.Linear(options.width, spec.numel)",
            "more than 1 value",
        )
    ],
    "networks-give-what-they-say": [
        ('{"z": Prior("normal", (8,))}', '{"w": Prior("normal", (8,))}', "no latent 'z'"),
        (".squeeze(1)", "", "wanted (8,), got (8, 1)"),
        ("return self.net(x.flatten(1)).squeeze(1)", "return self.net(x.flatten(1)).squeeze(1).sigmoid()", "after a sigmoid"),
        ("return self.net(x.flatten(1)).squeeze(1)", "return self.net((x - x.mean(0)).flatten(1)).squeeze(1)", "per_sample"),
        ('gives=("logits",)', 'gives=("logits", "class_logits")', "gives 1 outputs"),
    ],
    "conditions-are-used": [("one_hot(y, self.spec.classes)", "one_hot(y * 0, self.spec.classes)", "does not use y")],
    "terms-are-scalars-with-a-gradient": [
        ("softplus(D(x_fake)).mean()}", "softplus(D(x_fake))}", "wanted a scalar"),
        (
            'return {"fake": softplus(-D(x_fake)).mean()}',
            'return {"fake": softplus(-D(x_fake)).mean().detach()}',
            "none of its terms has a gradient",
        ),
        (
            "def discriminator(self, D, x_real, x_fake, *, t):",
            "def discriminator(self, D, x_real, x_fake, *, t):\n        self.t = t",
            "keeps t from step to step",
        ),
        (
            "def generator(self, D, x_fake, x_real, *, t):",
            "def __init__(self, spec, options):\n        super().__init__(spec, options)\n        self.seen = torch.zeros(())\n    def generator(self, D, x_fake, x_real, *, t):\n        self.seen.add_(1)",
            "keeps seen from step to step",
        ),
        ("softplus(D(x_fake)).mean()}", "softplus(D(x_fake)).mean() * float('inf')}", "is inf"),
        ("softplus(D(x_fake)).mean()}", "softplus(D(x_fake)).mean().item()}", "wanted a tensor"),
        ("return self.metrics(d=terms_d, g=terms_g)", "return terms_d", "logged with its graph"),
        (
            'terms_g = self.loss.generator(D, self.fake(given), batch["x"], t=t, **given)',
            "terms_g = {'x': -D(self.fake(given)).mean()}",
            "never asks the loss for its generator",
        ),
    ],
    "optimisers-move-their-parameters": [
        (
            "super().__init__(spec, options)\n        self.net = nn.Sequential(nn.Linear(spec",
            "super().__init__(spec, options)\n        self.idle = nn.Linear(2, 2)\n        self.net = nn.Sequential(nn.Linear(spec",
            "D.idle.weight never gets a gradient",
        ),
        ("for n in (self.G, self.D))", "for n in (self.G, self.D.net[0]))", "D.net.2.weight belongs to no optimiser"),
        ("torch.optim.Adam(n.parameters(), options.rate", "torch.optim.Adam(n.parameters(), 0 * options.rate", "does not move"),
        ("for n in (self.G, self.D))", "for n in (self.G, nn.ModuleList([self.G, self.D])))", "belongs to two optimisers"),
        (
            "def phases(self): return",
            "def exports(self):\n        import time\n        return {f'at-{time.monotonic_ns()}': ganzoo.Export('G', ('z', 'y'))}\n    def phases(self): return",
            "something else after some steps",
        ),
        (
            "for n in (self.G, self.D))\n",
            "for n in (self.G, self.D))\n        self.copy = build.network('generator').requires_grad_(False)\n    def exports(self): return {'generator': ganzoo.Export('copy', ('z', 'y'))}\n",
            "no optimiser updates copy",
        ),
    ],
    "same-seed-same-steps": [
        ("return self.net(torch.cat", "import random; return (1 + random.random()) * self.net(torch.cat", "differs between two runs"),
        ("return self.net(torch.cat", "torch.seed(); return torch.rand(()) * self.net(torch.cat", "differs between two runs"),
    ],
    "previews-change-nothing": [
        ("return self.net(torch.cat", "self.mean.add_(1); return self.net(torch.cat", "differs when samples are taken"),
    ],
    "resume-is-exact": [
        (
            "self.update((self.opt_G, terms_g))",
            "self.n = getattr(self, 'n', 0) + 1; self.update((self.opt_G, {'x': self.n * terms_g['fake']}))",
            "after a resumption",
        ),
    ],
    "two-ranks-do-what-one-process-does": [
        (
            'return {"fake": softplus(-D(x_fake)).mean()}',
            'return {"fake": softplus(-D(x_fake)).mean() + D(x_fake).std()}',
            "where two ranks share the batch",
        ),
        (
            "self.update((self.opt_G, terms_g))",
            "self.update((self.opt_G, terms_g)); self.D.net[0].bias.data.add_(batch['x'].mean())",
            "the ranks differ in model:D.net.0.bias",
        ),
        (
            'given = {**batch, **self.latents(len(batch["x"]))}',
            "given = {**batch, 'z': torch.randn(len(batch['x']), 8)}",
            "where two ranks share the batch",
        ),
    ],
    "phases-start-and-resume": [
        (
            "self.update((self.opt_G, terms_g))",
            "self.n = getattr(self, 'n', 0) + 1; self.update((self.opt_G, {'x': self.n * terms_g['fake']}))",
            "phase second",
        ),
    ],
    "terms-of-wrappers-are-kept": [
        (
            "self.update((self.opt_D, terms_d))",
            "self.update((self.opt_D, {'real': terms_d['real'], 'fake': terms_d['fake']}))",
            "does not reach D",
        ),
        ("self.update((self.opt_G, terms_g))", "self.update((self.opt_G, {'fake': terms_g['fake']}))", "does not reach G"),
        (
            'self.loss.discriminator(D, batch["x"], self.fake(given).detach(), t=t, **given)',
            'self.loss.loss.discriminator(self.D, batch["x"], self.fake(given).detach(), t=t)',
            "never has a turn",
        ),
        ("return self.metrics(d=terms_d,", "return self.metrics(d={'real': terms_d['real']},", "not among what is logged"),
    ],
    "looks-are-differentiable": [
        ('"x": seen["x"] + 0.1', '"x": seen["x"].detach() + 0.1', "no gradient", "wrapper"),
        (
            '"x": seen["x"] + 0.1 * ganzoo.draw("zz", Prior("normal", tuple(seen["x"].shape[1:])), len(seen["x"]))}',
            '"x": seen["x"][:, :, 1:]}',
            "look makes",
            "wrapper",
        ),
        (
            'self.register_buffer("seen", torch.zeros(()))',
            "self.seen = nn.Parameter(torch.zeros(()), requires_grad=False)",
            "it has parameters",
            "wrapper",
        ),
        ("torch.zeros(()))\n    def look", "torch.zeros(()), persistent=False)\n    def look", "seen is not saved", "wrapper"),
    ],
    "degradations-make-what-they-say": [
        ('return {"source": x}', 'return {"mask": x}', "its record says source", "degradation"),
        ("len(x))}\n\nclass K", 'len(x)), "mask": x}\n\nclass K', "it makes source, mask", "degradation"),
        ('return {"source": x * ganzoo', 'return {"source": x[:, :, 1:] * ganzoo', "source: wanted", "degradation"),
        ('return {"source": x * ganzoo', 'return {"source": 3 * x * ganzoo', "leaves [-1, 1]", "degradation"),
        (
            'def forward(self, x): return {"source": x *',
            'def forward(self, x): x.mul_(0.5); return {"source": x *',
            "in place",
            "degradation",
        ),
        (
            'return {"source": x * ganzoo',
            'import random; return {"source": random.random() * x * ganzoo',
            "differs the second time",
            "degradation",
        ),
    ],
    "rows-come-back": [
        ("return rows.float()", "return rows.float() + 1", "not stored as they are", "medium"),
        ("return rows.float()", "return rows.double()", "stored rows are", "medium"),
        ("for _ in rows]", "for _ in rows[1:]]", "one cell a row", "medium"),
        ("rows.numpy())", "rows.numpy() * 2)", "written and read", "medium"),
        ('return Field("zz", tuple(shape[1:]))', 'return Field("zz", tuple(shape))', "of its own toys", "medium"),
        (
            "def store(self, rows, field)",
            "def settle(self, stored, field): return stored + 1, field\n    def store(self, rows, field)",
            "all toy rows together",
            "medium",
        ),
        (
            "def store(self, rows, field)",
            "def crop(self, stored, at, field): return stored[..., 1:]\n    def store(self, rows, field)",
            "are not the rows",
            "medium",
        ),
        (
            "def store(self, rows, field)",
            "def mirror(self, x, which): return x.double()\n    def store(self, rows, field)",
            "the shape or the dtype",
            "medium",
        ),
        (
            "def store(self, rows, field)",
            "def mirror(self, x, which): return x.flip(-1)\n    def store(self, rows, field)",
            "rows that are to stay",
            "medium",
        ),
    ],
    "files-of-products-are-enough": [
        (
            "return self.net(torch.cat",
            "self.seen = getattr(self, 'seen', 0.0) + float(self.training); return (1 + self.seen) * self.net(torch.cat",
            "differs by up to",
        ),
    ],
    "global-state-stays": [
        ("return self.metrics(", "torch.use_deterministic_algorithms(True); return self.metrics(", "deterministic algorithms"),
        ("def step(self, batches, t):", "def step(self, batches, t):\n        import random; random.random()", "Python's random generator"),
        (
            "def step(self, batches, t):",
            "def step(self, batches, t):\n        import warnings; warnings.simplefilter('ignore')",
            "the warning filters",
        ),
        (
            "def step(self, batches, t):",
            "def step(self, batches, t):\n        torch.set_num_threads(torch.get_num_threads() + 1)",
            "the thread count",
        ),
    ],
    "bf16-works": [
        ("def forward(self, x):", "def forward(self, x):\n        if torch.is_autocast_enabled('cpu'): x = x * 0 + 3e4", "in bf16"),
    ],
    "it-learns": [('return {"fake": softplus(-D(x_fake)).mean()}', 'return {"fake": softplus(D(x_fake)).mean()}', "wanted at most 0.7")],
    "figures-are-of-the-samples-alone": [
        ('"apart": float(', '"distance": float(', "its record says ('apart',)", "metric"),
        ("square().sum())}", "square().sum() * float('nan'))}", "no finite float", "metric"),
        ("float((fake.mean - real.mean).square().sum())", "(fake.mean - real.mean).square().sum()", "no finite float", "metric"),
        (
            "(fake.mean - real.mean).square().sum()",
            "(fake.mean - real.mean).square().sum() + real.count",
            "from the cached state",
            "metric",
        ),
        (
            "def accumulator(self, n): return ganzoo.Moments(n)",
            "def accumulator(self, n):\n        class Last(ganzoo.Moments):\n            def add(self, batch): self.state = {'mean': batch.features.double().mean(0)}\n        return Last(n)",
            "in lots of 7",
            "metric",
        ),
    ],
    "each-sample-is-seen-alone": [
        ("x.float().flatten(1)[:, :8] / 255", "x.float().flatten(1)[:, :8] - x.float().mean()", "with the others in its batch", "features"),
        ("x.float().flatten(1)[:, :8] / 255", "x.double().flatten(1)", "wanted float32", "features"),
        ("x.float().flatten(1)[:, :8] / 255", "x.float().flatten()", "wanted (5, D)", "features"),
        ("x.float().flatten(1)[:, :8] / 255", "x.float().flatten(1) / 0", "not finite", "features"),
        ("x.float().flatten(1)[:, :8] / 255", "x.float().flatten(1) + 0 * torch.randn(1)", "random state", "features"),
    ],
    "data-is-what-the-record-says": [
        ('Field("label", size=4)}', 'Field("label", size=5)}', "its record says 5", "dataset"),
        ("torch.arange(40).numpy() % 4", "torch.arange(40).numpy() % 4 // 3 * 3", "have no row", "dataset"),
        ("torch.arange(40 * 64)", "torch.zeros(40 * 64)", "are the same", "dataset"),
    ],
    "data-is-the-same-twice": [
        ("torch.arange(40 * 64).view", "torch.randint(256, (40 * 64,)).view", "samples change", "dataset"),
        ('Samples("1"', "Samples(str(__import__('time').time_ns())", "fingerprint changes", "dataset"),
    ],
}


def sick(tmp_path, old="", new=""):
    """A catalogue with the healthy plugin, in which something was replaced."""
    assert old in HEALTHY
    source = HEALTHY.replace(old, new, 1) if old else HEALTHY
    if "self.mean" in new:
        source = source.replace(
            "super().__init__(spec, options)", "super().__init__(spec, options); self.register_buffer('mean', torch.zeros(()))", 1
        )
    path = tmp_path / "zz_sick.py"
    path.write_text(source)
    sys.modules.pop("zz_sick", None)
    return Catalogue(discover(paths=[path]))


@pytest.fixture(autouse=True)
def _as_it_was():
    import warnings

    import torch

    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
    sys.modules.pop("zz_sick", None)


@pytest.mark.parametrize(
    ("rule", "old", "new", "said", "kind"),
    [
        pytest.param(rule, *(broken if len(broken) == 4 else (*broken, "recipe")), id=f"{rule}-{i}")
        for rule, several in SICK.items()
        for i, broken in enumerate(several)
    ],
)
def test_a_rule_finds_what_breaks_it(rule, old, new, said, kind, tmp_path):
    zoo = sick(tmp_path, old, new)
    case = next(c for c in Cases(zoo).of("local") if c.kind == ("plugin" if RULES[rule].of_plugin else kind))
    result = judge(case, RULES[rule])
    assert result.outcome == "failed", result
    assert said in result.reason


def test_every_rule_has_something_that_breaks_it():
    told_elsewhere = {"manifest-is-light", "plugin-loads", "module-is-its-own", "a-gan-trains-on-it"}
    assert set(RULES) - told_elsewhere == set(SICK)


def test_a_healthy_plugin_keeps_every_rule_and_each_of_them_is_run(tmp_path):
    reports = check("local", zoo=sick(tmp_path))
    assert all(report.ok for report in reports), [r for report in reports for r in report.results if r.outcome == "failed"]
    run = {result.rule for report in reports for result in report.results if result.outcome == "passed"}
    assert set(RULES) - run == {"manifest-is-light"}  # it was named by its path
    assert "skipped" not in {result.outcome for report in reports for result in report.results if result.rule != "manifest-is-light"}


def test_a_manifest_that_is_slow_or_heavy_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    case = Cases(catalogue()).of("gan")[0]
    case.plugin = Plugin("zz", "zz_heavy", "theirs", "1", "ok")
    for source, said in (("import numpy", "imports numpy"), ("sum(range(10 ** 8))", "importing it takes"), ("1 / 0", "ZeroDivisionError")):
        (tmp_path / "zz_heavy.py").write_text(source)
        result = judge(case, RULES["manifest-is-light"])
        assert result.outcome == "failed"
        assert said in result.reason


def test_a_broken_plugin_is_reported_and_not_passed_over(tmp_path):
    broken = Plugin("zz", "zz_nothing", "theirs", "1", "broken", "it fell", location=str(tmp_path))
    report = check("theirs", zoo=Catalogue([broken]))[0]
    assert not report.ok
    assert any("it fell" in result.reason for result in report.results if result.rule == "plugin-loads")


def test_a_declared_failure_is_told_with_its_reason_and_one_that_is_kept_is_an_error(tmp_path):
    declares = ("known_failures={'bf16-works': 'sums overflow'}, small=", "small=")
    zoo = sick(tmp_path, "def forward(self, x):", "def forward(self, x):\n        if torch.is_autocast_enabled('cpu'): x = x * 0 + 3e4")
    text = (tmp_path / "zz_sick.py").read_text().replace(declares[1], declares[0])
    (tmp_path / "zz_sick.py").write_text(text)
    sys.modules.pop("zz_sick")
    case = Cases(Catalogue(discover(paths=[tmp_path / "zz_sick.py"]))).of("local/zz")[0]
    result = judge(case, RULES["bf16-works"])
    assert (result.outcome, result.reason) == ("declared", "sums overflow")
    zoo = sick(tmp_path, "small=", declares[0])
    case = Cases(zoo).of("local/zz")[0]
    assert judge(case, RULES["bf16-works"]).outcome == "unexpected"


def test_a_signal_ends_the_check_and_is_no_failure_of_a_rule():
    def stopped(case):
        raise RunStopped("stopped by SIGINT", 130)

    with pytest.raises(RunStopped):
        judge(Cases(catalogue()).of("gan")[0], replace(RULES["parts-fit"], run=stopped))


def test_a_known_failure_of_no_rule_is_refused(tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'bf16-works'"):
        Cases(sick(tmp_path, "small=", "known_failures={'bf16-work': 'x'}, small=")).of("local/zz")


def test_a_name_that_is_nothing_is_refused_with_what_looks_like_it():
    with pytest.raises(UsageError, match="Did you mean 'dcgan'"):
        Cases(catalogue()).of("dcgn")
    with pytest.raises(UsageError):
        check_recipe("ring")


def test_toys_have_every_field_that_is_asked_for_in_sets_and_two_domains_that_differ():
    import torch

    from ganzoo.registry.catalogue import medium
    from ganzoo.testing import toys

    keys = ("x", "y", "source", "mask", "x_a", "y_a", "x_b", "y_b", "x_l", "y_l")
    for field in (field for kind in toys.media() for field in kind.toys[:2]):
        kind, rows, spec = medium(field.medium), toys.rows(field, keys), toys.spec(field, keys)
        assert spec.sets == {"": ("x", "y", "source", "mask"), "a": ("x_a", "y_a"), "b": ("x_b", "y_b"), "l": ("x_l", "y_l")}
        assert {key: tuple(row.shape[1:]) for key, row in rows.items()} == {key: spec.fields[key].shape for key in keys}
        assert toys.file(field, keys).stat().st_size > sum(row.nbytes for row in rows.values())
        assert torch.equal(rows["y_b"].flip(0), rows["y_a"])
        assert len(rows["x_l"]) == len(rows["y_l"]) == toys.FEW
        a, b = (kind.coordinates(rows[key], field) for key in ("x_a", "x_b"))
        assert toys.distance(a, b) > 5 * toys.distance(a[:256], a[256:])


def test_what_stands_around_a_gan_is_tried_in_its_own_recipe_and_else_in_a_built_in_one_that_it_fits(tmp_path):
    cases = {case.kind: case for case in Cases(sick(tmp_path)).of("local")}
    assert cases["wrapper"].with_ == "zz --with zz"
    assert cases["degradation"].with_ == "zz --degradation zz"
    record = 'WrapperPart("zz", "zz_sick:W", "small"'
    (case,) = (c for c in Cases(sick(tmp_path, record, f'{record}, media=("points",), per_sample=True')).of("local") if c.kind == "wrapper")
    assert case.recipe != "zz"
    assert case.parts().networks["discriminator"].per_sample
    assert {field.medium for field in case.fields()} == {"points"}
    with pytest.raises(UsageError, match="fits no recipe that is installed"):
        Cases(sick(tmp_path, record, f'{record}, media=("zz",)')).of("local")


def test_a_part_of_no_recipe_is_tried_in_a_built_in_one_that_it_fits():
    tried = {e.name: Cases(catalogue()).of(e.qualified)[0] for e in catalogue().entries("loss") if isinstance(e.record, Part)}
    assert tried["minimax"].with_.endswith("--loss minimax")
    r1 = tried["r1"]
    assert r1.parts().networks["discriminator"].per_sample


CONFORMANCE = """
from ganzoo.testing import conformance
@conformance({name!r})
def test_it_keeps_the_rules(rule):
    rule()
"""


def pytest_on(folder, *words):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def test_the_decorator_has_readable_ids_and_prints_the_counts(tmp_path):
    (tmp_path / "test_theirs.py").write_text(textwrap.dedent(CONFORMANCE.format(name="ring")))
    done = pytest_on(tmp_path, "-v")
    assert done.returncode == 0, done.stdout
    assert "test_it_keeps_the_rules[dataset-ring-data-is-the-same-twice] PASSED" in done.stdout
    assert "conformance of ring: 11 run, 11 passed, 0 failed, 0 declared, 0 unexpected, 0 skipped, of 11 rules" in done.stdout


def test_the_decorator_fails_when_nothing_is_called_so(tmp_path):
    (tmp_path / "test_theirs.py").write_text(CONFORMANCE.format(name="no-such-thing"))
    done = pytest_on(tmp_path)
    assert done.returncode != 0
    assert "no-such-thing" in done.stdout


def test_check_prints_a_report_and_its_status_says_it(ganzoo, tmp_path):
    done = ganzoo("check", "ring", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told[0]["ok"]
    assert told[0]["counts"]["run"] == len(told[0]["results"])
    (tmp_path / "zz_sick.py").write_text(HEALTHY.replace('licence="none needed"', 'licence=""'))
    bad = ganzoo("check", "zz", "--plugin", tmp_path / "zz_sick.py", "--json")
    assert bad.returncode == 0, bad.stderr  # the recipe of that name, which is healthy
    bad = ganzoo("check", "local", "--plugin", tmp_path / "zz_sick.py")
    assert bad.returncode == 1
    assert "FAILED     data-says-where-it-comes-from" in bad.stdout
    assert "not all rules are kept: dataset zz" in bad.stderr
    assert ganzoo("check", "no-such-thing").returncode == 2
