"""Output shared by several commands: consoles, tables, reports, and messages on models."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from dawnchorus.audio.process import DecoderProcess
from dawnchorus.errors import AudioError
from dawnchorus.identification import Run
from dawnchorus.identification.output_paths import named_after, relative_paths
from dawnchorus.identification.result import RecordingFailure
from dawnchorus.models.store import BUILTIN_MODELS, ModelStore
from dawnchorus.storage.files import atomic_file, cannot_write
from dawnchorus.suggestions import suggestion
from dawnchorus.types import RecordingTable

if TYPE_CHECKING:
    from dawnchorus.archive.archive import Archive

PAGE_NAME = "index.html"

SOME_FAILED = 3
"""Exit code of a run in which some files failed."""

MAX_LISTED = 20
"""Maximum number of entries of a list that are printed."""


def console(*, no_color: bool = False) -> Console:
    """Return a console on standard error, for progress and messages; `no_color` or $NO_COLOR turns colors off."""
    return Console(stderr=True, highlight=False, no_color=no_color or None, soft_wrap=True)


def print_table(table: Table, *, optional: Sequence[str] = (), stderr: bool = False) -> None:
    """Print a table to standard output, or to standard error if `stderr`; long cells wrap to the terminal's width.

    Until the table fits the terminal, columns with headers in `optional` are removed from `table`, beginning with the
    last header in `optional`. If the output is no terminal, nothing is removed or wrapped.
    """
    screen = Console(highlight=False, markup=False, stderr=stderr)
    if not screen.file.isatty():
        screen.width = _natural_width(table)
    for header in reversed(optional):
        if _natural_width(table) <= screen.width:
            break
        table.columns = [column for column in table.columns if column.header != header]
    for column in table.columns:
        column.overflow = "fold"
    screen.print(table)


def _natural_width(table: Table) -> int:
    wide = Console(width=100_000, markup=False)
    return max(Measurement.get(wide, wide.options, table).maximum, 1)


def announce_model(store: ModelStore, name: str | Path) -> None:
    """Print to standard error that the built-in model `name` will be installed, and the license of its weights.

    Nothing is printed if the model is installed already, or if `name` is not a built-in model but a bundle's folder.
    """
    if str(name) not in BUILTIN_MODELS or store.find_installed(str(name)) is not None:
        return
    model = BUILTIN_MODELS[str(name)]
    click.echo(f"Preparing the model '{model.name}' on this machine, once ({model.fetch_note}).", err=True)
    click.echo(f"Its weights: {model.license}. {model.attribution}", err=True)


def files_from(paths: Sequence[str]) -> list[str]:
    """Return the paths with each `-` replaced by the paths from standard input; other paths stay, in order.

    If the input has a NUL byte, NUL separates the paths, otherwise line ends do. Blank lines are skipped.
    """
    listed: list[str] = []
    for path in paths:
        if path != "-":
            listed.append(path)
            continue
        data = sys.stdin.buffer.read()
        lines = data.split(b"\0") if b"\0" in data else data.splitlines()
        listed.extend(_parse_name(line) for line in lines if line.strip())
    return listed


def _parse_name(line: bytes) -> str:
    """Return the path in a line, without byte order mark and outer spaces, unless a file has exactly this name."""
    name = os.fsdecode(line)
    return name if os.path.lexists(name) else name.removeprefix("\ufeff").strip()


def note_unknown_sites(archive: Archive, sites: Collection[str]) -> None:
    """Print a note on each of the names in `sites` that no recording of the archive has as its site."""
    if not sites:
        return
    known = {site for site in archive.recordings(columns=["site"]).read_all()["site"].unique().to_pylist() if site}
    for site in sorted(set(sites) - known):
        console().print(f"note: no recording is of the site '{site}'.{suggestion(site, known)}", markup=False)


def speed_text(scored_s: float, elapsed_s: float) -> str:
    """Return a phrase on the speed of a run, such as "40 x real time", or that nothing was scored."""
    return f"{scored_s / max(elapsed_s, 1e-6):,.0f} x real time" if scored_s else "nothing was scored"


def length_text(seconds: float) -> str:
    """Format a duration: below 90 s as `12 seconds`, below 90 minutes as `2.5 minutes`, else as `1.5 hours`."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.1f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"


def license_note(run: Run) -> str:
    """Return a sentence with the license and attribution of the weights of a run's model."""
    info = run.bundle.info
    return f"The model's weights: {info.license}. {info.attribution}"


def write_report(run: Run, folder: Path) -> tuple[Path, list[RecordingFailure]]:
    """Write the HTML report of a run, and one spectrogram (PNG) per recording, or per channel if scored separately.

    Returns the path of the page (`index.html` in `folder`), and the recordings whose spectrogram could not be drawn,
    with reasons. Recordings that the run could not identify have no spectrogram; the page lists them. `folder` may be a
    `storage.paths.RemotePath`; files that exist in it are replaced.

    Raises:
        OutputError: no space, or no permission.
    """
    from dawnchorus.plotting.recording import draw_recording
    from dawnchorus.reports.identification import render_page
    from dawnchorus.reports.summary import summarize

    failures: list[RecordingFailure] = []
    with closing(DecoderProcess()) as decoder:
        for path, relative in relative_paths(run.paths).items():
            table = run.table(path)
            if table is None:
                continue
            channels = table.by_channel()
            for number, channel in enumerate(channels, start=1):
                suffix = f".channel{number}.png" if len(channels) > 1 else ".png"
                try:
                    _write(folder / named_after(relative, suffix), draw_recording(path, channel, decoder=decoder))
                except AudioError as error:
                    failures.append(RecordingFailure(table.recording, f"no picture: {error.reason}"))
                    break
    page = render_page(
        summarize(_path_and_table(run)),
        run.provenance,
        license_note=license_note(run),
        failures=[(p.recording, p.reason) for p in run.failures],
        warnings=[(p.recording, p.reason) for p in run.warnings],
    )
    _write(folder / PAGE_NAME, page.encode())
    return folder / PAGE_NAME, failures


def _path_and_table(run: Run) -> Iterator[tuple[Path, RecordingTable]]:
    return ((path, table) for path in run.paths if (table := run.table(path)) is not None)


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    with atomic_file(path) as stream:
        stream.write(content)


def without_nan(value: Any) -> Any:
    """Return a copy of nested dicts, lists and tuples (as lists), with None in place of NaN and infinity, for JSON."""
    if isinstance(value, Mapping):
        return {name: without_nan(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
