"""The hooks that a plugin may implement."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from ganzoo.types import Record

hookspec = pluggy.HookspecMarker("ganzoo")
hookimpl = pluggy.HookimplMarker("ganzoo")


@hookspec
def ganzoo_register() -> Iterable[Record]:  # type: ignore[empty-body]
    """Return the parts, recipes and data sets of this plugin.

    Called once a process, when the catalogue is built. The module that holds it is imported by every command, so it imports
    neither torch nor numpy: the records name what is heavy as "package.module:Name".
    """
