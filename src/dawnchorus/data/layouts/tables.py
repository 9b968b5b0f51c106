"""CSV tables of recordings with any column names, including those of BirdCLEF and Kaggle."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dawnchorus.data.layouts.audio_files import find_audio, is_absolute
from dawnchorus.data.layouts.folders import xeno_canto_id
from dawnchorus.data.layouts.taxon_names import TaxonNames
from dawnchorus.data.licenses import parse_license
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.errors import FormatError, InputError
from dawnchorus.suggestions import is_misspelled, nearest, suggestion
from dawnchorus.tables import (
    CoordinateColumns,
    LocationColumn,
    Table,
    exact_id,
    has_two_numbers,
    headers,
    is_blank,
    is_day,
    list_columns,
    posix_path,
    without_missing_fix,
)
from dawnchorus.taxonomy.labels import Label, is_binomial, label_text, read_label, split_labels

COLUMNS: dict[str, tuple[str, ...]] = {
    "path": (
        "path",
        "filepath",
        "file_path",
        "filename",
        "file_name",
        "in_file",
        "file",
        "audio",
        "recording",
        "ml_catalog_number",
        "catalog_number",
        *headers.FILE,
    ),
    "xc_id": ("xc_id", "xeno_canto_id"),
    "recording_id": ("recording_id", "file_id", "id"),
    "scientific_name": (
        *("scientific_name", "species_scientific", "sci_name", *headers.SCIENTIFIC_NAME),
        *("species", "scientific", "epithet", "sp", *headers.SPECIES),
    ),
    "genus": ("genus", "gen"),
    "common_name": (
        *("common_name", "species_common", "com_name", "english_name", "en", "name", "species"),
        *(*headers.COMMON_NAME, *headers.SPECIES),
    ),
    "ebird_code": ("ebird_code", "primary_label", "ebird_code_multilabel"),
    "secondary": ("secondary_labels", "other_species", "secondary"),
    "background": ("background", "background_species"),
    "url": ("url", "source_url", "xc_url", "download_link"),
    "recordist": ("recordist", "recordist_name", "author", "rec", "recorded_by"),
    "license": ("license", "licence", "lic", "license_url"),
    "latitude": headers.LATITUDE,
    "longitude": headers.LONGITUDE,
    "coordinates": headers.LOCATION,
    "locality": ("location", "locality", "loc", *headers.LOCALITY),
    "country": ("country", "cnt", *headers.COUNTRY),
    "date": (*headers.DATE, *headers.MOMENT),
    "time": headers.TIME,
    "quality": ("quality", "rating", "q"),
    "sound_type": ("sound_type", "type", "song_type"),
    "given_group": ("group_id", "group", "site", "begin_file", "source_file", "original_file", "source_recording"),
    "split": ("split",),
    "source": ("source",),
}
"""Usual column names by field, in order of preference; case, accents and signs are ignored."""

_MAX_NAMED = 7
_UNKNOWN_CODES = frozenset(("", "nan", "none", "no score", "[]"))
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Splits by the names that tables use for them, in lower case."""


