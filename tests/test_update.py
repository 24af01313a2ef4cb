"""`update` and the parts of a strategy that every GAN uses."""

from __future__ import annotations

import pytest
import torch
from zoo import built, samples, small

from ganzoo.errors import GanzooError
from ganzoo.interfaces import gradient_norms
from ganzoo.strategy import set_lr, update


def test_all_gradients_are_taken_before_any_step():
    """Two players of a * b, at once: stepping one before the other's gradient would change it."""
    a, b = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    update((torch.optim.SGD([a], 0.1), {"a": a * b}), (torch.optim.SGD([b], 0.1), {"b": -a * b}))
    assert (float(a.detach()), float(b.detach())) == pytest.approx((2 - 0.3, 3 + 0.2))


def test_terms_are_summed():
    a = torch.tensor(1.0, requires_grad=True)
    update((torch.optim.SGD([a], 1.0), {"one": 2 * a, "two": 3 * a}))
    assert float(a.detach()) == -4


def test_terms_may_share_a_graph():
    a, b = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    shared = (a * b) ** 2
    update((torch.optim.SGD([a], 0.01), {"a": shared}), (torch.optim.SGD([b], 0.01), {"b": shared}))
    assert float(a.detach()) == pytest.approx(2 - 0.01 * 2 * 6 * 3)
    assert float(b.detach()) == pytest.approx(3 - 0.01 * 2 * 6 * 2)


def test_only_the_optimisers_own_parameters_get_a_gradient():
    a, b = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    update((torch.optim.SGD([a], 0.1), {"a": a * b}))
    assert b.grad is None


def test_under_autocast_the_next_forward_uses_the_new_weights():
    """Autocast caches its bf16 copies of weights until it is left; a generator step after a critic step must not see old ones."""
    net = torch.nn.Linear(4, 1, bias=False)
    x = torch.ones(2, 4)
    with torch.autocast("cpu", torch.bfloat16):
        before = net(x).detach().clone()
        update((torch.optim.SGD(net.parameters(), 1.0), {"loss": net(x).mean()}))
        assert not torch.equal(net(x), before)


def test_the_average_follows_the_generator_and_copies_its_buffers(images):
    session = built(small("dcgan", images(), ema=0.5))
    strategy = session.strategy
    start = [p.clone() for p in strategy.averages["G"].parameters()]
    session.step(100)
    for was, mine, theirs in zip(start, strategy.averages["G"].parameters(), strategy.G.parameters(), strict=True):
        assert torch.allclose(mine, (was + theirs) / 2)
    assert all(torch.equal(a, b) for a, b in zip(strategy.averages["G"].buffers(), strategy.G.buffers(), strict=True))


def test_samples_come_from_the_average_in_eval_mode(images):
    session = built(small("dcgan", images(), ema=0.9))
    strategy = session.strategy
    with torch.no_grad():
        for p in strategy.averages["G"].parameters():
            p.zero_()
    assert (samples(session, 4) == 0).all()
    assert strategy.G.training


def test_a_loss_sees_only_the_outputs_that_it_needs(images):
    session = built(small("acgan", images(), {"loss": "hinge"}))
    strategy, batches = session.strategy, session.batches
    assert strategy.view(strategy.D)(next(batches)["x"]).shape == (8,)


def test_a_learning_rate_is_a_number_or_a_tensor_that_is_copied():
    a = torch.tensor(1.0, requires_grad=True)
    optimiser, rate = torch.optim.Adam([a], torch.tensor(0.5), fused=True), torch.tensor(0.25)
    own = optimiser.param_groups[0]["lr"]
    set_lr(optimiser, rate)
    rate.fill_(7.0)
    assert (optimiser.param_groups[0]["lr"] is own, float(own)) == (True, 0.25)
    set_lr(optimiser, 0.125)
    assert (optimiser.param_groups[0]["lr"] is own, float(own)) == (True, 0.125)
    with pytest.raises(GanzooError, match="made with a number"):
        set_lr(torch.optim.SGD([a], 0.5), rate)


def test_a_penalty_learns_in_fp32_though_the_step_is_in_bf16():
    """Its gradient's gradient is taken in `update`: under autocast, torch would multiply matrices there in bf16."""
    told = []
    for bf16, learn in ((False, update), (True, update), (True, lambda pair: sum(pair[1].values()).backward())):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
        x = torch.randn(8, 16)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            penalty = gradient_norms(lambda v, net=net: net(v).squeeze(1), x).square().mean()
            learn((torch.optim.SGD(net.parameters(), 0.0), {"penalty": penalty}))
        told.append(torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]))
    exact, ours, theirs = told
    assert torch.equal(ours, exact)
    assert not torch.allclose(theirs, exact, rtol=1e-3)
