"""Products: the same rows however many are asked for, wherever the network is, whatever size a picture has."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import torch
from safetensors import safe_open
from torch import nn
from zoo import built, small

import ganzoo
from ganzoo import DataSpec, Export, Field, NetworkPart, Prior
from ganzoo.errors import GanzooError, UsageError
from ganzoo.registry.catalogue import catalogue
from ganzoo.runs import checkpoint
from ganzoo.runs.exported import BATCH, Exported, classes_of, load
from ganzoo.training import launch
from ganzoo.training.loop import Watch


class Made(ganzoo.Generator):
    """Makes the sum of its latents and its class, with the given number of rows too many."""

    record = NetworkPart("made", "", role="generator", latents=("z",), takes=("y",), gives=("x",), media=("points",))

    def __init__(self, spec, options=0):
        super().__init__(spec, options)
        self.weight = nn.Parameter(torch.ones(()))

    def latents(self):
        return {"z": Prior("normal", (2,))}

    def forward(self, z, y):
        assert z.device == y.device == self.weight.device
        x = torch.arange(2.0).expand(len(z) + self.options, 2) if z.is_meta else z + y[:, None]
        return torch.cat([x, x[: self.options]]) if self.options and not z.is_meta else x


class Halved(ganzoo.Generator):
    """Takes pictures whose sides are multiples of 4, and gives them at half the size, with what it was called with."""

    record = NetworkPart("halved", "", role="generator", takes=("source",), gives=("x", "seen"), multiple=4)

    def __init__(self, spec, options=None):
        super().__init__(spec, options)
        self.weight = nn.Parameter(torch.ones(()))
        self.shapes = []

    def forward(self, source):
        self.shapes.append(tuple(source.shape))
        return nn.functional.avg_pool2d(source, 2), source


class Enlarged(ganzoo.Generator):
    """Convolutions that look `options` pixels around them, and twice the size; with a mean over the whole picture where it is 0."""

    record = NetworkPart("enlarged", "", role="generator", takes=("source",), gives=("x",), multiple=2)

    def __init__(self, spec, options=5):
        super().__init__(spec, options)
        torch.manual_seed(0)
        self.net = nn.Sequential(*[nn.Conv2d(3, 3, 3, padding=1) for _ in range(options - 1)], nn.Conv2d(3, 12, 3, padding=1))
        self.largest = 0

    def forward(self, source):
        self.largest = max(self.largest, *source.shape[2:])
        y = self.net(source) if self.options else (source + source.mean((2, 3), keepdim=True)).repeat(1, 4, 1, 1)
        return nn.functional.pixel_shuffle(y, 2)


POINTS = DataSpec.of("points", (2,), 3)
PAIRS = DataSpec({"x": Field("image", (3, 4, 4)), "source": Field("image", (3, 8, 8))}, {"": ("x", "source")})


LARGER = DataSpec({"x": Field("image", (3, 16, 16)), "source": Field("image", (3, 8, 8))}, {"": ("x", "source")})


def points(options=0):
    return Exported(Made(POINTS, options), Export("G", ("z", "y")), "generator", POINTS)


def rows(product, n, seed=0, given=None):
    return torch.cat(list(product.outputs(n, seed, given)))


@pytest.mark.parametrize("recipe", ["dcgan", "acgan", "began", "sngan"])
def test_a_sample_depends_on_the_seed_and_its_number_alone(recipe, images):
    product = Exported.of(built(small(recipe, images(3))).strategy)
    n = 2 * BATCH + 3
    many = rows(product, n, 5)
    assert many.shape == (n, 3, 16, 16)
    assert many.dtype == torch.uint8
    for some in (1, 7, BATCH, BATCH + 1):
        assert torch.equal(rows(product, some, 5), many[:some]), some
    assert not torch.equal(rows(product, 7, 6), many[:7])


def test_drawing_leaves_torchs_random_state_and_the_mode_of_the_network(images):
    strategy = built(small("dcgan", images())).strategy
    before = torch.random.get_rng_state()
    rows(Exported.of(strategy), 5)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert strategy.G.training


def test_latents_and_classes_go_to_the_networks_device():
    product = points()
    product.network.to("meta")
    assert rows(product, BATCH + 1).tolist() == [[0.0, 1.0]] * (BATCH + 1)


def test_classes_come_in_turn_unless_they_are_named():
    z = torch.zeros(7, 2)
    assert rows(points(), 7, given={"z": z})[:, 0].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert rows(points(), 7, given={"z": z, "y": torch.full((7,), 2)})[:, 0].tolist() == [2] * 7


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(GanzooError, match=f"gives {BATCH + 1} rows for {BATCH}"):
        rows(points(1), 3)
    with pytest.raises(GanzooError, match="not a finite number"):
        rows(points(), 1, given={"z": torch.full((1, 2), float("nan"))})
    product = Exported(Halved(PAIRS), Export("G", ("source",)), "generator", PAIRS)
    with pytest.raises(UsageError, match="asks for source: it is applied to data"):
        rows(product, 3)


def test_what_a_product_is_for():
    made, halved = points(), Exported(Halved(PAIRS), Export("G", ("source",)), "generator", PAIRS)
    assert (made.asks, made.classes, made.has_truth) == ((), POINTS.fields["y"], False)
    assert (halved.asks, halved.classes, halved.has_truth) == (("source",), None, True)
    two = DataSpec({"x_a": Field("image", (3, 8, 8)), "x_b": Field("image", (3, 4, 4))}, {"a": ("x_a",), "b": ("x_b",)})
    translated = Exported(Halved(PAIRS), Export("G", {"source": "x_a"}, "x_b"), "a-to-b", two)
    assert (translated.asks, translated.key, translated.has_truth) == (("x_a",), "x_b", False)
    other = Exported(Halved(PAIRS), Export("G", ("source",), output="seen"), "seen", PAIRS)
    source = torch.rand(1, 3, 8, 8)
    assert torch.equal(torch.cat(list(other.raw(1, 0, {"source": source}))), source)


def test_pictures_of_another_size_are_padded_and_cut_and_fewer_at_once():
    network = Halved(PAIRS)
    product = Exported(network, Export("G", ("source",)), "generator", PAIRS)
    source = torch.rand(2, 3, 10, 22)
    x = torch.cat(list(product.raw(2, 0, {"source": source})))
    assert x.shape == (2, 3, 5, 11)
    assert torch.allclose(x, nn.functional.avg_pool2d(source, 2))
    assert network.shapes == [(int(BATCH / (10 * 22 / 64)), 3, 12, 24)]
    one = torch.cat(list(product.raw(1, 0, {"source": source[:1]})))
    assert torch.equal(one, x[:1])
    network.record = NetworkPart("halved", "", role="generator", takes=("source",), gives=("x",))
    with pytest.raises(UsageError, match="takes pictures of 8 pixels only, got 22x10"):
        list(product.raw(1, 0, {"source": source}))


@pytest.mark.parametrize(("height", "width"), [(20, 70), (64, 33), (97, 129), (8, 8)])
def test_tiles_give_what_the_whole_picture_gives_where_they_are_larger_than_what_is_looked_at(height, width):
    network = Enlarged(LARGER)
    product = Exported(network, Export("G", ("source",)), "generator", LARGER)
    tiles = product.tiles(33)
    assert (tiles.size, tiles.margin, tiles.exact) == (32, 6, True)  # 5 pixels, in multiples of 2
    source = torch.rand(2, 3, height, width) * 2 - 1
    network.largest = 0
    x = torch.cat(list(product.raw(2, 0, {"source": source}, tiles)))
    assert network.largest <= 32
    assert x.shape == (2, 3, 2 * height, 2 * width)
    assert torch.allclose(x, torch.cat(list(product.raw(2, 0, {"source": source}))), atol=1e-5)


def test_tiles_of_a_network_that_sees_the_whole_picture_fade_into_each_other():
    product = Exported(Enlarged(LARGER, 0), Export("G", ("source",)), "generator", LARGER)
    tiles = product.tiles(48)
    assert (tiles.margin, tiles.exact) == (12, False)
    for width in range(50, 150, 7):
        flat = torch.full((1, 3, 20, width), 0.25)
        (x,) = product.raw(1, 0, {"source": flat}, tiles)
        assert torch.allclose(x, torch.full((1, 3, 40, 2 * width), 0.5), atol=1e-6), width  # their weights add up to 1
    ramp = torch.linspace(-1, 1, 200).expand(1, 3, 20, 200)
    (x,) = product.raw(1, 0, {"source": ramp}, tiles)
    steps = x[0, 0, 0].diff().abs()
    assert float(steps.max()) < 0.05  # the means of neighbours differ by 0.2


def test_tiles_are_refused_where_they_make_no_sense():
    halved = Halved(PAIRS)
    product = Exported(halved, Export("G", ("source",)), "generator", PAIRS)
    assert product.tiles(16).margin == 0
    with pytest.raises(UsageError, match="wanted 16 pixels or more"):
        product.tiles(15)
    halved.record = NetworkPart("halved", "", role="generator", takes=("source",), gives=("x",))
    with pytest.raises(UsageError, match="takes pictures of 8 pixels only, and those whole"):
        product.tiles(64)
    with pytest.raises(UsageError, match="does not turn a picture into a picture"):
        points().tiles(64)


@pytest.mark.parametrize("takes", [("source",), ("mask", "source")])
def test_what_fills_holes_is_given_them_as_in_training_and_changes_nothing_else(takes):
    class Filled(Halved):
        record = NetworkPart("filled", "", role="generator", takes=takes, gives=("x",), multiple=1)

        def forward(self, source, mask=None):
            self.seen = source, mask
            return -source

    x, mask = Field("image", (3, 8, 8)), Field("image", (1, 8, 8))
    data = DataSpec({"x": x, "source": x, "mask": mask}, {"": ("x", "source", "mask")})
    entry = catalogue().get("degradation", "mask")
    degradation = entry.build(DataSpec({"x": x}, {"": ("x",)}), entry.options({}, "--degradation."))
    network = Filled(data)
    product = Exported(network, Export("G", takes), "generator", data, degradation=degradation)
    assert (product.fills, product.wants) == (True, ("source", "mask"))
    picture = torch.arange(256, dtype=torch.uint8)[torch.randperm(256)].repeat(3)[: 3 * 16 * 16].view(1, 3, 16, 16)
    hole = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    hole[:, :, 3:7, 5:12] = 200
    made = torch.from_numpy(ganzoo.Model(product).apply(picture, mask=hole, to="array")).permute(0, 3, 1, 2)
    source, told = network.seen
    missing = (hole > 127).expand(1, 3, -1, -1)
    assert not source[0][missing[0]].any()
    assert told is None or set(told[0].unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(made[~missing], picture[~missing])
    assert set(made[missing].tolist()) == {128}  # grey, turned round
    with pytest.raises(UsageError, match="one of the picture's size, 16 pixels; got 15x16"):
        ganzoo.Model(product).apply(picture, mask=hole[..., :15])


def test_classes_are_known_by_number_and_name():
    field = Field("label", (), 3, ("cat", "Dog", "cow"))
    assert classes_of(["dog", 0, "2"], field) == [1, 0, 2]
    with pytest.raises(UsageError, match="numbers from 0 to 2, or one of cat, Dog, cow; got 'horse'"):
        classes_of(["horse"], field)


def test_the_last_sheet_of_a_run_shows_what_its_seed_draws_from_its_file(images, ganzoo, tmp_path):
    folder = launch.start(small("gan", images(), steps=3, seed=4), tmp_path / "run", Watch())
    assert ganzoo("sample", folder, "--seed", 4, "--out", tmp_path / "again.png").returncode == 0
    assert (tmp_path / "again.png").read_bytes() == (folder / "samples" / "000003.png").read_bytes()
    assert load(catalogue(), folder).step == 3


def test_a_product_says_what_it_is_and_is_written_alike_each_time(images, tmp_path, monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    folder = launch.start(small("gan", images(3), steps=2), tmp_path / "run", Watch())
    file, created = folder / "generator.safetensors", json.loads((folder / "config.json").read_text())["created"]
    with safe_open(file, "pt") as opened:
        told = {key.removeprefix("modelspec."): text for key, text in opened.metadata().items() if key != "ganzoo"}
    assert told.pop("hash_sha256").startswith("0x")
    assert told == {
        "sai_model_spec": "1.0.1",
        "architecture": "ganzoo-mlp/generator",
        "implementation": "ganzoo",
        "title": f"generator of gan, trained on {images(3).stem}, step 2",
        "resolution": "16x16",
        "date": created,
    }
    assert datetime.now(UTC) - datetime.fromisoformat(created) < timedelta(minutes=10)
    first = file.read_bytes()
    file.unlink()  # as if it had been killed before this file
    launch.resume(catalogue(), folder, None, Watch())
    assert file.read_bytes() == first


def test_two_runs_are_alike_in_all_bytes_where_their_date_is_given(images, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    folders = [launch.start(small("gan", images(), steps=1), tmp_path / name, Watch()) for name in "ab"]
    for name in ("generator.safetensors", "config.json"):
        one, other = ((folder / name).read_bytes() for folder in folders)
        assert one == other
        assert b"1970-01-02T00:00:00+00:00" in one


def test_a_file_that_names_more_than_it_can_hold_is_refused_before_anything_is_built(images, tmp_path):
    import time

    folder = launch.start(small("gan", images(), steps=1), tmp_path / "run", Watch())
    tensors, meta = checkpoint.read(folder / "generator.safetensors")
    for name in [name for name, value in meta["options"].items() if isinstance(value, int)]:
        checkpoint.write(tmp_path / "g.safetensors", tensors, meta | {"options": meta["options"] | {name: 3_000_000_000}})
        start = time.process_time()
        with pytest.raises(GanzooError, match=f"its option {name} is 3000000000"):
            load(catalogue(), tmp_path / "g.safetensors")
        assert time.process_time() - start < 5


def test_what_is_applied_to_16_bit_pictures_takes_them_as_its_data_was_taken(tmp_path):
    import numpy as np
    from PIL import Image

    from ganzoo.registry.catalogue import medium

    Image.fromarray(np.array([[0, 1000], [2000, 4000]], np.uint16)).save(tmp_path / "a.png")
    field = Field.from_json(Field("image", (1, 2, 2), peak=4000).to_json())
    (row,) = medium("image").read(tmp_path / "a.png", field)
    assert row.flatten().tolist() == [0, 63, 127, 255]
    (plain,) = medium("image").read(tmp_path / "a.png", Field("image", (1, 2, 2)))
    assert plain.flatten().tolist() == [0, 3, 7, 15]
