"""Waveforms."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawnchorus.audio.process import DecoderProcess
from dawnchorus.plotting.spectrogram import MAX_COLUMNS
from dawnchorus.plotting.waveform import recording_waveform
from dawnchorus.types import Segment


def test_waveform_is_flat_in_silence_and_as_high_as_the_signal(decoder: DecoderProcess, recording: Path) -> None:
    waveform = recording_waveform(recording, decoder=decoder, duration_s=10, silent=(Segment(3.5, 5.5),))
    is_detected = (waveform.times_s > 5.51) & (waveform.times_s < 5.99)
    assert waveform.high[is_detected].min() == pytest.approx(0.5, abs=0.1)
    assert waveform.low[is_detected].max() == pytest.approx(-0.5, abs=0.1)
    assert not waveform.high[waveform.times_s < 5.49].any()
    assert len(waveform.low) <= MAX_COLUMNS + 1
