"""AudioFolder, the layout of data sets on the Hugging Face hub: `metadata.jsonl` with a `file_name` on each line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from dawnchorus import FormatError, RecordingRow, Source

TABLE = "metadata.jsonl"


def find(source: Path) -> Path | None:
    """Return the table: `source` itself, or in the folder `source`."""
    path = source if source.is_file() else source / TABLE
    return path if path.name == TABLE and path.is_file() else None


def read(table: Path, folder: Path, files: Sequence[Path]) -> Iterator[RecordingRow]:
    """Yield a row for each line; `label` is its species, and other fields are left out."""
    del files  # each line names its own
    for number, line in enumerate(table.read_bytes().splitlines(), start=1):
        try:
            fields = json.loads(line)
            name, label = fields["file_name"], fields.get("label")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise FormatError(f"line {number}: expected a JSON object with file_name.", subject=table) from error
        yield RecordingRow(
            recording_id=name, path=str(folder / name), scientific_name=label, kind="focal" if label else "soundscape"
        )


AUDIOFOLDER = Source("audiofolder", f"'{TABLE}' in this folder", find, read)
