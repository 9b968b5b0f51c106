"""Plots and sounds of clips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
from tests.fixtures.birds import bird, table

from dawnchorus.audio.process import DecoderProcess
from dawnchorus.plotting.clip import clip_png_and_mp3
from dawnchorus.plotting.spectrogram import recording_spectrogram
from dawnchorus.reports.summary import summarize
from dawnchorus.types import Segment


def test_silenced_speech_is_neither_drawn_nor_audible(decoder: DecoderProcess, recording: Path) -> None:
    silent = (Segment(3.5, 5.5),)
    whole = recording_spectrogram(recording, decoder=decoder, duration_s=10, silent=silent)
    assert whole.between(3.0, 5.4).levels_db.max() < whole.between(5.6, 5.9).levels_db.max() - 60
    detection = bird(3.0, human_voice=True)
    spoken = replace(table(recording, detection), speech=silent, is_silenced=True)
    (entry,) = summarize([(recording, spoken)]).of_kind("species")
    assert entry.best is not None
    assert entry.best.silent == silent
    _, mp3 = clip_png_and_mp3(entry.best, decoder)
    (recording.parent / "clip.mp3").write_bytes(mp3)
    detected, rate_hz = soundfile.read(recording.parent / "clip.mp3")  # from 2 to 7 s
    assert np.abs(detected[: round(3.4 * rate_hz)]).max() < 0.01
    assert np.abs(detected[round(3.7 * rate_hz) : round(3.9 * rate_hz)]).max() > 0.3
