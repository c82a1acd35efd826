"""Models come by name, file, module or function, and what is wrong with one is said in plain words: xai.load."""

from __future__ import annotations

import copy
import re
import sys
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from networks import CLASSES, Head, ResidualNet, TupleNet, VggNet, random_pixels, seeded
from torch import nn

from xai import explain, load_image, load_model, preflight
from xai.errors import Cancelled, UserError
from xai.io import models, weights
from xai.io.models import BUNDLED, MODELS, build_from_file
from xai.load import default_model


def write(path, state):
    torch.save(state, path)
    return path


def scores_of(model, size=32):
    return model.classifier(random_pixels(1, size)).detach()


# --- by name ---------------------------------------------------------------------------------------------------------


def test_an_untrained_model_is_the_same_every_time_and_says_so():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = load_model("resnet18", weights=None, input_size=32)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    second = load_model("resnet18", weights="none", input_size=32)
    assert first.weights_digest == second.weights_digest and torch.equal(scores_of(first), scores_of(second))
    assert not first.trained and first.weights == "untrained" and first.title == "resnet18 (untrained)"
    assert scores_of(first).std() > 0
    assert first.name == "resnet18" and first.parameters == MODELS["resnet18"].parameters == 11_689_512
    assert len(first.class_names) == 1000 and first.class_names[569] == "garbage truck"
    assert not first.network.training and not any(p.requires_grad for p in first.network.parameters())
    assert first.notes and "ReLU" in first.notes[0]


def test_unknown_names_list_the_valid_ones(tmp_path):
    with pytest.raises(UserError, match=r"Unknown model 'resnet5O'.*resnet50.*did you mean 'resnet50'"):
        load_model("resnet5O", weights=None)
    with pytest.raises(UserError, match=r"There is no model at 'k2/'.*a folder with model\.json.*xai models"):
        load_model("k2/")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match=r"holds a run, and no model yet: `xai train --resume`"):
        load_model(str(tmp_path))
    with pytest.raises(UserError, match=r"'own\.safetensors' is a file of weights"):
        load_model("own.safetensors")
    with pytest.raises(UserError, match=r"Unknown weights for resnet50 'IMAGENET'.*IMAGENET1K_V1, IMAGENET1K_V2"):
        load_model("resnet50", weights="IMAGENET")
    with pytest.raises(UserError, match=r"Unknown device 'tpu'.*auto, cpu, cuda, mps"):
        load_model("resnet18", weights=None, device="tpu")
    with pytest.raises(UserError, match=r"Unknown output 'logits'.*softmax, sigmoid"):
        load_model("resnet18", weights=None, output="logits")
    if not torch.cuda.is_available():
        for device in ("cuda", "cuda:0"):
            with pytest.raises(UserError, match=f"Device '{device}' is not on this computer"):
                load_model(seeded(ResidualNet), input_size=16, device=device)
    for source in (3, None, seeded):
        with pytest.raises((UserError, TypeError)):
            load_model(source, input_size=16)


def test_devices_come_as_names_or_torchs_own():
    for device in ("cpu", "auto", torch.device("cpu")):
        assert load_model(seeded(ResidualNet), input_size=16, device=device).device.type in ("cpu", "cuda", "mps")


OFFICIAL = {name: entry for name, entry in MODELS.items() if name != BUNDLED}


@pytest.mark.parametrize("entry", OFFICIAL.values(), ids=OFFICIAL)
def test_every_entry_knows_its_weights(entry):
    assert entry.default_weights == "IMAGENET1K_V1" and entry.parameters > 1e6
    for name, preset in entry.presets.items():
        assert preset.name == name and preset.url.startswith("https://") and preset.megabytes > 1
        assert len(preset.class_names) == 1000 and 50 < preset.top1 < preset.top5 < 100
        assert preset.fmt.mean == (0.485, 0.456, 0.406) and preset.fmt.std == (0.229, 0.224, 0.225)
        assert preset.path.name.endswith(".pth") and isinstance(preset.on_disk, bool)


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A server's worth of weights: `official(name, state)` puts a state where a download would find it."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def put(name, state, enum="IMAGENET1K_V1"):
        path = MODELS[name].preset(enum).path
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, path)

    return put


