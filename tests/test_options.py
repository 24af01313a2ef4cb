"""Options: checked values, flags, JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import click
import pytest

from ganzoo import option, options
from ganzoo.errors import UsageError


@dataclass(frozen=True)
class Some:
    width: int = option(64, "channels", source="table 1", min=1)
    decay: float = option(0.5, "of something", min=0, max=1)
    kind: Literal["a", "b"] = option("a", "which")
    deep: bool = option(False, "whether")
    name: str | None = option(None, "a word")
    ema: float = option(0.0, "a decay", bare=0.999)


def test_values_survive_json():
    some = Some(width=3, deep=True, name="x")
    assert options.make(Some, json.loads(json.dumps(options.to_json(some)))) == some


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"width": 0}, "--p.width: wanted at least 1, got 0"),
        ({"width": 2.5}, "--p.width: wanted int, got 2.5"),
        ({"width": True}, "wanted int, got True"),
        ({"decay": 2}, "--p.decay: wanted 0 to 1, got 2.0"),
        ({"decay": float("nan")}, "wanted a finite number"),
        ({"kind": "c"}, "wanted one of a, b; got 'c'"),
        ({"deep": "yes"}, "wanted bool"),
        ({"widht": 3}, "there is no option --p.widht. Did you mean '--p.width'?"),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(values, said):
    with pytest.raises(UsageError) as e:
        options.make(Some, values, "--p.")
    assert said in str(e.value)


def test_an_int_is_taken_where_a_float_is_wanted():
    assert options.make(Some, {"decay": 1}).decay == 1.0


def test_a_part_without_options_takes_none():
    assert options.make(None, {}) is None
    with pytest.raises(UsageError, match="none here"):
        options.make(None, {"width": 1})


def test_each_field_becomes_a_flag_and_only_what_is_typed_comes_back():
    @click.command(params=[*options.click_options(Some, "part.")])
    def command(**typed):
        command.typed = {k: v for k, v in typed.items() if v is not None}

    command.main(["--part.width", "7", "--part.deep", "--part.kind=b"], standalone_mode=False)
    assert command.typed == {"part__width": 7, "part__deep": True, "part__kind": "b"}


@pytest.mark.parametrize(("words", "value"), [(["--ema"], 0.999), (["--ema", "0.5"], 0.5), (["--ema", "--width", "3"], 0.999)])
def test_a_flag_may_stand_alone_for_its_usual_value(words, value):
    @click.command(params=[*options.click_options(Some)])
    def command(**typed):
        command.typed = typed

    command.main(words, standalone_mode=False)
    assert command.typed["ema"] == value
