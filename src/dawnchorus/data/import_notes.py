"""Notes about what an import could not know, each said once with its number."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from dawnchorus.data.layouts.voices import SOURCE as VOICES
from dawnchorus.data.licenses import allows_derivatives
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.taxonomy.file_names import is_binomial

_MAX_NAMED = 5


def notes_of_import(rows: Sequence[RecordingRow], *, has_labels: bool) -> Iterator[str]:
    """Yield a sentence for each thing that the rows lack; `has_labels` tells if names were looked up."""
    n_missing = sum("missing" in row.problems for row in rows)
    if n_missing:
        yield f"recordings that are not at the path that is given: {n_missing}. Name their folder with --audio."
    species = Counter(row.scientific_name for row in rows if _has_one_name(row))
    if species:
        reason = "no label list on this machine could be asked (`dawnchorus models pull birdnet` brings one)"
        yield (
            f"kept as written, without a scientific name: {_counted(species)}; "
            f"{'the labels of birdnet do not have them' if has_labels else reason}."
        )
    others = Counter(name for row in rows for name in row.secondary if " " not in name)
    if others:
        yield f"secondary species under codes that no taxonomy beside the table has: {_counted(others)}."
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
        yield f"the same file in several rows: {_counted(doubled)}. Splits keep them together."
    forbidding = Counter(row.license for row in rows if not allows_derivatives(row.license))
    if forbidding:
        yield (
            f"licences that allow no derivatives: {_counted(forbidding)}. Clips of these recordings may not be passed "
            f"on, and weights trained with them get a licence with ND."
        )


def _ambiguous(pairs: Iterable[tuple[str | None, str | None]]) -> Iterator[tuple[str, list[str]]]:
    """Yield the first of a pair with its seconds, where there are several."""
    found: dict[str, set[str]] = defaultdict(set)
    for first, second in pairs:
        if first and second:
            found[first].add(second)
    yield from ((first, sorted(seconds)) for first, seconds in sorted(found.items()) if len(seconds) > 1)


def _has_one_name(row: RecordingRow) -> bool:
    name = row.scientific_name
    return name is not None and row.common_name in (None, name) and not is_binomial(name)


def _counted(names: Counter[str | None] | Counter[str]) -> str:
    """Return the most frequent names with their numbers of recordings."""
    listed: Iterable[str] = (f"{name} ({n})" for name, n in names.most_common(_MAX_NAMED))
    more = len(names) - _MAX_NAMED
    return ", ".join(listed) + (f" and {more} more" if more > 0 else "")
