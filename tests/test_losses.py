"""Every loss against its formula, at known points and written out slowly."""

from __future__ import annotations

import math

import pytest
import torch
from ganzoo_wgan.model import gradient_penalty
from torch import nn
from zoo import built, samples, small

import ganzoo
from ganzoo import UsageError
from ganzoo.options import make
from ganzoo.registry.catalogue import catalogue
from ganzoo.strategy import update
from ganzoo.types import DataSpec

SPEC = DataSpec.of("points", (4,), 10)
LOG2, LOG10 = math.log(2), math.log(10)


LOGGED = ("wasserstein", "class_accuracy", "information", "explained")  # values that are not minimised


@pytest.fixture(autouse=True)
def scope():
    """Of what losses draw."""
    with ganzoo.draws("test"):
        yield


class Played:
    """A loss as a step calls it."""

    def __init__(self, made):
        self.made = made

    def discriminator(self, *args, t=0, **given):
        return self.made.discriminator(*args, t=t, **self.scheduled(t), **given)

    def generator(self, *args, t=0, **given):
        return self.made.generator(*args, t=t, **self.scheduled(t), **given)

    def scheduled(self, t):
        return {name: torch.tensor(value) for name, value in self.made.schedule(t).items()}


def loss(name, **options):
    entry = catalogue().get("loss", name)
    return Played(entry.load()(SPEC, make(entry.record.options, options)))


def total(terms):
    return float(sum(value for name, value in terms.items() if name not in LOGGED).detach())


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
        ("relativistic", LOG2, LOG2),
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
    apart = -math.log(sigmoid(real - fake)), -math.log(sigmoid(fake - real))
    assert both("relativistic", real, fake) == pytest.approx(apart, rel=1e-5)
    squares = ((real - 1) ** 2 / 2 + fake**2 / 2, (fake - 1) ** 2 / 2)
    assert both("least-squares", real, fake) == pytest.approx(squares, rel=1e-5)
    pearson = ((real - 1) ** 2 / 2 + (fake + 1) ** 2 / 2, fake**2 / 2)
    assert both("least-squares", real, fake, a=-1.0, b=1.0, c=0.0) == pytest.approx(pearson, rel=1e-5)


def test_losses_stay_finite_where_a_sigmoid_would_be_0_or_1():
    for name in ("minimax", "non-saturating", "hinge", "relativistic"):
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


def test_gradient_norms_give_the_logits_of_the_same_pass_where_they_are_wanted():
    passes = []

    def f(x):
        passes.append(x)
        return x.square().sum(1)

    x = torch.randn(5, 4)
    logits, norms = ganzoo.gradient_norms(f, x, logits=True)
    assert len(passes) == 1
    assert torch.equal(logits.detach(), x.square().sum(1))
    assert torch.equal(norms.detach(), ganzoo.gradient_norms(f, x).detach())
    assert torch.allclose(norms.detach(), 2 * x.norm(dim=1))


def test_r1_is_half_gamma_times_the_squared_norm_at_real_samples():
    torch.manual_seed(0)
    x_real, x_fake = torch.randn(6, 4), torch.randn(6, 4)
    w = torch.randn(4)
    assert float(loss("r1", gamma=3.0).discriminator(lambda x: x @ w, x_real, x_fake)["r1"].detach()) == pytest.approx(
        1.5 * float(w @ w), rel=1e-5
    )
    bowl = loss("r1", gamma=2.0).discriminator(lambda x: 0.5 * x.square().sum(1), x_real, x_fake)["r1"]
    assert float(bowl.detach()) == pytest.approx(float(x_real.square().sum(1).mean()), rel=1e-5)


