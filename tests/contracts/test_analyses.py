"""One suite over every analysis of samples, those of other packages included."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from tests.fixtures.examples import MAX_LINES, count_lines
from tests.fixtures.sounds import tone

from dawnchorus.audio.sample_analyses import Table, table_from_json, table_to_json
from dawnchorus.audio.write import write_recording
from dawnchorus.identification.analysis_tables import build_tables
from dawnchorus.inference.analyses.base import Analysis, AnalyzedRecording
from dawnchorus.inference.analyses.registry import ANALYSES, guard_analysis
from dawnchorus.models.bundle import Bundle
from dawnchorus.registry import Registry
from dawnchorus.types import RecordingMetadata

RATE_HZ = 8000


def compute(analysis: Analysis, samples: npt.NDArray[np.float32], *, block: int) -> Table:
    """Return what a new state, that went through a pickle, computes of samples [frames, channels]."""
    state = pickle.loads(pickle.dumps(analysis.create()))  # noqa: S301 - our own bytes
    for start in range(0, len(samples), block):
        state.on_samples(samples[start : start + block], RATE_HZ)
    return state.finish()


def check(analysis: Analysis) -> None:
    """Hold an analysis to the protocol."""
    assert analysis.name == analysis.name.lower()
    assert analysis.summary
    assert not analysis.summary.endswith(".")
    noise = np.random.default_rng(0).standard_normal((RATE_HZ * 3, 2)).astype(np.float32) / 20
    before = noise.copy()
    rows = compute(analysis, noise, block=1 << 16)
    np.testing.assert_array_equal(noise, before, err_msg="blocks may not be changed")
    assert len(rows)
    pieces = compute(analysis, noise, block=999)
    assert pieces.dtype == rows.dtype
    for name in rows.dtype.names:
        assert rows[name].dtype.kind in "fiubU", f"{name}: a number, a truth value or a text"
        if rows[name].dtype.kind == "f":
            np.testing.assert_allclose(pieces[name], rows[name], rtol=1e-5, err_msg=f"{name} depends on blocks")
        else:
            assert pieces[name].tolist() == rows[name].tolist()
    assert table_from_json(table_to_json(rows)).tobytes() == rows.tobytes()
    for odd in (np.zeros((RATE_HZ * 2, 1), np.float32), noise[:1], noise[:, :1]):
        compute(analysis, odd, block=1 << 16)
    recordings = [AnalyzedRecording(name, 3.0, RecordingMetadata(), rows) for name in ("A/1.wav", "A/2.wav")]
    tables = {end: list(pieces) for end, pieces in build_tables(analysis, recordings)}
    (first, *_) = tables[""]
    assert first.dtype.names[0] == "recording"


@pytest.mark.parametrize("name", ANALYSES)
def test_an_analysis_keeps_to_the_protocol(name: str) -> None:
    check(ANALYSES[name])


SCRIPT = """
import sys
from dawnchorus.cli.main import cli

for arguments in (["identify", "--help"], ["identify", *sys.argv[1:], "--analyses", "crossings,health", "-q"]):
    cli.main(arguments, prog_name="dawnchorus", standalone_mode=False)
"""


def test_a_package_adds_an_analysis_without_a_change_here(
    installed_examples: Path, level_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert count_lines("dawnchorus-crossings") <= MAX_LINES
    path, out = tmp_path / "A.wav", tmp_path / "out.csv"
    write_recording(path, tone(500.0, seconds=2.0), rate_hz=16_000)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed_examples), *sys.path]), "COLUMNS": "200"}
    arguments = [sys.executable, "-c", SCRIPT, path, "--model", level_bundle.folder, "--out", out]
    text = subprocess.run(arguments, env=environment, check=True, capture_output=True, text=True).stdout
    assert "any of health, indices, crossings" in " ".join(text.split())
    header, row = (tmp_path / "out.crossings.csv").read_text().splitlines()
    assert header == "recording,start_time,channel,crossings_per_s"
    assert row == f"{path},,1,999.5"
    monkeypatch.syspath_prepend(installed_examples)
    registry = Registry(Analysis, (), noun="analysis", group="dawnchorus.analyses", guard=guard_analysis)
    check(registry["crossings"])
