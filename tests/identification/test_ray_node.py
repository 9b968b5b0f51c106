"""The part of a run on a Ray cluster that runs on each node, in this process."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fixtures.archives import BROKEN, table_rows, write_sounds
from tests.fixtures.heads import write_head

from dawnchorus.archive.archive import create_archive
from dawnchorus.archive.maintenance import check_archive
from dawnchorus.archive.manifest import (
    Entry,
    ListedFile,
    Shard,
    UnitSize,
    list_manifests,
    read_entries,
    unit_sizes,
)
from dawnchorus.archive.schemas import MANIFEST
from dawnchorus.archive.workers import read_workers
from dawnchorus.errors import ModelError
from dawnchorus.identification import Options, identify
from dawnchorus.identification.archiving import ArchivingWork, archive_recordings, prepare_job
from dawnchorus.identification.audio_run import read_signature
from dawnchorus.identification.options import KEPT_MIN_SCORE, KEPT_TOP
from dawnchorus.identification.ray_node import NodeModel, NodeTask, RayNode
from dawnchorus.identification.rescoring import RescoringWork, rescore_archive
from dawnchorus.inference.model import load_model
from dawnchorus.models.bundle import Bundle

pytest.importorskip("deltalake")


def create_task(archive: Path, bundle: Bundle) -> NodeTask:
    options = Options(min_score=KEPT_MIN_SCORE, top=KEPT_TOP)
    model = load_model(bundle.folder)
    job = prepare_job((), options, {}, model=model, keep=(), metadata=None, analyses=(), shard=Shard(1, 1))
    create_archive(archive).add_run(job.run, bundle.labels)
    return NodeTask(str(archive), job.run.id, ArchivingWork.create(job, ()))


def list_units(sounds: Path) -> list[list[Entry]]:
    """Return units of one recording each."""
    files = [ListedFile(str(path), bytes(path), *read_signature(path)) for path in sorted(sounds.iterdir())]
    return [[Entry(number, f"1-{number:06d}", file)] for number, file in enumerate(files)]


def test_a_node_takes_more_units_while_it_works(band_bundle: Bundle, tmp_path: Path) -> None:
    sounds = write_sounds(tmp_path / "sounds")
    units = list_units(sounds)
    task = pickle.loads(pickle.dumps(create_task(tmp_path / "archive", band_bundle)))  # noqa: S301 - our own
    node = RayNode(task, 1)
    node.open()
    archive = create_archive(tmp_path / "archive")
    assert [worker.shard for worker in read_workers(archive.location)] == ["ray"]
    node.add(units[4:])  # before it works: forgotten
    reports = node.score(units[:1])
    first = next(reports)
    assert first.n_wanted == 2 - 1, "one for its core and one to come, of which it has one"
    node.add(units[1:4])
    rest = [first, *reports]
    assert [unit for report in rest for unit in report.committed_units] == [unit[0].unit for unit in units[:4]]
    assert rest[-1].counts == replace(rest[-1].committed_counts, scored_s=rest[-1].counts.scored_s)
    node.add(units[4:])  # after its end: forgotten
    again = list(node.score(units))
    last = again[-1]
    assert (last.counts.n_done, last.counts.n_failed, last.counts.n_resumed) == (4, 1, 4)
    assert [Path(failure.recording).name for report in again for failure in report.failures] == [BROKEN]
    expected = table_rows(identify(sounds, Options(min_score=0.25), model=band_bundle.folder).to_arrow())
    assert table_rows(archive.detections(min_score=0.25)) == expected
    assert check_archive(archive).is_whole
    node.close()
    assert read_workers(archive.location) == []


def test_a_node_of_another_version_is_refused(band_bundle: Bundle, tmp_path: Path) -> None:
    task = replace(create_task(tmp_path / "archive", band_bundle), run="of another version")
    with pytest.raises(ModelError, match="gives another run than the driver's. Install the same versions"):
        RayNode(task, 1).open()


def test_a_node_scores_stored_embeddings(band_bundle: Bundle, tmp_path: Path) -> None:
    head, one_each = write_head(band_bundle, tmp_path / "head"), UnitSize(max_recordings=1)
    sounds, folder = write_sounds(tmp_path / "sounds"), tmp_path / "archive"
    archive_recordings(sounds, folder, model=band_bundle.folder, keep=["embeddings"], workers=1)
    (alone,) = rescore_archive(shutil.copytree(folder, tmp_path / "alone"), head.folder, workers=1)
    (begun,) = rescore_archive(folder, head.folder, workers=1, unit_size=one_each, shard="1/2")
    archive = begun.archive
    source = next(each.id for each in archive.runs() if each.id != begun.run)
    table = archive.table(MANIFEST)
    manifests = [each for each in list_manifests(table) if each.run == begun.run]
    units = [[entry] for entry in read_entries(table, manifests, unit_sizes(table, manifests))]
    work = RescoringWork(NodeModel(str(head.folder), None), source, Options(min_score=KEPT_MIN_SCORE, top=KEPT_TOP))
    node = RayNode(pickle.loads(pickle.dumps(NodeTask(str(folder), begun.run, work))), 1)  # noqa: S301 - our own
    node.open()
    *_, last = node.score(units)
    node.close()
    assert (last.counts.n_resumed, last.counts.n_done, last.committed_counts.n_done) == (2, 2, 2)
    assert table_rows(archive.detections(runs=begun.run)) == table_rows(alone.archive.detections(runs=alone.run))
    assert check_archive(archive).is_whole
    changed = NodeTask(str(folder), begun.run, replace(work, floor=Options(min_score=0.5)))
    with pytest.raises(ModelError, match="gives another run than the driver's"):
        RayNode(changed, 1).open()
