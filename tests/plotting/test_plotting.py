"""Spectrograms, pictures and the page: right in place, complete, and safe for any name."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.image import imread
from tests.fixtures.sounds import tone

from dawnchorus.audio.decode import read_clip
from dawnchorus.audio.process import DecoderProcess
from dawnchorus.cli.present import write_report
from dawnchorus.identification import Options, identify
from dawnchorus.models.bundle import Bundle
from dawnchorus.plotting.clip import clip_png_and_mp3
from dawnchorus.plotting.recording import DPI, WAVEFORM_IN, draw_recording, draw_recording_with_waveform
from dawnchorus.plotting.spectrogram import MAX_COLUMNS, clip_spectrogram, recording_spectrogram, stretch_spectrogram
from dawnchorus.plotting.waveform import recording_waveform
from dawnchorus.reports.identification import render_page
from dawnchorus.reports.summary import summarise
from dawnchorus.types import Detection, Provenance, RecordingMetadata, RecordingTable, Segment

PROVENANCE = Provenance("birdnet", "2.4", "0123456789ab", "dawnchorus 1", {"min_score": 0.25})


def bird(start_s: float, name: str = "Parus major", common: str = "Great Tit", **more: object) -> Detection:
    return Detection(start_s, start_s + 3, name, common, **{"kind": "species", "score": 0.8, **more})  # type: ignore[arg-type]


def table(path: Path, *detections: Detection, duration_s: float = 10.0) -> RecordingTable:
    metadata = RecordingMetadata(datetime(2026, 5, 1, 4, 30), 52.5, 13.4)
    return RecordingTable(str(path), duration_s, 24_000, metadata, 17, detections)


@pytest.fixture
def decoder() -> Iterator[DecoderProcess]:
    with closing(DecoderProcess()) as decoder:
        yield decoder


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Silence with a 3 kHz tone from 4 to 6 s."""
    signal = np.zeros(240_000, np.float32)
    signal[96_000:144_000] = tone(3000, seconds=2, rate_hz=24_000)
    soundfile.write(tmp_path / "tone.wav", signal, 24_000)
    return tmp_path / "tone.wav"


def test_a_tone_is_where_it_is_in_time_and_pitch(decoder: DecoderProcess, recording: Path) -> None:
    spectrogram = recording_spectrogram(recording, decoder=decoder, duration_s=10)
    levels = spectrogram.levels_db
    row, column = np.unravel_index(levels.argmax(), levels.shape)
    assert row / levels.shape[0] * spectrogram.top_hz == pytest.approx(3000, abs=50)
    loud = np.flatnonzero(levels[row] > levels.max() - 10) / spectrogram.columns_per_s
    assert (loud[0], loud[-1]) == (pytest.approx(4, abs=0.05), pytest.approx(6, abs=0.05))
    assert column / spectrogram.columns_per_s == pytest.approx(5, abs=1.1)


def test_silenced_speech_is_neither_drawn_nor_audible(decoder: DecoderProcess, recording: Path) -> None:
    silent = (Segment(3.5, 5.5),)
    whole = recording_spectrogram(recording, decoder=decoder, duration_s=10, silent=silent)
    assert whole.between(3.0, 5.4).levels_db.max() < whole.between(5.6, 5.9).levels_db.max() - 60
    detection = bird(3.0, human_voice=True)
    spoken = replace(table(recording, detection), speech=silent, is_silenced=True)
    (entry,) = summarise([(recording, spoken)]).of_kind("species")
    assert entry.best is not None
    assert entry.best.silent == silent
    _, mp3 = clip_png_and_mp3(entry.best, decoder)
    (recording.parent / "clip.mp3").write_bytes(mp3)
    detected, rate_hz = soundfile.read(recording.parent / "clip.mp3")  # from 2 to 7 s
    assert np.abs(detected[: round(3.4 * rate_hz)]).max() < 0.01
    assert np.abs(detected[round(3.7 * rate_hz) : round(3.9 * rate_hz)]).max() > 0.3


