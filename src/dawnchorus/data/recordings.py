"""The recordings table: one row per recording, in one Parquet file, `recordings.parquet` in a data set's folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from html import escape
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dawnchorus.errors import FormatError, InputError
from dawnchorus.storage.files import atomic_file
from dawnchorus.storage.parquet_files import reading_parquet
from dawnchorus.storage.paths import as_path
from dawnchorus.storage.urls import is_url

TABLE_NAME = "recordings.parquet"

MAX_SHOWN_ROWS = 10
"""Number of rows shown in a notebook."""

SCHEMA_VERSION = 1
_VERSION_KEY = b"dawnchorus_recordings"

SPLITS = ("train", "validation", "test")

MISSING, UNREADABLE, SILENT = "missing", "unreadable", "silent"
UNUSABLE = (MISSING, UNREADABLE, SILENT)
"""Problems that make a recording unusable."""

COPIES = ("duplicate", "near_duplicate")
"""Problems of recordings that are copies of another row's recording."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotation:
    """An annotated sound in a recording: start and end in seconds, species, and frequency range in Hz if known."""

    start_s: float
    end_s: float
    scientific_name: str
    """Empty if the species is unknown."""
    low_hz: float | None = None
    """Lower end of the frequency range; None if unknown."""
    high_hz: float | None = None
    """Upper end of the frequency range; None if unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordingRow:
    """Row of the recordings table; None and empty tuples mean unknown.

    Attributes:
        recording_id: identifier, unique in the table: the source's, such as XC580880, or else the path.
        path: path of the file: relative to the table's folder, with forward slashes; or absolute; or a URL.
        scientific_name: the main species; None for background and soundscapes.
        common_name: common name of the main species.
        ebird_code: eBird code of the main species.
        secondary: scientific names of other species in the recording.
        absent: scientific names of species that are known not to be in the recording (negative examples).
        annotations: annotated sounds.
        is_annotated: True if `annotations` are complete; without any, the recording contains no species. It is set to
            True if there are annotations.
        kind: "focal" (of one species), "soundscape" (annotated, unlabeled, or of many species) or "background" (none).
        source: origin, for example "xeno-canto".
        url: URL of the recording's page at the source.
        recordist: name of the person who made the recording.
        license: SPDX identifier.
        latitude: in degrees north.
        longitude: in degrees east.
        locality: name of the site.
        country: name of the country.
        date: ISO 8601, as exactly as it is known: 2026-05-01, 2026-05, 2026.
        time: local time of day, with its zone where one is known: 05:30, 05:30+02:00.
        quality: quality grade of the source: A to E at xeno-canto.
        sound_type: kind of vocalization in the source's words: song, call, "call, song".
        duration_s: length in seconds.
        rate_hz: sample rate in Hz.
        n_channels: number of channels.
        container: container of the file, for example WAV.
        n_bytes: size of the file in bytes.
        content_hash: digest of the file's size and parts of its bytes: see `dawnchorus.data.identity.hash_content`.
        audio_hash: sha256 of the decoded samples (mono, 16 bit), independent of metadata and lossless codecs.
        problems: problems found by import and check: keys of `dawnchorus.data.check.ISSUES`.
        duplicate_of: the recording_id of the first row in the table with exactly or nearly the same audio; None for
            that row, for rows without copies, and before a check.
        label_check: outcome of comparing the label with a model: "checked" (compared, whatever the result; a doubt is
            in `problems`), "unknown_label" (no class of the model), "unlabeled" or "failed" (not scored); None: not
            compared.
        detected_species: scientific name of a species other than the labeled one that a model detected, if `problems`
            has "doubtful_label" or "other_species"; else None.
        detected_score: highest score of the detected species.
        detected_start_s: start of the window with that score, in seconds.
        detected_end_s: end of the window with that score, in seconds.
        given_group: group given by the source (site, original recording), whose recordings must stay in one split.
        group: group of related recordings that must stay in one split, such as "g12"; set together with `split`, from
            `given_group` and other relations: see `dawnchorus.data.relations`.
        split: "train", "validation" or "test", or "fold0", "fold1", ...; None: not used.
    """

    recording_id: str
    path: str
    scientific_name: str | None = None
    common_name: str | None = None
    ebird_code: str | None = None
    secondary: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    is_annotated: bool = False
    kind: str = "focal"

    source: str | None = None
    url: str | None = None
    recordist: str | None = None
    license: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    locality: str | None = None
    country: str | None = None
    date: str | None = None
    time: str | None = None
    quality: str | None = None
    sound_type: str | None = None

    duration_s: float | None = None
    rate_hz: int | None = None
    n_channels: int | None = None
    container: str | None = None
    n_bytes: int | None = None
    content_hash: str | None = None

    audio_hash: str | None = None
    problems: tuple[str, ...] = ()
    duplicate_of: str | None = None
    label_check: str | None = None
    detected_species: str | None = None
    detected_score: float | None = None
    detected_start_s: float | None = None
    detected_end_s: float | None = None
    given_group: str | None = None
    group: str | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        """Set `is_annotated` if there are annotations."""
        if self.annotations and not self.is_annotated:
            object.__setattr__(self, "is_annotated", True)

    @property
    def is_unlabeled(self) -> bool:
        """True if nothing is known about the species in the recording (apart from secondary and absent species)."""
        return self.scientific_name is None and not self.is_annotated and self.kind != "background"


_ANNOTATION = pa.struct(
    [
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("scientific_name", pa.string()),
        ("low_hz", pa.float64()),
        ("high_hz", pa.float64()),
    ]
)
_TYPES: dict[str, pa.DataType] = {
    "secondary": pa.list_(pa.string()),
    "absent": pa.list_(pa.string()),
    "problems": pa.list_(pa.string()),
    "annotations": pa.list_(_ANNOTATION),
    **dict.fromkeys(("latitude", "longitude", "duration_s"), pa.float64()),
    **dict.fromkeys(("detected_score", "detected_start_s", "detected_end_s"), pa.float64()),
    **dict.fromkeys(("rate_hz", "n_channels"), pa.int32()),
    "n_bytes": pa.int64(),
    "is_annotated": pa.bool_(),
}
SCHEMA = pa.schema([(field.name, _TYPES.get(field.name, pa.string())) for field in fields(RecordingRow)])
_REQUIRED = {"recording_id", "path", "kind"}
_RENAMED_COLUMNS = {
    "sound_hash": "audio_hash",
    **{f"heard_{name}": f"detected_{name}" for name in ("species", "score", "start_s", "end_s")},
}
"""Current names of columns by their names in tables written before 2026-12."""
_RENAMED_VALUES = {"unlabelled": "unlabeled"}
"""Current values of `problems` and `label_check` by their values in tables written before 2026-12."""


@dataclass(frozen=True, repr=False)
class RecordingsTable:
    """The recordings table of a data set: its rows, and the folder that their paths are relative to."""

    folder: Path
    rows: tuple[RecordingRow, ...]

    def file(self, row: RecordingRow) -> Path:
        """Return the path of a recording's audio file; for a URL, a `storage.paths.RemotePath`."""
        return as_path(row.path) if is_url(row.path) else self.folder / row.path

    def with_rows(self, rows: Iterable[RecordingRow]) -> RecordingsTable:
        """Return a new table of the same folder with these rows in place of the own ones; no file is written."""
        return RecordingsTable(self.folder, tuple(rows))

    def __repr__(self) -> str:
        return f"<RecordingsTable {self.folder}: {self._headline()}>"

    def _headline(self) -> str:
        splits = Counter(row.split for row in self.rows if row.split)
        counts = [f"{len(self.rows)} recordings", f"{len(species_of(self.rows))} species"]
        return ", ".join([*counts, *(f"{n} in {split}" for split, n in sorted(splits.items()))])

    def _repr_html_(self) -> str:
        """Return an HTML table of the first recordings, for notebooks."""
        columns = ("recording_id", "scientific_name", "kind", "duration_s", "split", "problems")
        rows = "".join(
            f"<tr>{''.join(f'<td>{escape(_cell(getattr(row, name)))}</td>' for name in columns)}</tr>"
            for row in self.rows[:MAX_SHOWN_ROWS]
        )
        more = len(self.rows) - MAX_SHOWN_ROWS
        return (
            f"<p>{escape(str(self.folder))}: {escape(self._headline())}</p><table><thead><tr>"
            f"{''.join(f'<th>{name}</th>' for name in columns)}</tr></thead><tbody>{rows}</tbody></table>"
            f"{f'<p>and {more} more</p>' if more > 0 else ''}"
        )


