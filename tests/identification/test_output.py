"""Tables of a run: their paths, when they are written, and the files next to them."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import FrozenInstanceError, asdict, replace
from pathlib import Path

import numpy as np
import pytest

from dawnchorus.audio.windows import WindowPlan
from dawnchorus.errors import InputError, OutputError
from dawnchorus.identification import Options
from dawnchorus.identification.detection_table import TableBuilder
from dawnchorus.identification.journal import Journal
from dawnchorus.identification.output import (
    OutputLocation,
    choose_location,
    is_finished,
    list_outputs,
    write_outputs,
)
from dawnchorus.identification.output_paths import RunFiles, is_folder
from dawnchorus.identification.result import Run, RunCounts
from dawnchorus.identification.resuming import open_journal
from dawnchorus.inference.analyses.hits import HIT
from dawnchorus.inference.results import FailedRecording, ScoredChannel, ScoredRecording
from dawnchorus.models.bundle import Bundle
from dawnchorus.types import AudioInfo, RecordingMetadata

VERSION = (1, 2)
KEY = {"bundle_id": "0123456789ab", "min_score": 0.25, "species": None}


def location(path: Path, *formats: str, combined: bool = False) -> OutputLocation:
    return choose_location(path, list(formats) or None, combined=combined)


# ---------------------------------------------------------------------- formats and names


def test_file_has_the_format_of_its_suffix(tmp_path: Path) -> None:
    for name, expected in (("x.csv", "csv"), ("x.selections.txt", "raven"), ("x.parquet", "parquet")):
        assert [each.name for each in location(tmp_path / name).formats] == [expected]
        assert not is_folder(tmp_path / name)
    assert [each.name for each in location(tmp_path / "x.txt", "audacity").formats] == ["audacity"]


def test_folder_has_csv_unless_formats_are_named(tmp_path: Path) -> None:
    (tmp_path / "made.2026").mkdir()
    for name in ("none", "made.2026"):
        assert [each.name for each in location(tmp_path / name).formats] == ["csv"]
        assert is_folder(tmp_path / name)
    chosen = location(tmp_path / "none", "csv", "raven", combined=True)
    assert [each.name for each in chosen.formats] == ["csv", "raven"]
    with pytest.raises(FrozenInstanceError):
        chosen.combined = False  # type: ignore[misc]


def test_several_formats_in_one_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.csv: one file holds one format, got csv, raven\. Give a folder"):
        location(tmp_path / "x.csv", "csv", "raven")
    with pytest.raises(InputError, match="no table format has this suffix"):
        location(tmp_path / "x.xlsx")


def test_files_of_a_run_are_next_to_a_file_or_in_its_folder(tmp_path: Path) -> None:
    assert location(tmp_path / "x.csv").files == RunFiles(
        folder=tmp_path,
        journal=tmp_path / ".x.csv.journal",
        lock=tmp_path / ".x.csv.lock",
        parameters=tmp_path / "x.csv.params.json",
        failures=tmp_path / "x.csv.failures.csv",
        stem=tmp_path / "x",
    )
    assert location(tmp_path / "x").files == RunFiles(
        folder=tmp_path / "x",
        journal=tmp_path / "x" / ".dawnchorus.journal",
        lock=tmp_path / "x" / ".dawnchorus.lock",
        parameters=tmp_path / "x" / "run.params.json",
        failures=tmp_path / "x" / "run.failures.csv",
        stem=tmp_path / "x" / "detections",
    )
    assert location(tmp_path / "x.selections.txt").files.stem == tmp_path / "x"


def test_outputs_are_one_file_or_a_table_of_all_or_of_each(out: Path, paths: list[Path]) -> None:
    (only,) = list_outputs(location(out / "x.csv"), paths)
    assert (only.path, only.format.name, only.recordings) == (out / "x.csv", "csv", tuple(paths))
    combined = list_outputs(location(out, "csv", "raven", combined=True), paths)
    assert [(each.path.name, each.recordings) for each in combined] == [
        ("detections.csv", tuple(paths)),
        ("detections.selections.txt", tuple(paths)),
    ]
    each = list_outputs(location(out, "csv", "jsonl"), paths[1:], str(paths[0].parent))
    assert [(one.path.relative_to(out).as_posix(), one.format.name, one.recordings) for one in each] == [
        ("b/c.wav.csv", "csv", (paths[1],)),
        ("b/c.wav.jsonl", "jsonl", (paths[1],)),
    ]


def opened(at: OutputLocation, paths: list[Path]) -> Journal:
    return open_journal(at, KEY, paths, resume=True, overwrite=False)


# ---------------------------------------------------------------------- what is written


def scored(path: Path) -> ScoredRecording:
    """Return a recording with one loud bird."""
    info = AudioInfo("WAV", "PCM_16", 16_000, 1, None)
    hits = (ScoredChannel({"hits": np.array([(0, 0, 0.5)], HIT)}),)
    return ScoredRecording(path, info, RecordingMetadata(), 1.0, (), hits)


def run_of(
    bundle: Bundle,
    journal: Journal,
    paths: list[Path],
    *,
    n_failed: int = 0,
    version: tuple[int, int] = VERSION,
    **options: object,
) -> Run:
    """Return a run that found one loud bird in each recording, but in the first `n_failed`, which are broken."""
    plan = WindowPlan.from_seconds(rate_hz=16_000, window_s=1.0)
    builder = TableBuilder(bundle, plan, Options(**options), None, {})  # type: ignore[arg-type]
    for k, path in enumerate(paths):
        if k < n_failed:
            journal.add_failure(FailedRecording(path, f"{path.name}: broken"), version)
        elif not journal.is_done(path, version):
            journal.add(scored(path), version)
    return Run(bundle, tuple(paths), RunCounts(len(paths)), journal, builder)


def written(folder: Path) -> set[str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix() for path in paths if not path.name.startswith(".")}


HEADER = "Start (s),End (s),Scientific name,Common name,Confidence,File\n"
ROW = "0.0,1.0,Avis magna,Loud Bird,0.5000,{}\n"


def test_one_file_holds_all_recordings(out: Path, paths: list[Path], level_bundle: Bundle) -> None:
    at = location(out / "x.csv")
    with closing(opened(at, paths)) as journal:
        write_outputs(run_of(level_bundle, journal, paths), at)
        assert is_finished(journal, at.files)
    assert written(out) == {"x.csv", "x.csv.params.json"}
    assert (out / "x.csv").read_text() == HEADER + ROW.format(paths[0]) + ROW.format(paths[1])


def test_combined_folder_holds_one_table_in_each_format(out: Path, paths: list[Path], level_bundle: Bundle) -> None:
    at = location(out, "csv", "jsonl", combined=True)
    with closing(opened(at, paths)) as journal:
        write_outputs(run_of(level_bundle, journal, paths), at)
    assert written(out) == {"detections.csv", "detections.jsonl", "run.params.json"}
    assert (out / "detections.csv").read_text() == HEADER + ROW.format(paths[0]) + ROW.format(paths[1])


def test_folder_holds_a_table_of_each_recording(out: Path, paths: list[Path], level_bundle: Bundle) -> None:
    at = location(out, "csv", "jsonl")
    with closing(opened(at, paths)) as journal:
        write_outputs(run_of(level_bundle, journal, paths), at)
    assert written(out) == {"a.wav.csv", "a.wav.jsonl", "b/c.wav.csv", "b/c.wav.jsonl", "run.params.json"}
    assert (out / "b" / "c.wav.csv").read_text() == HEADER + ROW.format(paths[1])


def test_failures_are_next_to_the_tables_while_there_are_any(
    out: Path, paths: list[Path], level_bundle: Bundle
) -> None:
    at = location(out)
    with closing(opened(at, paths)) as journal:
        write_outputs(run_of(level_bundle, journal, paths, n_failed=1), at)
        assert written(out) == {"b/c.wav.csv", "run.params.json", "run.failures.csv"}
        assert (out / "run.failures.csv").read_text() == f"recording,reason\n{paths[0]},a.wav: broken\n"
        write_outputs(run_of(level_bundle, journal, paths), at)
    assert written(out) == {"a.wav.csv", "b/c.wav.csv", "run.params.json"}


def test_tables_are_written_again_only_where_needed(out: Path, paths: list[Path], level_bundle: Bundle) -> None:
    at = location(out, "csv", "jsonl")
    with closing(opened(at, paths)) as journal:
        run = run_of(level_bundle, journal, paths)
        assert len(write_outputs(run, at).paths) == 4
        assert write_outputs(run, at).paths == ()
        (out / "b" / "c.wav.jsonl").unlink()
        assert write_outputs(run, at).paths == (out / "b" / "c.wav.jsonl",), "the one that was gone"
        merged = write_outputs(run_of(level_bundle, journal, paths, merge=True), at)
        assert (len(merged.paths), merged.changed) == (4, {}), "the parameters are others"


@pytest.mark.parametrize("content", ["", "Start (s),", "reviewed by hand"])
def test_changed_table_is_kept_aside_and_written_again(
    out: Path, paths: list[Path], level_bundle: Bundle, content: str
) -> None:
    at = location(out)
    with closing(opened(at, paths)) as journal:
        run = run_of(level_bundle, journal, paths)
        write_outputs(run, at)
        first = (out / "a.wav.csv").read_bytes()
        (out / "a.wav.csv").write_text(content)
        written = write_outputs(run, at)
        assert written.paths == (out / "a.wav.csv",)
        assert written.changed == {out / "a.wav.csv": out / "a.wav.csv.changed-1"}
        assert (out / "a.wav.csv").read_bytes() == first
        assert (out / "a.wav.csv.changed-1").read_text() == content
        (warning,) = replace(run, written=written).warnings
        assert "was changed since it was written; it is written again" in warning.reason
        assert write_outputs(run, at).paths == ()


def test_table_without_a_digest_is_left_alone(out: Path, paths: list[Path], level_bundle: Bundle) -> None:
    at = location(out)
    with closing(opened(at, paths)) as journal:
        run = run_of(level_bundle, journal, paths)
        write_outputs(run, at)
        journal._db.execute("ALTER TABLE outputs DROP COLUMN digest")
    (out / "a.wav.csv").write_text("reviewed by hand")
    with closing(opened(at, paths)) as journal:
        assert write_outputs(run_of(level_bundle, journal, paths), at).paths == ()


def test_parameters_are_for_readers(out: Path, paths: list[Path], level_bundle: Bundle) -> None:
    at = location(out / "x.csv")
    with closing(opened(at, paths)) as journal:
        write_outputs(run_of(level_bundle, journal, paths, thresholds={"Ärger": 0.5}), at)
    text = (out / "x.csv.params.json").read_text(encoding="utf-8")
    assert text.startswith('{\n  "model": "level",\n')
    assert text.endswith("}\n")
    assert '"Ärger": 0.5' in text
    assert json.loads(text)["bundle_id"] == level_bundle.id


def test_table_of_all_is_written_again_only_where_needed(out: Path, paths: list[Path], level_bundle: Bundle) -> None:
    at = location(out / "x.csv")
    with closing(opened(at, paths)) as journal:
        assert write_outputs(run_of(level_bundle, journal, paths, n_failed=1), at).paths == (at.path,)
        assert write_outputs(run_of(level_bundle, journal, paths, n_failed=1), at).paths == ()
        scored_now = write_outputs(run_of(level_bundle, journal, paths), at)
        assert (scored_now.paths, scored_now.changed) == ((at.path,), {}), "the first one could be scored now"


def test_table_is_out_of_date_when_scored_or_located_again(out: Path, paths: list[Path], level_bundle: Bundle) -> None:
    at = location(out)
    with closing(opened(at, paths)) as journal:
        write_outputs(run_of(level_bundle, journal, paths), at)
        journal.add(scored(paths[0]), (VERSION[0] + 1, VERSION[1]))
        run = run_of(level_bundle, journal, paths[1:])
        run.builder.metadata_by_path[paths[1]] = RecordingMetadata(latitude=52.5, longitude=13.4)
        assert write_outputs(run, at).paths == (out / "b" / "c.wav.csv",), "the other is not in this run"
        again = write_outputs(run_of(level_bundle, journal, paths, version=(VERSION[0] + 1, VERSION[1])), at)
        assert out / "a.wav.csv" in again.paths


def test_run_is_not_noted_as_written_when_writing_fails(out: Path, paths: list[Path], level_bundle: Bundle) -> None:
    at = location(out)
    with closing(opened(at, paths)) as journal:
        run = run_of(level_bundle, journal, paths)
        write_outputs(run, at)
        signature = journal.output_signature("a.wav.csv")
        (out / "b" / "c.wav.csv").unlink()
        (out / "b").rmdir()
        (out / "b").write_text("in the way")
        with pytest.raises(OutputError, match=r"b: cannot be written"):
            write_outputs(run, at)
        assert not is_finished(journal, at.files)
        assert journal.output_signature("b/c.wav.csv") is None
        assert journal.output_signature("a.wav.csv") == signature is not None


# ---------------------------------------------------------------------- journals of earlier versions


def as_before_december(journal: Journal, run: Run, formats: list[str], in_table: list[Path]) -> None:
    """Turn a journal into one of 2026-11-27, which noted formats and provenance of all tables together."""
    written = {"formats": formats, "provenance": asdict(run.provenance)}
    db = journal._db
    db.execute("DELETE FROM outputs")
    db.execute("INSERT INTO run VALUES ('written', ?)", [json.dumps(written)])
    db.execute("ALTER TABLE recordings ADD COLUMN in_table INTEGER NOT NULL DEFAULT 0")
    db.executemany("UPDATE recordings SET in_table = 1 WHERE path = ?", [[str(path).encode()] for path in in_table])


@pytest.mark.parametrize(
    ("formats", "in_table", "kept"), [(["csv"], 2, ["a", "b/c"]), (["csv"], 1, ["a"]), (["raven"], 2, [])]
)
def test_tables_of_an_earlier_version_are_left_alone(
    out: Path, paths: list[Path], level_bundle: Bundle, formats: list[str], in_table: int, kept: list[str]
) -> None:
    at = location(out)
    with closing(opened(at, paths)) as journal:
        run = run_of(level_bundle, journal, paths)
        write_outputs(run, at)
        as_before_december(journal, run, formats, paths[:in_table])
        for name in ("a", "b/c"):
            (out / f"{name}.wav.csv").write_text("reviewed by hand")
        assert is_finished(journal, at.files)
        write_outputs(run, at)
        reviewed = [name for name in ("a", "b/c") if (out / f"{name}.wav.csv").read_text() == "reviewed by hand"]
        assert reviewed == kept
        assert journal.earlier_layout() is None
        journal.add_failure(FailedRecording(paths[0], "broken"), VERSION)
        journal.add(scored(paths[0]), VERSION)
        write_outputs(run, at)
        assert is_finished(journal, at.files)
