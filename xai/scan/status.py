"""How far a run is: its stages, their epochs and measures, and about how long the rest takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xai.scan.config import ScanConfig
from xai.scan.loop import PREVIOUS, saved_position
from xai.scan.plan import costs, stages_of
from xai.scan.run import EMBEDDED
from xai.scan.store import RunStore
from xai.training.checkpoint import CHECKPOINT


def read_status(run: str | Path) -> dict[str, Any]:
    """Read how far a run is.

    Returns:
        "run", "preset", "data", "architecture", "finished", "notes", "seconds_left" (None when finished or not known),
        and "stages": name, state ("done", "running" or "waiting"), epoch, epochs, seconds, facts.

    Raises:
        UserError: there is no run.
    """
    folder = EMBEDDED if str(run) == "embedded" else Path(run)
    store = RunStore.open(folder)
    stage, epoch, history = _checkpoint(folder)
    history = history or store.history()
    stages = []
    for name in stages_of(store.config):
        rows = [row for row in history if row["stage"] == name]
        state = "done" if name in store.done else "running" if name == stage or rows else "waiting"
        stages.append(
            {
                "name": name,
                "state": state,
                "epoch": len(rows) if name != stage else max(epoch, len(rows)),
                "epochs": _epochs(store.config, name),
                "seconds": sum(row["seconds"] for row in rows),
                "facts": store.facts(name) or _latest(rows),
            }
        )
    return {
        "run": str(run),
        "preset": store.config.preset,
        "data": store.config.data,
        "architecture": store.config.architecture,
        "finished": all(each["state"] == "done" for each in stages),
        "notes": list(store.about.get("notes", [])),
        "seconds_left": _seconds_left(store, stages),
        "stages": stages,
    }


def _checkpoint(folder: Path) -> tuple[str | None, int, list[dict[str, Any]]]:
    for name in (CHECKPOINT, PREVIOUS):
        state = saved_position(folder / name)
        if state:
            return state["stage"], state["epoch"], state["history"]
    return None, 0, []


def _epochs(config: ScanConfig, name: str) -> int:
    kind, _, tag = name.partition("-")
    if kind == "pretext":
        return config.pretext.epochs if config.pretext else 0
    group = next((each for each in config.groups if each.tag == tag), None)
    part = {"heads": "training", "finetune": "finetune", "selflabel": "selflabel"}.get(kind)
    return getattr(group, part).epochs if group and part else 0


def _latest(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {key: rows[-1][key] for key in ("loss", "consistency", "entropy", "knn") if rows and key in rows[-1]}


def _seconds_left(store: RunStore, stages: list[dict[str, Any]]) -> float | None:
    data = store.about.get("data", {})
    train, validation = data.get("train", store.config.glyphs[0]), data.get("validation", store.config.glyphs[1])
    cost = costs(store.config, train, validation)
    share = {each["name"]: each["epoch"] / each["epochs"] if each["epochs"] else 0.0 for each in stages}
    done = sum(cost[each["name"]] * share[each["name"]] for each in stages if each["epochs"])
    left = sum(cost[each["name"]] * (1 - share[each["name"]]) for each in stages if each["state"] != "done")
    seconds = sum(each["seconds"] for each in stages)
    return seconds / done * left if done and left else None
