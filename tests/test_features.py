"""Feature extractors: Inception against torch-fidelity's, the classifier and its cache, pixels, random weights, DINOv2; what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ganzoo_features import ClassifierOptions, DinoOptions, RandomOptions
from ganzoo_features.dino import DinoV2
from ganzoo_features.model import Classifier, Pixels, hash_of
from ganzoo_features.vgg import RandomVGG
from ganzoo_inception import InceptionOptions
from ganzoo_inception.model import CARD, URL, Conv, Inception, network, shown
from safetensors.torch import load_file, save_file

from ganzoo import DataSpec, ExtractorContext, GanzooError, UsageError
from ganzoo.data.cache import data_folder

CPU = torch.device("cpu")
COLOUR = DataSpec.of("image", (3, 32, 32))
TRUNK = "inception2015_trunk768_fp16.safetensors"
LAYERS = ("64", "192", "768", "2048", "logits_unbiased", "logits")


def no_data():
    raise UsageError("there is no data")


def context(cache, layer="", training=no_data, told=None):
    progress = [] if told is None else told
    return ExtractorContext(layer, training, Path(cache), data_folder(None), CPU, lambda *words: progress.append(words))


def noise(n, channels, height, width=None, seed=0):
    """Smooth random images, uint8."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, 4, 4, generator=g) * 300 - 20
    x = torch.nn.functional.interpolate(coarse, (height, width or height), mode="bicubic") + 20 * torch.randn(1, generator=g)
    return (x + 10 * torch.rand(x.shape, generator=g)).clamp(0, 255).to(torch.uint8)


def inception(path, cache, layer):
    return Inception(COLOUR, InceptionOptions(str(path)), context(cache, layer))


def off(found, wanted):
    """The largest difference as a share of the largest value."""
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max() / wanted.abs().max())


# --- Inception ---


@pytest.fixture(scope="module")
def oracle():
    """A function: a state dict to torch-fidelity's network, which gives all layers."""
    fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")

    def build(state):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "load", lambda *args, **kwargs: state)
            patch.setattr(torch.nn.Conv2d, "reset_parameters", lambda self: None)
            return fidelity.FeatureExtractorInceptionV3("test", list(LAYERS), feature_extractor_weights_path="in the memory")

    return build


@pytest.fixture(scope="module")
def random_state():
    """Weights of all layers under torch-fidelity's names, with BatchNorm, such that the features neither grow nor vanish."""
    g = torch.Generator().manual_seed(0)
    state = {"fc.weight": torch.randn(1008, 2048, generator=g) / 45, "fc.bias": torch.randn(1008, generator=g)}
    for name, module in network("2048").named_modules():
        if isinstance(module, Conv):
            shape = module.conv.weight.shape
            n = shape[0]
            state[f"{name}.conv.weight"] = torch.randn(shape, generator=g) * (2 / shape[1:].numel()) ** 0.5
            state[f"{name}.bn.weight"] = 0.75 + 0.5 * torch.rand(n, generator=g)
            state[f"{name}.bn.bias"] = 0.1 * torch.randn(n, generator=g)
            state[f"{name}.bn.running_mean"] = 0.1 * torch.randn(n, generator=g)
            state[f"{name}.bn.running_var"] = 0.5 + torch.rand(n, generator=g)
            state[f"{name}.bn.num_batches_tracked"] = torch.tensor(0)
    return state


