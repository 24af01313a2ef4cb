"""Features of a network that never learnt: VGG-16 with random weights (Naeem et al. 2020, arXiv:2002.09797, random embeddings)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import ganzoo
from ganzoo import DataSpec, ExtractorContext, Prior
from ganzoo_features import RandomOptions
from ganzoo_features.model import hash_of

#: Channels of the 3 x 3 convolutions of VGG-16, between the max pools that halve the image: Simonyan and Zisserman 2014, table 1, D.
BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
SIZE = 32  # 10,000 images take a minute on two cores; at the paper's 224 it would be 49 times as long
FEATURES = 64


def weights(seed: int, name: str, shape: tuple[int, ...], gain: float) -> nn.Parameter:
    """Weights (C_out, C_in, ...), uniform, of variance gain / fan in: He et al. 2015 for gain 2.

    Uniform, because whole multiples of 2^-24 and one product are the same on every processor, which logarithms and cosines are not.
    """
    with ganzoo.draws("ganzoo_features.random", seed):
        drawn = ganzoo.draw(name, Prior("uniform", shape[1:]), shape[0])
    return nn.Parameter(drawn * math.sqrt(3 * gain / math.prod(shape[1:])), requires_grad=False)


class RandomVGG(ganzoo.FeatureExtractor):
    """The 64 outputs of a VGG-16 that never learnt, for images of any size, resized to 32 x 32. Its weights are a function of the seed.

    All biases are 0. Torch's random state is neither read nor changed.
    """

    options: RandomOptions
    note = (
        "Features of random weights: the figures rank generators of the same data by as many samples. They are no FID, and no figure of a "
        "paper, of other data or of other features compares with them."
    )

    def __init__(self, spec: DataSpec, options: RandomOptions, context: ExtractorContext) -> None:
        super().__init__(spec, options, context)
        self.figure_names = {"fid": "FD-random", "kid": "KD-random"}
        layers: list[nn.Module] = []
        channels = 3
        for i, block in enumerate(BLOCKS, 1):
            for j, width in enumerate(block, 1):
                convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False, device="meta")  # so that it draws nothing
                convolution.weight = weights(options.seed, f"conv{i}_{j}", (width, channels, 3, 3), gain=2)
                layers += [convolution, nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2))
        last = nn.Linear(channels, FEATURES, bias=False, device="meta")
        last.weight = weights(options.seed, "features", (FEATURES, channels), gain=1)
        self.net = nn.Sequential(*layers, nn.Flatten(), last)
        self.weights_hash = hash_of(self.net.state_dict())
        self.eval().to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        with ganzoo.full_precision(x):
            x = F.interpolate(x.float(), (SIZE, SIZE), mode="bilinear", antialias=True) / 127.5 - 1
            features: Tensor = self.net(x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last))
            return features, None

    def protocol(self) -> dict[str, Any]:
        return {"resize": f"bilinear, antialiased, to {SIZE}", "random seed": self.options.seed}