def _cell(value: object) -> str:
    """Format a value for a table in a notebook."""
    if value is None:
        return ""
    return ", ".join(value) if isinstance(value, tuple) else f"{value:.1f}" if isinstance(value, float) else str(value)


def table_path(data_set: Path) -> Path:
    """Return the path of a data set's recordings table: `data_set` if its suffix is `.parquet`, else the file in it."""
    return data_set if data_set.suffix == ".parquet" else data_set / TABLE_NAME


def write_table(table: RecordingsTable) -> Path:
    """Write the table as `recordings.parquet` into its folder atomically, and return the file's path.

    The folder must exist; an earlier table in it is replaced.

    Raises:
        InputError: two rows have the same recording_id.
        OutputError: no space, or no permission.
    """
    seen: set[str] = set()
    for row in table.rows:
        if row.recording_id in seen:
            raise InputError(f"two recordings have the recording_id '{row.recording_id}'.", subject=table.folder)
        seen.add(row.recording_id)
    path = table.folder / TABLE_NAME
    schema = SCHEMA.with_metadata({_VERSION_KEY: str(SCHEMA_VERSION).encode()})
    with atomic_file(path) as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for start in range(0, max(len(table.rows), 1), 50_000):
            part = [asdict(row) for row in table.rows[start : start + 50_000]]
            writer.write_table(pa.Table.from_pylist(part, schema))
    return path


