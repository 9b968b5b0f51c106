"""Checks of labels: spelling, duplicates, and names that are in no checklist."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from dawnchorus.data.recordings import RecordingRow
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label, is_unnamed, name_key

MAX_NAMED = 10
"""Maximum number of labels named in a message."""

_MIN_LETTERS = 5
"""Minimum length of compared names; shorter ones, such as codes, may differ in one letter on purpose."""


def find_label_doubts(rows: Iterable[RecordingRow], known: KnownClasses, *, sources: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each kind of doubtful label that occurs in the rows.

    The kinds are: no name, names that differ only in case, spaces or Unicode form, names that differ in one letter
    (unless both are in a checklist), and names that are in no checklist. Labels of recordings and annotations are
    checked, secondary and absent species are not.

    Args:
        rows: the recordings.
        known: species of the checklists.
        sources: names of the checklists, for messages; empty if there are none. Names that are in no checklist are then
            not reported.
    """
    counts = Counter(name for row in rows for name in _names(row))
    unnamed = sum(n for name, n in counts.items() if is_unnamed(name))
    if unnamed:
        yield f"recordings or marks without a name: {unnamed}. They are not trained on: name them, or drop them."
    named = {name: n for name, n in counts.items() if not is_unnamed(name)}
    by_key: dict[str, list[str]] = defaultdict(list)
    for name in sorted(named):
        by_key[name_key(name)].append(name)
    doubled = [_format_counts(names, named) for names in by_key.values() if len(names) > 1]
    if doubled:
        yield (
            f"several classes whose names differ only in case, spaces or Unicode form: {_format_list(doubled)}. Import "
            f"them again: `dawnchorus data import` makes them one."
        )
    first = {key: names[0] for key, names in by_key.items()}
    in_list = {key for key, name in first.items() if known.find(Label(name, name)) is not None}
    near = [_format_counts((first[a], first[b]), named) for a, b in near_names(first) if not {a, b} <= in_list]
    if near:
        yield f"names that differ in one letter: {_format_list(near)}. Correct them if they are one species."
    unknown = [name for key, name in first.items() if key not in in_list]
    if sources and unknown:
        lines = [_with_suggestion(name, known) for name in unknown[:MAX_NAMED]]
        yield (
            f"not in {', '.join(sources)}: "
            f"{_format_list(lines, len(unknown))}. They are trained as classes of your own."
        )


def near_names(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return sorted pairs of names that differ in one character: replaced (`Parus majer`), missing or added.

    Pairs that differ only in digits, such as `site 1` and `site 2`, are left out, and so are names of fewer than five
    characters.
    """
    shortened: dict[str, set[str]] = defaultdict(set)
    for name in names:
        if len(name) >= _MIN_LETTERS:
            for text in (name, *(name[:k] + name[k + 1 :] for k in range(len(name)))):
                shortened[text].add(name)
    groups = (sorted(group) for group in shortened.values() if len(group) > 1)
    pairs = {(a, b) for group in groups for k, a in enumerate(group) for b in group[k + 1 :]}
    return sorted((a, b) for a, b in pairs if _letters(a) != _letters(b))


def _letters(name: str) -> str:
    return "".join(character for character in name if not character.isdigit()).strip()


def _names(row: RecordingRow) -> set[str]:
    """Return the names of the row's species and annotations; "" for an annotation without a species."""
    return ({row.scientific_name} if row.scientific_name is not None else set()) | {
        mark.scientific_name for mark in row.annotations
    }


def _with_suggestion(name: str, known: KnownClasses) -> str:
    near = known.near(Label(name, name))
    return f"'{name}'" + (f" (did you mean {near[0].scientific_name}?)" if near else "")


def _format_counts(names: Iterable[str], counts: dict[str, int]) -> str:
    return " and ".join(f"'{name}' ({counts[name]})" for name in names)


def _format_list(texts: Sequence[str], n: int | None = None) -> str:
    more = (len(texts) if n is None else n) - MAX_NAMED
    return "; ".join(texts[:MAX_NAMED]) + (f"; and {more} more" if more > 0 else "")