def test_relativistic_judges_each_fake_against_the_real_sample_of_its_own_place():
    """Written out pair by pair: a mean of real against a mean of fake logits would be another game."""
    torch.manual_seed(0)
    x_real, x_fake, w = torch.randn(6, 4), torch.randn(6, 4), torch.randn(4)
    made = loss("relativistic", gamma=0.0, gamma_end=0.0)
    pairs = [math.log(1 + math.exp(-float(w @ (r - f)))) for r, f in zip(x_real, x_fake, strict=True)]
    assert total(made.discriminator(lambda x: x @ w, x_real, x_fake)) == pytest.approx(sum(pairs) / 6, rel=1e-5)
    pairs = [math.log(1 + math.exp(-float(w @ (f - r)))) for r, f in zip(x_real, x_fake, strict=True)]
    assert total(made.generator(lambda x: x @ w, x_fake, x_real)) == pytest.approx(sum(pairs) / 6, rel=1e-5)


@pytest.mark.parametrize("shape", [(4,), (3, 5, 5)])
def test_relativistic_penalties_are_half_gamma_times_the_squared_norms(shape):
    """A linear critic's slope is its own everywhere; that of |x|^2 / 2 is x, so R1 sees the real samples and R2 the fakes."""
    torch.manual_seed(0)
    w, x_real, x_fake = torch.randn(shape), torch.randn(6, *shape), 3 * torch.randn(6, *shape)
    made = loss("relativistic", gamma=3.0)
    terms = made.discriminator(lambda x: (w * x).flatten(1).sum(1), x_real, x_fake)
    assert float(terms["r1"].detach()) == pytest.approx(1.5 * float(w.square().sum()), rel=1e-4)
    assert float(terms["r2"].detach()) == pytest.approx(1.5 * float(w.square().sum()), rel=1e-4)
    terms = made.discriminator(lambda x: 0.5 * x.flatten(1).square().sum(1), x_real, x_fake)
    assert float(terms["r1"].detach()) == pytest.approx(1.5 * float(x_real.flatten(1).square().sum(1).mean()), rel=1e-4)
    assert float(terms["r2"].detach()) == pytest.approx(1.5 * float(x_fake.flatten(1).square().sum(1).mean()), rel=1e-4)


def test_relativistic_weighs_its_penalties_less_as_the_training_goes_on():
    made = loss("relativistic", gamma=4.0, gamma_end=1.0, anneal=100)
    x, w = torch.randn(5, 4), torch.tensor([1.0, 0.0, 0.0, 0.0])
    told = []
    for t in (0, 50, 100, 1000):
        told.append(float(made.discriminator(lambda x: x @ w, x, x, t=t)["r2"].detach()))
    assert told == pytest.approx([2.0, 1.25, 0.5, 0.5], rel=1e-5)


def test_r3gan_anneals_its_learning_rate_and_beta2_as_functions_of_the_step(images):
    config = small("r3gan", images(), parts={"strategy": {"lr": 1e-3, "lr_end": 1e-4, "beta2": 0.9, "beta2_end": 0.99, "anneal": 10}})
    session = built(config)
    strategy = session.strategy
    for t, lr, beta2 in ((10, 1e-4, 0.99), (0, 1e-3, 0.9), (5, 5.5e-4, 0.945)):
        session.step(t)
        for optimiser in strategy.optimisers().values():
            assert [(g["lr"], *g["betas"]) for g in optimiser.param_groups] == [pytest.approx((lr, 0.0, beta2))]


def test_r3gan_blocks_start_as_the_identity_and_no_layer_normalises(images):
    wide = {"width": 32, "group": 16}
    config = small("r3gan", images(3, 32, n=8), parts={"generator": wide, "discriminator": wide}, batch_size=4)
    session = built(config)
    strategy = session.strategy
    blocks = [m for m in strategy.modules() if type(m).__name__ == "Block"]
    assert len(blocks) == 2 * 4 * config.options["generator"].blocks
    for block in blocks:
        x = torch.randn(2, block.expand.in_channels, 4, 4)
        assert torch.equal(block(x), x)
        assert block.mix.groups * 16 == block.mix.in_channels == 2 * block.expand.in_channels
        layers = 4 * config.options["generator"].blocks
        wanted = math.sqrt(2 / 1.04) * layers ** (-1 / 4) / math.sqrt(block.mix.weight[0].numel())
        assert float(block.mix.weight.detach().std()) == pytest.approx(wanted, rel=0.1)
    assert not any(isinstance(m, nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm) for m in strategy.modules())
    x = samples(session, 256)
    assert 0.3 < float(x.std()) < 3


