"""Peaks, pairs and hashes by exact numbers; which recordings count as copies, at each limit."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dawnchorus.audio import fingerprint as module
from dawnchorus.audio.decode import read_mono
from dawnchorus.audio.fingerprint import HASH, RATE_HZ, fingerprint, near_pairs


def prints(hashes: list[int], frames: list[int]) -> np.ndarray:
    table = np.empty(len(hashes), HASH)
    table["hash"], table["frame"] = hashes, frames
    return table


def common(n: int, *, of: int, first_own: int = 1000) -> np.ndarray:
    """Fingerprints of which the first `n` are 1, 2... at frames 10, 20..., and the others are of no other recording."""
    hashes = [*range(1, n + 1), *range(first_own, first_own + of - n)]
    return prints(hashes, [10 * (k + 1) for k in range(of)])


def test_the_fingerprint_of_noise_is_as_recorded() -> None:
    """Golden values: of this function at its first release; other ones make older fingerprints useless."""
    noise = np.random.default_rng(1).normal(0, 0.1, 48_000).astype(np.float32)
    fingerprints = fingerprint(noise)
    assert (len(fingerprints), zlib.crc32(fingerprints.tobytes())) == (50, 2_205_580_234)


def test_audio_shorter_than_a_frame_has_no_fingerprint() -> None:
    for n in (0, 1023, 1024):
        assert len(fingerprint(np.ones(n, np.float32))) == 0
    assert len(fingerprint(np.zeros(16_000, np.float32))) == 0


def test_two_minutes_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []

    def peaks(levels: np.ndarray) -> np.ndarray:
        shapes.append(levels.shape)
        return np.empty((0, 2), np.int64)

    monkeypatch.setattr(module, "_peaks", peaks)
    for n in (120 * 16_000 - 1, 121 * 16_000):
        fingerprint(np.zeros(n, np.float32))
    n_frames = (120 * 16_000 - 1024) // 256 + 1
    assert shapes == [(n_frames - 1, 513), (n_frames, 513)]


@pytest.mark.parametrize(
    ("other", "is_peak"),
    [((5, 35), False), ((5, 36), True), ((5, 5), False), ((5, 4), True), ((20, 20), False), ((21, 20), True)],
)
def test_a_peak_is_the_largest_within_15_bins_and_frames(other: tuple[int, int], is_peak: bool) -> None:
    levels = np.zeros((60, 100), np.float32)
    levels[5, 20], levels[other] = 0.5, 0.25
    expected = [[5, 20], list(other)] if is_peak else [[5, 20]]
    assert sorted(module._peaks(levels).tolist()) == sorted(expected)


def test_the_peaks_furthest_above_their_bins_median_stay() -> None:
    """Two seconds (125 frames) keep 25 peaks, in the order of time."""
    levels = np.full((125, 513), 1.0, np.float32)
    medians = np.linspace(0.5, 8, 513).astype(np.float32)
    levels *= medians
    ratios = {}
    for k, frame in enumerate(range(8, 125, 17)):
        for j, bin_ in enumerate(range(8, 513, 17)):
            ratios[frame, bin_] = 10.0 + (k * 31 + j * 7) % 210 / 10
            levels[frame, bin_] = medians[bin_] * ratios[frame, bin_]
    # Within reach of a louder bin's peak, a quieter one is none: keep to those that are the largest around them.
    local = {peak for peak in ratios if levels[peak] == levels[_box(peak)].max()}
    assert len(local) > 60
    expected = sorted(sorted(local, key=lambda peak: -ratios[peak])[:25])
    peaks = [tuple(peak) for peak in module._peaks(levels).tolist()]
    assert len(peaks) == 25
    assert [frame for frame, _ in peaks] == sorted(frame for frame, _ in peaks)
    assert sorted(peaks) == expected


def _box(peak: tuple[int, int]) -> tuple[slice, slice]:
    frame, bin_ = peak
    return slice(max(frame - 15, 0), frame + 16), slice(max(bin_ - 15, 0), bin_ + 16)


def test_a_pairs_hash_holds_its_bin_jump_and_frames_between() -> None:
    (pair,) = module._pairs(np.array([[2, 100], [5, 90]]))
    assert (pair["hash"], pair["frame"]) == (100 * 2**14 + 117 * 2**6 + 3, 2)
    (pair,) = module._pairs(np.array([[7, 512], [70, 511]]))
    assert (pair["hash"], pair["frame"]) == (512 * 2**14 + 126 * 2**6 + 63, 7)


@pytest.mark.parametrize(
    ("step", "jump", "fits"),
    [(0, 5, 0), (1, 5, 1), (63, 5, 1), (64, 5, 0), (3, 127, 1), (3, 128, 0), (3, -127, 1), (3, -128, 0)],
)
def test_peaks_too_far_apart_are_no_pair(step: int, jump: int, fits: int) -> None:
    assert len(module._pairs(np.array([[4, 200], [4 + step, 200 + jump]]))) == fits


def test_a_peak_is_joined_with_the_four_after_it() -> None:
    peaks = np.array([[k, 50] for k in range(7)])
    pairs = module._pairs(peaks)
    assert sorted(pairs["hash"] & 63) == [1] * 6 + [2] * 5 + [3] * 4 + [4] * 3
    assert len(module._pairs(peaks[:0])) == 0


@pytest.mark.parametrize(("n", "size", "is_copy"), [(4, 10, False), (5, 10, True), (5, 125, True), (5, 126, False)])
def test_copies_share_five_hashes_and_a_25th(n: int, size: int, is_copy: bool) -> None:
    pairs = near_pairs([common(n, of=size, first_own=1000), common(n, of=size + 50, first_own=5000)])
    assert pairs == ([(0, 1, n / size)] if is_copy else [])


def test_pairs_of_several_recordings_are_kept_separate() -> None:
    a, b = common(8, of=20, first_own=1000), common(8, of=16, first_own=2000)
    earlier = b.copy()
    earlier["frame"] -= 7
    other = prints(list(range(50, 60)), list(range(0, 100, 10)))
    assert near_pairs([a, other, earlier, b]) == [(0, 2, 0.5), (0, 3, 0.5), (2, 3, 1.0)]
    assert near_pairs([]) == []
    assert near_pairs([prints([], []), prints([], [])]) == []


@pytest.mark.parametrize(
    ("shifts", "is_copy"),
    [
        ([7, 7, 7, 8, 8], True),
        ([7, 7, 7, 9, 9], False),
        ([2, 20, 20, 20, 20], False),
        ([1, 7, 7, 7, 8, 8], True),
        ([-3, -3, -3, -2, -2], True),
        ([-1, -1, -1, 0, 0], True),
        ([1, 4, 7, 10, 13, 16], False),
    ],
)
def test_hashes_agree_at_one_shift_or_its_neighbor(shifts: list[int], is_copy: bool) -> None:
    hashes = list(range(len(shifts)))
    frames = [100 * (k + 1) for k in hashes]
    other = prints(hashes, [frame + shift for frame, shift in zip(frames, shifts, strict=True)])
    assert bool(near_pairs([prints(hashes, frames), other])) == is_copy


def test_a_part_is_at_most_one() -> None:
    own = prints([1, 2, 3, 4, 5], [10, 20, 30, 40, 50])
    other = prints([1, 2, 3, 4, 5] * 2, [10, 20, 30, 40, 50, 11, 21, 31, 41, 51])
    assert near_pairs([own, other]) == [(0, 1, 1.0)]


@pytest.mark.parametrize(("n_more", "is_copy"), [(198, True), (199, False)])
def test_a_hash_of_more_than_200_positions_tells_nothing(n_more: int, is_copy: bool) -> None:
    own = prints([1, 2, 3, 4, 5], [10, 20, 30, 40, 50])
    frames = [1000 * (k + 1) for k in range(5 * n_more)]
    crowd = prints([1 + k // n_more for k in range(5 * n_more)], frames)
    assert near_pairs([own, own, crowd]) == ([(0, 1, 1.0)] if is_copy else [])


@pytest.mark.ops
def test_copies_of_real_recordings_are_distinguished_from_others(shared_audio: Path, tmp_path: Path) -> None:
    paths = sorted(p for p in (shared_audio / "focal" / "Vireo_griseus").iterdir() if p.suffix != ".txt")[::2]
    paths += sorted((shared_audio / "focal_longtail").rglob("*.mp3"))[::6]
    prints = [fingerprint(read_mono(path, rate_hz=RATE_HZ)[0]) for path in paths]
    assert near_pairs(prints) == [], "recordings of one species are no copies"
    for k, path in enumerate(paths):
        samples, rate_hz = read_mono(path)
        copy = tmp_path / f"{k}.{('ogg', 'mp3')[k % 2]}"
        soundfile.write(copy, (0.3 + 0.1 * (k % 7)) * samples[rate_hz * (k % 5) // 4 :], rate_hz)
        prints.append(fingerprint(read_mono(copy, rate_hz=RATE_HZ)[0]))
    assert [(a, b) for a, b, _ in near_pairs(prints)] == [(k, len(paths) + k) for k in range(len(paths))]
