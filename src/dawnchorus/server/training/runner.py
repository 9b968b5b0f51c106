"""Retraining jobs, each in a child process, which may crash or be cancelled, and ends when its server ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO

from dawnchorus.data.classes import label_names
from dawnchorus.data.recordings import read_table
from dawnchorus.errors import InputError, NotFoundError
from dawnchorus.models.bundle import read_bundle
from dawnchorus.retraining_messages import RetrainEvent, RetrainOutcome, RetrainProcessRequest
from dawnchorus.server.model_catalog import ModelCatalog
from dawnchorus.server.model_switcher import ModelSwitcher
from dawnchorus.server.state.job_queue import JobQueue
from dawnchorus.server.state.tables import ACTIVE_STATUSES, Job
from dawnchorus.server.training.data import TrainingData
from dawnchorus.storage.files import cannot_write

LOG_NAME, REQUEST_NAME = "log.txt", "request.json"
"""Names of files in a job's folder: the process's standard error, and the request to the process."""
N_LOG_LINES = 50
"""Maximum number of lines that `RetrainingRunner.log` returns."""

PROGRESS_INTERVAL_S = 0.5
"""Minimum interval of progress updates with the same stage and without a message or metrics."""

CANCEL_CHECK_S = 0.3
"""Seconds between checks for cancellation of the job."""

NICENESS = 10
"""Niceness (Unix priority) of the training process, which is lower in priority than the server."""


class RetrainingRunner:
    """Runner of retraining jobs.

    Args:
        jobs: queue of jobs.
        training_data: training data of the server.
        catalog: catalog to which new models are added.
        switcher: switcher of the active model.
        folder: folder for the files of jobs, in a subfolder for each job, named by the job's id.
        backbone: name or folder of the model on whose embeddings new models are built.
        models: folder of the built-in models.
    """

    def __init__(
        self,
        jobs: JobQueue,
        training_data: TrainingData,
        catalog: ModelCatalog,
        switcher: ModelSwitcher,
        *,
        folder: Path,
        backbone: str,
        models: Path,
    ) -> None:
        self._jobs, self._training_data = jobs, training_data
        self._catalog, self._switcher = catalog, switcher
        self._folder, self._backbone, self._models = folder, backbone, models

    def start(self, overrides: list[str], *, require_approval: bool) -> Job:
        """Add a retraining job to the queue, and return the job.

        Args:
            overrides: training settings in the syntax of `dawnchorus train`, such as "optimizer.lr=3e-4". They are not
                checked here: an invalid setting makes the job fail.
            require_approval: False to activate the new model automatically if it meets the promotion rule
                (`training.retraining`), True to leave the activation to a user.

        Raises:
            BusyError: another retraining is queued or running, or the queue of jobs is full (`job_queue.MAX_JOBS`).
            InputError: there is no training data.
        """
        if not self._training_data.count():
            raise InputError("no training data yet: upload labeled recordings or review detections.")
        return self._jobs.add("retrain", {"overrides": overrides, "require_approval": require_approval})

    def check(self, overrides: Sequence[str]) -> None:
        """Check training settings in a child process, without training.

        Args:
            overrides: training settings in the syntax of `dawnchorus train`.

        Raises:
            InputError: a setting is unknown, invalid, or does not fit the active model.
            OutputError: there is no space for the request to the process.
        """
        request = self._request(None, overrides).model_copy(update={"only_check": True})
        error = None
        with tempfile.TemporaryDirectory() as folder, _start_process(request, Path(folder)) as process:
            for event in _read_events(process, lambda: True):
                error = event.error
        if process.returncode:
            raise InputError(f"--override: {error or 'the settings cannot be checked'}")

    def log(self, job_id: str) -> list[str]:
        """Return the last `N_LOG_LINES` lines of a job's log in order; empty if there is no log on this server."""
        path = self._folder / job_id / LOG_NAME
        if not path.is_file():
            return []
        with path.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=N_LOG_LINES)]

    def run(self, job: Job, should_continue: Callable[[], bool]) -> None:
        """Run a retraining job until its end, and write progress and result to the queue.

        A new model is added to the catalog, and activated if it meets the promotion rule and the job requires no
        approval. A job that was interrupted is resumed. No result is written for a job that `should_continue` stopped.

        Args:
            job: job to run, which this server has claimed.
            should_continue: function that returns False when the job is cancelled or the server shuts down; the child
                process is then killed.

        Raises:
            OutputError: the files of the retraining cannot be written: no space, or no permission.
            ModelError: the new bundle is damaged, or the new model cannot be run.
        """
        folder = self._folder / job.id
        if not (folder / "recordings.parquet").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            self._training_data.snapshot(folder, job.id)
        request = self._request(folder, job.parameters["overrides"])
        outcome: RetrainOutcome | None = None
        error, stage, last_report_s = None, None, 0.0
        with _start_process(request, folder) as process:
            for event in _read_events(process, should_continue):
                outcome, error = event.outcome, event.error
                details = event.model_dump(exclude={"stage", "progress"}, exclude_defaults=True)
                is_due = details or event.stage != stage or time.monotonic() - last_report_s > PROGRESS_INTERVAL_S
                if event.progress is not None and is_due:
                    stage, last_report_s = event.stage, time.monotonic()
                    self._jobs.update_progress(job.id, event.stage, event.progress, details)
        if not should_continue():
            return
        if outcome is None:
            message = error or self._describe_crash(job.id, process.returncode)
            self._jobs.finish(job.id, "failed", error=message)
            self.clear(job.id)
        else:
            self._register(job, outcome)

    def _request(self, folder: Path | None, overrides: Sequence[str]) -> RetrainProcessRequest:
        """Return the request for a retraining in `folder`, which has the training data; None to check settings only."""
        return RetrainProcessRequest(
            dataset=folder,
            model=str(self._switcher.active.folder),
            backbone=self._backbone,
            # New classes were confirmed at upload.
            new_classes=() if folder is None else tuple(label_names(read_table(folder).rows)),
            overrides=tuple(overrides),
            folder=folder,
            overwrite=True,  # a job that is repeated begins again
            negatives_folder=self._folder,
            models_folder=self._models,
            n_workers=1,
        )

    def _register(self, job: Job, outcome: RetrainOutcome) -> None:
        """Add the new model to the catalog, activate it if the promotion rule allows, and finish the job.

        The model is not activated if it does not meet the promotion rule, or if the job requires a user's approval.
        """
        self._jobs.update_progress(job.id, "finishing", 0.98)
        bundle = read_bundle(Path(outcome.bundle))
        self._training_data.save_splits(outcome.splits)
        report = outcome.model_dump(mode="json", include={"meets_promotion_rule", "reasons", "report"})
        self._catalog.add(bundle, job=job.id, report=report)
        is_promoted = outcome.meets_promotion_rule and not job.parameters["require_approval"]
        if is_promoted:
            self._switcher.activate(bundle.id, "promoted by the rule after retraining")
        self._jobs.finish(job.id, "done", result={"bundle_id": bundle.id, "is_promoted": is_promoted, **report})
        self.clear(job.id)

    def clear(self, job_id: str) -> None:
        """Delete the files in an ended job's folder that are only needed to resume the job; the log stays."""
        for name in ("runs", "bundle", "clips", "recordings.parquet", REQUEST_NAME):
            path = self._folder / job_id / name
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def clean_up(self) -> None:
        """Clear the folders on this server of all jobs that have ended, and delete the folders of deleted jobs.

        Jobs that ended on other servers are included.
        """
        for folder in self._folder.glob("*/"):
            if not re.fullmatch(r"[0-9a-f]{32}", folder.name):
                continue  # not a job's
            try:
                job = self._jobs.get(folder.name)
            except NotFoundError:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                if job.status not in ACTIVE_STATUSES:
                    self.clear(job.id)

    def _describe_crash(self, job_id: str, code: int | None) -> str:
        log = f"/api/v1/jobs/{job_id}/log"  # its lines may name folders
        return f"training ended with status {code}. The active model is unchanged. Its log is at {log}."


