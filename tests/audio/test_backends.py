"""The two decoders: what is refused, with which words, and where reading begins and ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import soundfile
from tests.fixtures.sounds import tone

from dawnchorus.audio.backends import _AvBackend, _check_bounds, open_backend
from dawnchorus.errors import AudioDecodeError, AudioNotFoundError
from dawnchorus.types import AudioInfo


@contextmanager
def opened(path: Path) -> Iterator[object]:
    backend = open_backend(path)
    try:
        yield backend
    finally:
        backend.close()


def samples_of(path: Path, **more: int) -> np.ndarray:
    with opened(path) as backend:
        return np.concatenate(list(backend.blocks(**more)))  # type: ignore[attr-defined]


def write(path: Path, *, codec: str, n: int = 32_000, layout: str = "mono") -> Path:
    """Write a tone at 16 kHz with FFmpeg."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=16_000, layout=layout)
        samples = np.tile((tone(seconds=n / 16_000) * 32_767).astype(np.int16), (1, 1))
        for start in range(0, n, 1024):
            frame = av.AudioFrame.from_ndarray(samples[:, start : start + 1024], format="s16", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = 16_000, start, Fraction(1, 16_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_what_is_no_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, link, dangling = tmp_path / "good.wav", tmp_path / "link.wav", tmp_path / "dangling.wav"
    soundfile.write(good, tone(seconds=0.1), 16_000)
    link.symlink_to(good)
    dangling.symlink_to(tmp_path / "none")
    assert len(samples_of(link)) == 1600
    for path, reason in (
        (dangling, "the link points to a file that is not there"),
        (tmp_path / "none", "no such file"),
        (tmp_path, "found a folder or a device"),
    ):
        with pytest.raises(AudioNotFoundError, match=reason):
            open_backend(path)
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (good, os.R_OK))
    with pytest.raises(AudioNotFoundError, match="no permission to read"):
        open_backend(good)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "the file is empty"), (b"x", "libsndfile: .*; FFmpeg: .*copy is")]
)
def test_files_without_audio_are_rejected(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(AudioDecodeError, match=reason) as caught:
        open_backend(tmp_path / "x.wav")
    assert "0x" not in str(caught.value)


@pytest.mark.parametrize(
    ("rate_hz", "n_channels", "is_good"),
    [
        *((500, 1, True), (499, 1, False), (500_000, 1, True), (500_001, 1, False)),
        *((16_000, 256, True), (16_000, 257, False), (16_000, 0, False), (16_000, 1, True), (0, 1, False)),
    ],
)
def test_rates_and_channels_are_bounded(rate_hz: int, n_channels: int, is_good: bool) -> None:
    info = AudioInfo(container="WAV", codec="PCM_16", rate_hz=rate_hz, n_channels=n_channels, n_frames=1)
    if is_good:
        _check_bounds(Path("x.wav"), info)
    else:
        with pytest.raises(AudioDecodeError, match=r"x\.wav: the header says .* expected (500 to 500000 Hz|1 to 256)"):
            _check_bounds(Path("x.wav"), info)


def test_a_file_out_of_bounds_is_closed(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", tone(seconds=0.1), 499)
    with pytest.raises(AudioDecodeError, match="499 Hz"):
        open_backend(tmp_path / "x.wav")
    assert not [link for link in Path("/proc/self/fd").iterdir() if link.resolve() == tmp_path / "x.wav"]


def test_a_name_that_is_not_utf_8_is_opened(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    with path.open("wb") as file:
        soundfile.write(file, tone(seconds=0.1), 16_000, format="WAV")
    assert len(samples_of(path)) == 1600


@pytest.mark.parametrize(
    ("frames", "promised"), [(0, 0), (5, 5), (2**62 - 1, 2**62 - 1), (2**62, None), (2**63 - 1, None), (-1, None)]
)
def test_lengths_that_mean_unknown_are_no_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: int, promised: int | None
) -> None:
    (tmp_path / "x.wav").write_bytes(b"x")
    file = SimpleNamespace(frames=frames, format="WAV", subtype="PCM_16", samplerate=16_000, channels=2)
    monkeypatch.setattr(soundfile, "SoundFile", lambda _name: file)
    assert open_backend(tmp_path / "x.wav").info == AudioInfo("WAV", "PCM_16", 16_000, 2, promised)


@pytest.mark.parametrize("name", ["x.wav", "x.mka"])
def test_blocks_begin_at_any_frame(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, codec="pcm_s16le", n=4_000)
    whole = samples_of(path)
    assert (whole.shape, whole.dtype) == ((4_000, 1), np.float32)
    np.testing.assert_allclose(whole[:, 0], tone(seconds=0.25), atol=1e-4)
    for first in (0, 1, 1_023, 1_024, 1_025, 499):
        np.testing.assert_array_equal(samples_of(path, first_frame=first), whole[first:])
    with opened(path) as backend:
        lengths = [len(block) for block in backend.blocks(first_frame=2_000)]  # type: ignore[attr-defined]
    assert lengths, "and no block is empty"
    assert all(lengths)


def test_memory_for_a_block_is_bounded(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(140_000, np.float32), 16_000)
    with opened(tmp_path / "x.wav") as backend:
        assert [len(block) for block in backend.blocks()] == [65_536, 65_536, 8_928]  # type: ignore[attr-defined]


def test_reading_beyond_the_end_and_failing_reads_are_audio_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "x.wav", tone(seconds=0.1), 16_000)
    with pytest.raises(AudioDecodeError, match=r"x\.wav: "):
        samples_of(tmp_path / "x.wav", first_frame=10**9)

    def fail(*_args: object, **_more: object) -> None:
        raise soundfile.LibsndfileError(1)

    monkeypatch.setattr(soundfile.SoundFile, "read", fail)
    with pytest.raises(AudioDecodeError, match=r"x\.wav: "):
        samples_of(tmp_path / "x.wav")


@pytest.mark.parametrize(("name", "codec"), [("x.m4a", "alac"), ("x.mka", "pcm_s16le"), ("x.wv", "wavpack")])
def test_ffmpegs_formats_say_their_length(tmp_path: Path, name: str, codec: str) -> None:
    write(tmp_path / name, codec=codec)
    with opened(tmp_path / name) as backend:
        assert isinstance(backend, _AvBackend)
        info = backend.info
    assert (info.codec, info.rate_hz, info.n_channels) == (codec.upper(), 16_000, 1)
    assert info.n_frames == pytest.approx(32_000, abs=160)


def test_a_length_that_ffmpeg_does_not_know_is_none() -> None:
    backend = _AvBackend.__new__(_AvBackend)
    backend._av, backend._path = av, Path("x.aac")
    context = SimpleNamespace(sample_rate=16_000, channels=2, name="aac")
    form = SimpleNamespace(name="aac")
    for stream, container, n_frames in (
        ((None, None), None, None),
        ((None, Fraction(1, 1000)), None, None),
        ((1500, None), 2_000_000, 32_000),
        ((1500, Fraction(1, 1000)), 2_000_000, 24_000),
        ((None, Fraction(1, 1000)), 2_000_000, 32_000),
    ):
        backend._stream = SimpleNamespace(codec_context=context, duration=stream[0], time_base=stream[1])  # type: ignore[assignment]
        backend._container = SimpleNamespace(duration=container, format=form)  # type: ignore[assignment]
        assert backend._read_info() == AudioInfo("AAC", "AAC", 16_000, 2, n_frames)
    context.sample_rate = 0
    with pytest.raises(AudioDecodeError, match="no sound in the file"):
        backend._read_info()


def test_video_without_audio_is_rejected(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 16
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(AudioDecodeError, match="FFmpeg: there is no sound in the file"):
        open_backend(tmp_path / "x.mp4")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(5, "Input/output error"), "Input/output error"),
        (OSError("odd"), "odd"),
        (ValueError("bad"), "bad"),
        (av.error.InvalidDataError(1, "Invalid data", "/x"), "Invalid data"),
    ],
)
def test_all_that_ffmpeg_raises_is_an_audio_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail(*_args: object, **_more: object) -> None:
        raise error

    write(tmp_path / "x.mka", codec="pcm_s16le", n=4_000)
    backend = _AvBackend(tmp_path / "x.mka")
    monkeypatch.setattr(av, "open", fail)
    with pytest.raises(AudioDecodeError) as caught:
        _AvBackend(tmp_path / "x.mka")
    assert caught.value.reason == reason
    backend.close()


