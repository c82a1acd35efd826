"""The folder of a run: tensors in safetensors, all else in JSON; every file knows what it was made from.

Each artefact (features, neighbours, weights ...) is written whole, its SHA-256 goes into state.json last, and it
carries the digests of the artefacts that it was computed from. So a file that was damaged, or features of weights that
have been replaced since, are refused rather than used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from xai.errors import UserError
from xai.io.files import quoted, write_atomic
from xai.io.model_files import RUN_FILE
from xai.io.weights import first_line
from xai.scan.config import ScanConfig

FORMAT = "xai-scan/1"
STATE_FILE, METRICS_FILE, PICTURES_FILE = "state.json", "metrics.jsonl", "pictures.json"
GIVEN = "given"  # artefact: features that came without a network
SHARD_BYTES = 15 * 2**20  # every file host takes that


class RunStore:
    """Reads and writes the files of one run.

    Of several processes the first writes; the others wait for it, and then read what is there.

    Attributes:
        folder: of the run.
        config: as the run was told, groups of heads that came later included.
        about: what else run.json says: versions, data, notes.
    """

    def __init__(self, folder: Path, config: ScanConfig, about: Mapping[str, Any], state: dict[str, Any]) -> None:
        self.folder, self.config, self.about, self._state = folder, config, dict(about), state
        self.first, self.wait = True, lambda: None

    def share(self, first: bool, wait: Callable[[], None]) -> None:
        """Let several processes use the run: whether this is the first, and how to wait for all others."""
        self.first, self.wait = first, wait

    @classmethod
    def create(cls, folder: Path, config: ScanConfig, about: Mapping[str, Any]) -> RunStore:
        """Begin a run in a folder.

        Raises:
            UserError: a run is in it already, or it cannot be made.
        """
        if (folder / RUN_FILE).exists():
            raise UserError(f"The folder {quoted(folder)} already holds a run; go on with `xai scan resume {folder}`.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"The folder {quoted(folder)} cannot be made: {error.strerror}.") from error
        store = cls(folder, config, about, {"format": FORMAT, "artefacts": {}, "done": []})
        store._write_state()
        store.write_config(config)
        return store

    @classmethod
    def open(cls, folder: Path) -> RunStore:
        """Open a run that exists, and check that no artefact is older than what it was made from.

        Raises:
            UserError: there is none, or its files do not belong together.
        """
        for name in (RUN_FILE, STATE_FILE):
            if not (folder / name).is_file():
                raise UserError(f"The folder {quoted(folder)} holds no clustering run ({name} is missing).")
        said, state = _read_json(folder / RUN_FILE), _read_json(folder / STATE_FILE)
        if said.get("format") != FORMAT or state.get("format") != FORMAT:
            raise UserError(f"The run in {quoted(folder)} has another format than {FORMAT}.")
        config = ScanConfig.from_json(said["config"])
        store = cls(folder, config, {k: v for k, v in said.items() if k not in ("format", "config")}, state)
        for name in state["artefacts"]:
            store._check_parents(name)
        return store

    def write_config(self, config: ScanConfig) -> None:
        """Write run.json again with another configuration, such as one with more heads."""
        self.config = config
        _write_json(self.folder / RUN_FILE, {"format": FORMAT, "config": config.as_json(), **self.about})

    @property
    def done(self) -> tuple[str, ...]:
        """Stages that are finished, in order."""
        return tuple(self._state["done"])

    def finish(self, stage: str, **facts: Any) -> None:
        """Write down that a stage is finished, and what came out of it in a few words."""
        self._state["done"].append(stage)
        self._state.setdefault("facts", {})[stage] = facts
        self._write_state()

    def facts(self, stage: str) -> dict[str, Any]:
        """What `finish` was told."""
        return self._state.get("facts", {}).get(stage, {})

    def has(self, name: str) -> bool:
        """Whether an artefact is there."""
        return name in self._state["artefacts"]

    def digest(self, name: str) -> str:
        """SHA-256 of an artefact."""
        return self._entry(name)["digest"]

    def write(
        self, name: str, tensors: Mapping[str, Tensor], parents: Iterable[str] = (), *, whole: bool = False
    ) -> None:
        """Write an artefact, cut into files of at most 15 MiB.

        Args:
            name: of the artefact, and beginning of its files' names.
            tensors: by name.
            parents: artefacts that it was computed from.
            whole: as one file, however large.
        """
        if not self.first:
            self._write_state()
            return
        chain = {parent: self.digest(parent) for parent in parents}
        shards = [dict(tensors)] if whole else _cut(tensors)
        files = []
        for number, shard in enumerate(shards, start=1):
            file = f"{name}.safetensors" if len(shards) == 1 else f"{name}-{number:05}-of-{len(shards):05}.safetensors"
            flat = {key: value.detach().cpu().contiguous().clone() for key, value in shard.items()}
            data = safetensors.torch.save(flat, metadata={"parents": json.dumps(chain, sort_keys=True)})
            write_atomic(self.folder / file, data)
            files.append([file, hashlib.sha256(data).hexdigest()])
        digest = hashlib.sha256("".join(sha for _, sha in files).encode()).hexdigest()
        self._state["artefacts"][name] = {"files": files, "digest": digest, "parents": chain}
        self._write_state()

    def read(self, name: str, only: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Read an artefact, or some of its tensors, after checking its files.

        Raises:
            UserError: it is missing, damaged, or older than what it was made from.
        """
        entry = self._entry(name)
        self._check_parents(name)
        found: dict[str, Tensor] = {}
        for file, sha256 in entry["files"]:
            data = self._read_file(file, sha256)
            found |= safetensors.torch.load(data)
        return found if only is None else {key: found[key] for key in only}

    def drop(self, name: str) -> None:
        """Remove an artefact that only saved work."""
        if self.has(name):
            files = self._state["artefacts"].pop(name)["files"]
            self._write_state()
            for file, _ in files if self.first else ():
                (self.folder / file).unlink(missing_ok=True)

    def files(self, name: str) -> list[Path]:
        """Files of an artefact."""
        return [self.folder / file for file, _ in self._entry(name)["files"]]

    @property
    def artefacts(self) -> tuple[str, ...]:
        """Names of what is there."""
        return tuple(self._state["artefacts"])

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write metrics.jsonl, a line for each epoch."""
        if not self.first:
            return
        write_atomic(self.folder / METRICS_FILE, "".join(json.dumps(row) + "\n" for row in rows).encode())

    def history(self) -> list[dict[str, Any]]:
        """Rows of metrics.jsonl; empty before the first epoch."""
        path = self.folder / METRICS_FILE
        if not path.is_file():
            return []
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def _read_file(self, file: str, sha256: str) -> bytes:
        path = self.folder / Path(file).name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"The run lacks {quoted(path)}: {error.strerror}.") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise UserError(f"The file {quoted(path)} is not the one that the run wrote (its SHA-256 is another one).")
        return data

    def _entry(self, name: str) -> dict[str, Any]:
        if not self.has(name):
            raise UserError(
                f"The run in {quoted(self.folder)} has no {name} yet; `xai scan status` tells how far it is."
            )
        return self._state["artefacts"][name]

    def _check_parents(self, name: str) -> None:
        for parent, digest in self._entry(name)["parents"].items():
            if self.has(parent) and self.digest(parent) != digest:
                raise UserError(
                    f"In the run {quoted(self.folder)} '{name}' was computed from another '{parent}' than is there."
                )

    def _write_state(self) -> None:
        if self.first:
            _write_json(self.folder / STATE_FILE, self._state)
        self.wait()
        if not self.first:
            self._state = _read_json(self.folder / STATE_FILE)


def _cut(tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Share tensors out over files; one that is larger than a file has its own."""
    shards: list[dict[str, Tensor]] = [{}]
    held = 0
    for key, value in tensors.items():
        size = value.numel() * value.element_size()
        if shards[-1] and held + size > SHARD_BYTES:
            shards.append({})
            held = 0
        shards[-1][key] = value
        held += size
    return shards


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_atomic(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"The file {quoted(path)} cannot be read: {first_line(error)}.") from error
