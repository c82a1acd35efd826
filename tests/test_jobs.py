"""Slow explanations in the app: started, watched, stopped within a second, kept, and told when they fail."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from xai.errors import UserError
from xai.ui import jobs

ROOT = Path(__file__).resolve().parent.parent


def wait_for(condition, seconds: float = 60.0) -> float:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, "it took too long"
        time.sleep(0.01)
    return time.monotonic() - begun


def endless(report):
    for step in range(10**9):
        report(min(0.99, step / 1000), torch.full((1, 2, 2), float(step)))
        time.sleep(0.01)


def started(make) -> jobs.Job:
    job = jobs.Job("key")
    threading.Thread(target=job.run, args=(make,), daemon=True).start()
    return job


def test_a_job_shows_how_far_it_is_and_stops_within_a_second():
    job = started(endless)
    wait_for(lambda: job.partial is not None and job.fraction > 0)
    assert "left" in job.text and isinstance(job.partial, np.ndarray)
    job.stop.set()
    assert wait_for(lambda: not job.running) < 1
    assert job.error == "Stopped." and job.result is None


def test_jobs_beyond_the_limit_wait_and_can_be_stopped_while_they_wait(monkeypatch):
    monkeypatch.setattr(jobs, "_SLOTS", threading.BoundedSemaphore(1))
    first = started(endless)
    wait_for(lambda: first.begun is not None)
    second, third = started(lambda report: "made"), started(lambda report: "made too")
    time.sleep(0.3)
    assert second.begun is None and "Waiting" in second.text
    third.stop.set()
    assert wait_for(lambda: not third.running) < 1 and third.error == "Stopped."
    first.stop.set()
    wait_for(lambda: not second.running)
    assert second.result == "made"


def test_what_goes_wrong_is_told(monkeypatch):
    def refuse(report):
        raise UserError("Occlusion needs a picture.")

    job = started(refuse)
    wait_for(lambda: not job.running)
    assert job.error == "Occlusion needs a picture."
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    broken = started(lambda report: 1 / 0)
    wait_for(lambda: not broken.running)
    assert broken.error == "This explanation failed: ZeroDivisionError."


@pytest.fixture
def open_page(monkeypatch, tmp_path):
    monkeypatch.setenv("XAI_MODEL", "squeezenet1_1")
    monkeypatch.setenv("XAI_WEIGHTS", "none")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def run(window: int) -> AppTest:
        at = AppTest.from_file(str(ROOT / "pages" / "attribution.py"), default_timeout=120)
        for name, text in (("method", "occlusion"), ("window", str(window)), ("stride", str(window))):
            at.query_params[name] = text
        return at.run()

    return run


def button(at: AppTest, label: str):
    [found] = [each for each in at.main.button if each.label == label]
    return found


def test_page_waits_for_a_word_and_shows_the_result(open_page):
    page = open_page(112)
    assert not page.exception and '"panels"' not in page.get_by_key("explanation").proto.json
    button(page, "Start Occlusion").click()
    page.run()
    job = page.session_state["_slow_job"]
    wait_for(lambda: not job.running)
    assert job.error == "" and job.result is not None
    page.run()
    assert not page.exception and not [each for each in page.main.button if each.label.startswith("Start")]
    assert '"panels"' in page.get_by_key("explanation").proto.json


def test_stop_on_the_page_stops_what_is_under_way(open_page, monkeypatch):
    page = open_page(100)
    monkeypatch.setattr("xai.ui.caching._explained", lambda key, traced, method, options, report: endless(report))
    monkeypatch.setattr("xai.ui.caching.known_explanation", lambda *args, **options: None)
    button(page, "Start Occlusion").click()
    page.run()
    job = page.session_state["_slow_job"]
    wait_for(lambda: job.fraction > 0)
    button(page, "Stop").click()
    page.run()
    assert wait_for(lambda: not job.running) < 1
    page.run()
    assert any("Stopped." in info.value for info in page.info)


def test_another_session_is_served_while_one_waits_and_stop_ends_the_thread(open_page):
    """A job that is under way in one session takes nothing from another, and Stop leaves no thread behind."""
    waiting = open_page(100)
    endless_jobs = pytest.MonkeyPatch()  # undone before the second session, which must not meet the stand-in
    endless_jobs.setattr("xai.ui.caching._explained", lambda key, traced, method, options, report: endless(report))
    endless_jobs.setattr("xai.ui.caching.known_explanation", lambda *args, **options: None)
    button(waiting, "Start Occlusion").click()
    waiting.run()
    job = waiting.session_state["_slow_job"]
    wait_for(lambda: job.fraction > 0)
    endless_jobs.undo()
    other = AppTest.from_file(str(ROOT / "pages" / "attribution.py"), default_timeout=120).run()
    assert not other.exception and other.get_by_key("explanation").proto.json, "the quick method of another person"
    assert job.running and "_slow_job" not in other.session_state
    thread = next(each for each in threading.enumerate() if each.name == "slow explanation" and each.is_alive())
    job.stop.set()
    assert wait_for(lambda: not job.running) < 1
    thread.join(5)
    assert not thread.is_alive(), "nothing goes on in the background"
