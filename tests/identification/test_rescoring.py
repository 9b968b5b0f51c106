"""Scores from kept embeddings: those of the audio, as runs of the archive, exactly once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.archives import SOUNDS, write_sounds
from tests.fixtures.heads import HEAD_LABELS, write_head

from dawnchorus.archive.archive import Archive, open_archive
from dawnchorus.archive.maintenance import check_archive, compact_archive, read_status
from dawnchorus.archive.manifest import UnitSize
from dawnchorus.archive.writer import UnitWriter
from dawnchorus.errors import InputError, ModelError, NotFoundError
from dawnchorus.identification.archiving import archive_recordings
from dawnchorus.identification.rescoring import rescore_archive
from dawnchorus.models.bundle import Bundle

deltalake = pytest.importorskip("deltalake")

ONE_EACH = UnitSize(max_recordings=1)
EXACT = ("recording", "start_s", "end_s", "start_time", "scientific_name", "channel", "in_range", "latitude", "week")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sounds(tmp_path_factory.mktemp("rescored") / "sounds")


@pytest.fixture(scope="module")
def head(band_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_head(band_bundle, tmp_path_factory.mktemp("heads") / "head")


@pytest.fixture(scope="module")
def kept(sounds: Path, band_bundle: Bundle) -> Path:
    """An archive with embeddings, in units of two recordings."""
    return Path(keep(sounds, sounds.parent / "kept", band_bundle).location.root)


@pytest.fixture
def archive(kept: Path, tmp_path: Path) -> Archive:
    """A copy of the archive."""
    return open_archive(shutil.copytree(kept, tmp_path / "archive"))


def keep(sounds: Any, folder: Path, bundle: Bundle, **more: Any) -> Archive:
    settings: dict[str, Any] = {"keep": ["embeddings"], "unit_size": UnitSize(max_recordings=2), "workers": 1, **more}
    return archive_recordings(sounds, folder, model=bundle.folder, **settings).archive


def rescore(archive: Archive, head: Bundle, **more: Any) -> Any:
    (result,) = rescore_archive(archive.location.root, head.folder, workers=1, **more)
    return result


def rows(archive: Archive, **more: Any) -> list[tuple[Any, ...]]:
    """Return the detections without their scores, in order."""
    read = (
        archive.detections(**more).read_all().sort_by([(name, "ascending") for name in (*EXACT[:2], "scientific_name")])
    )
    return list(zip(*(read[name].to_pylist() for name in EXACT), strict=True))


def scores(archive: Archive, **more: Any) -> list[float]:
    keys = ("recording", "start_s", "channel", "scientific_name")
    return archive.detections(**more).read_all().sort_by([(name, "ascending") for name in keys])["score"].to_pylist()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, marks=pytest.mark.ops),
        {"overlap_s": 0.75, "latitude": 60.0, "longitude": 25.0},
        {"channel": "each"},
    ],
    ids=["plain", "overlap", "channels"],
)
def test_rows_equal_those_from_the_audio(
    sounds: Path, band_bundle: Bundle, head: Bundle, options: dict[str, Any], tmp_path: Path
) -> None:
    kept = keep(sounds, tmp_path / "kept", band_bundle, **options)
    result = rescore(kept, head, min_score=0.1, top=2)
    assert (result.counts.n_done, result.counts.n_failed) == (len(SOUNDS), 0)
    heard = archive_recordings(
        sounds, tmp_path / "heard", model=head.folder, workers=1, min_score=0.1, top=2, **options
    ).archive
    assert len(scores(heard)) >= 12
    assert rows(kept, runs=result.run) == rows(heard)
    assert scores(kept, runs=result.run) == pytest.approx(scores(heard), abs=5e-4)
    columns = ("recording", "duration_s", "start_time", "site", "n_detections", "sample_rate_hz", "week", "status")
    read = [
        sorted(map(str, each.recordings(columns=columns, **named).read_all().to_pylist()))
        for each, named in ((kept, {"runs": result.run}), (heard, {}))
    ]
    assert read[0] == [row for row in read[1] if "failed" not in row]


def test_any_number_of_shards_gives_each_row_once(archive: Archive, head: Bundle) -> None:
    first = rescore(archive, head, shard="1/2", unit_size=ONE_EACH)
    assert (first.n_units, first.counts.n_done) == (2, 2)
    rest = [rescore(archive, head, shard=f"{k}/3") for k in (1, 2, 3)]
    assert sum(each.counts.n_done for each in rest) == 2
    assert sum(each.counts.n_resumed for each in rest) == 2
    again = rescore(archive, head)
    assert (again.counts.n_done, again.counts.n_resumed) == (0, 4)
    assert check_archive(archive).is_whole
    (_, state), workers = read_status(archive)
    assert (state.n_ended, state.n_units, workers) == (4, 4, [])
    assert len(rows(archive, runs=first.run)) == len(set(rows(archive, runs=first.run)))


def test_more_units_open_tables_no_more_often(
    archive: Archive, kept: Path, head: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive of many units has many files, and to open a table of many files takes long."""
    opened: list[str] = []
    make = deltalake.DeltaTable.to_pyarrow_dataset

    def count(table: Any, **more: Any) -> Any:
        opened.append(table.table_uri)
        return make(table, **more)

    monkeypatch.setattr(deltalake.DeltaTable, "to_pyarrow_dataset", count)
    assert rescore(archive, head).n_units == 2, "one of each month"
    n_before = len(opened)
    assert rescore(open_archive(shutil.copytree(kept, tmp_path / "other")), head, unit_size=ONE_EACH).n_units == 4
    assert len(opened) == 2 * n_before > 0


