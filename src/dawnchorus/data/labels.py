"""Mapping of the labels that a data set's sources give to classes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dawnchorus.data.recordings import Annotation, RecordingRow
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import (
    Label,
    complete_label,
    has_two_species,
    is_scientific,
    is_unnamed,
    label_text,
    name_key,
    read_label,
    split_labels,
    with_common_name,
)

BLANK = "(blank)"
"""Text that stands for an empty label in messages."""

WrittenLabel = tuple[str, str]
"""A label as written: the text in place of the scientific name, and the common name or ""."""


@dataclass(frozen=True)
class LabelUse:
    """A label as written (`given`), its class (`label`), and the number of recordings with this label.

    The label is that of the recording or of one of its annotations; each recording counts once.
    """

    given: str
    label: Label
    n_recordings: int


@dataclass
class LabelReader:
    """Mapping of the labels of rows to classes, with counts.

    A label that names a class of `known` gets that class's names. Other labels that differ only in case, spaces and
    Unicode form become one class. Its name is a spelling that looks like a scientific name, if there is one; of several
    such spellings, or if there is none, that of most recordings.
    """

    known: KnownClasses
    """Classes whose names are used for labels that mean them."""
    label_uses: list[LabelUse] = field(default_factory=list)
    """Labels with their classes and counts, the most frequent first. This and the counts below are of the last call of
    `read` or `count`."""
    unnamed: Counter[str] = field(default_factory=Counter)
    """Numbers of uses (by recordings, annotations, secondary and absent species) by label without a certain species,
    such as `?` and `Parus sp.`."""

    joined_labels: Counter[str] = field(default_factory=Counter)
    """Numbers of recordings and annotations by label that is a list of several labels (`A_a,B_b`)."""
    n_equal_marks: int = 0
    """Number of annotations dropped because, with classes as species, they equal another one of the same recording."""
    _classes: dict[WrittenLabel, Label | None] = field(default_factory=dict)
    """Class of each label passed to `read`; None if the label names no class."""

    def read(self, rows: Iterable[RecordingRow]) -> list[RecordingRow]:
        """Return the rows with labels replaced by classes; count the labels and their classes.

        A label that names no class becomes None as the main species, and "" as the species of an annotation. Secondary
        and absent species without a class are dropped. Of a list of labels, the first becomes the main species, and the
        others secondary species; an annotation with a list is repeated for each label.
        """
        self.joined_labels = Counter()
        rows = [_with_single_labels(row, self.joined_labels, self.known) for row in rows]
        counts = _counts(rows)
        others = {(name, "") for row in rows for name in (*row.secondary, *row.absent)}
        self._classes = self._find_classes(counts, others - set(counts))
        return self._count(rows)

    def count(self, rows: Iterable[RecordingRow]) -> list[RecordingRow]:
        """Do as `read` for some of the rows last passed to `read`, with the classes found then; count only these rows.

        Pass the rows as they were before `read`, with their labels as written.
        """
        self.joined_labels = Counter()
        return self._count([_with_single_labels(row, self.joined_labels, self.known) for row in rows])

    def _count(self, rows: Sequence[RecordingRow]) -> list[RecordingRow]:
        self.label_uses = sorted(
            (LabelUse(_text(given), label, n) for given, n in _counts(rows).items() if (label := self._classes[given])),
            key=lambda use: (-use.n_recordings, label_text(use.label), use.given),
        )
        self.unnamed = Counter()
        self.n_equal_marks = 0
        return [self._rename(row, self._classes) for row in rows]

    def _find_classes(
        self, counts: Counter[WrittenLabel], others: Iterable[WrittenLabel]
    ) -> dict[WrittenLabel, Label | None]:
        """Return the class of each label; labels of one class get the same scientific name."""
        first = {given: _read(given, self.known) for given in (*counts, *others)}
        pairs = _unambiguous_pairs(label for label in first.values() if label is not None)
        own = KnownClasses(pairs)
        labels = {given: _complete(label, self.known, own) for given, label in first.items()}
        spellings: dict[str, Counter[str]] = defaultdict(Counter)
        for given, label in labels.items():
            if label is not None:
                spellings[name_key(label.scientific_name)][label.scientific_name] += counts[given]
        best = {
            key: max(names, key=lambda name: (is_scientific(name), names[name], name))
            for key, names in spellings.items()
        }
        return {given: label and _respell(label, best) for given, label in labels.items()}

    def _rename(self, row: RecordingRow, classes: Mapping[WrittenLabel, Label | None]) -> RecordingRow:
        scientific, common, code = row.scientific_name, row.common_name, row.ebird_code
        if scientific is not None:
            label = self._class(scientific, common or "", classes)
            code = code or (scientific if self.known.has_code(scientific) else None)
            scientific, common = (label.scientific_name, label.common_name) if label else (None, None)
        secondary = self._names(row.secondary, classes)
        marks = [self._renamed_mark(mark, classes) for mark in row.annotations]
        annotations = _without_equal(marks)
        self.n_equal_marks += len(marks) - len(annotations)
        return replace(
            row,
            scientific_name=scientific,
            common_name=common,
            ebird_code=code,
            secondary=tuple(name for name in secondary if name != scientific),
            absent=self._names(row.absent, classes),
            annotations=annotations,
        )

    def _renamed_mark(self, mark: Annotation, classes: Mapping[WrittenLabel, Label | None]) -> Annotation:
        if not mark.scientific_name:
            return mark
        label = self._class(mark.scientific_name, "", classes)
        return replace(mark, scientific_name="" if label is None else label.scientific_name)

    def _names(self, given: Iterable[str], classes: Mapping[WrittenLabel, Label | None]) -> tuple[str, ...]:
        """Return the scientific names of the labels' classes, without repetition and without labels of no class."""
        labels = [self._class(name, "", classes) for name in given]
        return tuple(dict.fromkeys(label.scientific_name for label in labels if label is not None))

    def _class(self, scientific: str, common: str, classes: Mapping[WrittenLabel, Label | None]) -> Label | None:
        """Return the class of a label; if it names no class, count it, and return None."""
        label = classes[scientific, common]
        if label is None:
            self.unnamed[_text((scientific.strip(), common)) if scientific.strip() else BLANK] += 1
        return label


