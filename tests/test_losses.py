"""Every loss against its formula, at known points and written out slowly."""

from __future__ import annotations

import math

import pytest
import torch
from ganzoo_wgan.model import gradient_penalty
from zoo import built, small

import ganzoo
from ganzoo.catalogue import catalogue
from ganzoo.options import make
from ganzoo.types import DataSpec

SPEC = DataSpec("points", (4,), 10)
LOG2, LOG10 = math.log(2), math.log(10)


def loss(name, **options):
    entry = catalogue().get("loss", name)
    return entry.load()(SPEC, make(entry.record.options, options))


def total(terms):
    return float(sum(terms.values()))


def both(name, real, fake, **options):
    """The sums of D's and of G's terms for a discriminator that says `real` of real samples and `fake` of fakes."""
    x_real, x_fake = torch.ones(6, 4), -torch.ones(6, 4)

    def D(x):
        return torch.where(x[:, 0] > 0, real, fake).float() + 0 * x.sum()

    made = loss(name, **options)
    return total(made.discriminator(D, x_real, x_fake)), total(made.generator(D, x_fake, x_real))


@pytest.mark.parametrize(
    ("name", "at_d", "at_g"),
    [
        ("minimax", 2 * LOG2, -LOG2),
        ("non-saturating", 2 * LOG2, LOG2),
        ("least-squares", 0.5, 0.5),
        ("hinge", 2, 0),
        ("wasserstein", 0, 0),
    ],
)
def test_value_where_the_discriminator_says_zero_to_all(name, at_d, at_g):
    assert both(name, 0, 0) == pytest.approx((at_d, at_g), abs=1e-6)


def test_least_squares_at_its_equilibrium():
    assert both("least-squares", 0.5, 0.5) == pytest.approx((0.25, 0.125))


@pytest.mark.parametrize(("real", "fake"), [(1.5, -0.7), (-2.0, 3.0), (0.2, 0.9)])
def test_losses_equal_their_formulae_written_out(real, fake):
    def sigmoid(v):
        return 1 / (1 + math.exp(-v))

    game = -math.log(sigmoid(real)) - math.log(1 - sigmoid(fake))
    assert both("minimax", real, fake) == pytest.approx((game, math.log(1 - sigmoid(fake))), rel=1e-5)
    assert both("non-saturating", real, fake) == pytest.approx((game, -math.log(sigmoid(fake))), rel=1e-5)
    assert both("hinge", real, fake) == pytest.approx((max(0, 1 - real) + max(0, 1 + fake), -fake), rel=1e-5)
    assert both("wasserstein", real, fake) == pytest.approx((fake - real, -fake), rel=1e-5)
    squares = ((real - 1) ** 2 / 2 + fake**2 / 2, (fake - 1) ** 2 / 2)
    assert both("least-squares", real, fake) == pytest.approx(squares, rel=1e-5)


def test_losses_stay_finite_where_a_sigmoid_would_be_0_or_1():
    for name in ("minimax", "non-saturating", "hinge"):
        assert all(math.isfinite(value) for value in both(name, -200.0, 200.0))


@pytest.mark.parametrize("shape", [(4,), (3, 5, 5)])
def test_penalty_of_a_linear_critic_depends_on_its_slope_alone(shape):
    """(|w|_2 - 1)^2 for f(x) = <w, x>: a norm over one axis, or a mean over all, would give something else."""
    torch.manual_seed(0)
    w = torch.randn(shape)
    x_real, x_fake = torch.randn(7, *shape), torch.randn(7, *shape)
    penalty = gradient_penalty(lambda x: (w * x).flatten(1).sum(1), x_real, x_fake)
    assert float(penalty.detach()) == pytest.approx((float(w.norm()) - 1) ** 2, rel=1e-4)


