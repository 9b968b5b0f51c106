"""Locks of outputs, and journals to begin or to go on with."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from filelock import FileLock

from dawnchorus.errors import BusyError, InputError, JournalDamagedError, OutputError, OutputExistsError
from dawnchorus.identification.journal import Journal
from dawnchorus.identification.output import OutputLocation, choose_location
from dawnchorus.identification.resuming import lock_output, open_journal, set_aside
from dawnchorus.inference.results import FailedRecording

MARK = (1, 2)
KEY = {"bundle_id": "0123456789ab", "min_score": 0.25, "species": None}


def location(path: Path, *formats: str, combined: bool = False) -> OutputLocation:
    return choose_location(path, list(formats) or None, combined=combined)


# ---------------------------------------------------------------------- locks


@pytest.mark.parametrize("name", ["new/folder/x.csv", "new/folder"])
def test_lock_is_held_in_a_folder_that_it_makes(tmp_path: Path, name: str) -> None:
    at = location(tmp_path / name)
    for _ in range(2):
        with lock_output(at):
            (lock,) = (tmp_path / "new" / "folder").iterdir()
            assert lock.name in (".x.csv.lock", ".dawnchorus.lock")
            with pytest.raises(BusyError, match="another dawnchorus process is writing here"), lock_output(at):
                pass
        assert sys.platform == "win32" or not lock.exists()


def test_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    at = location(tmp_path / "x.csv")
    with pytest.raises(ZeroDivisionError), lock_output(at):
        raise ZeroDivisionError
    with lock_output(at), pytest.raises(BusyError), lock_output(at):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="there an open file cannot be removed")
def test_lock_that_someone_removed_does_no_harm(tmp_path: Path) -> None:
    with lock_output(location(tmp_path / "x.csv")):
        (tmp_path / ".x.csv.lock").unlink()


def test_lock_of_another_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(_seconds: float) -> None:
        pytest.fail("waits for the lock")

    monkeypatch.setattr(time, "sleep", wait)
    lock, refused = (
        FileLock(tmp_path / ".x.csv.lock"),
        pytest.raises(BusyError, match=r"x\.csv: another dawnchorus.*Wait for"),
    )
    with lock, refused, lock_output(location(tmp_path / "x.csv")):
        pass
    assert sys.platform == "win32" or (tmp_path / ".x.csv.lock").exists()


def test_path_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match=r"x\.csv: cannot be written"),
        lock_output(location(tmp_path / "file" / "x.csv")),
    ):
        pass


# ---------------------------------------------------------------------- journals to begin or to go on with


def opened(
    at: OutputLocation,
    paths: list[Path],
    key: dict[str, object] = KEY,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Journal:
    return open_journal(at, key, paths, resume=resume, overwrite=overwrite)


def started(at: OutputLocation, paths: list[Path]) -> None:
    """Return a run that was interrupted after its first recording."""
    with closing(opened(at, paths)) as journal:
        journal.add_failure(FailedRecording(paths[0], "broken"), MARK)


def finished(at: OutputLocation, paths: list[Path]) -> None:
    with closing(opened(at, paths)) as journal:
        journal.add_failure(FailedRecording(paths[0], "broken"), MARK)
        journal.note_output(at.files.name(at.files.parameters), "written", digest="d1")
    if at.path.suffix:
        at.path.touch()


def test_interrupted_run_resumes_with_the_same_settings(out: Path, paths: list[Path]) -> None:
    at = location(out / "x.csv")
    started(at, paths)
    with closing(opened(at, paths)) as journal:
        assert journal.paths() == paths[:1]
        assert journal.parameters() == KEY


def test_run_with_other_settings_is_refused_and_left_as_it_is(out: Path, paths: list[Path]) -> None:
    at = location(out / "x.csv")
    started(at, paths)
    changed = {"bundle_id": "0123456789ab", "min_score": 0.5, "tta_shifts": 2}
    with pytest.raises(
        InputError, match=r"x\.csv: it was started with other settings \(min_score, tta_shifts changed\)"
    ):
        opened(at, paths, changed)
    with closing(opened(at, paths)) as journal:
        assert journal.paths() == paths[:1]
    with closing(opened(at, paths, changed, overwrite=True)) as journal:
        assert journal.paths() == []
        assert journal.parameters() == changed


def test_finished_run_is_kept_unless_it_is_to_be_added_to(out: Path, paths: list[Path]) -> None:
    at = location(out / "x.csv")
    finished(at, paths)
    with pytest.raises(OutputExistsError, match=r"holds a finished run. Add new recordings to it with --resume"):
        opened(at, paths)
    with closing(opened(at, paths, resume=True)) as journal:
        assert journal.paths() == paths[:1]
    at.path.unlink()
    with closing(opened(at, paths)) as journal:
        assert journal.paths() == paths[:1], "its table was deleted, and is written again"
    with closing(opened(at, paths, overwrite=True)) as journal:
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
    at = location(out, *formats, combined=combined)
    for name in names:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).touch()
        with pytest.raises(OutputExistsError) as refused:
            opened(at, paths)
        assert str(refused.value).startswith(f"{out / name}: it exists already. Choose another output, or")
        assert not at.files.journal.exists()
        (out / name).unlink()
    (out / "other.csv").touch()
    opened(at, paths).close()


@pytest.mark.parametrize(
    ("target", "stem", "run"), [("x.csv", "x", "x.csv"), ("x", "x/detections", "x/run"), ("x.jsonl", "x", "x.jsonl")]
)
def test_files_next_to_the_tables_are_in_the_way(
    out: Path, paths: list[Path], target: str, stem: str, run: str
) -> None:
    at = choose_location(out / target, None, combined=False, analyses=("health", "indices"))
    at.files.folder.mkdir(exist_ok=True)
    names = [f"{stem}.health.csv", f"{stem}.health.recorders.csv", f"{stem}.indices.csv"]
    names += [f"{run}.params.json", f"{run}.failures.csv"]
    for name in names:
        (out / name).touch()
        with pytest.raises(OutputExistsError, match=rf"{name}: it exists already\. Choose .* with --overwrite"):
            opened(at, paths)
        (out / name).unlink()
    for name in names[:2]:
        (out / name).touch()
    with pytest.raises(OutputExistsError, match=r"health.csv: it exists already, as do \S+\.health\.recorders\.csv\."):
        opened(at, paths)
    opened(at, paths, overwrite=True).close()
    opened(at, paths).close()


def test_unrelated_file_is_replaced_only_with_overwrite(out: Path, paths: list[Path]) -> None:
    at = location(out / "x.csv")
    at.path.touch()
    with pytest.raises(OutputExistsError, match="exists already"):
        opened(at, paths)
    with pytest.raises(OutputExistsError, match="exists already"):
        opened(at, paths, resume=True)
    with closing(opened(at, paths, overwrite=True)) as journal:
        assert journal.parameters() == KEY


@pytest.mark.parametrize(("resume", "overwrite"), [(False, False), (False, True), (True, True)])
def test_damaged_journal_is_replaced_and_kept(out: Path, paths: list[Path], resume: bool, overwrite: bool) -> None:
    at = location(out / "x.csv")
    at.files.journal.write_bytes(b"no database " * 100)
    with closing(opened(at, paths, resume=resume, overwrite=overwrite)) as journal:
        assert journal.replaced == out / ".x.csv.journal.damaged-1"
        assert journal.replaced.read_bytes() == b"no database " * 100
        assert journal.parameters() == KEY


def test_damaged_journal_stops_what_would_add_to_it(out: Path, paths: list[Path]) -> None:
    at = location(out / "x.csv")
    at.files.journal.write_bytes(b"no database " * 100)
    with pytest.raises(JournalDamagedError):
        opened(at, paths, resume=True)
    at.path.touch()
    with pytest.raises(OutputExistsError, match="exists already"):
        opened(at, paths)
    assert at.files.journal.read_bytes() == b"no database " * 100
    with closing(opened(at, paths, overwrite=True)) as journal:
        assert journal.replaced is not None


def test_recordings_elsewhere_do_not_fit_a_folder_of_tables(out: Path, paths: list[Path], tmp_path: Path) -> None:
    added = [*paths, tmp_path / "elsewhere.wav"]
    for at in (location(out / "x.csv"), location(out / "all", combined=True)):
        at.files.journal.parent.mkdir(exist_ok=True)
        started(at, paths)
        opened(at, added).close()
    each = location(out / "each")
    each.path.mkdir()
    started(each, paths)
    opened(each, [paths[1], paths[0].with_name("d.wav")]).close()
    with pytest.raises(
        InputError, match=rf"each: it was started with recordings below .*sounds, and {added[2]} is elsewher"
    ):
        opened(each, added)


def test_folder_of_tables_begins_without_recordings(out: Path) -> None:
    with closing(opened(location(out), [])) as journal:
        assert journal.paths() == []


def test_journal_is_closed_when_it_is_refused(out: Path, paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    at = location(out / "x.csv")
    finished(at, paths)
    closed: list[Journal] = []
    monkeypatch.setattr(Journal, "close", lambda self: closed.append(self))  # noqa: PLW0108 - as a method
    with pytest.raises(OutputExistsError):
        opened(at, paths)
    (journal,) = closed
    journal._db.close()


def test_damaged_journal_is_set_aside_with_its_companions(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"
    for k in (1, 2):
        for suffix in ("", "-wal", "-shm"):
            (tmp_path / f"run.journal{suffix}").write_text(f"{k}{suffix}")
        assert set_aside(path) == tmp_path / f"run.journal.damaged-{k}"
    path.write_text("alone")
    set_aside(path)
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {
        "run.journal.damaged-1": "1",
        "run.journal.damaged-1-wal": "1-wal",
        "run.journal.damaged-1-shm": "1-shm",
        "run.journal.damaged-2": "2",
        "run.journal.damaged-2-wal": "2-wal",
        "run.journal.damaged-2-shm": "2-shm",
        "run.journal.damaged-3": "alone",
    }
