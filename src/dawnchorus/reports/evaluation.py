"""The HTML page of an evaluation: metrics with intervals, confusion matrix, and mistakes with spectrogram and audio."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from dawnchorus.audio.process import DecoderProcess
from dawnchorus.data.recordings import RecordingsTable
from dawnchorus.errors import AudioError
from dawnchorus.evaluation.evaluation import SECONDARY_NOTES, Comparison, Evaluation
from dawnchorus.evaluation.scoring import Scores
from dawnchorus.metrics.classification import best_index
from dawnchorus.plotting.clip import DetectionClip, clip_png_and_mp3
from dawnchorus.plotting.reliability import draw_reliability
from dawnchorus.reports.environment import page_environment
from dawnchorus.types import Detection

MAX_MISTAKES = 60
"""Maximum number of mistakes (misclassified recordings) that are shown with spectrogram and audio."""


@dataclass(frozen=True)
class _Mistake:
    recording: str
    truth: str
    predicted: str
    truth_index: int
    predicted_index: int
    score: float
    png: str
    mp3: str


def render_evaluation(
    table: RecordingsTable, results: Sequence[tuple[Evaluation, Scores]], differences: Sequence[Comparison]
) -> str:
    """Return the page of an evaluation as HTML with embedded images and audio.

    Mistakes (misclassified recordings) that cannot be decoded are left out.

    Args:
        table: recordings of the data set.
        results: evaluation and scores of each bundle. The page has the confusions and mistakes of the first bundle, and
            the metrics of all bundles.
        differences: comparison of each further bundle, in the order of `results`, with the first.
    """
    first, scores = results[0]
    with closing(DecoderProcess()) as decoder:
        mistakes = _mistakes(table, first, scores, decoder=decoder)
    curves = {"scores": first.reliability}
    if first.calibrated_reliability:
        curves["probabilities"] = first.calibrated_reliability
    reliability = draw_reliability(curves)
    return (
        page_environment()
        .get_template("evaluation.html")
        .render(
            evaluations=[evaluation for evaluation, _ in results],
            first=first,
            differences=list(zip([evaluation for evaluation, _ in results[1:]], differences, strict=True)),
            confusion=_cells(first),
            classes=scores.classes,
            secondary=SECONDARY_NOTES[scores.secondary],
            mistakes=mistakes,
            reliability=base64.b64encode(reliability).decode(),
            folder=str(table.folder),
        )
    )


def _cells(evaluation: Evaluation) -> list[list[tuple[int, float]]]:
    """Return the count of each cell of the confusion matrix, and the count's share of the row's sum."""
    total = evaluation.confusion.sum(1, keepdims=True).clip(min=1)
    shares = evaluation.confusion / total
    return [
        [(int(n), float(share)) for n, share in zip(counts, row, strict=True)]
        for counts, row in zip(evaluation.confusion, shares, strict=True)
    ]


def _mistakes(
    table: RecordingsTable, evaluation: Evaluation, scores: Scores, *, decoder: DecoderProcess
) -> list[_Mistake]:
    """Return the misclassified recordings by falling score, each with the window of the highest score."""
    by_recording, truth = scores.by_recording(evaluation.pool)
    best = best_index(by_recording)
    wrong = [k for k in range(len(best)) if truth[k].any() and not truth[k, best[k]]]
    wrong.sort(key=lambda k: -by_recording[k, best[k]])
    mistakes = []
    for k in wrong[:MAX_MISTAKES]:
        windows = np.flatnonzero(scores.recording == k)
        window = windows[scores.scores[windows, best[k]].argmax()]
        start_s, score = float(scores.start_s[window]), float(scores.scores[window, best[k]])
        name = scores.classes[best[k]]
        row = scores.rows[k]
        detection = Detection(start_s, start_s + scores.window_s, name, name, "species", score)
        duration_s = row.duration_s or start_s + scores.window_s
        try:
            png, mp3 = clip_png_and_mp3(DetectionClip(table.file(row), detection, None, duration_s), decoder)
        except AudioError:
            continue
        true = int(truth[k].argmax())
        encoded = [base64.b64encode(content).decode() for content in (png, mp3)]
        mistakes.append(_Mistake(row.recording_id, scores.classes[true], name, true, int(best[k]), score, *encoded))
    return mistakes