def test_official_weights_are_found_on_disk(official):
    state = MODELS["squeezenet1_1"].build().state_dict()
    official("squeezenet1_1", state)
    model = load_model("squeezenet1_1", input_size=64)
    assert model.trained and model.weights == "IMAGENET1K_V1" and model.title == "squeezenet1_1 · IMAGENET1K_V1"
    assert torch.equal(model.network.state_dict()["features.0.weight"], state["features.0.weight"])
    assert default_model() == ("squeezenet1_1", "IMAGENET1K_V1")


def test_without_any_weights_the_default_is_untrained(official):
    assert default_model() == (("bundled", "TINY_IMAGENET") if BUNDLED in MODELS else ("resnet18", None))


def test_a_failed_download_names_the_way_out(official, monkeypatch):
    def unreachable(url, on_progress=None):
        raise UserError(f"Could not download {weights.cached_file(url).name}: no route to host")

    monkeypatch.setattr(models, "download", unreachable)
    with pytest.raises(UserError) as caught:
        load_model("resnet18")
    assert str(caught.value) == (
        "Could not download resnet18-f37072fd.pth: no route to host. Without a network give weights as a file "
        "(.safetensors or .pth), or none for the untrained network."
    )
    assert preflight("resnet18") == (str(caught.value),)


def test_a_download_can_be_watched_and_cancelled(official, monkeypatch):
    def slow(url, on_progress):
        on_progress(0.5, "22 of 45 MB, 3 s left")
        raise AssertionError("not reached")

    monkeypatch.setattr(models, "download", slow)

    def stop(fraction, text):
        assert (fraction, text) == (0.5, "22 of 45 MB, 3 s left")
        raise Cancelled

    with pytest.raises(Cancelled):
        load_model("resnet18", on_progress=stop)


# --- from a file -----------------------------------------------------------------------------------------------------


def test_a_file_of_fewer_classes_sets_the_head(tmp_path):
    trained = MODELS["mobilenet_v3_small"].build(classes=7)
    path = write(tmp_path / "mine.pth", trained.state_dict())
    model = load_model("mobilenet_v3_small", weights=path, input_size=64)
    assert model.weights == "file mine.pth" and model.trained
    assert model.class_names == tuple(f"class {n}" for n in range(7))
    inputs = random_pixels(2, 64)
    expected = trained.eval()((inputs - model.classifier.mean) / model.classifier.std)
    assert torch.allclose(model.classifier(inputs), expected, atol=1e-5)
    named = load_model("mobilenet_v3_small", weights=str(path), input_size=64, class_names=list("abcdefg"))
    assert named.class_names == tuple("abcdefg") and named.weights_digest == model.weights_digest
    with pytest.raises(UserError, match="class_names has 2 names, but the network has 7 scores"):
        load_model("mobilenet_v3_small", weights=path, input_size=64, class_names=["a", "b"])


def test_a_file_that_does_not_fit_says_which_keys(tmp_path):
    path = write(tmp_path / "other.pth", MODELS["squeezenet1_1"].build(classes=4).state_dict())
    with pytest.raises(UserError, match=r"'other\.pth' do not fit ResNet: .*missing \(conv1\..*unexpected \(features"):
        load_model("resnet18", weights=path)
    assert preflight("resnet18", weights=path)[0].startswith("Weights 'other.pth' do not fit")
    with pytest.raises(UserError, match="does not exist"):
        load_model("resnet18", weights=tmp_path / "none.pth")


SMALL = ["resnet18", "densenet121", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "squeezenet1_1"]
SMALL += ["shufflenet_v2_x1_0", "mnasnet1_0", "regnet_y_400mf"]


