"""A csv that describes recordings, with whatever column names: also BirdCLEF's and Kaggle's other bird sets'."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dawnchorus.data.layouts.folders import xeno_canto_id
from dawnchorus.data.layouts.sound_files import find_sound, is_absolute
from dawnchorus.data.layouts.taxon_names import TaxonNames
from dawnchorus.data.licenses import spdx_of
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.errors import FormatError, InputError
from dawnchorus.taxonomy.labels import Label, is_binomial, label_text, read_label
from dawnchorus.text_files import csv_records, read_text

COLUMNS: dict[str, tuple[str, ...]] = {
    "path": ("path", "filepath", "file_path", "filename", "file_name", "file", "audio", "recording"),
    "xc_id": ("xc_id", "xeno_canto_id"),
    "recording_id": ("recording_id", "file_id", "id"),
    "scientific_name": ("scientific_name", "species_scientific", "sci_name", "species", "scientific"),
    "common_name": ("common_name", "species_common", "english_name", "en", "name", "species"),
    "ebird_code": ("ebird_code", "primary_label", "ebird_code_multilabel"),
    "secondary": ("secondary_labels", "other_species", "secondary"),
    "background": ("background",),
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
    "sound_type": ("sound_type", "type", "song_type"),
    "given_group": ("group_id", "group", "site"),
    "split": ("split",),
    "source": ("source",),
}
"""The fields that a csv can give, and the columns that each is looked for in, in this order and in any case."""

_SPREADSHEETS = (".xls", ".xlsx", ".ods", ".numbers")

_UNKNOWN_CODES = frozenset(("", "nan", "none", "no score", "[]"))
SPLIT_NAMES = {"train": "train", "valid": "validation", "val": "validation", "validation": "validation", "test": "test"}
"""Parts of a split by the names that tables give them, in lower case."""


@dataclass(frozen=True)
class TableLayout:
    """Which column of a csv gives which field."""

    csv_path: Path
    columns: Mapping[str, str]
    path_columns: tuple[str, ...]
    """Columns with paths or names of files, the preferred first."""
    sounds: tuple[Path, ...]
    """Folders that paths may begin in."""

    @classmethod
    def of(cls, csv_path: Path, given: Mapping[str, str], *, sounds: Sequence[Path] = ()) -> TableLayout:
        """Return the columns named in `given` (field to column), and for other fields those with a usual name.

        Recordings are looked for in the folders `sounds`, by default in the csv's own.

        Raises:
            InputError: no such file, an unknown field, or a column that is not there.
            FormatError: there is no column with paths, or none that names species.
        """
        if not csv_path.is_file():
            raise InputError(f"{csv_path}: no such file.")
        header, _rows = table_records(csv_path)
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
        paths = [by_lower[name] for name in COLUMNS["path"] if name in by_lower and "path" not in given]
        return cls(csv_path, columns, tuple(paths) or (columns["path"],), tuple(sounds) or (csv_path.parent,))

    def rows(self) -> Iterator[RecordingRow]:
        """Yield a row for each line that is not empty."""
        _header, records = table_records(self.csv_path)
        lines = [line for line in records if any(map(str.strip, line.values()))]
        names = TaxonNames.beside(self.csv_path, own=map(self._taxon, lines))
        for line in lines:
            paths = [value for column in self.path_columns if (value := line[column].strip())]
            yield self._row(self._fields(line), paths, names)

    def _fields(self, line: Mapping[str, str]) -> dict[str, str | None]:
        return {field: line[column].strip() or None for field, column in self.columns.items()}

    def _taxon(self, line: Mapping[str, str]) -> tuple[str | None, str | None, str | None]:
        fields = self._fields(line)
        scientific = fields.get("scientific_name") or ""
        return fields.get("ebird_code"), scientific if is_binomial(scientific) else None, fields.get("common_name")

    def _row(self, fields: dict[str, str | None], paths: Sequence[str], names: TaxonNames) -> RecordingRow:
        # A path of another machine says less than a path below the table.
        paths = sorted(paths, key=is_absolute)
        given = paths[0] if paths else ""
        code = fields.get("ebird_code")
        path = find_sound(self.sounds, paths, code) or self.csv_path.parent / given
        named = xeno_canto_number(fields.get("xc_id")) or fields.get("recording_id") or xeno_canto_id(Path(given).stem)
        label = _label(fields, names)
        is_background = (fields.get("scientific_name") or code or "x").lower() in ("nocall", "noise", "background")
        others = (*_names_in(fields.get("secondary")), *_names_in(fields.get("background")))
        secondary = dict.fromkeys(names.scientific(text) for text in others)
        return RecordingRow(
            recording_id=named or given,
            path=str(path),
            scientific_name=None if is_background or label is None else label.scientific_name,
            common_name=None if label is None else label.common_name,
            ebird_code=None if _two_names(code) else code,
            secondary=tuple(name for name in secondary if label is None or name != label.scientific_name),
            kind="background" if is_background else "focal",
            source=fields.get("source") or ("xeno-canto" if xeno_canto_id(named or "") else self.csv_path.name),
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
            sound_type=", ".join(_names_in(fields.get("sound_type"))) or None,
            given_group=fields.get("given_group"),
            split=SPLIT_NAMES.get((fields.get("split") or "").lower()),
        )


def _label(fields: Mapping[str, str | None], names: TaxonNames) -> Label | None:
    """Return the species of a line; None if it has none.

    A column such as `species` may hold the scientific or the English name: the scientific one is then looked up by the
    code.
    """
    code, common, scientific = (fields.get(name) for name in ("ebird_code", "common_name", "scientific_name"))
    found = _two_names(scientific) or _two_names(code) or names.label(code)
    if scientific is None or (found is not None and not is_binomial(scientific)):
        scientific = found.scientific_name if found else (common or code)
    if scientific is None:
        return None
    return Label(scientific, common or (found.common_name if found else scientific))


def _two_names(text: str | None) -> Label | None:
    """Return the label of `Genus species_English Name`; None for other texts."""
    label = read_label(text or "")
    return label if label is not None and "_" in label_text(label) else None


def xeno_canto_number(text: str | None) -> str | None:
    """Return `XC134874` for a number as tables have it: `134874`, `XC134874`, or `134874.0` from a spreadsheet."""
    match = re.fullmatch(r"(?:XC)?(\d+)(?:\.0)?", text or "", re.IGNORECASE)
    return f"XC{match[1]}" if match else None


def table_records(csv_path: Path) -> tuple[list[str], Iterator[dict[str, str]]]:
    """Return the header and the records of a table with commas, semicolons or tabs.

    Raises:
        FormatError: it is a spreadsheet, or no table.
    """
    if csv_path.suffix.lower() in _SPREADSHEETS:
        raise FormatError(f"{csv_path}: expected a csv, found a spreadsheet. Save it as CSV (UTF-8).")
    text = read_text(csv_path)
    header = text.partition("\n")[0]
    return csv_records(csv_path, text, delimiter=max(",;\t", key=header.count))


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
        value = float((text or "").replace(",", "."))
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
