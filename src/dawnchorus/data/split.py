"""Grouped train/validation/test splits, and a leakage report."""

from __future__ import annotations

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real

from dawnchorus.data.recordings import SPLITS, RecordingRow, RecordingsTable, usable
from dawnchorus.data.relations import (
    Coverage,
    Leak,
    assign_groups,
    check_coverage,
    find_leaks,
    n_longer_than_fingerprints,
    undecided_series,
)
from dawnchorus.errors import InputError
from dawnchorus.suggestions import suggestion

DEFAULT_RATIOS: dict[str, float] = dict(zip(SPLITS, (0.7, 0.15, 0.15), strict=True))

_FOLD = re.compile(r"fold\d+")


def split_table(
    table: RecordingsTable, ratios: Mapping[str, float], *, seed: int, keep: bool = False
) -> RecordingsTable:
    """Assign groups and splits; groups stay together, and each species gets its share of every split.

    With `keep`, recordings that have a split already keep it, and those of the same group join them.

    Rare species are placed first, each group where its species lack most. A species with fewer groups than splits is in
    the first splits of `ratios` only. What cannot be used (missing, unreadable, silent) gets no split.

    Raises:
        InputError: ratios that are not positive, names that are no splits, or no recordings.
    """
    _check_ratios(ratios)
    rows_to_split = usable(table.rows, copies=True)
    if not rows_to_split:
        raise InputError("there are no usable recordings to split.", subject=table.folder)
    total = sum(ratios.values())
    shares = {name: ratio / total for name, ratio in ratios.items()}
    numbers = assign_groups(rows_to_split)
    members: dict[int, list[RecordingRow]] = defaultdict(list)
    for row, number in zip(rows_to_split, numbers, strict=True):
        members[number].append(row)
    given: dict[int, str] = {}
    for number, rows in members.items() if keep else ():
        known = [row.split for row in rows if row.split in shares]
        if known:
            # A group with a held-out member is held out as a whole.
            given[number] = min((str(name) for name in known), key=lambda name: shares[name])
    split_by_group = _assign_groups(members, shares, random.Random(seed), given)  # noqa: S311 - a split, not a secret
    split_of = {
        row.recording_id: row.split if keep and row.split in shares else split_by_group[number]
        for row, number in zip(rows_to_split, numbers, strict=True)
    }
    return assign_splits(table, split_of)


def _check_ratios(ratios: object) -> None:
    """Check the shares of splits.

    Raises:
        InputError: one is no positive number, or has a name that is no split.
    """
    if not isinstance(ratios, Mapping) or not ratios or not all(map(_is_positive, ratios.values())):
        got = dict(ratios) if isinstance(ratios, Mapping) else ratios
        example = ", ".join(f"'{name}': {share}" for name, share in DEFAULT_RATIOS.items())
        raise InputError(f"split: expected positive ratios by name, such as {{{example}}}, got {got}.")
    for name in ratios:
        if name not in SPLITS and not _FOLD.fullmatch(str(name)):
            raise InputError(
                f"split: expected ratios of {', '.join(SPLITS)}, or of fold0, fold1, ..., got {name!r}."
                f"{suggestion(str(name), SPLITS)}"
            )


