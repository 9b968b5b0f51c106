"""Identification into an archive: the same rows as in a table, in any number of shards, after any interruption."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.archives import BROKEN, SOUNDS, table_rows, write_sounds
from tests.fixtures.disks import small_disk
from tests.fixtures.killed_workers import KillCounts, kill_until_done, start_worker, wait_for_workers

from dawnchorus.archive.archive import create_archive, open_archive
from dawnchorus.archive.maintenance import check_archive, compact_archive, read_status
from dawnchorus.archive.manifest import UnitSize, list_manifests
from dawnchorus.archive.schemas import MANIFEST
from dawnchorus.errors import InputError, ModelError, OutputError
from dawnchorus.identification import Options, archiving, identify
from dawnchorus.identification.archiving import ArchiveResult, archive_recordings, plan_archiving
from dawnchorus.models.bundle import Bundle

pytest.importorskip("deltalake")

ONE_EACH = UnitSize(max_recordings=1)


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    return write_sounds(tmp_path / "sounds")


@pytest.fixture
def expected(sounds: Path, band_bundle: Bundle) -> list[dict[str, object]]:
    """Rows of the table that `identify` gives."""
    return table_rows(identify(sounds, Options(min_score=0.25), model=band_bundle.folder).to_arrow())


def keep(sounds: Any, archive: str | Path, bundle: Bundle, **more: Any) -> ArchiveResult:
    return archive_recordings(sounds, archive, model=bundle.folder, **{"unit_size": ONE_EACH, "workers": 1, **more})


def test_rows_equal_those_of_a_table(
    sounds: Path, expected: list[dict[str, object]], band_bundle: Bundle, tmp_path: Path
) -> None:
    """One process = two shards = two shards, of which one is interrupted, continued as three, and compacted."""
    assert len(expected) == 6
    result = keep(sounds, tmp_path / "one", band_bundle)
    assert (result.counts.n_done, result.counts.n_failed, result.n_units, result.n_ended) == (4, 1, 5, 5)
    assert [Path(failure.recording).name for failure in result.failures] == [BROKEN]
    assert table_rows(result.archive.detections(min_score=0.25)) == expected

    shards = [keep(sounds, tmp_path / "two", band_bundle, shard=f"{k}/2") for k in (1, 2)]
    assert [each.n_units for each in shards] == [2, 3]
    assert {each.run for each in shards} == {result.run}
    assert table_rows(shards[0].archive.detections(min_score=0.25)) == expected

    done = 0

    def stop(_progress: object) -> None:
        nonlocal done
        done += 1
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep(sounds, tmp_path / "three", band_bundle, shard="1/2", report=stop)
    keep(sounds, tmp_path / "three", band_bundle, shard="2/2")
    rest = [keep(sounds, tmp_path / "three", band_bundle, shard=f"{k}/3") for k in (1, 2, 3)]
    assert sum(each.counts.n_resumed for each in rest) >= 3
    archive = rest[0].archive
    assert table_rows(archive.detections(min_score=0.25)) == expected
    list(compact_archive(archive))
    assert table_rows(archive.detections(min_score=0.25)) == expected
    assert check_archive(archive).is_whole


def test_the_list_is_pinned_until_it_is_resumed(sounds: Path, band_bundle: Bundle, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    first = keep(sounds, archive, band_bundle)
    again = keep(sounds, archive, band_bundle)
    counts = again.counts
    assert (counts.n_files, counts.n_done, counts.n_resumed, counts.n_failed, again.n_failed_before) == (5, 0, 4, 1, 1)
    shutil.copy(sounds / "A_20260430_040000.wav", sounds / "C_20260601_040000.wav")
    shutil.copy(sounds / "A_20260430_040000.wav", sounds / BROKEN)
    assert keep(sounds, archive, band_bundle).counts.n_done == 0
    with pytest.raises(InputError, match="resume: it lists the recordings again, which one process has to do"):
        keep(sounds, archive, band_bundle, resume=True, shard="1/2")
    resumed = keep(sounds, archive, band_bundle, resume=True)
    assert (resumed.run, resumed.counts.n_done, resumed.counts.n_failed) == (first.run, 2, 0)
    assert len(resumed.archive.detections().read_all()) == 12
    statuses = resumed.archive.recordings().read_all()["status"].to_pylist()
    assert statuses == ["done"] * 6
    (state,), _ = read_status(resumed.archive)
    assert (state.n_recordings, state.n_failed) == (6, 0), "a later result has superseded the failure"
    counts = keep(sounds, archive, band_bundle, resume=True).counts
    assert (counts.n_files, counts.n_done, counts.n_resumed, counts.n_failed) == (6, 0, 6, 0)


def test_recordings_that_are_gone_are_named_to_resume(
    sounds: Path, band_bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep(sounds, tmp_path / "archive", band_bundle)
    gone = sounds / "A_20260430_040000.wav"
    gone.rename(sounds / "moved.wav")
    keep(sounds, tmp_path / "archive", band_bundle)
    assert caplog.messages == [], "nothing is listed again"
    keep(sounds, tmp_path / "archive", band_bundle, resume=True)
    (said,) = caplog.messages
    assert said.startswith(f"not found any more: 1 recording of an earlier list, such as {gone}. ")
    assert "counts twice" in said


def test_shards_that_start_at_once_pin_one_list(
    sounds: Path, band_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the second one lists the recordings, the first one pins its list."""
    create_archive(tmp_path / "archive")
    list_files = archiving._list_files

    def list_slowly(given: Any) -> Any:
        files = list_files(given)
        monkeypatch.undo()
        keep(sounds, tmp_path / "archive", band_bundle, shard="1/2")
        return files

    monkeypatch.setattr(archiving, "_list_files", list_slowly)
    result = keep(sounds, tmp_path / "archive", band_bundle, shard="2/2")
    assert len(list_manifests(result.archive.table(MANIFEST))) == 1
    (state,), _ = read_status(result.archive)
    assert (state.n_units, state.n_ended) == (5, 5)


