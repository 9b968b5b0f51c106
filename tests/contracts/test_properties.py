"""Rules that hold for every input: what is joined, resampled, or written and read again."""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dawnchorus.audio.decode import resampler
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, read_table, write_table
from dawnchorus.formats.detection_columns import DetectionColumns
from dawnchorus.identification.detection_table import merge_events
from dawnchorus.taxonomy.labels import Label, read_labels, write_labels
from dawnchorus.types import Detection

species = st.sampled_from(["Cuculus canorus", "Parus major", "Strix aluco"])


@st.composite
def windows(draw: st.DrawFn) -> list[Detection]:
    """Detections of windows of three seconds, some overlapping."""
    step = draw(st.sampled_from([3.0, 1.5, 1.0]))
    scored_windows = draw(
        st.lists(st.tuples(st.integers(0, 30), species, st.floats(0, 1)), max_size=40, unique_by=lambda w: w[:2])
    )
    return [Detection(step * k, step * k + 3, name, name, "species", score) for k, name, score in scored_windows]


@given(rows=windows())
def test_events_cover_their_windows_and_nothing_else(rows: list[Detection]) -> None:
    events = merge_events(DetectionColumns.from_detections(rows))
    assert merge_events(events) == events
    for row in rows:
        over = [
            e
            for e in events
            if e.scientific_name == row.scientific_name and e.start_s <= row.start_s and e.end_s >= row.end_s
        ]
        assert len(over) == 1
        assert over[0].score >= row.score
    for event in events:
        own = [r for r in rows if r.scientific_name == event.scientific_name]
        inside = [r for r in own if event.start_s <= r.start_s and r.end_s <= event.end_s]
        assert event.start_s == min(r.start_s for r in inside)
        assert event.end_s == max(r.end_s for r in inside)
        assert event.score == max(r.score for r in inside)
    assert [e.start_s for e in events] == sorted(e.start_s for e in events)


@given(
    n=st.integers(1, 20_000),
    rate_in_hz=st.integers(4_000, 96_000),
    rate_out_hz=st.sampled_from([16_000, 22_050, 32_000, 48_000]),
    block=st.integers(1, 7_000),
)
def test_resampled_audio_keeps_its_length_for_any_block_sizes(
    n: int, rate_in_hz: int, rate_out_hz: int, block: int
) -> None:
    sound = np.sin(np.arange(n, dtype=np.float32) / 7)

    def resampled(size: int) -> np.ndarray:
        stream = resampler(rate_in_hz, rate_out_hz)
        parts = [stream.resample_chunk(sound[k : k + size], last=k + size >= n) for k in range(0, n, size)]
        return np.concatenate(parts)

    whole, in_blocks = resampled(n), resampled(block)
    assert abs(len(whole) - n * rate_out_hz / rate_in_hz) <= 1
    assert len(whole) == len(in_blocks)
    np.testing.assert_allclose(whole, in_blocks, atol=1e-5)


names = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=40).filter(str.strip)
labels = st.lists(
    st.builds(Label, names, names, st.sampled_from(["species", "sound"])),
    min_size=1,
    max_size=12,
    unique_by=lambda label: label.scientific_name,
)


@given(labels=labels)
def test_labels_come_back_as_they_were_written(labels: list[Label]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "labels.csv")
        write_labels(path, labels)
        assert read_labels(path) == tuple(labels)


rows = st.builds(
    RecordingRow,
    recording_id=names,
    path=names,
    scientific_name=st.none() | names,
    common_name=st.none() | names,
    secondary=st.lists(names, max_size=3).map(tuple),
    latitude=st.none() | st.floats(-90, 90),
    longitude=st.none() | st.floats(-180, 180),
    duration_s=st.none() | st.floats(0, 1e6),
    rate_hz=st.none() | st.integers(1, 2**31 - 1),
    n_bytes=st.none() | st.integers(0, 2**62),
    problems=st.lists(names, max_size=2).map(tuple),
    split=st.none() | st.sampled_from(["train", "valid", "test"]),
)


@given(rows=st.lists(rows, max_size=8))
def test_recordings_tables_come_back_as_they_were_written(rows: list[RecordingRow]) -> None:
    distinct = tuple(replace(row, recording_id=f"{k}{row.recording_id}") for k, row in enumerate(rows))
    with tempfile.TemporaryDirectory() as folder:
        write_table(RecordingsTable(Path(folder), distinct))
        table = read_table(Path(folder))
    assert table.rows == distinct
    assert not any(isinstance(row.latitude, float) and math.isnan(row.latitude) for row in table.rows)
