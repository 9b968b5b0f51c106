"""The page of a run: complete, and safe for any name."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from tests.fixtures.birds import PROVENANCE, bird, table

from dawnchorus.reports.identification import render_page
from dawnchorus.reports.summary import summarize
from dawnchorus.types import Detection, RecordingTable


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
    page = render_page(summarize(entries), PROVENANCE, license_note="CC BY", **more)  # type: ignore[arg-type]
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
