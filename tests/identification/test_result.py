"""A run's choices and counts: which scores are kept, which range model is asked, and what is reported."""

from __future__ import annotations

import gc
import sqlite3
from collections import Counter
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import soundfile
from tests.fixtures.ranges import range_bundle

from dawnchorus.audio.windows import WindowPlan
from dawnchorus.identification import Options, RunCounts, identify
from dawnchorus.identification.detection_table import TableBuilder
from dawnchorus.identification.journal import Journal
from dawnchorus.identification.range_filter import RangeFilter
from dawnchorus.identification.result import RecordingFailure, Run, build_provenance
from dawnchorus.identification.run import open_range_filter
from dawnchorus.inference.analyses.hits import HIT
from dawnchorus.inference.model import Model
from dawnchorus.inference.results import FailedRecording, ScoredChannel, ScoredRecording
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore
from dawnchorus.types import AudioInfo, Progress, RecordingMetadata, Segment

MARK = (1, 2)
BROKEN = Path("/data/caf\udce9.wav")


# ---------------------------------------------------------------------- which range model is asked


class Store:
    """A store with a range model, which remembers whether it was opened."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle, self.folder = bundle, bundle.folder.parent
        self.opened: list[str | Path] = []

    def open(self, model: str | Path) -> Bundle:
        self.opened.append(model)
        return self._bundle


@pytest.fixture
def northern(tmp_path: Path, level_bundle: Bundle) -> Bundle:
    return range_bundle(tmp_path, level_bundle)


def opens_range_model(
    northern: Bundle, bundle: Bundle, recordings: dict[Path, RecordingMetadata] | None = None, **options: float
) -> bool:
    """Find the range filter; return whether there is one, which comes from the store."""
    store = Store(northern)
    range_filter = open_range_filter(Model(bundle, cast(ModelStore, store)), Options(**options), recordings)  # type: ignore[arg-type]
    assert (range_filter is not None) == (store.opened == ["birdnet"])
    return range_filter is not None


def test_range_model_runs_where_a_location_is_known(northern: Bundle, level_bundle: Bundle) -> None:
    somewhere, nowhere = RecordingMetadata(latitude=0.0, longitude=0.0), RecordingMetadata()
    assert opens_range_model(northern, level_bundle, latitude=0.0, longitude=0.0)
    assert opens_range_model(northern, level_bundle, {Path("/a"): nowhere, Path("/b"): somewhere})
    assert opens_range_model(northern, level_bundle, {Path("/a"): nowhere}, latitude=0.0, longitude=0.0)
    assert not opens_range_model(northern, level_bundle)
    assert not opens_range_model(northern, level_bundle, {})
    assert not opens_range_model(northern, level_bundle, {Path("/a"): nowhere})


def test_bundles_own_range_model_is_used(northern: Bundle) -> None:
    store = Store(northern)
    range_filter = open_range_filter(Model(northern, cast(ModelStore, store)), Options(range_threshold=0.75), None)
    assert store.opened == []
    assert range_filter is not None
    assert range_filter.expected(latitude=47, longitude=48, week=1)[:2] == [False, True]


def test_location_and_week_without_effect_are_said(tmp_path: Path, northern: Bundle, level_bundle: Bundle) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(16_000, 0.5), 16_000)

    class Store(ModelStore):
        def open(self, name_or_folder: str | Path) -> Bundle:
            assert name_or_folder == "birdnet"
            return northern

    def notes(**options: float) -> list[str]:
        given = Options(**options)  # type: ignore[arg-type]
        run = identify(tmp_path / "a.wav", given, model=Model(level_bundle, Store(tmp_path)), workers=1).notes
        return [note for note in run if not note.startswith("no time found")]

    assert notes() == []
    (note,) = notes(latitude=1.0, longitude=1.0)
    assert note.startswith(
        "location and week have no effect: the range model of level knows none of the classes of level"
    )
    (note,) = notes(week=3)
    assert note.startswith("no recording was checked for range")


# ---------------------------------------------------------------------- what is reported


def run_of(bundle: Bundle, *, range_filter: RangeFilter | None = None, **options: object) -> Run:
    """Return a run of two recordings, the first broken."""
    plan = WindowPlan.from_seconds(rate_hz=16_000, window_s=1.0)
    journal = Journal(None)
    journal.start({})
    scored = ScoredRecording(
        Path("/data/a.wav"),
        AudioInfo("WAV", "PCM_16", 16_000, 1, None),
        RecordingMetadata(),
        2.0,
        ("truncated",),
        (ScoredChannel({"hits": np.array([(0, 0, 0.5), (0, 1, 0.5), (1, 0, 0.5)], HIT)}),),
        (Segment(0.5, 0.75), Segment(1.0, 1.5)),
    )
    journal.add_failure(FailedRecording(BROKEN, "broken"), MARK)
    journal.add(scored, MARK)
    builder = TableBuilder(bundle, plan, Options(**options), range_filter, {})  # type: ignore[arg-type]
    paths = (BROKEN, scored.path, Path("/data/never.wav"))
    return Run(bundle, paths, RunCounts(len(paths)), journal, builder)


def test_run_tells_failures_warnings_and_voices(level_bundle: Bundle) -> None:
    run = run_of(level_bundle)
    assert run.failures == (RecordingFailure("/data/caf\\udce9.wav", "broken"),)
    assert run.warnings == (RecordingFailure("/data/a.wav", "truncated"),)
    assert (run.speech_s, run.has_location) == (0.75, False)
    with pytest.raises(FrozenInstanceError):
        run.failures[0].reason = ""  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        run.paths = ()  # type: ignore[misc]


def test_run_has_a_table_of_each_scored_recording(level_bundle: Bundle) -> None:
    run = run_of(level_bundle)
    assert [run.table(path) is None for path in run.paths] == [True, False, True]
    assert [table.recording for table in run.tables()] == ["/data/a.wav"]
    assert run.species_counts() == Counter(
        {("species", "Avis magna", "Loud Bird"): 2, ("species", "Avis parva", "Quiet Bird"): 1}
    )


@pytest.mark.parametrize(("has_model", "has_location"), [(False, False), (False, True), (True, False), (True, True)])
def test_range_filter_is_noted_where_it_was_used(
    northern: Bundle, level_bundle: Bundle, has_model: bool, has_location: bool
) -> None:
    given = RangeFilter(northern, bundle=level_bundle, threshold=0.5) if has_model else None
    location = {"latitude": 0.0, "longitude": 0.0} if has_location else {}
    run = run_of(level_bundle, range_filter=given, **location)
    assert run.has_location is (has_model and has_location)
    assert run.provenance.parameters["range_filter"] is (has_model and has_location)
    assert run.provenance is run.provenance


def test_provenance_names_model_and_every_option(level_bundle: Bundle) -> None:
    made = build_provenance(level_bundle, Options(tta_shifts=2, week=3, speech="flag"), range_filter=True)
    assert (made.model, made.model_version, made.bundle_id) == ("level", "1", level_bundle.id)
    assert made.software.startswith("dawnchorus ")
    assert made.parameters == {
        "min_score": 0.25, "overlap_s": 0.0, "top": None, "species": None, "thresholds": {}, "channel": "mean",
        "tta_shifts": 2, "merge": False, "latitude": None, "longitude": None, "week": 3, "range_filter": True,
        "range_threshold": 0.03, "drop_out_of_range": False, "speech": "flag",
    }  # fmt: skip


def test_progress_counts_recordings_windows_and_seconds(tmp_path: Path, level_bundle: Bundle) -> None:
    """Of two recordings of two seconds, three windows each with half a second of overlap, and two hits in a window."""
    audio_folder = tmp_path / "sounds"
    audio_folder.mkdir()
    for name in ("a.wav", "b.wav"):
        soundfile.write(audio_folder / name, np.full(32_000, 0.5), 16_000)
    (audio_folder / "broken.wav").write_text("no sound")
    (audio_folder / "empty.wav").write_bytes(b"")
    seen: list[Progress] = []

    def scored(**more: bool) -> Run:
        seen.clear()
        return identify(
            audio_folder,
            Options(overlap_s=0.5),
            model=level_bundle.folder,
            out=tmp_path / "x.csv",
            workers=2,
            report=seen.append,
            **more,  # type: ignore[arg-type]
        )

    run = scored()
    metrics = {"n_resumed": 0, "n_done": 0, "n_failed": 0, "n_detections": 0, "scored_s": 0.0}
    assert seen[0] == Progress("identifying", 0, 4, "recordings", metrics)
    assert seen[-1] == run.counts.as_progress("identifying")
    assert run.counts == RunCounts(n_files=4, n_resumed=0, n_done=2, n_failed=2, n_detections=12, scored_s=4.0)
    assert [Path(problem.recording).name for problem in run.failures] == ["broken.wav", "empty.wav"]
    run = scored(resume=True)
    assert (seen[0].done, seen[0].metrics["n_resumed"]) == (2, 2)
    assert run.counts == RunCounts(n_files=4, n_resumed=2, n_failed=2)
    assert run.warnings == ()


def test_journal_of_a_run_is_closed_with_it(level_bundle: Bundle, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(16_000, 0.5), 16_000)
    run = identify(tmp_path / "a.wav", model=level_bundle.folder, workers=1)
    database = run.journal._db
    del run
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        database.execute("SELECT 1")


def test_journal_is_closed_when_a_run_is_interrupted(
    level_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(16_000, 0.5), 16_000)
    closed: list[Journal] = []
    monkeypatch.setattr(Journal, "close", lambda self: closed.append(self))  # noqa: PLW0108 - as a method

    def interrupt(_progress: Progress) -> None:
        raise KeyboardInterrupt

    for out in (None, tmp_path / "x.csv"):
        with pytest.raises(KeyboardInterrupt):
            identify(tmp_path / "a.wav", model=level_bundle.folder, out=out, report=interrupt)
    assert [journal.path for journal in closed] == [None, tmp_path / ".x.csv.journal"]


def test_tables_are_read_though_only_they_are_kept(level_bundle: Bundle, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(16_000, 0.5), 16_000)
    tables = identify(tmp_path / "a.wav", model=level_bundle.folder, workers=1).tables()
    gc.collect()
    assert len(list(tables)) == 1
