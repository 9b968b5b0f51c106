"""Queries of an archive: results that count, selected, lazily, and to other readers."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deltalake import DeltaTable
from tests.fixtures.archives import BROKEN, SOUNDS

from dawnchorus.archive.archive import Archive, Status, open_archive
from dawnchorus.archive.manifest import UnitSize
from dawnchorus.archive.rows import recording_rows
from dawnchorus.errors import InputError, NotFoundError
from dawnchorus.identification.archiving import archive_recordings
from dawnchorus.inference.model import load_model
from dawnchorus.models.bundle import Bundle

Rows = Callable[..., list[tuple[Any, ...]]]
STATUSES: tuple[Status, Status] = ("failed", "done")
PAGE = Path(__file__).parents[2] / "docs" / "ARCHIVE.md"


def names(rows: list[tuple[Any, ...]]) -> list[str]:
    return [Path(name).name for name, *_ in rows]


def test_every_recording_is_a_row_also_without_birds_and_failed(kept: Path, rows: Rows) -> None:
    read = rows(open_archive(kept).recordings(), "recording", "status", "duration_s", "n_detections", "site", "month")
    assert names(read) == [*SOUNDS, BROKEN]
    assert [row[1:] for row in read] == [
        ("done", 3.0, 3, "A", "2026-04"),
        ("done", 3.0, 0, "A", "2026-05"),
        ("done", 3.0, 3, "B", "2026-05"),
        ("done", 3.0, 0, "B", "2026-05"),
        ("failed", None, None, "B", "2026-05"),
    ]
    failed, done = (rows(open_archive(kept).recordings(status=each), "recording", "reason") for each in STATUSES)
    assert (names(failed), names(done)) == ([BROKEN], [*SOUNDS])
    assert failed[0][1]
    with pytest.raises(InputError, match="expected done or failed"):
        open_archive(kept).recordings(status="lost")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({}, ["A_20260430_040000.wav"] * 3 + ["B_20260501_040000.wav"] * 3),
        ({"species": "Avis gravis"}, ["A_20260430_040000.wav"] * 3),
        ({"species": ["humming bird"]}, ["B_20260501_040000.wav"] * 3),
        ({"sites": "B"}, ["B_20260501_040000.wav"] * 3),
        ({"since": "2026-05-01"}, ["B_20260501_040000.wav"] * 3),
        ({"since": datetime(2026, 4, 30, 4, 0, 1)}, ["A_20260430_040000.wav"] * 2 + ["B_20260501_040000.wav"] * 3),
        ({"until": date(2026, 5, 1)}, ["A_20260430_040000.wav"] * 3),
        ({"since": "2026-04-30T04:00:01", "until": "2026-04-30T04:00:02"}, ["A_20260430_040000.wav"]),
        ({"min_score": 1.0}, []),
    ],
)
def test_detections_are_selected(kept: Path, rows: Rows, selection: dict[str, Any], expected: list[str]) -> None:
    assert names(rows(open_archive(kept).detections(**selection), "recording", "start_s")) == expected


def test_wrong_requests_name_what_there_is(kept: Path) -> None:
    archive = open_archive(kept)
    with pytest.raises(InputError, match="species: 'Avis gravs' is no class .* Did you mean 'Avis gravis'"):
        archive.detections(species="Avis gravs")
    with pytest.raises(InputError, match="columns: expected some of recording, .*, got 'scores'"):
        archive.detections(columns=["scores"])
    with pytest.raises(NotFoundError, match="run: the archive has [0-9a-f]{12}, got 'none'"):
        archive.detections(runs="none")
    with pytest.raises(NotFoundError, match="analysis: the archive has health, got 'healt'. Did you mean 'health'"):
        archive.analysis("healt")
    with pytest.raises(InputError, match="since: expected a day or time like 2026-05-01"):
        archive.detections(since="May")
    with pytest.raises(InputError, match="until: expected a time of the recorders' clocks, without a zone"):
        archive.detections(until=datetime(2026, 5, 1, tzinfo=UTC))
    with pytest.raises(InputError, match="min_score: expected 0 to 1, got 25"):
        archive.detections(min_score=25)


def test_embeddings_are_those_of_the_model(kept: Path, sounds: Path, band_bundle: Bundle) -> None:
    name = "A_20260430_040000.wav"
    read = (
        open_archive(kept)
        .embeddings(sites="A")
        .read_all()
        .sort_by([("recording", "ascending"), ("start_s", "ascending")])
    )
    assert read["start_s"].to_pylist() == [0, 1, 2, 0, 1, 2]
    expected = load_model(band_bundle.folder).embed(sounds / name)
    np.testing.assert_allclose(np.array(read["embedding"].to_pylist()[:3]), expected.astype(np.float16), atol=0)


def test_rows_of_an_analysis_have_their_recording(kept: Path, rows: Rows) -> None:
    read = rows(open_archive(kept).analysis("health"), "recording", "channel", "site")
    assert names(read) == list(SOUNDS)
    assert {row[1] for row in read} == {1}


def test_another_run_replaces_no_row_and_doubles_no_count(
    copied: Archive, sounds: Path, band_bundle: Bundle, rows: Rows
) -> None:
    """A later run counts where it has a result; runs that are named give their own."""
    (first,) = copied.runs()
    path = sounds / "A_20260430_040000.wav"
    second = archive_recordings(path, copied.location.root, model=band_bundle.folder, overlap_s=0.5, workers=1).run
    read = rows(copied.detections(), "recording", "run", "start_s")
    assert names(read) == ["A_20260430_040000.wav"] * 5 + ["B_20260501_040000.wav"] * 3
    assert [row[1] for row in read] == [second] * 5 + [first.id] * 3
    assert len(rows(copied.detections(runs=first.id), "start_s")) == 6
    assert len(rows(copied.detections(runs=[first.id, second]), "start_s")) == 11
    assert [each.run.overlap_s for each in copied.runs()] == [0, 0.5]


def test_a_models_own_thresholds_apply_when_it_is_read(
    sounds: Path, band_bundle: Bundle, tmp_path: Path, rows: Rows
) -> None:
    bundle = shutil.copytree(band_bundle.folder, tmp_path / "bundle")
    fields = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps(fields | {"thresholds": {"Avis gravis": 1.0}}))
    paths = [sounds / "A_20260430_040000.wav", sounds / "B_20260501_040000.wav"]
    archive = archive_recordings(paths, tmp_path / "archive", model=bundle, workers=1).archive
    assert len(rows(archive.detections(), "start_s")) == 6
    assert names(rows(archive.detections(min_score=0.25), "recording")) == ["B_20260501_040000.wav"] * 3
    assert archive.detections(min_score=0.25, columns=["start_s"]).schema.names == ["start_s"]
    other = archive_recordings(paths, tmp_path / "archive", model=band_bundle.folder, workers=1)
    assert len(rows(archive.detections(min_score=0.25, runs=other.run), "start_s")) == 6
    named = [each.id for each in archive.runs()]
    assert len(rows(archive.detections(min_score=0.25, runs=named), "start_s")) == 9


def test_duckdb_reads_the_documented_sql(copied: Archive, sounds: Path, band_bundle: Bundle, rows: Rows) -> None:
    """Also with a second run, rows of a unit that has not ended, and a file that was replaced by a broken one."""
    import duckdb

    archive_recordings(
        sounds, copied.location.root, model=band_bundle.folder, overlap_s=0.5, unit_size=UnitSize(max_recordings=1)
    )
    open_unit = copied.table("detections").read().slice(0, 1)
    columns = {"attempt": "x-9-000000", "unit": "9-000000"}
    for name, value in columns.items():
        index = open_unit.schema.get_field_index(name)
        open_unit = open_unit.set_column(index, open_unit.schema.field(name), [[value]])
    copied.table("detections").append(open_unit)
    replaced = next(row for row in copied.table("recordings").read().to_pylist() if row["n_detections"])
    replaced |= {
        "recording_id": 9 << 32,
        "status": "failed",
        "version": "new",
        "attempt": "y-8-000000",
        "unit": "8-000000",
    }
    copied.table("recordings").append(recording_rows([replaced]))
    code = re.findall(r"(?ms)^```sql\n(.*?)^```$", PAGE.read_text(encoding="utf-8"))
    connection = duckdb.connect()
    for name in ("recordings", "detections"):
        dataset = DeltaTable(str(copied.location.root / name)).to_pyarrow_dataset()
        connection.register(name, dataset)
    for statement in code[:-1]:
        connection.execute(statement)
    counted = connection.execute(code[-1]).fetchall()
    expected: dict[str, int] = {}
    for (species,) in rows(copied.detections(min_score=0.25), "scientific_name"):
        expected[species] = expected.get(species, 0) + 1
    assert {species: n for species, n, *_ in counted} == expected
    assert sum(expected.values()) == 5, "those of one recording"


def test_polars_and_pandas_read_the_tables(kept: Path) -> None:
    import polars as pl

    uri = str(kept / "detections")
    counts = pl.scan_delta(uri).group_by("scientific_name").len().collect().sort("scientific_name")
    assert counts.rows() == [("Avis gravis", 3), ("Avis murmurans", 3)]
    frame = DeltaTable(uri).to_pandas(columns=["scientific_name", "score"])
    assert frame.groupby("scientific_name").size().to_dict() == {"Avis gravis": 3, "Avis murmurans": 3}
    assert pl.DataFrame(open_archive(kept).detections()).height == 6


def test_a_unit_is_one_file_of_a_table(kept: Path) -> None:
    for table in ("recordings", "detections", "embeddings", "analysis_health"):
        read = open_archive(kept).table(table)
        assert len(read.list_files()) == len(set(read.read()["unit"].to_pylist()))
