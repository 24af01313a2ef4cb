"""Rules for a plugin as a whole."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path

from ganzoo.registry.discovery import LOCAL, overwritten
from ganzoo.testing.case import Case, Skip, rule

MANIFEST_SECONDS = 0.5  # of processor time


@rule("plugin", may_skip=True)
def manifest_is_light(case: Case) -> None:
    """In a fresh process the manifest is imported without torch, torchvision or numpy, in at most half a second of processor time."""
    if case.plugin.distribution == LOCAL:
        raise Skip("it was named by its path and is no installed module")
    code = (
        "import json, sys, time, ganzoo, ganzoo.hookspecs\nstart = time.process_time()\n"
        f"import {case.plugin.module}\ntook = time.process_time() - start\n"
        "print(json.dumps([took, [m for m in ('torch', 'torchvision', 'numpy') if m in sys.modules]]))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"it cannot be imported: {done.stderr.strip().splitlines()[-1]}"
    seconds, heavy = json.loads(done.stdout.splitlines()[-1])
    assert not heavy, f"it imports {', '.join(heavy)}; name what is heavy as 'package.module:Name' in the records"
    assert seconds <= MANIFEST_SECONDS, f"importing it takes {seconds:.2f} s; at most {MANIFEST_SECONDS} s would do"


@rule("plugin")
def plugin_loads(case: Case) -> None:
    """The plugin is loaded: its interface version, its hooks and all of its records are what they must be."""
    assert case.plugin.state == "ok", f"it is {case.plugin.state}: {case.plugin.reason}"


@rule("plugin")
def hooks_are_marked(case: Case) -> None:
    """Every function of the manifest whose name begins with `ganzoo_` has its `@hookimpl`; without it, it is never called."""
    module = sys.modules.get(case.plugin.module)
    named = [name for name, value in vars(module).items() if name.startswith("ganzoo_") and inspect.isfunction(value)] if module else []
    idle = [name for name in named if name not in case.plugin.hooks]
    assert not idle, f"{idle[0]} has no @hookimpl, so it is never called"


@rule("plugin")
def module_is_its_own(case: Case) -> None:
    """No other distribution claims the same top-level module: the one that was installed last would have replaced its files."""
    if case.plugin.distribution != LOCAL and (others := overwritten(case.plugin)):
        raise AssertionError(f"{case.plugin.module} is also claimed by {', '.join(others)}")


PICKLES = ("pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal")


@rule("plugin")
def no_pickle(case: Case) -> None:
    """Its source reads and writes no pickle, whatever it is called: a file of weights or data must not be able to carry code."""
    location = Path(case.plugin.location)
    for path in sorted(location.rglob("*.py")) if location.is_dir() else [location]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            at = f"{path.name}, line {getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                for name in names:
                    assert name.partition(".")[0] not in PICKLES, f"{at}: it imports {name}"
            if isinstance(node, ast.Attribute):
                assert ast.unparse(node) not in ("torch.load", "torch.save"), f"{at}: {ast.unparse(node)} is pickle: take safetensors"
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", f"{at}: allow_pickle"
