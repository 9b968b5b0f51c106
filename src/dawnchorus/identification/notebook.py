"""Progress bar for notebooks."""

from __future__ import annotations

from typing import Any

from dawnchorus.errors import MissingExtraError
from dawnchorus.types import Progress


class NotebookProgress:
    """Progress bar for a notebook: `identify("recordings/", report=NotebookProgress())`.

    A call with a `Progress` updates the bar; the first call displays it.

    Raises:
        MissingExtraError: IPython is not installed.
    """

    def __init__(self) -> None:
        try:
            from IPython import display  # pyright: ignore[reportMissingImports] - an extra
        except ImportError as error:
            raise MissingExtraError("ipython", extra="notebook", purpose="A progress bar in a notebook") from error
        self._display = display
        self._handle: Any = None

    def __call__(self, progress: Progress) -> None:
        """Update the bar; the first call displays it."""
        n_failed, n_detections = (progress.metrics.get(name) for name in ("n_failed", "n_detections"))
        failed = f", {n_failed:.0f} failed" if n_failed else ""
        detections = "" if n_detections is None else f", {n_detections:.0f} detections"
        html = self._display.HTML(
            f'<progress value="{progress.done:.0f}" max="{max(progress.total, 1):.0f}"></progress> '
            f"{progress.done:.0f} of {progress.total:.0f} {progress.unit}{failed}{detections}"
        )
        if self._handle is None:
            self._handle = self._display.display(html, display_id=True)
        else:
            self._handle.update(html)
