"""Submissions to BirdCLEF competitions: scores or decisions for steps of 5 seconds, in the format of each year."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dawnchorus.data.recordings import RecordingRow, RecordingsTable, read_table, table_path
from dawnchorus.errors import FormatError, InputError
from dawnchorus.evaluation.scoring import FloatArray, Scores, score_data_set
from dawnchorus.formats.text import text_stream
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore
from dawnchorus.storage.files import atomic_file
from dawnchorus.tables import Table, header_key

ROW_ID, SPECIES_LIST, TARGET, NOCALL = "row_id", "birds", "target", "nocall"
STEP_S = 5
DEFAULT_MIN_SCORE = 0.5
N_SHOWN = 3
"""Maximum number of examples in a message."""

HEADERS = (
    f"the header of BirdCLEF 2021 ({ROW_ID},{SPECIES_LIST}), of 2022 ({ROW_ID},{TARGET}), or of 2023 and "
    f"later ({ROW_ID} and a column for each class)"
)
_CODE_COLUMNS = ("primary_label", "species_code", "ebird_code")
_NAME_COLUMNS = ("scientific_name", "sci_name")


@dataclass(frozen=True)
class Sample:
    """A competition's sample_submission.csv, which defines the format and rows of a submission."""

    path: Path
    """Path of the file."""
    columns: tuple[str, ...]
    """Names of the columns after `row_id`: ("birds",) in 2021, ("target",) in 2022, species codes in later years."""
    row_ids: tuple[str, ...]
    """Values of `row_id`, in the order of the rows."""
    notes: tuple[str, ...] = ()
    """Sentences on guesses made in reading the file, such as its encoding."""

    def window_name(self, row_id: str) -> str:
        """Return the name `RECORDING_END` (end in seconds) of the 5-second step that a row is about.

        In the format of 2022, row ids are `RECORDING_CODE_END`, and the species code is left out. In the other formats,
        the row id is returned unchanged.
        """
        if self.columns != (TARGET,):
            return row_id
        start, _, end = row_id.rpartition("_")
        return f"{start.rpartition('_')[0]}_{end}"

    @property
    def classes(self) -> tuple[str, ...]:
        """Species codes in columns (2023 and later) or row ids (2022), each once.

        Empty for the format of 2021, in which each row lists the present species.
        """
        if self.columns == (TARGET,):
            return tuple(dict.fromkeys(row_id.rpartition("_")[0].rpartition("_")[2] for row_id in self.row_ids))
        return () if self.columns == (SPECIES_LIST,) else self.columns

    @property
    def recordings(self) -> frozenset[str]:
        """Names of the recordings in the row ids."""
        return frozenset(self.window_name(row_id).rpartition("_")[0] for row_id in self.row_ids)


@dataclass(frozen=True)
class Submission:
    """Summary of a written submission."""

    n_rows: int
    """Number of rows below the header."""
    notes: tuple[str, ...]
    """Sentences on guesses in reading the sample, unknown classes (with score 0), and steps that were left out."""


@dataclass(frozen=True)
class _Windows:
    """Scores [classes] of 5-second steps by name, and the names of the classes in a submission."""

    rows: Mapping[str, FloatArray]
    codes: Sequence[str]
    """Name of each class [classes] in a submission."""
    columns: Mapping[str, int]
    """Index of each class by all its names and codes."""
    thresholds: FloatArray
    """Minimum score [classes] of a present species."""


def write_submission(
    path: Path,
    bundle: Bundle,
    table: RecordingsTable,
    rows: Sequence[RecordingRow],
    *,
    store: ModelStore,
    sample: Path | None,
    min_score: float = DEFAULT_MIN_SCORE,
    tta_shifts: int = 1,
    n_workers: int | None = None,
) -> Submission:
    """Write a submission.csv; with a sample, in its format and row order, for the recordings in its row ids.

    A species has the first code that is found in the bundle's table of training recordings, then in `table`, then in
    taxonomies next to the sample (`taxonomy*.csv` or `eBird_Taxonomy*.csv`), else its scientific name. The score of a
    5-second step is the maximum over the windows whose center is in the step, or that contain the center of the step.

    Args:
        path: the file to write.
        bundle: the model.
        table: the data set of the competition's soundscapes.
        rows: rows of `table`: the recordings to score; with a sample, those that it does not name are left out.
        store: store of the built-in models, which has the speech detector for bundles that remove speech.
        sample: the competition's sample_submission.csv; None: write the score of every species of the model for every
            step of `rows`.
        min_score: minimum score of a present species without a threshold in the bundle, for the formats of 2021 and
            2022, which have decisions.
        tta_shifts: number of time shifts for test-time augmentation; 1: none.
        n_workers: number of decoder processes; None: one per core.

    Raises:
        InputError: the sample cannot be read, the model knows none of its classes, no recording is in the sample, or
            none could be scored.
        FormatError: the sample has an unknown format, a row twice, or a row for which no recording has a step; two
            recordings have the same file name; or a taxonomy is no CSV table.
        ModelError: the model cannot be loaded or run, or its scores are not finite.
        MissingExtraError: the library that runs the model, or noisereduce for its cleaning, is not installed.
        OutputError: no space, or no permission.
    """
    given = None if sample is None else read_sample(sample)
    named = _named_recordings(table, rows, given)
    codes, names = _class_names(bundle, table, sample)
    classes = [label.scientific_name for label in bundle.labels if label.kind == "species"]
    notes = [] if given is None else [f"{given.path}: {sentence}" for sentence in given.notes]
    if given is not None and given.classes:
        listed = {names[code] for code in given.classes if code in names}
        classes = [name for name in classes if name in listed]
        notes += _check_classes(bundle, given, names)
    chosen = [row for row in rows if row.recording_id in named]
    scores = score_data_set(
        bundle, table, chosen, store=store, classes=classes, tta_shifts=tta_shifts, n_workers=n_workers
    )
    ids, values = by_step(scores, named)
    column_of = {name: k for k, name in enumerate(scores.classes)}
    windows = _Windows(
        rows=dict(zip(ids, values, strict=True)),
        codes=[codes.get(name, name) for name in scores.classes],
        columns={alias: column_of[name] for alias, name in names.items() if name in column_of},
        thresholds=np.array([bundle.info.thresholds.get(name, min_score) for name in scores.classes]),
    )
    if given is None:
        given = Sample(path, tuple(windows.codes), tuple(ids))
    notes += _check_rows(given, ids, scores.failures)
    _write(path, given, windows)
    return Submission(len(given.row_ids), tuple(notes))


