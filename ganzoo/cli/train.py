"""`ganzoo run` and `ganzoo resume`."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganzoo import compose, options
from ganzoo.cli.ui import DEVICES, completion
from ganzoo.config import Changes, RunOptions, from_file
from ganzoo.errors import UsageError, clean, did_you_mean, one_line
from ganzoo.registry.catalogue import NONE, catalogue

if TYPE_CHECKING:
    from ganzoo.compose import Resolved
    from ganzoo.data import Prepared
    from ganzoo.training.session import Session


NO_PARTS = ("recipe", "wrapper", "dataset", "metric", "features", "medium")  # kinds that no recipe binds by --kind


class Recipes(click.Group):
    """One command a recipe, with the options of just the parts that this command line names."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [e.name for e in catalogue().entries("recipe")]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        try:
            return recipe_command(name, [])
        except UsageError:
            return None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and args[0] not in ctx.help_option_names and not ctx.resilient_parsing:
            ctx.fail("the recipe comes first: ganzoo run RECIPE [OPTIONS].")
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return args[0], recipe_command(args[0], args[1:]), args[1:]
        except UsageError:
            if ctx.resilient_parsing:
                return None, None, args
            raise


def _typed(args: list[str], name: str) -> str | None:
    """The value that was typed for an option, the last one, read before the options are known."""
    value = None
    for i, word in enumerate(args):
        if word == name and i + 1 < len(args):
            value = args[i + 1]
        elif word.startswith(f"{name}="):
            value = word.removeprefix(f"{name}=")
    return value


def _changes(name: str, args: list[str]) -> Changes:
    """What decides which options there are, read before they are known: --config, --preset, --dataset, the parts, the wrappers."""
    zoo, path = catalogue(), _typed(args, "--config")
    recipe = zoo.get("recipe", name)
    changes = Changes()
    if path is not None:
        from ganzoo.files import read_json

        changes = from_file(read_json(Path(path)), recipe.name, recipe.stored)
    changes.run |= {key: typed for key in ("preset", "dataset") if (typed := _typed(args, f"--{key}"))}
    changes.parts |= {kind: typed for kind in zoo.kinds if kind not in NO_PARTS and (typed := _typed(args, f"--{kind}"))}
    if (wrappers := _typed(args, "--with")) is not None:
        changes.wrappers = () if wrappers == NONE else options.listed(wrappers)
    return changes


@dataclass(frozen=True)
class Launch:
    """How a run is to be launched: the options of `ganzoo run` that are none of the run's own."""

    out: Path | None = None
    dry_run: bool = False
    resume_or_start: bool = False
    nproc: int | None = None


def recipe_command(name: str, args: list[str], then: Callable[[Resolved, Launch], None] | None = None) -> click.Command:
    """`ganzoo run NAME`: the run's options, the parts, and each option of the parts and wrappers that `args` choose.

    then: what is done with the run; by default it is trained.
    """
    zoo, changes = catalogue(), _changes(name, args)
    draft = compose.draft(zoo, name, changes)
    recipe = draft.recipe
    params: list[click.Parameter] = [*options.click_options(RunOptions, defaults=draft.run_defaults | changes.run)]
    for param in params:
        if param.name == "dataset":
            param._custom_shell_complete = _completes("dataset")
    params.append(click.Option(["--out"], type=click.Path(path_type=Path), help="The run folder itself.  [runs/RECIPE-DATASET-NNN]"))
    params.append(click.Option(["--resume-or-start"], is_flag=True, help="Go on with the run in --out if there is one: for relaunches."))
    params.append(click.Option(["--nproc"], type=click.IntRange(1), help="Train with so many processes of this machine, one a GPU if any."))
    params.append(click.Option(["--config"], type=click.Path(), help="Options from a JSON file, as a run's config.json; those typed win."))
    params.append(click.Option(["--dry-run"], is_flag=True, help="Show the whole configuration, parameters and shapes; train nothing."))
    around = ", ".join(e.name for e in zoo.entries("wrapper"))
    default = ",".join(draft.wrappers) or NONE
    params.append(click.Option(["--with", "wrappers"], metavar="A,B", help=f"What stands around D, of {around}; or none.  [{default}]"))
    for kind in draft.kinds:
        names = ", ".join([e.name for e in zoo.entries(kind)] + ([NONE] if kind == "degradation" else []))
        default = draft.parts[kind].name if kind in draft.parts else NONE
        params.append(click.Option([f"--{kind}"], metavar="NAME", help=f"{names}  [{default}]", shell_complete=_completes(kind)))
    for of, entry in draft.optioned.items():
        params += options.click_options(entry.record.options, f"{of}.", draft.defaults(of) | changes.options.get(of, {}))  # type: ignore[union-attr]

    def callback(**typed: Any) -> None:
        launch = Launch(**{field.name: typed.pop(field.name) for field in fields(Launch)})
        for key, value in typed.items():
            if value is None or key in ("config", "wrappers", *(kind.replace("-", "_") for kind in draft.kinds)):
                continue
            of, dot, option = key.partition("__")
            if dot:
                changes.options.setdefault(of.replace("_", "-"), {})[option] = value
            else:
                changes.run[key] = value
        (then or _run)(draft.resolve(), launch)

    text = f"{recipe.title}: {recipe.summary}." if recipe.summary else f"{recipe.title}."
    sections = ("run", *draft.optioned)
    return Command(name, sections, params=params, callback=callback, help=f"{text} {recipe.paper}", short_help=recipe.title)


