"""Sentences for the user on missing or ambiguous information after an import."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from dawnchorus.arguments import option
from dawnchorus.data.labels import LabelReader
from dawnchorus.data.layouts.voices import SOURCE as VOICES
from dawnchorus.data.licenses import allows_derivatives
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.taxonomy.labels import Label, is_scientific, label_text

_MAX_NAMED = 5


def list_label_notes(labels: LabelReader) -> Iterator[str]:
    """Yield sentences on labels without a species, lists of labels, and labels merged to one class.

    There is at most one sentence on each subject; nothing is yielded if there is nothing to tell.
    """
    if labels.unnamed:
        yield (
            f"labels that name nothing, or no one species: {_format_counts(labels.unnamed)}. These recordings and "
            f"marks are kept without a species, and are not trained on; "
            f"as other species of a recording they are left out."
        )
    if labels.joined_labels:
        yield (
            f"lists of several labels, of which a recording's first is the main one, and a mark is one of each: "
            f"{_format_counts(labels.joined_labels)}."
        )
    if labels.n_equal_marks:
        yield f"marks of one class under two names, at the same times: {labels.n_equal_marks}, each counted once."
    given: dict[str, list[str]] = defaultdict(list)
    common: dict[str, set[str]] = defaultdict(set)
    for use in labels.label_uses:
        given[use.label.scientific_name].append(use.given)
        common[use.label.scientific_name].add(use.label.common_name)
    joined = [f"{name} (from {', '.join(map(repr, several))})" for name, several in given.items() if len(several) > 1]
    if joined:
        yield f"several labels that are one class: {_format_list(joined)}."
    renamed = [f"{name} ({', '.join(sorted(names))})" for name, names in common.items() if len(names) > 1]
    if renamed:
        yield f"one class under several common names: {_format_list(renamed)}. A third part names a class below it."


def describe_labels(labels: LabelReader) -> Iterator[str]:
    """Yield a line `label as written -> class, 12 recordings` per label, the most frequent first."""
    for use in labels.label_uses:
        n = f"{use.n_recordings:,} recording{'' if use.n_recordings == 1 else 's'}"
        yield f"{use.given} -> {label_text(use.label)}, {n}"


def list_name_notes(labels: LabelReader, *, sources: Sequence[str]) -> Iterator[str]:
    """Yield up to two sentences on names that are in no checklist, vernacular and scientific ones.

    `sources` are the names of the checklists for messages; empty if no checklist is installed.
    """
    as_written: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for use in labels.label_uses:
        name = use.label.scientific_name
        species = name.partition(" (")[0]
        if use.label.kind != "species" or labels.known.find(Label(species, species)) is not None:
            continue
        if is_scientific(name):
            unknown[name] += use.n_recordings
        elif use.label.common_name == name:
            as_written[name] += use.n_recordings
    lack = f"not in {_join(sources)}" if sources else "no label list is installed on this machine"
    if as_written:
        advice = "" if sources else " (`dawnchorus models pull birdnet` installs one)"
        yield (
            f"kept as written, without a scientific name: {_format_counts(as_written)}; {lack}{advice}. They are "
            f"classes of your own."
        )
    if unknown and sources:
        yield (
            f"kept as written, of a scientific name's form, but in no list: {_format_counts(unknown)}; {lack}. They "
            f"are classes of your own."
        )


def list_import_notes(rows: Sequence[RecordingRow]) -> Iterator[str]:
    """Yield sentences on what is doubtful in the rows.

    Subjects are missing or unreadable files, locations at latitude 0 and longitude 0, species codes that are unknown or
    of several species, repeated files, and licenses that allow no derivatives.
    """
    missing = [row.path for row in rows if "missing" in row.problems]
    if missing:
        yield (
            f"recordings that are missing at their path: {len(missing)} (as {missing[0]}). Name their folder "
            f"with {option('audio', 'FOLDER')}."
        )
    unreadable = [row.recording_id for row in rows if "unreadable" in row.problems]
    if unreadable:
        yield (
            f"files that no decoder can open: {len(unreadable)} ({_format_list(unreadable)}). They are not trained on."
        )
    nowhere = [row.recording_id for row in rows if (row.latitude, row.longitude) == (0, 0)]
    if nowhere:
        yield (
            f"doubtful locations, at latitude 0, longitude 0: {len(nowhere)} (as {nowhere[0]}). Many recorders and "
            f"tables write this where no location is known."
        )
    others = Counter(name for row in rows for name in row.secondary if " " not in name)
    if others:
        yield f"secondary species under codes that no taxonomy next to the table has: {_format_counts(others)}."
    if any(row.source == VOICES for row in rows):
        yield (
            "the table's recordist, date, time, country, type and xeno-canto number belong to no file: files carry no "
            "numbers. `dawnchorus data attribution DATA_SET --voices TABLE` lists its recordings."
        )
    for code, names in _ambiguous((row.ebird_code, row.scientific_name) for row in rows):
        yield f"one code for several species: {code} ({', '.join(names)}): submissions would mix them up."
    for name, codes in _ambiguous((row.scientific_name, row.ebird_code) for row in rows):
        yield f"several codes for one species: {name} ({', '.join(codes)})."
    repeated = Counter(row.path for row in rows)
    doubled = Counter({path: n for path, n in repeated.items() if n > 1})
    if doubled:
        yield f"the same file in several rows: {_format_counts(doubled)}. Splits keep them together."
    forbidding = Counter(row.license for row in rows if not allows_derivatives(row.license))
    if forbidding:
        yield (
            f"licenses that allow no derivatives: {_format_counts(forbidding)}. Clips of these recordings may not be "
            f"passed on, and weights trained with them get a license with ND."
        )


def _ambiguous(pairs: Iterable[tuple[str | None, str | None]]) -> Iterator[tuple[str, list[str]]]:
    """Yield each first value that occurs with several second values, with the sorted second values."""
    others: dict[str, set[str]] = defaultdict(set)
    for first, second in pairs:
        if first and second:
            others[first].add(second)
    yield from ((first, sorted(seconds)) for first, seconds in sorted(others.items()) if len(seconds) > 1)


def _join(names: Sequence[str]) -> str:
    """Return the names as part of a sentence."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _format_list(texts: Sequence[str]) -> str:
    """Return the first of the texts, and how many more there are."""
    more = len(texts) - _MAX_NAMED
    return ", ".join(texts[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _format_counts(names: Counter[str | None] | Counter[str]) -> str:
    """Return the most frequent names with their numbers of recordings."""
    return _format_list([f"{name} ({n})" for name, n in names.most_common()])
