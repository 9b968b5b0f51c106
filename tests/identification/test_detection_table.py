"""From hits to rows: times, location, week, what is dropped and what is joined."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.ranges import KNOWN, range_bundle

from dawnchorus.audio.windows import WindowPlan
from dawnchorus.formats.detection_columns import DetectionColumns
from dawnchorus.identification import Options
from dawnchorus.identification.detection_table import TableBuilder, merge_events
from dawnchorus.identification.input_tables import DatedMetadata
from dawnchorus.identification.options import ALL_YEAR
from dawnchorus.identification.range_filter import RangeFilter
from dawnchorus.inference.analyses.hits import HIT
from dawnchorus.inference.results import ScoredChannel, ScoredRecording
from dawnchorus.models.bundle import Bundle, Calibration
from dawnchorus.taxonomy.labels import Label
from dawnchorus.types import AudioInfo, Detection, RecordingMetadata, RecordingTable, Segment

PATH = Path("/data/a.wav")
PLAN = WindowPlan(rate_hz=16_000, window_samples=16_000, hop_samples=8_000)
NOWHERE = RecordingMetadata()
BERLIN = RecordingMetadata(datetime(2026, 5, 1, 4, 30), 52.5, 13.4, "AudioMoth", "guano")


def scored(
    *hits: tuple[int, int, float],
    metadata: RecordingMetadata = NOWHERE,
    duration_s: float = 10.0,
    speech: tuple[Segment, ...] = (),
) -> ScoredRecording:
    info = AudioInfo("WAV", "PCM_16", 44_100, 1, None)
    return ScoredRecording(
        PATH, info, metadata, duration_s, (), (ScoredChannel({"hits": np.array(list(hits), HIT)}),), speech
    )


def builder(bundle: Bundle, origins: dict[Path, RecordingMetadata] | None = None, **options: object) -> TableBuilder:
    return TableBuilder(bundle, PLAN, Options(**options), None, origins or {})  # type: ignore[arg-type]


@pytest.fixture
def northern(tmp_path: Path, level_bundle: Bundle) -> Bundle:
    """Class 0 is expected north of 32 degrees, class 1 east of 32; class 4 is not known."""
    bundle = range_bundle(tmp_path, level_bundle)
    return replace(bundle, labels=(*bundle.labels, Label("Avis nova", "New Bird")))


def range_filter(bundle: Bundle) -> RangeFilter:
    return RangeFilter(replace(bundle, labels=KNOWN), bundle=bundle, threshold=0.5)


def in_range(bundle: Bundle, metadata: RecordingMetadata, **options: object) -> dict[str, bool | None]:
    filtered = replace(builder(bundle, **options), range_filter=range_filter(bundle))
    table = filtered.build(scored(*[(0, k, 0.5) for k in (0, 1, 4)], metadata=metadata))
    return {detection.common_name: detection.in_range for detection in table.detections}


def test_rows_have_the_times_of_their_windows(level_bundle: Bundle) -> None:
    table = builder(level_bundle).build(scored((0, 0, 0.5), (1, 1, 0.75), (4, 2, 1.0), duration_s=2.75))
    assert table == RecordingTable(
        recording="/data/a.wav",
        duration_s=2.75,
        rate_hz=44_100,
        metadata=NOWHERE,
        week=None,
        detections=(
            Detection(0.0, 1.0, "Avis magna", "Loud Bird", "species", 0.5),
            Detection(0.5, 1.5, "Avis parva", "Quiet Bird", "species", 0.75),
            Detection(2.0, 2.75, "Engine", "Engine", "sound", 1.0),
        ),
    )


def test_channels_are_merged_apart_and_share_their_voices(level_bundle: Bundle) -> None:
    """A person who speaks beside one microphone is in the others, too, if not as loud."""
    hits = [np.array([(0, 0, score), (1, 0, 0.5)], HIT) for score in (0.5, 0.75)]
    given = replace(
        scored(speech=(Segment(1.2, 1.3),)),
        channels=tuple(ScoredChannel({"hits": each}, channel=number) for number, each in enumerate(hits, start=1)),
    )
    table = builder(level_bundle, channel="each", speech="flag").build(given)
    assert [(d.start_s, d.score, d.channel, d.human_voice) for d in table.detections] == [
        (0.0, 0.75, 2, False),
        (0.0, 0.5, 1, False),
        (0.5, 0.5, 1, True),
        (0.5, 0.5, 2, True),
    ]
    assert [[d.score for d in each.detections] for each in table.by_channel()] == [[0.5, 0.5], [0.75, 0.5]]
    assert [each.channel for each in table.by_channel()] == [1, 2]
    merged = builder(level_bundle, channel="each", merge=True).build(given).detections
    assert [(d.start_s, d.end_s, d.score, d.channel) for d in merged] == [(0.0, 1.5, 0.75, 2), (0.0, 1.5, 0.5, 1)]


def test_row_never_ends_before_it_starts(level_bundle: Bundle) -> None:
    (detection,) = builder(level_bundle).build(scored((4, 0, 0.5), duration_s=1.5)).detections
    assert (detection.start_s, detection.end_s) == (2.0, 2.0)


def test_probability_is_the_calibrated_score(level_bundle: Bundle) -> None:
    """sigmoid(2 * log odds of 0.75) = sigmoid(2 ln 3) = 9 / 10."""
    info = level_bundle.info.model_copy(update={"calibration": Calibration(scale=2, offset=0, n_recordings=9)})
    (detection,) = builder(replace(level_bundle, info=info)).build(scored((0, 0, 0.75))).detections
    assert detection.probability == pytest.approx(0.9)


def test_week_is_the_options_or_else_the_recordings(level_bundle: Bundle) -> None:
    assert builder(level_bundle).build(scored(metadata=BERLIN)).week == 17
    assert builder(level_bundle, week=3).build(scored(metadata=BERLIN)).week == 3
    assert builder(level_bundle, week=3).build(scored()).week == 3
    conflict = builder(level_bundle, week=3).build(scored(metadata=BERLIN)).metadata.conflict
    assert conflict
    assert conflict.startswith("week 3 is given, ")
    assert conflict.endswith("(week 17)")
    assert builder(level_bundle, week=17).build(scored(metadata=BERLIN)).metadata.conflict is None
    assert builder(level_bundle, week=ALL_YEAR).build(scored(metadata=BERLIN)).week is None
    assert builder(level_bundle, week=ALL_YEAR).build(scored(metadata=BERLIN)).metadata.conflict is None
    assert builder(level_bundle).build(scored()).week is None


def test_table_of_recordings_wins_over_the_file(level_bundle: Bundle) -> None:
    def metadata(**given: object) -> RecordingMetadata:
        return builder(level_bundle, {PATH: RecordingMetadata(**given)}).metadata(PATH, BERLIN)  # type: ignore[arg-type]

    assert builder(level_bundle).metadata(PATH, BERLIN) == BERLIN
    assert metadata() == BERLIN
    moment = datetime(2025, 1, 1)
    assert metadata(start_time=moment, source="x.csv") == replace(BERLIN, start_time=moment, source="x.csv")
    other = f"(0.0, 0.0) is given, {BERLIN.source or 'the file'} says ({BERLIN.latitude}, {BERLIN.longitude})"
    assert metadata(latitude=0.0, longitude=0.0) == replace(BERLIN, latitude=0.0, longitude=0.0, conflict=other)
    assert metadata(latitude=BERLIN.latitude, longitude=BERLIN.longitude).conflict is None
    everything = RecordingMetadata(moment, 1.0, 2.0, None, "x.csv")
    assert builder(level_bundle, {PATH: everything}).metadata(PATH, NOWHERE) == everything
    assert builder(level_bundle, {Path("/data/b.wav"): everything}).metadata(PATH, BERLIN) == BERLIN


def test_location_of_the_options_wins_over_all(level_bundle: Bundle) -> None:
    given = builder(level_bundle, {PATH: RecordingMetadata(latitude=1.0, longitude=2.0)}, latitude=0.0, longitude=9.0)
    metadata = given.metadata(PATH, BERLIN)
    assert (metadata.latitude, metadata.longitude) == (0.0, 9.0)
    assert (metadata.conflict or "").startswith("(0.0, 9.0) is given, ")


def test_relative_path_has_the_location_of_its_absolute_one(
    level_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = builder(level_bundle, {tmp_path / "a.wav": RecordingMetadata(latitude=1.0, longitude=2.0)})
    assert given.metadata(Path("a.wav"), NOWHERE).latitude == 1.0


def test_range_is_known_where_both_coordinates_are(northern: Bundle) -> None:
    north_east = {"Northern Bird": True, "Eastern Bird": True, "New Bird": None}
    assert in_range(northern, RecordingMetadata(latitude=60, longitude=60)) == north_east
    assert in_range(northern, RecordingMetadata(latitude=60, longitude=0)) == north_east | {"Eastern Bird": False}
    unknown = dict.fromkeys(north_east)
    assert in_range(northern, RecordingMetadata(latitude=60)) == unknown
    assert in_range(northern, RecordingMetadata(longitude=60)) == unknown
    assert in_range(northern, NOWHERE) == unknown


def test_location_without_a_range_model_flags_nothing(level_bundle: Bundle) -> None:
    (detection,) = builder(level_bundle).build(scored((0, 0, 0.5), metadata=BERLIN)).detections
    assert detection.in_range is None


def test_range_filter_uses_the_week(northern: Bundle) -> None:
    """Class 2 has minus the week as its probability: expected without a week and all year, both asked for as -1."""
    filtered = replace(builder(northern), range_filter=range_filter(northern))
    for metadata, expected in ((replace(BERLIN, start_time=None), True), (BERLIN, False)):
        (detection,) = filtered.build(scored((0, 2, 0.5), metadata=metadata)).detections
        assert detection.in_range is expected
    filtered = replace(builder(northern, week=ALL_YEAR), range_filter=range_filter(northern))
    (detection,) = filtered.build(scored((0, 2, 0.5), metadata=BERLIN)).detections
    assert detection.in_range is True


def test_only_what_is_out_of_range_is_dropped(northern: Bundle) -> None:
    north = RecordingMetadata(latitude=60, longitude=0)
    assert in_range(northern, north, drop_out_of_range=True) == {"Northern Bird": True, "New Bird": None}
    assert set(in_range(northern, NOWHERE, drop_out_of_range=True).values()) == {None}
    dropping = replace(builder(northern, drop_out_of_range=True), range_filter=range_filter(northern))
    assert dropping.count_dropped(scored((0, 0, 0.5), (0, 1, 0.5), (1, 1, 0.5), metadata=north)).total() == 2
    assert not dropping.count_dropped(scored((0, 1, 0.5), metadata=NOWHERE))


VOICE = (Segment(1.0, 2.0),)


@pytest.mark.parametrize(
    ("window", "has_voice"),
    [(0, False), (1, True), (2, True), (3, True), (4, False), (7, False)],
)
def test_voice_is_in_windows_that_overlap_it(level_bundle: Bundle, window: int, has_voice: bool) -> None:
    """Windows of a second begin every half: one that only touches the voice has none of it."""
    (detection,) = builder(level_bundle, speech="flag").build(scored((window, 0, 0.5), speech=VOICE)).detections
    assert detection.human_voice is has_voice


def test_uses_of_a_voice(level_bundle: Bundle) -> None:
    detected = scored((0, 0, 0.5), (2, 0, 0.5), (4, 0, 0.5), speech=VOICE)
    tables = {use: builder(level_bundle, speech=use).build(detected) for use in (None, "flag", "blank", "drop")}
    assert {use: [detection.human_voice for detection in table.detections] for use, table in tables.items()} == {
        None: [None, None, None],
        "flag": [False, True, False],
        "blank": [False, True, False],
        "drop": [False, False],
    }
    assert {use: table.speech for use, table in tables.items()} == {
        None: (), "flag": VOICE, "blank": VOICE, "drop": VOICE
    }  # fmt: skip
    assert {use for use, table in tables.items() if table.is_silenced} == {"blank", "drop"}


def row(start_s: float, end_s: float, name: str = "a", score: float = 0.5, **more: object) -> Detection:
    return Detection(start_s, end_s, name, name, "species", score, **more)  # type: ignore[arg-type]


def merged(rows: list[Detection]) -> list[Detection]:
    return list(merge_events(DetectionColumns.from_detections(rows)))


def test_events_join_over_a_gap_of_a_millisecond() -> None:
    assert merged([row(0, 3), row(3.0009, 6)]) == [row(0, 6)]
    assert merged([row(0, 3), row(3.0015, 6)]) == [row(0, 3), row(3.0015, 6)]


def test_event_has_the_best_of_its_windows() -> None:
    first = row(0, 3, score=0.9, probability=0.2, human_voice=False)
    second = row(2, 4, score=0.3, probability=0.7, human_voice=True)
    best = row(0, 4, score=0.9, probability=0.7, human_voice=True)
    assert merged([first, second]) == [best]
    assert merged([second, first]) == [best]
    assert merged([first, row(1, 2)]) == [replace(first, human_voice=None)]
    assert merged([row(0, 3), row(1, 2)]) == [row(0, 3)]


def test_events_are_ordered_by_start_score_and_name() -> None:
    rows = [row(0, 1, "b", 0.3), row(0, 1, "c", 0.7), row(0, 1, "a", 0.3), row(5, 6, "a", 0.9), row(5, 6, "b", 0.95)]
    assert [(detection.start_s, detection.scientific_name) for detection in merged(rows)] == [
        (0, "c"), (0, "a"), (0, "b"), (5, "b"), (5, "a")
    ]  # fmt: skip


def test_merging_is_off_by_default(level_bundle: Bundle) -> None:
    hits = scored((0, 0, 0.5), (1, 0, 0.75), (6, 0, 0.5))
    assert len(builder(level_bundle).build(hits).detections) == 3
    merged = builder(level_bundle, merge=True).build(hits).detections
    assert [(detection.start_s, detection.end_s, detection.score) for detection in merged] == [
        (0.0, 1.5, 0.75),
        (3.0, 4.0, 0.5),
    ]


def test_builder_cannot_be_changed(level_bundle: Bundle) -> None:
    with pytest.raises(FrozenInstanceError):
        builder(level_bundle).origins = {}  # type: ignore[misc]


def test_day_of_the_table_gives_the_week_and_no_time(level_bundle: Bundle) -> None:
    def build(day: date) -> RecordingTable:
        return builder(level_bundle, {PATH: DatedMetadata(day=day, source="x.csv")}).build(scored(metadata=BERLIN))

    same, other = build(date(2026, 5, 1)), build(date(2026, 8, 1))
    assert (same.week, same.metadata.start_time) == (17, BERLIN.start_time)
    assert (other.week, other.metadata.start_time) == (29, None)


def detection(start_s: float, end_s: float, name: str = "a", score: float = 0.5) -> Detection:
    return Detection(start_s, end_s, name, name, "species", score)


def test_events_join_over_overlaps_and_not_over_gaps() -> None:
    rows = [detection(0, 3, score=0.3), detection(1.5, 4.5, score=0.9), detection(4.5, 7.5), detection(8, 11)]
    rows += [detection(2, 5, "b")]
    assert [
        (d.scientific_name, d.start_s, d.end_s, d.score) for d in merge_events(DetectionColumns.from_detections(rows))
    ] == [
        ("a", 0, 7.5, 0.9),
        ("b", 2, 5, 0.5),
        ("a", 8, 11, 0.5),
    ]