def test_waveform_is_flat_in_silence_and_as_high_as_the_signal(decoder: DecoderProcess, recording: Path) -> None:
    waveform = recording_waveform(recording, decoder=decoder, duration_s=10, silent=(Segment(3.5, 5.5),))
    is_detected = (waveform.times_s > 5.51) & (waveform.times_s < 5.99)
    assert waveform.high[is_detected].min() == pytest.approx(0.5, abs=0.1)
    assert waveform.low[is_detected].max() == pytest.approx(-0.5, abs=0.1)
    assert not waveform.high[waveform.times_s < 5.49].any()
    assert len(waveform.low) <= MAX_COLUMNS + 1


def test_plots_and_clips_follow_the_channel(decoder: DecoderProcess, tmp_path: Path) -> None:
    left, right = tone(3000, seconds=2.0, rate_hz=24_000), tone(6000, seconds=2.0, rate_hz=24_000)
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.column_stack([left, right]), 24_000)
    for channel, hz in (("left", 3000), ("right", 6000)):
        levels = recording_spectrogram(path, decoder=decoder, duration_s=2, channel=channel).levels_db  # type: ignore[arg-type]
        assert levels.mean(axis=1).argmax() / levels.shape[0] * 12_000 == pytest.approx(hz, abs=50)
        detected = replace(table(path, bird(0.5), duration_s=2.0), channel=channel)
        best = summarise([(path, detected)]).classes[bird(0.5).scientific_name].best
        assert best is not None
        assert best.channel == channel
        clip = read_clip(path, start_s=0.5, end_s=1.0, rate_hz=24_000, channel=best.channel)
        assert np.abs(np.fft.rfft(clip)).argmax() * 2 == hz
    assert (
        pixels(draw_recording(path, detected, decoder=decoder))
        != pixels(draw_recording(path, replace(detected, channel="left"), decoder=decoder))
    ).any()


