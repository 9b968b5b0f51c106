"""Conversion of crowsetta annotations and data frames to detections."""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from dawnchorus.errors import FormatError, InputError
from dawnchorus.formats.checks import ROUNDING, find_problem, find_score_problem
from dawnchorus.formats.class_names import read_class, split_names
from dawnchorus.formats.columns import COLUMNS, DETECTION_COLUMNS
from dawnchorus.formats.detection_columns import METADATA_COLUMNS, Metadata, Values, first_metadata
from dawnchorus.taxonomy.labels import parse_label
from dawnchorus.types import Detection

if TYPE_CHECKING:
    import pandas as pd


def read_crowsetta(annotations: Iterable[Any]) -> Iterator[tuple[str, Detection]]:
    """Yield (recording, detection) for the segments or boxes of crowsetta's `Annotation` objects.

    `Detections.from_crowsetta` describes the conversion.

    Raises:
        InputError: an object is not an annotation, does not name its recording, or has an impossible time (see
            `checks.find_problem`).
    """
    for annotation in annotations:
        if not hasattr(annotation, "notated_path"):
            kind = type(annotation).__name__
            raise InputError(f"annotations: expected crowsetta's Annotation objects in a list, got {kind}.")
        if annotation.notated_path is None:
            raise InputError("expected annotations with a `notated_path`, got None.", subject=annotation.annot_path)
        recording = str(annotation.notated_path)
        for box in getattr(annotation, "bboxes", ()):
            yield recording, _annotation(annotation, box.label, box.onset, box.offset, box.low_freq, box.high_freq)
        sequences = getattr(annotation, "seq", ())
        for sequence in sequences if isinstance(sequences, list | tuple) else (sequences,):
            for each in sequence.segments:
                yield recording, _annotation(annotation, each.label, each.onset_s, each.offset_s)


def _annotation(
    annotation: Any,
    name: str,
    start_s: float,
    end_s: float,
    low_hz: float | None = None,
    high_hz: float | None = None,
) -> Detection:
    """Return a segment or box of an annotation as a detection.

    Raises:
        InputError: its time is impossible.
    """
    label = parse_label(str(name))
    detection = Detection(
        start_s=float(start_s),
        end_s=float(end_s),
        scientific_name=label.scientific_name,
        common_name=label.common_name,
        kind=label.kind,
        score=1.0,
        low_hz=None if low_hz is None else _number_or_none(float(low_hz)),
        high_hz=None if high_hz is None else _number_or_none(float(high_hz)),
    )
    if (problem := find_problem(detection)) is not None:
        raise InputError(f"{name!r} from {start_s:g} to {end_s:g} s: {problem[1]}", subject=annotation.annot_path)
    return detection


def _number_or_none(value: float) -> float | None:
    """Return the number; None for NaN, which data frames use for a missing value."""
    return None if math.isnan(value) else value


_FRAME_COLUMNS = {
    "recording": ("recording", "file", "input", "audio_file", "filename", "file_name", "path", "notated_path"),
    "start_s": ("start_s", "start_time", "min_t", "onset_s", "Start (s)", "start", "onset"),
    "end_s": ("end_s", "end_time", "max_t", "offset_s", "End (s)", "end", "offset"),
    "scientific_name": (
        "scientific_name",
        "species_name",
        "label",
        "annotation",
        "Scientific name",
        "species",
        "class",
    ),
    "common_name": ("common_name", "Common name"),
    "score": ("score", "confidence", "Confidence"),
    "low_hz": ("low_hz", "min_f", "low_f"),
    "high_hz": ("high_hz", "max_f", "high_f"),
}
"""Names of data frame columns by our column's name: ours, those of birdnet, OpenSoundscape, scikit-maad and crowsetta,
and common ones; the first name that the frame has is used.
"""

_OWN_COLUMNS = tuple(column.name for column in DETECTION_COLUMNS if column.name not in _FRAME_COLUMNS)
"""Further columns that are read from our own frames only, since in other frames they may have other contents."""

_RUN_COLUMNS = tuple(column.name for column in COLUMNS if column.source == "run")

_NO_CLASSES = frozenset(
    (*(column.name for column in COLUMNS), *(name for names in _FRAME_COLUMNS.values() for name in names))
)
"""Column names that cannot be those of a class in a frame with one column per class."""

_NUMBERS = ("start_s", "end_s", "score", "low_hz", "high_hz", "probability", "channel")

_NUMBER_KINDS = "biuf"
"""NumPy type kinds of numbers and flags."""

_FLAGS = {"true": True, "false": False}

_MAX_NAMED = 8


