"""The benchmarks run and report what they promise; what they measure is no business of a test."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import ResidualNet, seeded

import xai
from xai.memory import keep_freed_memory
from xai.registry import METHODS

ROOT = Path(__file__).resolve().parents[1]
TINY = ("--model", "networks:ResidualNet", "--input-size", "32", "--rounds", "1")

sys.path.append(str(ROOT / "benchmarks"))  # at the end: its lime.py must not hide the package


def run(*command):
    """Run a benchmark in a process of its own; the networks of the tests can be named."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def model():
    return xai.load_model(seeded(ResidualNet), input_size=32, device="cpu")


@pytest.fixture(scope="module")
def setting(model):
    from peers import Setting

    pixels = model.prepare(xai.load_image("cat")).pixels
    return Setting(model, pixels, model.default_layer, "stage1", samples=4, masks=16, window=16)


@pytest.fixture(scope="module")
def lime_benchmark():
    spec = importlib.util.spec_from_file_location("lime_benchmark", ROOT / "benchmarks" / "lime.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["lime_benchmark"] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_cam_benchmark_reports_every_row(tmp_path):
    report = tmp_path / "cam.json"
    said = run("benchmarks/cam.py", "--model", "resnet18", "--rounds", "1", "--json", str(report))
    ratios = json.loads(report.read_text())["ratios"]
    assert ratios["plain forward"] == 1
    assert {"ours, cold", "torch-cam", "captum LayerGradCam", "pytorch-grad-cam"} <= set(ratios)
    assert len(ratios) == 9
    assert all(name in said for name in ratios)
    assert "Cold against the fastest peer" in said


@pytest.mark.slow
def test_attribution_benchmark_sets_every_method_beside_its_peers(tmp_path):
    from peers import PEERS

    report = tmp_path / "attribution.json"
    sizes = ("--samples", "2", "--masks", "16", "--window", "16")
    said = run("benchmarks/attribution.py", *TINY, *sizes, "--json", str(report))
    found = json.loads(report.read_text())["methods"]
    assert list(found) == list(METHODS)
    for key, numbers in found.items():
        assert METHODS[key].label in said
        extra = {"ours, with its completeness gap"} if key == "gradient_shap" else set()
        assert set(numbers["seconds"]) == {"plain forward", "ours", *PEERS.get(key, {})} | extra
        fastest = min((numbers["seconds"][name] for name in PEERS.get(key, {})), default=None)
        assert numbers["ratio"] == (fastest and numbers["seconds"]["ours"] / fastest)
        assert all(value is None or value >= 0 for value in numbers["memory"].values())
    assert set(METHODS) - set(PEERS) == {"rise", "random", "center", "edges"}


@pytest.mark.slow
def test_lime_benchmark_makes_the_limit_once_and_reports_every_picture(tmp_path):
    report, cache = tmp_path / "lime.json", tmp_path / "cache"
    few = ("--pictures", "cat,coffee", "--limit", "200", "--most", "100", "--runs", "2", "--timed", "10")
    run("benchmarks/lime.py", *TINY, *few, "--cache", str(cache), "--limit-only")
    made = {path.name: path.read_bytes() for path in cache.iterdir()}
    assert len(made) == 2
    said = run("benchmarks/lime.py", *TINY, *few, "--cache", str(cache), "--json", str(report))
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == made
    numbers = json.loads(report.read_text())
    assert [each["picture"] for each in numbers["pictures"]] == ["cat", "coffee"]
    assert set(numbers["seconds_of_a_call"]) == {"lime", "ours"}
    for each in numbers["pictures"]:
        assert each["picture"] in said
        assert set(each["curves"]) == {"lime", "ours"}
        assert all(-1 <= value <= 1 for curve in each["curves"].values() for value in curve["correlations"])
        assert each["curves"]["lime"]["counts"][-1] == 100


def test_peers_are_asked_about_the_same(setting):
    from peers import PEERS, TARGET

    trace = xai.trace(setting.model, "cat", [])
    peer = PEERS["saliency"]["captum Saliency"](setting) / setting.model.classifier.std
    mine = METHODS["saliency"].function(trace, [TARGET]).details.channels
    assert torch.allclose(peer.abs(), mine.abs(), rtol=1e-3, atol=1e-6)
    peer = PEERS["feature_ablation"]["captum FeatureAblation"](setting)[:, 0]
    assert torch.allclose(peer, METHODS["feature_ablation"].function(trace, [TARGET]).maps, atol=1e-6)


def test_a_limit_that_was_broken_off_goes_on_where_it_was(model, tmp_path, monkeypatch):
    import lime_limit

    asked = []
    score = lime_limit.quick_scores
    monkeypatch.setattr(lime_limit, "KEPT_EVERY", 20)
    monkeypatch.setattr(lime_limit, "quick_scores", lambda *each: asked.append(len(each[1])) or score(*each))
    case = lime_limit.make_case(model, "cat", lime_limit.Segmenter("grid", n_segments=9))
    whole, samples = lime_limit.find_limit(case, 100, tmp_path / "whole")
    assert sum(asked) == len(samples.outputs) == 100 and len(whole) == 9

    def stop(*each):
        if sum(asked) >= 160:
            raise KeyboardInterrupt
        return asked.append(len(each[1])) or score(*each)

    monkeypatch.setattr(lime_limit, "quick_scores", stop)
    with pytest.raises(KeyboardInterrupt):
        lime_limit.find_limit(case, 100, tmp_path / "parts")
    monkeypatch.setattr(lime_limit, "quick_scores", lambda *each: asked.append(len(each[1])) or score(*each))
    assert np.array_equal(lime_limit.find_limit(case, 100, tmp_path / "parts")[0], whole)
    assert sum(asked) == 200
    lime_limit.find_limit(case, 100, tmp_path / "parts")
    assert sum(asked) == 200


def test_calls_are_those_from_which_the_correlation_stays(lime_benchmark):
    def calls(*correlations):
        return lime_benchmark.Curve([10, 20, 40, 80], list(correlations), [0.0] * 4).calls()

    assert calls(0.5, 0.95, 0.8, 0.91) == 80
    assert calls(0.5, 0.92, 0.95, 0.91) == 20
    assert calls(0.9, 0.92, 0.95, 0.91) == 10
    assert calls(0.9, 0.92, 0.95, 0.89) is None
    assert lime_benchmark.counts_up_to(41) == [40, 41]


def test_curves_are_means_over_runs_against_the_limit(lime_benchmark):
    limit = np.array([1.0, 2.0, 3.0])
    runs = [lambda count: limit + 1, lambda count: limit[::-1] + 1]
    found = lime_benchmark.curve(runs, 40, limit)
    assert found.counts == [40] and found.correlations == [0.0]
    assert found.errors[0] == pytest.approx(np.sqrt((1.0 + (9 + 1 + 1) / 3) / 2 / limit.var()))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
def test_peak_memory_is_what_a_call_holds_at_most():
    from side_by_side import peak_memory

    assert 60 < peak_memory(lambda: torch.ones(2**24).sum()) < 90  # 64 MiB, given back
    assert peak_memory(lambda: None) < 5


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_keep_freed_memory_takes_effect_in_a_process_of_its_own():
    code = "from xai.memory import keep_freed_memory; print(keep_freed_memory())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_keep_freed_memory_is_off_elsewhere(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
