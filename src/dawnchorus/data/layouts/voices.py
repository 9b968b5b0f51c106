"""Kaggle's "Sound of 114 species of birds till 2022": `Birds Voice.csv`, and folders `<Common Name>_sound`.

The table has a line per xeno-canto recording, but files carry no numbers: all that it tells of a file is the scientific
name of its species.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dawnchorus.data.recordings import RecordingRow
from dawnchorus.errors import FormatError
from dawnchorus.text_files import csv_records, read_text

TABLE = "Birds Voice.csv"
_SUFFIX = "_sound"


def rows_of_voices(root: Path, files: Sequence[Path]) -> Iterator[RecordingRow]:
    """A row for each of `files`, which lie in folders named after species.

    Raises:
        FormatError: the table has not the columns common_name and scientific_name.
    """
    scientific = _scientific_names(root / TABLE)
    for path in files:
        folder = path.parent.name
        common = folder.removesuffix(_SUFFIX).strip()
        yield RecordingRow(
            recording_id=path.relative_to(root).as_posix(),
            path=str(path),
            scientific_name=scientific.get(common.casefold(), common),
            common_name=common,
            source="Kaggle: sound of 114 species of birds (xeno-canto)",
        )


def _scientific_names(path: Path) -> dict[str, str]:
    """Genus and species by common name; the table also has subspecies."""
    columns, lines = csv_records(path, read_text(path))
    if not {"common_name", "scientific_name"} <= set(columns):
        raise FormatError(f"{path}: expected the columns common_name and scientific_name, found {columns}.")
    return {line["common_name"].casefold(): " ".join(line["scientific_name"].split()[:2]) for line in lines}
