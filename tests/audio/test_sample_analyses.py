"""Analyses of samples in the decoder: all channels at the file's own rate, and a failing one costs only itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.sample_analyses import Failing, Peaks
from tests.fixtures.sounds import tone

from dawnchorus.audio.process import DecoderProcess
from dawnchorus.audio.sample_analyses import Table, build_table, table_from_json, table_to_json
from dawnchorus.audio.write import write_recording
from dawnchorus.types import ChannelSource


@pytest.fixture(scope="module")
def stereo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stereo") / "stereo.wav"
    write_recording(path, np.column_stack([tone(level=0.5), tone(level=0.25)]), rate_hz=16_000)
    return path


@pytest.mark.parametrize("shares_memory", [True, False])
@pytest.mark.parametrize("channel", ["mean", "best", 2])
def test_analyses_get_all_channels_at_the_files_own_rate(
    stereo: Path, channel: ChannelSource, shares_memory: bool
) -> None:
    decoder = DecoderProcess(shares_memory=shares_memory)
    with decoder.open(stereo, rate_hz=8000, channel=channel, analyses={"peaks": Peaks()}) as recording:
        assert sum(len(block) for block in recording.blocks()) == 16_000
        rows = recording.tables["peaks"]
    decoder.close()
    assert rows["channel"].tolist() == [1, 2]
    assert rows["peak"] == pytest.approx([0.5, 0.25], abs=1e-3)
    assert rows["rate_hz"].tolist() == [16_000, 16_000]


@pytest.mark.usefixtures("own_decoders")
def test_a_decoder_imports_nothing_heavy_for_an_analysis(stereo: Path) -> None:
    decoder = DecoderProcess()
    with decoder.open(stereo, analyses={"peaks": Peaks()}) as recording:
        assert sum(1 for _ in recording.blocks()) == 1
    decoder.close()
    assert recording.tables["peaks"]["heavy"].tolist() == ["", ""]


@pytest.mark.parametrize(
    ("at_end", "reason"), [(False, "ZeroDivisionError: division by zero"), (True, "KeyError: 'level'")]
)
def test_an_analysis_that_fails_is_named_and_costs_only_its_own_rows(stereo: Path, at_end: bool, reason: str) -> None:
    decoder = DecoderProcess()
    with decoder.open(stereo, analyses={"bad": Failing(at_end=at_end), "peaks": Peaks()}) as recording:
        assert sum(len(block) for block in recording.blocks()) == 32_000
    decoder.close()
    assert list(recording.tables) == ["peaks"]
    assert recording.warnings == (f"analysis 'bad' failed on it ({reason}), and has no rows",)


@pytest.mark.parametrize(
    "table",
    [
        build_table({}),
        build_table({"a": np.empty(0, np.int8)}),
        build_table({"a": [1.5, float("nan")], "name": ["ä", ""], "is_good": [True, False], "pair": np.eye(2)}),
    ],
)
def test_tables_survive_json(table: Table) -> None:
    read = table_from_json(table_to_json(table))
    assert read.dtype == table.dtype
    assert read.tobytes() == table.tobytes()
