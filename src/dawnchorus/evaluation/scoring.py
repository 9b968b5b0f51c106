"""Scores of a bundle for the recordings of a data set, beside what is known to be in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from dawnchorus.data.presence import NOT_KNOWN, PRESENT, Presence, PresenceArray, Secondary
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, species_of
from dawnchorus.errors import InputError
from dawnchorus.identification import Options, identify
from dawnchorus.identification.output_paths import printable
from dawnchorus.identification.result import Progress
from dawnchorus.inference.model import Model
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore

FloatArray = npt.NDArray[np.float64]
Pool = Literal["mean", "max"]
NOTHING_LEFT = "nothing of it is left to score after the bundle's cleaning"


@dataclass(frozen=True)
class Scores:
    """Scores and truth of every window, and of every recording."""

    classes: tuple[str, ...]
    rows: tuple[RecordingRow, ...]
    """The recordings that were scored."""
    recording: npt.NDArray[np.int64]
    """[windows]: the number of the window's recording."""
    start_s: FloatArray
    window_s: float
    scores: FloatArray
    """[windows, classes]"""
    presence: PresenceArray
    """[windows, classes]: `PRESENT`, `ABSENT` or `NOT_KNOWN` of `dawnchorus.data.presence`."""
    failures: dict[str, str]
    """Reasons why other recordings could not be scored, by recording_id."""
    unlabelled: tuple[str, ...] = ()
    """The recording_id of each recording that was left out because it is unlabelled."""
    secondary: Secondary = "count"
    unknown_species: tuple[tuple[str, ...], ...] = ()
    """[recordings]: the species of each recording that the model does not know; empty: it knows all of them."""

    @property
    def truth(self) -> npt.NDArray[np.bool_]:
        """True where a species is present [windows, classes]."""
        return np.asarray(self.presence == PRESENT)

    @property
    def known_scores(self) -> FloatArray:
        """The scores [windows, classes]; NaN where it is not known whether the species is there."""
        return np.where(self.presence == NOT_KNOWN, np.nan, self.scores)

    def by_recording(self, pool: Pool) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Return scores and truth of each recording [recordings, classes], from those of its windows.

        A species that is in none of the windows where it is known, and unknown in others, is unknown: NaN.
        """
        return pool_windows(self.known_scores, self.truth, self.recording, n_recordings=len(self.rows), pool=pool)


def pool_windows(
    scores: FloatArray,
    truth: npt.NDArray[np.bool_],
    recording: npt.NDArray[np.int64],
    *,
    n_recordings: int,
    pool: Pool = "mean",
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Return scores and truth of each recording [recordings, classes], from those of windows [windows, classes].

    `recording` [windows] is the number of the window's recording. A species that is in none of the windows where it is
    known, and not known in others, is not known: its score is NaN.
    """
    shape = (n_recordings, scores.shape[1])
    pooled, n_known = np.zeros(shape), np.zeros(shape, int)
    truth_of_recordings = np.zeros(shape, bool)
    np.maximum.at(truth_of_recordings, recording, truth)
    np.add.at(n_known, recording, (~np.isnan(scores)).astype(int))
    if pool == "max":
        np.maximum.at(pooled, recording, np.nan_to_num(scores))
    else:
        np.add.at(pooled, recording, np.nan_to_num(scores))
        pooled /= n_known.clip(min=1)
    n_windows = np.bincount(recording, minlength=n_recordings)[:, None]
    pooled[(n_known < np.where(truth_of_recordings, 1, n_windows)) & (n_windows > 0)] = np.nan
    return pooled, truth_of_recordings


