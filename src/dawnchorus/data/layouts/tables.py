"""A csv that describes recordings, with whatever column names: also BirdCLEF's and Kaggle's other bird sets'."""

from __future__ import annotations

import ast
import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dawnchorus.data.layouts.folders import xeno_canto_id
from dawnchorus.data.licenses import spdx_of
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.errors import FormatError, InputError
from dawnchorus.text_files import csv_records, read_text

COLUMNS: dict[str, tuple[str, ...]] = {
    "path": ("path", "filepath", "file_path", "filename", "file_name", "file", "audio", "recording"),
    "recording_id": ("recording_id", "xc_id", "file_id", "id"),
    "scientific_name": ("scientific_name", "species_scientific", "sci_name", "species", "scientific"),
    "common_name": ("common_name", "species_common", "english_name", "en", "name"),
    "ebird_code": ("ebird_code", "primary_label", "ebird_code_multilabel"),
    "secondary": ("secondary_labels", "other_species", "background", "secondary"),
    "url": ("url", "source_url", "xc_url", "download_link"),
    "recordist": ("recordist", "recordist_name", "author", "rec", "recorded_by"),
    "license": ("license", "licence", "lic", "license_url"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lon", "lng"),
    "locality": ("location", "locality", "loc"),
    "country": ("country", "cnt"),
    "date": ("date", "recording_date", "recorded_on"),
    "time": ("time", "recording_time"),
    "quality": ("quality", "rating", "q"),
    "given_group": ("group_id", "group", "site"),
    "split": ("split",),
    "source": ("source",),
}
"""The fields that a csv can give, and the columns that each is looked for in, in this order and in any case."""

_FOLDERS = ("", "train_audio", "train_short_audio", "audio")
"""Where a csv's paths may begin, below its own folder."""

_UNKNOWN_CODES = frozenset(("", "nan", "none", "no score", "[]"))
_SPLITS = {"train": "train", "valid": "validation", "val": "validation", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class TableLayout:
    """Which column of a csv gives which field."""

    csv_path: Path
    columns: Mapping[str, str]

    @classmethod
    def of(cls, csv_path: Path, given: Mapping[str, str]) -> TableLayout:
        """The columns named in `given` (field to column), and for other fields those with a usual name.

        Raises:
            InputError: no such file, an unknown field, or a column that is not there.
            FormatError: there is no column with paths, or none that names species.
        """
        if not csv_path.is_file():
            raise InputError(f"{csv_path}: no such file.")
        header, _rows = csv_records(csv_path, read_text(csv_path))
        by_lower = {name.strip().lower(): name for name in header}
        columns: dict[str, str] = {}
        for field, column in given.items():
            if field not in COLUMNS:
                near = difflib.get_close_matches(field, COLUMNS, n=1)
                raise InputError(f"column: '{field}' is no field. " + (f"Did you mean '{near[0]}'?" if near else ""))
            if column.lower() not in by_lower:
                raise InputError(f"{csv_path}: there is no column '{column}'; it has {header}.")
            columns[field] = by_lower[column.lower()]
        for field, names in COLUMNS.items():
            known = next((by_lower[name] for name in names if name in by_lower), None)
            if field not in columns and known is not None and known not in columns.values():
                columns[field] = known
        if "path" not in columns:
            raise FormatError(
                f"{csv_path}: expected a column with paths ({', '.join(COLUMNS['path'])}); it has {header}. "
                f"Name it with --column path=NAME."
            )
        if not {"scientific_name", "common_name", "ebird_code"} & set(columns):
            raise FormatError(
                f"{csv_path}: expected a column with species ({', '.join(COLUMNS['scientific_name'])}); it has "
                f"{header}. Name it with --column scientific_name=NAME."
            )
        return cls(csv_path, columns)

    def rows(self) -> Iterator[RecordingRow]:
        """A row for each line."""
        names = _TaxonNames(self.csv_path.parent / "taxonomy.csv")
        _header, lines = csv_records(self.csv_path, read_text(self.csv_path))
        for line in lines:
            fields = {field: line[column].strip() or None for field, column in self.columns.items()}
            yield self._row(fields, names)

    def _row(self, fields: dict[str, str | None], names: _TaxonNames) -> RecordingRow:
        given = fields.get("path") or ""
        code = fields.get("ebird_code")
        path = self._find(given, code)
        named = fields.get("recording_id") or xeno_canto_id(Path(given).stem)
        scientific = fields.get("scientific_name") or names.scientific(code)
        is_background = (fields.get("scientific_name") or code or "x").lower() in ("nocall", "noise", "background")
        common = fields.get("common_name")
        return RecordingRow(
            recording_id=named or given,
            path=str(path),
            scientific_name=None if is_background else (scientific or common or code),
            common_name=common or scientific,
            ebird_code=code,
            secondary=tuple(names.scientific(part) or part for part in _names_in(fields.get("secondary"))),
            kind="background" if is_background else "focal",
            source=fields.get("source") or ("xeno-canto" if (named or "").startswith("XC") else self.csv_path.name),
            url=fields.get("url"),
            recordist=fields.get("recordist"),
            license=spdx_of(fields.get("license")),
            latitude=_number(fields.get("latitude"), 90),
            longitude=_number(fields.get("longitude"), 180),
            locality=fields.get("locality"),
            country=fields.get("country"),
            date=iso_date(fields.get("date")),
            time=clock(fields.get("time")),
            quality=fields.get("quality"),
            given_group=fields.get("given_group"),
            split=_SPLITS.get((fields.get("split") or "").lower()),
        )

    def _find(self, given: str, code: str | None) -> Path:
        """The file: below the csv's folder, or where Kaggle's sets keep sound; there or not."""
        folder = self.csv_path.parent
        for base in _FOLDERS:
            for place in (Path(given), Path(code or "", given)):
                if os.path.isfile(folder / base / place):  # `Path.is_file` raises for names that are too long
                    return folder / base / place
        return folder / given


class _TaxonNames:
    """Scientific names by code, from BirdCLEF's `taxonomy.csv` where there is one."""

    def __init__(self, path: Path) -> None:
        self._names: dict[str, str] = {}
        if path.is_file():
            _header, lines = csv_records(path, read_text(path))
            for line in lines:
                code, name = line.get("primary_label"), line.get("scientific_name")
                if code and name:
                    self._names[code] = name

    def scientific(self, code: str | None) -> str | None:
        return self._names.get(code or "")


def _names_in(text: str | None) -> list[str]:
    """Names in a cell: a Python list as BirdCLEF writes it, or separated by `;` or `,`."""
    if text is None or text.lower() in _UNKNOWN_CODES:
        return []
    if text.startswith("["):
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            found = text.strip("[]").split(",")
        return [str(name).strip() for name in found if str(name).strip()]
    return [part.strip() for part in re.split(r"[;,]", text) if part.strip()]


def _number(text: str | None, largest: float) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if abs(value) <= largest else None


def iso_date(text: str | None) -> str | None:
    """A date as exactly as it is known: `2019-05-00` is 2019-05, `0000-00-00` is nothing, `2019-20-05` is 2019."""
    match = re.match(r"(\d{4})(?:-(0[1-9]|1[0-2])(?:-(0[1-9]|[12]\d|3[01]))?)?", text or "", re.ASCII)
    if match is None or match[1] == "0000":
        return None
    return "-".join(part for part in match.groups() if part)


def clock(text: str | None) -> str | None:
    """A time of day as HH:MM; `?` and words are nothing."""
    match = re.match(r"(\d{1,2})[:.h](\d{2})\s*([ap]m)?", (text or "").strip().lower())
    if match is None:
        return None
    hour, minute = int(match[1]), int(match[2])
    if match[3]:
        hour = hour % 12 + (12 if match[3] == "pm" else 0)
    return f"{hour:02d}:{minute:02d}" if hour < 24 and minute < 60 else None
