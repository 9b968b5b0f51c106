"""Several channels to one: the harm that a mean can do is said, and another channel can be read."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import soundfile
from tests.fixtures.sounds import tone

from dawnchorus.audio.channels import ChannelStatistics, mix_to_mono
from dawnchorus.audio.decode import open_recording
from dawnchorus.errors import AudioDecodeError
from dawnchorus.types import Channel, ChannelSource

RATE = 16_000

RANDOM = np.random.default_rng(17)

SONG = tone(3000, seconds=4.0) * (np.arange(4 * RATE) // 2000 % 4 == 0)

NOISE = RANDOM.normal(0, 0.1, 4 * RATE)

HUM = np.convolve(RANDOM.normal(0, 0.1, 4 * RATE), np.exp(-np.arange(40) / 8), mode="same")

DEAD = np.zeros(4 * RATE)


def stereo(path: Path, *channels: np.ndarray) -> Path:
    soundfile.write(path, np.column_stack(channels).astype(np.float32), RATE, subtype="FLOAT")
    return path


def read(path: Path, channel: ChannelSource = "mean") -> tuple[np.ndarray, list[str]]:
    with open_recording(path) as recording:
        return np.concatenate(list(recording.blocks(channel=channel))), recording.warnings


@pytest.mark.parametrize(
    ("left", "right", "said"),
    [
        (SONG, -SONG, "they cancel out in their mean (-200 dB are left)"),
        (SONG + NOISE / 50, -0.8 * SONG + NOISE / 40, "they cancel out in their mean"),
        (SONG, DEAD, "right is silent"),
        (SONG, DEAD + 0.1, "right is silent"),
        (NOISE / 1e5, SONG, "left is silent"),
        (SONG, NOISE, "right is only noise"),
        (HUM, SONG + NOISE / 30, "left is only noise"),
        (NOISE, tone(2000, seconds=4.0), "left is only noise"),
    ],
)
def test_a_mean_that_does_harm_is_one_warning(tmp_path: Path, left: np.ndarray, right: np.ndarray, said: str) -> None:
    samples, warnings = read(stereo(tmp_path / "x.wav", left, right))
    assert len(warnings) == 1
    assert warnings[0].startswith(f"channels: {said}")
    assert "--channel" in warnings[0]
    mean = (left.astype(np.float32) + right.astype(np.float32)) * np.float32(0.5)
    np.testing.assert_array_equal(samples, mean)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        *((SONG, SONG), (SONG, np.roll(SONG, 12) + NOISE / 50), (NOISE, RANDOM.normal(0, 0.1, 4 * RATE))),
        *((SONG + NOISE / 9, SONG / 9 + NOISE / 9), (HUM, RANDOM.permutation(NOISE))),
    ],
)
def test_a_mean_that_does_none_is_not_warned_of(tmp_path: Path, left: np.ndarray, right: np.ndarray) -> None:
    warnings = read(stereo(tmp_path / "x.wav", left, right))[1]
    assert [line for line in warnings if line.startswith("channels")] == []


def test_silence_in_all_channels_is_said_once(tmp_path: Path) -> None:
    (warning,) = read(stereo(tmp_path / "x.wav", DEAD, DEAD))[1]
    assert warning.startswith("silence: no sample of 4.000 s is above one step of 16 bits")


@pytest.mark.parametrize(
    ("channel", "others"), [("left", (SONG, NOISE)), ("right", (-NOISE, SONG)), ("best", (DEAD, SONG, NOISE))]
)
def test_one_channel_is_read_as_it_is(tmp_path: Path, channel: Channel, others: tuple[np.ndarray, ...]) -> None:
    samples, warnings = read(stereo(tmp_path / "x.wav", *others), channel)
    np.testing.assert_array_equal(samples, SONG.astype(np.float32))
    assert warnings == []


def test_the_best_of_two_good_ones_is_the_clearer(tmp_path: Path) -> None:
    clear, faint = SONG + NOISE / 20, SONG / 10 + NOISE
    for order in ((clear, faint), (faint, clear)):
        samples, _ = read(stereo(tmp_path / "x.wav", *order), "best")
        np.testing.assert_array_equal(samples, clear.astype(np.float32))


def test_of_equally_clear_ones_the_louder_is_the_best(tmp_path: Path) -> None:
    for k, order in enumerate([(SONG, SONG * 0.8), (SONG * 0.8, SONG), (DEAD, DEAD)]):
        samples, _ = read(stereo(tmp_path / f"{k}.wav", *order), "best")
        assert samples.max() == np.float32(max(channel.max() for channel in order))


def test_a_chosen_channel_that_is_silent_is_said(tmp_path: Path) -> None:
    assert read(stereo(tmp_path / "x.wav", SONG, DEAD), "right")[1] == [
        "channels: right is silent, and it is the one that is read; left has more"
    ]


def test_a_channel_is_read_by_its_number_and_one_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = stereo(tmp_path / "x.wav", NOISE, SONG, DEAD)
    samples, warnings = read(path, 2)
    np.testing.assert_array_equal(samples, SONG.astype(np.float32))
    assert warnings == []
    assert read(path, 1)[1] == [
        f"channels: channel {k} of 3 is {what}" for k, what in ((3, "silent"), (1, "only noise"))
    ]
    with pytest.raises(AudioDecodeError, match="x.wav: expected a channel 4, and the recording has 3"):
        read(path, 4)


@pytest.mark.parametrize("channel", get_args(Channel))
def test_mono_is_unchanged_by_any_channel_option(tmp_path: Path, channel: Channel) -> None:
    samples, warnings = read(stereo(tmp_path / "x.wav", SONG), channel)
    np.testing.assert_array_equal(samples, SONG.astype(np.float32))
    assert warnings == []


def test_a_short_recording_is_not_called_noise() -> None:
    statistics = ChannelStatistics(2)
    statistics.add(np.column_stack([SONG, NOISE]).astype(np.float32)[:10_000])
    assert list(statistics.warnings(None)) == []


def test_the_mean_of_three_is_numpys() -> None:
    block = np.column_stack([SONG, NOISE, HUM]).astype(np.float32)
    np.testing.assert_array_equal(mix_to_mono(block), block.mean(axis=1, dtype=np.float32))


def frames(*values: float, n_channels: int = 1) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, n_channels)


@pytest.mark.parametrize("n_channels", [1, 2, 3, 9])
def test_mono_equals_numpys_mean_to_the_last_bit(n_channels: int) -> None:
    channels = np.random.default_rng(n_channels).normal(0, 1, (10_000, n_channels)).astype(np.float32)
    channels[:100] *= 1e30
    mono = mix_to_mono(channels)
    assert mono.dtype == np.float32
    np.testing.assert_array_equal(mono, channels.mean(axis=1, dtype=np.float32))


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (1, 3), (2, 3), (0, 2)])
def test_blocks_of_few_frames_are_mixed_as_any_other(shape: tuple[int, int]) -> None:
    frames = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(mix_to_mono(frames), frames.mean(axis=1, dtype=np.float32))
