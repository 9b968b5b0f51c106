"""Tables on a terminal."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console
from rich.table import Table

from dawnchorus.audio.process import DecoderProcess
from dawnchorus.cli import present
from dawnchorus.cli.present import write_report
from dawnchorus.identification import Options, identify
from dawnchorus.models.bundle import Bundle
from dawnchorus.types import RecordingTable


def test_a_narrow_terminal_gets_fewer_columns_not_cut_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for width, expected in ((60, True), (12, False)):
        terminal = Terminal()
        make = partial(Console, file=terminal)
        monkeypatch.setattr(present, "Console", lambda make=make, width=width, **more: make(**{"width": width, **more}))
        table = Table(box=None)
        for column in ("run", "score", "note"):
            table.add_column(column)
        table.add_row("a-name-of-22-characters", "[bold]", "x" * 40)
        present.print_table(table, optional=("score", "note"))
        shown = terminal.getvalue()
        assert "note" not in shown
        assert ("[bold]" in shown) is expected, "text as it stands"
        assert "…" not in shown
        assert "a-name-of-22-characters" in "".join(line.strip() for line in shown.splitlines())


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
