"""Take runs apart and further: more heads, a copy without what only training needs, a head as a classifier, arrays."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from xai.errors import UserError
from xai.io.files import quoted
from xai.io.model_files import RUN_FILE, WEIGHTS_FILE, write_model_file
from xai.scan.config import FineTuning, Group
from xai.scan.plan import stages_of
from xai.scan.run import EMBEDDED, open_run
from xai.scan.store import METRICS_FILE, PICTURES_FILE, STATE_FILE, RunStore


def add_heads(
    run: str | Path,
    sizes: Sequence[int],
    *,
    replicas: int = 5,
    epochs: int | None = None,
    fine_tune: bool = False,
    output: Path | None = None,
) -> Path:
    """Write more heads into the plan of a finished run; resuming trains them.

    Args:
        run: folder, or "embedded".
        sizes: numbers of clusters that the run does not have yet.
        replicas: heads of each.
        epochs: on cached features; default: as for the first heads.
        fine_tune: let them have a network of their own.
        output: copy the run there first.

    Returns:
        Folder of the run that was changed.

    Raises:
        UserError: the run is not finished, has such heads already, or is the one that ships and no `output` is given.
    """
    folder = EMBEDDED if str(run) == "embedded" else Path(run)
    store = RunStore.open(folder)
    left = [name for name in stages_of(store.config) if name not in store.done]
    if left:
        raise UserError(f"The run {quoted(run)} is not finished ({left[0]} is next): `xai scan resume {run}` first.")
    there = sorted({size for group in store.config.groups for size in group.heads} & set(sizes))
    if there:
        raise UserError(f"The run {quoted(run)} has heads of {', '.join(map(str, there))} clusters already.")
    if folder == EMBEDDED and output is None:
        raise UserError("The run that ships stays as it is: name a copy with --output RUN.")
    first = store.config.groups[0]
    training = first.training if epochs is None else replace(first.training, epochs=epochs)
    finetune = (first.finetune or FineTuning()) if fine_tune else None
    group = Group(f"group{len(store.config.groups) + 1}", tuple(sizes), replicas, training, finetune, None)
    changed = replace(store.config, groups=(*store.config.groups, group))  # refuses what makes no sense
    if output is not None:
        export_run(run, output)
        folder, store = output, RunStore.open(output)
    store.write_config(changed)
    return folder


def export_run(run: str | Path, output: Path) -> list[Path]:
    """Copy a run without checkpoints and caches.

    Raises:
        UserError: there is no run, or the folder holds one.
    """
    folder = EMBEDDED if str(run) == "embedded" else Path(run)
    store = RunStore.open(folder)
    if (output / RUN_FILE).exists():
        raise UserError(f"The folder {quoted(output)} already holds a run; name another.")
    output.mkdir(parents=True, exist_ok=True)
    kept = [name for name in store.artefacts if not name.startswith("views-")]
    files = [path for name in kept for path in store.files(name)]
    others = [folder / name for name in (METRICS_FILE, PICTURES_FILE, RUN_FILE, STATE_FILE)]
    written = []
    for path in [*files, *(other for other in others if other.is_file())]:
        written.append(Path(shutil.copyfile(path, output / path.name)))
    copied = RunStore.open(output)
    for name in set(store.artefacts) - set(kept):
        copied.drop(name)
    return written


def export_head(run: str | Path, head: str, output: Path) -> list[Path]:
    """Write one head as a model file, so that every command and page takes it as a classifier of clusters."""
    opened = open_run(run)
    chosen = opened.head(head)
    output.mkdir(parents=True, exist_ok=True)
    path = write_model_file(
        output,
        opened.network(chosen).state_dict(),
        architecture=f"xai.scan.factories:{opened.config.architecture.replace('-', '_')}_{chosen.clusters}",
        class_names=opened.model(chosen).class_names,
        fmt=opened.format,
        about={"run": opened.name, "head": chosen.name},
    )
    return [path, output / WEIGHTS_FILE]


def export_arrays(run: str | Path, output: Path) -> list[Path]:
    """Write features, neighbours, probabilities and labels as one .npz."""
    opened = open_run(run)
    arrays: dict[str, np.ndarray] = {}
    for split in ("train", "validation"):
        pictures = opened.pictures(split)
        arrays[f"{split}_features"] = opened.features(split)
        arrays[f"{split}_neighbours"], arrays[f"{split}_similarities"] = opened.neighbours(split)
        arrays[f"{split}_names"] = np.array(list(pictures.names))
        if pictures.labels is not None:
            arrays[f"{split}_labels"] = pictures.labels
        for head in opened.heads:
            arrays[f"{split}_{head.name}"] = opened.probabilities(head, split)
    if not output.parent.is_dir():
        raise UserError(f"Cannot write {quoted(output)}: its folder does not exist; make it first.")
    np.savez(output, **arrays)  # type: ignore[arg-type]
    return [output]