def test_r3gan_resamples_with_the_bilinear_filter():
    """A constant stays one but for the border; a point becomes [1 2 1] x [1 2 1] / 4, or that of it which every other pixel sees."""
    from ganzoo_r3gan.model import Resample

    ones, point = torch.ones(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    point[..., 4, 4] = 1
    up, down = Resample(3, 3, up=True), Resample(3, 3, up=False)
    assert torch.equal(up(ones)[..., :-1, :-1], torch.ones(1, 3, 15, 15))
    assert torch.equal(down(ones)[..., 1:, 1:], torch.ones(1, 3, 3, 3))
    assert torch.equal(up(point)[0, 0, 7:10, 7:10], torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4)
    assert float(down(point)[0, 0, 2, 2]) == 0.25


def norms(D):
    """The largest singular value of every weight that the network uses, by SVD; in eval mode, which moves nothing."""
    D.eval()
    weights = [m.weight.detach().flatten(1) for m in D.modules() if isinstance(getattr(m, "weight", None), torch.Tensor)]
    D.train()
    return [float(torch.linalg.svdvals(w)[0]) for w in weights]


@pytest.mark.parametrize("name", ["sngan", "sngan-resnet"])
def test_every_layer_of_sngans_discriminator_keeps_spectral_norm_one_while_it_learns(name, images):
    config = small("sngan", images(), {"generator": name, "discriminator": name}, parts={"strategy": {"lr_d": 1e-3, "lr_g": 1e-3}})
    session = built(config)
    strategy = session.strategy
    before = norms(strategy.D)
    assert len(before) == sum(isinstance(m, nn.Conv2d | nn.Linear) for m in strategy.D.modules()) > 5
    assert before == pytest.approx([1.0] * len(before), abs=1e-4)
    start = {name: p.detach().clone() for name, p in strategy.D.named_parameters()}
    for t in range(40):
        session.step(t)
    assert all(not torch.equal(start[name], p) for name, p in strategy.D.named_parameters())
    assert norms(strategy.D) == pytest.approx([1.0] * len(before), abs=0.1)  # one power iteration a pass follows with some delay


def test_the_power_iteration_of_sngan_is_saved_moves_in_training_only_and_finds_the_norm(images):
    from ganzoo.runs import checkpoint

    session = built(small("sngan", images()))

    strategy = session.strategy
    us = {name: value for name, value in checkpoint.tensors_of(strategy).items() if name.endswith(".u")}
    assert len(us) == 6
    x = next(session.batches)["x"]
    with torch.no_grad():
        for u in us.values():
            u.copy_(torch.nn.functional.normalize(torch.randn(u.shape), dim=0))
    lost = {name: u.clone() for name, u in us.items()}
    assert max(norms(strategy.D)) > 1.05
    strategy.D.eval()(x)
    samples(session, 4)
    assert all(torch.equal(lost[name], u) for name, u in us.items())
    strategy.D.train()
    for _ in range(200):
        strategy.D(x)
    assert not any(torch.equal(lost[name], u) for name, u in us.items() if len(u) > 1)
    assert norms(strategy.D) == pytest.approx([1.0] * 6, abs=1e-3)


def test_sngan_counts_its_singular_vectors_as_constants_and_works_in_fp32_under_autocast():
    """The gradient of W / (u^T W v) is orthogonal to W: scaling a weight changes nothing."""
    from ganzoo_sngan.model import spectral

    torch.manual_seed(0)
    layer = spectral(nn.Linear(6, 4))
    w = layer.parametrizations.weight.original
    (gradient,) = torch.autograd.grad((layer.weight * torch.randn(4, 6)).sum(), w)
    assert abs(float((gradient * w.detach()).sum())) < 1e-5
    exact = layer.eval().weight.detach()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.weight.detach(), exact)