def test_damage_that_ffmpeg_finds_is_an_audio_error(tmp_path: Path) -> None:
    backend = _AvBackend(write(tmp_path / "x.mka", codec="pcm_s16le", n=4_000))
    container = backend._container

    def decode(stream: object) -> Iterator[object]:
        yield next(iter(container.decode(stream)))  # type: ignore[call-overload]
        raise av.error.InvalidDataError(1, "Invalid data")

    backend._container = SimpleNamespace(decode=decode)  # type: ignore[assignment]
    blocks = backend.blocks()
    assert len(next(blocks)) > 0
    with pytest.raises(AudioDecodeError, match=r"x\.mka: Invalid data$"):
        next(blocks)
    backend.close()


@pytest.mark.parametrize("codec", ["alac", "aac"])
def test_positions_in_an_mp4_follow_from_times(tmp_path: Path, codec: str) -> None:
    path = write(tmp_path / "x.m4a", codec=codec, n=35 * 16_000)
    whole = samples_of(path)
    for first in (30 * 16_000, 31 * 16_000 + 1, len(whole) - 1):
        np.testing.assert_allclose(samples_of(path, first_frame=first), whole[first:], atol=1e-4)
    with opened(path) as backend:
        assert isinstance(backend, _AvBackend)
        _, position = backend._decode_near(33 * 16_000)
    assert 32 * 16_000 < position <= 33 * 16_000, "not from the start"
