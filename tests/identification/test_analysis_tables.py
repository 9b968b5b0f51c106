"""Analyses of a run: tables beside the detections, in Python and from the journal, whatever the windows."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.fixtures.commands import Command
from tests.fixtures.sample_analyses import Columns
from tests.fixtures.sounds import tone

from dawnchorus.audio.sample_analyses import Table
from dawnchorus.audio.write import write_recording
from dawnchorus.errors import InputError
from dawnchorus.identification import Options, identify
from dawnchorus.inference.analyses.base import Analysis
from dawnchorus.inference.analyses.registry import ANALYSES
from dawnchorus.models.bundle import Bundle
from dawnchorus.registry import Registry

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good recording of two seconds and two channels, and one without sound."""
    folder = tmp_path_factory.mktemp("recordings")
    noise = np.random.default_rng(0).standard_normal((2 * RATE_HZ, 2)).astype(np.float32) / 100
    write_recording(folder / "A_20260501_050000.wav", noise + tone()[:, np.newaxis] / 4, rate_hz=RATE_HZ)
    write_recording(folder / "B_20260501_050000.wav", np.zeros(2 * RATE_HZ, np.float32), rate_hz=RATE_HZ)
    return folder


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_tables_are_written_next_to_the_detections(recordings: Path, level_bundle: Bundle, tmp_path: Path) -> None:
    run = identify(
        recordings, model=level_bundle.folder, out=tmp_path / "out.csv", analyses=["indices", "health"], workers=1
    )
    assert {path.name for path in tmp_path.glob("out.*")} == {
        "out.csv", "out.csv.params.json", "out.health.csv", "out.health.recorders.csv", "out.indices.csv"
    }  # fmt: skip
    health = read_csv(tmp_path / "out.health.csv")
    assert [(Path(row["recording"]).name, row["channel"], row["verdict"]) for row in health] == [
        ("A_20260501_050000.wav", "1", "ok"),
        ("A_20260501_050000.wav", "2", "ok"),
        ("B_20260501_050000.wav", "1", "no sound: constant value 0"),
    ]
    verdicts = [row["verdict"] for row in read_csv(tmp_path / "out.health.recorders.csv")]
    assert verdicts == ["ok", "no sound in 1 of 1 recordings"]
    indices = read_csv(tmp_path / "out.indices.csv")
    assert [row["start_time"] for row in indices] == ["2026-05-01T05:00:00"] * 3
    assert [row["aci"] == "" for row in indices] == [False, False, True]
    tables = run.analysis_tables("health")
    assert tables["recorders"]["verdict"].tolist() == verdicts
    with pytest.raises(InputError, match="the run has indices, health, got 'noise'"):
        run.analysis_tables("noise")


