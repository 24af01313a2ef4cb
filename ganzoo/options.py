"""Options of parts and runs: frozen dataclasses, which become click options and are read from and written to JSON."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ganzoo.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import click


def option(
    default: Any,
    help: str,
    *,
    source: str = "",
    min: float | None = None,
    max: float | None = None,
    metavar: str | None = None,
    bare: Any = None,
    parse: Callable[[Any], Any] | None = None,
    several: str = "",
) -> Any:
    """A field of an options dataclass: its default, one line of help, where the default comes from, and its bounds (inclusive).

    Args:
        default: a value of the field's type; every option has one.
        help: one line, shown by `--help` and `ganzoo show`.
        source: where the default comes from: a section of the paper, the authors' code, a measurement.
        min: the smallest value.
        max: the largest value.
        metavar: the placeholder of the value in `--help`.
        bare: the value of the flag when it is typed without one.
        parse: makes a value of the field's type of what was given, of a string with a form of its own; raises ValueError with what is
            wanted.
        several: the flag may be repeated with KEY=VALUE; what is typed is joined by this.
    """
    metadata = {
        "several": several,
        "help": help,
        "source": source,
        "min": min,
        "max": max,
        "metavar": metavar,
        "bare": bare,
        "parse": parse,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class AlternatingOptions:
    """Those of `ganzoo.Alternating`; a strategy with further ones inherits from them."""

    d_steps: int = option(1, "discriminator steps per generator step: k", source="Algorithm 1", min=1)
    lr_g: float = option(2e-4, "learning rate of G", source="Radford et al. 2015, section 4", min=0)
    lr_d: float = option(2e-4, "learning rate of D", source="Radford et al. 2015, section 4", min=0)
    beta1: float = option(0.5, "Adam's decay rate of the gradient mean", source="Radford et al. 2015, section 4", min=0, max=0.999999)
    beta2: float = option(0.999, "Adam's decay rate of the squared gradient", min=0, max=0.999999)
    reuse_fakes: bool = option(False, "G learns from the fakes of D's last step, where the paper draws new ones: a seventh is saved")


def fields(cls: type | None) -> dict[str, dataclasses.Field[Any]]:
    """The fields of an options dataclass by name; none for None."""
    return {} if cls is None else {f.name: f for f in dataclasses.fields(cls)}


def field_type(cls: type, name: str) -> tuple[type, tuple[str, ...], bool]:
    """The plain type of a field, its choices (of a Literal) and whether it may be None.

    Raises TypeError for a type that the command line cannot show.
    """
    annotation = typing.get_type_hints(cls)[name]
    optional = False
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        args = [a for a in typing.get_args(annotation) if a is not type(None)]
        optional = True
        annotation = args[0] if len(args) == 1 else annotation
    if typing.get_origin(annotation) is typing.Literal:
        choices = typing.get_args(annotation)
        if not all(isinstance(c, str) for c in choices):
            raise TypeError(f"{cls.__name__}.{name}: the choices of a Literal must be strings")
        return str, choices, optional
    if annotation not in (int, float, bool, str):
        raise TypeError(f"{cls.__name__}.{name}: wanted int, float, bool, str or a Literal of strings, perhaps None; got {annotation}")
    return annotation, (), optional


def check_value(cls: type, name: str, value: Any, shown: str) -> Any:
    """The value, checked against the field's type, choices and bounds; an int is taken where a float is wanted.

    shown: the option's name on the command line, for the UsageError that it raises.
    """
    wanted: Any
    wanted, choices, optional = field_type(cls, name)
    if value is None and optional:
        return None
    if parse := fields(cls)[name].metadata.get("parse"):
        try:
            value = parse(value)
        except ValueError as e:
            raise UsageError(f"{shown}: wanted {e}, got {value!r}.") from e
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted:
        raise UsageError(f"{shown}: wanted {wanted.__name__}, got {value!r}.")
    if wanted is float and not math.isfinite(value):
        raise UsageError(f"{shown}: wanted a finite number, got {value!r}.")
    if choices and value not in choices:
        raise UsageError(f"{shown}: wanted one of {', '.join(choices)}; got {value!r}.{did_you_mean(value, choices)}")
    meta = fields(cls)[name].metadata
    low, high = meta.get("min"), meta.get("max")
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = f"at least {low}" if high is None else f"at most {high}" if low is None else f"{low} to {high}"
        raise UsageError(f"{shown}: wanted {bounds}, got {value}.")
    return value


def make(cls: type | None, values: Mapping[str, Any], prefix: str = "") -> Any:
    """An instance of the options dataclass from plain values, as they come from JSON or the command line; None for None.

    Raises UsageError for unknown names and for values that an option cannot take, named as on the command line: `prefix` and the option.
    """
    known = {name: f"{prefix}{name.replace('_', '-')}" for name in fields(cls)}
    for name in values:
        if name not in known:
            wrong = f"{prefix}{name.replace('_', '-')}"
            hint = did_you_mean(wrong, known.values()) or f" There is {', '.join(known.values()) or 'none here'}."
            raise UsageError(f"there is no option {wrong}.{hint}")
    if cls is None:
        return None
    return cls(**{name: check_value(cls, name, value, known[name]) for name, value in values.items()})


def to_json(options: Any) -> dict[str, Any]:
    """The options as plain JSON values; an empty dict for None."""
    return {} if options is None else dataclasses.asdict(options)


def listed(text: str) -> tuple[str, ...]:
    """The names in a comma-separated list, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def flag(name: str, prefix: str = "") -> str:
    """The option's name on the command line: `n_critic` of the strategy is `--strategy.n-critic`."""
    return f"--{prefix}{name.replace('_', '-')}"


def joined(several: str, ctx: click.Context, param: click.Parameter, typed: tuple[str, ...]) -> str | None:
    """What was typed for an option that may be repeated as KEY=VALUE. Raises click's error where it is repeated otherwise."""
    import click

    if len(typed) > 1 and not all("=" in text for text in typed):
        raise click.BadParameter(f"wanted one, got {len(typed)}: {', '.join(typed)}.", ctx, param)
    return several.join(typed) if typed else None


def click_options(cls: type | None, prefix: str = "", defaults: Mapping[str, Any] | None = None) -> list[click.Option]:
    """One click option a field, named `--prefix.field`; the help shows `defaults`, or the class's own.

    None of them has a click default, so that the parsed values hold None for what was not typed.
    """
    import click

    click_options: list[click.Option] = []
    for name, f in fields(cls).items():
        assert cls is not None
        wanted, choices, _ = field_type(cls, name)
        default = (defaults or {}).get(name, f.default)
        help = f.metadata.get("help", "")
        help += "" if default is None or default == "" else f"  [{'on' if default is True else 'off' if default is False else default}]"
        dest = f"{prefix}{name}".replace(".", "__").replace("-", "_")
        long = flag(name, prefix)
        kwargs: dict[str, Any] = {"help": help, "default": None, "metavar": f.metadata.get("metavar")}
        if wanted is bool:
            stem = long.removeprefix("--")
            click_options.append(click.Option([dest, f"--{stem}/--no-{stem}"], **kwargs))
        else:
            if f.metadata.get("bare") is not None:
                kwargs |= {"is_flag": False, "flag_value": f.metadata["bare"]}
            if several := f.metadata.get("several"):
                kwargs |= {"multiple": True, "callback": functools.partial(joined, several)}
            click_options.append(click.Option([dest, long], type=click.Choice(choices) if choices else wanted, **kwargs))
    return click_options
