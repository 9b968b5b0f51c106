"""Places in MP3 files by an index of their frames: the samples are those of decoding from the start."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.sounds import tone

from dawnchorus.audio.backends import open_backend
from dawnchorus.audio.mp3_frames import N_SLICE, find_frames


def write(path: Path, *, rate_hz: int, n_channels: int = 1, n: int = 130_000, mode: str = "CONSTANT") -> Path:
    """Write noise, whose frames differ."""
    rng = np.random.default_rng(3)
    signal = rng.normal(0, 0.1, (n, n_channels)) * np.linspace(0.1, 1, n_channels)
    soundfile.write(path, signal, rate_hz, format="MP3", bitrate_mode=mode)
    return path


def samples_of(path: Path, first: int, end: int | None = None) -> np.ndarray:
    index = find_frames(path)
    assert index is not None
    blocks = list(index.blocks(path, first, end))
    return np.concatenate(blocks) if blocks else np.zeros((0, 1), np.float32)


@pytest.mark.parametrize(
    ("rate_hz", "n_channels", "mode"),
    [(8_000, 1, "CONSTANT"), (24_000, 1, "VARIABLE"), (44_100, 2, "CONSTANT")],
)
def test_any_position_has_the_samples_of_the_whole(tmp_path: Path, rate_hz: int, n_channels: int, mode: str) -> None:
    n = 240_000 if rate_hz == 44_100 else 130_000
    path = write(tmp_path / "x.mp3", rate_hz=rate_hz, n_channels=n_channels, n=n, mode=mode)
    whole, _ = soundfile.read(path, dtype="float32", always_2d=True)
    assert whole.shape == (n, n_channels)
    for first in (0, 1, 5_000, 5_001, len(whole) // 2, len(whole) - 10):
        found = samples_of(path, first, len(whole))
        assert found.shape == whole[first:].shape
        np.testing.assert_allclose(found, whole[first:], atol=1e-4)
    np.testing.assert_allclose(samples_of(path, 20_000, 20_003), whole[20_000:20_003], atol=1e-4)
    assert not len(samples_of(path, 10**9))


def test_tags_around_the_sound_and_files_without_a_count_are_read(tmp_path: Path) -> None:
    original = write(tmp_path / "x.mp3", rate_hz=24_000, n=150_000)
    content, index = original.read_bytes(), find_frames(original)
    assert index is not None
    tags = b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128)
    for k, changed in enumerate((tags + tags + content + b"TAG" + bytes(125), content[index.starts[1] :])):
        path = tmp_path / f"{k}.mp3"
        path.write_bytes(changed)
        whole, _ = soundfile.read(path, dtype="float32", always_2d=True)
        np.testing.assert_allclose(samples_of(path, 100_000, len(whole)), whole[100_000:], atol=1e-4)


def test_what_is_long_is_decoded_in_pieces(tmp_path: Path) -> None:
    path = write(tmp_path / "x.mp3", rate_hz=8_000, n=320_000)
    index = find_frames(path)
    assert index is not None
    lengths = [len(block) for block in index.blocks(path, 0, None)]
    assert len(lengths) > 1
    assert max(lengths) <= (N_SLICE + 64) * index.frame_samples


def test_there_is_no_index_where_frames_do_not_follow_each_other(tmp_path: Path) -> None:
    content = write(tmp_path / "x.mp3", rate_hz=8_000).read_bytes()
    path = tmp_path / "y.mp3"
    for changed in (
        b"",
        b"no sound",
        b"ID3\x04\x00",
        content[:2_000],
        content[:5_000] + bytes(3) + content[5_000:],
        content[:400],
    ):
        path.write_bytes(changed)
        assert find_frames(path) is None
    soundfile.write(path, tone(seconds=0.1), 16_000, format="WAV")
    assert find_frames(path) is None


def test_a_replaced_file_has_another_index(tmp_path: Path) -> None:
    path = write(tmp_path / "x.mp3", rate_hz=8_000)
    first = find_frames(path)
    assert find_frames(path) is first
    assert find_frames(write(path, rate_hz=8_000, n=150_000)) is not first


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_decoding_far_from_the_start_goes_by_the_index(tmp_path: Path, mode: str) -> None:
    path = write(tmp_path / "x.mp3", rate_hz=8_000, n=320_000, mode=mode)
    whole, _ = soundfile.read(path, dtype="float32", always_2d=True)
    backend = open_backend(path)
    found = np.concatenate(list(backend.blocks(first_frame=280_000)))
    backend.close()
    np.testing.assert_allclose(found, whole[280_000:], atol=1e-4)
