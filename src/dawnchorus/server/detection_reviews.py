"""Reviews of stored detections: applied to tables, and kept when a recording is identified again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from dawnchorus.formats.columns import detection_values
from dawnchorus.server.listing import DetectionRecord
from dawnchorus.server.state.tables import DetectionRow, LabeledRecording, Review
from dawnchorus.types import Detection


def to_detection(row: DetectionRow) -> Detection:
    """Convert a row to a detection."""
    return Detection(**detection_values(row))


def apply_reviews(records: Iterable[DetectionRecord]) -> Iterator[Detection]:
    """Yield detections as people corrected them: no incorrect ones, and relabeled ones under their new species."""
    for record in records:
        detection, review = to_detection(record.detection), record.review
        if review is None or review.verdict == "correct":
            yield detection
        elif review.verdict == "relabeled" and review.scientific_name and review.common_name:
            yield replace(
                detection,
                scientific_name=review.scientific_name,
                common_name=review.common_name,
                probability=None,
                in_range=None,
            )


def copy_reviews(session: Session, sha256: str, identification: int) -> None:
    """Copy the reviews of a recording's earlier detections to new ones of the same species, time and channel."""
    reviewed = select(DetectionRow, Review).join(Review, Review.detection == DetectionRow.id)
    # The latest first by the database's own numbers: the clocks of the servers may differ.
    reviewed = reviewed.order_by(DetectionRow.identification.desc(), DetectionRow.id).where(
        DetectionRow.recording == sha256, DetectionRow.identification != identification
    )
    old = list(session.execute(reviewed))
    if not old:
        return
    new = list(session.scalars(select(DetectionRow).where(DetectionRow.identification == identification)))
    matched_ids: set[int] = set()
    for before, review in old:
        overlap_s = {
            row: min(row.end_s, before.end_s) - max(row.start_s, before.start_s)
            for row in new
            if row.scientific_name == before.scientific_name
            and (row.channel == before.channel or None in (row.channel, before.channel))
            and row.id not in matched_ids
        }
        best = max(overlap_s, key=lambda row: overlap_s[row], default=None)
        if best is not None and overlap_s[best] > 0:
            matched_ids.add(best.id)
            session.execute(
                update(LabeledRecording).where(LabeledRecording.detection == before.id).values(detection=best.id)
            )
            review.detection = best.id