def read_table(data_set: Path) -> RecordingsTable:
    """Read the recordings table of a data set, given its folder or the path of the table.

    Raises:
        InputError: the data set has no table.
        FormatError: the file cannot be read, is no recordings table, or is of another version than `SCHEMA_VERSION`.
    """
    path = table_path(data_set)
    if not path.is_file():
        above = data_set.absolute().parent
        if table_path(above).is_file():
            raise InputError(f"{data_set}: this is a folder of the data set {above}. Name that one.")
        raise InputError("no such file. Make it with `dawnchorus data import`.", subject=path)
    with reading_parquet(path):
        table = pq.read_table(path)
    version = (table.schema.metadata or {}).get(_VERSION_KEY)
    if version != str(SCHEMA_VERSION).encode():
        raise FormatError(
            f"expected a recordings table of version {SCHEMA_VERSION}, found "
            f"{'another kind of table' if version is None else f'version {version!r}'}.",
            subject=path,
        )
    with reading_parquet(path):
        renamed = table.rename_columns([_RENAMED_COLUMNS.get(name, name) for name in table.column_names])
        known = _known_columns(path, renamed)
    return RecordingsTable(path.parent, tuple(_row(path, fields) for fields in known.to_pylist()))


def _known_columns(path: Path, table: pa.Table) -> pa.Table:
    """Return the columns that are in `SCHEMA`, cast to its types; raise if a value is invalid."""
    missing = _REQUIRED - set(table.column_names)
    if missing:
        raise FormatError(f"expected the columns of a recordings table, without {sorted(missing)}.", subject=path)
    expected = [field.with_nullable(field.name not in _REQUIRED) for field in SCHEMA]
    schema = pa.schema([field for field in expected if field.name in table.column_names])
    known = table.select(schema.names).cast(schema)
    known.validate(full=True)
    return known


def _row(path: Path, fields: dict[str, Any]) -> RecordingRow:
    for name in ("secondary", "absent"):
        fields[name] = tuple(fields.get(name) or ())
    fields["problems"] = tuple(_RENAMED_VALUES.get(problem, problem) for problem in fields.get("problems") or ())
    outcome = fields.get("label_check")
    fields["label_check"] = _RENAMED_VALUES.get(outcome, outcome) if outcome else None
    annotations = fields.get("annotations") or ()
    if any(a is None or None in (a["start_s"], a["end_s"], a["scientific_name"]) for a in annotations):
        raise FormatError(
            f"recording '{fields['recording_id']}': expected start, end and species of each annotation, "
            f"found one without.",
            subject=path,
        )
    fields["annotations"] = tuple(Annotation(**a) for a in annotations)
    fields["is_annotated"] = bool(fields.get("is_annotated"))
    return RecordingRow(**fields)


def select_split(table: RecordingsTable, split: str) -> list[RecordingRow]:
    """Return the rows of a split ("train", "fold0", ...) without those with the problem "missing".

    "all" stands for all rows, also those in no split.

    Raises:
        InputError: no rows would be returned.
    """
    rows = [row for row in table.rows if split in ("all", row.split) and "missing" not in row.problems]
    if not rows:
        splits = sorted({row.split for row in table.rows if row.split})
        known = f"one of {', '.join(splits)} or all" if splits else "all, because the recordings are not split"
        raise InputError(
            f"split: expected {known}, got {split!r}, in which {table.folder} has no recordings. Split with "
            f"`dawnchorus data split`."
        )
    return rows


def select_per_species(rows: Sequence[RecordingRow], n: int) -> tuple[list[int], dict[str, list[int]]]:
    """Return the indices of the first `n` rows of each species, and the indices of the rows left out by species.

    The species of a row are its main species, or else all annotated ones. A row is selected if one of these has fewer
    than `n` selected rows so far; it then counts for all of these. A row left out is listed under the alphabetically
    first of its species. Rows without a species (background, unlabeled) are all selected.
    """
    seen: Counter[str] = Counter()
    indices: list[int] = []
    left_out: dict[str, list[int]] = {}
    for k, row in enumerate(rows):
        species = [row.scientific_name] if row.scientific_name else species_of([row])
        if species and all(seen[name] >= n for name in species):
            left_out.setdefault(species[0], []).append(k)
            continue
        seen.update(species)
        indices.append(k)
    return indices, left_out


def select_usable(rows: Iterable[RecordingRow], *, copies: bool) -> list[RecordingRow]:
    """Return the rows without missing, unreadable and silent recordings, and unless `copies`, without duplicates."""
    return [row for row in rows if not blocking_problems(row, copies=copies)]


def blocking_problems(row: RecordingRow, *, copies: bool) -> list[str]:
    """Return the row's problems that make the recording unusable; empty if it is usable.

    They are "missing", "unreadable" and "silent", and unless `copies`, "duplicate" and "near_duplicate".
    """
    blocking = UNUSABLE if copies else (*UNUSABLE, *COPIES)
    return [problem for problem in blocking if problem in row.problems]


def species_of(rows: Sequence[RecordingRow]) -> list[str]:
    """Return the sorted scientific names of main and annotated species, without secondary and absent ones."""
    names = {row.scientific_name for row in rows if row.scientific_name}
    names |= {a.scientific_name for row in rows for a in row.annotations if a.scientific_name}
    return sorted(names)
