"""Scores in background (recordings or windows without birds): rates and scores of false alarms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dawnchorus.data.presence import ABSENT, is_without_birds
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.evaluation.events import join_windows
from dawnchorus.evaluation.scoring import Scores
from dawnchorus.identification.options import DEFAULT_MIN_SCORE
from dawnchorus.metrics.bootstrap import resampled_sums
from dawnchorus.models.bundle import Activation
from dawnchorus.tables.notes import counted

PERCENTILE = 95

ALARM_SCORES = (DEFAULT_MIN_SCORE, 0.5, 0.9)

GROUP_S = 60.0
"""Length in seconds of a recording's parts whose windows count as one observation in confidence intervals."""


@dataclass(frozen=True)
class BackgroundScore:
    """Scores of one recording's windows without birds; a window's score is the maximum over absent species.

    Attributes:
        recording_id: the recording.
        highest: maximum of these scores over the windows.
        percentile_95: 95th percentile of these scores over the windows.
    """

    recording_id: str
    highest: float
    percentile_95: float
    scientific_name: str
    """Scientific name of the absent species with the highest score."""


@dataclass(frozen=True)
class FalseAlarms:
    """False alarms (false positives) at one minimum score."""

    min_score: float
    """Minimum score of a false alarm."""
    n_alarms: int
    """Number of false alarms: pairs of window and absent species with a score of `min_score` or more."""
    per_hour: float
    """False alarms per hour: sum over species of alarms per hour in which the species is known to be absent."""
    low: float
    """Lower limit of the 95 % confidence interval of `per_hour`, from the variation over minutes and recordings."""
    high: float
    """Upper limit of the 95 % confidence interval of `per_hour`; see `low`."""

    def __str__(self) -> str:
        rate, low, high = map(_format_rate, (self.per_hour, self.low, self.high))
        return f"{rate} ({low} to {high}) from score {self.min_score:g}"


@dataclass(frozen=True)
class BackgroundTest:
    """Result of a test on background: recordings that contain no birds, or partly none.

    Attributes:
        n_recordings: number of these recordings.
        highest: maximum score of an absent species in any of the recordings.
        recordings: scores of each recording, the recording with the highest score first.
    """

    n_recordings: int
    n_partial: int
    """Number of recordings with annotations among these, of which only windows without annotations are used."""
    n_species: int
    """Number of the model's species that are absent from at least one of the recordings."""
    n_species_unmeasured: int
    """Number of the model's species that are absent from none of the recordings, so they are not measured."""
    n_with_detections: int
    """Number of these recordings in which an absent species scores `min_score` or more."""
    min_score: float
    """Minimum score used for `n_with_detections`: the default minimum score of a detection in `identify` (0.25)."""
    highest: float
    percentile_95: float
    """95th percentile, over recordings, of the highest score of each recording."""
    scored_h: float
    """Total length of the used windows in hours."""
    false_alarms: tuple[FalseAlarms, ...]
    """False alarms at each of the minimum scores `ALARM_SCORES`: `min_score`, 0.5 and 0.9."""
    recordings: tuple[BackgroundScore, ...]

    def as_record(self) -> dict[str, Any]:
        """Return the figures over all recordings as JSON-compatible values, without those of each recording.

        Keys are the names of all fields except `recordings`; `false_alarms` is a list of dicts with the fields of
        `FalseAlarms`.
        """
        names = (
            "n_recordings",
            "n_partial",
            "n_species",
            "n_species_unmeasured",
            "n_with_detections",
            "min_score",
            "highest",
            "percentile_95",
            "scored_h",
        )
        figures = {name: getattr(self, name) for name in names}
        return {**figures, "false_alarms": [vars(each) for each in self.false_alarms]}

    def __str__(self) -> str:
        first = self.recordings[0]
        in_part = f" (of {self.n_partial} the time between marks)" if self.n_partial else ""
        return (
            f"highest score {self.highest:.3f} ({first.scientific_name} in {first.recording_id}), 95th percentile "
            f"{self.percentile_95:.3f}; from {self.min_score:g} on in {self.n_with_detections} of "
            f"{counted(self.n_recordings, 'background recording')}{in_part}; false alarms per hour: "
            f"{', '.join(map(str, self.false_alarms))}, in "
            f"{_format_rate(60 * self.scored_h)} minutes, of {self.n_species} species"
        )