def is_pandas(value: object) -> TypeGuard[pd.DataFrame]:
    """Return True for a pandas data frame; does not import pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def read_pandas(frame: pd.DataFrame, *, recording: str | None = None) -> Iterator[tuple[str, Detection]]:
    """Yield (recording, detection) for each row of a data frame, or for each score in a table with a column per class.

    `Detections.from_pandas` describes the layouts. `recording` is the name of the recording where the frame has none.

    Raises:
        InputError: `frame` is not a pandas data frame.
        FormatError: a column for recording, start, end or label is missing, a column appears twice, or a value is
            missing or impossible (see `checks.find_problem`).
    """
    table = _Frame.of(frame, recording)
    yield from table.wide_rows() if table.classes else table.rows()


def read_frame_metadata(frame: pd.DataFrame) -> Metadata:
    """Return (metadata, week) by recording from a frame of `DetectionExports.to_pandas`; empty for other frames.

    The metadata are the recording's location and start time; the week is from 1 to 48, and None if unknown.

    Raises:
        FormatError: a time is not in ISO 8601, or a location or week is no number.
    """
    names = list(METADATA_COLUMNS)
    if not set(names) <= set(frame.columns):
        return {}
    import pandas as pd

    first = frame.drop_duplicates("recording")[names].itertuples(index=False, name=None)
    try:
        return first_metadata([None if pd.isna(value) else value for value in row] for row in first)
    except (TypeError, ValueError) as error:
        raise FormatError(f"data frame: expected times and locations as in our frames ({error}).") from error


def read_frame_run(frame: pd.DataFrame) -> dict[str, Any]:
    """Return model, model_version, bundle_id and software by these names from a frame of `DetectionExports.to_pandas`.

    Empty for other frames, and for a frame in which one of these columns has several values, or only missing ones.
    """
    if not set(_RUN_COLUMNS) <= set(frame.columns):
        return {}
    values = {name: frame[name].dropna().unique().tolist() for name in _RUN_COLUMNS}
    return {name: str(each[0]) for name, each in values.items()} if all(len(v) == 1 for v in values.values()) else {}


@dataclass(frozen=True)
class _Frame:
    """A data frame, and the names of its columns by our column's name."""

    frame: pd.DataFrame
    columns: dict[str, str]
    recording: str | None
    """Name of the recording where the frame has none."""

    @classmethod
    def of(cls, frame: Any, recording: str | None) -> _Frame:
        """Find the columns of a data frame.

        Raises:
            InputError: `frame` is not a pandas data frame.
            FormatError: a column is missing, or appears twice.
        """
        if not is_pandas(frame):
            kind = f"{type(frame).__module__.partition('.')[0]}.{type(frame).__name__}"
            raise InputError(f"frame: expected a pandas data frame, got {kind}. Convert it, as by its to_pandas().")
        levels = [name for name in frame.index.names if name is not None and name not in frame.columns]
        frame = frame.reset_index(level=levels) if levels else frame
        if not frame.columns.is_unique:
            doubled = ", ".join(map(str, frame.columns[frame.columns.duplicated()].unique()))
            raise FormatError(f"data frame: expected each column once, got {doubled} twice. Rename or drop one.")
        columns = {
            field: column
            for field, names in _FRAME_COLUMNS.items()
            if (column := next((name for name in names if name in frame.columns), None)) is not None
        }
        if columns.get("start_s") == "start_s" and columns.get("scientific_name") == "scientific_name":
            columns |= {name: name for name in _OWN_COLUMNS if name in frame.columns}
        made = cls(frame, columns, None if recording is None else str(recording))
        has_labels = "scientific_name" in columns or bool(made.classes)
        has_recordings = "recording" in columns or recording is not None
        if not (has_labels and has_recordings and {"start_s", "end_s"} <= set(columns)):
            raise FormatError(
                f"data frame: expected columns for recording, start, end and label, such as file, start_time, end_time "
                f"and label; got {', '.join(map(str, frame.columns))}."
            )
        made.check_classes()
        return made

    @property
    def classes(self) -> list[Hashable]:
        """Columns with the scores of a class: without a label column, all but those of recording, start and end."""
        index = [self.columns.get(field) for field in ("recording", "start_s", "end_s")]
        return [] if "scientific_name" in self.columns else [name for name in self.frame.columns if name not in index]

    def check_classes(self) -> None:
        """Check that the columns in `classes` have names that can be those of a class.

        Raises:
            FormatError: a name is not a text, or is that of another known column.
        """
        others = [str(name) for name in self.classes if not isinstance(name, str) or name in _NO_CLASSES]
        if others:
            raise FormatError(
                f"data frame: expected a column of labels, such as label, or names of classes for all columns next to "
                f"recording, start and end; got {', '.join(others[:_MAX_NAMED])}. Rename or drop them."
            )

    def rows(self) -> Iterator[tuple[str, Detection]]:
        """Yield (recording, detection) for each row.

        Raises:
            FormatError: a value is missing or impossible.
        """
        n = len(self.frame)
        numbers = {field: self._numbers(field) for field in _NUMBERS if field in self.columns}
        nothing: list[Any] = [None] * n
        low_hz, high_hz, probability, channel = (
            [_number_or_none(value) for value in numbers[field]] if field in numbers else nothing
            for field in ("low_hz", "high_hz", "probability", "channel")
        )
        scores = numbers.get("score", [1.0] * n)
        commons, kinds = self._texts("common_name"), self._texts("kind")
        in_range, voices = self._flags("in_range"), self._flags("human_voice")
        names = self._required_texts("scientific_name")
        is_of_birdnet = {"input", "species_name"} <= set(self.frame.columns)  # of its Python package
        read = split_names if is_of_birdnet else parse_label
        labels = {name: read(name) for name in set(names)}
        for row, recording in enumerate(self._recordings()):
            label = labels[names[row]]
            number = channel[row]
            yield (
                recording,
                self._check(
                    row,
                    Detection(
                        start_s=numbers["start_s"][row],
                        end_s=numbers["end_s"][row],
                        scientific_name=names[row] if "kind" in self.columns else label.scientific_name,
                        common_name=commons[row] or label.common_name,
                        kind=kinds[row] or label.kind,
                        score=scores[row],
                        in_range=in_range[row],
                        low_hz=low_hz[row],
                        high_hz=high_hz[row],
                        probability=probability[row],
                        human_voice=voices[row],
                        channel=None if number is None else round(number),
                    ),
                ),
            )

    def wide_rows(self) -> Iterator[tuple[str, Detection]]:
        """Yield (recording, detection) for each cell of a class column that is neither empty nor 0.

        Raises:
            FormatError: a value is missing or impossible.
        """
        starts_s, ends_s = self._numbers("start_s"), self._numbers("end_s")
        labels = [read_class(str(name)) for name in self.classes]
        scores = np.column_stack([self._class_scores(name) for name in self.classes])
        for row, recording in enumerate(self._recordings()):
            for column in np.flatnonzero(~np.isnan(scores[row])).tolist():
                label = labels[column]
                score = float(scores[row, column])
                yield (
                    recording,
                    self._check(
                        row,
                        Detection(
                            starts_s[row], ends_s[row], label.scientific_name, label.common_name, label.kind, score
                        ),
                    ),
                )

    def _class_scores(self, name: Hashable) -> Values:
        """Return the scores [n_rows] in a class column; NaN for an empty cell or 0.

        Raises:
            FormatError: a score is not a number from 0 to 1.
        """
        hint = " If it is no column of a class, drop it; one of labels is called label."
        scores = self._read_numbers(name, hint)
        is_wrong = (scores < -ROUNDING) | (scores > 1 + ROUNDING)  # not so of NaN
        if is_wrong.any():
            row = int(is_wrong.argmax())
            raise self._error(row, name, f"{find_score_problem(scores[row])}{hint}")
        return np.where(scores == 0, np.nan, scores)

    def _check(self, row: int, detection: Detection) -> Detection:
        if (problem := find_problem(detection)) is not None:
            field, sentence = problem
            raise self._error(row, self.columns.get(field, field), sentence)
        return detection

    def _numbers(self, field: str) -> list[float]:
        """Return the numbers of a column by our name for it; NaN for empty cells."""
        numbers: list[float] = self._read_numbers(self.columns[field]).tolist()
        return numbers

    def _read_numbers(self, name: Hashable, hint: str = "") -> Values:
        import pandas as pd

        values = self.frame[name]
        if values.dtype.kind in _NUMBER_KINDS:
            numbers: Values = values.to_numpy(float, na_value=np.nan)
            return numbers
        numbers = pd.to_numeric(values.astype(object), errors="coerce").to_numpy(float, na_value=np.nan)
        is_wrong = np.isnan(numbers) & values.notna().to_numpy()
        if is_wrong.any():
            row = int(is_wrong.argmax())
            raise self._error(row, name, f"expected a number, got {values.iloc[row]!r}.{hint}")
        return numbers

    def _texts(self, field: str) -> list[str | None]:
        """Return the texts of a column by our name for it; None for empty cells, or if there is no such column."""
        if field not in self.columns:
            return [None] * len(self.frame)
        values = self.frame[self.columns[field]]
        pairs = zip(values.tolist(), values.isna().tolist(), strict=True)
        return [None if is_missing or not str(value).strip() else str(value) for value, is_missing in pairs]

    def _required_texts(self, field: str) -> list[str]:
        texts = self._texts(field)
        if None in texts:
            raise self._error(texts.index(None), self.columns[field], "expected a name, found none.")
        return [text for text in texts if text is not None]

    def _recordings(self) -> list[str]:
        if "recording" not in self.columns or self.recording is not None:
            return [text or str(self.recording) for text in self._texts("recording")]
        return self._required_texts("recording")

    def _flags(self, field: str) -> list[bool | None]:
        """Return the flags of a column by our name for it; None for empty cells, or if there is no such column."""
        texts = self._texts(field)
        for row, text in enumerate(texts):
            if text is not None and text.lower() not in _FLAGS:
                raise self._error(row, self.columns[field], f"expected true or false, got {text!r}.")
        return [None if text is None else _FLAGS[text.lower()] for text in texts]

    def _error(self, row: int, column: Hashable, sentence: str) -> FormatError:
        return FormatError(f"data frame: row {row} (counted from 0), column {str(column)!r}: {sentence}")
