"""Matching of recordings' labels with the classes of a model."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from dawnchorus.data.recordings import RecordingRow
from dawnchorus.errors import UnknownClassError
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label, is_unnamed, label_text, name_key, parse_label

LOG = logging.getLogger(__name__)


def label_names(rows: Iterable[RecordingRow]) -> list[str]:
    """Return the sorted labels of the rows, each once: main, annotated and absent species.

    Main species have the form `Genus species_Common Name`, or one name alone if the row has only one; annotated and
    absent species are scientific names.
    """
    return sorted({label_text(label) for row in rows for label in _labels(row)})


def with_known_classes(
    rows: Sequence[RecordingRow], labels: Sequence[Label], new_classes: Sequence[str]
) -> tuple[RecordingRow, ...]:
    """Return the rows with each label (species, annotated and absent species) replaced by the names of its class.

    Secondary species are replaced, too, but stay as they are if they are no class.

    Args:
        rows: the recordings.
        labels: the classes of the model.
        new_classes: labels, by scientific or common name, that are accepted as new classes. They keep their names;
            classes of the model have precedence. A new class that no recording has is logged as a warning.

    Raises:
        UnknownClassError: a label is neither a class nor in `new_classes`; the message lists all such labels, with
            similar classes.
    """
    known = KnownClasses(labels)
    confirmed = KnownClasses(map(parse_label, new_classes))
    given = Counter(label for row in rows for label in set(_labels(row)))
    _log_unused(new_classes, given)
    # Labels of two names first: one of a single name is then found by either.
    for label in sorted(given, key=lambda label: (label.scientific_name == label.common_name, label_text(label))):
        is_known = known.find(Label(label.scientific_name, label.scientific_name)) is not None
        if not is_known and confirmed.find(label) is not None:
            known.add(label)
    unknown = {label: n for label, n in given.items() if known.find(label) is None}
    if unknown:
        raise UnknownClassError(_question(unknown, known))
    return tuple(_rename_row(row, known) for row in rows)


def _log_unused(new_classes: Iterable[str], given: Iterable[Label]) -> None:
    """Log a warning for each new class that is not among the `given` labels of the recordings."""
    labeled = KnownClasses(given)
    for name in new_classes:
        label = parse_label(name)
        if labeled.find(label) is None:
            near = labeled.near(label)
            hint = f" Did you mean '{label_text(near[0])}'?" if near else ""
            LOG.warning(f"new class '{name}': no recording has this label, so no class is made of it.{hint}")


def _labels(row: RecordingRow) -> Iterator[Label]:
    if row.scientific_name is not None:
        yield Label(row.scientific_name, row.common_name or row.scientific_name)
    for name in (*row.absent, *(annotation.scientific_name for annotation in row.annotations)):
        if not is_unnamed(name):
            yield Label(name, name)


def _question(unknown: Mapping[Label, int], known: KnownClasses) -> str:
    """Return the error message: one line per unknown label (case and spaces ignored), and what to do."""
    first: dict[str, Label] = {}
    counts: Counter[str] = Counter()
    for label in sorted(unknown, key=label_text):
        key = name_key(label_text(label))
        first.setdefault(key, label)
        counts[key] += unknown[label]
    lines = [f"    {known.question(label)} Recordings: {counts[key]}." for key, label in first.items()]
    return (
        f"expected labels that are classes of the model, got {len(lines)} that are not:\n"
        + "\n".join(lines)
        + "\nCorrect them, or repeat the command with --new-class NAME for each that is a new class."
    )


def _rename_row(row: RecordingRow, known: KnownClasses) -> RecordingRow:
    """Return the row with the names of the classes in `known`; secondary species that are no class stay as they are."""
    label = None if row.scientific_name is None else known.find(Label(row.scientific_name, row.common_name or ""))
    return replace(
        row,
        scientific_name=row.scientific_name if label is None else label.scientific_name,
        common_name=row.common_name if label is None else label.common_name,
        absent=tuple(_rename(name, known) for name in row.absent),
        secondary=tuple(_rename(name, known) for name in row.secondary),
        annotations=tuple(
            replace(each, scientific_name=_rename(each.scientific_name, known)) if each.scientific_name else each
            for each in row.annotations
        ),
    )


def _rename(name: str, known: KnownClasses) -> str:
    label = known.find(Label(name, name))
    return name if label is None else label.scientific_name