def read_sample(path: Path) -> Sample:
    """Read a competition's sample submission; rows without a row id are skipped.

    Raises:
        InputError: the file cannot be read.
        FormatError: the file is no CSV table, its header does not begin with `row_id` or has no other column, or it has
            no row, or a row with more cells than the header.
    """
    try:
        table = Table(path)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}).", subject=path) from error
    if header_key(table.header[0]) != header_key(ROW_ID) or len(table.header) < 2:
        raise FormatError(f"expected {HEADERS}, found {','.join(table.header[:4])}.", subject=path)
    row_ids = tuple(cells[0].strip() for _line, cells in table if cells[0].strip())
    if table.long_rows:
        raise FormatError(
            f"line {table.long_rows[0]}: expected {len(table.header)} cells as in the header.", subject=path
        )
    if not row_ids:
        raise FormatError("expected a row for each window below the header, found none.", subject=path)
    return Sample(path, tuple(table.header[1:]), row_ids, tuple(table.notes.sentences()))


def by_step(scores: Scores, names: Mapping[str, str]) -> tuple[list[str], FloatArray]:
    """Return the row ids `NAME_END` (end in seconds) of all 5-second steps, and the scores [steps, classes] in them.

    The score of a step is the maximum over the windows whose center is in the step, or that contain its center; 0
    without such a window. The last step of a recording may extend beyond the recording's end: its END, too, is a
    multiple of 5. Steps are in the order of recordings and time.

    Args:
        scores: scores of the windows.
        names: name of each recording in row ids, by recording_id.
    """
    ids: list[str] = []
    blocks = []
    for number, row in enumerate(scores.rows):
        here = scores.recording == number
        starts, each = scores.start_s[here], scores.scores[here]
        middle = starts + scores.window_s / 2
        n_steps = max(math.ceil(((row.duration_s or 0.0) or middle.max()) / STEP_S - 1e-6), 1)
        values = np.zeros((n_steps, len(scores.classes)))
        np.maximum.at(values, np.minimum((middle / STEP_S).astype(int), n_steps - 1), each)
        for k in range(n_steps):
            is_within = (starts <= STEP_S * (k + 0.5)) & (STEP_S * (k + 0.5) < starts + scores.window_s)
            values[k] = np.maximum(values[k], each[is_within].max(0, initial=0))
        ids += [f"{names[row.recording_id]}_{STEP_S * (k + 1)}" for k in range(n_steps)]
        blocks.append(values)
    return ids, np.concatenate(blocks)


def _named_recordings(table: RecordingsTable, rows: Sequence[RecordingRow], sample: Sample | None) -> dict[str, str]:
    """Return the names in row ids by recording_id, for the recordings in the sample (without a sample, for all rows).

    In 2021, file names have an additional date: `2782_SSW_20170701.ogg` is `2782_SSW` in row ids.
    """
    stems = {row.recording_id: Path(row.path).stem for row in rows}
    if sample is None:
        return stems
    undated = {name: re.sub(r"_\d{8}$", "", stem) for name, stem in stems.items()}
    known = sample.recordings
    named = {name: next((s for s in (stem, undated[name]) if s in known), None) for name, stem in stems.items()}
    recordings = {name: stem for name, stem in named.items() if stem is not None}
    if not recordings:
        raise InputError(
            f"expected recordings that {sample.path} names, such as {min(known)}, found "
            f"{', '.join(sorted(stems.values())[:N_SHOWN]) or 'none'}. Give the data set of the competition's "
            f"soundscapes.",
            subject=table.folder,
        )
    return recordings


