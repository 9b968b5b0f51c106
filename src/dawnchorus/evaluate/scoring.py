"""What a bundle says of the recordings of a data set, beside what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from dawnchorus.data.recordings import Annotation, RecordingRow, RecordingsTable, species_of
from dawnchorus.errors import InputError
from dawnchorus.identify import Options, identify
from dawnchorus.identify.places import printable
from dawnchorus.identify.result import Progress
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore

FloatArray = npt.NDArray[np.float64]
Pool = Literal["mean", "max"]
NOTHING_LEFT = "nothing of it is left to score after the bundle's cleaning"

Secondary = Literal["count", "mask", "ignore"]
"""Secondary species of a recording: "count" as truth, are left out of it ("mask"), or count as not there ("ignore")."""


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
    """[windows, classes]; NaN where it is not known if the species is there, or secondary species are masked."""
    truth: npt.NDArray[np.bool_]
    """[windows, classes]: of annotated recordings what is marked there, of others the recording's species."""
    failures: dict[str, str]
    """Why other recordings could not be scored, by recording_id."""
    unlabelled: tuple[str, ...] = ()
    """The recording_id of each recording that was left out because nobody said what is in it."""
    secondary: Secondary = "ignore"

    def by_recording(self, pool: Pool) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Scores and truth of each recording [recordings, classes], from those of its windows.

        A species that is in none of the windows where it is known, and unknown in others, is unknown: NaN.
        """
        shape = (len(self.rows), len(self.classes))
        scores, n_known = np.zeros(shape), np.zeros(shape, int)
        truth = np.zeros(shape, bool)
        is_known = ~np.isnan(self.scores)
        np.maximum.at(truth, self.recording, self.truth)
        np.add.at(n_known, self.recording, is_known.astype(int))
        if pool == "max":
            np.maximum.at(scores, self.recording, np.nan_to_num(self.scores))
        else:
            np.add.at(scores, self.recording, np.nan_to_num(self.scores))
            scores /= n_known.clip(min=1)
        n_windows = np.bincount(self.recording, minlength=len(self.rows))[:, None]
        scores[(n_known < np.where(truth, 1, n_windows)) & (n_windows > 0)] = np.nan
        return scores, truth


def score_data_set(
    bundle: Bundle,
    table: RecordingsTable,
    rows: Sequence[RecordingRow],
    *,
    store: ModelStore,
    n_workers: int | None = None,
    classes: Sequence[str] | None = None,
    overlap_s: float = 0.0,
    turns: int = 1,
    secondary: Secondary = "count",
    on_progress: Callable[[Progress], None] | None = None,
) -> Scores:
    """Score recordings by the one predict path.

    `classes` are those to look at (default: the species of `rows` that the bundle knows; with `secondary` "count" the
    secondary ones as well). Annotations of a recording say all that is in it, whatever `secondary` is. Recordings of
    which nobody said what is in them are left out, unless `classes` are given, as for a submission.

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
    named = set(species_of(rows))
    if secondary == "count":
        named |= {name for row in rows if not row.is_annotated for name in row.secondary}
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
        turns=turns,
    )
    run = identify(list(by_path), options, model=bundle.folder, store=store, workers=n_workers, on_progress=on_progress)
    column = {known[name]: k for k, name in enumerate(wanted)}
    failed: set[Path] = set()
    found_rows: list[RecordingRow] = []
    recording, starts, scores, truth = [], [], [], []
    for path, row in by_path.items():
        found = run.table(path)
        if found is None or not found.detections:
            failed.add(path)
            continue
        each: dict[tuple[float, float], FloatArray] = {}
        for detection in found.detections:
            values = each.setdefault((detection.start_s, detection.end_s), np.zeros(len(wanted)))
            values[column[known[detection.scientific_name]]] = detection.score
        for (start_s, end_s), values in sorted(each.items(), key=lambda item: item[0]):
            values[_unknown(row, start_s, end_s, wanted, secondary)] = np.nan
            recording.append(len(found_rows))
            starts.append(start_s)
            scores.append(values)
            truth.append(_truth(row, start_s, end_s, wanted, secondary))
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
        truth=np.stack(truth),
        failures=failures,
        unlabelled=unlabelled,
        secondary=secondary,
    )


def _truth(
    row: RecordingRow, start_s: float, end_s: float, classes: Sequence[str], secondary: Secondary
) -> npt.NDArray[np.bool_]:
    if row.is_annotated:
        here = _marked(row, start_s, end_s)
    else:
        here = {row.scientific_name or "", *(row.secondary if secondary == "count" else ())}
    return np.array([name in here for name in classes])


def _unknown(
    row: RecordingRow, start_s: float, end_s: float, classes: Sequence[str], secondary: Secondary
) -> npt.NDArray[np.bool_]:
    """Mark the classes that nothing is said of in a window [classes].

    These are masked secondary species, unless they are the row's own; all but those that are marked, where a sound is
    marked without a species; and all but those that are known to be absent, where only that is known.
    """
    if row.is_annotated:
        marked = _marked(row, start_s, end_s)
        return np.array(["" in marked and name not in marked for name in classes])
    if row.scientific_name is None and row.absent:
        return np.array([name not in row.absent for name in classes])
    unknown = set(row.secondary) - {row.scientific_name} if secondary == "mask" else set()
    return np.array([name in unknown for name in classes])


def _marked(row: RecordingRow, start_s: float, end_s: float) -> set[str]:
    """Return the species that are marked in a window; an empty name stands for a sound of unknown species."""
    return {a.scientific_name for a in row.annotations if touches(a, start_s, end_s)}


def touches(mark: Annotation, start_s: float, end_s: float) -> bool:
    """Return True if the mark, which may be a moment, is at least partly between start and end."""
    return mark.start_s < end_s and (mark.end_s > start_s or mark.start_s == mark.end_s == start_s)
