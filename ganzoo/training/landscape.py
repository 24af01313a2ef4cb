"""What D thinks of every place, and whereto G's samples are pushed: for data that is small enough to be looked at whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ganzoo.interfaces import Network
from ganzoo.randomness import draws
from ganzoo.runs.exported import Exported
from ganzoo.training.session import Session

PUSHED = 100  # samples whose gradient is kept


def landscape(session: Session, product: Exported, t: int) -> dict[str, Any]:
    """Samples, D's logits at the places that the medium names, minus the gradient of G's terms at the samples; empty where there is none.

    Wanted is a product that takes nothing of the data but classes, of which each is tried in turn, and one
    discriminator that gives logits and takes nothing but "x". The samples are those of the network as it plays, not of its average. The
    gradient is that of the loss alone, times the number of samples, so that it is each sample's own; it is left out where samples have
    none, as words, and where the loss asks for more than samples. Nothing of the run is changed.
    """
    strategy, field, kind = session.strategy, product.field, product.medium
    if product.asks or not product.key or not kind.in_game:
        return {}
    real = kind.stored(session.batches.peek(kind.in_game)[product.key], field)
    judges = [D for name, D in strategy.named_modules() if isinstance(D, Network) and not name.startswith("averages.")]
    judges = [D for D in judges if D.record.role == "discriminator"]
    places = kind.places(real, field)
    if places is None or len(judges) != 1 or judges[0].record.parameters != ("x",) or "logits" not in judges[0].record.gives:
        return {}
    network = strategy.get_submodule(product.export.network)
    assert isinstance(network, Network)
    x = torch.cat(list(replace(product, network=network).outputs(kind.in_game, session.seed)))
    D, device = judges[0], strategy.device
    training = D.training
    try:
        D.eval()  # no running statistics move
        with draws(session.seed, "landscape", t), torch.no_grad():
            logits = strategy.view(D).only("logits")(kind.to_batch(places).to(device))
            push = _push(session, D, kind.to_batch(x[:PUSHED]).to(device), kind.to_batch(real[:PUSHED]).to(device), t)
    finally:
        D.train(training)
    shown = {"real": real, "samples": x, "logits": logits.flatten(1).mean(1) if logits.dim() > 1 else logits, "push": push}
    return {name: _rounded(value) for name, value in shown.items() if value is not None} | {"anchored": strategy.loss.record.anchored}


def _push(session: Session, D: Network, x: Tensor, real: Tensor, t: int) -> Tensor | None:
    """Minus the gradient of G's terms at x (N, D)."""
    strategy, game = session.strategy, session.strategy.loss
    if not x.is_floating_point() or game.record.given or len(real) < len(x):
        return None
    scheduled = {name: torch.tensor(value, device=x.device) for name, value in game.loss.schedule(t).items()}
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        terms = game.loss.generator(strategy.view(D), x, real, t=t, **scheduled)
        carrying = [value for value in terms.values() if value.requires_grad]
        (gradient,) = torch.autograd.grad(torch.stack(carrying).sum(), x, allow_unused=True) if carrying else (None,)
    return None if gradient is None else -len(x) * gradient


def _rounded(values: Tensor) -> Any:
    """Nested lists, floats with four digits: a picture is not read closer."""
    values = values.detach().cpu()
    if not values.is_floating_point():
        return values.tolist()
    flat = [float(f"{value:.4g}") for value in values.double().nan_to_num(0, 1e30, -1e30).flatten().tolist()]
    return flat if values.dim() == 1 else [flat[i : i + values.shape[1]] for i in range(0, len(flat), values.shape[1])]
