"""The retraining process: `python -m dawnchorus.training.job REQUEST.json` prints its progress as JSON lines.

The process ends when its standard input is closed, so it never outlives its parent process.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from dawnchorus.data.classes import with_known_classes
from dawnchorus.data.recordings import RecordingsTable, read_table
from dawnchorus.data.synthesis.negatives import SOURCE as GENERATED
from dawnchorus.errors import DawnChorusError, InputError, MissingExtraError
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore
from dawnchorus.retraining_messages import RetrainEvent, RetrainOutcome, RetrainProcessRequest
from dawnchorus.storage.files import cannot_write
from dawnchorus.taxonomy.labels import parse_label
from dawnchorus.training.retraining_folder import copy_table, load_labeled_recordings, write_report
from dawnchorus.types import Progress, Report

PARENT_GONE = 75

SHARES = {"checking": (0.0, 0.1), "training": (0.3, 0.45), "comparing": (0.8, 0.1)}
"""Start and length of each stage, as fractions of the whole retraining."""


def check_request(request: RetrainProcessRequest) -> None:
    """Check the settings of a retraining and, if it has a data set, the labels of the data set.

    Raises:
        InputError: an unknown setting or label, or a value out of range.
        ModelError: a model cannot be opened.
        MissingExtraError: the extra [train] is not installed.
    """
    with _training_extra():
        from dawnchorus.training.retraining import check_settings

    store = ModelStore(request.models_folder)
    active = store.open(request.model)
    check_settings(active, request.overrides, backbone=request.backbone or request.model, store=store)
    if request.dataset is not None:
        _load(request, request.dataset, active, store)


def run_request(request: RetrainProcessRequest, *, report: Report) -> RetrainOutcome:
    """Retrain a model, and write its comparison with the active model into the folder; see `retraining.retrain`.

    The folder is `request.folder` or, without one, `retrained` in the data set's folder; the written file is
    `retraining.json` (`write_report`).

    Args:
        request: model, data set and settings.
        report: called with the progress of the stages "checking", "training" and "comparing".

    Raises:
        InputError: no data set, an unknown setting or label, no usable recording, or no species with a recording that
            can be held out.
        ModelError: a model cannot be opened.
        OutputExistsError: the folder has a finished retraining, and `overwrite` is False or a model in it is in use.
        BusyError: another process trains in the folder.
        TrainingError, OutputError: see `trainer.train`.
        MissingExtraError: the extra [train] is not installed.
    """
    with _training_extra():
        from dawnchorus.training.retraining import check_settings, retrain

    if request.dataset is None:
        raise InputError("expected a data set to retrain on.")
    store = ModelStore(request.models_folder)
    active = store.open(request.model)
    backbone = request.backbone or request.model
    check_settings(active, request.overrides, backbone=backbone, store=store)
    source = _load(request, request.dataset, active, store)
    folder = request.folder or source.folder / "retrained"
    in_use = [active.folder, store.open(backbone).folder]
    result = retrain(
        copy_table(source, folder, overwrite=request.overwrite, in_use=in_use),
        active,
        folder,
        backbone=backbone,
        store=store,
        negatives_folder=request.negatives_folder or store.folder,
        started=datetime.now(),  # noqa: DTZ005 - a folder's name, in the user's own time
        overrides=request.overrides,
        n_workers=request.n_workers,
        report=report,
    )
    outcome = RetrainOutcome(
        bundle=str(result.bundle.folder.absolute()),
        bundle_id=result.bundle.id,
        meets_promotion_rule=result.meets_promotion_rule,
        reasons=result.reasons,
        report=result.report,
        splits=_splits_of_groups(read_table(folder)),
    )
    write_report(folder, outcome.model_dump(exclude={"splits"}))
    return outcome


def _load(request: RetrainProcessRequest, dataset: Path, active: Bundle, store: ModelStore) -> RecordingsTable:
    """Return the recordings with labels replaced by the names of their classes."""
    labels = [*active.labels, *(store.open(request.backbone).labels if request.backbone else ())]
    known = [*labels, *map(parse_label, request.new_classes)]
    source = load_labeled_recordings(dataset, known, n_workers=request.n_workers)
    return source.with_rows(with_known_classes(source.rows, labels, request.new_classes))


def _splits_of_groups(table: RecordingsTable) -> dict[str, str]:
    rows = (row for row in table.rows if row.source != GENERATED)
    return {row.given_group: row.split for row in rows if row.given_group and row.split}


class EventPrinter(logging.Handler):
    """Log handler that prints stages, epochs and log messages as JSON events.

    A log message is printed with the stage and progress of the last report; before the first one, with "checking", 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last = RetrainEvent(stage="checking", progress=0.0)

    def report(self, progress: Progress) -> None:
        """Print the progress of a stage, with the metrics of a finished epoch, as a share (0 to 1) of the whole job.

        `progress.stage` has to be "checking", "training" or "comparing". Metrics are rounded to 5 decimals; those that
        are NaN or infinite are left out.
        """
        start, length = SHARES[progress.stage]
        share = start + length * progress.done / max(progress.total, 1)
        self._last = RetrainEvent.model_validate({"stage": progress.stage, "progress": share})
        if not progress.metrics:
            print_event(self._last)
            return
        epoch = {
            "epoch": int(progress.done),
            "n_epochs": int(progress.total),
            "left_s": progress.left_s,
            "metrics": {name: round(value, 5) for name, value in progress.metrics.items() if math.isfinite(value)},
        }
        print_event(self._last.model_copy(update=epoch))

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning: " if record.levelno == logging.WARNING else ""
        print_event(self._last.model_copy(update={"message": prefix + record.getMessage()}))


def print_event(event: RetrainEvent) -> None:
    """Print an event to standard output as a line of JSON, and flush."""
    sys.stdout.write(f"{event.to_json()}\n")
    sys.stdout.flush()


@contextmanager
def print_failure() -> Iterator[None]:
    """Print a `DawnChorusError` that is raised in the block as the last event, and raise it again.

    Raises:
        DawnChorusError: the error of the block.
    """
    try:
        yield
    except DawnChorusError as error:
        print_event(RetrainEvent(stage="failed", error=error.reason))
        raise


@contextmanager
def _training_extra() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(error.name or "torch", extra="train", purpose="Retraining") from error


def _end_with_parent() -> None:
    """Exit when the parent process ends or is killed, which closes standard input."""
    while os.read(0, 1024):  # a thread in `sys.stdin.read` would hold its lock when the interpreter ends
        pass
    os._exit(PARENT_GONE)


def main() -> None:
    """Check or retrain by the request (`RetrainProcessRequest` as JSON) in the file that the first argument names.

    An error is printed, and exits the process with the error's exit code.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    request = RetrainProcessRequest.model_validate_json(Path(sys.argv[1]).read_bytes())
    printer = EventPrinter()
    log = logging.getLogger("dawnchorus")
    log.addHandler(printer)
    log.setLevel(logging.INFO)
    try:
        with print_failure():
            try:
                if request.only_check:
                    check_request(request)
                else:
                    print_event(RetrainEvent(stage="done", outcome=run_request(request, report=printer.report)))
            except OSError as error:
                raise cannot_write(Path(error.filename or request.folder or "."), error) from error
    except DawnChorusError as error:
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
