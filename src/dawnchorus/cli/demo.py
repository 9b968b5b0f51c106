"""The command `dawnchorus demo`: identify a synthetic dawn chorus."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from dawnchorus.audio.write import write_recording
from dawnchorus.cli.options import models_folder_option
from dawnchorus.cli.present import announce_model, print_table, write_report
from dawnchorus.data.synthesis.dawn_chorus import DAWN_LATITUDE, DAWN_LONGITUDE, DAWN_START_TIME, dawn_chorus
from dawnchorus.formats import raven
from dawnchorus.identification import Options, Run, identify
from dawnchorus.inference.model import Model
from dawnchorus.models.store import DEFAULT_MODEL, ModelStore, default_folder
from dawnchorus.storage.files import atomic_file, cannot_write
from dawnchorus.types import Detection, RecordingTable

RECORDING_NAME = f"DAWN_{DAWN_START_TIME:%Y%m%d_%H%M%S}.wav"


@click.command("demo")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("dawnchorus-demo"),
    show_default=True,
    help="Output folder.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of the random generator.")
@models_folder_option
def command(*, folder: Path, seed: int, models_folder: Path | None) -> None:
    """Synthesize a dawn chorus, identify it, and compare with the truth."""
    store = ModelStore(models_folder or default_folder())
    announce_model(store, DEFAULT_MODEL)
    model = Model(store.open(DEFAULT_MODEL), store)
    recording = folder / RECORDING_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    scene = dawn_chorus(seed=seed)
    write_recording(recording, scene.samples, rate_hz=scene.rate_hz)
    truth = scene.truth(str(recording))
    options = Options(merge=True, latitude=DAWN_LATITUDE, longitude=DAWN_LONGITUDE)
    run = identify(recording, options, out=folder / "detections.csv", overwrite=True, model=model)
    truth_provenance = replace(run.provenance, parameters={"annotated": True})
    for name, tables, provenance in (
        ("truth", [truth], truth_provenance),
        ("detections", list(run.tables()), run.provenance),
    ):
        with atomic_file(folder / f"{name}.selections.txt") as stream:
            raven.write(stream, tables, provenance)
    page, _ = write_report(run, folder)
    _print_comparison(truth, run)
    _print_next(folder, recording, page)


def _overlap(a: Detection, b: Detection) -> bool:
    return a.scientific_name == b.scientific_name and a.start_s < b.end_s and b.start_s < a.end_s


def _print_comparison(truth: RecordingTable, run: Run) -> None:
    detected = [d for table in run.tables() for d in table.detections if d.kind == "species"]
    table = Table(title="A synthetic dawn chorus: true events, and BirdNET's detections", title_justify="left")
    for name in ("", "truth", "from s", "to s", "found from s", "to s", "score"):
        table.add_column(name, justify="left" if name in ("", "truth") else "right")
    for event in truth.detections:
        hits = [d for d in detected if _overlap(d, event)]
        times = [f"{min(d.start_s for d in hits):.1f}", f"{max(d.end_s for d in hits):.1f}"] if hits else ["-", "-"]
        score = f"{max(d.score for d in hits):.2f}" if hits else "missed"
        mark = Text("yes", "green") if hits else Text("no", "red")
        table.add_row(mark, event.common_name, f"{event.start_s:.1f}", f"{event.end_s:.1f}", *times, score)
    wrong = [d for d in detected if not any(_overlap(d, event) for event in truth.detections)]
    for d in wrong:
        note = " (not expected here)" if d.in_range is False else ""
        row = (f"{d.start_s:.1f}", f"{d.end_s:.1f}", f"{d.score:.2f}")
        table.add_row(Text("false", "red"), f"{d.common_name}{note}", "", "", *row)
    print_table(table)
    species = {e.scientific_name for e in truth.detections}
    right = {e.scientific_name for e in truth.detections if any(_overlap(d, e) for d in detected)}
    n_wrong = len({d.scientific_name for d in wrong})
    click.echo(f"{len(right)} of {len(species)} species detected at the right times, {n_wrong} false.")


def _print_next(folder: Path, recording: Path, page: Path) -> None:
    written = {
        page.name: "the report: open it in a browser",
        f"{recording.name}.png": "the spectrogram with the detections",
        "detections.csv": "the table, for R and pandas",
        "detections.selections.txt": "the same for Raven",
        recording.name: "the recording",
        "truth.selections.txt": "what is in it, for Raven",
    }
    lines = "\n".join(f"  {name:<32}{what}" for name, what in written.items())
    click.echo(
        f"""
Written to {folder}:
{lines}

Next, with recordings of your own:
  dawnchorus identify FOLDER --out detections.csv --report report
  dawnchorus identify FOLDER --out detections.parquet --lat 52.5 --lon 13.4
  dawnchorus identify --help"""
    )