def test_a_process_that_died_is_continued(archive: Archive, head: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = UnitWriter.commit

    def die(writer: UnitWriter, unit: str, *more: Any) -> bool:
        if unit.endswith("2"):
            raise KeyboardInterrupt
        return commit(writer, unit, *more)

    with monkeypatch.context() as patch:
        patch.setattr(UnitWriter, "commit", die)
        with pytest.raises(KeyboardInterrupt):
            rescore(archive, head, unit_size=ONE_EACH)
    assert rescore(archive, head).counts.n_done == 2
    assert check_archive(archive).is_whole


def test_the_new_run_counts_and_embeddings_stay(archive: Archive, head: Bundle) -> None:
    before = archive.embeddings().read_all().num_rows
    result = rescore(archive, head)
    known = {label.scientific_name for label in HEAD_LABELS}
    assert set(archive.detections().read_all()["scientific_name"].to_pylist()) <= known
    assert archive.embeddings().read_all().num_rows == before
    assert len(archive.search([1.0] * 12)) == before
    assert archive.detections(species="High Bird", runs=result.run).read_all().num_rows
    failed = [each for each in archive.recordings().read_all()["status"].to_pylist() if each == "failed"]
    assert len(failed) == 1, "what failed in the audio is not lost"


def test_new_embeddings_are_added_to_resume(archive: Archive, head: Bundle, band_bundle: Bundle, sounds: Path) -> None:
    rescore(archive, head)
    list(compact_archive(archive))
    path = sounds.parent / f"{archive.location.root.parent.name}_20260601_040000.wav"
    path.write_bytes((sounds / "A_20260430_040000.wav").read_bytes())
    keep(path, archive.location.root, band_bundle)
    assert rescore(archive, head).counts.n_files == 4
    assert rescore(archive, head, resume=True).counts.n_done == 1
    assert rescore(archive, head, resume=True).counts.n_files == 5
    with pytest.raises(InputError, match="resume: it lists the recordings again"):
        rescore(archive, head, resume=True, shard="1/2")


def test_embeddings_that_were_replaced_since_are_a_failure(
    band_bundle: Bundle, head: Bundle, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "A_20260430_040000.wav"
    path.write_bytes((sounds / path.name).read_bytes())
    archive = keep(path, tmp_path / "archive", band_bundle)
    commit = UnitWriter.commit
    with monkeypatch.context() as patch:
        patch.setattr(UnitWriter, "commit", lambda *_: True)
        rescore(archive, head)
    path.write_bytes((sounds / "B_20260501_040000.wav").read_bytes())
    keep(path, archive.location.root, band_bundle, resume=True)
    assert UnitWriter.commit is commit
    result = rescore(archive, head)
    assert [failure.reason for failure in result.failures] == [
        "its embeddings were replaced since they were listed. Use --resume to list them again."
    ]
    assert rescore(archive, head, resume=True).counts.n_done == 1


def test_the_base_itself_gives_its_own_scores(archive: Archive, band_bundle: Bundle) -> None:
    (first,) = archive.runs()
    result = rescore(archive, band_bundle)
    assert result.run != first.id
    assert rows(archive, runs=result.run) == rows(archive, runs=first.id)
    assert scores(archive, runs=result.run) == pytest.approx(scores(archive, runs=first.id), abs=5e-4)


def test_models_that_do_not_fit_are_refused(
    archive: Archive, band_bundle: Bundle, level_bundle: Bundle, head: Bundle, sounds: Path, tmp_path: Path
) -> None:
    other = write_head(band_bundle, tmp_path / "other", backbone="birdnet 0123456789ab")
    with pytest.raises(
        InputError, match=rf"head cannot score .* on embeddings of birdnet 0123456789ab, .* bands {band_bundle.id}"
    ):
        rescore(archive, other)
    with pytest.raises(InputError, match=rf"on embeddings of level {level_bundle.id}"):
        rescore(archive, level_bundle)
    with pytest.raises(NotFoundError, match="run: the archive has"):
        rescore(archive, head, runs="none")
    without = keep(sounds, tmp_path / "without", band_bundle, keep=[])
    with pytest.raises(InputError, match="no run has embeddings"):
        rescore(without, head)
    (run,) = without.runs()
    with pytest.raises(InputError, match=f"run {run.id}: it has no embeddings"):
        rescore(without, head, runs=run.id)
    shifted = keep(sounds / "A_20260430_040000.wav", tmp_path / "shifted", band_bundle, tta_shifts=2)
    with pytest.raises(InputError, match="means over test-time augmentation"):
        rescore(shifted, head)
    with pytest.raises(InputError, match="min_score"):
        rescore(archive, head, min_score=3)
    with pytest.raises(ModelError, match="it is not a bundle|neither"):
        rescore_archive(archive.location.root, tmp_path / "none")
    assert len(open_archive(archive.location.root).runs()) == 1


def test_embeddings_in_eight_bits_are_searched_and_scored(
    sounds: Path, band_bundle: Bundle, head: Bundle, tmp_path: Path
) -> None:
    half, small = (
        keep(sounds, tmp_path / name, band_bundle, keep=[name]) for name in ("embeddings", "embeddings:int8")
    )
    stored = small.table("embeddings").read()["embedding"].to_pylist()
    assert {len(each) for each in stored} == {12 + 8}
    one, two = (rescore(each, head, min_score=0.0, top=3) for each in (half, small))
    assert scores(small, runs=two.run) == pytest.approx(scores(half, runs=one.run), abs=0.01)
    vector = max(half.embeddings().read_all()["embedding"].to_pylist(), key=sum)
    assert small.search(vector, k=12)["score"][0].as_py() == pytest.approx(1, abs=1e-3)
    with pytest.raises(InputError, match="keep: expected embeddings in one form, got embeddings, embeddings:int8"):
        keep(sounds, tmp_path / "both", band_bundle, keep=["embeddings", "embeddings:int8"])
