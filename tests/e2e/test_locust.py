"""Locust against a server, from another folder than the repository's."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.server import running

from dawnchorus.models.bundle import Bundle
from dawnchorus.server.settings import Settings

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.ops


@pytest.mark.parametrize("script", ["bench/locustfile.py", "tests/e2e/dashboard_locustfile.py"])
def test_a_load_test_runs_from_any_folder_without_failures(script: str, level_bundle: Bundle, tmp_path: Path) -> None:
    audio = tmp_path / "sample_bird.wav"
    soundfile.write(audio, np.full(3 * 22_050, 0.25, np.float32), 22_050)
    with running(Settings(model=level_bundle.folder, data=tmp_path / "server")) as client:
        options = ["--headless", "-u", "2", "-r", "2", "-t", "4s", "--only-summary", "--csv", str(tmp_path / "load")]
        done = subprocess.run(
            [sys.executable, "-m", "locust", "-f", str(ROOT / script), "--host", str(client.base_url), *options],
            cwd=tmp_path,
            env={**os.environ, "SAMPLE_BIRD": str(audio)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    with Path(tmp_path, "load_stats.csv").open(newline="") as file:
        (total,) = (row for row in csv.DictReader(file) if row["Name"] == "Aggregated")
    assert int(total["Request Count"]) > 0
    assert int(total["Failure Count"]) == 0
