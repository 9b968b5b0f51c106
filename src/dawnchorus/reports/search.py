"""The HTML page of a similarity search in an archive, with spectrogram and audio of each hit (a window found)."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dawnchorus.audio.process import DecoderProcess
from dawnchorus.errors import AudioError
from dawnchorus.plotting.clip import DetectionClip, clip_png_and_mp3
from dawnchorus.reports.environment import page_environment
from dawnchorus.storage.paths import as_path
from dawnchorus.types import Detection

MAX_CLIPS = 100
"""Maximum number of hits with spectrogram and audio; further hits are only in the table."""


@dataclass(frozen=True)
class _Card:
    hit: Mapping[str, Any]
    time: datetime | None
    png: str | None
    mp3: str | None
    why_not: str | None


def render_page(hits: Sequence[Mapping[str, Any]], *, title: str) -> str:
    """Return the page of a search as HTML.

    A hit has no spectrogram and audio if its recording cannot be decoded, or if speech was detected in
    it or within `archive.row_filter.VOICE_MARGIN_S` seconds of it (column `human_voice`). Hits after the first
    `MAX_CLIPS` are only in the table.

    Args:
        hits: rows of the table that `Archive.search` returns, each as a mapping of column to value.
        title: title of the page.
    """
    with closing(DecoderProcess()) as decoder:
        cards = [_card(hit, decoder) for hit in hits[:MAX_CLIPS]]
    n_recordings = len({hit["path"] for hit in hits})
    template = page_environment().get_template("search.html")
    return template.render(title=title, hits=hits, cards=cards, n_recordings=n_recordings, max_clips=MAX_CLIPS)


def _card(hit: Mapping[str, Any], decoder: DecoderProcess) -> _Card:
    time = None if hit["start_time"] is None else datetime.fromisoformat(hit["start_time"])
    if hit["human_voice"]:
        return _Card(hit, time, None, None, "Speech was detected here, so no audio is shown.")
    window = Detection(hit["start_s"], hit["end_s"], "", "", "species", hit["score"])
    path = as_path(os.fsdecode(hit["path"]))
    clip = DetectionClip(path, window, time, hit["duration_s"], channel=hit["channel"] or "mean")
    try:
        png, mp3 = clip_png_and_mp3(clip, decoder)
    except AudioError as error:
        return _Card(hit, time, None, None, error.reason)
    return _Card(hit, time, base64.b64encode(png).decode(), base64.b64encode(mp3).decode(), None)
