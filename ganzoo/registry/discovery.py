"""Finds and loads the plugins that are installed, and keeps the broken ones apart from the rest."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal

import pluggy

from ganzoo import hookspecs
from ganzoo.errors import GanzooError, UsageError
from ganzoo.registry.records import fault
from ganzoo.types import API_VERSION, Record

GROUP = "ganzoo"
CORE = "pyganzoo"  # the distribution whose records keep their short names
LOCAL = "local"  # in place of a distribution, for a plugin that `--plugin PATH` names
HEAVY = ("torch", "numpy", "torchvision")  # what a manifest must not import: it would make every command slow

State = Literal["ok", "broken", "disabled", "incompatible"]


@dataclass(frozen=True)
class Plugin:
    """One entry point, loaded or not. `records` and `hooks` (its implementations, by name) are empty unless its state is "ok".

    reason: why the state is another one. seconds: how long loading took. location: the folder that it was loaded from.
    """

    name: str
    module: str
    distribution: str
    version: str
    state: State
    reason: str = ""
    records: tuple[Record, ...] = ()
    hooks: Mapping[str, pluggy.HookImpl] = field(default_factory=dict)
    seconds: float = 0.0
    location: str = ""

    def call(self, hook: str, **given: Any) -> None:
        """Call its implementation of the hook, if there is one, with the parameters that it takes; raises whatever that raises."""
        if hook in self.hooks:
            implementation = self.hooks[hook]
            implementation.function(*(given[name] for name in implementation.argnames))

    @property
    def tracks(self) -> bool:
        """Whether `--track` can name it."""
        return any(hook.startswith("ganzoo_run_") for hook in self.hooks)

    @property
    def origin(self) -> str:
        """Distribution and version, as `list` shows them."""
        return f"{self.distribution} {self.version}".strip()


class _Broken(GanzooError):
    """Why a plugin cannot be used, and the state that it is in therefore."""

    def __init__(self, reason: str, state: State = "broken") -> None:
        super().__init__(reason)
        self.state = state


#: The paths that the user named with `--plugin`, loaded beside what is installed.
named: list[Path] = []


def discover(
    points: Iterable[EntryPoint] | None = None,
    disabled: Iterable[str] | None = None,
    strict: bool | None = None,
    paths: Iterable[Path] = (),
) -> tuple[Plugin, ...]:
    """Load every plugin that is installed and not disabled, in an order that depends on names alone.

    Args:
        points: the entry points; by default those of the group "ganzoo".
        disabled: names of plugins or distributions that are never imported; by default those in GANZOO_DISABLE_PLUGINS.
        strict: re-raise what a plugin raises; by default where GANZOO_STRICT=1.
        paths: manifests that are not installed, each a .py file or a package's folder.

    Raises UsageError where one of the paths is no plugin, or a broken one.
    """
    if points is None:
        points = entry_points(group=GROUP)
    if disabled is None:
        disabled = [name.strip() for name in os.environ.get("GANZOO_DISABLE_PLUGINS", "").split(",")]
    if strict is None:
        strict = os.environ.get("GANZOO_STRICT") == "1"
    disabled = set(disabled)
    origins = {ep: _origin(ep) for ep in points}
    ordered = sorted(origins, key=lambda ep: (origins[ep][0] != CORE, origins[ep][0], ep.name))
    plugins = [_load(ep, *origins[ep], disabled=disabled, strict=strict) for ep in ordered]
    return tuple(_without_duplicates([*plugins, *(_load_local(path) for path in paths)]))


def _without_duplicates(plugins: Iterable[Plugin]) -> Iterator[Plugin]:
    """The plugins; of two in one distribution that register the same name, the later one is broken."""
    owners: dict[tuple[str, str, str], str] = {}
    for plugin in plugins:
        keys = [(plugin.distribution, record.kind, record.name) for record in plugin.records]
        if taken := next((key for key in keys if key in owners), None):
            reason = f"it registers the {taken[1]} {taken[2]!r}, as plugin {owners[taken]!r} of the same distribution does"
            plugin = replace(plugin, state="broken", reason=reason, records=())
        else:
            owners.update(dict.fromkeys(keys, plugin.name))
        yield plugin


@functools.cache
def installed() -> tuple[Plugin, ...]:
    """The plugins that `discover` finds, and those that `--plugin` names; found once a process."""
    return discover(paths=named)


def _origin(ep: EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution that an entry point belongs to."""
    # A distribution's metadata is parsed at every access, so it is read once here, as text: 20 plugins in 3 ms and not in 30.
    text = ep.dist.read_text("METADATA") or ep.dist.read_text("PKG-INFO") or "" if ep.dist is not None else ""
    name = re.search(r"^Name: *(.+)$", text, re.MULTILINE)
    version = re.search(r"^Version: *(.+)$", text, re.MULTILINE)
    return (name[1].strip() if name else "unknown"), (version[1].strip() if version else "")