def configured(words: Sequence[str]) -> Resolved:
    """The run that is typed after `ganzoo run`. Raises UsageError, or click's own errors."""
    runs: list[Resolved] = []
    command = recipe_command(words[0], list(words[1:]), lambda resolved, launch: runs.append(resolved))
    with command.make_context(f"ganzoo run {words[0]}", list(words[1:])) as ctx:
        command.invoke(ctx)
    return runs[0]


def _completes(kind: str) -> Any:
    return lambda ctx, param, start: completion(start, kind)


class Command(click.Command):
    """A recipe's command: its help keeps the run, the parts and their options apart."""

    def __init__(self, name: str, sections: tuple[str, ...], **more: Any) -> None:
        super().__init__(name, **more)
        self.sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                of = (param.name or "").partition("__")[0].replace("_", "-")
                sections.setdefault(of.capitalize() if of in self.sections else "Run", []).append(record)
        for section, records in sections.items():
            with formatter.section(section):
                formatter.write_dl(records)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as e:
            known = [opt for param in self.get_params(ctx) for opt in param.opts]
            stem = e.option_name.lstrip("-")
            alike = [opt for opt in known if opt.rpartition(".")[2].startswith(stem)]
            hint = f" There is {', '.join(alike)}." if stem and alike else did_you_mean(e.option_name, known)
            raise click.UsageError(f"there is no option {e.option_name}.{hint}", ctx) from None


@click.command(cls=Recipes, subcommand_metavar="RECIPE [OPTIONS]")
def run_command() -> None:
    """Train RECIPE; `ganzoo run RECIPE --help` shows its options.

    \b
    ganzoo run dcgan --dataset celeba --data-dir my/data
    ganzoo run dcgan --loss hinge --strategy.d-steps 2
    """


def _run(resolved: Resolved, how: Launch) -> None:
    from ganzoo.cli.display import Display, watching
    from ganzoo.training import launch
    from ganzoo.training.session import open_session

    if how.resume_or_start and how.out is None:
        raise UsageError("--resume-or-start: wanted the folder of the run as well, which is the same each time: --out FOLDER.")
    if how.nproc is not None and how.nproc > 1:
        _check(resolved, how.nproc)
        if not how.dry_run:
            _launch(resolved, how, how.nproc)
            return
    with watching() as display:
        if how.dry_run:
            resolved, data, session = open_session(resolved, display.progress)
            if isinstance(display, Display):  # of several ranks the first one shows it
                display.stop()
                _describe(resolved, data, session)
            return
        folder = launch.start(resolved, how.out, display, how.resume_or_start)
    _ended(folder)


def _check(resolved: Resolved, n: int) -> None:
    """Raises UsageError where n processes of this machine cannot share the run."""
    import torch

    from ganzoo import ranks
    from ganzoo.training.session import usable_device

    ranks.part_of(resolved.run.batch_size, n)
    if usable_device(resolved, n).type == "cuda" and n > (there := torch.cuda.device_count()):
        raise UsageError(f"--nproc {n}: each process takes a GPU of its own, and this machine has {there}. Take fewer, or --device cpu.")


