"""Attributions of recordings."""

from __future__ import annotations

from dawnchorus.data.attribution import attribution_text
from dawnchorus.data.recordings import RecordingRow


def test_names_in_attributions_are_text() -> None:
    row = RecordingRow(recording_id="XC1", path="a", recordist="*<b>", license="CC-BY-4.0")
    text = attribution_text([row])
    assert r"\*\<b\>, XC1. Accessible at www.xeno-canto.org/1" in text
    assert "https://creativecommons.org/licenses/by/4.0/" in text
