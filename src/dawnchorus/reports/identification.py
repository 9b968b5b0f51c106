"""The HTML report of an identification run, with embedded images and audio."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from dawnchorus.audio.process import DecoderProcess
from dawnchorus.errors import AudioError
from dawnchorus.plotting.clip import clip_png_and_mp3
from dawnchorus.plotting.style import DAWN
from dawnchorus.reports.environment import page_environment
from dawnchorus.reports.summary import N_HOURS, ClassSummary, RunSummary
from dawnchorus.types import Provenance

MAX_CLIPS = 60
"""Maximum number of species with spectrogram and audio, in the order of `RunSummary.of_kind`.

Further species are only in the table of counts.
"""


@dataclass(frozen=True)
class _Card:
    entry: ClassSummary
    png: str | None
    mp3: str | None
    why_not: str | None


def render_page(
    summary: RunSummary,
    provenance: Provenance,
    *,
    license_note: str,
    failures: Sequence[tuple[str, str]] = (),
    warnings: Sequence[tuple[str, str]] = (),
) -> str:
    """Return the report as HTML.

    The page has the best clip of each of the first `MAX_CLIPS` species of `RunSummary.of_kind`. If a clip cannot be
    decoded, for example because its recording was moved, the page has the reason in the place of the clip.

    Args:
        summary: counts, and the best clip of each species.
        provenance: model, software and options of the run.
        license_note: sentence on the license of the model's weights.
        failures: pairs of the name of a recording that could not be identified, and the reason.
        warnings: pairs of the name of a recording, and a warning about the recording.
    """
    species = summary.of_kind("species")
    with closing(DecoderProcess()) as decoder:
        cards = [_card(entry, decoder) for entry in species[:MAX_CLIPS]]
    return (
        page_environment()
        .get_template("page.html")
        .render(
            summary=summary,
            species=species,
            sounds=summary.of_kind("sound"),
            cards=cards,
            heat=_heat(species[:MAX_CLIPS]),
            hours=range(N_HOURS),
            max_count=max((entry.n_detections for entry in species), default=1),
            max_clips=MAX_CLIPS,
            provenance=provenance,
            license_note=license_note,
            failures=failures,
            warnings=warnings,
        )
    )


def _card(entry: ClassSummary, decoder: DecoderProcess) -> _Card:
    if entry.best is None:
        return _Card(entry, None, None, "Speech is near every detection, so no audio is shown.")
    try:
        png, mp3 = clip_png_and_mp3(entry.best, decoder)
    except AudioError as error:
        return _Card(entry, None, None, error.reason)
    return _Card(entry, base64.b64encode(png).decode(), base64.b64encode(mp3).decode(), None)


def _heat(species: Sequence[ClassSummary]) -> list[tuple[ClassSummary, list[tuple[int, str]]]]:
    """Return each species with the count and the CSS color of each hour; the hour of most detections is brightest."""
    rows = []
    for entry in species:
        largest = max(entry.by_hour)
        if largest:
            rows.append((entry, [(count, _color(count / largest)) for count in entry.by_hour]))
    return rows


def _color(share: float) -> str:
    if share == 0:
        return "transparent"
    red, green, blue, _ = DAWN(0.25 + 0.65 * share, bytes=True)
    return f"rgb({red} {green} {blue})"