@pytest.fixture(scope="module")
def random_file(random_state, tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "inception2015.safetensors"
    save_file(random_state, path)
    return path


@pytest.fixture(scope="module")
def trunk(real_data):
    path = real_data / "inception" / TRUNK
    if not path.is_file():
        pytest.skip(f"the trunk of the genuine network is not at hand: there is no {path}")
    return path


@pytest.mark.parametrize(("channels", "size"), [(3, (32, 32)), (1, (28, 28)), (3, (299, 299)), (1, (64, 64)), (3, (320, 200))])
def test_images_are_resized_as_tensorflow_does_to_the_last_bit(channels, size):
    resize = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow").interpolate_bilinear_2d_like_tensorflow1x
    x = torch.randint(0, 256, (2, channels, *size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    wanted = (resize(x.expand(-1, 3, -1, -1).float(), size=(299, 299), align_corners=False) - 128) / 128
    assert torch.equal(shown(x), wanted)


def test_every_layer_is_torch_fidelitys(oracle, random_state, random_file, tmp_path):
    x = torch.cat([noise(2, 3, 40, seed=3), 255 - noise(1, 3, 40, seed=4)])
    with torch.no_grad():
        wanted = dict(zip(LAYERS, oracle(random_state)(x), strict=True))
        for layer in LAYERS:
            eye = inception(random_file, tmp_path, layer)
            features, logits = eye(x)
            print(layer, off(features, wanted[layer]))
            assert off(features, wanted[layer]) < 1e-5
            if layer in LAYERS[:3]:
                assert logits is None
            else:
                assert off(logits, wanted["logits" if layer == "logits" else "logits_unbiased"]) < 1e-5
    assert wanted["2048"].std(0).mean() > 1e-3, "the images look the same to random weights: the test tells nothing"


@pytest.mark.parametrize(("channels", "size", "n"), [(3, 32, 2), (1, 28, 1), (3, 299, 1), (1, 64, 1)])
def test_the_genuine_trunk_sees_what_torch_fidelitys_sees(oracle, random_state, trunk, tmp_path, channels, size, n):
    stored = {key: tensor.float() for key, tensor in load_file(trunk).items()}
    state = dict(random_state)
    for key in [key for key in stored if key.endswith(".conv.weight")]:
        name = key.removesuffix(".conv.weight")
        bias = stored[f"{name}.conv.bias"]
        one = torch.ones_like(bias)
        state |= {key: stored[key], f"{name}.bn.bias": bias, f"{name}.bn.weight": one, f"{name}.bn.running_var": one - 1e-3}
        state[f"{name}.bn.running_mean"] = torch.zeros_like(bias)
    x = noise(n, channels, size, seed=size)
    with torch.no_grad():
        reference = oracle(state)
        reference.features_list = ["64", "192", "768"]
        wanted = reference(x.expand(-1, 3, -1, -1))
        for layer, values in zip(reference.features_list, wanted, strict=True):
            found = inception(trunk, tmp_path, layer)(x)[0]
            print(channels, size, layer, off(found, values))
            assert off(found, values) < 1e-5


def test_distances_of_real_images_are_those_that_torch_fidelity_gives(real_data, trunk, tmp_path):
    """FID@768 of the first 50 images of CIFAR-10 and of the next 50 is 0.98 by torch-fidelity's code."""
    file = real_data / "cifar10" / "cifar10_train_5k.npz"
    if not file.is_file():
        pytest.skip(f"there is no {file}")
    import numpy as np

    with np.load(file) as arrays:
        x = torch.from_numpy(arrays["x"][:100]).permute(0, 3, 1, 2)
    eye = inception(trunk, tmp_path, "768")
    with torch.no_grad():
        features = torch.cat([eye(some)[0] for some in x.split(20)]).double()
    (m1, c1), (m2, c2) = ((part.mean(0), part.T.cov()) for part in features.split(50))
    cross = torch.linalg.eigvals(c1 @ c2).sqrt().real.sum()
    assert float((m1 - m2).square().sum() + c1.trace() + c2.trace() - 2 * cross) == pytest.approx(0.98, abs=0.005)


def test_what_inception_sees_does_not_depend_on_the_batch_or_its_order(random_file, tmp_path):
    eye = inception(random_file, tmp_path, "192")
    x = noise(5, 3, 32)
    together = eye(x)[0]
    assert off(torch.cat([eye(one)[0] for one in x.split(1)]), together) < 1e-5
    assert off(eye(x.flip(0))[0].flip(0), together) < 1e-5
    assert torch.equal(eye(x)[0], together)
    assert not together.requires_grad
    assert not eye.training


def test_weights_may_be_folded_before_and_stored_in_16_bits(random_state, random_file, tmp_path):
    folded = {}
    for name in {key.rpartition(".bn.")[0] for key in random_state if ".bn.weight" in key and not key.startswith("Mixed")}:
        scale = random_state[f"{name}.bn.weight"] / (random_state[f"{name}.bn.running_var"] + 1e-3).sqrt()
        folded[f"{name}.conv.weight"] = (random_state[f"{name}.conv.weight"] * scale.view(-1, 1, 1, 1)).half()
        folded[f"{name}.conv.bias"] = (random_state[f"{name}.bn.bias"] - random_state[f"{name}.bn.running_mean"] * scale).half()
    save_file(folded, tmp_path / "half.safetensors")
    x = noise(2, 3, 32)
    whole, half = inception(random_file, tmp_path, "192"), inception(tmp_path / "half.safetensors", tmp_path, "192")
    assert 1e-6 < off(half(x)[0], whole(x)[0]) < 5e-3
    assert half(x)[0].dtype == torch.float32
    assert half.weights_hash == hashlib.sha256((tmp_path / "half.safetensors").read_bytes()).hexdigest() != whole.weights_hash


def test_figures_are_called_by_the_layer_that_they_were_measured_with(random_file, tmp_path):
    calls = {layer: inception(random_file, tmp_path, layer).figure_names for layer in LAYERS}
    assert calls["2048"] == {"fid": "FID", "kid": "KID", "inception-score": "IS"}
    assert calls["768"] == {"fid": "FID@768", "kid": "KID@768"}
    assert calls["logits_unbiased"]["inception-score"] == "IS"
    assert "inception-score" not in calls["logits"], "the score is defined without the bias"
    assert inception(random_file, tmp_path, "64").protocol() == {"resize": "bilinear to 299 as in TensorFlow 1"}


def test_a_layer_whose_weights_are_missing_is_refused(random_state, tmp_path):
    save_file({key: tensor for key, tensor in random_state.items() if "_7" not in key}, tmp_path / "most.safetensors")
    with pytest.raises(UsageError, match=r"layer 2048 needs weights that are missing") as error:
        inception(tmp_path / "most.safetensors", tmp_path, "2048")
    assert "holds the network up to 768; layers 64, 192, 768 can be had, as in --features inception2015@768" in str(error.value)
    assert inception(tmp_path / "most.safetensors", tmp_path, "768").fc_weight is None
    save_file({key: tensor for key, tensor in random_state.items() if not key.startswith("fc")}, tmp_path / "headless.safetensors")
    headless = inception(tmp_path / "headless.safetensors", tmp_path, "2048")
    assert headless.fc_weight is None
    assert "inception-score" not in headless.figure_names
    with pytest.raises(UsageError, match="layer logits_unbiased needs weights"):
        inception(tmp_path / "headless.safetensors", tmp_path, "logits_unbiased")


def test_weights_are_looked_for_in_the_data_folder_then_in_the_cache(random_state, monkeypatch, tmp_path):
    monkeypatch.setenv("GANZOO_DATA", str(tmp_path / "data"))
    find = lambda layer: Inception(COLOUR, InceptionOptions(), context(tmp_path / "cache", layer))  # noqa: E731
    with pytest.raises(GanzooError) as error:
        find("64")
    for told in ("inception2015.safetensors", URL, "6726825d", str(tmp_path / "data"), str(tmp_path / "cache"), str(CARD)):
        assert told in str(error.value)
    assert "torch.load" in CARD.read_text(encoding="utf-8")
    (tmp_path / "cache").mkdir()
    (tmp_path / "data" / "inception").mkdir(parents=True)
    parts = {"64": ("Conv2d_1", "Conv2d_2"), "192": ("Conv2d",)}
    places = {"192": tmp_path / "cache/inception2015.safetensors", "64": tmp_path / "data" / "inception" / "inception2015-a.safetensors"}
    for layer, path in places.items():
        save_file({key: value for key, value in random_state.items() if key.startswith(parts[layer])}, path)
    in_cache = hashlib.sha256((tmp_path / "cache" / "inception2015.safetensors").read_bytes()).hexdigest()
    assert find("192").weights_hash == in_cache
    assert find("64").weights_hash == in_cache, "the very name comes first"
    (tmp_path / "cache" / "inception2015.safetensors").rename(tmp_path / "cache" / "inception2015-b.safetensors")
    assert find("64").weights_hash != in_cache
    assert find("192").weights_hash == in_cache, "of several, the first that holds the layer"


def test_the_lines_in_the_card_convert_the_published_file(random_state, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    stem = {key: tensor for key, tensor in random_state.items() if key.startswith(("Conv2d_1", "Conv2d_2"))}
    torch.save(stem, URL.rpartition("/")[2])
    exec(CARD.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0], {})
    assert inception(tmp_path / "inception2015.safetensors", tmp_path, "64")(noise(1, 3, 32))[0].shape == (1, 64)


def test_a_file_that_is_damaged_or_holds_something_else_is_refused(random_state, random_file, tmp_path):
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(random_file.read_bytes()[:100_000])
    with pytest.raises(GanzooError, match="is not a whole safetensors file"):
        inception(bad, tmp_path, "64")
    with pytest.raises(UsageError, match="there is no such file"):
        inception(tmp_path / "absent.safetensors", tmp_path, "64")
    (tmp_path / "weights.pth").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(GanzooError, match="ganzoo reads no pickle"):
        inception(tmp_path / "weights.pth", tmp_path, "64")
    stem = {key: tensor for key, tensor in random_state.items() if key.startswith(("Conv2d_1", "Conv2d_2"))}
    for key, tensor, reason in (
        ("Conv2d_2a_3x3.conv.weight", torch.zeros(32, 32, 5, 5), "holds another network: size mismatch"),
        ("Conv2d_2a_3x3.bn.bias", torch.zeros(7), "holds another network"),
        ("Conv2d_2a_3x3.bn.bias", torch.full((32,), torch.nan), r"Conv2d_2a_3x3\.bn\.bias holds what is no finite number"),
    ):
        save_file({**stem, key: tensor}, bad)
        with pytest.raises(GanzooError, match=reason):
            inception(bad, tmp_path, "64")
    save_file({"x": torch.zeros(1)}, bad)
    with pytest.raises(UsageError, match="holds no layer of this network"):
        inception(bad, tmp_path, "64")


def test_building_an_extractor_leaves_the_random_state_alone(random_file, tmp_path):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    inception(random_file, tmp_path, "64")
    Classifier(LABELLED, SMALL, context(tmp_path, training=striped))
    assert torch.equal(torch.get_rng_state(), before)


# --- Pixels ---


def test_pixels_are_taken_as_they_are():
    spec = DataSpec.of("image", (1, 2, 2))
    features, logits = Pixels(spec, None, context("."))(torch.tensor([[[[0, 255], [51, 102]]]], dtype=torch.uint8))
    assert logits is None
    assert features.tolist() == [[0, 1, pytest.approx(0.2), pytest.approx(0.4)]]
    points = torch.randn(5, 2)
    eye = Pixels(DataSpec.of("points", (2,)), None, context("."))
    assert torch.equal(eye(points)[0], points)
    assert (eye.weights_hash, eye.figure_names, eye.protocol()) == ("", {}, {})


@pytest.mark.parametrize(
    ("shape", "window", "numbers"),
    [((1, 32, 32), 1, 1024), ((3, 32, 32), 2, 768), ((3, 64, 64), 4, 768), ((3, 33, 35), 2, 3 * 17 * 18), ((3, 512, 256), 20, 3 * 26 * 13)],
)
def test_pixels_of_large_images_are_averaged_so_that_a_figure_takes_seconds(shape, window, numbers):
    eye = Pixels(DataSpec.of("image", shape), None, context("."))
    x = torch.randint(0, 256, (2, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    features, _ = eye(x)
    assert features.shape == (2, numbers)
    assert float(features[1, 0]) == pytest.approx(float(x[1, 0, :window, :window].double().mean()) / 255, rel=1e-5)
    top, left = (-(-side // window) * window - window for side in shape[1:])
    rest = x[1, -1, top:, left:]
    assert float(features[1, -1]) == pytest.approx(float(rest.double().mean()) / 255, rel=1e-5), "at the edge, of what is there"
    assert eye.protocol() == ({"resize": f"means of {window} x {window} pixels"} if window > 1 else {})


# --- Random weights ---

DRAWN = "41175b334aa274c72ac05c4462fbb7ef64a19953bb8d1968cdd77618a0bd2ba3"


@pytest.fixture(scope="module")
def untaught():
    return RandomVGG(COLOUR, RandomOptions(), context("."))


def test_random_weights_are_a_function_of_the_seed_alone(untaught):
    """The hash is that of every machine: the weights are products of whole multiples of 2^-24, and no logarithm is taken."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = RandomVGG(DataSpec.of("image", (1, 9, 9)), RandomOptions(), context("."))
    other = RandomVGG(COLOUR, RandomOptions(seed=1), context("."))
    assert torch.equal(torch.get_rng_state(), before)
    assert untaught.weights_hash == again.weights_hash == hash_of(untaught.net.state_dict()) == DRAWN != other.weights_hash
    assert untaught.protocol() == {"resize": "bilinear, antialiased, to 32", "random seed": 0}
    assert other.protocol()["random seed"] == 1
    assert untaught.figure_names == {"fid": "FD-random", "kid": "KD-random"}
    assert "no FID" in untaught.note


def test_the_random_network_is_vgg_16(untaught):
    """Its convolutions are those of torchvision's, and neither grow nor vanish what goes through: variance 2 / fan in, He et al. 2015."""
    vgg = pytest.importorskip("torchvision.models.vgg")
    with torch.device("meta"):
        wanted = vgg.vgg16(weights=None).features
    kinds = [type(layer) for layer in untaught.net[:-2]]
    assert kinds == [type(layer) for layer in wanted]
    for ours, theirs in zip(untaught.net, wanted, strict=False):
        if isinstance(theirs, torch.nn.Conv2d):
            assert (ours.weight.shape, ours.padding, ours.stride) == (theirs.weight.shape, theirs.padding, theirs.stride)
            assert float(ours.weight.var()) == pytest.approx(2 / ours.weight[0].numel(), rel=0.05)
            assert not ours.weight.requires_grad
    assert untaught.net[-1].weight.shape == (64, 512)


@pytest.mark.parametrize(("channels", "size"), [(3, (32, 32)), (1, (28, 28)), (3, (1, 1)), (3, (48, 200))])
def test_random_features_are_those_of_the_resized_image(untaught, channels, size):
    x = torch.randint(0, 256, (3, channels, *size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    small = torch.nn.functional.interpolate(x.float(), (32, 32), mode="bilinear", antialias=True).expand(-1, 3, -1, -1) / 127.5 - 1
    wanted = untaught.net(small)
    features, logits = untaught(x)
    assert logits is None
    assert features.shape == (3, 64)
    assert not features.requires_grad
    assert off(features, wanted) < 1e-5
    assert off(untaught(x[:1])[0], features[:1]) < 1e-5
    assert 0.01 < float(features.square().mean()) < 100


def test_random_features_know_real_photos_from_blurred_and_from_noisy_ones_and_less_from_more(untaught, real_data):
    file = real_data / "cifar10" / "cifar10_train_5k.npz"
    if not file.is_file():
        pytest.skip(f"there is no {file}")
    import numpy as np
    from ganzoo_metrics.model import FID

    from ganzoo import FeatureBatch

    with np.load(file) as arrays:
        x = torch.from_numpy(arrays["x"][:600]).permute(0, 3, 1, 2)
    real, fresh = x.split(300)

    def distance(fake):
        sides = []
        for some in (fake, real):
            sides.append(FID(COLOUR, None).accumulator(len(some)))
            for lot in some.split(50):
                sides[-1].add(FeatureBatch(lot, untaught(lot)[0]))
        return FID(COLOUR, None).compute(*sides)["fid"]

    def noisy(deviation):
        g = torch.Generator().manual_seed(0)
        return (fresh + deviation * torch.randn(fresh.shape, generator=g)).clamp(0, 255).to(torch.uint8)

    def blurred(window):
        return torch.nn.functional.avg_pool2d(fresh.float(), window, 1, window // 2, count_include_pad=False).to(torch.uint8)

    figures = [[distance(some) for some in (fresh, *worse)] for worse in ((noisy(20), noisy(60)), (blurred(3), blurred(7)))]
    print(figures)
    for best, middle, worst in figures:
        assert 2 * best < middle < worst


# --- The classifier ---

LABELLED = DataSpec.of("image", (1, 16, 16), 3)
SMALL = ClassifierOptions(epochs=1, min_steps=40, width=4, batch_size=16)


def striped(channels=1, size=16, n=120, spec=None, checksum="abc"):
    """Data whose class is the direction of its stripes, or that it has none."""
    g = torch.Generator().manual_seed(0)
    y = torch.randint(3, (n,), generator=g)
    line = (torch.arange(size) % 4 < 2).float() * 160
    flat = torch.full((size, size), 80.0)
    x = torch.stack([line.expand(size, size), line[:, None].expand(size, size), flat])[y][:, None]
    x = (x.expand(-1, channels, -1, -1) + 60 * torch.rand(n, channels, size, size, generator=g)).to(torch.uint8)
    spec = spec or DataSpec.of("image", (channels, size, size), 3)
    return SimpleNamespace(name="stripes", spec=spec, checksum=checksum, load=lambda: {"x": x, "y": y})


def unused():
    raise AssertionError("it learns again")


def test_the_classifier_learns_the_labels_and_is_judged_on_others(tmp_path):
    told = []
    eye = Classifier(LABELLED, SMALL, context(tmp_path, training=striped, told=told))
    assert eye.accuracy > 0.9
    assert told[-1] == (f"the classifier gets {eye.accuracy:.1%} of held-out images right", 1, 1)
    assert told[0][0] == "training the classifier"
    data = striped().load()
    features, logits = eye(data["x"])
    assert features.shape == (120, 128)
    assert logits.shape == (120, 3)
    assert float((logits.argmax(1) == data["y"]).float().mean()) > 0.9
    assert not features.requires_grad
    assert not eye.training
    assert eye.figure_names["fid"] == "cFID"
    assert off(torch.cat([eye(one)[0] for one in data["x"][:7].split(1)]), features[:7]) < 1e-5


def test_the_classifier_is_learnt_once_and_found_again(tmp_path):
    first = Classifier(LABELLED, SMALL, context(tmp_path, training=striped))
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    again = Classifier(LABELLED, SMALL, context(tmp_path, training=striped))
    assert again.weights_hash == first.weights_hash
    assert again.accuracy == first.accuracy
    assert file.stat().st_mtime_ns == written
    x = striped().load()["x"]
    assert torch.equal(again(x)[0], first(x)[0])
    Classifier(LABELLED, ClassifierOptions(epochs=1, min_steps=1, width=4), context(tmp_path, training=striped))
    Classifier(LABELLED, SMALL, context(tmp_path, training=lambda: striped(checksum="other")))
    assert len(list(tmp_path.iterdir())) == 3, "other options and other data have files of their own"


def test_the_same_data_gives_the_same_weights_whatever_happened_before(tmp_path):
    torch.manual_seed(1)
    first = Classifier(LABELLED, SMALL, context(tmp_path / "a", training=striped))
    torch.manual_seed(2)
    torch.set_num_threads(2)
    try:
        with torch.no_grad():
            second = Classifier(LABELLED, SMALL, context(tmp_path / "b", training=striped))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert first.weights_hash == second.weights_hash != ""


@pytest.mark.parametrize("damage", ["cut", "a bit", "empty", "another"])
def test_a_damaged_classifier_is_learnt_again(tmp_path, damage):
    first = Classifier(LABELLED, SMALL, context(tmp_path, training=striped))
    (file,) = tmp_path.iterdir()
    whole = bytearray(file.read_bytes())
    if damage == "another":
        save_file({"x": torch.zeros(1)}, file)
    else:
        whole[-100] ^= 1
        file.write_bytes({"cut": whole[:-10], "a bit": whole, "empty": b""}[damage])
    again = Classifier(LABELLED, SMALL, context(tmp_path, training=striped))
    assert again.weights_hash == first.weights_hash
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert again.accuracy == first.accuracy > 0


@pytest.mark.parametrize(("channels", "size"), [(3, 8), (1, 9), (3, 70), (1, 129)])
def test_the_classifier_takes_any_size(tmp_path, channels, size):
    def training():
        return striped(channels, size, n=30)

    eye = Classifier(training().spec, ClassifierOptions(min_steps=2, width=4), context(tmp_path, training=training))
    x = training().load()["x"]
    assert eye(x)[0].shape == (30, 128)
    if channels == 3:
        assert torch.equal(eye(x[:, :1])[0], eye(x[:, :1].expand(-1, 3, -1, -1))[0]), "grey images become three equal colours"


def test_the_classifier_says_what_it_cannot_learn_from(tmp_path):
    with pytest.raises(UsageError, match=r"this data has none\. Take --features random or inception2015.*--labels for CelebA"):
        Classifier(DataSpec.of("image", (1, 16, 16)), SMALL, context(tmp_path, training=unused))
    with pytest.raises(UsageError, match="8 pixels or more, got 7 x 7"):
        Classifier(DataSpec.of("image", (1, 7, 7), 3), SMALL, context(tmp_path, training=unused))
    with pytest.raises(UsageError, match="the labels of stripes, which has none"):
        Classifier(LABELLED, SMALL, context(tmp_path, training=lambda: striped(spec=DataSpec.of("image", (1, 16, 16)))))
    with pytest.raises(GanzooError, match="2 images are too few"):
        Classifier(LABELLED, SMALL, context(tmp_path, training=lambda: striped(n=2)))
    with pytest.raises(UsageError, match="there is no data"):
        Classifier(LABELLED, SMALL, context(tmp_path))
    told = []
    (tmp_path / "file").write_text("")
    with pytest.raises(GanzooError, match=r"cannot be written .*GANZOO_CACHE"):
        Classifier(LABELLED, SMALL, context(tmp_path / "file", training=striped, told=told))
    assert not told, "which is seen before it learns"


# --- DINOv2 ---


def test_dinov2_says_which_file_it_wants(monkeypatch, tmp_path):
    pytest.importorskip("timm")
    monkeypatch.setenv("GANZOO_DATA", str(tmp_path))
    with pytest.raises(GanzooError, match=r"vit_small_patch14_dinov2\.lvd142m\.safetensors.*huggingface\.co/timm"):
        DinoV2(COLOUR, DinoOptions(), context(tmp_path))
    save_file({"x": torch.zeros(1)}, tmp_path / DinoV2.FILE)
    with pytest.raises(GanzooError, match="does not hold the weights of vit_small"):
        DinoV2(COLOUR, DinoOptions(), context(tmp_path))
    with pytest.raises(UsageError, match="no such file"):
        DinoV2(COLOUR, DinoOptions(str(tmp_path / "absent")), context(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(UsageError, match=r"needs timm, which is not here: pip install 'pyganzoo\[dinov2\]'"):
        DinoV2(COLOUR, DinoOptions(), context(tmp_path))


def test_dinov2_sees_what_timm_sees_in_an_image_resized_by_pil(tmp_path):
    timm = pytest.importorskip("timm")
    import numpy as np
    from PIL import Image

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = timm.create_model("vit_small_patch14_dinov2", pretrained=False, img_size=224, num_classes=0).eval()
        for name, value in net.named_parameters():
            if "gamma" in name:
                value.data.fill_(0.1)
        large = timm.layers.resample_abs_pos_embed(net.pos_embed.detach(), [37, 37])  # as the published file has it
    state = {name: value.contiguous() for name, value in net.state_dict().items()}
    save_file(state, tmp_path / "small.safetensors")
    save_file({**state, "pos_embed": large.contiguous()}, tmp_path / "large.safetensors")
    torch.manual_seed(0)
    before = torch.get_rng_state()
    eye = DinoV2(COLOUR, DinoOptions(str(tmp_path / "small.safetensors")), context(tmp_path))
    resampled = DinoV2(COLOUR, DinoOptions(str(tmp_path / "large.safetensors")), context(tmp_path))
    assert torch.equal(torch.get_rng_state(), before)
    x = noise(2, 3, 48)
    pictures = [Image.fromarray(one.permute(1, 2, 0).numpy()).resize((224, 224), Image.Resampling.BICUBIC) for one in x]
    by_pil = torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in pictures])
    mean, deviation = torch.tensor(eye.MEAN).view(3, 1, 1), torch.tensor(eye.DEVIATION).view(3, 1, 1)
    with torch.no_grad():
        wanted = net((by_pil.float() / 255 - mean) / deviation)
    features, logits = eye(x)
    assert logits is None
    assert features.shape == (2, 384)
    assert off(features, wanted) < 0.02
    assert off(resampled(x)[0], features) < 0.05
    assert eye.weights_hash != resampled.weights_hash
    grey = noise(1, 1, 48)
    assert torch.equal(eye(grey)[0], eye(grey.expand(-1, 3, -1, -1))[0])


def test_a_classifier_that_is_at_chance_gives_no_figure(images, ganzoo, tmp_path):
    noise = images(n=600)
    done = ganzoo("evaluate", noise, "--against", noise, "-n", "50")
    assert done.returncode == 1
    assert "NO FIGURE: the classifier is at chance" in done.stderr
    assert "cFID" not in done.stdout