def test_penalty_lies_on_lines_between_real_and_fake_with_one_weight_a_sample():
    seen = []

    def f(x):
        seen.append(x.detach())
        return x.flatten(1).sum(1)

    torch.manual_seed(0)
    gradient_penalty(f, torch.ones(50, 3, 4, 4), torch.zeros(50, 3, 4, 4))
    e = seen[0].flatten(1)
    assert (e == e[:, :1]).all()
    assert e[:, 0].min() < 0.1
    assert e[:, 0].max() > 0.9


def test_penalty_teaches_the_critic_and_survives_a_flat_one():
    w = torch.zeros(4, requires_grad=True)
    penalty = gradient_penalty(lambda x: x @ w, torch.ones(3, 4), torch.zeros(3, 4))
    assert torch.autograd.grad(penalty, w)[0].isfinite().all()
    v = torch.full((4,), 2.0, requires_grad=True)
    (slope,) = torch.autograd.grad(gradient_penalty(lambda x: x @ v, torch.ones(3, 4), torch.zeros(3, 4)), v)
    assert torch.allclose(slope, 2 * (4 - 1) * v.detach() / 4)


def test_penalty_refuses_batches_of_two_shapes():
    with pytest.raises(ValueError, match="one shape"):
        gradient_penalty(lambda x: x.sum(1), torch.ones(3, 4), torch.ones(2, 4))


def test_penalty_is_computed_in_full_precision_under_autocast():
    torch.manual_seed(0)
    net = torch.nn.Linear(64, 1)
    x = torch.randn(5, 64)
    exact = ganzoo.gradient_norms(lambda v: net(v).squeeze(1), x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ganzoo.gradient_norms(lambda v: net(v).squeeze(1), x), exact)


def test_r1_is_half_gamma_times_the_squared_norm_at_real_samples():
    torch.manual_seed(0)
    x_real, x_fake = torch.randn(6, 4), torch.randn(6, 4)
    w = torch.randn(4)
    assert float(loss("r1", gamma=3.0).discriminator(lambda x: x @ w, x_real, x_fake)["r1"].detach()) == pytest.approx(
        1.5 * float(w @ w), rel=1e-5
    )
    bowl = loss("r1", gamma=2.0).discriminator(lambda x: 0.5 * x.square().sum(1), x_real, x_fake)["r1"]
    assert float(bowl.detach()) == pytest.approx(float(x_real.square().sum(1).mean()), rel=1e-5)


def test_acgan_with_nothing_learned_has_the_value_of_guessing():
    zeros = lambda x: (torch.zeros(6), torch.zeros(6, 10))  # noqa: E731
    y = torch.arange(6)
    made = loss("acgan")
    assert total(made.discriminator(zeros, torch.ones(6, 4), torch.ones(6, 4), y=y)) == pytest.approx(2 * LOG2 + 2 * LOG10)
    assert total(made.generator(zeros, torch.ones(6, 4), torch.ones(6, 4), y=y)) == pytest.approx(LOG2 + LOG10)


def test_both_acgan_players_gain_from_a_right_class():
    """Both minimise the cross-entropy: the signs of the paper's L_C."""
    y = torch.arange(6)
    right = lambda x: (torch.zeros(6), 5.0 * torch.nn.functional.one_hot(y, 10))  # noqa: E731
    zeros = lambda x: (torch.zeros(6), torch.zeros(6, 10))  # noqa: E731
    made, x = loss("acgan"), torch.ones(6, 4)
    assert total(made.discriminator(right, x, x, y=y)) < total(made.discriminator(zeros, x, x, y=y))
    assert total(made.generator(right, x, x, y=y)) < total(made.generator(zeros, x, x, y=y))
    assert float(made.watched["class_accuracy"]) == pytest.approx(1 / 6)
    made.generator(right, x, x, y=y)
    assert float(made.watched["class_accuracy"]) == 1


def test_wasserstein_reports_the_estimate_that_the_critic_maximises():
    made = loss("wasserstein")
    terms = made.discriminator(lambda x: x.sum(1), torch.ones(5, 4), -torch.ones(5, 4))
    assert total(terms) == -8
    assert float(made.watched["wasserstein"]) == 8