def test_cgan_gives_both_players_the_labels_of_the_batch(images):
    session = built(small("cgan", images()))
    strategy = session.strategy
    seen = []
    for network in (strategy.G, strategy.D):
        forward = network.forward
        network.forward = lambda forward=forward, **inputs: (seen.append(inputs["y"]), forward(**inputs))[1]
    drawn = []

    def watched():
        for batch in session.batches:
            drawn.append(batch["y"])
            yield batch

    strategy.step(watched(), 0)
    # G, D on real and D on fake images; then G and D for G's own step.
    assert len(drawn) == 1
    assert len(seen) == 5
    assert all(torch.equal(y, drawn[0]) for y in seen)


def test_another_class_changes_what_cgan_draws_and_what_its_discriminator_says(images):
    session = built(small("cgan", images()))
    strategy = session.strategy
    z = torch.randn(1, 100).repeat(3, 1)
    x = samples(session, 3, z=z, y=torch.arange(3))
    said = strategy.D(next(session.batches)["x"][:1].repeat(3, 1, 1, 1), y=torch.arange(3)).detach()
    for i, j in ((0, 1), (1, 2), (0, 2)):
        assert not torch.allclose(x[i], x[j])
        assert abs(float(said[i] - said[j])) > 1e-4


@pytest.mark.parametrize("name", ["minimax", "least-squares", "hinge", "wasserstein", "wgan-gp", "r1", "relativistic"])
def test_cgan_takes_every_loss_on_logits(name, images):
    session = built(small("cgan", images(), {"loss": name}))
    assert all(value.isfinite() for value in session.step(0).values())


def test_acgan_with_nothing_learned_has_the_value_of_guessing():
    zeros = lambda x: (torch.zeros(6), torch.zeros(6, 10))  # noqa: E731
    y = torch.arange(6)
    made = loss("acgan")
    assert total(made.discriminator(zeros, torch.ones(6, 4), torch.ones(6, 4), y=y)) == pytest.approx(2 * LOG2 + 2 * LOG10)
    assert total(made.generator(zeros, torch.ones(6, 4), torch.ones(6, 4), y=y)) == pytest.approx(LOG2 + LOG10)


@pytest.mark.parametrize(
    ("sure", "off", "information", "explained"), [(0.0, 1 / 3**0.5, 0.0, 0.0), (50.0, 0.0, LOG10, 1.0), (50.0, 1 / 12**0.5, LOG10, 0.75)]
)
def test_infogans_bound_is_0_for_a_q_that_knows_nothing_and_log_k_for_one_that_knows_all(sure, off, information, explained):
    """Equation 5, written out: H(c) + E log Q(c | x); and of N(mean, 1), -log Q is half the squared error, but for a constant."""
    c, u = torch.arange(10), torch.linspace(-1, 1, 20).view(10, 2)
    q = lambda x: (torch.zeros(10), sure * torch.nn.functional.one_hot(c, 10), u + off)  # noqa: E731
    made, x = loss("infogan", category_weight=2.0, continuous_weight=0.5), torch.ones(10, 4)
    g = made.generator(q, x, x, c=c, u=u)
    assert float(g["information"]) == pytest.approx(information, abs=1e-5)
    assert float(g["explained"]) == pytest.approx(explained, abs=1e-5)
    codes = 2 * (LOG10 - information) + 0.5 * 2 * off**2 / 2
    assert total(g) == pytest.approx(LOG2 + codes, abs=1e-5)
    assert total(made.discriminator(q, x, x, c=c, u=u)) == pytest.approx(2 * LOG2 + codes, abs=1e-5)


def test_infogan_learns_its_codes_and_without_lambda_they_stay_unread(images):
    def information(**weights):
        session = built(small("infogan", images(), batch_size=32, parts={"loss": weights}))
        return [float(session.step(t)["g/information"]) for t in range(60)][-1]

    assert information(category_weight=1.0) > 1.0
    assert information(category_weight=0.0) < 0.1


