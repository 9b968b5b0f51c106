"""Retraining beside serving: in a process of its own, that may crash, be cancelled, or be gone with its server."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from dawnchorus.data.classes import label_names
from dawnchorus.data.recordings import read_table
from dawnchorus.errors import InputError, NotFoundError
from dawnchorus.models.bundle import read_bundle
from dawnchorus.server.registry import Registry
from dawnchorus.server.state.job_queue import Jobs
from dawnchorus.server.state.tables import ACTIVE_STATUSES, Job
from dawnchorus.server.training.data import Lessons

LOG_NAME = "log.txt"
N_LOG_LINES = 50

TELL_S = 0.5
"""Steps without a word are told no more often."""

LOOK_S = 0.3
"""Seconds between checks whether the job is still wanted."""

NICENESS = 10
"""Serving comes first."""


class Learning:
    """Carries out the jobs of the kind "retrain"."""

    def __init__(
        self, jobs: Jobs, lessons: Lessons, registry: Registry, *, folder: Path, backbone: str, models: Path
    ) -> None:
        self._jobs, self._lessons, self._registry = jobs, lessons, registry
        self._folder, self._backbone, self._models = folder, backbone, models

    def start(self, overrides: list[str], *, by_hand: bool) -> Job:
        """Queue a retraining.

        Raises:
            BusyError: one is under way.
            InputError: there is nothing to learn from.
        """
        if not self._lessons.count():
            raise InputError("there is nothing to learn from yet: send labelled recordings, or review detections.")
        return self._jobs.add("retrain", {"overrides": overrides, "by_hand": by_hand})

    def check(self, overrides: Sequence[str]) -> None:
        """Check settings for retraining, in a process of its own.

        Raises:
            InputError: they cannot be used with the model that serves.
        """
        options = ["--model", self._registry.serving().folder, "--backbone", self._backbone]
        options += ["--models-folder", self._models, "--check"]
        command = [sys.executable, "-P", "-m", "dawnchorus", "retrain", *map(str, options), "--", *overrides]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            message = done.stderr.decode(errors="replace").strip().removeprefix("Error: ")
            raise InputError(f"--set: {message or 'the settings cannot be checked'}")

    def log(self, job_id: str) -> list[str]:
        """Return the last lines that the process wrote."""
        path = self._folder / job_id / LOG_NAME
        if not path.is_file():
            return []
        with path.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=N_LOG_LINES)]

    def work(self, job: Job, is_wanted: Callable[[], bool]) -> None:
        """Carry it out, while `is_wanted`; what is interrupted goes on from its checkpoint when it is tried again."""
        folder = self._folder / job.id
        if not (folder / "recordings.parquet").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            self._lessons.snapshot(folder)
        active = self._registry.serving()
        outcome: dict[str, Any] | None = None
        error, told = None, 0.0
        with _process(self._command(folder, active.folder, job), folder) as process:
            for fields in _lines(process, is_wanted):
                stage = fields.pop("stage")
                if stage == "done":
                    outcome = fields["outcome"]
                elif stage == "failed":
                    error = fields["error"]
                elif fields.keys() - {"progress"} or time.monotonic() - told > TELL_S:
                    told = time.monotonic()
                    self._jobs.tell(job.id, stage, fields.pop("progress"), fields)
        if not is_wanted():
            return
        if outcome is None:
            message = error or self._crashed(job.id, process.returncode)
            self._jobs.end(job.id, "failed", error=message.replace(f"{folder}: ", "").replace(str(folder), "it"))
            self.clear(job.id)
        else:
            self._take_over(job, outcome, folder)

    def _command(self, folder: Path, active: Path, job: Job) -> list[str]:
        options = {
            "--dataset": folder,
            "--model": active,
            "--backbone": self._backbone,
            "--out": folder,
            "--negatives": self._folder,
        }
        given = [str(part) for option in options.items() for part in option]
        # Each was confirmed when it was sent.
        given += [f"--new-class={name}" for name in label_names(read_table(folder).rows)]
        more = ["--models-folder", str(self._models), "--workers", "1", "--json", "--supervised"]
        return [sys.executable, "-P", "-m", "dawnchorus", "retrain", *given, *more, "--", *job.parameters["overrides"]]

    def _take_over(self, job: Job, outcome: Mapping[str, Any], folder: Path) -> None:
        """Keep the new bundle, and serve with it where the rule, or nobody else, has the word."""
        self._jobs.tell(job.id, "promoting", 0.98)
        bundle = read_bundle(Path(outcome["bundle"]))
        self._lessons.adopt_parts(folder)
        report = {name: outcome[name] for name in ("is_better", "reasons", "report")}
        self._registry.add_retrained(bundle, job=job.id, report=report)
        is_promoted = outcome["is_better"] and not job.parameters["by_hand"]
        if is_promoted:
            self._registry.activate(bundle.id, "promoted by the rule after retraining")
        self._jobs.end(job.id, "done", result={"bundle_id": bundle.id, "is_promoted": is_promoted, **report})
        self.clear(job.id)

    def clear(self, job_id: str) -> None:
        """Remove what only a job that goes on needs; its log stays."""
        for part in ("runs", "bundle", "clips", "recordings.parquet"):
            path = self._folder / job_id / part
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Clear what jobs have left that ended elsewhere, or before anybody began; of removed ones, all."""
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

    def _crashed(self, job_id: str, code: int | None) -> str:
        last = next((line for line in reversed(self.log(job_id)) if line.strip()), "none")
        return f"training ended with status {code}. The model that serves is unchanged. Its last words: {last[:200]}"


@contextmanager
def _process(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the process, and leave nothing of it afterwards; it ends by itself when this server does."""
    with (folder / LOG_NAME).open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=sys.platform != "win32",
        )
    try:
        _step_back(process.pid)
        yield process
    finally:
        if sys.platform != "win32":
            with _gone_is_fine():
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait()


def _step_back(pid: int) -> None:
    """Lower the priority of this process."""
    if sys.platform == "win32":
        return
    with _gone_is_fine():
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
    # Where Linux shares the time between sessions (autogroup), niceness counts within a session only.
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(f"{NICENESS}")


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except (ProcessLookupError, PermissionError):
        return


def _lines(process: subprocess.Popen[bytes], is_wanted: Callable[[], bool]) -> Iterator[dict[str, Any]]:
    """Yield the process's lines, until it ends or is not wanted any more."""
    told: SimpleQueue[bytes | None] = SimpleQueue()

    def read() -> None:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        for line in process.stdout:
            told.put(line)
        told.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = told.get(timeout=LOOK_S)
        except Empty:
            if not is_wanted():
                return
            continue
        if line is None:
            process.wait()
            return
        if line.startswith(b"{"):
            yield json.loads(line)
        if not is_wanted():
            return
