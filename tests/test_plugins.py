"""Discovery: broken plugins are told apart and harm nobody; names never depend on the order of loading."""

from __future__ import annotations

import json
import sys
import textwrap
from importlib.metadata import PathDistribution

import pytest

from ganzoo import compose
from ganzoo.compose import Parts, misfit
from ganzoo.config import Changes
from ganzoo.errors import GanzooError, UsageError
from ganzoo.registry.catalogue import Catalogue, catalogue
from ganzoo.registry.discovery import discover

GOOD = """
from ganzoo import LossPart, NetworkPart, Recipe, hookimpl
GANZOO_API = 1

@hookimpl
def ganzoo_register():
    return [LossPart("mine", "{module}.model:Mine", needs=("logits",))]
"""

RECIPE = """
from ganzoo import Recipe, hookimpl
GANZOO_API = 1

@hookimpl
def ganzoo_register():
    parts = {"generator": "mlp", "discriminator": "mlp", "loss": "hinge", "strategy": "alternating"}
    return [Recipe("{name}", "One of theirs", parts)]
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A function that installs a plugin into a folder on sys.path and returns its entry points."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def install(distribution, source, name=None, model="class Mine: ...\n", version="1.2"):
        module = f"zz_{distribution.replace('-', '_')}"
        package = tmp_path / module
        package.mkdir(exist_ok=True)
        (package / "__init__.py").write_text(textwrap.dedent(source).replace("{module}", module))
        (package / "model.py").write_text(model)
        info = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[ganzoo]\n{name or distribution} = {module}\n")
        return list(PathDistribution(info).entry_points)

    yield install
    for name in set(sys.modules) - before:
        if name.startswith("zz_"):
            del sys.modules[name]


BROKEN = {
    "import error": ("import no_such_module_at_all", "broken", "no_such_module_at_all"),
    "exit at import": ("raise SystemExit(3)", "broken", "SystemExit"),
    "misspelled hook": (
        "from ganzoo import hookimpl\nGANZOO_API = 1\n@hookimpl\ndef ganzoo_registr(): return []", "broken", "ganzoo_registr",
    ),
    "wrong signature": (
        "from ganzoo import hookimpl\nGANZOO_API = 1\n@hookimpl\ndef ganzoo_register(catalogue): return []", "broken", "catalogue",
    ),
    "keyword-only parameter": (
        "from ganzoo import hookimpl\nGANZOO_API = 1\n@hookimpl\ndef ganzoo_register(*, catalogue): return []", "broken", "catalogue",
    ),
    "exception in the hook": (
        "from ganzoo import hookimpl\nGANZOO_API = 1\n@hookimpl\ndef ganzoo_register(): 1 / 0", "broken", "ZeroDivisionError",
    ),
    "another interface": ("GANZOO_API = 99", "incompatible", "99"),
    "another interface, whose names there are not": ("from ganzoo import NoSuchName\nGANZOO_API = 2", "incompatible", "interface 2"),
    "keyword-only parameter of a hook of a run": (
        "from ganzoo import hookimpl\nGANZOO_API = 1\n@hookimpl\ndef ganzoo_run_logged(*, step): ...", "broken", "keyword-only",
    ),
    "no interface named": ("from ganzoo import hookimpl", "incompatible", "no GANZOO_API"),
    "no hook": ("GANZOO_API = 1", "broken", "registers nothing"),
    "not a record": (
        "from ganzoo import hookimpl\nGANZOO_API = 1\n@hookimpl\ndef ganzoo_register(): return ['dcgan']", "broken", "ganzoo's records",
    ),
    "a bad name": (GOOD.replace('"mine"', '"My Loss"'), "broken", "small letters"),
    "a role that is a kind": (
        GOOD.replace("needs=", "role=").replace("LossPart(", "NetworkPart(").replace('("logits",)', '"loss"'), "broken", "role",
    ),
    "a network that takes and gives nothing": (
        GOOD.replace("needs=", "role=").replace("LossPart(", "NetworkPart(").replace('("logits",)', '"encoder"'), "broken", "gives",
    ),
    "a wrapper called like a part": (
        GOOD.replace("LossPart", "WrapperPart").replace('"mine"', '"strategy"'), "broken", "'strategy' is taken",
    ),
    "figures that are no dict": (GOOD.replace("LossPart", "MetricPart").replace("needs", "figures"), "broken", "figures"),
    "figures that are neither better": (
        GOOD.replace("LossPart", "MetricPart").replace('needs=("logits",)', "figures={'a': 'best'}"), "broken", "figures",
    ),
    "no layers": (GOOD.replace("LossPart", "FeaturesPart").replace('needs=("logits",)', "layers=()"), "broken", "layers"),
    "a check that is a dict": (GOOD.replace("needs=", "check={}, needs="), "broken", "check"),
    "a string for a tuple": (GOOD.replace('("logits",)', '"logits"'), "broken", "needs"),
    "a target without a module": (GOOD.replace(".model:", ".modell:"), "broken", "modell"),
    "a target without its class": (GOOD.replace(":Mine", ":Yours"), "broken", "Yours"),
    "a target that is no path": (GOOD.replace(".model:Mine", ""), "broken", "package.module:Name"),
    "the same name twice": (GOOD.replace("return [", "return 2 * ["), "broken", "twice"),
    "torch in the manifest": ("import torch\n" + GOOD, "broken", "imports torch"),
    "a panic at import": ("class Panic(BaseException): ...\nraise Panic('of an extension')", "broken", "of an extension"),
    "presets that are no dict": (RECIPE.replace("{name}", "x").replace("parts)", "parts, presets=None)"), "broken", "presets"),
    "no quick preset": (RECIPE.replace("{name}", "x").replace("parts)", "parts, presets={'slow': {}})"), "broken", "'quick'"),
    "a preset of no option": (
        RECIPE.replace("{name}", "x").replace("parts)", "parts, presets={'quick': {'stepz': 1}})"), "broken", "stepz",
    ),
    "a preset of no part": (
        RECIPE.replace("{name}", "x").replace("parts)", "parts, presets={'quick': {'ada.target': 1}})"), "broken", "ada.target",
    ),
    "no strategy": (RECIPE.replace("{name}", "x").replace("parts)", "{'loss': 'hinge'})"), "broken", "names no strategy"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_ends_as_a_state_with_its_reason_and_the_others_work(case, site):
    source, state, reason = BROKEN[case]
    found = discover([*site("stranger", source), *site("sound", GOOD)], disabled=(), strict=False)
    plugins = {p.name: p for p in found}
    assert plugins["stranger"].state == state
    assert reason in plugins["stranger"].reason
    assert (plugins["stranger"].distribution, plugins["stranger"].version) == ("stranger", "1.2")
    assert plugins["sound"].state == "ok"
    assert [r.name for r in plugins["sound"].records] == ["mine"]


def test_an_option_that_the_command_line_cannot_show_is_a_fault(site):
    source = """
        from dataclasses import dataclass
        from ganzoo import LossPart, hookimpl, option
        GANZOO_API = 1
        @dataclass(frozen=True)
        class Options:
            sizes: list = option((), "a list")
        @hookimpl
        def ganzoo_register():
            return [LossPart("mine", "{module}.model:Mine", options=Options)]
        """
    (plugin,) = discover(site("stranger", source), disabled=(), strict=False)
    assert plugin.state == "broken"
    assert "Options.sizes" in plugin.reason


def test_strict_raises_what_the_plugin_raises(site):
    with pytest.raises(ModuleNotFoundError):
        discover(site("stranger", "import no_such_module_at_all"), disabled=(), strict=True)


@pytest.mark.parametrize("by", ["stranger", "its-name", "*"])
def test_a_disabled_plugin_is_never_imported(by, site):
    (plugin,) = discover(site("stranger", "raise SystemExit", name="its-name"), disabled=[by], strict=True)
    assert plugin.state == "disabled"
    assert "zz_stranger" not in sys.modules


NAMES = [e.name for e in catalogue().entries("recipe")]


def test_built_ins_can_be_disabled_too(ganzoo):
    done = ganzoo("list", "--json", env={"GANZOO_DISABLE_PLUGINS": "wgan,began"})
    assert {e["name"] for e in json.loads(done.stdout)} == set(NAMES) - {"wgan", "wgan-gp", "began"}


def test_a_manifest_that_imports_torch_is_refused_where_nobody_else_has(ganzoo, site, tmp_path):
    site("heavy", "import torch\n" + GOOD)
    done = ganzoo("plugins", "--json", env={"PYTHONPATH": str(tmp_path)})
    told = {p["name"]: p for p in json.loads(done.stdout)}
    assert told["heavy"]["state"] == "broken"
    assert "imports torch" in told["heavy"]["reason"].replace("numpy, ", "")
    assert told["dcgan"]["state"] == "ok"


def test_a_broken_plugin_is_mentioned_by_list_and_leaves_the_rest(ganzoo, site, tmp_path):
    site("stranger", "raise RuntimeError('out of order')")
    env = {"PYTHONPATH": str(tmp_path)}
    done = ganzoo("list", env=env)
    assert done.returncode == 0
    assert "dcgan" in done.stdout
    assert "1 plugin could not be loaded" in done.stderr
    assert "out of order" in ganzoo("plugins", env=env).stdout


def test_two_plugins_of_one_distribution_do_not_share_a_name(site, tmp_path):
    first = site("aaa", RECIPE.replace("{name}", "newgan"), name="one")
    (tmp_path / "zz_second").mkdir()
    (tmp_path / "zz_second" / "__init__.py").write_text(RECIPE.replace("{name}", "newgan"))
    (tmp_path / "aaa-1.2.dist-info" / "entry_points.txt").write_text("[ganzoo]\none = zz_aaa\ntwo = zz_second\n")
    both = list(PathDistribution(tmp_path / "aaa-1.2.dist-info").entry_points)
    for found in (both, both[::-1]):
        told = {p.name: p for p in discover(found, disabled=(), strict=False)}
        assert told["one"].state == "ok"
        assert told["two"].state == "broken"
        assert "as plugin 'one' of the same distribution does" in told["two"].reason
    assert len(first) == 1


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("raise SystemExit(0)", "SystemExit"),
        ("class Mine: ...", "wanted a ganzoo.Loss"),
        ("import ganzoo\nclass Mine(ganzoo.Loss):\n  discriminator = generator = None\n  def __init__(self, *a): 1 / 0", "ZeroDivision"),
    ],
)
def test_a_part_that_cannot_be_made_names_its_plugin(model, said, site, ganzoo, tmp_path, images):
    site("stranger", GOOD, model=f"{model}\nMine = locals().get('Mine')\n")
    done = ganzoo("run", "gan", "--loss", "mine", "--dataset", images(), "--steps", "1", env={"PYTHONPATH": str(tmp_path)}, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert said in done.stderr
    assert "stranger 1.2" in done.stderr
    assert "This should not happen" not in done.stderr


def plus(*found):
    return Catalogue([*catalogue().plugins, *found])


def test_a_built_in_keeps_its_short_name_and_the_stranger_is_reached_in_full(site):
    zoo = plus(*discover(site("stranger", RECIPE.replace("{name}", "dcgan")), disabled=(), strict=True))
    assert zoo.get("recipe", "dcgan").plugin.distribution == "pyganzoo"
    assert zoo.get("recipe", "stranger/dcgan").record.title == "One of theirs"
    assert zoo.get("recipe", "pyganzoo/dcgan").plugin.distribution == "pyganzoo"
    assert [e.name for e in zoo.entries("recipe")].count("dcgan") == 1
    assert "stranger/dcgan" in [e.name for e in zoo.entries("recipe")]


def test_two_strangers_with_one_name_must_be_named_in_full_whatever_their_order(site):
    one = discover(site("aaa", RECIPE.replace("{name}", "newgan")), disabled=(), strict=True)
    two = discover(site("bbb", RECIPE.replace("{name}", "newgan")), disabled=(), strict=True)
    for found in ([*one, *two], [*two, *one]):
        zoo = plus(*found)
        with pytest.raises(UsageError, match=r"aaa/newgan.*bbb/newgan|bbb/newgan.*aaa/newgan"):
            zoo.get("recipe", "newgan")
        assert zoo.get("recipe", "bbb/newgan").plugin.distribution == "bbb"


def test_an_unknown_name_is_answered_with_those_like_it():
    with pytest.raises(UsageError, match="Did you mean 'dcgan'"):
        catalogue().get("recipe", "dcgn")
    with pytest.raises(UsageError, match="'wgan-gp'"):
        catalogue().get("recipe", "WGAN_GP")


def test_a_target_that_cannot_be_imported_names_its_plugin(site):
    (plugin,) = discover(site("stranger", GOOD, model="import no_such_module_at_all\nclass Mine: ..."), disabled=(), strict=True)
    with pytest.raises(GanzooError, match=r"stranger 1\.2.*no_such_module_at_all"):
        plus(plugin).get("loss", "mine").load()


@pytest.mark.parametrize(
    ("recipe", "exchanged", "said"),
    [
        ("began", {"strategy": "alternating"}, "must be weighed by its strategy ('balance'), which strategy 'alternating' does not do"),
        ("acgan", {"strategy": "equilibrium"}, "loss 'acgan' is minimised as it is, which strategy 'equilibrium' does not do"),
        ("dcgan", {"loss": "began"}, "gives 'reconstruction'; 'dcgan' gives 'logits'. Those that do: began-autoencoder, began-compact."),
        ("dcgan", {"loss": "wgan-gp"}, "without BatchNorm; 'dcgan' has it. Those that do: cgan, dcgan-critic, k-plus-1, mlp,"),
        ("dcgan", {"loss": "acgan", "discriminator": "acgan"}, "a generator that takes 'y'; 'dcgan' takes no condition"),
        ("began", {"loss": "hinge"}, "gives 'logits'"),
    ],
)
def test_parts_that_do_not_fit_are_refused_with_those_that_would(recipe, exchanged, said):
    zoo = catalogue()
    with pytest.raises(UsageError) as e:
        compose.resolve(zoo, recipe, Changes(parts=exchanged))
    assert said in str(e.value)


@pytest.mark.parametrize("recipe", [e.name for e in catalogue().entries("recipe")])
def test_every_recipe_fits_together(recipe):
    draft = compose.draft(catalogue(), recipe)
    assert misfit(Parts.of(draft.parts, draft.wrappers.values())) is None
    for preset in draft.recipe.presets:
        compose.resolve(catalogue(), recipe, Changes({"preset": preset}))
    assert tuple(draft.recipe.presets) == ("quick", "paper")


@pytest.mark.parametrize(
    ("recipe", "changes", "said"),
    [
        ("began", Changes(wrappers=("ada",)), "wrapper 'ada' needs a discriminator that gives 'logits'; 'began-compact' gives 'recon"),
        ("dcgan", Changes(wrappers=("adda",)), "there is no wrapper 'adda'. Did you mean 'ada'?"),
        ("dcgan", Changes(wrappers=("ada", "ada")), "--with: a wrapper stands there twice"),
        ("dcgan", Changes({"preset": "slow"}), "--preset: dcgan has quick, paper; got 'slow'"),
        ("dcgan", Changes(options={"ada": {"target": 1.0}}), "dcgan has no part 'ada' that options could be for"),
        ("dcgan", Changes(parts={"degradation": "nose"}), "there is no degradation 'nose'. Did you mean 'noise'?"),
        ("dcgan", Changes(parts={"generater": "dcgan"}), "there is no part 'generater'. Did you mean 'generator'?"),
    ],
)
def test_what_cannot_stand_around_a_gan_is_refused(recipe, changes, said):
    with pytest.raises(UsageError) as e:
        compose.resolve(catalogue(), recipe, changes)
    assert said in str(e.value)


def test_wrappers_keep_the_options_of_a_recipe():
    plain, around = (compose.resolve(catalogue(), "wgan-gp", Changes(wrappers=w)) for w in ((), ("diffaugment", "ada")))
    assert {k: v for k, v in around.options.items() if k not in ("diffaugment", "ada")} == plain.options
    assert around.config.run == plain.config.run
    assert list(around.wrappers) == ["diffaugment", "ada"]
    assert around.config.fingerprint() != plain.config.fingerprint()


def test_every_target_of_the_zoo_resolves():
    for entry in catalogue().entries():
        if entry.kind != "recipe":
            assert callable(entry.load())


def test_a_version_that_is_no_text_is_another_version():
    said = []
    catalogue().check_versions("run", {"pyganzoo/gan": 5}, said.append)
    assert len(said) == 1
    assert "its file does not name" not in said[0].lower()