def _format_rate(value: float) -> str:
    """Format a number with at least three significant digits, and without an exponent if it is large."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def measure_background(scores: Scores) -> BackgroundTest | None:
    """Measure scores in background; return None if no recording has windows without birds in which a class is absent.

    Background means background recordings, and those windows of annotated recordings that no annotation overlaps. In a
    recording that is only known to lack some species (`RecordingRow.absent`), only these species are measured.
    """
    recordings = [
        _BirdFreeRecording(row, windows, columns)
        for k, row in enumerate(scores.rows)
        if len(windows := _windows_without_birds(scores, k))
        and len(columns := np.flatnonzero((scores.presence[windows] == ABSENT).all(0)))
    ]
    if not recordings:
        return None
    results = [_of_recording(each, scores) for each in recordings]
    hours = np.array([_covered_h(scores, each) for each in recordings])
    is_judged = np.zeros(len(scores.classes), bool)
    for each in recordings:
        is_judged[each.columns] = True
    highest = [each.highest for each in results]
    return BackgroundTest(
        n_recordings=len(results),
        n_partial=sum(bool(each.row.annotations) for each in recordings),
        n_species=int(is_judged.sum()),
        n_species_unmeasured=int((~is_judged).sum()),
        n_with_detections=sum(score >= DEFAULT_MIN_SCORE for score in highest),
        min_score=DEFAULT_MIN_SCORE,
        highest=max(highest),
        percentile_95=float(np.percentile(highest, PERCENTILE)),
        scored_h=float(hours.sum()),
        false_alarms=tuple(_false_alarms(scores, recordings, hours, each) for each in ALARM_SCORES),
        recordings=tuple(sorted(results, key=lambda each: -each.highest)),
    )


def _windows_without_birds(scores: Scores, recording: int) -> npt.NDArray[np.int64]:
    """Return the indices of the windows without birds of the recording with this index."""
    row, windows = scores.rows[recording], np.flatnonzero(scores.recording == recording)
    starts_s = scores.start_s[windows].tolist()
    return windows[[is_without_birds(row, start_s, start_s + scores.window_s) for start_s in starts_s]]


@dataclass(frozen=True)
class _BirdFreeRecording:
    """A recording, the indices of its windows without birds, and the columns of the classes absent in all of them."""

    row: RecordingRow
    windows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]


def _of_recording(recording: _BirdFreeRecording, scores: Scores) -> BackgroundScore:
    values = scores.scores[np.ix_(recording.windows, recording.columns)]
    best = values.max(1)
    return BackgroundScore(
        recording_id=recording.row.recording_id,
        highest=float(best.max()),
        percentile_95=float(np.percentile(best, PERCENTILE)),
        scientific_name=scores.classes[recording.columns[int(values.max(0).argmax())]],
    )


def _covered_h(scores: Scores, recording: _BirdFreeRecording) -> float:
    segments = join_windows(scores.start_s[recording.windows], scores.window_s)
    return sum(end - start for start, end in segments) / 3600


def _false_alarms(
    scores: Scores, recordings: Sequence[_BirdFreeRecording], hours: npt.NDArray[np.float64], min_score: float
) -> FalseAlarms:
    shape = (len(recordings), len(scores.classes))
    counts, hours_of = np.zeros(shape), np.zeros(shape)
    n_groups = 0
    for k, each in enumerate(recordings):
        is_alarm = scores.scores[np.ix_(each.windows, each.columns)] >= min_score
        counts[k, each.columns] = is_alarm.sum(0)
        hours_of[k, each.columns] = hours[k]
        n_groups += len(np.unique(scores.start_s[each.windows[is_alarm.any(1)]] // GROUP_S))
    low, high = _interval(counts, hours_of, n_groups)
    return FalseAlarms(min_score, int(counts.sum()), float(_rates(counts.sum(0), hours_of.sum(0))), low, high)


def _rates(counts: npt.NDArray[np.float64], hours: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return alarms per hour summed over species [...], from counts and hours [..., species]."""
    return np.asarray((counts / np.where(hours > 0, hours, 1)).sum(-1))


def _interval(counts: npt.NDArray[np.float64], hours: npt.NDArray[np.float64], n_groups: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of alarms per hour, from counts and hours [recordings, species].

    It spans two intervals: of a Poisson process (Byar's approximation; Breslow and Day, 1987, p. 69) whose events are
    the `n_groups` minutes with alarms, since windows of one minute are dependent; and of a bootstrap over recordings,
    since alarms may be concentrated in few recordings. Without alarms, only the first is used.
    """
    n, z = n_groups, 1.96
    rate = float(_rates(counts.sum(0), hours.sum(0)))
    upper = (n + 1) * (1 - 1 / (9 * (n + 1)) + z / (3 * (n + 1) ** 0.5)) ** 3
    if not n:
        return 0.0, float(upper / hours.sum(0).max())
    lower = max(n * (1 - 1 / (9 * n) - z / (3 * n**0.5)) ** 3, 0.0)
    sums = resampled_sums(np.concatenate([counts, hours], axis=1))
    drawn = _rates(sums[:, : counts.shape[1]], sums[:, counts.shape[1] :])
    drawn_low, drawn_high = np.quantile(drawn, [0.025, 0.975])
    return float(min(rate * lower / n, drawn_low)), float(max(rate * upper / n, drawn_high))


def describe_unmeasured(*, model: str) -> str:
    """Return the warning for a model (its name) that was trained without held-out recordings."""
    return (
        f"warning: no recordings are held out for validation, so it is not measured what {model} detects in noise, nor "
        f"how many false alarms it gives in an hour. Measure it with `dawnchorus evaluate`."
    )


def describe_background(test: BackgroundTest | None, *, model: str, activation: Activation) -> Iterator[str]:
    """Yield sentences for the user on scores in background, with advice if there are detections.

    Args:
        test: the result of `measure_background`; for None (nothing was measured), only a warning is yielded.
        model: name of the model.
        activation: the model's activation; for "softmax", the advice is another one than for others.
    """
    if test is None:
        yield (
            f"warning: none of these recordings is without birds, so it is not known what {model} detects in noise, "
            f"nor how many false alarms it gives in an hour. Add some, as a folder 'noise', and split again."
        )
        return
    if test.n_species_unmeasured:
        yield (
            f"warning: no recording is without the other {test.n_species_unmeasured} of "
            f"{test.n_species + test.n_species_unmeasured} species, so it is not known how often {model} detects these "
            f"in noise."
        )
    if not test.n_with_detections:
        yield f"background: {model}: {test}"
        return
    remedy = (
        "Its scores sum to 1 in every window, so that some species is detected in noise as well: train with loss=bce."
        if activation == "softmax"
        else "Add recordings like these to the background for training, train longer, or raise min_score (--min-score)."
    )
    yield f"warning: {model} detects species in background: {test}. {remedy}"
