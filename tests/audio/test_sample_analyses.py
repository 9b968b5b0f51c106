"""Analyses of samples in the decoder: all channels at the file's own rate, and a failing one costs only itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.sample_analyses import Exiting, Failing, Peaks, Returning, Unreadable, Writing
from tests.fixtures.sounds import tone

from dawnchorus.audio.process import DecoderProcess
from dawnchorus.audio.sample_analyses import SampleAnalysis, Table, build_table, table_from_json, table_to_json
from dawnchorus.audio.write import write_recording
from dawnchorus.errors import InputError
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


EXPECTED = "TypeError: expected a table as build_table() makes it, of one dimension with named columns"


def test_no_mistake_of_an_analysis_costs_more_than_its_own_rows(stereo: Path) -> None:
    mistakes: dict[str, tuple[SampleAnalysis, str]] = {
        "unreadable": (
            Unreadable(),
            "TypeError: expected a class of a module that a decoder can import, not of __main__ or a notebook: "
            "'str' object has no attribute 'absent'",
        ),
        "writing": (Writing(), "ValueError: assignment destination is read-only"),
        "none": (Returning(None), f"{EXPECTED}, got NoneType"),
        "dict": (Returning({"level": [1.0]}), f"{EXPECTED}, got dict"),
        "matrix": (Returning(np.eye(2)), f"{EXPECTED}, got ndarray of float64 and 2 dimensions"),
        "objects": (
            Returning(np.zeros(1, [("a", object)])),
            f"{EXPECTED} of numbers, booleans or strings, got object in 'a'",
        ),
        "reserved": (
            Returning(build_table({"start_time": [0.0]})),
            "InputError: expected columns of other names than 'start_time', which every table of a run has. Rename it",
        ),
        "exiting": (Exiting(), "SystemExit: enough"),
    }
    analyses = {name: analysis for name, (analysis, _) in mistakes.items()}
    decoder = DecoderProcess()
    with decoder.open(stereo, analyses={**analyses, "peaks": Peaks()}) as recording:
        samples = np.concatenate([block.copy() for block in recording.blocks()])
    decoder.close()
    assert np.abs(samples).max() == pytest.approx(0.375, abs=1e-3)
    assert recording.tables["peaks"]["peak"] == pytest.approx([0.5, 0.25], abs=1e-3)
    assert recording.warnings == tuple(
        f"analysis '{name}' failed on it ({reason}), and has no rows" for name, (_, reason) in mistakes.items()
    )


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="expected as many values of each, got 3 of 'a', 1 of 'b'"):
        build_table({"a": [1, 2, 3], "b": [1]})


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