def _load(ep: EntryPoint, distribution: str, version: str, disabled: set[str], strict: bool) -> Plugin:
    start = time.perf_counter()

    def plugin(state: State, reason: str = "", **provided: Any) -> Plugin:
        module = sys.modules.get(ep.module)
        location = str(Path(file).parent) if module is not None and (file := getattr(module, "__file__", None)) else ""
        seconds = time.perf_counter() - start
        return Plugin(ep.name, ep.module, distribution, version, state, reason, seconds=seconds, location=location, **provided)

    if disabled & {ep.name, distribution, "*"}:
        return plugin("disabled", "by GANZOO_DISABLE_PLUGINS")
    try:
        tree = _syntax_tree(importlib.util.find_spec(ep.module))
        if (api := _declared_api(tree)) is not None:
            _check_api(api)
        before = set(HEAVY) & sys.modules.keys()
        with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints is not part of anybody's --json
            module = ep.load()
        records, hooks = _provided(module, ep.name)
        # sys.modules does not tell who imported what was there before, so the manifest's own text is looked at as well.
        if heavy := sorted(set(HEAVY) & sys.modules.keys() - before | _heavy_imports(tree)):
            raise _Broken(f"its manifest imports {', '.join(heavy)}; name what is heavy as 'package.module:Name' in the records")
        return plugin("ok", records=records, hooks=hooks)
    except _Broken as e:
        if strict:
            raise _Broken(f"plugin {ep.name} of {distribution} {version}: {e}", e.state) from e
        return plugin(e.state, str(e))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"while plugin {ep.name} of {distribution} {version} was imported from {ep.value}") from None
    except BaseException as e:  # an extension's panic is no Exception
        if strict and isinstance(e, Exception):
            raise
        reason = f"importing {ep.value} raised {type(e).__name__}: {e}"
        if strict:
            raise _Broken(f"plugin {ep.name} of {distribution} {version}: {reason}") from e
        return plugin("broken", reason)


def _load_local(path: Path) -> Plugin:
    """The plugin in a .py file or a package's folder; its version is a hash of its source. A single file may import torch."""
    start = time.perf_counter()
    path = path.expanduser().resolve()
    file = path / "__init__.py" if path.is_dir() else path
    name = path.stem
    if file.suffix != ".py" or not file.is_file() or not name.isidentifier():
        raise UsageError(f"--plugin {path}: wanted a .py file, or the folder of a package: one with an __init__.py.")
    if importlib.util.find_spec(name) is not None:
        raise UsageError(f"--plugin {path}: a module {name!r} is installed already. Uninstall it, or give yours another name.")
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=[str(path)] if path.is_dir() else None)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        records, hooks = _provided(module, name)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"while --plugin {path} was imported") from None
    except BaseException as e:
        del sys.modules[name]
        reason = str(e) if isinstance(e, _Broken) else f"importing it raised {type(e).__name__}: {e}"
        raise UsageError(f"--plugin {path}: {reason}") from e
    source = hashlib.sha256()
    for module_file in sorted(path.rglob("*.py")) if path.is_dir() else [file]:
        source.update(module_file.read_bytes())
    version = source.hexdigest()[:12]
    seconds = time.perf_counter() - start
    return Plugin(name, name, LOCAL, version, "ok", records=records, hooks=hooks, seconds=seconds, location=str(path))


