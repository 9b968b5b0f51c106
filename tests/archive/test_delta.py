"""Archives in stores: the same rows, once, whatever the store does; and nothing secret in messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.archive.test_writer import write, writer
from tests.fixtures.archives import table_rows
from tests.fixtures.object_servers import Handler, forbidden, half
from tests.fixtures.s3_server import (
    BUCKET,
    SECRET,
    Bucket,
    S3Handler,
    fail_afterwards,
    lose_reply,
    refuse,
    serving_bucket,
    use_bucket,
)

from dawnchorus.archive.archive import Archive, create_archive, open_archive
from dawnchorus.archive.delta import longest_pause_s
from dawnchorus.archive.maintenance import check_archive, compact_archive, measure_tables, read_status, vacuum_archive
from dawnchorus.archive.manifest import UnitSize
from dawnchorus.archive.schemas import DETECTIONS, RECORDINGS, SCHEMAS
from dawnchorus.archive.workers import LOST_AFTER_S, Worker
from dawnchorus.errors import BusyError, InputError, OutputError, StoreError
from dawnchorus.identification.archiving import archive_recordings
from dawnchorus.models.bundle import Bundle

pytest.importorskip("deltalake")
pytest.importorskip("obstore")


@pytest.fixture(scope="module")
def served() -> Iterator[Bucket]:
    with serving_bucket() as bucket:
        yield bucket


@pytest.fixture
def bucket(served: Bucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    served.reset()
    use_bucket(served, monkeypatch)
    return served


URL = f"s3://{BUCKET}/results"


@pytest.fixture(scope="module")
def empty(served: Bucket) -> dict[str, bytes]:
    """Objects of an archive without rows."""
    served.reset()
    with pytest.MonkeyPatch.context() as patch:
        use_bucket(served, patch)
        create_archive(URL)
    return dict(served.contents)


@pytest.fixture
def archive(empty: dict[str, bytes], bucket: Bucket) -> Archive:
    bucket.contents.update(empty)
    return open_archive(URL)


@pytest.mark.ops
def test_an_archive_in_a_store_has_the_rows_of_one_on_a_disk(
    bucket: Bucket, sounds: Path, kept: Path, band_bundle: Bundle, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"keep": ["embeddings"], "analyses": ["health"], "workers": 1}
    size = UnitSize(max_recordings=2)
    result = archive_recordings(sounds, URL, model=band_bundle.folder, unit_size=size, **options)
    local, remote = open_archive(kept), open_archive(URL)
    assert [each.id for each in remote.runs()] == [each.id for each in local.runs()] == [result.run]
    assert table_rows(remote.detections()) == table_rows(local.detections())
    wanted = {"since": "2026-05-01", "sites": "B", "min_score": 0.3}
    assert table_rows(remote.detections(**wanted)) == table_rows(local.detections(**wanted))  # type: ignore[arg-type]
    for table in ("recordings", "embeddings", "analysis_health"):
        assert _plain(remote.table(table).read()) == _plain(local.table(table).read())
    assert _plain(remote.embeddings().read_all()) == _plain(local.embeddings().read_all())
    vector = max(remote.embeddings().read_all()["embedding"].to_pylist(), key=sum)
    hits, exact = (remote.search(vector, k=3, exact=is_exact, cache=tmp_path) for is_exact in (False, True))
    assert hits["score"].to_pylist() == pytest.approx(exact["score"].to_pylist())
    assert hits["score"][0].as_py() == pytest.approx(1.0, abs=1e-3)
    sizes = {each.name: (each.n_rows, each.n_files) for each in measure_tables(local)}
    assert {each.name: (each.n_rows, each.n_files) for each in measure_tables(remote)} == sizes
    (state,), workers = read_status(remote)
    assert (state.n_ended, workers) == (state.n_units, [])

    assert {name: n for name, _, n in compact_archive(remote)}[DETECTIONS] == 2, "one for each month"
    assert table_rows(remote.detections()) == table_rows(local.detections())
    assert vacuum_archive(remote, older_than_h=0).n_files > 0
    assert table_rows(remote.detections()) == table_rows(local.detections())
    assert check_archive(remote).is_whole
    assert not any(SECRET.encode() in content for content in bucket.contents.values())
    assert not [key for key in bucket.sorted_keys() if key.startswith(("results/.", "results/workers"))]


def _plain(table: pa.Table) -> list[str]:
    """Return rows without the attempt, in order."""
    return sorted(map(repr, table.drop_columns(["attempt"]).to_pylist()))


def test_a_reader_that_is_left_early_ends(archive: Archive) -> None:
    each = writer(archive)
    for k in range(3):
        assert write(each, f"1-{k:06d}")
    reader = archive.detections()
    assert reader.read_next_batch().num_rows == 3
    del reader
    assert len(archive.detections().read_all()) == 9


@pytest.mark.parametrize("fault", [lose_reply, pytest.param(fail_afterwards, marks=pytest.mark.ops)])
@pytest.mark.parametrize("table", [DETECTIONS, RECORDINGS])
def test_a_commit_whose_reply_was_lost_is_made_once(
    archive: Archive, bucket: Bucket, fault: Callable[[S3Handler], None], table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAWNCHORUS_STORE_RETRY_S", "20")
    each = writer(archive)
    bucket.write_faults.append((f"results/{table}/_delta_log/", fault))
    assert write(each)
    assert not bucket.write_faults
    assert len(archive.detections().read_all()) == len(archive.table(DETECTIONS).read()) == 3
    assert check_archive(archive).is_whole
    assert not write(writer(archive))


def test_a_refused_commit_is_one_sentence_and_the_unit_is_done_again(archive: Archive, bucket: Bucket) -> None:
    bucket.write_faults.extend([(f"results/{RECORDINGS}/", refuse)] * 3)
    with pytest.raises(
        OutputError,
        match=r"s3://birds/results/recordings: the table cannot be written \(the store "
        r"refused access.*run the same command again",
    ) as refused:
        write(writer(archive))
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None
    bucket.write_faults.clear()
    assert len(archive.detections().read_all()) == 0
    assert write(writer(archive))
    assert len(archive.detections().read_all()) == 3


@pytest.mark.parametrize(("fault", "reason"), [(forbidden, "the store refused access"), (half, "the store failed")])
def test_a_failure_to_read_is_one_sentence(
    archive: Archive, bucket: Bucket, fault: Callable[[Handler], None], reason: str
) -> None:
    assert write(writer(archive))
    opened = open_archive(URL)
    bucket.always = fault
    for read in (opened.runs, lambda: opened.detections().read_all(), lambda: check_archive(opened)):
        with pytest.raises(StoreError, match=reason) as failed:
            read()
        assert SECRET not in str(failed.value)
        assert failed.value.__cause__ is None
    with pytest.raises(StoreError, match=reason):
        open_archive(URL)
    bucket.always = None
    reader = opened.detections()
    bucket.always = fault
    with pytest.raises(StoreError, match=reason):
        reader.read_all()


def test_a_store_without_put_if_absent_takes_one_writer(archive: Archive, bucket: Bucket) -> None:
    bucket.has_conditions = False
    assert not archive.location.allows_many_writers
    with Worker(archive.location, "r", "1/1") as worker:
        for _ in (1, 2):
            with pytest.raises(BusyError, match="only one process at a time can write this archive, and process"):
                Worker(archive.location, "r", "2/2").__enter__()
        with pytest.raises(BusyError):
            list(compact_archive(archive))
        with pytest.raises(BusyError):
            vacuum_archive(archive)
        assert bucket.sorted_keys().count(f"results/{worker.name}") == 1
    assert write(writer(archive))
    dead = Worker(archive.location, "r", "1/1")
    dead.beat(())
    bucket.written_s[f"/{BUCKET}/results/{dead.name}"] = time.time() - LOST_AFTER_S - 1
    with Worker(archive.location, "r", "1/1"):
        assert len(archive.detections().read_all()) == 3


def test_a_folder_of_a_bucket_with_other_content_is_refused(bucket: Bucket) -> None:
    bucket.contents[f"/{BUCKET}/results/x.wav"] = b"mine"
    with pytest.raises(InputError, match=f"{URL}: expected an archive, a new folder or an empty one"):
        create_archive(URL)
    assert bucket.sorted_keys() == ["results/x.wav"]


def test_a_refused_commit_is_repeated_after_a_pause_that_grows(tmp_path: Path) -> None:
    from deltalake.exceptions import CommitFailedError

    table = create_archive(tmp_path / "archive").table(RECORDINGS)
    refused = iter((True, False))

    def write() -> None:
        if next(refused):
            raise CommitFailedError("another process was faster")
        table._append(SCHEMAS[RECORDINGS].empty_table(), {})

    assert table._commit(write)
    assert next(refused, None) is None
    assert [longest_pause_s(n) for n in (0, 1, 4, 20)] == [0.1, 0.2, 1.6, 60.0]
