"""Reading and writing of detection tables in any format."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dawnchorus.errors import InputError
from dawnchorus.formats import json_lines
from dawnchorus.formats.data_frames import is_pandas
from dawnchorus.formats.detections import Detections
from dawnchorus.formats.exports import DetectionExports, require_package
from dawnchorus.formats.registry import FORMATS, choose_reader
from dawnchorus.types import RecordingTable

if TYPE_CHECKING:
    import pandas as pd


def read_detections(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002 - as in pandas
    recording: str | None = None,
) -> Detections:
    """Read a table of detections or annotations.

    A Parquet file has its provenance. JSON lines have a model and software, which are read if they are equal in all
    rows. Otherwise, the provenance is what the columns imply (see `Detections`).

    Args:
        path: a file in any format that `write_detections` writes, a table of BirdNET-Analyzer, Raven, Audacity or
            AviaNZ, or a list with columns for recording, start, end and label.
        format: "csv", "raven", "audacity", "kaleidoscope", "parquet", "jsonl", "birdnet", "opensoundscape" or a
            plug-in's format; default: by the first lines if the suffix is `.csv`, `.tsv`, `.txt`, `.data` or unknown,
            else by the suffix, such as `.parquet`, `.birdnet.csv` or `.labels.txt`.
        recording: name of the recording, for files that do not name it; default: the file's name without its suffix.

    Raises:
        InputError: no such file, an unknown format, or one whose tables cannot be read.
        PlugInError: the format of a plug-in failed.
        FormatError: the table is not in the format, or a time or score is impossible (see `checks.find_problem`); the
            message has the line.
    """
    path = Path(path)
    if path.is_dir() or not path.exists():
        got = "a folder" if path.is_dir() else "no such file"
        raise InputError(f"expected a file with a table of detections, got {got}. Check the path.", subject=path)
    own = recording or _recording_name(path)
    read = choose_reader(path, format_name=format)
    rows = ((name or own, detection) for name, detection in read(path))
    if read is FORMATS["jsonl"].read:
        metadata, run = json_lines.read_metadata(path)
        made = Detections.from_rows(rows, metadata=metadata)
        return Detections(made, replace(made.provenance, **run))
    if read is not FORMATS["parquet"].read:
        return Detections.from_rows(rows)
    from dawnchorus.formats import parquet

    return Detections.from_rows(rows, metadata=parquet.read_metadata(path), provenance=parquet.read_provenance(path))


def write_detections(
    detections: DetectionExports | Iterable[RecordingTable] | RecordingTable | pd.DataFrame,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002 - as in pandas
) -> None:
    """Write detections to one file, atomically; create the folder if it does not exist.

    Args:
        detections: a `Run`, `Detections`, one `RecordingTable` or several, or a data frame in a layout that
            `Detections.from_pandas` reads, of pandas or of a library whose frames have a method `to_pandas`.
        path: the file, which is replaced if it exists.
        format: "csv", "raven", "audacity", "kaleidoscope", "parquet", "jsonl", "birdnet", "opensoundscape" or a
            plug-in's format; default: by the suffix.

    Raises:
        InputError: an unknown format or suffix, or `detections` is something else.
        FormatError: a column or value of a data frame is missing, or a value is impossible.
        MissingExtraError: pandas is not installed, and `detections` is a data frame of another library.
        PlugInError: the format of a plug-in failed.
        OutputError: no space, or no permission.
    """
    convert = getattr(detections, "to_pandas", None)  # of polars, or Arrow
    if convert is not None and not isinstance(detections, DetectionExports):
        require_package("pandas", "A data frame that is written")
        detections = convert()
    if is_pandas(detections):
        detections = Detections.from_pandas(detections)
    exports = detections if isinstance(detections, DetectionExports) else Detections(detections)
    exports.write(path, format=format)


def _recording_name(path: Path) -> str:
    """Return the file's name without its format's suffix."""
    suffixes = sorted((entry.suffix for entry in FORMATS.values()), key=len, reverse=True)
    suffix = next((each for each in suffixes if path.name.lower().endswith(each)), path.suffix)
    return path.name[: len(path.name) - len(suffix)]
