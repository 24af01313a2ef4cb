"""A disk that is really full, and plugins that are broken."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from faulty.chains import Server
from ganzoo.runs import checkpoint

PLUGIN = """
from ganzoo import AlternatingOptions, NetworkPart, Recipe, StrategyPart, hookimpl
GANZOO_API = 1
AT_IMPORT
@hookimpl
def ganzoo_register():
    parts = {"generator": "broken", "discriminator": "mlp", "loss": "non-saturating", "strategy": "broken"}
    return [
        StrategyPart("broken", "broken:Strategy", options=AlternatingOptions),
        NetworkPart("broken", "broken:Generator", role="generator", latents=("z",), gives=("x",)),
        Recipe("broken-gan", "Broken", parts),
    ]
def __getattr__(name):
    if name not in ("Strategy", "Generator"):
        raise AttributeError(name)
    import torch, ganzoo
    class Strategy(ganzoo.Alternating):
        def step(self, batches, t):
            if t == 2:
                IN_A_STEP
            return super().step(batches, t)
    class Generator(ganzoo.Generator):
        def __init__(self, spec, options):
            super().__init__(spec, options)
            self.net = torch.nn.Linear(8, spec.numel)
        def latents(self):
            return {"z": ganzoo.Prior("normal", (8,))}
        def forward(self, z):
            x = self.net(z).tanh().view(-1, *self.spec.shape)
            return OUTPUT
    return {"Strategy": Strategy, "Generator": Generator}[name]
"""
#: By what is broken: the source in place of AT_IMPORT, IN_A_STEP, OUTPUT, and what the error must say.
BROKEN: Mapping[str, tuple[str, str, str, str]] = {
    "raises at import": ("1 / 0", "pass", "x", "ZeroDivisionError"),
    "exits at import": ("import sys; sys.exit(0)", "pass", "x", "SystemExit"),
    "raises in a step": ("", "raise ValueError('theirs')", "x", "ValueError in a step: theirs. That is not a fault of ganzoo's"),
    "exits in a step": ("", "import sys; sys.exit(0)", "x", "SystemExit in a step"),
    "gives too few rows": ("", "pass", "x[:-1]", "rows"),
    "gives another shape": ("", "pass", "x[:, :, :4]", "generator 'broken' gives"),
    "gives what is detached": ("", "pass", "x.detach()", "no gradient goes through"),
    "gives what is no number": ("", "pass", "x / 0", "finite"),
    "raises in forward": ("", "pass", "x.nothing", "nothing"),
}


def broken_plugin(server: Server, folder: Path, what: str, dataset: Path) -> str:
    """Run with a broken plugin; what is wrong with how that ends, or ""."""
    at_import, in_a_step, output, said = BROKEN[what]
    folder.mkdir(parents=True)
    text = PLUGIN.replace("AT_IMPORT", at_import).replace("IN_A_STEP", in_a_step).replace("OUTPUT", output)
    (folder / "broken.py").write_text(text, encoding="utf-8")
    words = ["--dataset", dataset, "--steps=4", "--batch-size=4", "--device=cpu", "--log-every=1", "--out", folder / "run"]
    # Not from a warm process: that knows its plugins already.
    done = server("run", "broken-gan", *words, "--plugin", folder / "broken.py")
    if done.status not in (1, 2):
        return f"status {done.status}"
    if "Error:" not in done.err or "Traceback" in done.err or "should not happen" in done.err:
        return f"no clear error: {done.err[-200:]}"
    if said not in done.err or "broken" not in done.err:
        return f"it does not say {said!r}: {done.err[-200:]}"
    kept = checkpoint.steps_in(folder / "run" / "checkpoints")
    return "" if "step" not in what or kept == [2] else f"checkpoints {kept}: the last healthy state is not saved"


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[bool]:
    """A file system of that size in the folder; False where this user may not mount one."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", folder], capture_output=True, check=False)
    try:
        yield mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", folder], check=True)


def full_disk(server: Server, folder: Path, words: tuple[str, ...], kilobytes: int) -> str | None:
    """A run on a disk of that size: what is wrong with how it ends, ""; None where no such disk can be had."""
    with small_disk(folder, kilobytes) as mounted:
        if not mounted:
            return None
        done = server("run", *words, f"--out={folder / 'run'}")
        if "Traceback" in done.err or "should not happen" in done.err or done.status not in (0, 1, 2):
            return f"status {done.status}: {done.err[-300:]}"
        if done.status and "cannot be" not in done.err:
            return f"it does not say what could not be written: {done.err[-300:]}"
        places = folder / "run" / "checkpoints"
        for step in checkpoint.steps_in(places):
            checkpoint.read(checkpoint.path_of(places, step))
        left = [path.name for path in folder.rglob(".tmp-*")]
        return f"left over: {left}" if left else ""
