"""The command `dawnchorus prepare`: cutting of a data set's recordings into clips."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import click

from dawnchorus.audio.mel import MelImage
from dawnchorus.audio.noise import NoiseKind
from dawnchorus.cli.export import (
    build_kind,
    excluded_text,
    export_options,
    export_text,
    load_converter,
    threshold_options,
)
from dawnchorus.cli.options import LOCAL_PATH, TRIM_DB, model_options, workers_option
from dawnchorus.cli.present import MAX_LISTED, SOME_FAILED, announce_model, console
from dawnchorus.cli.progress import progress_bar
from dawnchorus.data.attribution import write_attribution
from dawnchorus.data.clips import Clips, write_prepared_table
from dawnchorus.data.export import write_export
from dawnchorus.data.images import FOLDER as IMAGES
from dawnchorus.data.images import write_images
from dawnchorus.data.model_check import call_times
from dawnchorus.data.prepare import prepare
from dawnchorus.data.recipes import ClipSelection, PadMode
from dawnchorus.data.recordings import read_table
from dawnchorus.data.thresholds import ClipThresholds, apply_thresholds
from dawnchorus.errors import InputError
from dawnchorus.inference.model import Model
from dawnchorus.inference.preparation import open_cleaner
from dawnchorus.models.store import ModelStore
from dawnchorus.storage.files import cannot_write
from dawnchorus.tables.notes import counted
from dawnchorus.training.clip_recipes import known_recipes

WHOLE: Mapping[str, Any] = {"clip_selection": "all", "overlap_s": 0.0, "normalize": False}
"""Settings of a recipe with which clips are consecutive windows of whole recordings."""


def _list_recipes(context: click.Context, _option: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's shape
    if value:
        width = max(map(len, known_recipes())) + 2
        for name, (what, _) in known_recipes().items():
            click.echo(f"{name:<{width}}{what}")
        context.exit()


@click.command("prepare")
@click.argument("data_set", type=LOCAL_PATH)
@click.argument("folder", type=LOCAL_PATH)
@click.option(
    "--recipe",
    "name",
    type=click.Choice(list(known_recipes())),
    default="birdclef-5s",
    show_default=True,
    help="Recipe for the clips; see --list-recipes.",
)
@click.option(
    "--list-recipes",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_recipes,
    help="List the recipes, and exit.",
)
@click.option("--sample-rate", "rate_hz", type=int, help="Sample rate of the clips in Hz, in place of the recipe's.")
@click.option("--window", "window_s", type=float, help="Length of a clip in seconds, in place of the recipe's.")
@click.option("--overlap", "overlap_s", type=float, help="Overlap of neighboring clips in seconds.")
@click.option(
    "--select",
    "clip_selection",
    type=click.Choice(get_args(ClipSelection)),
    help="Windows of a recording that become clips.",
)
@click.option(
    "--clips", "n_clips", type=int, help="Number of clips of a recording, if --select is random, loudest or scored."
)
@click.option("--pad-mode", type=click.Choice(get_args(PadMode)), help="Padding of short recordings.")
@click.option("--trim", "trim_db", type=TRIM_DB, help="Trim start and end this many dB below the loudest frame.")
@click.option(
    "--denoise", type=click.Choice(get_args(NoiseKind)), help="Reduce noise in the recordings (extra [data])."
)
@click.option("--cut-speech/--keep-speech", "cut_speech", default=None, help="Cut human speech out of the recordings.")
@click.option("--normalize/--keep-level", "normalize", default=None, help="Scale each clip to the same peak.")
@click.option(
    "--speech-audio", type=click.Path(path_type=Path), help="Folder for the speech that was cut out, as sound files."
)
@click.option("--images", is_flag=True, help="Also write each clip's log-mel spectrogram as a PNG.")
@click.option(
    "--n-mels", type=click.IntRange(8, 1024), default=128, show_default=True, help="Number of mel bands of the images."
)
@export_options
@threshold_options
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of the random generator.")
@model_options
@workers_option
def command(
    *,
    data_set: Path,
    folder: Path,
    name: str,
    rate_hz: int | None,
    window_s: float | None,
    overlap_s: float | None,
    clip_selection: ClipSelection | None,
    n_clips: int | None,
    pad_mode: PadMode | None,
    trim_db: float | None,
    denoise: NoiseKind | None,
    cut_speech: bool | None,
    normalize: bool | None,
    speech_audio: Path | None,
    images: bool,
    n_mels: int,
    export_format: str,
    whole: bool,
    mel: bool,
    thresholds: ClipThresholds,
    seed: int,
    model: str,
    store: ModelStore,
    workers: int,
) -> None:
    """Cut recordings of DATA_SET into clips of equal length in FOLDER, for training.

    Existing clips are kept; the same command resumes an interrupted run. FOLDER also gets ATTRIBUTION.md and the
    recordings table with labels and split, so it can be used as a data set: `dawnchorus train data=FOLDER` trains on
    exactly these clips, `dawnchorus evaluate RUN FOLDER` evaluates on the recordings. If labels or split of DATA_SET
    change, the same command updates them in FOLDER.
    """
    given = {
        "rate_hz": rate_hz,
        "window_s": window_s,
        "overlap_s": overlap_s,
        "clip_selection": clip_selection,
        "n_clips": n_clips,
        "pad_mode": pad_mode,
        "trim_db": trim_db,
        "denoise": denoise,
        "cut_speech": cut_speech,
        "normalize": normalize,
    }
    changes: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
    if whole:
        _check_whole(changes)
        changes |= WHOLE
    recipe = replace(known_recipes()[name][1], **changes)
    kind = build_kind(export_format, whole=whole, mel=MelImage(n_mels=n_mels) if mel else None)
    convert = load_converter(kind)
    table = read_table(data_set)
    if folder.resolve() == table.folder.resolve():
        raise InputError("expected another folder than the data set's own, for the clips.", subject=folder)
    cleaner = open_cleaner(recipe.cleaning, store.folder)
    if speech_audio is not None:
        try:
            speech_audio.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(speech_audio, error) from error
    screen = console()
    calls = {}
    if recipe.clip_selection == "scored":
        announce_model(store, model)
        calls = call_times(table, Model(store.open(model), store), workers, folder=folder)
    with progress_bar(screen, "preparing") as report:
        done = prepare(
            table,
            folder,
            recipe,
            seed=seed,
            n_workers=workers,
            cleaner=cleaner,
            speech_folder=speech_audio,
            calls=calls,
            report=report,
        )
    screen.print(
        f"{counted(done.n_clips, 'clip')} of {counted(done.n_recordings + done.n_before, 'recording')} "
        f"({done.n_before} of them before); "
        f"{done.n_left_out} left out, {len(done.failures)} failed"
    )
    if any(vars(thresholds).values()):
        excluded = apply_thresholds(folder, thresholds, n_workers=workers)
        table = table.with_rows(row for row in table.rows if row.scientific_name not in excluded.rare_species)
        screen.print(excluded_text(excluded, thresholds), markup=False)
    write_prepared_table(table, folder)
    write_attribution((row for row in table.rows if row.recording_id not in done.failures), folder)
    if images:
        clips = Clips(folder)
        with progress_bar(screen, "drawing") as report:
            how, out = MelImage(n_mels=n_mels), folder / IMAGES
            n = write_images(clips, out, how, n_workers=workers, report=report)
        screen.print(f"{counted(n, 'image')} drawn, {len(clips) - n} were there", markup=False)
    if kind is not None:
        export = write_export(read_table(folder), kind, convert=convert)
        screen.print(export_text(export, kind), markup=False)
    for recording, seconds in sorted(done.cut_s.items(), key=lambda item: -item[1])[:MAX_LISTED]:
        screen.print(f"{seconds:8.1f} s cut from {recording}", markup=False)
    for recording, reason in list(done.failures.items())[:MAX_LISTED]:
        screen.print(f"failed: {recording}: {reason}", markup=False)
    click.echo(folder)
    if done.failures:
        sys.exit(SOME_FAILED)


def _check_whole(changes: Mapping[str, object]) -> None:
    """Raise `InputError` if given settings contradict `WHOLE`."""
    for field, value in WHOLE.items():
        if changes.get(field, value) != value:
            raise InputError(
                f"--whole: expected all of each recording at its own level, got {field}={changes[field]}. Leave out "
                f"--select, --overlap and --normalize."
            )
