"""The command line: parse, call, print. Nothing here imports torch at the top."""

from __future__ import annotations

import functools
import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import click

from ganzoo.errors import GanzooError, UsageError, clean, did_you_mean


class Commands(click.Group):
    """Our commands, imported when they are used, and those of plugins; an unknown one is answered with those that look like it."""

    MODULES: ClassVar[dict[str, str]] = {
        "list": "browse", "show": "browse", "plugins": "browse", "run": "train", "resume": "train", "sample": "sample", "apply": "apply",
        "augment": "augment", "check": "check", "evaluate": "evaluate", "compare": "compare", "report": "report", "prepare": "prepare",
        "doctor": "doctor", "new": "new",
    }  # fmt: skip

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.MODULES, *plugin_commands()[0]]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.MODULES:
            return plugin_commands()[0].get(name)
        from importlib import import_module

        command: click.Command = getattr(import_module(f"ganzoo.cli.{self.MODULES[name]}"), f"{name}_command")
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.MODULES and not ctx.resilient_parsing and args[0] not in (theirs := plugin_commands()[0]):
            ctx.fail(f"there is no command {args[0]!r}.{did_you_mean(args[0], [*self.MODULES, *theirs])}")
        return super().resolve_command(ctx, args)


@functools.cache
def plugin_commands() -> tuple[dict[str, click.Command], dict[str, list[str]]]:
    """The commands that plugins add, by name; and, by "distribution/plugin", notes on the commands that were added or refused."""
    from ganzoo.registry.catalogue import catalogue

    claims: dict[str, list[tuple[str, click.Command]]] = {}
    notes: dict[str, list[str]] = {}
    for plugin in catalogue().plugins:
        if "ganzoo_commands" not in plugin.hooks:
            continue
        whose = f"{plugin.distribution}/{plugin.name}"
        group = click.Group()
        try:
            plugin.call("ganzoo_commands", cli=group)
        except (Exception, SystemExit) as e:
            notes[whose] = [f"ganzoo_commands raised {type(e).__name__}: {e}"]
            continue
        for name, command in group.commands.items():
            claims.setdefault(name, []).append((whose, command))
    commands = {}
    for name, claimed in sorted(claims.items()):
        others = "ganzoo itself" if name in Commands.MODULES else " and ".join(whose for whose, _ in claimed) if len(claimed) > 1 else ""
        for whose, command in claimed:
            notes.setdefault(whose, []).append(f"command {name}" + (f" REFUSED: {others} has it" if others else ""))
            if not others:
                commands[name] = command
    return commands, notes


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from ganzoo import __version__

        click.echo(f"ganzoo {__version__}")
        ctx.exit()


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version and exit.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of a failure. May stand anywhere.")
@click.option("--plugin", metavar="PATH", expose_value=False, help="Load a plugin that is not installed: a .py file or a package's folder.")
def cli() -> None:
    """A zoo of GANs: every GAN is a plugin.

    \b
    ganzoo run dcgan                             train on the images that come along
    ganzoo run dcgan --dataset my/folder         train on your own
    ganzoo list                                  what there is
    ganzoo show dcgan                            what it is, and its options
    """


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0, 1 for a failure, 2 for wrong usage, 128 + N after signal N."""
    try:
        _main(args)
    except SystemExit as e:
        if isinstance(e.code, int) and (processes := sys.modules.get("ganzoo.processes")):
            processes.end(e.code)
        raise


def _main(args: Sequence[str] | None) -> NoReturn:
    # OpenMP's threads wait for each other by spinning, for milliseconds. Where another process has a core, that made training 20 times
    # slower; with a short spin, 7 times, and nothing is lost on a quiet machine. Read once, when torch is loaded.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    if parent := os.environ.pop("GANZOO_PARENT", ""):
        _end_with(int(parent))
    words = list(sys.argv[1:] if args is None else args)
    typed = tuple(words)
    before = words[: words.index("--")] if "--" in words else words
    debug = "--debug" in before
    if debug:
        words.remove("--debug")
    try:
        _name_plugins(words)
        try:
            status = cli.main(words, prog_name="ganzoo", standalone_mode=False, color=_colour(), obj=typed)
        except SystemExit as e:
            # Nothing of ours exits in the middle of a command: a status of 0 would say that all was done.
            if words and words[0] in Commands.MODULES and not e.code:
                _end("a plugin ended the program in the middle of the command, with sys.exit.", 1, debug)
            raise
        sys.exit(status)
    except (click.exceptions.Abort, KeyboardInterrupt) as e:
        while_ = str(e) or str(e.__context__ or "")  # click puts an exception of its own in its place
        _end(f"interrupted {while_}." if while_ else "interrupted; nothing was being trained.", 130, debug)
    except click.ClickException as e:
        if debug:
            traceback.print_exc()
            sys.exit(e.exit_code)
        text = io.StringIO()
        e.show(text)
        click.echo(clean(text.getvalue()), err=True, nl=False)
        sys.exit(e.exit_code)
    except GanzooError as e:
        _end(str(e), e.exit_code, debug)
    except Exception as e:
        from ganzoo.machine import out_of_memory

        if out_of_memory(e):
            _end("out of memory. A smaller --batch-size, --image-size or width needs less.", 1, debug)
        _end(f"{type(e).__name__}: {e}\nThis should not happen. With --debug there is a traceback to report.", 1, debug)


def _end_with(parent: int) -> None:
    """Stop, as after Ctrl-C, when the process that started this one is gone: `ganzoo compare` may be killed and leaves nothing running."""
    import signal
    import threading
    import time

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


def _name_plugins(words: list[str]) -> None:
    """Take each `--plugin PATH`, which may stand anywhere, out of the words: what is named is loaded with the catalogue."""
    from ganzoo.registry import discovery

    discovery.named.clear()
    end = words.index("--") if "--" in words else len(words)
    while (i := next((i for i, word in enumerate(words[:end]) if word.partition("=")[0] == "--plugin"), None)) is not None:
        _, given, path = words[i].partition("=")
        if not given and i + 1 >= end:
            raise UsageError("--plugin: wanted the path of a .py file or of a package's folder, got nothing.")
        discovery.named.append(Path(path if given else words[i + 1]))
        taken = 1 if given else 2
        del words[i : i + taken]
        end -= taken


def _end(message: str, code: int, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
        sys.exit(code)
    if code < 128:
        click.secho("Error: ", fg="red", bold=True, nl=False, err=True, color=_colour())
    click.echo(clean(message), err=True)
    sys.exit(code)


def _colour() -> bool | None:
    """False where the user wants none (https://no-color.org); None: as the terminal can."""
    return False if os.environ.get("NO_COLOR") else None