def _launch(resolved: Resolved, how: Launch, n: int) -> None:
    """Run this command line in several processes, by torchrun's own launcher; what can be refused is refused here, once."""
    from ganzoo.cli.display import Display
    from ganzoo.runs.folder import Run

    with Display() as display:
        resolved.prepare(display.progress)  # and so nobody else has to
    if how.out is not None and not how.resume_or_start:
        Run.create(how.out).close()
    _spawn(n)


def _spawn(n: int) -> None:
    """This command line, without its --nproc, in n processes."""
    from ganzoo import machine, processes

    if processes.launched():
        raise UsageError("--nproc: torchrun has started this process already, and says with --nproc-per-node how many there are.")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, machine.threads() // n)))
    words: list[str] = list(click.get_current_context().obj)
    while (i := next((i for i, word in enumerate(words) if word.partition("=")[0] == "--nproc"), None)) is not None:
        del words[i : i + (1 if "=" in words[i] else 2)]
    if status := processes.launch(n, [sys.executable, "-P", "-m", "ganzoo", *words]):
        sys.exit(status)


def _ended(folder: Path) -> None:
    from ganzoo import ranks

    if ranks.rank():
        return
    from ganzoo.cli.evaluate import best_and_last
    from ganzoo.runs.exported import exports_of, file_of

    for line in best_and_last(folder):
        click.echo(one_line(line))
    files = ", ".join(f"{name}: {folder / file_of(name)}" for name in exports_of(folder))
    typed = shlex.quote(str(folder))
    losses = f", losses: {folder / 'losses.png'}" if (folder / "losses.png").exists() else ""  # of one line there is no curve
    click.echo(clean(
        f"Done. Pictures: {folder / 'samples'}, {files}{losses}.\n"
        f"Next: `ganzoo {_use(folder, typed)}; `ganzoo evaluate {typed}` measures; `ganzoo report {typed}` makes a page of it; "
        f"`ganzoo resume {typed} --steps N` goes on."
    ))  # fmt: skip


def _use(folder: Path, typed: str) -> str:
    """The command that uses the main product of a run, and what it does."""
    from ganzoo.runs.exported import load

    product = load(catalogue(), folder)
    if product.asks:
        return f"apply {typed} FILE{' --box X,Y,WxH' if product.fills else ''}` turns your own"
    return f"sample {typed}` draws more"


def _describe(resolved: Resolved, data: Prepared, session: Session) -> None:
    """Print the run's config.json, with parameter counts, and the shapes of each product's inputs and outputs."""
    from ganzoo.runs.exported import Exported
    from ganzoo.training.launch import describe

    shapes = {}
    for name in session.strategy.exports():
        product = Exported.of(session.strategy, name)
        real = session.batches.peek(2)
        given = {key: real[key].cpu() for key in product.fields}
        inputs = product.inputs(2, 0, given)
        shapes[name] = {key: ["N", *value.shape[1:]] for key, value in inputs.items()}
        shapes[name]["gives"] = ["N", *next(product.outputs(2, 0, given)).shape[1:]]
    values = describe(resolved, data, session) | {
        "parameters": {name: sum(p.numel() for p in module.parameters()) for name, module in session.strategy.named_children()},
        "shapes": shapes,
    }
    click.echo(json.dumps(values, indent=1))


@click.command("resume")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--steps", type=click.IntRange(1), help="Go on to this step; by default to where the run was meant to end.")
@click.option("--device", type=DEVICES, help="Go on elsewhere than where it was started.")
@click.option("--dataset", metavar="NAME|PATH", help="Where its data lies now, if it was moved; it must be the same data.")
@click.option("--data-dir", metavar="DIR", help="Where downloaded data lies now.")
@click.option("--capture/--no-capture", default=None, help="Replay the step as a CUDA graph, or not; by default as before.")
@click.option("--nproc", type=click.IntRange(1), help="With so many processes of this machine; bit for bit with as many as before.")
def resume_command(
    run: Path, steps: int | None, device: str | None, dataset: str | None, data_dir: str | None, capture: bool | None, nproc: int | None
) -> None:  # fmt: skip
    """Go on with RUN, the folder of a run that was stopped or is to be longer.

    On the same machine, with as many threads and processes and the same torch, it is bit for bit as if it had never stopped.
    """
    if nproc is not None and nproc > 1:
        _spawn(nproc)
        return
    from ganzoo.cli.display import watching
    from ganzoo.training import launch

    with watching() as display:
        launch.resume(catalogue(), run, steps, display, device, dataset, data_dir, capture)
    _ended(run)