@dataclass(frozen=True)
class TableLayout:
    """A CSV table of recordings, with the columns that the fields of a row are read from."""

    table: Table
    """The opened table."""
    columns: Mapping[str, int]
    """Column index by field (keys of `COLUMNS`)."""
    path_columns: tuple[int, ...]
    """Indices of columns with paths or names of files, in order of preference."""
    audio_folders: tuple[Path, ...]
    """Folders to which the paths may be relative, in order of preference."""

    @classmethod
    def of(cls, csv_path: Path, given: Mapping[str, str], *, audio_folders: Sequence[Path] = ()) -> TableLayout:
        """Open a table, and find the column of each field: as `given`, or else by usual names.

        Args:
            csv_path: the table.
            given: column names by field (keys of `COLUMNS`), from the user; empty: find all by usual names.
            audio_folders: folders of the recordings, in order of preference; empty: the table's folder.

        Raises:
            InputError: no such file, or `given` has an unknown field or a column that the table does not have.
            FormatError: the table cannot be read, or it has no column of paths or none of species.
        """
        if not os.path.exists(csv_path) or csv_path.is_dir():
            raise InputError("no such file.", subject=csv_path)
        table = Table(csv_path)
        columns = _given_columns(table, given)
        for field, names in COLUMNS.items():
            indices = [index for name in names if (index := table.find_column([name])) is not None]
            if field not in columns and indices and indices[0] not in columns.values():
                columns[field] = indices[0]
        start = table.find_column(["start_time"])
        if "time" not in columns and start is not None and any(":" in cell for cell in table.column(start)):
            columns["time"] = start  # elsewhere, seconds within a recording
        if "path" not in columns:
            raise _missing_column(table, "paths", "path")
        if not {"scientific_name", "common_name", "ebird_code"} & set(columns):
            raise _missing_column(table, "species", "scientific_name")
        usual = [index for name in COLUMNS["path"] if (index := table.find_column([name])) is not None]
        paths = [columns["path"], *([] if "path" in given else usual)]
        return cls(table, columns, tuple(dict.fromkeys(paths)), tuple(audio_folders) or (csv_path.parent,))

    def rows(self) -> Iterator[RecordingRow]:
        """Yield a row for each line of the table in its order, without rows of totals.

        A row of totals has a word such as `total` in place of its path.
        Guesses and values that could not be read are in `table.notes` after the last row.
        """
        names = TaxonNames.read_for(self.table.path, own=[self._taxon(cells) for _line, cells in self.table])
        reader = _Reader(self)
        for _line, cells in self.table:
            row = reader.row(cells, names)
            if _is_total(row):
                self.table.notes.leave_out("a row of totals, which is no recording", row.recording_id)
            else:
                yield row
        self._note_unread()

    def _note_unread(self) -> None:
        """Add a note on the non-empty columns that no field is read from."""
        filled = self.table.unread({*self.columns.values(), *self.path_columns})
        if filled:
            self.table.notes.add(
                f"columns that are not read: {list_columns(filled)}. Name one with --column FIELD=COLUMN "
                f"(in Python: columns).{self._near_fields(list(filled))}"
            )

    def _near_fields(self, columns: Sequence[str]) -> str:
        """Return a question, for unread columns spelled almost like the usual column of a missing field; else ""."""
        names = {name: field for field, names in COLUMNS.items() if field not in self.columns for name in names}
        near = {column: nearest(column, names, cutoff=0.8) for column in columns}
        questions = [
            f"{names[alike[0]]}={column}"
            for column, alike in near.items()
            if alike and is_misspelled(column.lower(), alike[0])
        ]
        return f" Did you mean --column {' --column '.join(questions)}?" if questions else ""

    def fields(self, cells: Sequence[str]) -> dict[str, str | None]:
        """Return the text of a row's cells by field (keys of `COLUMNS`); None for an empty cell.

        If genus and species are in two columns, the field scientific_name has both, and the field genus the genus.
        Fields without a column in the table are not in the result.
        """
        fields = {field: cells[index].strip() or None for field, index in self.columns.items()}
        genus, species = fields.get("genus"), fields.get("scientific_name")
        if genus and species and is_binomial(f"{genus} {species}"):
            fields["scientific_name"] = f"{genus} {species}"
        return fields

    def _taxon(self, cells: Sequence[str]) -> tuple[str | None, str | None, str | None]:
        fields = self.fields(cells)
        scientific = fields.get("scientific_name") or ""
        return fields.get("ebird_code"), scientific if is_binomial(scientific) else None, fields.get("common_name")


def _missing_column(table: Table, content: str, field: str) -> FormatError:
    names = ", ".join(COLUMNS[field][:_MAX_NAMED])
    return FormatError(
        f"expected a column with {content} ({names}, ...); it has {table.header}. Name it with --column "
        f"{field}=NAME (in Python: columns={{'{field}': 'NAME'}}).",
        subject=table.path,
    )


def _given_columns(table: Table, given: Mapping[str, str]) -> dict[str, int]:
    """Return the indices of the columns that the user named, by field.

    Raises:
        InputError: an unknown field, or a column that the table does not have.
    """
    columns: dict[str, int] = {}
    for field, column in given.items():
        if field not in COLUMNS:
            raise InputError(f"column: '{field}' is no field.{suggestion(field, COLUMNS)}")
        index = table.find_column([column])
        if index is None:
            raise InputError(
                f"there is no column '{column}'; it has {table.header}.{suggestion(column, table.header)}",
                subject=table.path,
            )
        columns[field] = index
    return columns


