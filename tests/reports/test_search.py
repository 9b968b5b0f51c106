"""The page of a search: complete, safe for any name, and without people's voices."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dawnchorus.reports import search
from dawnchorus.reports.search import render_page


def hit(path: Path, **more: Any) -> dict[str, Any]:
    row = {
        "rank": 1,
        "score": 0.98765,
        "recording": path.name,
        "channel": None,
        "start_s": 1.0,
        "end_s": 4.0,
        "start_time": "2026-05-01T04:00:01.000+02:00",
        "site": "North",
        "species": "Parus major; Turdus merula",
        "human_voice": False,
        "path": os.fsencode(path),
        "duration_s": 10.0,
    }
    return {**row, **more}


def test_each_hit_has_a_spectrogram_and_audio(recording: Path) -> None:
    page = render_page([hit(recording), hit(recording, rank=2, start_time=None, site=None)], title="Like x.wav")
    assert page.count("<audio") == page.count("data:image/png") == 2
    for text in ("2 windows in 1 recording,", "Parus major, Turdus merula", "0.9877", "2026-05-01 04:00:01", "North"):
        assert text in page
    assert 'src="http' not in page


def test_voices_and_recordings_that_are_gone_are_said(recording: Path, tmp_path: Path) -> None:
    page = render_page([hit(recording, human_voice=True), hit(tmp_path / "gone.wav")], title="Like x.wav")
    assert "<audio" not in page
    assert "Speech was detected here" in page
    assert "there is no such file" in page.lower() or "no such" in page.lower()


def test_names_cannot_put_scripts_into_the_page(recording: Path) -> None:
    evil = "<script>alert(1)</script>"
    assert evil not in render_page([hit(recording, recording=evil, site=evil, species=evil)], title=evil)


def test_more_hits_than_clips_are_a_table(recording: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(search, "MAX_CLIPS", 1)
    page = render_page([hit(recording), hit(recording, rank=2)], title="Like x.wav")
    assert (page.count("<audio"), page.count("<tr>")) == (1, 3)
    assert "The first 1 of 2" in page
    assert "No windows" in render_page([], title="Like x.wav")
