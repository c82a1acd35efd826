"""What a training run leaves behind for people: tables of its mistakes, curves, and pictures it could not read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from xai.figures.style import render_png
from xai.figures.training import draw_confusion, draw_curves
from xai.io.files import write_atomic
from xai.training.evaluation import Evaluation
from xai.training.run import Epoch, write_table


def write_evaluation(
    folder: Path, evaluation: Evaluation, class_names: Sequence[str], history: Sequence[Epoch] = ()
) -> None:
    """Write evaluation.json, classes.csv, confusion.csv and confusion.png, and curves.png where there is a history."""
    summary = summarise(evaluation, class_names)
    write_atomic(folder / "evaluation.json", (json.dumps(summary, indent=1, ensure_ascii=False) + "\n").encode())
    recall, said = evaluation.recall(), evaluation.confusion.sum(0)
    rows = [
        {"class": name, "pictures": int(evaluation.confusion[i].sum()), "found": float(recall[i]), "said": int(said[i])}
        for i, name in enumerate(class_names)
    ]
    write_table(folder / "classes.csv", ["class", "pictures", "found", "said"], rows)
    table = [
        {"true": name, **dict(zip(class_names, map(int, counts), strict=True))}
        for name, counts in zip(class_names, evaluation.confusion, strict=True)
    ]
    write_table(folder / "confusion.csv", ["true", *class_names], table)
    write_atomic(folder / "confusion.png", render_png(draw_confusion(evaluation.confusion, class_names)))
    if history:
        write_atomic(folder / "curves.png", render_png(draw_curves([vars(row) for row in history])))


def summarise(evaluation: Evaluation, class_names: Sequence[str]) -> dict[str, object]:
    """Say the measures and the ten most frequent mistakes as JSON."""
    return {
        "pictures": evaluation.pictures,
        "top1": evaluation.top1,
        "top5": evaluation.top5,
        "loss": evaluation.loss,
        "confused": [
            {"true": class_names[true], "said": class_names[said], "pictures": count}
            for true, said, count in evaluation.confused()
        ],
    }


def write_skipped(folder: Path, skipped: Sequence[tuple[Path, str]]) -> None:
    """Write skipped.csv: the pictures that could not be read, and why; nothing where there are none."""
    if skipped:
        rows = [{"file": str(file), "reason": reason} for file, reason in skipped]
        write_table(folder / "skipped.csv", ["file", "reason"], rows)