class _Reader:
    """Conversion of a table's rows to recordings; values that cannot be read are counted in the table's notes."""

    def __init__(self, layout: TableLayout) -> None:
        self._layout = layout
        self._table = layout.table
        self._notes = layout.table.notes
        date_column, time_column = layout.columns.get("date"), layout.columns.get("time")
        self._dates = None if date_column is None else self._table.dates(date_column)
        self._times = None if time_column is None else self._table.times(time_column)
        together = ["coordinates", *([] if "longitude" in layout.columns else ["latitude", "locality"])]
        self._locations = {field: self._location_column(field) for field in together if field in layout.columns}

    def row(self, cells: Sequence[str], names: TaxonNames) -> RecordingRow:
        """Convert a row's cells to a recording; `names` look up species by code."""
        fields = self._layout.fields(cells)
        given, path = self._path(cells, fields.get("ebird_code"))
        number = self._number(fields)
        named = number or self._identifier(fields) or xeno_canto_id(Path(given).stem)
        code = self._code(fields)
        label = _label(fields, names)
        is_background = (fields.get("scientific_name") or code or "x").lower() in ("nocall", "noise", "background")
        others = (*_names_in(fields.get("secondary")), *_names_in(fields.get("background")))
        secondary = dict.fromkeys(names.scientific(text) for text in others)
        latitude, longitude = self._location(fields)
        date, time = self._moment(fields)
        return RecordingRow(
            recording_id=named or given,
            path=str(path),
            scientific_name=None if is_background or label is None else label.scientific_name,
            common_name=None if label is None else label.common_name,
            ebird_code=None if _two_names(code) else code,
            secondary=tuple(name for name in secondary if label is None or name != label.scientific_name),
            kind="background" if is_background else "focal",
            source=fields.get("source") or ("xeno-canto" if xeno_canto_id(named or "") else self._table.path.name),
            url=fields.get("url"),
            recordist=fields.get("recordist"),
            license=parse_license(fields.get("license")),
            latitude=latitude,
            longitude=longitude,
            locality=fields.get("locality") or self._location_name(fields),
            country=fields.get("country"),
            date=date,
            time=time,
            quality=fields.get("quality"),
            sound_type=", ".join(_names_in(fields.get("sound_type"))) or None,
            given_group=fields.get("given_group"),
            split=self._split(fields),
        )

    def _path(self, cells: Sequence[str], code: str | None) -> tuple[str, Path]:
        """Return (path as written, path of the file found or expected)."""
        texts = [text for column in self._layout.path_columns if (text := cells[column].strip())]
        paths = [posix_path(text) for text in texts]
        # A path of another machine says less than a path below the table.
        paths.sort(key=is_absolute)
        given = paths[0] if paths else ""
        path = find_audio(self._layout.audio_folders, [*paths, *texts], code)
        if path is None and (path := find_audio(self._layout.audio_folders, _with_zeros(given), code)):
            self._notes.add(
                f"column '{self._table.header[self._layout.path_columns[0]]}': files whose numbers have lost the zeros "
                f"before them are found with zeros (as '{path.name}')."
            )
        return given, path or self._table.path.parent / given

    def _location_column(self, field: str) -> LocationColumn:
        return LocationColumn(self._header(field), self._table.column(self._layout.columns[field]), self._notes)

    def _header(self, field: str) -> str:
        return self._table.header[self._layout.columns[field]]

    def _number(self, fields: Mapping[str, str | None]) -> str | None:
        """Return xeno-canto's number of the recording, such as `XC123`; None without a valid one."""
        text = fields.get("xc_id")
        if text is None or is_blank(text):
            return None
        number = xeno_canto_number(exact_id(text))
        if number is None:
            self._notes.misread(self._header("xc_id"), text, expected="a number of xeno-canto such as XC134874")
        return number

    def _identifier(self, fields: Mapping[str, str | None]) -> str | None:
        text = fields.get("recording_id")
        if text is None:
            return None
        exact = None if is_day(text) else exact_id(text)
        if exact is None:
            self._notes.misread(
                self._header("recording_id"), text, expected="an identifier as it was, no number or day"
            )
        return exact

    def _code(self, fields: Mapping[str, str | None]) -> str | None:
        code = fields.get("ebird_code")
        if code is not None and is_day(code):
            self._notes.misread(self._header("ebird_code"), code, expected="a code, not what a spreadsheet made of it")
            return None
        if fields.get("scientific_name") and not _two_names(code) and len(_names_in(code)) > 1:
            self._notes.leave_out(
                f"column '{self._header('ebird_code')}', several codes of a recording whose species another column has",
                code or "",
            )
            return None
        return code

    def _location(self, fields: Mapping[str, str | None]) -> tuple[float | None, float | None]:
        """Return (latitude, longitude), from one column or two; both None if one is missing or invalid."""
        for field, column in self._locations.items():
            text = fields.get(field) or ""
            if index := column.parse(text):
                return without_missing_fix(*index, self._notes)
            if field == "coordinates" and has_two_numbers(text):
                self._notes.misread(self._header(field), text, expected="a location such as 48.1, 11.5")
        latitude, longitude = (
            self._header(name) if name in self._layout.columns else name for name in ("latitude", "longitude")
        )
        coordinates = CoordinateColumns(latitude, longitude, self._notes)
        return coordinates.read(fields.get("latitude") or "", fields.get("longitude") or "")

    def _location_name(self, fields: Mapping[str, str | None]) -> str | None:
        """Return the text in a column of coordinates if it is the name of a place instead; else None."""
        text = fields.get("coordinates")
        is_name = text is not None and not is_blank(text) and not has_two_numbers(text)
        return text if is_name else None

    def _moment(self, fields: Mapping[str, str | None]) -> tuple[str | None, str | None]:
        """Return (date, time of day) in ISO 8601; the time may be in the column of dates."""
        stamp = None if self._dates is None else self._dates.read(fields.get("date") or "")
        time = None if self._times is None else self._times.read(fields.get("time") or "")
        if time is None and stamp is not None and self._dates is not None and self._dates.has_times:
            time = stamp.time
        return None if stamp is None else stamp.date, None if time is None else time.isoformat("minutes")

    def _split(self, fields: Mapping[str, str | None]) -> str | None:
        text = fields.get("split") or ""
        split = SPLIT_NAMES.get(text.lower())
        if split is None and not is_blank(text):
            self._notes.misread(self._header("split"), text, expected=f"one of {', '.join(SPLIT_NAMES)}")
        return split


