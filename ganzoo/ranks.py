"""What the ranks of a run tell each other. A run is one process today, so all of them return what they are given.

Plugins call them where a number must be that of the whole batch; so they need not change when a run is shared among processes.
"""

from __future__ import annotations

from torch import Tensor


def over_ranks(x: Tensor) -> Tensor:
    """The mean of x over the ranks, weighted by their rows, without gradient: for what controls the run, as ADA's p and BEGAN's k."""
    return x.detach()


def overall(x: Tensor) -> Tensor:
    """The rows of all ranks, with gradient: for losses that need statistics of the whole batch, as relativistic averages."""
    return x


def gather(x: Tensor) -> Tensor:
    """The rows of all ranks in their order, without gradient: for buffers that keep samples, as image pools."""
    return x.detach()


def mine(x: Tensor) -> Tensor:
    """This rank's part of the rows of all."""
    return x
