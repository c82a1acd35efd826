"""What a run will do: its stages in order, what they cost, and batches that fit the data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from xai.errors import UserError
from xai.scan.config import ScanConfig


def fitted(config: ScanConfig, count: int) -> tuple[ScanConfig, list[str]]:
    """Make batches no larger than the data, and say so.

    Raises:
        UserError: there are too few pictures for that many neighbours.
    """
    if count <= config.neighbours + 1:
        raise UserError(
            f"{count} training pictures are too few for {config.neighbours} neighbours each; "
            f"lower --neighbours below {count - 1} or give more pictures."
        )
    notes: list[str] = []

    def fit(stage: Any, name: str) -> Any:
        if stage is None or stage.batch <= count:
            return stage
        notes.append(f"The {name} batch of {stage.batch} is larger than the {count} training pictures; {count} it is.")
        return replace(stage, batch=count)

    pretext = fit(config.pretext, "pretext")
    groups = tuple(
        replace(
            group,
            training=fit(group.training, "head training"),
            finetune=fit(group.finetune, "fine-tuning"),
            selflabel=fit(group.selflabel, "self-labelling"),
        )
        for group in config.groups
    )
    return replace(config, pretext=pretext, groups=groups), notes


def stages_of(config: ScanConfig) -> list[str]:
    """Names of the stages of a run, in order."""
    names = ["neighbours"] if config.features else ["pretext", "neighbours"]
    for group in config.groups:
        names.append(f"heads-{group.tag}")
        names += [f"finetune-{group.tag}"] * (group.finetune is not None)
        names += [f"selflabel-{group.tag}"] * (group.selflabel is not None)
        names.append(f"predictions-{group.tag}")
    return names


def costs(config: ScanConfig, train: int, validation: int) -> dict[str, float]:
    """What each stage costs, in forward passes of one picture; a trained view counts as three."""
    both = train + validation
    made: dict[str, float] = {"neighbours": both * (1 + config.embedding_views)}
    made["pretext"] = 3.0 * config.pretext.looks * train * config.pretext.epochs if config.pretext else 1.0
    for group in config.groups:
        made[f"heads-{group.tag}"] = train * (1 + group.training.cached) + 0.02 * train * group.training.epochs
        if group.finetune:
            made[f"finetune-{group.tag}"] = group.finetune.epochs * (6.0 * train + 2 * both)
        if group.selflabel:
            made[f"selflabel-{group.tag}"] = group.selflabel.epochs * (4.0 * train + 2 * both)
        made[f"predictions-{group.tag}"] = both
    return made
