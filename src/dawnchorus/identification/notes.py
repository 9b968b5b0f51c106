"""Messages about several recordings of a run, or about its options."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from dawnchorus.audio.clock_report import ClockReport
from dawnchorus.audio.windows import UnscoredReport
from dawnchorus.identification.detection_table import TableBuilder
from dawnchorus.identification.journal_records import RecordingSummary
from dawnchorus.identification.options import DEFAULT_RANGE_THRESHOLD, Options
from dawnchorus.identification.score_filter import find_classes
from dawnchorus.inference.results import ScoredRecording
from dawnchorus.models.bundle import Bundle
from dawnchorus.tables.notes import counted
from dawnchorus.taxonomy.classes import nearest_species

MAX_UNKNOWN_NAMES = 20
"""Maximum number of unknown names for which similar names are searched, which takes 7 ms each."""


def describe_times(summaries: Iterable[RecordingSummary], builder: TableBuilder) -> Iterator[str]:
    """Yield sentences on missing times, contradictory metadata, and audio at a recording's end that is not scored.

    Each sentence is on all recordings that it applies to; there may be none.
    """
    clocks, unscored = ClockReport(), UnscoredReport()
    for summary in summaries:
        name, metadata = builder.name(summary.path), builder.metadata(summary.path, summary.metadata)
        unscored.add(name, builder.plan, max(summary.kept_s, key=builder.plan.unscored_s))
        has_time = metadata.start_time is not None
        clocks.add(name, has_time=has_time, conflict=metadata.conflict, unread=metadata.unread)
    yield from clocks.notes()
    if (note := unscored.note(builder.plan)) is not None:
        yield note


def describe_dropped(results: Iterable[ScoredRecording], builder: TableBuilder) -> Iterator[str]:
    """Yield one sentence on detections that are left out because their species is out of range; none without any."""
    counts: Counter[str] = Counter()
    example = ""
    for result in results:
        dropped = builder.count_dropped(result)
        counts += dropped
        if dropped and not example:
            example = f"{next(iter(dropped))} in {builder.name(result.path)}"
    if counts:
        yield (
            f"{counted(counts.total(), 'detection')} of {len(counts)} species left out as out of range, as {example}."
        )


def describe_unknown_names(bundle: Bundle, options: Options) -> Iterator[str]:
    """Yield a sentence for each of the first `MAX_UNKNOWN_NAMES` unknown names, and one for all further names.

    Unknown are names in the options `species` and `thresholds` that are no class of the bundle.
    """
    names = dict.fromkeys([*(options.species or ()), *options.thresholds])
    known = find_classes(bundle, names)
    unknown = [name for name in names if name not in known]
    yield from nearest_species(unknown[:MAX_UNKNOWN_NAMES], bundle.labels)
    if (n_others := len(unknown) - MAX_UNKNOWN_NAMES) > 0:
        yield f"not among the classes of the model: {counted(n_others, 'other name')}, as '{unknown[-1]}'."


def describe_thresholds(bundle: Bundle, options: Options) -> Iterator[str]:
    """Yield up to two sentences on the option `thresholds`, none without it.

    They are on thresholds of species that the option `species` leaves out, and on reported species that have no
    threshold. Names that are no class of the bundle are left to `describe_unknown_names`.
    """
    by_name = find_classes(bundle, options.thresholds)
    given = set(by_name.values())
    reported = set(find_classes(bundle, options.species or bundle.class_by_scientific_name).values())
    others = [
        label for index, label in enumerate(bundle.labels) if index in reported - given and label.kind == "species"
    ]
    unused = [name for name, index in by_name.items() if index not in reported]
    if unused:
        yield (
            f"thresholds: {len(unused)} of {len(by_name)} are of species that the species list leaves out (as "
            f"{unused[0]}), and have no effect."
        )
    if options.thresholds and others:
        yield (
            f"thresholds: none for {len(others)} of {len(reported)} classes of {bundle.info.name} (as "
            f"{others[0].scientific_name}), which are reported from score {options.min_score:g} on. A species list "
            f"leaves them out."
        )


def describe_range_check(builder: TableBuilder, *, has_location: bool) -> Iterator[str]:
    """Yield a sentence if the range model knows no class, or if range options are set but no recording was checked.

    `has_location` is True if a range filter is used, and at least one recording has a location.
    """
    options = builder.options
    if has_location and builder.range_filter is not None and (note := builder.range_filter.note()) is not None:
        yield note
    has_range_options = options.week is not None or options.range_threshold != DEFAULT_RANGE_THRESHOLD
    if (options.drop_out_of_range or has_range_options) and not has_location:
        yield (
            "no recording was checked for range: none has a location, or the model has no range model. Give "
            "latitude and longitude (--lat and --lon)."
        )