def test_infogan_with_another_number_of_codes_in_one_network_is_refused(images):
    with pytest.raises(UsageError, match=r"--generator.categories is 4, and --discriminator.categories is 10"):
        built(small("infogan", images(), parts={"generator": {"categories": 4}}))
    session = built(small("infogan", images(), parts={"generator": {"continuous": 0}, "discriminator": {"continuous": 0}}))
    assert list(session.strategy.exports()) == ["generator", "codes"]
    assert {"g/information", "g/continuous"} <= session.step(0).keys()


def test_both_acgan_players_gain_from_a_right_class():
    """Both minimise the cross-entropy: the signs of the paper's L_C."""
    y = torch.arange(6)
    right = lambda x: (torch.zeros(6), 5.0 * torch.nn.functional.one_hot(y, 10))  # noqa: E731
    zeros = lambda x: (torch.zeros(6), torch.zeros(6, 10))  # noqa: E731
    made, x = loss("acgan"), torch.ones(6, 4)
    guessed, known = (made.generator(D, x, x, y=y) for D in (zeros, right))
    assert total(made.discriminator(right, x, x, y=y)) < total(made.discriminator(zeros, x, x, y=y))
    assert total(made.generator(right, x, x, y=y)) < total(made.generator(zeros, x, x, y=y))
    assert float(guessed["class_accuracy"]) == pytest.approx(1 / 6)
    assert float(known["class_accuracy"]) == 1


def test_wasserstein_reports_the_estimate_that_the_critic_maximises():
    made = loss("wasserstein")
    terms = made.discriminator(lambda x: x.sum(1), torch.ones(5, 4), -torch.ones(5, 4))
    assert total(terms) == -8
    assert float(terms["wasserstein"]) == 8


def test_wgan_clips_every_parameter_of_its_critic_after_its_step(images):
    session = built(small("wgan", images()))
    strategy = session.strategy
    assert max(float(p.detach().abs().max()) for p in strategy.D.parameters()) > 0.01
    for t in range(2):
        session.step(t)
        assert max(float(p.detach().abs().max()) for p in strategy.D.parameters()) <= strategy.options.clip + 1e-9


def test_wgan_warms_its_critic_up_as_the_authors_do(images):
    from ganzoo.compose import resolve
    from ganzoo.config import Changes

    changes = Changes(
        {"dataset": str(images(1, 16)), "device": "cpu"}, options={"strategy": {"warmup": 25, "warmup_critic": 100, "n_critic": 5}}
    )
    config = resolve(catalogue(), "wgan", changes)
    session = built(config)
    strategy = session.strategy
    assert [strategy.d_steps(t) for t in (0, 24, 25, 499, 500, 501)] == [100, 100, 5, 5, 100, 5]


def test_began_moves_k_by_its_law(images):
    """L(x) = 1 and L(G(z)) = 0 with gamma 0.5 and lambda_k 0.001: k goes 0, 0.0005, 0.001, and M is 1.5."""
    config = small("began", images(), parts={"strategy": {"gamma": 0.5, "lambda_k": 0.001}})
    session = built(config)
    strategy = session.strategy
    ks = []
    for t in range(2):
        strategy.schedule(t)
        M = strategy.control(torch.tensor(1.0), torch.tensor(0.0))
        ks.append(float(strategy.k))
    assert ks == pytest.approx([0.0005, 0.001])
    assert float(M) == pytest.approx(1.5)
    for t in range(2, 5):
        strategy.schedule(t)
        strategy.control(torch.tensor(0.0), torch.tensor(9.0))
    assert float(strategy.k) == 0


