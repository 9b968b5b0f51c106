"""Places of tables, what may be replaced there, and the files beside them."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from dawnchorus.audio.windows import WindowPlan
from dawnchorus.errors import BusyError, InputError, JournalDamagedError, OutputError, OutputExistsError
from dawnchorus.identification import Options
from dawnchorus.identification.detection_table import TableBuilder
from dawnchorus.identification.journal import Journal
from dawnchorus.identification.output import Target
from dawnchorus.identification.result import Progress, Run
from dawnchorus.inference.analyses.hits import HIT
from dawnchorus.inference.results import FailedRecording, ScoredChannel, ScoredRecording
from dawnchorus.models.bundle import Bundle
from dawnchorus.types import AudioInfo, RecordingMetadata

MARK = (1, 2)
KEY = {"bundle_id": "0123456789ab", "min_score": 0.25, "species": None}


def target(path: Path, *formats: str, combined: bool = False) -> Target:
    return Target.of(path, list(formats) or None, combined=combined)


# ---------------------------------------------------------------------- formats and names


def test_file_has_the_format_of_its_suffix(tmp_path: Path) -> None:
    for name, expected in (("x.csv", "csv"), ("x.selections.txt", "raven"), ("x.parquet", "parquet")):
        chosen = target(tmp_path / name)
        assert ([each.name for each in chosen.formats], chosen.is_folder) == ([expected], False)
    chosen = target(tmp_path / "x.txt", "audacity")
    assert ([each.name for each in chosen.formats], chosen.is_folder) == (["audacity"], False)


def test_folder_has_csv_unless_formats_are_named(tmp_path: Path) -> None:
    (tmp_path / "made.2026").mkdir()
    for name in ("none", "made.2026"):
        chosen = target(tmp_path / name)
        assert ([each.name for each in chosen.formats], chosen.is_folder) == (["csv"], True)
    chosen = target(tmp_path / "none", "csv", "raven", combined=True)
    assert ([each.name for each in chosen.formats], chosen.is_folder, chosen.combined) == (["csv", "raven"], True, True)
    assert not target(tmp_path / "none").combined
    with pytest.raises(FrozenInstanceError):
        chosen.combined = False  # type: ignore[misc]


def test_several_formats_in_one_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.csv: one file holds one format, got csv, raven\. Give a folder"):
        target(tmp_path / "x.csv", "csv", "raven")
    with pytest.raises(InputError, match="no table format has this suffix"):
        target(tmp_path / "x.xlsx")


def test_journal_is_next_to_a_file_or_in_its_folder(tmp_path: Path) -> None:
    assert target(tmp_path / "x.csv").journal_path == tmp_path / ".x.csv.journal"
    assert target(tmp_path / "x").journal_path == tmp_path / "x" / ".dawnchorus.journal"


# ---------------------------------------------------------------------- locks


@pytest.mark.parametrize("name", ["new/folder/x.csv", "new/folder"])
def test_lock_is_held_in_a_folder_that_it_makes(tmp_path: Path, name: str) -> None:
    output = target(tmp_path / name)
    for _ in range(2):
        with output.locked():
            (lock,) = (tmp_path / "new" / "folder").iterdir()
            assert lock.name in (".x.csv.lock", ".dawnchorus.lock")
            with pytest.raises(BusyError, match="another dawnchorus process is writing here"), output.locked():
                pass
        assert sys.platform == "win32" or not lock.exists()


def test_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    output = target(tmp_path / "x.csv")
    with pytest.raises(ZeroDivisionError), output.locked():
        raise ZeroDivisionError
    with output.locked(), pytest.raises(BusyError), output.locked():
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="there an open file cannot be removed")
def test_lock_that_someone_removed_does_no_harm(tmp_path: Path) -> None:
    with target(tmp_path / "x.csv").locked():
        (tmp_path / ".x.csv.lock").unlink()


def test_lock_of_another_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(_seconds: float) -> None:
        pytest.fail("waits for the lock")

    monkeypatch.setattr(time, "sleep", wait)
    lock, refused = (
        FileLock(tmp_path / ".x.csv.lock"),
        pytest.raises(BusyError, match=r"x\.csv: another dawnchorus.*Wait for"),
    )
    with lock, refused, target(tmp_path / "x.csv").locked():
        pass
    assert sys.platform == "win32" or (tmp_path / ".x.csv.lock").exists()


def test_path_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"x\.csv: cannot be written"), target(tmp_path / "file" / "x.csv").locked():
        pass


# ---------------------------------------------------------------------- journals to begin or to go on with


def opened(
    output: Target,
    paths: list[Path],
    key: dict[str, object] = KEY,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Journal:
    return output.open_journal(key, paths, resume=resume, overwrite=overwrite)


def started(output: Target, paths: list[Path]) -> None:
    """Return a run that was interrupted after its first recording."""
    with closing(opened(output, paths)) as journal:
        journal.add(FailedRecording(paths[0], "broken"), MARK)


def finished(output: Target, paths: list[Path]) -> None:
    with closing(opened(output, paths)) as journal:
        journal.add(FailedRecording(paths[0], "broken"), MARK)
        journal.written = {}
    if not output.is_folder:
        output.path.touch()


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return [tmp_path / "sounds" / "a.wav", tmp_path / "sounds" / "b" / "c.wav"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_interrupted_run_resumes_with_the_same_settings(out: Path, paths: list[Path]) -> None:
    output = target(out / "x.csv")
    started(output, paths)
    with closing(opened(output, paths)) as journal:
        assert journal.paths() == paths[:1]
        assert journal.parameters() == KEY


def test_run_with_other_settings_is_refused_and_left_as_it_is(out: Path, paths: list[Path]) -> None:
    output = target(out / "x.csv")
    started(output, paths)
    changed = {"bundle_id": "0123456789ab", "min_score": 0.5, "tta_shifts": 2}
    with pytest.raises(InputError, match=r"x\.csv: it was started with other settings \(min_score, tta_"):
        opened(output, paths, changed)
    with closing(opened(output, paths)) as journal:
        assert journal.paths() == paths[:1]
    with closing(opened(output, paths, changed, overwrite=True)) as journal:
        assert journal.paths() == []
        assert journal.parameters() == changed


def test_finished_run_is_kept_unless_it_is_to_be_added_to(out: Path, paths: list[Path]) -> None:
    output = target(out / "x.csv")
    finished(output, paths)
    with pytest.raises(OutputExistsError, match=r"holds a finished run. Use --resume to add"):
        opened(output, paths)
    with closing(opened(output, paths, resume=True)) as journal:
        assert journal.paths() == paths[:1]
    output.path.unlink()
    with closing(opened(output, paths)) as journal:
        assert journal.paths() == paths[:1], "its table was deleted, and is written again"
    with closing(opened(output, paths, overwrite=True)) as journal:
        assert journal.paths() == []


@pytest.mark.parametrize(
    ("formats", "combined", "names"),
    [
        (("csv",), False, ["a.wav.csv", "b/c.wav.csv"]),
        (("raven", "jsonl"), False, ["a.wav.selections.txt", "a.wav.jsonl", "b/c.wav.jsonl"]),
        (("raven", "jsonl"), True, ["detections.selections.txt", "detections.jsonl"]),
    ],
)
def test_tables_of_someone_else_are_in_the_way(
    out: Path, paths: list[Path], formats: tuple[str, ...], combined: bool, names: list[str]
) -> None:
    output = target(out, *formats, combined=combined)
    for name in names:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).touch()
        with pytest.raises(OutputExistsError) as refused:
            opened(output, paths)
        assert str(refused.value).startswith(f"{out / name}: it exists already. Use --overwrite")
        assert not output.journal_path.exists()
        (out / name).unlink()
    (out / "other.csv").touch()
    opened(output, paths).close()


def test_unrelated_file_is_replaced_only_with_overwrite(out: Path, paths: list[Path]) -> None:
    output = target(out / "x.csv")
    output.path.touch()
    with pytest.raises(OutputExistsError, match="exists already"):
        opened(output, paths)
    with pytest.raises(OutputExistsError, match="exists already"):
        opened(output, paths, resume=True)
    with closing(opened(output, paths, overwrite=True)) as journal:
        assert journal.parameters() == KEY


@pytest.mark.parametrize(("resume", "overwrite"), [(False, False), (False, True), (True, True)])
def test_damaged_journal_is_replaced_and_kept(out: Path, paths: list[Path], resume: bool, overwrite: bool) -> None:
    output = target(out / "x.csv")
    output.journal_path.write_bytes(b"no database " * 100)
    with closing(opened(output, paths, resume=resume, overwrite=overwrite)) as journal:
        assert journal.replaced == out / ".x.csv.journal.damaged-1"
        assert journal.replaced.read_bytes() == b"no database " * 100
        assert journal.parameters() == KEY


def test_damaged_journal_stops_what_would_add_to_it(out: Path, paths: list[Path]) -> None:
    output = target(out / "x.csv")
    output.journal_path.write_bytes(b"no database " * 100)
    with pytest.raises(JournalDamagedError):
        opened(output, paths, resume=True)
    output.path.touch()
    with pytest.raises(OutputExistsError, match="exists already"):
        opened(output, paths)
    assert output.journal_path.read_bytes() == b"no database " * 100
    with closing(opened(output, paths, overwrite=True)) as journal:
        assert journal.replaced is not None


def test_recordings_elsewhere_do_not_fit_a_folder_of_tables(out: Path, paths: list[Path], tmp_path: Path) -> None:
    added = [*paths, tmp_path / "elsewhere.wav"]
    for output in (target(out / "x.csv"), target(out / "all", combined=True)):
        output.journal_path.parent.mkdir(exist_ok=True)
        started(output, paths)
        opened(output, added).close()
    each = target(out / "each")
    each.path.mkdir()
    started(each, paths)
    opened(each, [paths[1], paths[0].with_name("d.wav")]).close()
    with pytest.raises(
        InputError, match=rf"each: it was started with recordings below .*sounds, and {added[2]} is elsewher"
    ):
        opened(each, added)


def test_folder_of_tables_begins_without_recordings(out: Path) -> None:
    with closing(opened(target(out), [])) as journal:
        assert journal.paths() == []


def test_journal_is_closed_when_it_is_refused(out: Path, paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    output = target(out / "x.csv")
    finished(output, paths)
    closed: list[Journal] = []
    monkeypatch.setattr(Journal, "close", lambda self: closed.append(self))  # noqa: PLW0108 - as a method
    with pytest.raises(OutputExistsError):
        opened(output, paths)
    (journal,) = closed
    journal._db.close()


# ---------------------------------------------------------------------- what is written


def run_of(bundle: Bundle, journal: Journal, paths: list[Path], *, n_failed: int = 0, **options: object) -> Run:
    """Return a run that found one loud bird in each recording, but in the first `n_failed`, which are broken."""
    plan = WindowPlan.from_seconds(rate_hz=16_000, window_s=1.0)
    builder = TableBuilder(bundle, plan, Options(**options), None, {})  # type: ignore[arg-type]
    info = AudioInfo("WAV", "PCM_16", 16_000, 1, None)
    for k, path in enumerate(paths):
        if k < n_failed:
            journal.add(FailedRecording(path, f"{path.name}: broken"), MARK)
        elif not journal.is_done(path, MARK):
            hits = (ScoredChannel({"hits": np.array([(0, 0, 0.5)], HIT)}),)
            journal.add(ScoredRecording(path, info, RecordingMetadata(), 1.0, (), hits), MARK)
    return Run(bundle, tuple(paths), Progress(len(paths)), journal, builder)


def written(folder: Path) -> set[str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix() for path in paths if not path.name.startswith(".")}


HEADER = "Start (s),End (s),Scientific name,Common name,Confidence,File\n"
ROW = "0.0,1.0,Avis magna,Loud Bird,0.5000,{}\n"


def test_one_file_holds_all_recordings(out: Path, paths: list[Path], level_bundle: Bundle) -> None:
    output = target(out / "x.csv")
    with closing(opened(output, paths)) as journal:
        output.write(run_of(level_bundle, journal, paths))
        assert journal.written is not None
        assert journal.written["formats"] == ["csv"]
    assert written(out) == {"x.csv", "x.csv.params.json"}
    assert (out / "x.csv").read_text() == HEADER + ROW.format(paths[0]) + ROW.format(paths[1])


def test_combined_folder_holds_one_table_in_each_format(out: Path, paths: list[Path], level_bundle: Bundle) -> None:
    output = target(out, "csv", "jsonl", combined=True)
    with closing(opened(output, paths)) as journal:
        output.write(run_of(level_bundle, journal, paths))
    assert written(out) == {"detections.csv", "detections.jsonl", "run.params.json"}
    assert (out / "detections.csv").read_text() == HEADER + ROW.format(paths[0]) + ROW.format(paths[1])


def test_folder_holds_a_table_of_each_recording(out: Path, paths: list[Path], level_bundle: Bundle) -> None:
    output = target(out, "csv", "jsonl")
    with closing(opened(output, paths)) as journal:
        output.write(run_of(level_bundle, journal, paths))
    assert written(out) == {"a.wav.csv", "a.wav.jsonl", "b/c.wav.csv", "b/c.wav.jsonl", "run.params.json"}
    assert (out / "b" / "c.wav.csv").read_text() == HEADER + ROW.format(paths[1])


def test_failures_are_next_to_the_tables_while_there_are_any(
    out: Path, paths: list[Path], level_bundle: Bundle
) -> None:
    output = target(out)
    with closing(opened(output, paths)) as journal:
        output.write(run_of(level_bundle, journal, paths, n_failed=1))
        assert written(out) == {"b/c.wav.csv", "run.params.json", "run.failures.csv"}
        assert (out / "run.failures.csv").read_text() == f"recording,reason\n{paths[0]},a.wav: broken\n"
        output.write(run_of(level_bundle, journal, paths))
    assert written(out) == {"a.wav.csv", "b/c.wav.csv", "run.params.json"}


def test_tables_are_written_again_only_where_needed(out: Path, paths: list[Path], level_bundle: Bundle) -> None:
    output = target(out, "csv", "jsonl")
    with closing(opened(output, paths)) as journal:
        run = run_of(level_bundle, journal, paths)
        output.write(run)
        for name in ("a.wav.csv", "b/c.wav.csv"):
            (out / name).write_text("reviewed by hand")
        (out / "b" / "c.wav.jsonl").unlink()
        output.write(run)
        assert (out / "a.wav.csv").read_text() == "reviewed by hand"
        assert (out / "b" / "c.wav.csv").read_text().startswith(HEADER), "one of its tables was gone"
        (out / "b" / "c.wav.csv").write_text("reviewed by hand")
        output.write(run_of(level_bundle, journal, paths, merge=True))
        assert (out / "a.wav.csv").read_text().startswith(HEADER), "the parameters are others"
        assert (out / "b" / "c.wav.csv").read_text().startswith(HEADER)


def test_parameters_are_for_readers(out: Path, paths: list[Path], level_bundle: Bundle) -> None:
    output = target(out / "x.csv")
    with closing(opened(output, paths)) as journal:
        output.write(run_of(level_bundle, journal, paths, thresholds={"Ärger": 0.5}))
    text = (out / "x.csv.params.json").read_text(encoding="utf-8")
    assert text.startswith('{\n  "model": "level",\n')
    assert text.endswith("}\n")
    assert '"Ärger": 0.5' in text
    assert json.loads(text)["bundle_id"] == level_bundle.id


def test_run_is_not_noted_as_written_when_writing_fails(out: Path, paths: list[Path], level_bundle: Bundle) -> None:
    output = target(out)
    with closing(opened(output, paths)) as journal:
        run = run_of(level_bundle, journal, paths)
        output.write(run)
        (out / "b" / "c.wav.csv").unlink()
        (out / "b").rmdir()
        (out / "b").write_text("in the way")
        with pytest.raises(OutputError, match=r"b: cannot be written"):
            output.write(run)
        assert journal.written is None
