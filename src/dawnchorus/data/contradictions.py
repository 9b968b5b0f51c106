"""Detection and merging of files with the same content but contradicting labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dawnchorus.arguments import option
from dawnchorus.data.combine import combine
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.file_names import parse_folder_label
from dawnchorus.taxonomy.labels import Label, is_scientific, name_key

CONTRADICTORY = "contradictory_labels"
"""Value of `RecordingRow.problems`: copies of the recording's file were found under contradicting labels."""

_MAX_NAMED = 3


@dataclass(frozen=True)
class Joined:
    """Rows after merging files of the same content with contradicting labels."""

    rows: list[RecordingRow]
    """All rows; copies with contradicting labels are one row, in the place of the first copy."""
    contradictions: tuple[str, ...]
    """One text per file content that has contradicting labels: the paths of its copies, each with its label."""

    def notes(self) -> Iterator[str]:
        """Yield one sentence for the user on all contradictions, or nothing if there are none."""
        if self.contradictions:
            n = len(self.contradictions)
            listed = "; ".join(self.contradictions[:_MAX_NAMED])
            more = f"; and {n - _MAX_NAMED} more" if n > _MAX_NAMED else ""
            yield (
                f"files of the same bytes under contradicting labels: {n} ({listed}{more}). Each is one recording "
                f"without a species, which is neither trained on nor evaluated. Keep the file under the right label, "
                f"or in a folder of both (`Parus major,Turdus merula`), and import with {option('overwrite')}."
            )


def join_contradictory(rows: Sequence[RecordingRow]) -> Joined:
    """Merge rows of different files with the same `content_hash` but contradicting labels to one unlabeled row.

    Labels contradict each other if they are different main species, or if one row has a main or secondary species that
    another row lacks for certain (in `absent`, or as background). The merged row has the recording_id of the first row
    and the problem "contradictory_labels"; copies with this problem are merged again. Rows that all have the same path
    are left as they are: a table may list a recording once per label.
    """
    same: dict[str, list[RecordingRow]] = defaultdict(list)
    for row in rows:
        if row.content_hash is not None:
            same[row.content_hash].append(row)
    joined: dict[str, RecordingRow] = {}
    contradictions = []
    for content_hash, copies in same.items():
        if len({row.path for row in copies}) > 1 and _is_contradictory(copies):
            joined[content_hash] = _join(copies)
            contradictions.append(", ".join(f"{row.path} as {_label_text(row)}" for row in copies))
    seen: set[str] = set()
    kept = []
    for row in rows:
        content_hash = row.content_hash or ""
        if content_hash not in joined:
            kept.append(row)
        elif content_hash not in seen:
            seen.add(content_hash)
            kept.append(joined[content_hash])
    return Joined(kept, tuple(contradictions))


def describe_contradictions(rows: Sequence[RecordingRow], root: Path, known: KnownClasses) -> Iterator[str]:
    """Yield one sentence on all rows of a table that are in a folder of another species than the table names for them.

    Nothing is yielded if there are no such rows. Only the folders between `root` and the file are compared. A folder
    names a species if its name is a class of `known` or a species of the table. A name that only looks like a
    scientific name counts, too, if at least one recording of the table is in a folder of its species.
    """
    own = KnownClasses(Label(row.scientific_name, row.common_name or "") for row in rows if row.scientific_name)
    compared = [(row, _species_key(row.scientific_name or row.kind, own, known)) for row in rows]
    folders = {row.path: list(_find_folder_species(Path(row.path), root, own, known)) for row in rows}
    has_species = any(key == species for row, key in compared for species, _ in folders[row.path])
    others = []
    for row, key in compared:
        named = [species for species, is_known in folders[row.path] if is_known or has_species]
        also = {_species_key(name, own, known) for name in (*row.secondary, *row.absent)}
        if named and key not in named and also.isdisjoint(named) and (row.scientific_name or row.kind == "background"):
            path = Path(row.path)
            others.append(f"{path.parent.name}/{path.name} as {_label_text(row)}")
    if others:
        yield (
            f"recordings in a folder of another species than the table names: {len(others)} "
            f"({'; '.join(others[:_MAX_NAMED])}{', ...' if len(others) > _MAX_NAMED else ''}). The table counts."
        )


def _species_key(name: str, own: KnownClasses, known: KnownClasses) -> str:
    label = Label(name, name)
    return name_key((known.find(label) or own.find(label) or label).scientific_name)


def _find_folder_species(path: Path, root: Path, own: KnownClasses, known: KnownClasses) -> Iterator[tuple[str, bool]]:
    """Yield (normalized name, True if it is a known species) for each folder of a file that may name a species."""
    folders = path.relative_to(root).parts[:-1] if path.is_relative_to(root) else (path.parent.name,)
    for label in map(parse_folder_label, folders):
        match = known.find(label) or own.find(label)
        if match is not None or is_scientific(label.scientific_name):
            yield name_key((match or label).scientific_name), match is not None


def _is_contradictory(rows: Sequence[RecordingRow]) -> bool:
    species = {row.scientific_name for row in rows if row.scientific_name}
    present = species.union(*(row.secondary for row in rows))
    absent = {name for row in rows for name in row.absent}
    is_without_any = any(row.kind == "background" and not row.absent for row in rows)
    is_known_before = any(CONTRADICTORY in row.problems for row in rows)
    return is_known_before or len(species) > 1 or bool(present & absent) or (is_without_any and bool(present))


def _join(rows: Sequence[RecordingRow]) -> RecordingRow:
    """Return the first row, completed with fields of the other rows, but without a label."""
    first, *others = rows
    joined = first
    for other in others:
        joined = combine(other, joined).row
    return replace(
        joined,
        recording_id=first.recording_id,
        scientific_name=None,
        common_name=None,
        ebird_code=None,
        secondary=(),
        absent=(),
        kind="soundscape",
        problems=tuple(dict.fromkeys((*first.problems, CONTRADICTORY))),
    )


def _label_text(row: RecordingRow) -> str:
    if row.scientific_name:
        return row.scientific_name
    if row.absent:
        return f"without {', '.join(row.absent)}"
    return row.kind if row.kind == "background" else "unlabeled"
