"""The registry is complete, and every method in it keeps the contract."""

import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torchvision
from networks import ResidualNet, VggNet, seeded

import xai
from xai.errors import Cancelled, UserError
from xai.hohman import QUESTIONS, categories
from xai.registry import METHODS, Param, find_method

NETWORKS = {"residual": ResidualNet, "vgg": VggNet}
# The least that shows whether a method keeps the contract; what each finds is tested with the method.
QUICK = {
    "rise": {"masks": 40},
    "kernel_shap": {"samples": 40, "segmenter": "grid", "n_segments": 9},
    "lime": {"samples": "60", "segmenter": "grid", "n_segments": 9},
    "feature_ablation": {"segmenter": "grid", "n_segments": 9},
    "occlusion": {"window": 8, "stride": 8},
    **{key: {"samples": 4} for key in ("smooth_grad", "var_grad", "gradient_shap", "deep_lift_shap")},
}


@pytest.fixture(scope="module", params=NETWORKS)
def model(request):
    return xai.load_model(seeded(NETWORKS[request.param]), input_size=32)


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(1).integers(0, 256, (48, 40, 3), dtype=np.uint8)


def state_of(model):
    modules = dict(model.network.named_modules())
    return (
        {name: module.training for name, module in modules.items()},
        {name: len(module._forward_hooks) + len(module._backward_hooks) for name, module in modules.items()},
        {name: (p.requires_grad, p.grad is None) for name, p in model.network.named_parameters()},
        model.weights_digest,
    )


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_the_contract(method, model, picture):
    if METHODS[method].supports(model) is not None:
        pytest.skip(METHODS[method].supports(model))
    before = state_of(model)
    traced = xai.trace(model, picture)
    options = QUICK.get(method, {})
    made = xai.explain(traced, method=method, target=[1, 3], **options)
    assert (made.map.shape, made.map.dtype) == ((2, 32, 32), np.float32)
    assert np.isfinite(made.map).all()
    assert made.map.any()
    assert not made.map.flags.writeable
    assert METHODS[method].signed or made.map.min() >= 0
    again = xai.explain(model, picture, method, target=[1, 3], **options)
    assert np.allclose(made.map, again.map, rtol=1e-4, atol=1e-6 * np.abs(made.map).max())
    single = xai.explain(traced, method=method, target=3, **options)
    assert np.allclose(single.map[0], made.map[1], rtol=1e-4, atol=1e-6 * np.abs(made.map).max())
    assert np.allclose(made.map[0], made.map[1]) != METHODS[method].reads_class
    others = [picture, picture[::-1].copy()]
    batch = xai.explain_batch(model, others, method, target=3, **options)
    for one, other in zip(batch, others, strict=True):
        alone = xai.explain(model, other, method, target=3, **options)
        assert np.allclose(one.map, alone.map, rtol=1e-4, atol=1e-6 * np.abs(alone.map).max())
        assert type(one.details) is type(alone.details)
        assert np.allclose(one.totals, alone.totals, rtol=1e-4, atol=1e-4)
    assert state_of(model) == before


STOCK = ("resnet18", "vgg11", "mobilenet_v2", "convnext_tiny")


@pytest.fixture(scope="module", params=STOCK)
def stock(request):
    return xai.load_model(lambda: torchvision.models.get_model(request.param, num_classes=10), input_size=64)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_on_stock_architectures_or_the_reason_why_not(method, stock, picture):
    reason = METHODS[method].supports(stock)
    if reason is not None:
        assert reason.endswith(".") and reason.count(". ") == 0, "one sentence"
        with pytest.raises(UserError, match=f"{METHODS[method].label} is not right for"):
            xai.explain(stock, picture, method)
        return
    before = state_of(stock)
    made = xai.explain(stock, picture, method, target=[1, 3], seed=2, **QUICK.get(method, {}))
    assert made.map.shape == (2, 64, 64) and np.isfinite(made.map).all()
    assert made.signed or made.map.min() >= 0
    again = xai.explain(stock, picture, method, target=3, seed=2, **QUICK.get(method, {}))
    assert np.allclose(again.map[0], made.map[1], rtol=1e-3, atol=1e-5 * np.abs(made.map).max())
    if METHODS[method].speed == "live":  # how slow ones take several pictures is shown on the tiny networks
        options = {"target": 3, "seed": 2, **QUICK.get(method, {})}
        other = picture[::-1].copy()
        batch = xai.explain_batch(stock, [picture, other], method, **options)
        with ThreadPoolExecutor(2) as pool:
            alone = list(pool.map(lambda each: xai.explain(stock, each, method, **options), [picture, other]))
        for one, single in zip(batch, alone, strict=True):
            assert np.allclose(one.map, single.map, rtol=1e-3, atol=1e-4 * np.abs(single.map).max())
    assert state_of(stock) == before


