"""The data sets that everybody compares on, and two toys in the plane."""

from __future__ import annotations

import math

from ganzoo import DataSet, hookimpl

GANZOO_API = 1
RING = tuple((2 * math.cos(2 * math.pi * i / 8), 2 * math.sin(2 * math.pi * i / 8)) for i in range(8))
GRID = tuple((float(x), float(y)) for x in range(-4, 5, 2) for y in range(-4, 5, 2))
RING_SIGMA, GRID_SIGMA = 0.02, 0.05


@hookimpl
def ganzoo_register() -> list[DataSet]:
    return [
        DataSet(
            "fashion-10k",
            "ganzoo_datasets.sets:fashion_10k",
            title="Fashion-MNIST, the 10,000 test images",
            summary="Comes with ganzoo: nothing is downloaded.",
            test="fashion-mnist",
            keys=("x", "y"),
            classes=10,
            image_size=28,
            licence="MIT, Zalando SE",
            source="https://github.com/zalandoresearch/fashion-mnist",
        ),
        DataSet(
            "fashion-mnist",
            "ganzoo_datasets.sets:fashion_mnist",
            title="Fashion-MNIST, the 60,000 training images",
            test="fashion-10k",
            keys=("x", "y"),
            classes=10,
            image_size=28,
            licence="MIT, Zalando SE",
            source="https://github.com/zalandoresearch/fashion-mnist",
        ),
        DataSet(
            "mnist",
            "ganzoo_datasets.sets:mnist",
            title="MNIST, the 60,000 training digits",
            keys=("x", "y"),
            classes=10,
            image_size=28,
            licence="CC BY-SA 3.0",
            source="https://yann.lecun.com/exdb/mnist/",
        ),
        DataSet(
            "cifar10",
            "ganzoo_datasets.sets:cifar10",
            title="CIFAR-10, the 50,000 training images",
            keys=("x", "y"),
            classes=10,
            image_size=32,
            licence="research use",
            source="https://www.cs.toronto.edu/~kriz/cifar.html",
        ),
        DataSet(
            "celeba",
            "ganzoo_datasets.celeba:celeba",
            title="CelebA, aligned faces",
            summary="The centre square, 178 x 178 of 178 x 218, at 64 pixels. --labels Male,Smiling: attributes as classes.",
            image_size=64,
            attributes=True,
            licence="non-commercial research",
            source="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        ),
        DataSet(
            "ring",
            "ganzoo_datasets.sets:ring",
            title="Eight Gaussians on a circle",
            modes=RING,
            sigma=RING_SIGMA,
            summary="100,000 points; radius 2, standard deviation 0.02.",
            kind="points",
            licence="none needed",
            source="made by code, as in arXiv:1704.00028",
        ),
        DataSet(
            "grid",
            "ganzoo_datasets.sets:grid",
            title="25 Gaussians on a grid",
            modes=GRID,
            sigma=GRID_SIGMA,
            summary="100,000 points; 5 x 5 from -4 to 4, standard deviation 0.05.",
            kind="points",
            licence="none needed",
            source="made by code, as in arXiv:1704.00028",
        ),
    ]
