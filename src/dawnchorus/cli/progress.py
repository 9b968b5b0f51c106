"""Progress display: a bar in a terminal, otherwise plain lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from dawnchorus.types import Progress, Report

LINE_EVERY_S = 10.0


@contextmanager
def progress_bar(console: Console, text: str) -> Iterator[Report]:
    """Show a progress bar labeled `text` during the block, and yield the function that updates it."""
    with Bar(console=console, transient=True) as bar:
        task = bar.add_task(text, total=None)
        yield lambda progress: bar.update(task, completed=progress.done, total=progress.total)


@contextmanager
def show_progress(console: Console, *, duration_s: float | None) -> Iterator[Report]:
    """Show the progress of an identification run during the block, and yield the function that updates it.

    In a terminal it updates a bar, otherwise it prints a line at most every 10 s. It needs the metrics `scored_s`
    (seconds of audio scored) and `n_failed` in its `Progress`. `duration_s` is the (estimated) total length of the
    recordings; None: progress is measured in recordings.
    """
    if not console.is_terminal:
        yield _PlainLines(console, duration_s).report
        return
    columns = (
        TextColumn("{task.fields[files]}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        yield _RunBar(bar, duration_s).report


class _RunBar:
    """Progress bar by scored seconds or recordings, in a terminal."""

    def __init__(self, bar: Bar, duration_s: float | None) -> None:
        self._bar, self._started_s = bar, time.monotonic()
        self._duration_s = duration_s
        self._task = bar.add_task("", total=1.0, files="", speed="")

    def report(self, progress: Progress) -> None:
        """Update the bar."""
        speed = _speed(progress.metrics["scored_s"], self._started_s)
        share = _share_done(progress, self._duration_s)
        self._bar.update(self._task, completed=share, files=files_text(progress), speed=speed)


class _PlainLines:
    """Progress as a line every `LINE_EVERY_S` seconds, for output that is no terminal."""

    def __init__(self, console: Console, duration_s: float | None) -> None:
        self._console, self._duration_s = console, duration_s
        self._started_s = self._last_s = time.monotonic()

    def report(self, progress: Progress) -> None:
        """Print a line, if the last line is `LINE_EVERY_S` seconds old."""
        if time.monotonic() - self._last_s < LINE_EVERY_S:
            return
        self._last_s = time.monotonic()
        scored_s = progress.metrics["scored_s"]
        part = 100 * _share_done(progress, self._duration_s)
        self._console.print(f"{files_text(progress)}, {part:.0f} %, {_speed(scored_s, self._started_s)}")


def _share_done(progress: Progress, duration_s: float | None) -> float:
    if duration_s is None:
        return progress.done / max(progress.total, 1)
    return min(progress.metrics["scored_s"] / max(duration_s, 1e-3), 1.0)


def _speed(scored_s: float, started_s: float) -> str:
    return f"{scored_s / max(time.monotonic() - started_s, 1e-6):,.0f} x real time"


def files_text(progress: Progress) -> str:
    """Format the numbers of identified, all and failed files (metric `n_failed`): `3 of 10 files, 1 failed`.

    Without failed files, the last part is left out: `3 of 10 files`.
    """
    n_failed = progress.metrics["n_failed"]
    text = f"{progress.done - n_failed:.0f} of {progress.total:.0f} files"
    return f"{text}, {n_failed:.0f} failed" if n_failed else text
