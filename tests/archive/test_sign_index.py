"""Derived files of searches: made once, by any number of processes, and dropped with their data files."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.vectors import VectorArchive, write_vectors

from dawnchorus.archive.archive import Archive, open_archive
from dawnchorus.archive.maintenance import check_archive, compact_archive, vacuum_archive
from dawnchorus.archive.sign_index import FOLDER, SPACE_NAME, Space, normalize
from dawnchorus.errors import FormatError, OutputError


@pytest.fixture
def small(tmp_path: Path) -> VectorArchive:
    return write_vectors(tmp_path / "archive", n=300, dim=64, seed=3)


def derived(archive: Archive) -> dict[str, int]:
    """Return the derived files with the times at which they were made."""
    return {path.name: path.stat().st_mtime_ns for path in (archive.location.root / FOLDER).glob("*/*")}


def test_derived_files_are_made_once(small: VectorArchive) -> None:
    first = small.archive.search(small.vectors[0], k=5)
    made = derived(small.archive)
    assert len(made) == 4
    assert SPACE_NAME in made
    assert small.archive.search(small.vectors[0], k=5).equals(first)
    assert open_archive(small.archive.location.root).search(small.vectors[0], k=5).equals(first)
    assert derived(small.archive) == made


def test_they_go_with_their_data_files(small: VectorArchive) -> None:
    small.archive.search(small.vectors[0])
    before = derived(small.archive)
    list(compact_archive(small.archive))
    assert list(derived(small.archive)) == [SPACE_NAME]
    small.archive.search(small.vectors[0])
    after = derived(small.archive)
    assert len(after) == 2
    assert after[SPACE_NAME] == before[SPACE_NAME], "mean and rotation stay"
    vacuum_archive(small.archive, older_than_h=0)
    assert derived(small.archive) == after


def test_unfinished_files_of_a_dead_process_are_removed(small: VectorArchive) -> None:
    small.archive.search(small.vectors[0])
    (folder,) = (small.archive.location.root / FOLDER).iterdir()
    old, new = folder / ".a.arrow.0123", folder / ".b.arrow.0123"
    for path in (old, new):
        path.write_bytes(b"part")
    os.utime(old, (0, 0))
    vacuum_archive(small.archive)
    assert (old.exists(), new.exists()) == (False, True)


def test_damaged_files_are_made_again(small: VectorArchive) -> None:
    expected = small.archive.search(small.vectors[0], k=5)
    (folder,) = (small.archive.location.root / FOLDER).iterdir()
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    assert small.archive.search(small.vectors[0], k=5).equals(expected)
    made = derived(small.archive)
    assert small.archive.search(small.vectors[0], k=5).equals(expected)
    assert derived(small.archive) == made


def test_a_damaged_data_file_is_one_sentence_with_what_to_do(small: VectorArchive) -> None:
    root = small.archive.location.root
    for path in [*root.glob("recordings/**/*.parquet"), *root.glob("embeddings/**/*.parquet")]:
        os.truncate(path, path.stat().st_size // 2)
    archive = open_archive(root)
    for read in (
        lambda: archive.recordings().read_all(),
        lambda: archive.embeddings().read_all(),
        lambda: archive.search(small.vectors[0]),
        lambda: check_archive(archive),
    ):
        with pytest.raises(
            FormatError, match=r"(recordings|embeddings): the table cannot be read .*\. Restore its files"
        ):
            read()


def test_those_of_another_space_are_made_again(small: VectorArchive) -> None:
    expected = small.archive.search(small.vectors[0], k=5)
    (folder,) = (small.archive.location.root / FOLDER).iterdir()
    space = Space.create(np.eye(64, dtype=np.float32))
    np.savez(folder / SPACE_NAME, mean=space.mean, rotation=-space.rotation)
    assert small.archive.search(small.vectors[0], k=5).equals(expected)


def test_an_archive_that_cannot_be_written_has_them_in_the_cache(small: VectorArchive, tmp_path: Path) -> None:
    (small.archive.location.root / FOLDER).write_bytes(b"no folder can be here")
    cache = tmp_path / "cache"
    hits = small.archive.search(small.vectors[0], k=5, cache=cache)
    assert hits["start_s"][0].as_py() == 0
    assert len(list(cache.glob("*/*/*.arrow"))) == 3
    cache_file = tmp_path / "file"
    cache_file.write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        small.archive.search(small.vectors[0], cache=cache_file)


def test_searches_at_once_agree(small: VectorArchive) -> None:
    hits = []
    threads = [
        threading.Thread(target=lambda: hits.append(small.archive.search(small.vectors[0], k=5))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hits) == 4
    assert all(each.equals(hits[0]) for each in hits)
    assert len(derived(small.archive)) == 4


def test_signs_tell_angles() -> None:
    """The share of signs that differ is the angle over pi: Charikar 2002."""
    random = np.random.default_rng(0)
    space = Space.create(np.zeros((1, 128), np.float32))
    first = normalize(random.standard_normal((400, 128)).astype(np.float32))
    second = normalize(first + random.standard_normal((400, 128)).astype(np.float32) / 128**0.5)
    bits = [np.stack(space.signs(each), axis=1) for each in (first, second)]
    differ = np.bitwise_xor(*bits).view(np.uint8)
    share = np.unpackbits(differ, axis=1).mean(axis=1)
    angle = np.arccos((first * second).sum(axis=1)) / np.pi
    assert share == pytest.approx(angle, abs=0.2)
    assert share.mean() == pytest.approx(angle.mean(), abs=0.02)


def test_other_lengths_than_words_have_room(tmp_path: Path) -> None:
    """Bits beyond the length of an embedding are equal in all, and zeros have a direction too."""
    odd = write_vectors(tmp_path / "archive", n=50, dim=70, seed=1)
    assert odd.archive.search(odd.vectors[10], k=1)["start_s"].to_pylist() == [10]
    assert len(odd.archive.search(np.zeros(70), k=5)) == 5
