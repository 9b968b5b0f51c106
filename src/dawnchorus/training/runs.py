"""Folders of training runs: configuration, environment, status and results."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dawnchorus.errors import InputError, MissingExtraError, OutputError
from dawnchorus.models.bundle import RUN_BUNDLE_NAME
from dawnchorus.storage.files import atomic_file, cannot_write
from dawnchorus.training.renamed_keys import rename_keys, with_current_keys

RUN_NAME, CONFIG_NAME, METRICS_NAME = "run.json", "config.yaml", "metrics.csv"
PACKAGES = ("dawnchorus", "torch", "lightning", "timm", "transformers", "onnx", "onnxruntime", "numpy")


@dataclass(frozen=True, repr=False)
class TrainingRun:
    """A training run: its folder, and the content of `run.json` (`metadata`).

    `metadata` has status, started, overrides, environment and git (commit) from the start; n_classes, n_train and
    n_validation (clips), data (digest), n_parameters and n_trainable_parameters once they are known; metrics,
    background (false alarms), devices, epochs, fit_s, features_s, prepared_s, bundle_id and bundle_bytes if the run is
    done; reason if it failed; and evaluations when there are any.
    """

    folder: Path
    metadata: dict[str, Any]

    def __repr__(self) -> str:
        return f"<TrainingRun {self.folder}: {self.status}>"

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def bundle(self) -> Path:
        """Folder of the bundle, which exists when the run is done."""
        return self.folder / RUN_BUNDLE_NAME

    @property
    def lock(self) -> FileLock:
        """File lock that the training process holds; acquiring it does not wait, but raises `filelock.Timeout`."""
        return FileLock(self.folder / ".lock", timeout=0)

    @property
    def status(self) -> str:
        """Status: "running", "done", "failed" or "interrupted" (also if the process of a running run has ended).

        In a folder that cannot be written it is not known if the process has ended, and "running" stays.
        """
        status: str = self.metadata["status"]
        if status != "running":
            return status
        try:
            with self.lock:
                return "interrupted"
        except (Timeout, OSError):  # held, or in a folder that cannot be written
            return status

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of the best epoch (`FitResult.metrics`), and of evaluations ("test_cmap": split and metric), by name.

        Empty until the training is done.
        """
        metrics: dict[str, float] = self.metadata.get("metrics", {})
        return metrics

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """Results of `dawnchorus evaluate`, the latest last; empty without any. `add_evaluation` lists the keys."""
        evaluations: list[dict[str, Any]] = self.metadata.get("evaluations", [])
        return evaluations

    def add_evaluation(self, result: dict[str, Any]) -> TrainingRun:
        """Store an evaluation in `run.json`, in place of one on the same split of the data set; return the updated run.

        `result` has the fields of `Evaluation.as_record`, and data_set (folder), split, overlap_s, tta_shifts and date.
        Its metrics are also added to `TrainingRun.metrics`.

        Raises:
            InputError: the folder has no valid `run.json`.
            OutputError: no space, or no permission.
        """
        run = read_run(self.folder)
        key_fields = ("data_set", "split")
        others = [each for each in run.evaluations if any(each[name] != result[name] for name in key_fields)]
        values = {f"{result['split']}_{name}": each["value"] for name, each in result["metrics"].items()}
        return run.update(evaluations=[*others, result], metrics={**run.metrics, **values})

    def update(self, **changes: Any) -> TrainingRun:
        """Write `metadata` with changed fields to `run.json`, and return the updated run.

        What others have written to the file since this run was read is replaced.

        Raises:
            OutputError: no space, or no permission.
        """
        metadata = {**self.metadata, **changes}
        with atomic_file(self.folder / RUN_NAME) as stream:
            stream.write(json.dumps(metadata, indent=2, ensure_ascii=False).encode())
        return TrainingRun(self.folder, metadata)


def new_run(root: Path, *, label: str, started: datetime, config: dict[str, Any], overrides: list[str]) -> TrainingRun:
    """Create the folder of a run, with its configuration and environment; the status is "running".

    If a folder of this name exists, the name ends in the first free number from -2 to -999.

    Args:
        root: the folder of runs.
        label: last part of the folder's name, such as the model's name.
        started: local start time, first part of the folder's name.
        config: the configuration as nested dicts, to be written to `config.yaml`.
        overrides: the overrides that the user gave, to be stored in `run.json`.

    Raises:
        OutputError: the folder or its files cannot be written, or no number up to -999 is free.
    """
    import yaml

    stem = f"{started:%Y%m%d-%H%M%S}-{label}"
    for number in range(1, 1000):
        folder = root / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise cannot_write(folder, error) from error
        break
    else:
        raise OutputError(f"no free name for a run like {stem}.", subject=root)
    with atomic_file(folder / CONFIG_NAME) as stream:
        stream.write(yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode())
    metadata = {
        "status": "running",
        "started": started.isoformat(timespec="seconds"),
        "overrides": overrides,
        "environment": _environment(),
        "git": _git(),
    }
    return TrainingRun(folder, {}).update(**metadata)


def read_run(folder: Path) -> TrainingRun:
    """Read the `run.json` of a run's folder; fields that were renamed in December 2026 get their new names.

    Raises:
        InputError: the folder has no valid `run.json`.
    """
    path = folder / RUN_NAME
    try:
        return TrainingRun(folder, _with_current_names(json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"expected the folder of a run, with {RUN_NAME} in it.", subject=folder) from error


def _with_current_names(metadata: dict[str, Any]) -> dict[str, Any]:
    """Rename the fields of a `run.json` written before 2026-12."""
    renamed = rename_keys(metadata, {"n_learned": "n_trainable_parameters"})
    if "evaluations" in renamed:
        renamed["evaluations"] = [
            rename_keys(each, {"turns": "tta_shifts", "part": "split"}) for each in renamed["evaluations"]
        ]
    return renamed


def find_run(model: str | Path) -> TrainingRun | None:
    """Return the run whose folder, or whose bundle's folder, is `model`; None if `model` is another folder or a name.

    Raises:
        InputError: the folder's `run.json` is invalid.
    """
    for folder in (Path(model), Path(model).parent):
        if (folder / RUN_NAME).is_file() and Path(model) in (folder, folder / RUN_BUNDLE_NAME):
            return read_run(folder)
    return None


def find_runs(root: Path) -> Iterator[TrainingRun]:
    """Yield the runs in the folder of runs `root`; yield nothing if there is no such folder.

    They are sorted by the names of their folders, which begin with the start time: the oldest first.

    Raises:
        InputError: a `run.json` is invalid.
    """
    for path in sorted(root.glob(f"*/{RUN_NAME}")):
        yield read_run(path.parent)


def read_config(run: TrainingRun) -> dict[str, Any]:
    """Read the configuration that the run was started with, as nested dicts with current keys.

    Raises:
        OSError: the run's `config.yaml` is missing or cannot be read.
        MissingExtraError: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("PyYAML", extra="train", purpose="Reading a run's configuration") from error

    config = with_current_keys(yaml.safe_load((run.folder / CONFIG_NAME).read_text(encoding="utf-8")))
    config.setdefault("data", {}).setdefault("noise_share", 0.0)  # runs from before this key had no synthetic noise
    return config


def _environment() -> dict[str, Any]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"python": sys.version.split()[0], "platform": platform.platform(), "packages": versions}


def _git() -> dict[str, Any] | None:
    """Return "commit" and "is_changed" (True with uncommitted changes) of the working directory; None without git."""
    try:
        commit, changes = (
            subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S607
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "is_changed": bool(changes)}
