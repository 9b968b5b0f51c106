"""The command `dawnchorus spectrogram`: a PNG of a recording with its detections."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import click

from dawnchorus.audio.process import DecoderProcess
from dawnchorus.cli.options import LOCAL_PATH, location_options, model_options, schema_options
from dawnchorus.cli.present import announce_model
from dawnchorus.errors import AudioDecodeError, InputError
from dawnchorus.identification import Options, identify
from dawnchorus.inference.model import Model
from dawnchorus.models.store import ModelStore
from dawnchorus.storage.files import atomic_file


@click.command("spectrogram")
@click.argument("recording", type=LOCAL_PATH)
@click.option("--out", type=LOCAL_PATH, help="Output file, a PNG.  [default: RECORDING.png in the current folder]")
@schema_options("min_score", "overlap_s", "speech")
@click.option("--waveform", is_flag=True, help="Draw the waveform above the spectrogram.")
@location_options
@model_options
def command(
    *,
    recording: Path,
    out: Path | None,
    fields: dict[str, Any],
    waveform: bool,
    location: dict[str, Any],
    model: str,
    store: ModelStore,
) -> None:
    """Draw a recording's spectrogram, with a box and the name of each detection, as a PNG."""
    from dawnchorus.plotting.recording import draw_recording, draw_recording_with_waveform

    if recording.is_dir():
        raise InputError(
            f"{recording}: expected a recording, found a folder. For a folder: dawnchorus identify --report"
        )
    announce_model(store, model)
    options = Options(merge=True, **fields, **location)
    run = identify(recording, options, model=Model(store.open(model), store))
    table = run.table(run.paths[0])
    if table is None:
        raise AudioDecodeError(run.failures[0].reason, subject=recording)
    out = out or Path(recording.name + ".png")
    draw = draw_recording_with_waveform if waveform else draw_recording
    with closing(DecoderProcess()) as decoder, atomic_file(out) as stream:
        stream.write(draw(recording, table, decoder=decoder))
    for warning in run.warnings:
        click.echo(f"warning: {warning.recording}: {warning.reason}", err=True)
    click.echo(out)