def test_tables_take_the_formats_of_the_detections(recordings: Path, level_bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out"
    identify(recordings, model=level_bundle.folder, out=out, formats=["raven", "parquet"], analyses=["health"])
    table = pq.read_table(out / "detections.health.parquet")
    rows = read_csv(out / "detections.health.csv")
    assert table.column("verdict").to_pylist() == [row["verdict"] for row in rows]
    assert table.column("channel").to_pylist() == [1, 2, 1]
    assert table.column("level_difference_db").to_pylist() == [None] * 3


def test_values_do_not_depend_on_windows_channels_or_workers(recordings: Path, level_bundle: Bundle) -> None:
    def tables(workers: int, options: Options) -> list[Table]:
        run = identify(recordings, options, model=level_bundle.folder, analyses=["health", "indices"], workers=workers)
        return [run.analysis_tables("health")[""], run.analysis_tables("indices")[""]]

    first = tables(1, Options())
    for workers, options in (
        (2, Options(overlap_s=0.5)),
        (1, Options(channel="each", overlap_s=0.25)),
    ):
        for one, other in zip(first, tables(workers, options), strict=True):
            assert str(one.tolist()) == str(other.tolist())  # NaN is not equal to itself


def test_a_run_that_is_continued_keeps_its_rows(recordings: Path, level_bundle: Bundle, tmp_path: Path) -> None:
    first, both = sorted(recordings.glob("*.wav"))[:1], recordings
    out = tmp_path / "out.csv"
    identify(first, model=level_bundle.folder, out=out, analyses=["indices"])
    identify(both, model=level_bundle.folder, out=out, analyses=["indices"], resume=True)
    resumed = (tmp_path / "out.indices.csv").read_text()
    identify(both, model=level_bundle.folder, out=out, analyses=["indices"], overwrite=True)
    assert (tmp_path / "out.indices.csv").read_text() == resumed
    with pytest.raises(InputError, match="analyses changed"):
        identify(both, model=level_bundle.folder, out=out, analyses=["health"], resume=True)


def test_resuming_repeats_analyses_that_failed(recordings: Path, level_bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    identify(recordings, model=level_bundle.folder, out=out, analyses=["indices"])
    before = (tmp_path / "out.indices.csv").read_text()
    with closing(sqlite3.connect(tmp_path / ".out.csv.journal", isolation_level=None)) as db:
        db.execute("DELETE FROM analyses WHERE rowid = 1")  # as where the analysis has failed
    (tmp_path / "out.indices.csv").unlink()
    run = identify(recordings, model=level_bundle.folder, out=out, analyses=["indices"], resume=True)
    assert (run.counts.n_done, run.counts.n_resumed) == (1, 1)
    assert sorted((tmp_path / "out.indices.csv").read_text().splitlines()) == sorted(before.splitlines())


def test_a_recording_with_other_columns_has_a_warning_and_no_rows(
    level_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis = Analysis("columns", "columns by channels", Columns)
    registry = Registry(Analysis, (*ANALYSES.values(), analysis), noun="analysis", group="none")
    for module in ("output", "result", "run"):
        monkeypatch.setattr(f"dawnchorus.identification.{module}.ANALYSES", registry)
    peaks = {"a": [0.0], "b": [1.0], "c": [0.25, 0.25], "d": [0.5]}
    for name, levels in peaks.items():
        write_recording(tmp_path / f"{name}.wav", np.full((RATE_HZ, len(levels)), levels, np.float32), rate_hz=RATE_HZ)
    out = tmp_path / "out"
    run = identify(tmp_path, model=level_bundle.folder, out=out, formats=["csv", "parquet"], analyses=["columns"])
    rows = read_csv(out / "detections.columns.csv")
    assert [(Path(row["recording"]).name, row["peak_of_1"]) for row in rows] == [("b.wav", "1"), ("d.wav", "0.5")]
    assert pq.read_table(out / "detections.columns.parquet").column("peak_of_1").to_pylist() == [1.0, 0.5]
    (warning,) = [each for each in run.warnings if "analysis" in each.reason]
    assert Path(warning.recording).name == "c.wav"
    assert warning.reason == (
        "analysis 'columns' has no rows of it: expected the columns peak_of_1 (numbers), as in the first recording, "
        "got peak_of_2 (numbers)"
    )


def test_an_analysis_without_a_state_for_decoders_is_refused_at_once(
    recordings: Path, level_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Local(Columns):
        pass

    registry = Registry(Analysis, (Analysis("local", "of a function", Local),), noun="analysis", group="none")
    monkeypatch.setattr("dawnchorus.identification.run.ANALYSES", registry)
    with pytest.raises(InputError, match=r"'local': expected a state that can be made and pickled.*top of a module"):
        identify(recordings, model=level_bundle.folder, analyses=["local"])


def test_an_unknown_analysis_is_refused_with_the_nearest(recordings: Path, level_bundle: Bundle) -> None:
    with pytest.raises(InputError, match=r"expected one of health, indices, got 'helth'. Did you mean 'health'\?"):
        identify(recordings, model=level_bundle.folder, analyses=["helth"])


def test_the_command_line_lists_analyses_and_prints_verdicts(
    recordings: Path, level_bundle: Bundle, tmp_path: Path, command: Command
) -> None:
    assert "any of health, indices" in " ".join(command("identify", "--help").stdout.decode().split())
    out = tmp_path / "out.csv"
    options = ("--model", level_bundle.folder, "--analyses", "health,indices")
    result = command("identify", recordings, *options, "--out", out)
    assert result.returncode == 0
    lines = result.stderr.decode().splitlines()
    recorders = [line.partition(" (")[0] + line.partition(")")[2] for line in lines if line.startswith("recorder ")]
    assert recorders == ["recorder B: no sound in 1 of 1 recordings", "recorder A: ok"]
    result = command("identify", recordings, *options, "--out", out, "--json", "--overwrite")
    verdicts = [row["verdict"] for row in json.loads(result.stdout)["recorders"]]
    assert verdicts == ["no sound in 1 of 1 recordings", "ok"]
    result = command("identify", recordings, *options)
    assert result.returncode == 2
    assert b"Standard output takes no tables of health, indices. Give an --out file or folder." in result.stderr


@pytest.mark.parametrize(("analysis", "names"), [("health", ["", "recorders"]), ("indices", [""])])
def test_a_run_in_which_all_recordings_failed_has_no_rows(
    tmp_path: Path, level_bundle: Bundle, analysis: str, names: list[str]
) -> None:
    (tmp_path / "a.wav").write_bytes(b"no sound")
    run = identify(tmp_path / "a.wav", model=level_bundle.folder, analyses=[analysis], out=tmp_path / "out.csv")
    assert {name: len(table) for name, table in run.analysis_tables(analysis).items()} == dict.fromkeys(names, 0)
    texts = [path.read_text().strip() for path in tmp_path.glob(f"out.{analysis}*")]
    assert texts == [""] * len(names)
