"""The labeled recordings of ../shared/audio as data sets: `focal`, species that nobody trains on, and others."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench.results import SHARED_AUDIO
from dawnchorus.cores import usable_cores
from dawnchorus.data.importing import import_recordings
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, write_table

MIN_RATE_HZ = 22_050


def _rows(folder: Path) -> list[tuple[RecordingRow, dict[str, str]]]:
    """Return every labeled recording, and its line of the metadata."""
    source = SHARED_AUDIO / "metadata.csv"
    table = import_recordings(source, folder, n_workers=usable_cores())
    with source.open(encoding="utf-8", newline="") as file:
        metadata = {line["recording_id"]: line for line in csv.DictReader(file)}
    rows = [replace(row, path=str(table.file(row).resolve())) for row in table.rows]
    return [(row, metadata[row.recording_id]) for row in rows if row.recording_id in metadata]


def _write(folder: Path, rows: list[RecordingRow]) -> RecordingsTable:
    folder.mkdir(parents=True, exist_ok=True)
    table = RecordingsTable(folder, tuple(rows))
    write_table(table)
    return table


def data_sets(root: Path) -> dict[str, RecordingsTable]:
    """Return `focal` with its own split, `open` (species that are not in it) and `others`."""
    root.mkdir(parents=True, exist_ok=True)
    rows = _rows(root)

    def chosen(keep: Callable[[RecordingRow, dict[str, str]], bool], split: str | None) -> list[RecordingRow]:
        return [replace(row, split=split or line["split"] or None) for row, line in rows if keep(row, line)]

    others = chosen(
        lambda row, line: (
            line["set"] in ("focal_longtail", "focal_short")
            and line["split"] != "test"
            and (row.rate_hz or 0) >= MIN_RATE_HZ
        ),
        "train",
    )
    noise = sorted(path for path in (SHARED_AUDIO / "general" / "noise").iterdir() if path.is_file())
    others += [RecordingRow(recording_id=p.name, path=str(p), kind="background", split="train") for p in noise]
    return {
        "focal": _write(root / "focal", chosen(lambda _, line: line["set"] == "focal", None)),
        "open": _write(root / "open", chosen(lambda _, line: line["set"] == "open_set", "test")),
        "others": _write(root / "others", others),
    }