@pytest.mark.parametrize("name", SMALL)
def test_every_kind_of_architecture_reads_its_own_file(name, tmp_path):
    trained = MODELS[name].build(classes=3)
    path = write(tmp_path / "own.pth", {"state_dict": {f"module.{k}": v for k, v in trained.state_dict().items()}})
    found = build_from_file(name, path)
    assert weights.weights_digest(found) == weights.weights_digest(trained)
    inputs = random_pixels(1, 64)
    with torch.no_grad():
        assert torch.equal(found.eval()(inputs), trained.eval()(inputs))


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_in_a_file_are_left_out(name, tmp_path):
    import torchvision

    with torch.device("meta"):
        full = torchvision.models.get_model(name, weights=None, aux_logits=True, init_weights=False, num_classes=2)
    state = {key: torch.full(value.shape, 0.01) for key, value in full.state_dict().items()}
    assert any(key.lower().startswith("aux") for key in state)
    network = build_from_file(name, write(tmp_path / "full.pth", state))
    assert network.fc.out_features == 2 and network.fc.weight.unique().tolist() == [pytest.approx(0.01)]
    assert network.transform_input and not any(key.lower().startswith("aux") for key in network.state_dict())
    state["more.weight"] = torch.ones(1)
    with pytest.raises(UserError, match=r"1 unexpected \(more\.weight\)"):
        build_from_file(name, write(tmp_path / "more.pth", state))


def test_old_key_names_of_densenet_are_understood(tmp_path):
    trained = MODELS["densenet121"].build(classes=2)
    old = OrderedDict()
    for key, value in trained.state_dict().items():
        if "denselayer" in key:
            for part in ("norm1", "relu1", "conv1", "norm2", "relu2", "conv2"):
                key = key.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.")
        old[key] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    found = build_from_file("densenet121", write(tmp_path / "old.pth", old))
    assert weights.weights_digest(found) == weights.weights_digest(trained)


def test_half_precision_files_compute_in_single(tmp_path):
    state = {key: value.half() if value.is_floating_point() else value for key, value in VggNet().state_dict().items()}
    model = load_model(VggNet, weights=write(tmp_path / "half.pth", state), input_size=16)
    assert {p.dtype for p in model.network.parameters()} == {torch.float32}
    assert torch.equal(model.network.state_dict()["0.weight"].half(), state["0.weight"])
    assert model.weights == "file half.pth" and np.isfinite(explain(model, "cat").map).all()


# --- one's own network -----------------------------------------------------------------------------------------------


