"""Grouped train/validation/test splits, and a leakage report."""

from __future__ import annotations

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real

from dawnchorus.data.recordings import SPLITS, RecordingRow, RecordingsTable, select_usable
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
    """Return the table with related recordings in groups, and groups in splits; species are spread by the ratios.

    Groups of rare species are assigned first, each to the split in which its rarest species is farthest below its
    share, in number of recordings; of equal splits, the first in `ratios`. A species with fewer groups than splits is
    therefore missing in some. Unusable recordings (missing, unreadable, silent) get no split.

    Args:
        table: the data set.
        ratios: relative size of each split by name ("train", "validation", "test", "fold0", ...); they need not sum
            to 1.
        seed: seed of the random order of groups.
        keep: True to keep the split of recordings that are in a split of `ratios`; the other recordings of their group
            get the same split or, if the group has several, the one with the smallest ratio. False to assign all anew.

    Raises:
        InputError: there are no ratios, a ratio is not positive and finite, a name is no split, or there are no usable
            recordings.
    """
    _check_ratios(ratios)
    rows_to_split = select_usable(table.rows, copies=True)
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
    """Check the ratios of splits.

    Raises:
        InputError: a ratio is no positive number, or a name is no split.
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
    """Return the table with `split` set from `split_of`, and `group` set to the group of related recordings.

    A group is a text such as "g12". Recordings that are missing, unreadable or silent have the `group` None.

    Args:
        table: the data set.
        split_of: split by recording_id; recordings that are not in this mapping get None.
    """
    in_groups = select_usable(table.rows, copies=True)
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
    """Return the ratio 1.0 for each of the `n_folds` splits "fold0", "fold1", ..., as `ratios` of `split_table`.

    Raises:
        InputError: `n_folds` is below 2.
    """
    if n_folds < 2:
        raise InputError(f"folds: expected 2 or more, got {n_folds}.")
    return {f"fold{k}": 1.0 for k in range(n_folds)}


def _labels(row: RecordingRow) -> set[str]:
    """Return the labels to balance between splits: species, absent species, and the kind of unlabeled recordings."""
    own = row.scientific_name or " ".join([row.kind, *(f"without {name}" for name in row.absent)])
    return {own} | {a.scientific_name for a in row.annotations if a.scientific_name}


def _assign_groups(
    members: Mapping[int, list[RecordingRow]],
    shares: Mapping[str, float],
    rng: random.Random,
    given: Mapping[int, str],
) -> dict[int, str]:
    """Return the split of each group.

    Args:
        members: rows by group.
        shares: relative sizes of the splits, with sum 1.
        rng: generator of the order of groups.
        given: splits that are fixed, by group.
    """
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
    """Leaks (related recordings in different splits) of a table's split, compared with random splits."""

    leaks: tuple[Leak, ...]
    """Leaks of the table's split."""
    n_tested: int
    """Number of recordings outside the split with most recordings, usually "train"."""
    n_leaking: int
    """Number of the `n_tested` recordings that are related to a recording in the largest split."""
    n_leaking_at_random: float
    """Mean `n_leaking` of `N_RANDOM` (20) random splits that ignore groups."""
    n_recordings: int
    """Number of recordings with a split."""
    n_groups: int
    """Number of groups of related recordings; an unrelated recording is a group by itself."""
    narrow: tuple[tuple[str, int, int], ...]
    """(species, number of recordings, number of groups) of each species, or kind of recordings without a species, that
    has enough recordings for all splits, but fewer groups than splits."""
    coverage: tuple[Coverage, ...]
    """Number of recordings that have the data for each relation."""
    undecided: tuple[tuple[RecordingRow, ...], ...]
    """Numbered series of short recordings that may be clips of one recording, or separate recordings."""
    n_long: int
    """Number of recordings above 120 s, of which only this start was compared by acoustic fingerprint."""


N_RANDOM = 20


def leak_report(rows: Sequence[RecordingRow], *, seed: int) -> LeakReport:
    """Find leaks in the split of the rows and in random splits of the same sizes; `seed` is for the random splits.

    Rows without a split are ignored.

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
    """Species of which a split has no recordings."""

    split: str
    """Name of the split."""
    n_missing: int
    """Number of labels (species, and kinds of recordings without a species) that other splits have, but not this."""
    n_labels: int
    """Number of labels in all splits together."""
    label: str
    """The missing label with the most groups of related recordings."""
    n_recordings: int
    """Number of recordings with `label` in all splits together."""
    n_groups: int
    """Number of groups of related recordings with `label` in all splits together."""


def split_gaps(rows: Sequence[RecordingRow], splits: Sequence[str]) -> Iterator[SplitGap]:
    """Yield one gap for each of `splits` that lacks a species, or a kind such as background, that another split has.

    Splits without a gap are left out; the others are in the order of `splits`. Rows without a split are ignored.
    """
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
    """Yield (label, number of recordings, number of groups) of labels with enough rows, but too few groups."""
    for label, each in sorted(_group_by_label(rows, groups).items()):
        if len(set(each)) < n_splits <= len(each):
            yield label, len(each), len(set(each))


def _group_by_label(rows: Sequence[RecordingRow], groups: Sequence[int]) -> dict[str, list[int]]:
    """Return the groups of the recordings with each label."""
    groups_by_label: dict[str, list[int]] = defaultdict(list)
    for row, group in zip(rows, groups, strict=True):
        for label in _labels(row):
            groups_by_label[label].append(group)
    return groups_by_label


def _n_leaking(groups: Sequence[int], splits: Sequence[str]) -> int:
    largest = Counter(splits).most_common(1)[0][0]
    in_largest = {group for group, split in zip(groups, splits, strict=True) if split == largest}
    return sum(split != largest and group in in_largest for group, split in zip(groups, splits, strict=True))
