"""Progress of a run in a notebook."""

from __future__ import annotations

from typing import Any

from dawnchorus.errors import MissingExtraError
from dawnchorus.identification.result import Progress


class NotebookProgress:
    """Progress bar of a notebook: `identify("recordings/", on_progress=NotebookProgress())`.

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
        """Show the progress in the bar, which is drawn by the first call."""
        n_over = progress.n_resumed + progress.n_done + progress.n_failed
        failed = f", {progress.n_failed} failed" if progress.n_failed else ""
        html = self._display.HTML(
            f'<progress value="{n_over}" max="{max(progress.n_files, 1)}"></progress> '
            f"{n_over} of {progress.n_files} recordings{failed}, {progress.n_detections} detections"
        )
        if self._handle is None:
            self._handle = self._display.display(html, display_id=True)
        else:
            self._handle.update(html)