_TOTALS = frozenset(("total", "totals", "sum", "summe", "gesamt", "insgesamt", "somme", "suma", "totale", "totaal"))
"""Words that mark a row of totals, in the column of the recordings."""


def _is_total(row: RecordingRow) -> bool:
    """Return True for a row of totals: its path is a word such as `total`, and no file has this name."""
    path = Path(row.path)
    return path.name.casefold().rstrip(":") in _TOTALS and not path.exists()


_MAX_ZEROS = 6


def _with_zeros(path: str) -> list[str]:
    """Return variants of a path such as `12.wav` with leading zeros, which a spreadsheet may have removed."""
    parsed = PurePosixPath(path)
    if not parsed.stem.isdigit():
        return []
    return [str(parsed.with_name("0" * n + parsed.name)) for n in range(1, _MAX_ZEROS + 1)]


def _label(fields: Mapping[str, str | None], names: TaxonNames) -> Label | None:
    """Return the species in a row's fields; None if there is none.

    A column such as `species` may contain common names; the scientific name is then looked up by the code.
    """
    code, common, scientific = (fields.get(name) for name in ("ebird_code", "common_name", "scientific_name"))
    known = _two_names(scientific) or _two_names(code) or names.label(code)
    if scientific is None or (known is not None and not is_binomial(scientific)):
        scientific = known.scientific_name if known else (common or code)
    if scientific is None:
        return None
    return Label(scientific, common or (known.common_name if known else scientific))


def _two_names(text: str | None) -> Label | None:
    """Parse `Genus species_Common Name`; None for other texts."""
    label = read_label(text or "") if len(split_labels(text or "")) == 1 else None
    return label if label is not None and "_" in label_text(label) else None


def xeno_canto_number(text: str | None) -> str | None:
    """Return `XC134874` for `134874`, `XC134874`, `xc134874` or `134874.0` (from a spreadsheet).

    None for other texts, such as `XC134874.mp3`, and for None.
    """
    match = re.fullmatch(r"(?:XC)?(\d+)(?:\.0)?", text or "", re.IGNORECASE)
    return f"XC{match[1]}" if match else None


def _names_in(text: str | None) -> list[str]:
    """Split the names in a cell: a Python list as BirdCLEF writes it, or separated by `;` or `,`."""
    if text is None or text.lower() in _UNKNOWN_CODES:
        return []
    if text.startswith("["):
        try:
            names = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            names = split_labels(text.strip("[]"))
        return [str(name).strip() for name in names if str(name).strip()]
    return split_labels(text)
