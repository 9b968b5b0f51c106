"""The command `dawnchorus explore`: an HTML page on a data set."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
from rich.console import Console
from rich.progress import track

from dawnchorus.audio.process import DecoderProcess
from dawnchorus.cli.data import describe
from dawnchorus.cli.options import LOCAL_PATH, models_folder_option
from dawnchorus.cli.present import PAGE_NAME, console
from dawnchorus.data.attribution import attribution_line
from dawnchorus.data.check import ISSUES
from dawnchorus.data.cutting import loudest_starts
from dawnchorus.data.explore import Example, summarize_data_set
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, read_table, select_usable
from dawnchorus.errors import AudioError
from dawnchorus.inference.speech import VoiceActivityDetector
from dawnchorus.models.catalog.silero import speech_graph
from dawnchorus.models.store import default_folder
from dawnchorus.storage.files import atomic_file, cannot_write
from dawnchorus.types import Segment

EXAMPLE_S, SEARCHED_S, SEARCH_RATE_HZ = 5.0, 60.0, 16_000


@click.command("explore")
@click.argument("data_set", type=LOCAL_PATH)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Output folder for the page and plots.  [default: DATA_SET/explore]"
)
@click.option(
    "--examples", type=click.IntRange(0), default=1, show_default=True, help="Number of example sounds of each species."
)
@click.option(
    "--max-species",
    type=click.IntRange(1),
    default=40,
    show_default=True,
    help="Maximum number of species with example sounds.",
)
@click.option("--silence-speech", is_flag=True, help="Silence human speech in the example sounds.")
@models_folder_option
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of the random generator.")
def command(
    *,
    data_set: Path,
    out: Path | None,
    examples: int,
    max_species: int,
    silence_speech: bool,
    models_folder: Path | None,
    seed: int,
) -> None:
    """Describe a data set on an HTML page: counts, lengths, licenses, locations, times, spectra and examples."""
    from dawnchorus.reports.data_set import draw_data_set, render_data_page, show_examples

    table = read_table(data_set)
    summary = summarize_data_set(table.rows)
    describe(table, Console(highlight=False, soft_wrap=True))
    out = out or table.folder / "explore"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(out, error) from error
    detector = VoiceActivityDetector(speech_graph(models_folder or default_folder())) if silence_speech else None
    shown_species = [share.scientific_name for share in summary.species[:max_species]]
    with closing(DecoderProcess()) as decoder:
        shown = list(_examples(table, shown_species, examples, seed, detector=detector, decoder=decoder))
        page_examples = show_examples(track(shown, "drawing", console=console(), transient=True), decoder)
    plots = draw_data_set(summary)
    for name, png in {**plots, **({"spectra": page_examples.spectra} if page_examples.spectra else {})}.items():
        with atomic_file(out / f"{name}.png") as stream:
            stream.write(png)
    page = render_data_page(summary, plots, page_examples, name=table.folder.resolve().name, advice=ISSUES)
    with atomic_file(out / PAGE_NAME) as stream:
        stream.write(page.encode())
    click.echo(out / PAGE_NAME)


def _examples(
    table: RecordingsTable,
    species: list[str],
    n: int,
    seed: int,
    *,
    detector: VoiceActivityDetector | None,
    decoder: DecoderProcess,
) -> Iterator[Example]:
    """Yield the loudest `EXAMPLE_S` seconds of `n` random recordings of each species."""
    by_species: dict[str, list[RecordingRow]] = defaultdict(list)
    for row in select_usable(table.rows, copies=True):
        if row.scientific_name:
            by_species[row.scientific_name].append(row)
    rng = random.Random(seed)  # noqa: S311 - a choice, not a secret
    for name in species:
        rows = by_species.get(name, [])
        for row in rng.sample(rows, min(n, len(rows))):
            loudest = _loudest(table.file(row), detector=detector, decoder=decoder)
            if loudest is not None:
                start_s, silent = loudest
                caption = (
                    f"{attribution_line(row)} · {row.license or 'license not known'} · {row.locality or ''}".rstrip(
                        " ·"
                    )
                )
                yield Example(
                    table.file(row), start_s, start_s + EXAMPLE_S, name, row.common_name or name, caption, silent
                )


def _loudest(
    path: Path, *, detector: VoiceActivityDetector | None, decoder: DecoderProcess
) -> tuple[float, tuple[Segment, ...]] | None:
    """Return the start of the loudest segment in seconds, and the segments of speech; None if it cannot be decoded."""
    try:
        samples = decoder.read_clip(path, start_s=0.0, end_s=SEARCHED_S, rate_hz=SEARCH_RATE_HZ)
    except AudioError:
        return None
    window_samples = round(EXAMPLE_S * SEARCH_RATE_HZ)
    starts = loudest_starts(samples, window_samples, 1) if len(samples) > window_samples else [0]
    silent = () if detector is None else detector.find(samples, rate_hz=SEARCH_RATE_HZ)
    return starts[0] / SEARCH_RATE_HZ, silent