def picture_of_state(network):
    return (
        {name: (m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in network.named_modules()},
        {name: (p.requires_grad, p.stride(), p.data_ptr()) for name, p in network.named_parameters()},
        {name: None if p.grad is None else p.grad.sum().item() for name, p in network.named_parameters()},
        weights.weights_digest(network),
    )


def test_the_callers_module_is_never_touched():
    network = seeded(ResidualNet).train()
    network.stem[1].eval()
    network.down.weight.requires_grad_(False)
    network(random_pixels(2)).sum().backward()
    calls = []
    handle = network.head.register_forward_hook(lambda *_: calls.append(1))
    network.zero_grad(set_to_none=False)
    network.head.fc.bias.grad.fill_(3.0)
    before = picture_of_state(network)
    model = load_model(network, input_size=16)
    explain(model, "cat", target=[0, 1], layer="stage1")
    assert picture_of_state(network) == before
    assert not model.network.training and model.network is not network
    handle.remove()
    network.eval()
    own = weights.weights_digest(network)
    with torch.no_grad():
        network.head.fc.bias.add_(1)
    assert model.weights_digest == own != weights.weights_digest(network)  # later training does not reach the copy
    assert weights.weights_digest(model.network) == own


def test_own_modules_and_functions_give_the_same_model():
    network = seeded(ResidualNet)
    model = load_model(network, input_size=16)
    assert (model.name, model.weights, model.title) == ("ResidualNet", "own", "ResidualNet · own")
    assert model.class_names == tuple(f"class {n}" for n in range(CLASSES)) and model.input_size == (16, 16)
    built = load_model(lambda: seeded(ResidualNet), input_size=16)
    assert built.weights_digest == model.weights_digest and built.weights == "own"
    untrained = load_model(ResidualNet, weights=None, input_size=16)
    assert untrained.name == "ResidualNet" and untrained.weights == "untrained"
    before = torch.get_rng_state()
    assert load_model(ResidualNet, input_size=16).weights_digest == untrained.weights_digest
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_of_an_own_network(tmp_path):
    path = write(tmp_path / "own.pth", seeded(ResidualNet).state_dict())
    model = load_model(ResidualNet, weights=path, input_size=16)
    assert model.weights_digest == load_model(seeded(ResidualNet), input_size=16).weights_digest
    with pytest.raises(UserError, match=r"Unknown weights for ResidualNet 'IMAGENET1K_V1'"):
        load_model(ResidualNet, weights="IMAGENET1K_V1", input_size=16)


def test_factory_strings(tmp_path, monkeypatch):
    (tmp_path / "my_networks.py").write_text(
        "from torch import nn\n"
        "def small():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))\n"
        "def nothing(): return 3\n"
        "ready = small()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)
    model = load_model("my_networks:small", input_size=16)
    assert model.name == "my_networks:small" and len(model.class_names) == 2
    assert model.weights_digest == load_model("my_networks:small", input_size=16).weights_digest
    for source, said in {
        "my_networks:none": "cannot be imported",
        "no_such_package:small": "cannot be imported.*package.module:function",
        ":small": "cannot be imported",
        "my_networks:": "cannot be imported",
        "my_networks:nothing": "returned int, not a torch.nn.Module",
        "my_networks:ready": "is no model: give a name",
    }.items():
        with pytest.raises(UserError, match=said):
            load_model(source, input_size=16)


def test_a_network_that_cannot_be_copied_asks_for_a_function():
    class Locked(VggNet):
        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()

    with pytest.raises(UserError, match=r"Locked cannot be copied.*give a function that builds it"):
        load_model(Locked(), input_size=16)
    assert load_model(Locked, input_size=16).name == "Locked"


def test_input_size_mean_and_std():
    model = load_model(seeded(ResidualNet), input_size=(16, 24), mean=[0.1, 0.2, 0.3], std=(0.5, 0.6, 0.7))
    assert model.input_size == (16, 24)
    assert model.layer("stem").shape == (6, 16, 24)
    pixels = torch.rand(1, 3, 16, 24)
    by_hand = torch.stack([(pixels[:, c] - (0.1, 0.2, 0.3)[c]) / (0.5, 0.6, 0.7)[c] for c in range(3)], 1)
    assert torch.allclose(model.classifier(pixels), seeded(ResidualNet)(by_hand), atol=1e-5)
    assert model.prepare(load_image("cat")).pixels.shape == (1, 3, 16, 24)
    arrays = load_model(seeded(ResidualNet), input_size=16, mean=np.array([0.1, 0.2, 0.3]), std=torch.ones(3))
    assert arrays.fmt.mean == pytest.approx((0.1, 0.2, 0.3)) and arrays.fmt.std == (1.0, 1.0, 1.0)
    for options in ({"mean": [0.5]}, {"std": [0.2, 0.2, 0.0]}, {"mean": []}, {"std": [0.1, -0.2, 0.3]}):
        with pytest.raises(UserError, match="mean and std must each have 3 value"):
            load_model(seeded(ResidualNet), input_size=16, **options)
    for size in (0, -3, 1):
        with pytest.raises(UserError, match="cannot take pixels"):
            load_model(nn.Sequential(nn.Conv2d(3, 4, 3), Head(4)), input_size=size)


def test_one_channel_networks():
    network = seeded(lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), Head(4, 2)))
    model = load_model(network, input_size=28)
    assert (model.fmt.channels, model.fmt.mean, model.fmt.std) == (1, (0.5,), (0.5,))
    ready = model.prepare(load_image("cat"))
    assert ready.pixels.shape == (1, 3, 28, 28)
    grey = (ready.pixels * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    assert torch.allclose(model.classifier(ready.pixels), network((grey - 0.5) / 0.5), atol=1e-5)
    assert explain(model, "cat", layer="1").map.shape == (1, 28, 28)
    assert load_model(network, input_size=28, mean=[0.13], std=[0.31]).fmt.mean == (0.13,)
    with pytest.raises(UserError, match="mean and std must each have 1 value"):
        load_model(network, input_size=28, mean=[0.1, 0.2, 0.3])


@pytest.mark.parametrize("classes", [1, 3])
def test_sigmoid_heads(classes):
    network = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), Head(4, classes)))
    model = load_model(network, input_size=16, output="sigmoid", class_names=["tumour", "bone", "air"][:classes])
    scores = model.classifier(model.prepare(load_image("cat")).pixels).detach()
    found = explain(model, "cat", target="tumour", layer="1")
    assert found.probabilities[0] == pytest.approx(1 / (1 + np.exp(-scores[0, 0].item())), abs=1e-6)
    assert found.target == (0,) and found.map.shape == (1, 16, 16)
    assert model.notes == ()


