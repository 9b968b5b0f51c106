"""Effects of reviews (verdicts of people) on the rows, counts and tables of stored detections."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from dawnchorus.formats.columns import detection_values
from dawnchorus.server.listing import IS_REJECTED, DetectionRecord
from dawnchorus.server.state.database import lock
from dawnchorus.server.state.tables import (
    REJECTED,
    DetectionRow,
    LabeledRecording,
    Recording,
    RecordingSpecies,
    Review,
    ReviewAnswer,
    Species,
)
from dawnchorus.taxonomy.labels import Label, parse_label
from dawnchorus.types import Detection


def model_label(row: DetectionRow) -> Label:
    """Return the label of the species that the model detected, also if a reviewer corrected the species."""
    return Label(row.model_scientific_name or row.scientific_name, row.model_common_name or row.common_name)


def set_verdict(row: DetectionRow, verdict: str | None, species: Label | None = None) -> None:
    """Set the verdict and the species of a detection in its row; the row of the review is not changed.

    Args:
        row: row of the detection.
        verdict: verdict of the review: "correct", "incorrect", "relabeled", "several", "unsure" or "none"
            (`server.state.tables.Verdict`); None if the review was deleted.
        species: species by the reviewer, for the verdict "relabeled"; None to show the model's species.
    """
    detected = model_label(row)
    shown = species or detected
    row.verdict = verdict
    row.scientific_name, row.common_name = shown.scientific_name, shown.common_name
    row.model_scientific_name = None if species is None else detected.scientific_name
    row.model_common_name = None if species is None else detected.common_name


def corrected_values(row: DetectionRow) -> dict[str, Any]:
    """Return the values for `types.Detection` by field, with the reviewer's species if a reviewer changed the species.

    If a reviewer changed the species, `kind` is that of the reviewer's species, and `probability` and `in_range` are
    None, since they belong to the model's species.
    """
    values = detection_values(row)
    if row.model_scientific_name is None:
        return values
    kind = parse_label(f"{row.scientific_name}_{row.common_name}").kind
    return values | {"kind": kind, "probability": None, "in_range": None}


def apply_reviews(records: Iterable[DetectionRecord]) -> Iterator[Detection]:
    """Yield the detections with the reviewers' species, in the order of `records`, lazily.

    Rejected detections, with the verdict "incorrect" or "none", are left out.
    """
    for record in records:
        if record.detection.verdict not in REJECTED:
            yield Detection(**corrected_values(record.detection))


def count_species(session: Session, recording: Recording, names: Collection[str] | None = None) -> None:
    """Replace the rows of `RecordingSpecies` by counts of the detections of a recording's latest identification.

    Rejected detections (verdict "incorrect" or "none") are not counted; a species with only rejected detections has a
    row with the count 0. New species are added to the table `Species`.

    Args:
        session: session of a write transaction.
        recording: row of the recording.
        names: scientific names of the species to update; None for all species.
    """
    session.flush()
    columns = (
        DetectionRow.scientific_name,
        func.min(DetectionRow.common_name),
        func.count().filter(~IS_REJECTED),
        func.coalesce(func.max(DetectionRow.score).filter(~IS_REJECTED), 0.0),
    )
    counts = select(*columns).where(DetectionRow.identification == recording.latest_identification)
    outdated = delete(RecordingSpecies).where(RecordingSpecies.recording == recording.sha256)
    if names is not None:
        counts = counts.where(DetectionRow.scientific_name.in_(names))
        outdated = outdated.where(RecordingSpecies.scientific_name.in_(names))
    session.execute(outdated)
    rows = session.execute(counts.group_by(DetectionRow.scientific_name)).all()
    for name, common_name, n, best in rows:
        session.add(
            RecordingSpecies(
                recording=recording.sha256,
                scientific_name=name,
                common_name=common_name,
                n_detections=n,
                best_score=best,
                added_at=recording.added_at,
            )
        )
    _add_species(session, {(row[0], row[1]) for row in rows})


def _add_species(session: Session, names: set[tuple[str, str]]) -> None:
    """Add new pairs of scientific and common name to the table of detected species."""
    is_named = Species.scientific_name.in_([name for name, _ in names])
    known = {(row.scientific_name, row.common_name) for row in session.scalars(select(Species).where(is_named))}
    if names <= known:
        return
    lock(session, "species")  # other servers may be adding the same ones
    known = {(row.scientific_name, row.common_name) for row in session.scalars(select(Species).where(is_named))}
    session.add_all(Species(scientific_name=one, common_name=other) for one, other in sorted(names - known))


def current_detection(session: Session, row: DetectionRow) -> int:
    """Return the id of the detection in the recording's latest identification that took the place of `row`.

    That is the one to which a review of `row` moves (`copy_reviews`), or `row` itself if it is of the latest
    identification, or there is none.
    """
    recording = session.get_one(Recording, row.recording)
    if recording.latest_identification in (None, row.identification):
        return row.id
    latest = session.scalars(select(DetectionRow).where(DetectionRow.identification == recording.latest_identification))
    same = _find_same(row, list(latest))
    return row.id if same is None else same.id


def _find_same(before: DetectionRow, rows: Iterable[DetectionRow]) -> DetectionRow | None:
    """Return the detection with the model's species and channel of another that overlaps most with it, or None."""
    detected = model_label(before).scientific_name
    overlap_s = {
        row: min(row.end_s, before.end_s) - max(row.start_s, before.start_s)
        for row in rows
        if model_label(row).scientific_name == detected
        and (row.channel == before.channel or None in (row.channel, before.channel))
    }
    best = max(overlap_s, key=lambda row: overlap_s[row], default=None)
    return best if best is not None and overlap_s[best] > 0 else None


def copy_reviews(session: Session, sha256: str, identification: int) -> None:
    """Move the reviews of a recording's earlier detections to the detections of a new identification.

    The history of answers and the clips in the training data move with a review.

    A review moves to the new detection, of the species that the model gave the old one and of the same channel, that
    overlaps most with the old one in time; the channel None matches every channel. Each new detection gets at most one
    review; of several, that of the latest identification. A review stays with the old detection if no new one overlaps.

    Args:
        session: session of a write transaction.
        sha256: hash of the recording.
        identification: id of the new identification.
    """
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
        best = _find_same(before, [row for row in new if row.id not in matched_ids])
        if best is not None:
            matched_ids.add(best.id)
            for rows in (LabeledRecording, ReviewAnswer):
                session.execute(update(rows).where(rows.detection == before.id).values(detection=best.id))
            is_relabeled = before.model_scientific_name is not None
            species = Label(before.scientific_name, before.common_name) if is_relabeled else None
            set_verdict(best, review.verdict, species)
            set_verdict(before, None)
            review.detection = best.id
