"""The command `dawnchorus archive search`: search of similar sounds by embeddings."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.table import Table

from dawnchorus.arrays import Embeddings
from dawnchorus.audio.process import DecoderProcess
from dawnchorus.cli.options import LOCAL_PATH, PATH_OR_URL, model_options, workers_option
from dawnchorus.cli.present import announce_model, note_unknown_sites, print_table
from dawnchorus.errors import InputError, ModelError
from dawnchorus.inference.model import Model
from dawnchorus.models.store import ModelStore
from dawnchorus.storage.files import atomic_file, make_parent
from dawnchorus.tables.notes import counted

if TYPE_CHECKING:
    import pyarrow as pa

MAX_CLIP_WINDOWS = 16
"""Maximum number of windows in an example; a longer clip is no example of one sound."""


@click.command("search")
@click.argument("folder")
@click.argument("clip", type=PATH_OR_URL)
@click.option("--start-s", type=click.FloatRange(0), default=0.0, help="Start of the sound in the clip, in seconds.")
@click.option(
    "--end-s",
    type=click.FloatRange(0),
    help="End of the sound in the clip, in seconds.  [default: the end of the clip]",
)
@click.option(
    "-k", "--count", "k", type=click.IntRange(1), default=100, show_default=True, help="Number of windows to return."
)
@model_options
@click.option("--species", multiple=True, help="Search only in windows in which this species was detected; repeatable.")
@click.option("--site", "sites", multiple=True, help="Only recordings of this site; repeatable.")
@click.option("--since", help="Earliest day or time, by the recorders' clocks.")
@click.option("--until", help="End of the time range, a day or time, exclusive.")
@click.option("--run", "runs", multiple=True, help="Embeddings of this run.  [default: the latest of each recording]")
@click.option(
    "--exact", is_flag=True, help="Compare all embeddings, not only those with the most similar signs (slower)."
)
@click.option("--out", type=LOCAL_PATH, help="Output file, .csv or .parquet.  [default: print a table]")
@click.option(
    "--report", type=LOCAL_PATH, help="HTML page with the spectrograms and sounds of the hits, such as hits.html."
)
@workers_option
def search(
    *,
    folder: str,
    clip: Path,
    start_s: float,
    end_s: float | None,
    k: int,
    model: str,
    store: ModelStore,
    species: tuple[str, ...],
    sites: tuple[str, ...],
    since: str | None,
    until: str | None,
    runs: tuple[str, ...],
    exact: bool,
    out: Path | None,
    report: Path | None,
    workers: int,
) -> None:
    """Find the windows of an archive that sound like a clip; needs embeddings (identify --keep embeddings)."""
    from dawnchorus.archive.archive import open_archive
    from dawnchorus.archive.exports import write_rows

    archive = open_archive(folder)
    note_unknown_sites(archive, sites)
    announce_model(store, model)
    loaded = Model(store.open(model), store)
    hits = archive.search(
        embed_clip(loaded, clip, start_s=start_s, end_s=end_s),
        k=k,
        species=species or None,
        sites=sites or None,
        since=since,
        until=until,
        runs=runs or None,
        bundle_id=loaded.bundle.id,
        exact=exact,
        workers=workers,
    )
    if out is not None:
        click.echo(f"{out}: {counted(write_rows(hits.to_reader(), out), 'row')}")
    elif report is None:
        print_table(_as_screen(hits), optional=("site", "clock"))
    if report is not None:
        _write_page(report, hits, title=f"Like {clip.name}")
        click.echo(f"Report: {report}")


def embed_clip(model: Model, clip: Path, *, start_s: float, end_s: float | None) -> Embeddings:
    """Return the embeddings [windows, dim] of a sound in an audio file.

    A sound that is not longer than the model's window is in the center of one window, which is moved into the file if
    it would begin before it or end after it. A longer sound is covered by as few evenly spaced windows as possible.

    Args:
        model: the model.
        clip: the audio file.
        start_s: start of the sound, in seconds from the start of the file.
        end_s: end of the sound, in seconds from the start of the file; None: end of the file.

    Raises:
        InputError: the end is not after the start, the file ends before the start, or the sound is silent, or longer
            than `MAX_CLIP_WINDOWS` windows.
        ModelError: the model has no embeddings.
        AudioError: the file cannot be decoded.
    """
    if model.embedding_dim is None:
        raise ModelError(f"{model.name}: this model has no embeddings. Use one that has, such as birdnet.")
    if end_s is not None and end_s <= start_s:
        raise InputError(f"--end-s: expected more than --start-s ({start_s:g}), got {end_s:g}.")
    rate_hz, window_samples = model.sample_rate_hz, model.bundle.window_samples
    with closing(DecoderProcess()) as decoder:
        # As much around the sound as a window may need, and no more of a long clip than is used.
        first_s = max(start_s - model.window_s, 0.0)
        longest_s = start_s + (MAX_CLIP_WINDOWS + 1) * model.window_s
        last_s = longest_s if end_s is None else min(end_s + model.window_s, longest_s)
        samples = decoder.read_clip(clip, start_s=first_s, end_s=last_s, rate_hz=rate_hz)
    length = len(samples)
    start = round((start_s - first_s) * rate_hz)
    end = length if end_s is None else min(round((end_s - first_s) * rate_hz), length)
    if end <= start:
        raise InputError(f"--start-s: the clip ends before {start_s:g} s.", subject=clip)
    if not samples[start:end].any():
        raise InputError("the sound is silent, so there is nothing to search for.", subject=clip)
    n_windows = math.ceil((end - start) / window_samples)
    if n_windows > MAX_CLIP_WINDOWS:
        raise InputError(
            f"expected a sound of at most {MAX_CLIP_WINDOWS * model.window_s:g} s. Give --start-s and --end-s.",
            subject=clip,
        )
    if n_windows == 1:
        starts = [start - (window_samples - (end - start)) // 2]
    else:
        starts = np.linspace(start, end - window_samples, n_windows).round().astype(int).tolist()
    starts = [max(min(each, length - window_samples), 0) for each in starts]
    windows = [samples[each : each + window_samples] for each in starts]
    return np.concatenate([model.embed(window, rate_hz)[:1] for window in windows])


def _as_screen(hits: pa.Table) -> Table:
    """Return search hits as a table for the terminal."""
    table = Table(box=None, pad_edge=False)
    for name in ("rank", "score", "recording", "start", "clock", "site", "species"):
        table.add_column(name, justify="right" if name in ("rank", "score", "start") else "left")
    for hit in hits.to_pylist():
        table.add_row(
            str(hit["rank"]),
            f"{hit['score']:.4f}",
            hit["recording"],
            f"{hit['start_s']:.1f} s",
            (hit["start_time"] or "")[:19],
            hit["site"],
            hit["species"],
        )
    return table


def _write_page(path: Path, hits: pa.Table, *, title: str) -> None:
    from dawnchorus.reports.search import render_page

    make_parent(path)
    rows: list[dict[str, Any]] = hits.to_pylist()
    page = render_page(rows, title=title)
    with atomic_file(path) as stream:
        stream.write(page.encode())
