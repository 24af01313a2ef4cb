"""torchgan's Trainer beside ganzoo, by processor time, on the same networks, torchgan's DCGAN for 1 x 32 x 32.

    pip install --no-deps torchgan && python benchmarks/torchgan_speed.py --data FOLDER

FOLDER holds FashionMNIST/. torchgan is given the images ready, as a tensor; its Trainer runs as it stands, without TensorBoard, to the
end of the first epoch, where torchgan 0.1.0 fails with today's torchvision: it draws a sheet with an argument that is gone. Batches of
64, Adam. wgan, wgan-gp: a critic step of each batch, G's after every fifth. torchgan's gradient penalty is a loss of its own, with a pass
of G, one of the critic and a step of the optimiser more; ganzoo makes one step of both. Real images a second of processor time, one
thread, in turns, medians. "torchgan, bf16": what its loop would reach with ganzoo's means, as in peers.py.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peers import with_means
from torch import Tensor, nn

RECIPES: dict[str, dict[str, Any]] = {"dcgan": {}, "wgan": {"n_critic": 5, "warmup": 0}, "wgan-gp": {"d_steps": 5}}
WAYS: dict[str, dict[str, Any]] = {
    "torchgan": {},
    "torchgan, bf16": {"bf16": True},
    "ganzoo, fp32": {"precision": "fp32"},
    "ganzoo": {},
    "ganzoo, reused fakes": {"reuse_fakes": True},
}
BATCH, WIDTH, WARM = 64, 32, 10


class Stop(Exception):
    """Enough."""


class Timed:
    """A loader that stops the training after so many batches, and says how long those took that came after the first few."""

    batch_size = BATCH

    def __init__(self, images: Tensor, batches: int) -> None:
        self.loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, torch.zeros(len(images))), BATCH, shuffle=True)
        self.batches, self.seconds = batches, 0.0

    def __iter__(self) -> Iterator[list[Tensor]]:
        start = 0.0
        for i, batch in enumerate(self.loader):
            if i == WARM:
                start = time.process_time()
            if i == WARM + self.batches:
                self.seconds = time.process_time() - start
                raise Stop
            yield batch


def networks(recipe: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The classes of torchgan and their arguments."""
    from torchgan.models import DCGANDiscriminator, DCGANGenerator

    G = {"name": DCGANGenerator, "args": {"out_channels": 1, "step_channels": WIDTH, "last_nonlinearity": nn.Tanh()}}
    D = {"in_channels": 1, "step_channels": WIDTH, "last_nonlinearity": nn.Identity(), "batchnorm": recipe != "wgan-gp"}
    return G, {"name": DCGANDiscriminator, "args": D}


def theirs(recipe: str, data: Path, batches: int, chosen: dict[str, Any]) -> float:
    """Images a second of torchgan's Trainer."""
    from torchgan import losses
    from torchgan.trainer import Trainer

    from ganzoo import compose
    from ganzoo.config import Changes
    from ganzoo.registry.catalogue import catalogue

    run = {"dataset": "fashion-mnist", "data_dir": str(data), "image_size": "32"}
    rows = compose.resolve(catalogue(), "dcgan", Changes(run, {}, None, {})).prepare(lambda *told: None)
    images = rows.mapped["x"][: BATCH * (batches + WARM + 1)].float() / 127.5 - 1
    adam = {"name": torch.optim.Adam, "args": {"lr": 2e-4, "betas": (0.5, 0.999)}}
    G, D = networks(recipe)
    game = {
        "dcgan": lambda: [losses.MinimaxGeneratorLoss(), losses.MinimaxDiscriminatorLoss()],
        "wgan": lambda: [losses.WassersteinGeneratorLoss(), losses.WassersteinDiscriminatorLoss(clip=(-0.01, 0.01))],
        "wgan-gp": lambda: [losses.WassersteinGeneratorLoss(), losses.WassersteinDiscriminatorLoss(), losses.WassersteinGradientPenalty()],
    }[recipe]()
    loader = Timed(images, batches)
    with tempfile.TemporaryDirectory() as work:
        trainer = Trainer(
            {"generator": {**G, "optimizer": adam}, "discriminator": {**D, "optimizer": adam}}, game, device=torch.device("cpu"), epochs=1,
            ncritic=1 if recipe == "dcgan" else 5, sample_size=8, checkpoints=f"{work}/model/gan", recon=f"{work}/images",
        )  # fmt: skip
        with contextlib.suppress(Stop), with_means(chosen):
            trainer(loader)
    return batches * BATCH / loader.seconds


