"""Best clips of species."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import soundfile
from tests.fixtures.birds import PROVENANCE, bird, table
from tests.fixtures.sounds import tone

from dawnchorus.audio.process import DecoderProcess
from dawnchorus.plotting.spectrogram import recording_spectrogram
from dawnchorus.reports.identification import render_page
from dawnchorus.reports.summary import summarize
from dawnchorus.types import Segment


def test_no_clip_is_made_where_a_voice_is_only_flagged(recording: Path) -> None:
    spoken = replace(table(recording, bird(3.0), bird(7.0, score=0.5)), speech=(Segment(3.5, 5.5),))
    (entry,) = summarize([(recording, spoken)]).of_kind("species")
    assert entry.best is not None
    assert entry.best.detection.start_s == 7.0, "the better one, at 3 s, has a voice"


def test_the_best_clip_is_the_highest_score(recording: Path) -> None:
    detections = table(recording, bird(1.0, score=0.4), bird(4.0, score=0.95), bird(7.0, score=0.5))
    best = summarize([(recording, detections)]).classes["Parus major"].best
    assert best is not None
    assert best.detection.start_s == 4.0
    assert best.time == datetime(2026, 5, 1, 4, 30, 4)


def test_the_clip_of_a_species_is_of_the_channel_of_its_best_detection(decoder: DecoderProcess, tmp_path: Path) -> None:
    """The first channel is silent, and the mean half as loud."""
    path = tmp_path / "x.wav"
    signal = tone(3000, seconds=3, rate_hz=24_000)
    soundfile.write(path, np.column_stack([0 * signal, signal]), 24_000, subtype="FLOAT")
    detections = replace(table(path, bird(0, channel=1, score=0.4), bird(0, channel=2), duration_s=3.0), n_channels=2)
    best = summarize([(path, detections)]).classes["Parus major"].best
    assert best is not None
    assert best.channel == 2
    first, second = (
        recording_spectrogram(path, decoder=decoder, duration_s=3, channel=each.channel)
        for each in detections.by_channel()
    )
    assert second.levels_db.max() > first.levels_db.max() + 60
    page = render_page(summarize([(path, detections)]), PROVENANCE, license_note="CC BY")
    assert "at 0.0 s, channel 2" in page