def _is_positive(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and 0 < float(value) < math.inf


def assign_splits(table: RecordingsTable, split_of: Mapping[str, str | None]) -> RecordingsTable:
    """Return the table with splits from `split_of` and the groups of usable recordings."""
    in_groups = usable(table.rows, copies=True)
    numbers = {row.recording_id: number for row, number in zip(in_groups, assign_groups(in_groups), strict=True)}
    return table.with_rows(
        replace(
            row,
            group=f"g{numbers[row.recording_id]}" if row.recording_id in numbers else None,
            split=split_of.get(row.recording_id),
        )
        for row in table.rows
    )


def fold_ratios(n_folds: int) -> dict[str, float]:
    """Return equal ratios for fold0, fold1, ...

    Raises:
        InputError: fewer than two.
    """
    if n_folds < 2:
        raise InputError(f"folds: expected 2 or more, got {n_folds}.")
    return {f"fold{k}": 1.0 for k in range(n_folds)}


def _labels(row: RecordingRow) -> set[str]:
    """Return the labels that every split gets its share of: species, negatives, and kinds of recordings without one."""
    own = row.scientific_name or " ".join([row.kind, *(f"without {name}" for name in row.absent)])
    return {own} | {a.scientific_name for a in row.annotations if a.scientific_name}


def _assign_groups(
    members: Mapping[int, list[RecordingRow]],
    shares: Mapping[str, float],
    rng: random.Random,
    given: Mapping[int, str],
) -> dict[int, str]:
    """Return the split of each group; that of some is `given`."""
    counts = {number: Counter(label for row in rows for label in _labels(row)) for number, rows in members.items()}
    totals: Counter[str] = Counter()
    for count in counts.values():
        totals.update(count)
    have: dict[str, Counter[str]] = {name: Counter() for name in shares}
    assigned = dict(given)
    for number, name in assigned.items():
        have[name].update(counts[number])
    order = [number for number in members if number not in assigned]
    rng.shuffle(order)
    # Groups of rare species first; of one species, the large ones first, for which it is harder to find a place.
    order.sort(key=lambda number: (min(totals[label] for label in counts[number]), -sum(counts[number].values())))
    for number in order:
        rarest = min(counts[number], key=lambda label: (totals[label], label))
        lacking = {
            name: (
                share * totals[rarest] - have[name][rarest],
                sum(share * totals[label] - have[name][label] for label in counts[number]),
            )
            for name, share in shares.items()
        }
        assigned[number] = max(lacking, key=lacking.__getitem__)
        have[assigned[number]].update(counts[number])
    return assigned


@dataclass(frozen=True)
class LeakReport:
    """Numbers of related recordings across splits, for the table's split and random ones."""

    leaks: tuple[Leak, ...]
    n_tested: int
    """Recordings outside the largest split."""
    n_leaking: int
    """Number of these that have a relative in the largest split."""
    n_leaking_at_random: float
    """`n_leaking` of splits that ignore groups: mean of `N_RANDOM` splits."""
    n_recordings: int
    """Recordings with a split."""
    n_groups: int
    """Groups of them that must not be separated; a recording without relatives is one by itself."""
    narrow: tuple[tuple[str, int, int], ...]
    """Species, recordings and groups of species with enough recordings for every split, but not enough groups."""
    coverage: tuple[Coverage, ...]
    """Number of them in which each relation could be looked for."""
    undecided: tuple[tuple[RecordingRow, ...], ...]
    """Series of short numbered recordings that may be clips of one recording."""
    n_long: int
    """Recordings of which only the start was compared by sound."""


N_RANDOM = 20


def leak_report(rows: Sequence[RecordingRow], *, seed: int) -> LeakReport:
    """Compare leaks of the rows' split with those of random splits of the same sizes.

    Raises:
        InputError: no row has a split.
    """
    split_rows = [row for row in rows if row.split is not None]
    if not split_rows:
        raise InputError("There is no split yet: make one with `dawnchorus data split`.")
    splits = [row.split or "" for row in split_rows]
    groups = assign_groups(split_rows)
    rng = random.Random(seed)  # noqa: S311 - a split, not a secret
    at_random = []
    for _ in range(N_RANDOM):
        shuffled = splits.copy()
        rng.shuffle(shuffled)
        at_random.append(_n_leaking(groups, shuffled))
    largest = Counter(splits).most_common(1)[0][0]
    return LeakReport(
        leaks=tuple(find_leaks(split_rows, lambda row: row.split)),
        n_tested=sum(split != largest for split in splits),
        n_leaking=_n_leaking(groups, splits),
        n_leaking_at_random=sum(at_random) / N_RANDOM,
        n_recordings=len(split_rows),
        n_groups=len(set(groups)),
        narrow=tuple(_narrow_species(split_rows, groups, n_splits=len(set(splits)))),
        coverage=check_coverage(split_rows),
        undecided=tuple(map(tuple, undecided_series(split_rows))),
        n_long=n_longer_than_fingerprints(split_rows),
    )


@dataclass(frozen=True)
class SplitGap:
    """Species that a split has no recordings of."""

    split: str
    n_missing: int
    """Species, and kinds of recordings without one, that are not in the split."""
    n_labels: int
    """Labels of the whole split."""
    label: str
    """The one of them in the most groups."""
    n_recordings: int
    n_groups: int


def split_gaps(rows: Sequence[RecordingRow], splits: Sequence[str]) -> Iterator[SplitGap]:
    """Yield splits that lack species."""
    split_rows = [row for row in rows if row.split is not None]
    groups = _group_by_label(split_rows, assign_groups(split_rows))
    for split in splits:
        present = set().union(*(_labels(row) for row in split_rows if row.split == split))
        missing = sorted(set(groups) - present, key=lambda label: (-len(set(groups[label])), label))
        if missing:
            first = groups[missing[0]]
            yield SplitGap(split, len(missing), len(groups), missing[0], len(first), len(set(first)))


def _narrow_species(
    rows: Sequence[RecordingRow], groups: Sequence[int], *, n_splits: int
) -> Iterator[tuple[str, int, int]]:
    """Yield species, recordings and groups where relations keep a species out of some split."""
    for label, each in sorted(_group_by_label(rows, groups).items()):
        if len(set(each)) < n_splits <= len(each):
            yield label, len(each), len(set(each))


def _group_by_label(rows: Sequence[RecordingRow], groups: Sequence[int]) -> dict[str, list[int]]:
    """Return the group of each recording by what it is of."""
    groups_by_label: dict[str, list[int]] = defaultdict(list)
    for row, group in zip(rows, groups, strict=True):
        for label in _labels(row):
            groups_by_label[label].append(group)
    return groups_by_label


def _n_leaking(groups: Sequence[int], splits: Sequence[str]) -> int:
    largest = Counter(splits).most_common(1)[0][0]
    in_largest = {group for group, split in zip(groups, splits, strict=True) if split == largest}
    return sum(split != largest and group in in_largest for group, split in zip(groups, splits, strict=True))