def test_a_waveform_stands_above_each_row(decoder: DecoderProcess, tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    for seconds in (0.01, 10.0, 90.0):
        soundfile.write(path, tone(3000, seconds=seconds, rate_hz=24_000), 24_000)
        description = table(path, bird(4.0), duration_s=seconds)
        plain, both = (
            pixels(draw_recording(path, description, decoder=decoder)),
            pixels(draw_recording_with_waveform(path, description, decoder=decoder)),
        )
        n_rows = 3 if seconds > 30 else 1
        assert both.shape[0] - plain.shape[0] == pytest.approx(n_rows * WAVEFORM_IN * DPI, abs=2)


def test_no_clip_is_made_where_a_voice_is_only_flagged(recording: Path) -> None:
    spoken = replace(table(recording, bird(3.0), bird(7.0, score=0.5)), speech=(Segment(3.5, 5.5),))
    (entry,) = summarise([(recording, spoken)]).of_kind("species")
    assert entry.best is not None
    assert entry.best.detection.start_s == 7.0, "the better one, at 3 s, has a voice"


def test_long_recordings_keep_the_loudest_of_what_shares_a_column(decoder: DecoderProcess, tmp_path: Path) -> None:
    signal = np.zeros(24_000 * 600, np.float32)
    signal[24_000 * 300 : 24_000 * 300 + 1200] = tone(3000, seconds=0.05, rate_hz=24_000)
    soundfile.write(tmp_path / "long.flac", signal, 24_000)
    spectrogram = recording_spectrogram(tmp_path / "long.flac", decoder=decoder, duration_s=600)
    assert spectrogram.levels_db.shape[1] <= 15_000
    _, column = np.unravel_index(spectrogram.levels_db.argmax(), spectrogram.levels_db.shape)
    assert column / spectrogram.columns_per_s == pytest.approx(300, abs=0.3)


def test_a_clip_equals_that_part_of_the_whole(decoder: DecoderProcess, recording: Path) -> None:
    samples, rate_hz = soundfile.read(recording, dtype="float32")
    clip = clip_spectrogram(samples[: 5 * rate_hz], rate_hz=rate_hz)
    whole = recording_spectrogram(recording, decoder=decoder, duration_s=10)
    np.testing.assert_allclose(clip.levels_db[:, :400], whole.levels_db[:, :400], atol=0.1)


def test_segment_equals_that_part_of_the_audio(decoder: DecoderProcess, recording: Path) -> None:
    samples, rate_hz = soundfile.read(recording, dtype="float32")
    clip = clip_spectrogram(samples[3 * rate_hz : 5 * rate_hz], rate_hz=rate_hz, start_s=3.0)
    stretch = stretch_spectrogram(recording, decoder=decoder, start_s=3.0, end_s=5.0)
    assert (stretch.start_s, stretch.end_s, stretch.top_hz) == (clip.start_s, clip.end_s, clip.top_hz)
    np.testing.assert_allclose(stretch.levels_db, clip.levels_db, atol=0.1)


def test_a_long_stretch_has_few_columns_and_shows_the_loudest(decoder: DecoderProcess, tmp_path: Path) -> None:
    signal = np.zeros(16_000 * 500, np.float32)
    signal[16_000 * 300 : 16_000 * 300 + 1600] = tone(3000, seconds=0.1, rate_hz=16_000)
    soundfile.write(tmp_path / "long.flac", signal, 16_000)
    stretch = stretch_spectrogram(tmp_path / "long.flac", decoder=decoder, start_s=100.0, end_s=1000.0)
    assert stretch.levels_db.shape[1] <= MAX_COLUMNS
    assert (stretch.start_s, stretch.top_hz) == (100.0, 12_000)
    assert stretch.end_s == pytest.approx(500, abs=0.01), "the end of the recording"
    row, column = np.unravel_index(stretch.levels_db.argmax(), stretch.levels_db.shape)
    assert row / stretch.levels_db.shape[0] * stretch.top_hz == pytest.approx(3000, abs=50)
    assert stretch.start_s + column / stretch.columns_per_s == pytest.approx(300, abs=0.3)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(imread(io.BytesIO(png)))


def test_spectrogram_shows_signal_and_boxes(decoder: DecoderProcess, recording: Path) -> None:
    plain = pixels(draw_recording(recording, table(recording), decoder=decoder))
    boxed = pixels(draw_recording(recording, table(recording, bird(4.0)), decoder=decoder))
    assert plain.shape[1] == boxed.shape[1] >= 1000
    assert np.unique(plain.reshape(-1, plain.shape[-1]), axis=0).shape[0] > 50
    assert boxed.shape[0] >= plain.shape[0], "a name tag needs its lane"
    names = [bird(4.0, f"Avis {k}", f"Bird {k}") for k in range(9)]
    assert pixels(draw_recording(recording, table(recording, *names), decoder=decoder)).shape[0] > boxed.shape[0]


@pytest.mark.parametrize("name", ["a$b_{c.wav", "Ärger ☂.wav", "%s {0}.wav"])
def test_any_name_can_be_in_a_title(decoder: DecoderProcess, recording: Path, name: str) -> None:
    renamed = recording.rename(recording.with_name(name))
    odd = bird(1.0, "Avis $x$", "A $bad_{ name <b>")
    assert draw_recording(renamed, table(renamed, odd), decoder=decoder).startswith(b"\x89PNG")


def test_plots_of_very_short_and_long_recordings(decoder: DecoderProcess, tmp_path: Path) -> None:
    for name, seconds in (("short.wav", 0.01), ("long.wav", 900.0)):
        path = tmp_path / name
        soundfile.write(path, tone(seconds=seconds, rate_hz=8000), 8000)
        png = draw_recording(path, table(path, duration_s=seconds), decoder=decoder)
        assert png.startswith(b"\x89PNG")
        assert pixels(png).shape[0] < 6000


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(*entries: tuple[Path, RecordingTable], **more: object) -> tuple[str, Reader]:
    page = render_page(summarise(entries), PROVENANCE, license_note="CC BY", **more)  # type: ignore[arg-type]
    reader = Reader()
    reader.feed(page)
    return page, reader


def test_report_is_complete_and_self_contained(recording: Path) -> None:
    engine = Detection(0.0, 3.0, "Engine", "Engine", "sound", 0.9)
    detections = table(recording, bird(4.0), bird(7.0), bird(1.0, "Cuculus canorus", "Common Cuckoo"), engine)
    page, reader = page_of((recording, detections))
    assert "Great Tit" in reader.text
    assert "Engine" in reader.text
    sources = [value for _, attributes in reader.tags for key, value in attributes.items() if key in ("src", "href")]
    assert sources
    assert all(value is not None and value.startswith(("data:", "#")) for value in sources)
    assert sum(tag == "audio" for tag, _ in reader.tags) == 2
    assert len(re.findall(r"data:image/png", page)) == 2


def test_the_best_clip_is_the_highest_score(recording: Path) -> None:
    detections = table(recording, bird(1.0, score=0.4), bird(4.0, score=0.95), bird(7.0, score=0.5))
    best = summarise([(recording, detections)]).classes["Parus major"].best
    assert best is not None
    assert best.detection.start_s == 4.0
    assert best.time == datetime(2026, 5, 1, 4, 30, 4)


def test_clips_contain_no_human_voices(recording: Path) -> None:
    voice = Detection(3.0, 6.0, "Human vocal", "Human vocal", "sound", 0.9)
    _, reader = page_of((recording, table(recording, bird(4.0), voice)))
    assert not any(tag == "audio" for tag, _ in reader.tags)
    assert "Speech is near" in reader.text


def test_names_cannot_put_scripts_into_the_page(recording: Path) -> None:
    evil = "<script>alert(1)</script>"
    odd = bird(1.0, evil, evil)
    page, reader = page_of((recording, table(recording, odd)), failures=[(evil, evil)], warnings=[(evil, evil)])
    assert evil not in page
    assert evil in reader.text


def test_a_page_of_a_run_without_birds(recording: Path) -> None:
    _, reader = page_of((recording, table(recording)))
    assert "No species" in reader.text or "no species" in reader.text.lower()


def test_the_clip_of_a_species_is_of_the_channel_of_its_best_detection(decoder: DecoderProcess, tmp_path: Path) -> None:
    """The first channel is silent, and the mean half as loud."""
    path = tmp_path / "x.wav"
    signal = tone(3000, seconds=3, rate_hz=24_000)
    soundfile.write(path, np.column_stack([0 * signal, signal]), 24_000, subtype="FLOAT")
    detections = replace(table(path, bird(0, channel=1, score=0.4), bird(0, channel=2), duration_s=3.0), n_channels=2)
    best = summarise([(path, detections)]).classes["Parus major"].best
    assert best is not None
    assert best.channel == 2
    first, second = (
        recording_spectrogram(path, decoder=decoder, duration_s=3, channel=each.channel)
        for each in detections.by_channel()
    )
    assert second.levels_db.max() > first.levels_db.max() + 60
    page = render_page(summarise([(path, detections)]), PROVENANCE, license_note="CC BY")
    assert "at 0.0 s, channel 2" in page


def test_each_channel_has_a_plot(level_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(path: Path, table: RecordingTable, *, decoder: DecoderProcess) -> bytes:
        assert decoder
        return f"{path.name} {table.channel} {len(table.detections)}".encode()

    monkeypatch.setattr("dawnchorus.plotting.recording.draw_recording", draw)
    for name, n in (("one.wav", 1), ("two.wav", 2)):
        soundfile.write(tmp_path / name, np.full((16_000, n), 0.5), 16_000)
    run = identify(tmp_path, Options(channel="each", species=("Avis magna",)), model=level_bundle.folder)
    write_report(run, tmp_path / "pictures")
    drawn = {path.name: path.read_text() for path in (tmp_path / "pictures").glob("*.png")}
    assert drawn == {
        "one.wav.png": "one.wav 1 1",
        "two.wav.channel1.png": "two.wav 1 1",
        "two.wav.channel2.png": "two.wav 2 1",
    }