@contextmanager
def _start_process(request: RetrainProcessRequest, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the training process, and kill its process group at the end of the `with` block.

    The process exits by itself if this server dies, since its standard input is closed then.
    """
    path = folder / REQUEST_NAME
    try:
        path.write_text(request.model_dump_json(), encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from error
    command = [sys.executable, "-P", "-m", "dawnchorus.training.job", str(path)]
    with (folder / LOG_NAME).open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=sys.platform != "win32",
        )
    try:
        _lower_priority(process.pid)
        yield process
    finally:
        if sys.platform != "win32":
            with _suppress_exited():
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait()


def _lower_priority(pid: int) -> None:
    """Lower the priority of a process to `NICENESS`, on Unix."""
    if sys.platform == "win32":
        return
    with _suppress_exited():
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
    # If Linux divides time between sessions (autogroup), niceness has an effect within a session only.
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(f"{NICENESS}")


@contextmanager
def _suppress_exited() -> Iterator[None]:
    try:
        yield
    except (ProcessLookupError, PermissionError):
        return


def _put_lines(stream: IO[bytes], lines: SimpleQueue[bytes | None]) -> None:
    """Put the lines of a stream into a queue, and None at its end."""
    for line in stream:
        lines.put(line)
    lines.put(None)


def _read_events(process: subprocess.Popen[bytes], should_continue: Callable[[], bool]) -> Iterator[RetrainEvent]:
    """Yield the events of the training process until it ends or `should_continue` returns False."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    lines: SimpleQueue[bytes | None] = SimpleQueue()
    threading.Thread(target=_put_lines, args=(process.stdout, lines), daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=CANCEL_CHECK_S)
        except Empty:
            if not should_continue():
                return
            continue
        if line is None:
            process.wait()
            return
        if line.startswith(b"{"):
            yield RetrainEvent.model_validate_json(line)
        if not should_continue():
            return
