"""The benchmarks run and report what they promise; what they measure is no business of a test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from xai.memory import keep_freed_memory

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_cam_benchmark_reports_every_row(tmp_path):
    report = tmp_path / "cam.json"
    command = [sys.executable, "benchmarks/cam.py", "--model", "resnet18", "--rounds", "1", "--json", str(report)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    ratios = json.loads(report.read_text())["ratios"]
    assert ratios["plain forward"] == 1
    assert {"ours, cold", "torch-cam", "captum LayerGradCam", "pytorch-grad-cam"} <= set(ratios)
    assert len(ratios) == 9
    assert all(name in done.stdout for name in ratios)
    assert "Cold against the fastest peer" in done.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_keep_freed_memory_takes_effect_in_a_process_of_its_own():
    code = "from xai.memory import keep_freed_memory; print(keep_freed_memory())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_keep_freed_memory_is_off_elsewhere(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