def test_wgan_clips_every_parameter_of_its_critic_after_its_step(images):
    strategy, batches = built(small("wgan", images()))
    assert max(float(p.detach().abs().max()) for p in strategy.f.parameters()) > 0.01
    for t in range(2):
        strategy.step(batches, t)
        assert max(float(p.detach().abs().max()) for p in strategy.f.parameters()) <= strategy.options.clip + 1e-9


def test_wgan_warms_its_critic_up_as_the_authors_do(images):
    from ganzoo.compose import resolve

    config = resolve(catalogue(), "wgan", {"dataset": str(images(1, 16)), "device": "cpu"}, {}, {})
    strategy, _ = built(config)
    assert [strategy.n_critic(t) for t in (0, 24, 25, 499, 500, 501)] == [100, 100, 5, 5, 100, 5]


def test_began_moves_k_by_its_law(images):
    """L(x) = 1 and L(G(z)) = 0 with gamma 0.5 and lambda_k 0.001: k goes 0, 0.0005, 0.001, and M is 1.5."""
    config = small("began", images())
    config.options["strategy"].update(gamma=0.5, lambda_k=0.001)  # type: ignore[attr-defined]
    strategy, _ = built(config)
    ks = []
    for t in range(2):
        M = strategy.control(torch.tensor(1.0), torch.tensor(0.0), t)
        ks.append(float(strategy.k))
    assert ks == pytest.approx([0.0005, 0.001])
    assert float(M) == pytest.approx(1.5)
    for t in range(2, 5):
        strategy.control(torch.tensor(0.0), torch.tensor(9.0), t)
    assert float(strategy.k) == 0


def test_began_halves_its_learning_rate_when_M_stalls_down_to_a_floor(images):
    config = small("began", images())
    config.options["strategy"].update(patience=10, lr=1e-4, lr_min=4e-5)  # type: ignore[attr-defined]
    strategy, batches = built(config)
    rates = []
    for t in range(60):
        strategy.control(torch.tensor(1.0), torch.tensor(0.5), t)
        rates.append(float(strategy.lr))
    assert rates[5] == pytest.approx(1e-4)
    assert rates[15] == pytest.approx(5e-5)
    assert rates[-1] == pytest.approx(4e-5)
    strategy.step(batches, 60)
    assert {g["lr"] for o in strategy.optimisers().values() for g in o.param_groups} == {float(strategy.lr)}


def test_began_weighs_the_fakes_by_k_and_keeps_the_generator_out_of_it(images):
    strategy, batches = built(small("began", images()))
    strategy.k.fill_(0.25)
    told = strategy.step(batches, 0)
    assert float(told["d/fake"]) < 0
    assert float(told["d/real"]) > 0
    assert float(told["began/M"]) > 0


@pytest.mark.parametrize(("loss_name", "distance"), [("non-saturating", None), ("r1", 0.05)])
def test_the_dirac_gan_converges_with_r1_and_circles_without(loss_name, distance):
    """Mescheder et al. 2018: D(x) = psi x, G gives theta, the data is 0. R1 ends at the origin, the plain game does not."""
    options = {"gamma": 0.6} if loss_name == "r1" else {}
    made = loss(loss_name, **options)
    theta, psi = torch.ones((), requires_grad=True), torch.ones((), requires_grad=True)
    opt_g, opt_d = torch.optim.SGD([theta], 0.1), torch.optim.SGD([psi], 0.1)
    zero = torch.zeros(1, 1)
    for _ in range(500):
        ganzoo.update((opt_g, made.generator(lambda x: (psi * x).sum(1), theta.view(1, 1), zero)))
        ganzoo.update((opt_d, made.discriminator(lambda x: (psi * x).sum(1), zero, theta.detach().view(1, 1))))
    end = math.hypot(float(theta.detach()), float(psi.detach()))
    assert end < distance if distance else end > 0.2