def test_began_halves_its_learning_rate_when_M_stalls_down_to_a_floor(images):
    config = small("began", images(), parts={"strategy": {"patience": 10, "lr": 1e-4, "lr_min": 4e-5}})
    session = built(config)
    strategy = session.strategy
    rates = []
    for t in range(60):
        strategy.schedule(t)
        strategy.control(torch.tensor(1.0), torch.tensor(0.5))
        rates.append(float(strategy.lr))
    assert rates[5] == pytest.approx(1e-4)
    assert rates[15] == pytest.approx(5e-5)
    assert rates[-1] == pytest.approx(4e-5)
    session.step(60)
    assert strategy.options.g_rate == 4
    assert strategy.opt_D.param_groups[0]["lr"] == float(strategy.lr)
    assert strategy.opt_G.param_groups[0]["lr"] == 4 * float(strategy.lr)


def test_began_weighs_the_fakes_by_k_and_keeps_the_generator_out_of_it(images):
    session = built(small("began", images()))
    strategy = session.strategy
    strategy.k.fill_(0.25)
    told = session.step(0)
    assert float(told["d/fake"]) < 0
    assert float(told["d/real"]) > 0
    assert float(told["began/M"]) > 0


@pytest.mark.parametrize(("loss_name", "distance"), [("non-saturating", None), ("r1", 0.05), ("relativistic", 0.05)])
def test_the_dirac_gan_converges_with_gradient_penalties_and_circles_without(loss_name, distance):
    """Mescheder et al. 2018: D(x) = psi x, G gives theta, the data is 0. R1, or R1 and R2, end at the origin, the plain game does not."""
    options = {"r1": {"gamma": 0.6}, "relativistic": {"gamma": 0.3, "gamma_end": 0.3}}.get(loss_name, {})
    made = loss(loss_name, **options)
    theta, psi = torch.ones((), requires_grad=True), torch.ones((), requires_grad=True)
    opt_g, opt_d = torch.optim.SGD([theta], 0.1), torch.optim.SGD([psi], 0.1)
    zero = torch.zeros(1, 1)
    for _ in range(500):
        update((opt_g, made.generator(lambda x: (psi * x).sum(1), theta.view(1, 1), zero)))
        update((opt_d, made.discriminator(lambda x: (psi * x).sum(1), zero, theta.detach().view(1, 1))))
    end = math.hypot(float(theta.detach()), float(psi.detach()))
    assert end < distance if distance else end > 0.2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_r3gans_grouped_convolution_is_torchs_own_with_all_its_gradients(dtype):
    from ganzoo_r3gan.model import Grouped

    torch.manual_seed(0)
    ours, x = Grouped(12, 12, 3, 1, 1, groups=4).to(dtype), torch.randn(3, 12, 6, 5, dtype=dtype)
    theirs = nn.Conv2d(12, 12, 3, 1, 1, groups=4).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    told = []
    for layer in (ours, theirs):
        at = x.clone().requires_grad_(True)
        y = layer(at)
        (slope,) = torch.autograd.grad(y.tanh().sum(), at, create_graph=True)
        slope.square().sum().backward(inputs=[at, *layer.parameters()])
        told.append([y, slope, at.grad, *(p.grad for p in layer.parameters())])
    for own, wanted in zip(*told, strict=True):
        assert torch.allclose(own, wanted, rtol=0, atol=float(wanted.detach().abs().max()) * (1e-6 if dtype == torch.float32 else 1e-14))


def test_r3gans_convolution_computes_a_penalty_in_fp32_whatever_surrounds_it():
    """The gradient of the gradient is taken where a bf16 run has autocast on."""
    from ganzoo_r3gan.model import Grouped

    torch.manual_seed(0)
    layer, x = Grouped(4, 4, 3, 1, 1, groups=2), torch.randn(3, 4, 5, 5)

    def penalty():
        return ganzoo.gradient_norms(lambda v: layer(v).tanh().sum((1, 2, 3)), x).square().mean()

    told = []
    for bf16 in (False, True):
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            penalty().backward()
            told.append(layer.weight.grad)
            assert layer(x).dtype == (torch.bfloat16 if bf16 else torch.float32)
    assert torch.equal(*told)