# By how much a map grows when all scores are doubled: maps are raw, so they grow with what they explain.
SCALE = {
    **dict.fromkeys(("grad_cam", "hires_cam", "x_grad_cam", "layer_cam"), 2),
    **dict.fromkeys(("saliency", "input_x_gradient", "guided_backprop", "smooth_grad", "integrated_gradients"), 2),
    **dict.fromkeys(("gradient_shap", "deep_lift", "deep_lift_shap", "lrp"), 2),
    **dict.fromkeys(("occlusion", "feature_ablation", "kernel_shap", "lime"), 2),  # told to explain scores
    "var_grad": 4,  # a variance
    "ablation_cam": 1,  # shares of the score
    **dict.fromkeys(("eigen_cam", "random", "center", "edges"), 1),  # they do not read the score
}
OWN_SCALE = {
    "grad_cam_plus_plus": "its weights hold the gradient in numerator and denominator",
    "score_cam": "its weights are a softmax over scores",
    "rise": "it explains probabilities",
}


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_raw_and_grow_with_the_scores(method, picture):
    assert (method in SCALE) != (method in OWN_SCALE)
    if method in OWN_SCALE:
        return
    single, double = seeded(ResidualNet), seeded(ResidualNet)
    with torch.no_grad():
        double.head.fc.weight *= 2
        double.head.fc.bias *= 2
    options = dict(QUICK.get(method, {}), target=1)
    if any(param.name == "output" for param in METHODS[method].params):
        options["output"] = "score"
    one, two = (xai.explain(xai.load_model(net, input_size=32), picture, method, **options) for net in (single, double))
    assert np.allclose(two.map, SCALE[method] * one.map, rtol=1e-3, atol=1e-4 * np.abs(two.map).max())


@pytest.mark.parametrize("method", [key for key, method in METHODS.items() if method.speed == "slow"])
def test_every_slow_method_can_be_stopped_and_leaves_the_model_as_it_was(method, model, picture):
    if METHODS[method].supports(model) is not None:
        pytest.skip(METHODS[method].supports(model))
    told = []

    def stop(fraction, partial):
        told.append(fraction)
        raise Cancelled

    before = state_of(model)
    with pytest.raises(Cancelled):
        xai.explain(model, picture, method, on_progress=stop, **QUICK.get(method, {}))
    assert len(told) == 1 and 0 <= told[0] <= 1, "work as small as this may be done in one pass"
    assert state_of(model) == before


@pytest.mark.parametrize("method", METHODS)
def test_threads_get_the_serial_results(method, model):
    pictures = [np.random.default_rng(n).integers(0, 256, (40, 40, 3), dtype=np.uint8) for n in range(8)]
    options = QUICK.get(method, {})
    serial = [xai.explain(model, each, method, target=n % 5, **options).map for n, each in enumerate(pictures)]
    found: dict[int, np.ndarray] = {}

    def work(n):
        found[n] = xai.explain(model, pictures[n], method, target=n % 5, **options).map

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, expected in enumerate(serial):
        assert np.abs(found[n] - expected).max() <= 1e-6 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_entry_is_complete(method):
    signature = inspect.signature(method.function)
    options = {n: p.default for n, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert list(signature.parameters)[:2] == ["trace", "targets"]
    apart = {"layer", "on_progress", *(["seed"] if method.random else [])}
    assert {n: v for n, v in options.items() if n not in apart} == method.defaults
    assert apart <= set(options)
    assert method.function.__doc__ and method.paper and method.limits.endswith(".") and method.label
    assert set(method.hohman) == set(QUESTIONS)
    assert method.speed in ("live", "slow")
    for name in (method.key, method.key.upper(), method.key.replace("_", "-"), *method.aliases):
        assert find_method(name) is method


def test_names_are_unique():
    names = [name for method in METHODS.values() for name in (method.key, *method.aliases)]
    assert len(names) == len(set(names))
    with pytest.raises(UserError, match=r"Unknown method 'gradcamm'.*grad_cam"):
        find_method("gradcamm")


def test_progress_can_cancel(model, picture):
    def stop(fraction, partial):
        assert 0 < fraction <= 1
        raise Cancelled

    before = state_of(model)
    with pytest.raises(Cancelled):
        xai.explain(model, picture, "grad_cam", augment_smooth=True, on_progress=stop)
    assert state_of(model) == before
    seen: list[float] = []
    xai.explain(model, picture, "grad_cam", augment_smooth=True, on_progress=lambda done, _: seen.append(done))
    assert seen == pytest.approx([n / 6 for n in range(1, 7)])


@pytest.mark.parametrize(
    ("param", "good", "bad"),
    [
        (Param("on", True, ""), {"true": True, "No": False, 1: True, False: False}, ["maybe", 2, None]),
        (Param("n", 5, "", low=1, high=9), {"3": 3, 9: 9, 4.0: 4}, [0, 10, 2.5, "x", True, float("nan"), "1e400"]),
        (Param("x", 0.5, "", low=0.0), {"1e3": 1000.0, 0: 0.0}, [-0.1, "nan", "abc", None]),
        (Param("way", "a", "", choices=("a", "b")), {"b": "b"}, ["c", 1, None]),
    ],
    ids=lambda value: value.name if isinstance(value, Param) else "",
)
def test_options_are_checked(param, good, bad):
    for given, expected in good.items():
        assert param.check(given) == expected
        assert type(param.check(given)) is type(param.default)
    for given in bad:
        with pytest.raises(UserError, match=param.name):
            param.check(given)


def test_unknown_options_list_the_valid_ones(model, picture):
    with pytest.raises(UserError, match=r"Unknown option of grad_cam 'relus'.*relu, augment_smooth, eigen_smooth"):
        xai.explain(model, picture, "grad_cam", relus=True)


def test_categories_must_be_those_of_the_survey():
    chosen = {question: names[:1] for question, names in QUESTIONS.items()}
    assert categories(**chosen) == chosen
    with pytest.raises(ValueError, match="who"):
        categories(**{**chosen, "who": ("everybody",)})
    with pytest.raises(ValueError, match="where: no answer"):
        categories(**{**chosen, "where": ()})


def test_seeds_do_not_touch_the_global_generator(model, picture):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    xai.explain(model, picture)
    assert torch.equal(torch.rand(1), expected)
