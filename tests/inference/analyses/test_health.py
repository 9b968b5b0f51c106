"""Recorder health: planted faults are found, clean recordings have none, and each recorder gets a verdict in words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from dawnchorus.audio.decode import open_recording
from dawnchorus.audio.sample_analyses import Table
from dawnchorus.inference.analyses.base import AnalyzedRecording
from dawnchorus.inference.analyses.health import HEALTH
from dawnchorus.types import RecordingMetadata

FloatArray = npt.NDArray[np.float32]

RATE_HZ = 16_000
START = datetime(2026, 5, 1, 5)


def clean(*, seconds: float = 8.0, level: float = 0.02, seed: int = 0) -> FloatArray:
    """Return a song over noise [n, 1], in steps of 16 bits."""
    n = round(seconds * RATE_HZ)
    time_s = np.arange(n) / RATE_HZ
    song = np.sin(2 * np.pi * 3000 * time_s) * (np.sin(2 * np.pi * 2 * time_s) > 0.5)
    signal = level * (np.random.default_rng(seed).standard_normal(n) * 0.3 + song)
    return (np.round(signal * 32768) / 32768).astype(np.float32)[:, np.newaxis]


def measure(samples: FloatArray, *, block: int = 1 << 16, rate_hz: int = RATE_HZ) -> Table:
    analysis = HEALTH.create()
    for start in range(0, len(samples), block):
        analysis.on_samples(samples[start : start + block], rate_hz)
    return analysis.finish()


def analyzed(
    samples: FloatArray, *, name: str = "A/REC_20260501_050000.wav", start: datetime | None = None
) -> AnalyzedRecording:
    metadata = RecordingMetadata(start_time=start)
    return AnalyzedRecording(name, len(samples) / RATE_HZ, metadata, measure(samples))


def verdicts(*recordings: AnalyzedRecording) -> list[str]:
    assert HEALTH.summarize is not None
    verdicts: list[str] = HEALTH.summarize(recordings)[""]["verdict"].tolist()
    return verdicts


def recorders(*recordings: AnalyzedRecording) -> dict[str, str]:
    assert HEALTH.summarize is not None
    table = HEALTH.summarize(recordings)["recorders"]
    return dict(zip(table["recorder"].tolist(), table["verdict"].tolist(), strict=True))


def with_gaps(samples: FloatArray) -> FloatArray:
    samples = samples.copy()
    samples[20_000:24_000] = 0
    samples[60_000:61_600] = 0
    return samples


def with_silence(seconds: int, start_s: int = 4, *, rest: FloatArray | None = None) -> FloatArray:
    samples = clean()
    samples[start_s * RATE_HZ : (start_s + seconds) * RATE_HZ] = 0 if rest is None else rest
    return samples


def noise(seconds: float = 8.0, seed: int = 0, rate_hz: int = RATE_HZ) -> FloatArray:
    return (0.05 * np.random.default_rng(seed).standard_normal((round(seconds * rate_hz), 1))).astype(np.float32)


def with_stuck_value(samples: FloatArray) -> FloatArray:
    samples = samples.copy()
    samples[50_000:60_000] = samples[50_000]
    return samples


def with_hum(samples: FloatArray, mains_hz: int = 50, lines: tuple[int, ...] = (1, 2, 3)) -> FloatArray:
    time_s = np.arange(len(samples)) / RATE_HZ
    hum = sum(0.003 * np.sin(2 * np.pi * mains_hz * line * time_s + line) for line in lines)
    return (samples + np.asarray(hum)[:, np.newaxis]).astype(np.float32)


PLANTED: dict[str, tuple[Callable[[], FloatArray], str]] = {
    "nothing": (clean, "ok"),
    "dead microphone": (lambda: np.zeros((RATE_HZ * 8, 1), np.float32), "no sound: constant value 0"),
    "constant value": (lambda: np.full((RATE_HZ * 8, 1), 0.125, np.float32), "no sound: constant value 0.125"),
    "last bit alone": (lambda: np.sign(clean()) / np.float32(1 << 17), "no sound: -102 dBFS"),
    "dead at the end": (lambda: with_silence(4), "no sound for 50.0% of the time, at most 4 s on end"),
    "dead in the midst": (
        lambda: with_silence(2, 4),
        "no sound for 25.0% of the time, at most 2 s on end; gaps: 1, the",
    ),
    "last bit alone in the midst": (
        lambda: with_silence(2, 4, rest=np.sign(clean(seconds=2, seed=1)) / np.float32(1 << 17)),
        "no sound for 25.0% of the time, at most 2 s on end",
    ),
    "white noise": (lambda: clean(level=0.0) + noise(), "ok"),
    "clipping": (lambda: np.clip(clean(level=2.0), -1, 1), "clipping: 28"),
    "clipping in the preamplifier": (lambda: np.clip(clean(level=0.5), -0.3, 0.3), "clipping: 0.33%"),
    "stuck value": (lambda: with_stuck_value(clean()), "stuck at one value for 7.8% of the time; gaps: 1, the longest"),
    "DC offset": (lambda: clean() + np.float32(0.05), "DC offset of 0.050"),
    "gaps": (lambda: with_gaps(clean()), "gaps: 2, the longest of 0.2"),
    "hum of 50 Hz": (lambda: with_hum(clean()), "mains hum: 50 Hz"),
    "hum of 60 Hz, harmonics alone": (lambda: with_hum(clean(), 60, (2, 3, 4)), "mains hum: 60 Hz"),
    "a line of 50 Hz alone": (lambda: with_hum(clean(), 50, (1,)), "mains hum: 50 Hz"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_fault_is_named_and_no_other(planted: str) -> None:
    make, expected = PLANTED[planted]
    (verdict,) = verdicts(analyzed(make()))
    assert verdict.startswith(expected)
    assert verdict.count(";") == expected.count(";")


def test_measurements_do_not_depend_on_blocks() -> None:
    samples = with_gaps(np.clip(with_hum(clean()), -0.015, 0.015))
    whole, pieces = measure(samples), measure(samples, block=997)
    for name in whole.dtype.names:
        np.testing.assert_allclose(pieces[name], whole[name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("n", "rate_hz", "last"),
    [(100, RATE_HZ, 99), (RATE_HZ + 100, RATE_HZ, -1), (22_050 * 4, 22_050, 22_049), (22_050, 22_050, -1)],
    ids=["less than 10 ms", "after the last 10 ms", "after the last 10 ms of a second", "of the last second"],
)
def test_every_sample_counts_for_level_peak_and_offset(n: int, rate_hz: int, last: int) -> None:
    samples = np.linspace(0.1, 0.2, n, dtype=np.float32)[:, np.newaxis]
    samples[last] = 1.0
    (row,) = measure(samples, rate_hz=rate_hz)
    assert row["peak_dbfs"] == 0
    assert row["dc_offset"] == pytest.approx(samples.mean())
    assert row["level_dbfs"] == pytest.approx(10 * np.log10(samples.var()), abs=1e-3)
    assert row["clipped_share"] == pytest.approx(1 / n)


@pytest.mark.parametrize(
    ("samples", "hum_hz"),
    [
        (with_hum(clean(seconds=4.9)), np.nan),
        (with_hum(clean(seconds=5.0)), 50.0),
        (np.zeros((RATE_HZ * 8, 1), np.float32), np.nan),
    ],
    ids=["too short to tell", "long enough", "silence"],
)
def test_the_mains_frequency_is_empty_if_it_is_unknown(samples: FloatArray, hum_hz: float) -> None:
    np.testing.assert_array_equal(measure(samples)["hum_hz"], [hum_hz])


@pytest.mark.parametrize(("seconds", "rate_hz"), [(5.0, 8000), (20.0, 8000), (5.0, 44_100)])
def test_noise_has_no_mains_frequency(seconds: float, rate_hz: int) -> None:
    tables = [measure(noise(seconds, seed, rate_hz), rate_hz=rate_hz) for seed in range(8)]
    assert np.isnan([table["hum_hz"][0] for table in tables]).all()


def test_zeros_at_the_ends_of_a_file_are_no_gaps() -> None:
    samples = np.concatenate([np.zeros((4000, 1)), clean(), np.zeros((4000, 1))]).astype(np.float32)
    assert verdicts(analyzed(samples)) == ["ok"]


def test_each_channel_has_a_row_and_a_dead_one_is_named() -> None:
    samples = np.concatenate([clean(), np.zeros_like(clean())], axis=1)
    assert verdicts(analyzed(samples)) == ["ok", "no sound: constant value 0"]
    (verdict,) = recorders(analyzed(samples), analyzed(samples)).values()
    assert verdict == "channel 2: no sound in 2 of 2 recordings"


def test_recordings_far_below_their_recorders_median_are_named() -> None:
    levels = [0.02] * 5 + [0.001]
    recordings = [analyzed(clean(seconds=2, level=level), name=f"A/{k}.wav") for k, level in enumerate(levels)]
    assert verdicts(*recordings) == ["ok"] * 5 + ["26 dB below this recorder's median"]


def test_a_recorder_far_below_the_others_is_named() -> None:
    levels = {"A": 0.02, "B": 0.02, "C": 0.02, "D": 0.001}
    recordings = [analyzed(clean(seconds=2, level=level), name=f"{folder}/1.wav") for folder, level in levels.items()]
    assert recorders(*recordings) == {"(A)": "ok", "(B)": "ok", "(C)": "ok", "(D)": "26 dB below the other recorders"}


def test_recorders_are_distinguished_by_prefix_and_folder() -> None:
    names = ["site/S4A01_20260501_050000.wav", "site/S4A02_20260501_050000.wav", "other/20260501_050000.WAV"]
    assert list(recorders(*(analyzed(clean(seconds=1), name=name) for name in names))) == [
        "S4A01 (site)",
        "S4A02 (site)",
        "(other)",
    ]


def scheduled(shift_s: dict[int, float], *, n: int = 12) -> dict[str, str]:
    """Return the verdict on a recorder that starts every ten minutes, its clock shifted from some recordings on."""
    silent = measure(clean(seconds=1))
    recordings, shift = [], 0.0
    for k in range(n):
        shift += shift_s.get(k, 0.0)
        start = START + timedelta(seconds=600 * k + shift)
        recordings.append(AnalyzedRecording(f"A/{k:03d}.wav", 55.0, RecordingMetadata(start_time=start), silent))
    return recorders(*recordings)


@pytest.mark.parametrize(
    ("shift_s", "expected"),
    [
        ({}, "ok"),
        ({3: 2.0}, "ok"),
        ({3: 1200.0}, "ok"),
        ({6: -3600.0}, "clock jumps: 1, as 006.wav starts 50.0 min before 005.wav"),
        ({6: -580.0}, "clock jumps: 2, as 006.wav starts 35 s before 005.wav ends"),
        ({6: 200.0}, "clock jumps: 1, as 006.wav starts 3.3 min off the interval of 10.0 min"),
        ({6: 86_400.0 * 365.25 * 50}, "clock jumps: 1, as 50.0 years between 005.wav and 006.wav"),
    ],
)
def test_jumps_of_the_clock_are_named_and_pauses_are_none(shift_s: dict[int, float], expected: str) -> None:
    assert scheduled(shift_s) == {"(A)": expected}


def test_rain_is_named_and_song_over_noise_is_none(shared_audio: Path) -> None:
    rain = shared_audio / "general" / "noise" / "rainambience_57663_01.ogg"
    with open_recording(rain) as recording:
        samples = np.concatenate(list(recording.blocks(rate_hz=RATE_HZ)))[:, np.newaxis]
    (verdict,) = verdicts(analyzed(samples[: 8 * RATE_HZ]))
    assert verdict == "rain in 100% of the minutes"


def test_a_recording_without_samples_or_of_a_moment_has_numbers() -> None:
    assert len(measure(np.zeros((0, 1), np.float32))) == 0
    (verdict,) = verdicts(analyzed(clean(seconds=0.05)))
    assert verdict == "ok"


def test_stretches_without_sound_are_counted_for_the_recorder() -> None:
    recordings = [analyzed(with_silence(4), name="A/1.wav"), analyzed(clean(), name="A/2.wav")]
    assert recorders(*recordings) == {
        "(A)": "stretches without sound in 1 of 2 recordings (25.0% of the time, at most 4 s on end)"
    }
    assert HEALTH.summarize is not None
    assert HEALTH.summarize(recordings)["recorders"]["dead_share"] == [0.25]


def test_the_tables_of_a_run_are_those_that_are_listed() -> None:
    assert HEALTH.summarize is not None
    for recordings in ([], [analyzed(clean(seconds=1))]):
        assert tuple(HEALTH.summarize(recordings)) == HEALTH.tables
