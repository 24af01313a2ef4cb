"""`ganzoo doctor`: what one pastes into a bug report."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from ganzoo.cli.ui import json_option
from ganzoo.errors import one_line

PACKAGES = ("pyganzoo", "torch", "torchvision", "pluggy", "click", "rich", "safetensors", "pillow", "numpy")


@click.command("doctor")
@json_option
def doctor_command(as_json: bool) -> None:
    """Show versions, devices, threads, the cache and broken plugins: what belongs into a bug report."""
    findings = examine()
    if as_json:
        click.echo(json.dumps(findings, indent=1))
        return
    for section, values in findings.items():
        click.secho(section, bold=True)
        for name, value in values.items():
            click.echo(one_line(f"  {name:<16}{value}"))


def examine() -> dict[str, dict[str, Any]]:
    """All findings, by section."""
    from ganzoo.data import cache_dir
    from ganzoo.machine import processor, threads
    from ganzoo.registry.catalogue import catalogue

    versions: dict[str, Any] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "NOT INSTALLED"
    machine: dict[str, Any] = {"system": platform.platform(), "processor": processor(), "threads": threads()}
    try:
        import torch

        machine["cuda"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
        machine["mps"] = "yes" if torch.backends.mps.is_available() else "none"
    except Exception as e:
        machine["torch"] = f"CANNOT BE IMPORTED: {type(e).__name__}: {e}"
    cache = cache_dir()
    files = [p for p in cache.rglob("*") if p.is_file()] if cache.exists() else []
    store = {"folder": str(cache), "files": len(files), "megabytes": round(sum(p.stat().st_size for p in files) / 1e6, 1)}
    plugins = {p.name: f"{p.origin}: {p.state}{': ' + p.reason if p.reason else ''}" for p in catalogue().plugins}
    return {"versions": versions, "machine": machine, "cache": store, "plugins": plugins}