def _without_equal(marks: Sequence[Annotation]) -> tuple[Annotation, ...]:
    """Return the annotations without repetition; those without a name all stay, since their species may differ."""
    first = {mark: number for number, mark in reversed(list(enumerate(marks)))}
    return tuple(mark for number, mark in enumerate(marks) if not mark.scientific_name or first[mark] == number)


def _with_single_labels(row: RecordingRow, lists: Counter[str], known: KnownClasses) -> RecordingRow:
    """Split lists of labels: the first is the row's main label, the others are secondary; annotations are repeated."""
    labels = split_labels(row.scientific_name or "", known)
    if len(labels) > 1:
        lists[row.scientific_name or ""] += 1
        common = split_labels(row.common_name or "", known)
        name = common[0] if len(common) == len(labels) else None
        row = replace(row, scientific_name=labels[0], common_name=name, secondary=(*labels[1:], *row.secondary))
    parts = {name: split_labels(name, known) for name in {mark.scientific_name for mark in row.annotations}}
    if not any(len(labels) > 1 for labels in parts.values()):
        return row
    marks: list[Annotation] = []
    for mark in row.annotations:
        labels = parts[mark.scientific_name]
        if len(labels) > 1:
            lists[mark.scientific_name] += 1
        marks += [replace(mark, scientific_name=label) for label in labels] or [mark]
    return replace(row, annotations=tuple(marks))


def collect_labels(rows: Iterable[RecordingRow]) -> list[Label]:
    """Return the sorted labels, as written, of rows and their annotations, without secondary and absent species.

    Texts that name no class, such as `unknown`, are left out.
    """
    labels = {
        Label(scientific, common or scientific)
        for row in rows
        for scientific, common in _main_labels(row)
        if not is_unnamed(scientific)
    }
    return sorted(labels, key=label_text)


def _counts(rows: Iterable[RecordingRow]) -> Counter[WrittenLabel]:
    """Count the recordings with each label."""
    return Counter(given for row in rows for given in set(_main_labels(row)))


def _main_labels(row: RecordingRow) -> Iterator[WrittenLabel]:
    if row.scientific_name is not None:
        yield row.scientific_name, row.common_name or ""
    for mark in row.annotations:
        yield mark.scientific_name, ""


def _read(given: WrittenLabel, known: KnownClasses) -> Label | None:
    scientific, common = given
    label = read_label(scientific, known) or read_label(common, known)
    has_common = label is not None and not is_unnamed(common) and common != scientific
    if label is None or not has_common:
        return label
    named = with_common_name(label, " ".join(common.split()))
    return None if has_two_species(named, known) else named


def _unambiguous_pairs(labels: Iterable[Label]) -> list[Label]:
    """Return the labels with both names whose common name belongs to one scientific name only."""
    by_common: dict[str, dict[str, Label]] = defaultdict(dict)
    for label in labels:
        if label.common_name != label.scientific_name:
            by_common[name_key(label.common_name)].setdefault(name_key(label.scientific_name), label)
    return [next(iter(labels.values())) for labels in by_common.values() if len(labels) == 1]


def _complete(label: Label | None, known: KnownClasses, own: KnownClasses) -> Label | None:
    """Complete a label with one name from the data set's `own` labels with both names."""
    if label is None or label.common_name != label.scientific_name or known.find(label) is not None:
        return label
    return complete_label(label, own)


def _best_spelling(counts: Counter[str]) -> str:
    """Return the spelling that looks like a scientific name, or else the most frequent spelling."""
    return max(counts, key=lambda name: (is_scientific(name), counts[name], name))


def _respell(label: Label, best: dict[str, str]) -> Label:
    name = best[name_key(label.scientific_name)]
    has_one_name = label.common_name == label.scientific_name
    return replace(label, scientific_name=name, common_name=name if has_one_name else label.common_name)


def _text(given: WrittenLabel) -> str:
    scientific, common = given
    return label_text(Label(scientific, common or scientific))