def test_plan_says_what_is_missing_and_writes_nothing(sounds: Path, band_bundle: Bundle, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    arguments: dict[str, Any] = {"model": band_bundle.folder, "unit_size": ONE_EACH}
    plan = plan_archiving(sounds, archive, **arguments)
    assert not archive.exists()
    assert (len(plan.sizes), len(plan.missing)) == (5, 5)
    assert [file.full_path for files in plan.missing.values() for file in files] == sorted(sounds.iterdir())
    assert sum(plan.missing_shares(3)) == pytest.approx(1.0)
    result = keep(sounds, archive, band_bundle, shard="1/2")
    before = sorted(archive.rglob("*"))
    plan = plan_archiving(sounds, archive, shard="2/2", **arguments)
    assert (plan.run, len(plan.sizes), len(plan.missing)) == (result.run, 5, 3)
    assert plan.missing_shares(2) == [0.0, 1.0]
    keep(sounds, archive, band_bundle)
    done = plan_archiving(sounds, archive, **arguments)
    assert (done.missing, done.missing_shares(2)) == ({}, [0.0, 0.0])
    shutil.copy(sounds / "A_20260430_040000.wav", sounds / "C_20260601_040000.wav")
    again = plan_archiving(sounds, archive, resume=True, **arguments)
    names = [file.full_path.name for files in again.missing.values() for file in files]
    assert names == [BROKEN, "C_20260601_040000.wav"]
    assert set(before) <= set(archive.rglob("*"))


def test_results_of_a_file_that_was_replaced_count_no_more(sounds: Path, band_bundle: Bundle, tmp_path: Path) -> None:
    """Also where the new one cannot be read; and it is read again, until it can."""
    archive, name = tmp_path / "archive", "A_20260430_040000.wav"
    keep(sounds, archive, band_bundle)
    (sounds / name).write_bytes(b"cut short while it was copied")
    for n_failed in (2, 2):
        result = keep(sounds, archive, band_bundle, resume=True)
        assert (result.counts.n_resumed, result.counts.n_failed) == (3, n_failed)
        rows = {Path(row["recording"]).name: row for row in result.archive.recordings().read_all().to_pylist()}
        assert (rows[name]["status"], len(rows)) == ("failed", 5)
        assert len(result.archive.detections().read_all()) == 3, "of six, without those of the earlier file"
        (state,), _ = read_status(result.archive)
        assert (state.n_recordings, state.n_failed) == (5, 2)
    shutil.copy(sounds / "B_20260501_040000.wav", sounds / name)
    assert keep(sounds, archive, band_bundle, resume=True).counts.n_failed == 1
    assert len(open_archive(archive).detections().read_all()) == 6
    (sounds / name).unlink()
    keep([sounds / name, sounds / "A_20260501_040000.wav"], archive, band_bundle)
    assert len(open_archive(archive).detections().read_all()) == 6, "a file that is away replaces none"


def test_recordings_of_another_list_are_not_doubled(sounds: Path, band_bundle: Bundle, tmp_path: Path) -> None:
    keep(sounds / "A_20260430_040000.wav", tmp_path / "archive", band_bundle)
    both = keep(sounds, tmp_path / "archive", band_bundle)
    assert (both.counts.n_files, both.counts.n_done) == (4, 3)
    assert keep(sounds / "A_20260430_040000.wav", tmp_path / "archive", band_bundle).counts.n_resumed == 1
    assert len(both.archive.detections().read_all()) == 6


def test_a_file_that_was_changed_or_removed_since_fails(sounds: Path, band_bundle: Bundle, tmp_path: Path) -> None:
    names = list(SOUNDS)

    def change(progress: Any) -> None:
        if progress.done == 0:
            shutil.copy(sounds / names[0], sounds / names[1])
            (sounds / names[2]).unlink(missing_ok=True)

    result = keep(sounds, tmp_path / "archive", band_bundle, report=change)
    reasons = {Path(failure.recording).name: failure.reason for failure in result.failures}
    assert set(reasons) == {names[1], names[2], BROKEN}
    assert "the file was changed since it was listed" in reasons[names[1]]
    assert keep(sounds, tmp_path / "archive", band_bundle, resume=True).counts.n_done == 1


def test_options_that_have_no_effect_are_refused(sounds: Path, band_bundle: Bundle, tmp_path: Path) -> None:
    for changes in ({"merge": True}, {"species": ("Avis gravis",)}, {"speech": "drop"}):
        with pytest.raises(InputError, match=f"{next(iter(changes))}: "):
            keep(sounds, tmp_path / "archive", band_bundle, **changes)
    with pytest.raises(InputError, match="workers: expected a whole number, 1 or more, got -1"):
        archive_recordings(sounds, tmp_path / "archive", model=band_bundle.folder, workers=-1)
    with pytest.raises(InputError, match="keep: expected any of embeddings, embeddings:int8, got 'sound'"):
        keep(sounds, tmp_path / "archive", band_bundle, keep=["sound"])
    with pytest.raises(InputError, match="No recordings found"):
        keep(tmp_path / "none", tmp_path / "archive", band_bundle)
    assert not (tmp_path / "archive").exists()


@pytest.mark.parametrize("url", ["https://me:SECRET@127.0.0.1:1/x.wav", "https://127.0.0.1:1/x.wav?sig=SECRET"])
def test_urls_with_what_an_archive_does_not_keep_are_refused(url: str, band_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="an archive keeps no users, passwords, signatures") as refused:
        keep(["a.wav", url], tmp_path / "archive", band_bundle)
    assert "SECRET" not in str(refused.value)
    assert not (tmp_path / "archive").exists()


def test_a_model_without_embeddings_cannot_keep_them(sounds: Path, level_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="level: this model has no embeddings to keep"):
        keep(sounds, tmp_path / "archive", level_bundle, keep=["embeddings"])


def test_the_floor_says_what_is_kept(sounds: Path, level_bundle: Bundle, tmp_path: Path) -> None:
    path = sounds / "A_20260430_040000.wav"
    result = keep(path, tmp_path / "archive", level_bundle)
    assert len(result.archive.detections().read_all()) == 6
    best = keep(path, tmp_path / "archive", level_bundle, top=1, min_score=0.5)
    assert len(best.archive.detections(runs=best.run).read_all()) == 3
    assert best.run != result.run


def test_a_full_disk_keeps_what_was_committed(
    sounds: Path, expected: list[dict[str, object]], band_bundle: Bundle, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        archive = disk / "archive"
        filler = disk / "filler"

        def fill(progress: Any) -> None:
            if progress.done == 2 and not filler.exists():
                free = shutil.disk_usage(disk).free
                filler.write_bytes(bytes(free))

        with pytest.raises(OutputError, match="cannot be written .*same command again"):
            keep(sounds, archive, band_bundle, report=fill)
        filler.unlink()
        result = keep(sounds, archive, band_bundle)
        assert result.counts.n_resumed >= 1
        assert table_rows(result.archive.detections(min_score=0.25)) == expected
        assert check_archive(result.archive).is_whole


@pytest.mark.parametrize(("table", "n"), [("detections", 0), ("recordings", 0), ("recordings", 1)])
@pytest.mark.ops
def test_kills_between_rows_and_end_lose_and_double_nothing(
    sounds: Path, expected: list[dict[str, object]], band_bundle: Bundle, place: str, table: str, n: int
) -> None:
    archive = place
    killed = start_worker(sounds, archive, band_bundle.folder, "1/2", table, n)
    other = start_worker(sounds, archive, band_bundle.folder, "2/2")
    assert wait_for_workers(killed, other) == [-signal.SIGKILL, 0]
    (state,), workers = read_status(open_archive(archive))
    assert [worker.is_lost for worker in workers] == [False], "not seen for some seconds only"
    assert state.n_ended < state.n_units
    rest = [start_worker(sounds, archive, band_bundle.folder, f"{k}/3") for k in (1, 2, 3)]
    assert wait_for_workers(*rest) == [0, 0, 0]
    opened = open_archive(archive)
    assert table_rows(opened.detections(min_score=0.25)) == expected
    report = check_archive(opened)
    assert report.is_whole
    assert (len(report.surplus) > 0) == ((table, n) == ("recordings", 0)), "the second unit has no detections"


@pytest.mark.ops
def test_kills_at_any_time_lose_and_double_nothing(band_bundle: Bundle, tmp_path: Path, place: str) -> None:
    """Shards of other numbers at once, also the same one twice; `make kills` does more of it."""
    sounds = write_sounds(tmp_path / "sounds")
    for k in range(20):
        shutil.copy(sounds / "A_20260430_040000.wav", sounds / f"C{k:02d}_20260601_040000.wav")
    expected = table_rows(identify(sounds, Options(min_score=0.25), model=band_bundle.folder).to_arrow())
    rng, counts = random.Random(1), KillCounts()
    while counts.n_kills < 12:
        archive = f"{place}-{counts.n_archives}"
        kill_until_done(sounds, archive, band_bundle.folder, rng, counts)
        opened = open_archive(archive)
        assert table_rows(opened.detections(min_score=0.25)) == expected
        assert len(opened.recordings().read_all()) == 25
    assert counts.faults == []