def _class_names(bundle: Bundle, table: RecordingsTable, sample: Path | None) -> tuple[dict[str, str], dict[str, str]]:
    """Return the codes of classes by scientific name, and the scientific names of classes by code or name."""
    pairs: list[tuple[str | None, str | None]] = []
    if table_path(bundle.folder).is_file():
        pairs += [(row.ebird_code, row.scientific_name) for row in read_table(bundle.folder).rows]
    pairs += [(row.ebird_code, row.scientific_name) for row in table.rows]
    if sample is not None:
        for path in sorted(sample.absolute().parent.iterdir()):
            if re.fullmatch(r"(ebird_)?taxonomy.*\.csv", path.name, re.IGNORECASE):
                pairs += _taxonomy(path)
    known = bundle.class_by_scientific_name
    codes: dict[str, str] = {}
    names: dict[str, str] = {}
    for code, name in pairs:
        if code and name in known:
            codes.setdefault(name, code)
            names.setdefault(code, name)
    return codes, names | {name: name for name in known}


def _taxonomy(path: Path) -> list[tuple[str | None, str | None]]:
    """Return (code, scientific name) of each row of BirdCLEF's or eBird's taxonomy."""
    table = Table(path)
    code, scientific = table.find_column(_CODE_COLUMNS), table.find_column(_NAME_COLUMNS)
    if code is None or scientific is None:
        return []
    return [(cells[code].strip(), cells[scientific].strip()) for _line, cells in table]


def _check_classes(bundle: Bundle, sample: Sample, names: Mapping[str, str]) -> list[str]:
    """Return a sentence on the sample's classes that the model does not know; raise if it knows none."""
    unknown = [code for code in sample.classes if code not in names]
    if len(unknown) == len(sample.classes):
        raise InputError(
            f"the model {bundle.info.name} knows none of its {len(unknown)} classes (as "
            f"{', '.join(unknown[:N_SHOWN])}). Codes are those of the recordings that the model was trained on, and of "
            f"taxonomy.csv or eBird_Taxonomy*.csv next to the sample. A sample has {HEADERS}.",
            subject=sample.path,
        )
    if not unknown:
        return []
    return [f"{len(unknown)} of {len(sample.classes)} classes are not the model's, and 0: {', '.join(unknown[:20])}"]


def _check_rows(sample: Sample, ids: Sequence[str], failures: Mapping[str, str]) -> list[str]:
    """Return sentences on steps that are not in the sample; raise if a row of the sample has no step."""
    expected = Counter(sample.row_ids)
    windows = {sample.window_name(row_id): row_id for row_id in reversed(sample.row_ids)}
    there = Counter(ids)
    missing = [row_id for window, row_id in windows.items() if window not in there]
    doubled = sorted({name for counts in (expected, there) for name, n in counts.items() if n > 1})
    unknown = [window for window in there if window not in windows]
    problems = [
        f"{len(each)} {word} ({', '.join(sorted(each)[:N_SHOWN])}{', ...' if len(each) > N_SHOWN else ''})"
        for word, each in (("missing", missing), ("twice", doubled), ("unknown to the sample", unknown))
        if each
    ]
    if missing or doubled:
        reasons = "".join(f" {name}: {reason}." for name, reason in list(failures.items())[:N_SHOWN])
        raise FormatError(
            f"expected a window for each of its {len(expected)} rows, found {'; '.join(problems)}."
            f"{reasons} Give each of the competition's soundscapes once, whole.",
            subject=sample.path,
        )
    return [f"windows that are left out: {problem}" for problem in problems]


def _write(path: Path, sample: Sample, windows: _Windows) -> None:
    cells = _CELLS.get(sample.columns, _scores)
    with atomic_file(path) as stream, text_stream(stream) as text:
        out = csv.writer(text, lineterminator="\n")
        out.writerow([ROW_ID, *sample.columns])
        for row_id in sample.row_ids:
            out.writerow([row_id, *cells(sample, row_id, windows)])


def _scores(sample: Sample, row_id: str, windows: _Windows) -> list[str]:
    values = windows.rows[row_id]
    columns = [windows.columns.get(column) for column in sample.columns]
    return ["0" if column is None else f"{values[column]:.6f}" for column in columns]


def _species(_sample: Sample, row_id: str, windows: _Windows) -> list[str]:
    is_there = windows.rows[row_id] >= windows.thresholds
    return [" ".join(code for code, there in zip(windows.codes, is_there, strict=True) if there) or NOCALL]


def _target(sample: Sample, row_id: str, windows: _Windows) -> list[str]:
    column = windows.columns.get(row_id.rpartition("_")[0].rpartition("_")[2])
    values = windows.rows[sample.window_name(row_id)]
    return [str(column is not None and bool(values[column] >= windows.thresholds[column]))]


_CELLS: dict[tuple[str, ...], Callable[[Sample, str, _Windows], list[str]]] = {
    (SPECIES_LIST,): _species,
    (TARGET,): _target,
}
"""Functions that return a row's cells, by the columns of the sample; other samples have a score per column."""
