"""`dawnchorus spectrogram`."""

from __future__ import annotations

from pathlib import Path

import click

from dawnchorus.cli.options import location_options, model_options, speech_option
from dawnchorus.cli.present import announce_model
from dawnchorus.errors import AudioDecodeError, InputError
from dawnchorus.identification import Options, identify
from dawnchorus.identification.options import DEFAULT_MIN_SCORE, SpeechUse
from dawnchorus.inference.model import Model
from dawnchorus.models.store import ModelStore
from dawnchorus.storage.files import atomic_file


@click.command("spectrogram")
@click.argument("recording", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The PNG.  [default: RECORDING.png, here]")
@click.option("--min-score", type=float, default=DEFAULT_MIN_SCORE, show_default=True)
@click.option("--overlap", type=float, default=0.0, show_default=True, help="Seconds shared by neighbouring windows.")
@click.option("--waveform", is_flag=True, help="Draw the waveform above the spectrogram.")
@location_options
@speech_option
@model_options
def command(
    *,
    recording: Path,
    out: Path | None,
    min_score: float,
    overlap: float,
    waveform: bool,
    location: dict[str, float | int | None],
    speech: SpeechUse | None,
    model: str,
    store: ModelStore,
) -> None:
    """Draw a recording's spectrogram with the detections boxed and named."""
    from dawnchorus.plotting.recording import draw_recording, draw_recording_with_waveform

    if recording.is_dir():
        raise InputError(
            f"{recording}: expected a recording, found a folder. For a folder: dawnchorus identify --report"
        )
    announce_model(store, model)
    options = Options(min_score=min_score, overlap_s=overlap, merge=True, speech=speech, **location)  # type: ignore[arg-type]
    run = identify(recording, options, model=Model(store.open(model), store))
    table = run.table(run.paths[0])
    if table is None:
        raise AudioDecodeError(run.failures[0].reason)
    out = out or Path(recording.name + ".png")
    draw = draw_recording_with_waveform if waveform else draw_recording
    with atomic_file(out) as stream:
        stream.write(draw(recording, table))
    for warning in run.warnings:
        click.echo(f"warning: {warning.recording}: {warning.reason}", err=True)
    click.echo(out)
