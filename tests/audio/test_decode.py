"""Every format, rate and channel count gives the same sound; damage is said, not hidden."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from tests.fixtures.sounds import tone

from dawnchorus.audio import decode
from dawnchorus.audio.channels import mix_to_mono
from dawnchorus.audio.decode import Recording, open_recording, read_clip, read_mono
from dawnchorus.errors import AudioDecodeError, AudioTooLargeError
from dawnchorus.types import AudioInfo

LOSSLESS = [
    ("x.wav", "WAV", "PCM_U8"),
    ("x.wav", "WAV", "PCM_16"),
    ("x.wav", "WAV", "PCM_24"),
    ("x.wav", "WAV", "PCM_32"),
    ("x.wav", "WAV", "FLOAT"),
    ("x.wav", "WAV", "DOUBLE"),
    ("x.wav", "WAVEX", "PCM_24"),
    ("x.wav", "RF64", "PCM_16"),
    ("x.w64", "W64", "PCM_16"),
    ("x.flac", "FLAC", "PCM_24"),
    ("x.aiff", "AIFF", "PCM_16"),
]

LOSSY = [("x.mp3", "MP3", "MPEG_LAYER_III"), ("x.ogg", "OGG", "VORBIS"), ("x.opus", "OGG", "OPUS")]


def spectrum_peak_hz(samples: np.ndarray, rate_hz: int) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * rate_hz / len(samples))


@pytest.mark.parametrize(("name", "container", "codec"), LOSSLESS)
def test_lossless_formats_give_their_samples(tmp_path: Path, name: str, container: str, codec: str) -> None:
    signal = tone(rate_hz=48_000)
    soundfile.write(tmp_path / name, signal, 48_000, format=container, subtype=codec)
    samples, rate_hz = read_mono(tmp_path / name)
    assert rate_hz == 48_000
    np.testing.assert_allclose(samples, signal, atol=1e-2 if codec == "PCM_U8" else 1e-4)


@pytest.mark.parametrize(("name", "container", "codec"), LOSSY)
def test_lossy_formats_keep_pitch_length_and_level(tmp_path: Path, name: str, container: str, codec: str) -> None:
    soundfile.write(tmp_path / name, tone(rate_hz=48_000), 48_000, format=container, subtype=codec)
    samples, rate_hz = read_mono(tmp_path / name)
    assert len(samples) / rate_hz == pytest.approx(2.0, abs=0.1)
    assert spectrum_peak_hz(samples, rate_hz) == pytest.approx(1000, abs=2)
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


@pytest.mark.parametrize(("name", "codec"), [("x.m4a", "aac"), ("x.wma", "wmav2"), ("x.wv", "wavpack")])
def test_formats_of_ffmpeg(tmp_path: Path, name: str, codec: str) -> None:
    signal = tone(rate_hz=44_100)
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=44_100, layout="mono")
        stream.bit_rate = 96_000
        frame = av.AudioFrame.from_ndarray(signal[np.newaxis], format="fltp", layout="mono")
        frame.sample_rate = 44_100
        fifo = av.AudioFifo()
        fifo.write(frame)
        size = stream.codec_context.frame_size or 1024
        while (part := fifo.read(size, partial=True)) is not None:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    samples, rate_hz = read_mono(tmp_path / name)
    assert len(samples) / rate_hz == pytest.approx(2.0, abs=0.1)
    assert spectrum_peak_hz(samples, rate_hz) == pytest.approx(1000, abs=2)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 96_000, 192_000, 256_000, 384_000])
def test_every_rate_is_resampled_without_a_shift(tmp_path: Path, rate_hz: int) -> None:
    soundfile.write(tmp_path / "x.wav", tone(rate_hz=rate_hz), rate_hz, subtype="FLOAT")
    samples, _ = read_mono(tmp_path / "x.wav", rate_hz=48_000)
    assert len(samples) == pytest.approx(96_000, abs=1)
    np.testing.assert_allclose(samples[2000:-2000], tone(rate_hz=48_000)[2000 : len(samples) - 2000], atol=2e-3)


def test_ultrasound_does_not_fold_into_the_bird_band(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", tone(40_000, rate_hz=192_000), 192_000, subtype="FLOAT")
    samples, _ = read_mono(tmp_path / "x.wav", rate_hz=48_000)
    assert np.abs(samples[1000:-1000]).max() < 1e-4


@pytest.mark.parametrize("n_channels", [1, 2, 4, 8])
def test_mono_is_the_mean_of_all_channels(tmp_path: Path, n_channels: int) -> None:
    channels = np.stack([tone(level=0.1 * (k + 1)) for k in range(n_channels)], axis=1)
    soundfile.write(tmp_path / "x.wav", channels, 16_000, subtype="FLOAT")
    samples, _ = read_mono(tmp_path / "x.wav")
    np.testing.assert_allclose(samples, channels.mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(mix_to_mono(channels), samples, atol=1e-6)


@pytest.mark.parametrize("name", ["x.wav", "x.flac", "x.mp3", "x.ogg"])
def test_a_file_cut_in_half_gives_its_first_half_and_a_warning(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 160_000).astype(np.float32)
    soundfile.write(tmp_path / name, noise, 16_000)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with open_recording(tmp_path / name) as recording:
        n = sum(len(block) for block in recording.blocks())
    assert 0.3 * 160_000 < n < 0.7 * 160_000
    assert len(recording.warnings) == 1
    assert recording.warnings[0].startswith(("truncated", "damaged"))


def test_a_whole_file_has_no_warning(tmp_path: Path) -> None:
    for name in ("x.wav", "x.flac", "x.mp3", "x.ogg"):
        soundfile.write(tmp_path / name, tone(), 16_000)
        with open_recording(tmp_path / name) as recording:
            assert sum(len(block) for block in recording.blocks()) > 0
        assert recording.warnings == []


@pytest.mark.parametrize(("suffix", "level"), [("wav", 0), ("flac", 0), ("ogg", 0), ("wav", 1), ("wav", 2)])
def test_digital_silence_is_said(tmp_path: Path, suffix: str, level: int) -> None:
    samples = np.full((16_000, 2), level, np.int16)
    samples[::2] *= -1
    soundfile.write(tmp_path / f"x.{suffix}", samples, 16_000)
    with open_recording(tmp_path / f"x.{suffix}") as recording:
        list(recording.blocks())
    said = [line.partition(":")[0] for line in recording.warnings]
    assert said == (["silence"] if level < 2 else [])


def test_nan_becomes_silence_with_a_warning(tmp_path: Path) -> None:
    signal = tone()
    signal[100:110] = np.nan
    signal[200] = np.inf
    soundfile.write(tmp_path / "x.wav", signal, 16_000, subtype="FLOAT")
    with open_recording(tmp_path / "x.wav") as recording:
        samples = np.concatenate(list(recording.blocks()))
    assert np.isfinite(samples).all()
    assert recording.warnings == ["11 samples are NaN, infinite or as good as that; they were set to zero"]


def test_a_decompression_bomb_is_stopped_early(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.flac", np.zeros((1_000_000, 8), np.float32), 96_000)
    assert (tmp_path / "x.flac").stat().st_size < 200_000
    with open_recording(tmp_path / "x.flac") as recording, pytest.raises(AudioTooLargeError, match="Split it"):
        for _ in recording.blocks(max_samples=1_000_000):
            pass
    assert recording.n_frames_decoded < 300_000


@pytest.mark.parametrize("name", ["x.wav", "x.flac", "x.mp3", "x.m4a"])
def test_a_clip_is_the_same_part_of_the_whole(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(2)
    signal = np.cumsum(rng.normal(0, 0.01, 48_000 * 4)).astype(np.float32) % 0.5
    if name == "x.m4a":
        pytest.importorskip("av")
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("alac", rate=48_000, layout="mono")
            frame = av.AudioFrame.from_ndarray(
                (signal * 32767).astype(np.int16)[np.newaxis], format="s16p", layout="mono"
            )
            frame.sample_rate = 48_000
            fifo = av.AudioFifo()
            fifo.write(frame)
            while (part := fifo.read(4096, partial=True)) is not None:
                container.mux(stream.encode(part))
            container.mux(stream.encode(None))
    else:
        soundfile.write(tmp_path / name, signal, 48_000)
    whole, _ = read_mono(tmp_path / name)
    clip = read_clip(tmp_path / name, start_s=1.0, end_s=2.5, rate_hz=48_000)
    np.testing.assert_allclose(clip, whole[48_000:120_000], atol=2e-2 if name == "x.mp3" else 1e-4)
    with pytest.raises(AudioDecodeError, match="no sound at"):
        read_clip(tmp_path / name, start_s=100.0, end_s=101.0, rate_hz=48_000)


def test_a_codec_that_nobody_decodes_is_named_as_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(seconds=0.1), 16_000)
    content = bytearray(path.read_bytes())
    content[20:22] = b"\xf0\xff"  # the format tag
    path.write_bytes(content)
    with pytest.raises(AudioDecodeError, match="no decoder for the codec"):
        open_recording(path)


class Fake:
    """A backend that gives what it is told, and then fails if it is told to."""

    def __init__(self, *blocks: np.ndarray, info: AudioInfo, error: AudioDecodeError | None = None) -> None:
        self.info, self._blocks, self._error, self.n_closed = info, blocks, error, 0

    def blocks(self, *, first_frame: int = 0) -> Iterator[np.ndarray]:
        for block in self._blocks:
            yield block[first_frame:]
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self.n_closed += 1


def info(*, n_frames: int | None = None, n_channels: int = 1, rate_hz: int = 16_000) -> AudioInfo:
    return AudioInfo(container="X", codec="X", rate_hz=rate_hz, n_channels=n_channels, n_frames=n_frames)


def recording_of(path: Path, *blocks: np.ndarray, error: AudioDecodeError | None = None, **more: int) -> Recording:
    path.touch()
    fake = Fake(*blocks, info=info(**more), error=error)
    return Recording(path=path, info=fake.info, _backend=fake)


def frames(*values: float, n_channels: int = 1) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, n_channels)


def test_values_of_a_million_million_are_no_samples(tmp_path: Path) -> None:
    recording = recording_of(tmp_path / "x", frames(9e11, -9e11, 1e12, -2e12, np.nan), frames(-np.inf, 0.5))
    assert np.concatenate(list(recording.blocks())).tolist() == [np.float32(9e11), -np.float32(9e11), 0, 0, 0, 0, 0.5]
    assert recording.warnings == ["4 samples are NaN, infinite or as good as that; they were set to zero"]
    assert recording.n_frames_decoded == 7
    assert recording.duration_s == 7 / 16_000


def test_a_recording_without_one_number_is_refused(tmp_path: Path) -> None:
    bad = frames(np.nan, np.nan, np.nan, np.nan, n_channels=2)
    with pytest.raises(AudioDecodeError, match="all samples are NaN"):
        list(recording_of(tmp_path / "x", bad, n_channels=2).blocks())
    bad[0, 0] = 0.5
    (block,) = recording_of(tmp_path / "x", bad, n_channels=2).blocks()
    assert block.tolist() == [0.25, 0]
    with pytest.raises(AudioDecodeError, match="there are no samples in the file"):
        list(recording_of(tmp_path / "x").blocks())


@pytest.mark.parametrize(("n_promised", "is_truncated"), [(16_000, False), (16_001, True), (8_000, False), (1, False)])
def test_half_a_second_may_be_missing_at_the_end(tmp_path: Path, n_promised: int, is_truncated: bool) -> None:
    recording = recording_of(tmp_path / "x", np.full((8_000, 1), 0.1, np.float32), n_frames=n_promised)
    list(recording.blocks())
    expected = [f"truncated: the header promises {n_promised / 16_000:.3f} s, 0.500 s could be decoded"]
    assert recording.warnings == (expected if is_truncated else [])


def test_damage_ends_the_audio_with_one_warning(tmp_path: Path) -> None:
    damage = AudioDecodeError("lost", subject="x.wav")
    recording = recording_of(tmp_path / "x", frames(*[0.5] * 1600), error=damage, n_frames=64_000)
    assert len(np.concatenate(list(recording.blocks()))) == 1600
    assert recording.warnings == ["damaged: decoding stopped at 0.100 s (lost)"]
    recording = recording_of(tmp_path / "x", frames(0.5, np.nan), error=damage, n_frames=64_000)
    list(recording.blocks())
    assert [line[:9] for line in recording.warnings] == ["damaged: ", "1 samples"]
    with pytest.raises(AudioDecodeError, match="lost"):
        list(recording_of(tmp_path / "x", error=damage).blocks())


def test_400_hours_of_48_khz_are_the_limit_over_all_channels(tmp_path: Path) -> None:
    """One frame of as many channels as the limit has samples, and one more."""
    limit = 400 * 3600 * 48_000
    (block,) = recording_of(tmp_path / "x", frames(0.5), n_channels=limit).blocks()
    assert block.tolist() == [0.5]
    with pytest.raises(AudioTooLargeError, match=f"more than {limit} samples"):
        list(recording_of(tmp_path / "x", frames(0.5), n_channels=limit + 1).blocks())
    with pytest.raises(AudioTooLargeError):
        list(recording_of(tmp_path / "x", frames(1, 2), frames(3, 4, n_channels=2), n_channels=2).blocks(max_samples=5))
    assert len(list(recording_of(tmp_path / "x", frames(1, 2), frames(3)).blocks(max_samples=3))) == 2


def test_a_recording_closes_its_file(tmp_path: Path) -> None:
    recording = recording_of(tmp_path / "x", frames(0.5))
    with recording as same:
        assert same is recording
    assert recording._backend.n_closed == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(("rate_in_hz", "rate_out_hz"), [(16_000, 48_000), (48_000, 16_000), (16_000, 16_000)])
def test_resampled_audio_has_exact_length_and_position(tmp_path: Path, rate_in_hz: int, rate_out_hz: int) -> None:
    signal = tone(rate_hz=rate_in_hz)
    soundfile.write(tmp_path / "x.wav", signal, rate_in_hz, subtype="FLOAT")
    samples, rate_hz = read_mono(tmp_path / "x.wav", rate_hz=rate_out_hz)
    assert (len(samples), rate_hz) == (2 * rate_out_hz, rate_out_hz)
    np.testing.assert_allclose(samples[1000:-1000], tone(rate_hz=rate_out_hz)[1000:-1000], atol=2e-3)
    own, rate_hz = read_mono(tmp_path / "x.wav")
    assert rate_hz == rate_in_hz
    np.testing.assert_array_equal(own, signal)
    clip = read_clip(tmp_path / "x.wav", start_s=0.5, end_s=1.0, rate_hz=rate_out_hz)
    assert len(clip) == rate_out_hz // 2
    np.testing.assert_allclose(
        clip[1000:-1000], tone(rate_hz=rate_out_hz)[rate_out_hz // 2 : rate_out_hz][1000:-1000], atol=2e-3
    )


def clip(fake: Fake, monkeypatch: pytest.MonkeyPatch, start_s: float, end_s: float) -> list[float]:
    monkeypatch.setattr(decode, "open_backend", lambda _path: fake)
    return list(read_clip(Path("x.wav"), start_s=start_s, end_s=end_s, rate_hz=fake.info.rate_hz).tolist())


@pytest.mark.parametrize("n_frames", [16_000, None])
def test_a_clip_begins_and_ends_at_its_samples(monkeypatch: pytest.MonkeyPatch, n_frames: int | None) -> None:
    signal = np.arange(16_000, dtype=np.float32)[:, None]
    for start_s, end_s, expected in (
        (0.25, 0.2502, [4000, 4001, 4002]),
        (0.25, 0.25, [4000]),
        (0.25, 0.1, [4000]),
        (-1.0, 0.0001, [0, 1]),
        (0.99995, 5.0, [15_999]),
    ):
        fake = Fake(signal, info=info(n_frames=n_frames))
        assert clip(fake, monkeypatch, start_s, end_s) == expected
        assert fake.n_closed == 1
    for start_s in (1.0, 7.0):
        fake = Fake(signal, info=info(n_frames=n_frames))
        with pytest.raises(AudioDecodeError, match=f"there is no sound at {start_s:.3f} s"):
            clip(fake, monkeypatch, start_s, 9.0)
        assert fake.n_closed == 1


def test_a_clip_of_several_blocks_stops_where_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    damage = AudioDecodeError("lost", subject="x.wav")
    fake = Fake(frames(1, 2), frames(3, 4), frames(5, 6), info=info(rate_hz=4_000), error=damage)
    assert clip(fake, monkeypatch, 0.0, 0.00075) == [1, 2, 3]
    assert clip(fake, monkeypatch, 0.0, 0.001) == [1, 2, 3, 4]
    with pytest.raises(AudioDecodeError, match="lost"):
        clip(fake, monkeypatch, 0.0, 0.01)


def test_values_that_are_no_numbers_are_silent_in_a_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(frames(0.5, np.nan, np.inf, -np.inf), info=info())
    assert clip(fake, monkeypatch, 0.0, 1.0) == [0.5, 0, 0, 0]


@pytest.mark.parametrize(("factor", "n_warnings"), [(1.0, 0), (30.0, 0), (32768.0, 1)])
def test_a_float_file_with_the_scale_of_integers_has_a_warning(tmp_path: Path, factor: float, n_warnings: int) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(rate_hz=8000) * factor, 8000, subtype="FLOAT")
    with open_recording(path) as recording:
        for _ in recording.blocks():
            continue
    warnings = [line for line in recording.warnings if line.startswith("scale: ")]
    assert len(warnings) == n_warnings
    assert all("where full scale is 1" in line and "write the file again" in line for line in warnings)
