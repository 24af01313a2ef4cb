"""What a strategy does for its author: views, wrappers, exports, averages."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

import ganzoo
from ganzoo import Alternating, AlternatingOptions, DataSpec, Export, Field, GanzooError, LossPart, NetworkPart, Prior, WrapperPart
from ganzoo.strategy import Builders, Strategy, update

SPEC = DataSpec.of("points", (2,), 3)


class G(ganzoo.Generator):
    def __init__(self, spec, options=None):
        super().__init__(spec, options)
        self.net = nn.Linear(4, 2)

    def latents(self):
        return {"z": Prior("normal", (4,))}

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z)


class D(ganzoo.Discriminator):
    def __init__(self, spec, options=None):
        super().__init__(spec, options)
        self.net = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze(1)


class Pairing(ganzoo.Discriminator):
    """Judges samples together with their latents, and gives two outputs."""

    def __init__(self, spec, options=None):
        super().__init__(spec, options)
        self.net = nn.Linear(6, 1)

    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.net(torch.cat([x, z], 1)).squeeze(1)
        return logits, logits * 2


class Softplus(ganzoo.Loss):
    def discriminator(self, D, x_real, x_fake, *, t):
        real, fake = D(x_real), D(x_fake)
        return {"real": softplus(-real).mean(), "fake": softplus(fake).mean(), "gap": (real.mean() - fake.mean()).detach()}

    def generator(self, D, x_fake, x_real, *, t):
        return {"fake": softplus(-D(x_fake)).mean()}


class Joined(Softplus):
    def discriminator(self, D, x_real, x_fake, *, t):
        real, fake = D(torch.cat([x_real, x_fake])).chunk(2)
        return {"real": softplus(-real).mean(), "fake": softplus(fake).mean()}


class Counts(ganzoo.Wrapper):
    """Adds a term and counts its turns."""

    def __init__(self, spec, options=None):
        super().__init__(spec, options)
        self.register_buffer("turns", torch.zeros(()))
        self.seen = []

    def look(self, seen):
        self.seen.append(tuple(seen))
        return {**seen, "x": seen["x"] + 1}

    def d_terms(self, turn):
        return {"size": turn.logits["real"].square().mean()}

    def g_terms(self, turn):
        return {"mine": turn.D(turn.x_fake).mean()}

    def after_d(self, turn):
        assert not turn.logits["real"].requires_grad
        self.turns.add_(1)
        return {"turns": self.turns.clone()}


RECORDS = {
    G: NetworkPart("g", "", role="generator", latents=("z",), gives=("x",), media=("points",)),
    D: NetworkPart("d", "", role="discriminator", takes=("x",), gives=("logits",), media=("points",)),
    Pairing: NetworkPart("pairing", "", role="discriminator", latents=("z",), takes=("x",), gives=("logits", "twice"), media=("points",)),
}


def builders(loss=Softplus, wrappers=(), classes=(G, D)):
    made = {RECORDS[cls].role: cls for cls in classes}

    def make(role, spec):
        network = made[role](spec)
        network.record = RECORDS[made[role]]
        return network

    def wrap(D):
        around = {}
        for i, cls in enumerate(wrappers):
            around[f"w{i}"] = cls(D.spec)
            around[f"w{i}"].record = WrapperPart(f"w{i}", "", needs=("logits", "real"))
        return around

    torch.manual_seed(0)
    return Builders(SPEC, loss(SPEC, None), LossPart("loss", ""), 10, None, make, wrap, lambda name: None)


def strategy(cls=Alternating, averages=False, **more):
    made = cls(builders(**more), AlternatingOptions())
    made.finish(averages)
    return made


def batches(n=8):
    while True:
        yield {"x": torch.randn(n, 2), "y": torch.arange(n) % 3}


def step(made, t=0):
    with ganzoo.draws(0, t):
        return made.step(batches(), t)


def test_detached_terms_are_logged_and_not_minimised():
    values = step(strategy())
    assert {"d/real", "d/fake", "d/gap", "g/fake"} == set(values)
    assert not any(value.requires_grad for value in values.values())
    p = nn.Parameter(torch.ones(()))
    update((torch.optim.SGD([p], 1.0), {"a": 2 * p, "seen": torch.tensor(100.0)}))
    assert float(p.detach()) == -1


def test_a_wrapper_looks_adds_terms_and_moves_its_state_after_the_update():
    plain, wrapped = strategy(), strategy(wrappers=[Counts])
    values = step(wrapped)
    assert float(values["w0/turns"]) == 1
    assert {"d/w0/size", "g/w0/mine"} <= set(values)
    assert "wrappers.D.w0.turns" in wrapped.state_dict()
    wrapper = wrapped.wrappers["D"]["w0"]
    assert set(wrapper.seen) == {("x",)}
    step(plain)
    assert not torch.equal(plain.D.net.weight, wrapped.D.net.weight)


def test_a_wrapper_around_several_discriminators_is_called_by_theirs():
    class Two(Alternating):
        def __init__(self, build, options):
            super().__init__(build, options)
            self.D_b = build.network("discriminator")

    made = strategy(Two, wrappers=[Counts])
    assert {wrapper.name for around in made.wrappers.values() for wrapper in around.values()} == {"D/w0", "D_b/w0"}


def test_a_loss_that_joins_real_and_fake_is_told_so():
    with pytest.raises(GanzooError, match="never judges those by themselves"):
        step(strategy(loss=Joined, wrappers=[Counts]))
    step(strategy(loss=Joined))


def test_a_view_knows_real_and_fake_and_binds_conditions_by_side():
    made = strategy(classes=(G, Pairing))
    real, fake, other = torch.randn(4, 2), torch.randn(4, 2), torch.randn(4, 2)
    z_real, z_fake = torch.randn(4, 4), torch.randn(4, 4)
    view = made.view(made.D, {"z": z_real}, fake={"z": z_fake})
    view.turn = ganzoo.Turn("d", 0, view, real, fake, {})
    assert torch.equal(view(real), made.D(real, z_real)[0])
    assert torch.equal(view(fake.detach()), made.D(fake, z_fake)[0])
    with pytest.raises(GanzooError, match="neither"):
        view(other)
    same = made.view(made.D, {"z": z_real})
    assert torch.equal(same.only("twice")(other), made.D(other, z_real)[1])


def test_the_gradient_at_real_samples_keeps_their_mark():
    made = strategy()
    x = torch.randn(4, 2)
    view = made.view(made.D)
    turn = view.turn = ganzoo.Turn("d", 0, view, x, torch.randn(4, 2), {})
    logits, norms = ganzoo.gradient_norms(view, x, logits=True)
    assert torch.equal(turn.logits["real"], logits)
    assert norms.shape == (4,)


@pytest.mark.parametrize(
    ("exports", "said"),
    [
        ({}, "names no network"),
        ({"generator": Export("H")}, "'H' is none"),
        ({"generator": Export("hidden")}, "'hidden' is none"),
        ({"generator": Export("empty")}, "'empty' is none"),
        ({"generator": Export("G", ("source",))}, "is called with z; the export names source"),
        ({"generator": Export("G", {"z": "noise"})}, "no field and no latent 'noise'"),
        ({"generator": Export("G", gives="x_b")}, "gives 'x_b', which is no field"),
        ({"generator": Export("G", output="mask")}, "gives x, no 'mask'"),
        ({"../generator": Export("G")}, "name of letters"),
    ],
)
def test_an_export_that_cannot_be_is_refused_before_step_0(exports, said):
    class Empty(ganzoo.Network):
        def forward(self):
            return None

    class Wrong(Alternating):
        def __init__(self, build, options):
            super().__init__(build, options)
            self.hidden = [build.network("generator")]
            self.empty = Empty(SPEC, None)

        def exports(self):
            return exports

    with pytest.raises(GanzooError, match=said.replace("(", r"\(")):
        strategy(Wrong)


def test_each_exported_network_is_averaged_once():
    class Both(Alternating):
        def exports(self):
            label = Field("label", size=2, names=("fake", "real"))
            return {"generator": Export("G"), "again": Export("G"), "judge": Export("D", ("x",), label, average=False)}

    made = strategy(Both, averages=True)
    assert set(made.averages) == {"G"}
    before = made.averages["G"].net.weight.clone()
    step(made)
    made.average(0.9, 5)  # (1 + 5) / (10 + 5) = 0.4: the average moves by 0.6
    expected = torch.lerp(before, made.G.net.weight.detach(), 0.6)
    assert torch.allclose(made.averages["G"].net.weight, expected)
    assert made.product("again") is made.averages["G"]
    assert made.product("judge") is made.D
    assert strategy(Both).product("generator").net.weight.requires_grad


def test_the_places_that_alternating_leaves_open_are_asked():
    class Mine(Alternating):
        asked: tuple = ()

        def d_steps(self, t):
            return 3 if t else 1

        def optimiser(self, network, side):
            return torch.optim.SGD(network.parameters(), 0.1)

        def after_d(self, t):
            self.asked = (*self.asked, t)

    made = strategy(Mine)
    step(made, 0)
    step(made, 1)
    assert made.asked == (0, 1, 1, 1)
    assert made.variant(0) != made.variant(1)
    assert isinstance(made.opt_G, torch.optim.SGD)


def test_a_phase_is_that_of_its_first_step():
    class Phased(Alternating):
        def phases(self):
            return {"learn": 0, "play": 4}

    made = strategy(Phased)
    assert [made.phase(t) for t in (0, 3, 4, 9)] == ["learn", "learn", "play", "play"]


def test_latents_are_drawn_by_the_names_of_the_network():
    made: Strategy = strategy()
    with ganzoo.draws(0):
        given = made.latents(5)
    assert given["z"].shape == (5, 4)
    assert made.fake(given).shape == (5, 2)


@pytest.mark.parametrize("d_steps", [1, 3])
def test_reused_fakes_are_those_of_d_s_last_step(d_steps):
    """G is called once a step of D, and its gradient is that of the last fakes, before the D that they taught."""
    made = Alternating(builders(), AlternatingOptions(d_steps=d_steps, reuse_fakes=True))
    made.finish(False)
    before, drawn = deepcopy(made.G), []
    made.G.register_forward_hook(lambda module, args, given, x: drawn.append((given["z"], x)), with_kwargs=True)
    terms = step(made)
    assert [x.requires_grad for _, x in drawn] == [*[False] * (d_steps - 1), True]
    loss = softplus(-made.D(before(drawn[-1][0]))).mean()
    assert terms["g/fake"] == loss
    for got, wanted in zip(made.G.parameters(), torch.autograd.grad(loss, before.parameters()), strict=True):
        assert torch.equal(got.grad, wanted)


def test_real_and_fake_samples_may_pass_d_in_one_batch_with_their_conditions_and_marks():
    made = strategy(classes=(G, Pairing))
    real, fake, z_real, z_fake = torch.randn(4, 2), torch.randn(3, 2), torch.randn(4, 4), torch.randn(3, 4)
    view = made.view(made.D, {"z": z_real}, fake={"z": z_fake})
    turn = view.turn = ganzoo.Turn("d", 0, view, real, fake, {})
    logits, norms = ganzoo.gradient_norms(view, real, fake, logits=True)
    apart = made.view(made.D, {"z": z_real}, fake={"z": z_fake})
    apart.turn = ganzoo.Turn("d", 0, apart, real, fake, {})
    wanted = [ganzoo.gradient_norms(apart, x, logits=True) for x in (real, fake)]
    assert torch.allclose(logits, torch.cat([own for own, _ in wanted]))
    assert torch.allclose(norms, torch.cat([own for _, own in wanted]))
    assert {name: len(own) for name, own in turn.logits.items()} == {"real": 4, "fake": 3}
    assert torch.equal(torch.cat([turn.logits["real"], turn.logits["fake"]]), logits)
