"""Progress of a run: a bar in a terminal, otherwise plain lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from dawnchorus.identification import Progress
from dawnchorus.types import Report

LINE_EVERY_S = 10.0


@contextmanager
def progress_bar(console: Console, text: str) -> Iterator[Report]:
    """Show a progress bar, and yield its update function."""
    with Bar(console=console, transient=True) as bar:
        task = bar.add_task(text, total=None)
        yield lambda progress: bar.update(task, completed=progress.done, total=progress.total)


@contextmanager
def show_progress(console: Console, *, duration_s: float) -> Iterator[Callable[[Progress], None]]:
    """Show the progress of a run, and yield its update function; `duration_s` may be an estimate."""
    started_s = time.monotonic()
    if not console.is_terminal:
        yield _plain_lines(console, duration_s, started_s)
        return
    columns = (
        TextColumn("{task.fields[files]}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=max(duration_s, 1e-3), files="", speed="")

        def update(progress: Progress) -> None:
            speed = f"{_speed(progress, started_s):,.0f} x real time"
            bar.update(task, completed=progress.scored_s, files=files_text(progress), speed=speed)

        yield update


def _speed(progress: Progress, started_s: float) -> float:
    return progress.scored_s / max(time.monotonic() - started_s, 1e-6)


def files_text(progress: Progress) -> str:
    """Format the numbers of finished, failed and all files."""
    text = f"{progress.n_resumed + progress.n_done} of {progress.n_files} files"
    return f"{text}, {progress.n_failed} failed" if progress.n_failed else text


def _plain_lines(console: Console, duration_s: float, started_s: float) -> Callable[[Progress], None]:
    last = started_s

    def update(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last < LINE_EVERY_S:
            return
        last = time.monotonic()
        part = 100 * min(progress.scored_s / max(duration_s, 1e-3), 1)
        console.print(f"{files_text(progress)}, {part:.0f} %, {_speed(progress, started_s):,.0f} x real time")

    return update