def parts(recipe: str) -> Any:
    """torchgan's networks as ganzoo has them: the classes and the hook that registers them, what a plugin's file needs."""
    import ganzoo
    from ganzoo import NetworkPart, Prior

    own = networks(recipe)

    class Generator(ganzoo.Generator):
        def __init__(self, spec: Any, options: Any) -> None:
            super().__init__(spec, options)
            self.net = own[0]["name"](**own[0]["args"])

        def latents(self) -> dict[str, Prior]:
            return {"z": Prior("normal", (100,))}

        def forward(self, z: Tensor) -> Tensor:
            x: Tensor = self.net.model(z[:, :, None, None])
            return x

    class Discriminator(ganzoo.Discriminator):
        def __init__(self, spec: Any, options: Any) -> None:
            super().__init__(spec, options)
            self.net = own[1]["name"](**own[1]["args"])

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.net(x)
            return logits.flatten()

    @ganzoo.hookimpl
    def ganzoo_register() -> list[Any]:
        single = recipe == "wgan-gp"
        return [
            NetworkPart("theirs", "theirs:Generator", "torchgan's", role="generator", latents=("z",), gives=("x",)),
            NetworkPart(
                "theirs", "theirs:Discriminator", "torchgan's", role="discriminator", takes=("x",), gives=("logits",), per_sample=single
            ),
        ]  # fmt: skip

    return Generator, Discriminator, ganzoo_register


def ours(recipe: str, data: Path, batches: int, chosen: dict[str, Any]) -> float:
    """Images a second of ganzoo's session."""
    from ganzoo import compose
    from ganzoo.config import Changes
    from ganzoo.registry import discovery
    from ganzoo.registry.catalogue import catalogue
    from ganzoo.training.session import open_session

    options = RECIPES[recipe] | {name: value for name, value in chosen.items() if name == "reuse_fakes"}
    run = {"dataset": "fashion-mnist", "data_dir": str(data), "image_size": "32", "device": "cpu", "ema": 0.0, "batch_size": BATCH}
    run |= {name: value for name, value in chosen.items() if name not in options}
    with tempfile.TemporaryDirectory() as work:
        file = Path(work) / "theirs.py"
        made = f"sys.path.insert(0, {str(Path(__file__).parent)!r})\nfrom torchgan_speed import parts\n"
        file.write_text(f"import sys\nGANZOO_API = 1\n{made}Generator, Discriminator, ganzoo_register = parts({recipe!r})\n")
        discovery.named.append(file)
        own = {"generator": "theirs", "discriminator": "theirs"}
        _, _, session = open_session(compose.resolve(catalogue(), recipe, Changes(run, own, (), {"strategy": options})))
        torch.set_num_threads(1)
        t, seen, start = 0, 0, 0.0
        while not start or session.batches.seen - seen < batches * BATCH:
            if t == WARM:
                seen, start = session.batches.seen, time.process_time()
            session.step(t)
            t += 1
        return (session.batches.seen - seen) / (time.process_time() - start)


def main() -> None:
    if sys.argv[1:2] == ["child"]:
        side, recipe, data, batches, chosen = json.loads(sys.argv[2])
        torch.set_num_threads(1)
        print((theirs if side == "theirs" else ours)(recipe, Path(data), batches, chosen))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    for recipe in RECIPES:
        # wgan's strategy has no such option: G makes one step after five of the critic.
        rates: dict[str, list[float]] = {name: [] for name in WAYS if recipe != "wgan" or "reused" not in name}
        for _ in range(args.rounds):
            for name in rates:
                side = "theirs" if name.startswith("torchgan") else "ours"
                asked = json.dumps([side, recipe, str(args.data.resolve()), args.batches, WAYS[name]])
                env = os.environ | {"OMP_NUM_THREADS": "1"}
                done = subprocess.run([sys.executable, __file__, "child", asked], env=env, stdout=subprocess.PIPE, text=True, check=True)
                rates[name].append(float(done.stdout.splitlines()[-1]))
        middle = {name: statistics.median(values) for name, values in rates.items()}
        for name, rate in middle.items():
            print(recipe, name, f"{rate:.0f}", f"{rate / middle['torchgan']:.2f}", sep="\t", flush=True)


if __name__ == "__main__":
    main()
