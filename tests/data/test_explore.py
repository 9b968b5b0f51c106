"""The page and plots of a data set say what is in it, and any name is only text there."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
import soundfile
from matplotlib.figure import Figure
from tests.fixtures.commands import Command
from tests.fixtures.sounds import tone

from dawnchorus.data.explore import summarise_data_set
from dawnchorus.data.recordings import Annotation, RecordingRow, RecordingsTable, write_table
from dawnchorus.reports import data_set as plots
from dawnchorus.reports.data_set import draw_data_set

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
    assert {"licence", "recordists", "kind"} <= plots
    page = (out / "index.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(page)
    assert "script" not in reader.tags
    assert EVIL in reader.text
    assert reader.tags.count("audio") == 2, "one example of each species with a recording of its own"
    assert all(url.startswith("data:") for url in reader.urls)
    assert "more than 0.1% of its samples are at full scale" in reader.text


def test_the_numbers_are_those_of_the_table() -> None:
    rows = [
        RecordingRow(recording_id="a", path="a", scientific_name="A a", duration_s=60.0, date="2026-05", time="04:10"),
        RecordingRow(recording_id="b", path="b", scientific_name="A a", duration_s=30.0, date="2026"),
        RecordingRow(recording_id="c", path="c", kind="background"),
    ]
    summary = summarise_data_set(rows)
    (species,) = summary.species
    assert (species.n_recordings, species.duration_s, summary.duration_s) == (2, 90.0, 90.0)
    assert summary.month_hour[4][4] == 1
    assert sum(map(sum, summary.month_hour)) == 1
    assert summary.counts["kind"] == (("focal", 2), ("background", 1))


def test_a_data_set_of_which_nothing_is_known_can_be_drawn() -> None:
    assert draw_data_set(summarise_data_set([RecordingRow(recording_id="a", path="a")])) == {}
    assert draw_data_set(summarise_data_set([])) == {}


def test_detections_of_a_run_become_annotations(tmp_path: Path, dawn: Path, command: Command) -> None:
    assert command("identify", dawn, "--merge", "--out", tmp_path / "found.parquet", "-q").returncode == 0
    done = command("data", "import", tmp_path / "found.parquet", tmp_path / "set", "--layout", "detections")
    assert done.returncode == 0, done.stderr
    assert b"1 recording (1 soundscape)" in done.stderr
    shown = command("data", "show", tmp_path / "set", "--recording", str(dawn)).stdout.decode()
    assert "Cuculus canorus" in shown
    assert "duration_s: 18.0" in shown
    assert "date: 2026-05-01" in shown


@pytest.mark.parametrize("lengths_s", [[2.0, 14.0, 95.0, 700.0], [5.5, 6.0, 7.0], [4.0, 4.0]])
def test_the_plot_of_lengths_has_ticks_that_can_be_read(
    monkeypatch: pytest.MonkeyPatch, lengths_s: list[float]
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(plots, "_png", lambda figure: figures.append(figure) or b"")
    plots._lengths(SimpleNamespace(lengths_s=lengths_s))  # type: ignore[arg-type]
    (axes,) = figures[0].axes
    assert axes.get_axisbelow() is True, "grid lines are behind the bars"
    figures[0].draw_without_rendering()
    minor = [tick.label1 for tick in axes.xaxis.get_minor_ticks()]
    assert not any(label.get_text() for label in minor), "black on black, as 6 x 10^0"
    shown = [label.get_text() for label in axes.get_xticklabels()]
    assert all(text.endswith((" s", " min", " h")) for text in shown)
    assert len(shown) >= min(2, len(set(lengths_s)))
    low, high = axes.get_xlim()
    assert all(low <= value <= high for value in axes.get_xticks())
