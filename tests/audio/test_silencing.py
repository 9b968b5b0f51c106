"""Silence in place of speech."""

from __future__ import annotations

import numpy as np

from dawnchorus.audio.silencing import RAMP_S, silence, silence_blocks
from dawnchorus.types import Segment


def test_silence_is_silent_inside_and_touches_nothing_outside() -> None:
    signal = np.ones(1000, np.float32)
    segments = (Segment(0.2, 0.4), Segment(0.9, 5.0))
    quiet = silence(signal, segments, rate_hz=1000)
    assert not quiet[200:401].any()
    assert not quiet[900:].any()
    before, after = round((0.2 - RAMP_S) * 1000), round((0.4 + RAMP_S) * 1000)
    assert (quiet[: before + 1] == 1).all()
    assert (quiet[after:880] == 1).all()
    assert (signal == 1).all(), "the caller's samples stay as they are"
    blocks = list(silence_blocks([signal[:250], signal[250:300], signal[300:]], segments, rate_hz=1000))
    np.testing.assert_allclose(np.concatenate(blocks), quiet, atol=1e-5)


def test_silence_begins_and_ends_within_10_ms() -> None:
    signal = np.full(1000, 2.0, np.float32)
    quiet = silence(signal, [Segment(0.2, 0.4)], rate_hz=1000)
    expected = np.full(1000, 2.0)
    expected[190:200] = np.linspace(2, 0, 11)[:10]
    expected[200:401] = 0
    expected[401:410] = np.linspace(0, 2, 11)[1:10]
    np.testing.assert_allclose(quiet, expected, atol=1e-5)
    later = silence(signal, [Segment(7.2, 7.4)], rate_hz=1000, start_s=7.0)
    np.testing.assert_allclose(later, expected, atol=1e-5)
    assert (signal == 2).all()


def test_silence_reaches_both_ends_and_skips_spans_elsewhere() -> None:
    signal = np.ones(1000, np.float32)
    elsewhere = [Segment(0.0, 4.0), Segment(9.0, 9.5)]
    assert silence(signal, elsewhere, rate_hz=1000, start_s=5.0) is signal
    assert silence(signal, [], rate_hz=1000) is signal
    quiet = silence(signal, [Segment(1.0, 2.0), Segment(4.5, 5.1), Segment(5.9, 7.0)], rate_hz=1000, start_s=5.0)
    assert not quiet[:101].any()
    assert (quiet[110:890] == 1).all()
    assert not quiet[900:].any()
    assert not silence(signal, [Segment(0.0, 5.0)], rate_hz=1000).any()


def test_blocks_are_silenced_by_their_own_times() -> None:
    signal = np.ones(3000, np.float32)
    marked = [Segment(0.5, 0.6), Segment(1.7, 2.2)]
    blocks = list(silence_blocks([signal[:700], signal[700:1900], signal[1900:]], marked, rate_hz=1000))
    assert [len(block) for block in blocks] == [700, 1200, 1100]
    np.testing.assert_allclose(np.concatenate(blocks), silence(signal, marked, rate_hz=1000), atol=1e-4)
