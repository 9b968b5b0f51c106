"""Options and messages of `dawnchorus prepare` for exports and for the exclusion of clips."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, cast, get_args

import click

from dawnchorus.audio.mel import MelImage
from dawnchorus.cli.present import MAX_LISTED
from dawnchorus.data.export import Export, ExportFormat, ExportKind
from dawnchorus.data.thresholds import ClipThresholds, Excluded
from dawnchorus.errors import InputError, MissingExtraError
from dawnchorus.tables.notes import counted

Function = Callable[..., Any]
STORED = "i16"
"""Name of the format in which clips are always stored; with it there is no export."""


def export_options(function: Function) -> Function:
    """Decorate a command with `--format`, `--whole` and `--mel`.

    The command gets the arguments `export_format` (see `build_kind`), and `whole` and `mel`, which are True if given.
    """
    options = (
        click.option(
            "--format",
            "export_format",
            type=click.Choice([STORED, *get_args(ExportFormat)]),
            default=STORED,
            show_default=True,
            help="Also write sound files by species (wav), or arrays (npy) or tensors (pt) by split.",
        ),
        click.option("--whole", is_flag=True, help="Write whole recordings in place of clips, one file for each."),
        click.option("--mel", is_flag=True, help="Write log-mel spectrograms of --n-mels bands into the arrays."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def threshold_options(function: Function) -> Function:
    """Decorate a command with `--min-rms`, `--min-mel-std` and `--min-clips`.

    The command gets their values as `ClipThresholds` in the argument `thresholds`.
    """

    @click.option(
        "--min-rms", type=click.FloatRange(0, 1), default=0.0, help="Leave out clips with a smaller RMS; full scale 1."
    )
    @click.option(
        "--min-mel-std",
        type=click.FloatRange(0),
        default=0.0,
        help="Leave out clips whose log-mel spectrogram has a smaller standard deviation, in dB.",
    )
    @click.option("--min-clips", type=click.IntRange(0), default=0, help="Leave out species with fewer clips.")
    @wraps(function)
    def with_thresholds(*args: Any, min_rms: float, min_mel_std: float, min_clips: int, **kwargs: Any) -> Any:
        thresholds = ClipThresholds(min_rms=min_rms, min_mel_std_db=min_mel_std, min_clips=min_clips)
        return function(*args, thresholds=thresholds, **kwargs)

    return with_thresholds


def build_kind(export_format: str, *, whole: bool, mel: MelImage | None) -> ExportKind | None:
    """Return the kind of export for the values of `--format`, `--whole` and `--mel`.

    `export_format` is "i16" (`STORED`), the format of clips, for which None is returned since there is no export; or
    "wav", "npy" or "pt". `whole` is True to export whole recordings, False for clips. `mel` has the settings of
    spectrograms, None for waveforms.

    Raises:
        InputError: `mel` is given with a format other than npy or pt, or with `whole`.
    """
    if export_format == STORED:
        if mel is not None:
            raise InputError("--mel: expected --format npy or pt. For pictures: --images.")
        return None
    return ExportKind(cast(ExportFormat, export_format), is_whole=whole, mel=mel)


def load_converter(kind: ExportKind | None) -> Callable[[Path], None]:
    """Return the function that converts the .npy files in an export's folder, its argument, to the export's format.

    The function does nothing unless the format is "pt", and raises OutputError if the files cannot be written. `kind`
    is None if there is no export.

    Raises:
        MissingExtraError: the format is "pt", and PyTorch is not installed.
    """
    if kind is None or kind.format != "pt":
        return lambda _folder: None
    try:
        from dawnchorus.training.tensor_files import convert_arrays
    except ImportError as error:
        raise MissingExtraError(error.name or "torch", extra="train", purpose="--format pt") from error
    return convert_arrays


def export_text(export: Export, kind: ExportKind) -> str:
    """Return a line for the user on a finished export: its folder, and the numbers of exported and omitted items.

    Omitted are clips without a species; they are not mentioned if there are none.
    """
    items = counted(export.n_items, "recording" if kind.is_whole else "clip")
    line = f"{items} {'written to' if export.is_new else 'already in'} {export.folder}"
    if export.n_without_species:
        line += f"; {counted(export.n_without_species, 'clip')} without a species left out"
    return line


def excluded_text(excluded: Excluded, thresholds: ClipThresholds) -> str:
    """Return a line for the user: the number of clips that each threshold above 0 excluded, and of those that stay."""
    reasons = []
    if thresholds.min_rms:
        reasons.append(f"{counted(excluded.n_quiet, 'clip')} with an RMS below {thresholds.min_rms:g}")
    if thresholds.min_mel_std_db:
        reasons.append(f"{counted(excluded.n_flat, 'clip')} with a mel std below {thresholds.min_mel_std_db:g} dB")
    if thresholds.min_clips:
        names = ", ".join(excluded.rare_species[:MAX_LISTED])
        reasons.append(
            f"{counted(excluded.n_rare, 'clip')} of {len(excluded.rare_species)} species with fewer than "
            f"{thresholds.min_clips} clips{f' ({names})' if names else ''}"
        )
    return f"left out: {'; '.join(reasons)}; {counted(excluded.n_left, 'clip')} stay"
