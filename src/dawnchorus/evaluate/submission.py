"""BirdCLEF's submission.csv: a row per 5 seconds of each soundscape, a column of scores per class."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dawnchorus.data.recordings import RecordingRow, RecordingsTable
from dawnchorus.errors import FormatError, InputError
from dawnchorus.evaluate.scoring import Scores, score_data_set
from dawnchorus.files import atomic_file
from dawnchorus.formats.text import text_stream
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore
from dawnchorus.text_files import csv_rows, read_text

ROW_ID, STEP_S = "row_id", 5


def write_submission(
    path: Path,
    bundle: Bundle,
    table: RecordingsTable,
    rows: Sequence[RecordingRow],
    *,
    store: ModelStore,
    sample: Path | None,
    turns: int = 1,
    n_workers: int | None = None,
) -> int:
    """Write the file, check it against the competition's sample where there is one, and give its number of rows.

    Columns are eBird codes where the recordings table knows them, else scientific names; with a sample, its columns in
    its order. A window's score counts for the 5 seconds that its middle is in, and for those whose middle is in it.

    Raises:
        InputError: the model knows none of the sample's columns.
        FormatError: the sample's rows are not those of these soundscapes.
    """
    classes = [label.scientific_name for label in bundle.labels if label.kind == "species"]
    scores = score_data_set(bundle, table, rows, store=store, classes=classes, turns=turns, n_workers=n_workers)
    codes = {row.scientific_name: row.ebird_code for row in table.rows if row.ebird_code}
    names = [codes.get(name) or name for name in scores.classes]
    ids, values = by_step(scores)
    columns, expected = (names, None) if sample is None else read_sample(sample)
    known = {name: k for k, name in enumerate(names)}
    if not known.keys() & set(columns):
        raise InputError(f"{sample}: the model {bundle.info.name} knows none of its {len(columns)} classes.")
    if expected is not None and set(expected) != set(ids):
        missing, more = sorted(set(expected) - set(ids)), sorted(set(ids) - set(expected))
        raise FormatError(
            f"{sample}: expected its {len(expected)} rows, found {len(missing)} missing (as {missing[:3]}) and "
            f"{len(more)} more (as {more[:3]}). Give the recordings of the competition's test set."
        )
    order = expected or ids
    place = {name: k for k, name in enumerate(ids)}
    with atomic_file(path) as stream, text_stream(stream) as text:
        out = csv.writer(text, lineterminator="\n")
        out.writerow([ROW_ID, *columns])
        for name in order:
            found = values[place[name]]
            out.writerow([name, *(f"{found[known[c]]:.6f}" if c in known else "0" for c in columns)])
    return len(order)


def by_step(scores: Scores) -> tuple[list[str], np.ndarray]:
    """Row ids, and the largest score of each class [rows, classes] in each 5 seconds."""
    ids: list[str] = []
    parts = []
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
        ids += [f"{Path(row.path).stem}_{STEP_S * (k + 1)}" for k in range(n_steps)]
        parts.append(values)
    return ids, np.concatenate(parts)


def read_sample(path: Path) -> tuple[list[str], list[str]]:
    """Return the columns and the row ids of a competition's sample.

    Raises:
        InputError: the file cannot be read.
        FormatError: it is no sample submission.
    """
    try:
        lines = list(csv_rows(path, read_text(path)))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    if not lines or lines[0][:1] != [ROW_ID]:
        raise FormatError(f"{path}: expected BirdCLEF's sample_submission.csv, whose first column is {ROW_ID}.")
    return lines[0][1:], [line[0] for line in lines[1:] if line]