def culprit(error: BaseException) -> Plugin | None:
    """The plugin of a stranger in whose code an error was raised, or which called what raised it; None where there is none."""
    modules = {plugin.module.partition(".")[0]: plugin for plugin in installed() if plugin.distribution != CORE}
    found, frame = None, error.__traceback__
    while frame is not None:
        found = modules.get(str(frame.tb_frame.f_globals.get("__name__", "")).partition(".")[0], found)
        frame = frame.tb_next
    return found


def _syntax_tree(spec: ModuleSpec | None) -> ast.Module:
    """The syntax tree of a module's source; an empty one where there is none that can be read."""
    try:
        return ast.parse(Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else "")
    except (OSError, SyntaxError, ValueError):
        return ast.parse("")


def _declared_api(tree: ast.Module) -> object:
    """The GANZOO_API in a manifest's text, read without running it: a plugin for another interface may fail to import. None: not there."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "GANZOO_API" and isinstance(node.value, ast.Constant):
            return node.value.value
    return None


def _check_api(api: object) -> None:
    if api != API_VERSION:
        written = "says no GANZOO_API" if api is None else f"is written for plugin interface {api!r}"
        raise _Broken(f"it {written}; this ganzoo speaks {API_VERSION}: upgrade one of them", "incompatible")


def _provided(module: Any, name: str) -> tuple[tuple[Record, ...], dict[str, pluggy.HookImpl]]:
    """The records and hooks of an imported manifest. Raises _Broken where one of them is malformed."""
    _check_api(getattr(module, "GANZOO_API", None))
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(module, name)
        manager.check_pending()
    except pluggy.PluginValidationError as e:
        raise _Broken(f"its hooks do not match: {' '.join(str(e).split())}") from e
    hooks = {caller.name: impl for caller in manager.get_hookcallers(module) or () for impl in caller.get_hookimpls()}
    for hook, impl in hooks.items():
        parameters = inspect.signature(impl.function).parameters.values()
        if keyword_only := [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]:
            raise _Broken(f"its hooks do not match: {hook} has the keyword-only parameter {keyword_only[0]!r}, which is never given")
    records: list[Record] = []
    if "ganzoo_register" in hooks:
        try:
            registered: Any = hooks["ganzoo_register"].function()
            records.extend(registered)
        except KeyboardInterrupt:
            raise
        except BaseException as e:
            raise _Broken(f"its ganzoo_register() raised {type(e).__name__}: {e}") from e
    if not records and hooks.keys() <= {"ganzoo_register"}:
        raise _Broken("it registers nothing: no @hookimpl named ganzoo_register, or an empty list")
    keys = set()
    for record in records:
        if reason := fault(record):
            raise _Broken(f"its record {getattr(record, 'name', record)!r}: {reason}")
        key = (record.kind, record.name)
        if key in keys:
            raise _Broken(f"it registers the {key[0]} {key[1]!r} twice")
        keys.add(key)
    return tuple(records), hooks


def _heavy_imports(tree: ast.Module) -> set[str]:
    """The heavy packages that a manifest's own text imports outside of any function."""
    names = [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return {name.partition(".")[0] for name in names} & set(HEAVY)


def overwritten(plugin: Plugin) -> list[str]:
    """The other distributions that claim the same top-level module: the last one installed has replaced its files."""
    owners = set(_owners().get(plugin.module.partition(".")[0], []))
    return sorted(owners - {plugin.distribution})


@functools.cache
def _owners() -> Mapping[str, list[str]]:
    """The distributions that claim each top-level module: all of their files are looked at, so only once a process."""
    from importlib.metadata import packages_distributions

    return packages_distributions()