# --- preflight -------------------------------------------------------------------------------------------------------


def softmax_net():
    return nn.Sequential(*seeded(VggNet), nn.Softmax(1))


def broken_net():
    network = seeded(VggNet)
    with torch.no_grad():
        network[12].bias[2] = float("nan")
    return network


def partly_training():
    network = seeded(ResidualNet)
    network.stem[1].train()
    return network


class Strict(VggNet):
    """Asserts its input size, as torchvision's transformers do."""

    def forward(self, x):
        torch._assert(x.shape[-1] == 32, "Wrong image height!")
        return super().forward(x)


@pytest.mark.parametrize(
    ("source", "options", "said"),
    [
        (lambda: seeded(VggNet), {}, None),
        (lambda: seeded(VggNet).train(), {}, "was in train mode; a copy in eval mode is explained"),
        (partly_training, {}, "was in train mode"),
        (lambda: seeded(VggNet).requires_grad_(False), {}, "All weights are frozen; that is fine for explanations"),
        (lambda: seeded(ResidualNet), {}, r"3 ReLU module\(s\) run more than once per pass \(first: stage1.relu\)"),
        (softmax_net, {}, "seems to end in softmax; explain the scores before it"),
        (softmax_net, {"output": "sigmoid"}, "seems to end in softmax"),
        (broken_net, {}, "are not finite"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), Head(4, 1)), {}, "one score, whose softmax is always 100 %"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, 2)), {}, "No module of Sequential yields feature maps"),
        (lambda: nn.Conv2d(3, 4, 3), {}, r"must return scores \(N, classes\).*returns \(1, 4, 14, 14\)"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(0)), {}, r"must return scores.*returns \(784,\)"),
        (lambda: seeded(VggNet).double(), {}, "cannot take pixels"),
        (lambda: seeded(Strict), {}, r"Strict cannot take pixels \(1, 3, 16, 16\): Wrong image height"),
        (lambda: nn.Conv2d(5, 4, 3), {}, "cannot take pixels"),
        (lambda: seeded(VggNet), {"class_names": ["a"]}, "class_names has 1 names, but the network has 5 scores"),
        (lambda: seeded(TupleNet), {}, None),
    ],
)
def test_preflight_says_what_is_wrong_in_plain_words(source, options, said):
    network = source()
    if said is None:
        network.eval()
    found = preflight(network, input_size=16, **options)
    if said is None:
        assert found == ()
    else:
        assert re.search(said, " ".join(found)), found
        assert all(len(sentence.splitlines()) == 1 and sentence.endswith(".") for sentence in found)


def test_loading_in_inference_mode_gives_a_model_that_can_be_explained():
    with torch.inference_mode():
        model = load_model(copy.deepcopy(seeded(ResidualNet)), input_size=16)
        inside = explain(model, "cat", target=[1, 2])
    assert np.array_equal(inside.map, explain(load_model(seeded(ResidualNet), input_size=16), "cat", target=[1, 2]).map)
    assert np.array_equal(inside.map, explain(model, "cat", target=[1, 2]).map)


def test_threads_that_build_at_once_get_the_same_random_weights():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    builds = {"named": MODELS["squeezenet1_1"].build, "own": lambda: load_model(ResidualNet, input_size=16).network}
    expected = {name: weights.weights_digest(build()) for name, build in builds.items()}
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda name: (name, weights.weights_digest(builds[name]())), [*builds] * 6))
    assert all(digest == expected[name] for name, digest in found)
    assert torch.equal(torch.get_rng_state(), before)
    nested = load_model(lambda: MODELS["squeezenet1_1"].build(), input_size=64).network  # must not wait for itself
    assert weights.weights_digest(nested) == expected["named"]
