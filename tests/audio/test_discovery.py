"""Paths, folders and globs become recordings, once each and in order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dawnchorus.audio.discovery import find_recordings
from dawnchorus.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "b.wav",
        "a.FLAC",
        "notes.txt",
        ".hidden.wav",
        "sub/c.mp3",
        "sub/deep/f.aac",
        ".git/d.wav",
        "odd.wav/e.ogg",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def discovered(folder: Path, *names: str) -> list[str]:
    return [os.path.relpath(path, folder) for path in find_recordings([folder / name for name in names])]


def test_folder_lists_recordings_and_folders_named_like_them(folder: Path) -> None:
    assert discovered(folder, "") == ["a.FLAC", "b.wav", "odd.wav", "odd.wav/e.ogg", "sub/c.mp3", "sub/deep/f.aac"]


def test_a_name_without_a_stem_is_not_hidden(folder: Path) -> None:
    (folder / "..wav").touch()
    (folder / "a..wav").touch()
    assert discovered(folder, "")[:2] == ["..wav", "a..wav"]


def test_a_named_file_may_end_in_anything_and_counts_once(folder: Path) -> None:
    assert discovered(folder, "notes.txt", "b.wav", "./b.wav", "sub/c.mp3", "./sub/c.mp3") == [
        "notes.txt",
        "b.wav",
        "sub/c.mp3",
    ]


def test_globs_are_searched_and_may_match_folders(folder: Path) -> None:
    assert discovered(folder, "*.wav") == ["b.wav", "odd.wav/e.ogg"]
    assert discovered(folder, "**/*.aac") == ["sub/deep/f.aac"]


def test_a_file_whose_name_is_a_pattern_is_that_file(folder: Path) -> None:
    (folder / "[ab].wav").touch()
    assert discovered(folder, "[ab].wav") == ["[ab].wav"]


def test_what_is_not_there_stays_if_something_is(folder: Path) -> None:
    assert discovered(folder, "b.wav", "gone.wav", "*.aiff") == ["b.wav", "gone.wav", "*.aiff"]
    with pytest.raises(InputError, match=r"No recordings found in .*gone\.wav, .*\*\.aiff: expected"):
        discovered(folder, "gone.wav", "*.aiff")
    with pytest.raises(InputError, match="an empty list"):
        find_recordings([])


def test_linked_folders_are_left_out_and_linked_files_are_not(folder: Path) -> None:
    (folder / "sub" / "loop").symlink_to(folder)
    (folder / "sub" / "link.wav").symlink_to(folder / "gone.wav")
    assert discovered(folder, "sub") == ["sub/c.mp3", "sub/link.wav", "sub/deep/f.aac"]


def test_a_folder_of_links_alone_is_refused_with_what_was_passed_over(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "card").symlink_to(tmp_path)
    with pytest.raises(InputError, match=r"No recordings found .* Passed over: linked folders, .*: 1 \(as .*card\)"):
        find_recordings([tmp_path / "in"])


def test_recordings_are_found_once_in_any_case_and_depth(tmp_path: Path) -> None:
    for relative in ("b/c/x.WAV", "b/y.Flac", "a.mp3", ".hidden.wav", "notes.txt", ".git/z.wav"):
        (tmp_path / relative).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / relative).touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    paths = find_recordings([tmp_path, tmp_path / "a.mp3", str(tmp_path / "b" / "*.Flac")])
    assert [str(p.relative_to(tmp_path)) for p in paths] == ["a.mp3", "b/y.Flac", "b/c/x.WAV"]
    with pytest.raises(InputError, match="No recordings found"):
        find_recordings([tmp_path / "b" / "c" / "*.mp3"])