def score_data_set(
    bundle: Bundle,
    table: RecordingsTable,
    rows: Sequence[RecordingRow],
    *,
    store: ModelStore,
    n_workers: int | None = None,
    classes: Sequence[str] | None = None,
    overlap_s: float = 0.0,
    tta_shifts: int = 1,
    secondary: Secondary = "count",
    on_progress: Callable[[Progress], None] | None = None,
) -> Scores:
    """Score recordings by the one predict path.

    `classes` are those to look at (default: the species of `rows` that the bundle knows; with `secondary` "count" the
    secondary ones as well). Annotations of a recording say all that is in it, whatever `secondary` is. Recordings of
    which nobody said what is in them are left out, unless `classes` are given, as for a submission. Those of species
    that the bundle does not know are scored: none of its classes is in them.

    Raises:
        InputError: the bundle knows none of the species, or all recordings are unlabelled.
    """
    unlabelled = tuple(row.recording_id for row in rows if row.is_unlabelled) if classes is None else ()
    if unlabelled:
        left_out = set(unlabelled)
        rows = [row for row in rows if row.recording_id not in left_out]
    if not rows:
        raise InputError(
            f"{table.folder}: expected recordings with a species, annotations or background, but all {len(unlabelled)} "
            f"are unlabelled (as {unlabelled[0] if unlabelled else 'none'}). Annotate them, or name their species."
        )
    known = bundle.class_by_scientific_name
    named = {name for row in rows for name in _species_in(row, secondary)}
    if classes is None and not named:  # only background: whatever the model knows is not there
        classes = [label.scientific_name for label in bundle.labels if label.kind == "species"]
    wanted = tuple(name for name in (classes or sorted(named)) if name in known)
    if not wanted:
        raise InputError(
            f"{table.folder}: the model {bundle.info.name} knows none of its {len(named)} species. Names are "
            f"scientific; the model's are in {bundle.folder / 'labels.csv'}."
        )
    by_path = {table.file(row): row for row in rows}
    options = Options(
        min_score=0.0,
        species=wanted,
        thresholds=dict.fromkeys(bundle.info.thresholds, 0.0),
        overlap_s=overlap_s,
        tta_shifts=tta_shifts,
    )
    run = identify(list(by_path), options, model=Model(bundle, store), workers=n_workers, on_progress=on_progress)
    column = {known[name]: k for k, name in enumerate(wanted)}
    failed: set[Path] = set()
    found_rows: list[RecordingRow] = []
    recording, starts, scores, present = [], [], [], []
    presence = Presence(wanted, secondary=secondary)
    for path, row in by_path.items():
        recording_table = run.table(path)
        if recording_table is None or not recording_table.detections:
            failed.add(path)
            continue
        each: dict[tuple[float, float], FloatArray] = {}
        for detection in recording_table.detections:
            values = each.setdefault((detection.start_s, detection.end_s), np.zeros(len(wanted)))
            values[column[known[detection.scientific_name]]] = detection.score
        for (start_s, end_s), values in sorted(each.items(), key=lambda entry: entry[0]):
            recording.append(len(found_rows))
            starts.append(start_s)
            scores.append(values)
            present.append(presence.between(row, start_s, end_s))
        found_rows.append(row)
    reasons = {problem.recording: problem.reason for problem in run.failures}
    failures = {
        row.recording_id: reasons.get(printable(path), NOTHING_LEFT) for path, row in by_path.items() if path in failed
    }
    if not scores:
        first = next(iter(failures.items()), None)
        why = f" ({first[0]}: {first[1]})" if first else ""
        raise InputError(f"{table.folder}: none of its {len(rows)} recordings could be scored{why}.")
    return Scores(
        classes=wanted,
        rows=tuple(found_rows),
        recording=np.array(recording),
        start_s=np.array(starts),
        window_s=bundle.info.window_s,
        scores=np.stack(scores),
        presence=np.stack(present),
        failures=failures,
        unlabelled=unlabelled,
        secondary=secondary,
        unknown_species=tuple(
            tuple(name for name in _species_in(row, secondary) if name not in known) for row in found_rows
        ),
    )


def _species_in(row: RecordingRow, secondary: Secondary) -> list[str]:
    """Return the species that are present in the recording, in alphabetical order."""
    others = row.secondary if secondary == "count" and not row.is_annotated else ()
    return sorted({*species_of([row]), *others})
