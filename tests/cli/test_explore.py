"""The command `explore`."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
import soundfile
from tests.fixtures.commands import Command
from tests.fixtures.sounds import tone

from dawnchorus.data.recordings import Annotation, RecordingRow, RecordingsTable, write_table

EVIL = "<script>alert(1)</script> $x_{"


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    rows = []
    for k in range(6):
        soundfile.write(folder / f"{k}.wav", tone(2000 + 500 * k, seconds=2 + k), 16_000)
        rows.append(
            RecordingRow(
                recording_id=f"XC{k}",
                path=f"{k}.wav",
                scientific_name=f"Avis {k % 2}",
                common_name=EVIL if k % 2 else "Plain Bird",
                recordist=EVIL if k == 3 else "R. Ecord",
                license="CC-BY-4.0" if k else None,
                latitude=50.0 + k,
                longitude=10.0,
                date=f"2026-05-0{k + 1}",
                time=f"0{k}:30",
                duration_s=2.0 + k,
                rate_hz=16_000,
                n_channels=1,
                container="WAV",
                problems=("clipped",) if k == 2 else (),
            )
        )
    soundscape = Annotation(start_s=0, end_s=1, scientific_name="Avis 2")
    rows.append(RecordingRow(recording_id="s", path="gone.wav", kind="soundscape", annotations=(soundscape,)))
    write_table(RecordingsTable(folder, tuple(rows)))
    return folder


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.urls: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.urls += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_explore_command_writes_one_page_and_plots(data_set: Path, command: Command) -> None:
    done = command("explore", data_set)
    assert done.returncode == 0, done.stderr
    assert b"7 recordings (6 focal, 1 soundscape)" in done.stdout
    out = data_set / "explore"
    plots = {path.stem for path in out.glob("*.png")}
    assert {"species-recordings", "species-minutes", "long-tail", "lengths", "map", "month-hour", "spectra"} <= plots
    assert {"license", "recordists", "kind"} <= plots
    page = (out / "index.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(page)
    assert "script" not in reader.tags
    assert EVIL in reader.text
    assert reader.tags.count("audio") == 2, "one example of each species with a recording of its own"
    assert all(url.startswith("data:") for url in reader.urls)
    assert "more than 0.1% of its samples are at full scale" in reader.text
