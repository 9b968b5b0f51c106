"""Names and paths of outputs, which a later run must find again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dawnchorus.identification.output_paths import (
    RUNS_VARIABLE,
    RunFiles,
    named_after,
    printable,
    relative_paths,
    shared_folder,
)
from dawnchorus.storage.paths import as_path

NAME_BYTES = 240


def n_bytes(path: Path) -> int:
    return len(os.fsencode(path.name))


def test_name_stays_whole_up_to_what_file_systems_take() -> None:
    longest = Path("site", "x" * (NAME_BYTES - 4))
    assert named_after(longest, ".csv") == Path("site", longest.name + ".csv")
    longer = named_after(Path("site", "x" * (NAME_BYTES - 3)), ".csv")
    assert longer.name != "x" * (NAME_BYTES - 3) + ".csv"
    assert n_bytes(longer) == NAME_BYTES


def test_long_name_is_cut_and_ends_in_its_digest() -> None:
    """The digits are the first twelve of the name's sha256; a resumed run must find its tables under them."""
    name = named_after(Path("a", "y" * 300), ".selections.txt").name
    assert name == "y" * 212 + "-9637cfead94a.selections.txt"
    other = named_after(Path("a", "y" * 301), ".selections.txt").name
    assert other[:212] == name[:212]
    assert other != name


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count other units")
def test_long_name_is_cut_between_letters() -> None:
    name = named_after(Path("ä" * 150), ".csv").name
    assert name.startswith("ä" * 111 + "-")
    assert name.isprintable()
    assert n_bytes(Path(name)) == 239


def test_folder_that_recordings_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shared_folder([]) is None
    assert shared_folder([tmp_path / "a" / "x.wav"]) == str(tmp_path / "a")
    assert shared_folder([tmp_path / "a" / "x.wav", tmp_path / "ab" / "x.wav"]) == str(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert shared_folder([Path("a/x.wav"), tmp_path / "a" / "y.wav"]) == str(tmp_path / "a")


def test_paths_are_below_the_root_or_the_shared_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.wav"
    assert relative_paths([]) == {}
    assert relative_paths([path]) == {path: Path("x.wav")}
    assert relative_paths([path], str(tmp_path)) == {path: Path("a/b/x.wav")}


@pytest.mark.skipif(sys.platform == "win32", reason="paths there begin with a drive")
def test_paths_keep_the_whole_path_without_a_shared_folder() -> None:
    """As on Windows, with recordings on two drives."""
    here, there, elsewhere = Path("/a/b/x.wav"), as_path("s3://bucket/b/x.wav"), as_path("s3://other/../x.wav")
    assert shared_folder([here, there]) is None
    assert relative_paths([here, there, elsewhere]) == {
        here: Path("a/b/x.wav"),
        there: Path("s3/bucket/b/x.wav"),
        elsewhere: Path("s3/other/__/x.wav"),
    }


def test_urls_share_a_folder_of_one_store() -> None:
    paths = [as_path(f"s3://bucket/2026/{name}") for name in ("a/x.wav", "a/b/y.wav", "a-b/z.wav")]
    assert shared_folder(paths) == "s3://bucket/2026"
    assert list(relative_paths(paths).values()) == [Path("a/x.wav"), Path("a/b/y.wav"), Path("a-b/z.wav")]
    assert shared_folder(paths[:2]) == "s3://bucket/2026/a"


def test_the_journal_of_a_run_in_a_store_is_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUNS_VARIABLE, str(tmp_path))
    one, other = (RunFiles.next_to(as_path(f"memory://{bucket}/2026/x.csv"), ".csv") for bucket in ("a", "b"))
    assert one.journal.parent == one.lock.parent == tmp_path
    assert one.journal != other.journal
    assert one.journal.name.startswith("x.csv-")
    assert str(one.parameters) == "memory://a/2026/x.csv.params.json"
    assert one.name(one.failures) == "x.csv.failures.csv"


def test_bytes_that_are_no_text_are_written_as_escapes() -> None:
    assert printable(Path("caf\udce9.wav")) == "caf\\udce9.wav"
    assert printable("Ärger") == "Ärger"


def test_paths_below_the_folder_that_all_share(tmp_path: Path) -> None:
    relative = relative_paths([tmp_path / "x" / "a.wav", tmp_path / "y" / "z" / "a.wav"])
    assert list(relative.values()) == [Path("x/a.wav"), Path("y/z/a.wav")]
