"""Memory does not grow with a recording's length."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.sounds import tone

from dawnchorus.models.bundle import Bundle

MEASURE = """
import json, sys
from pathlib import Path
from dawnchorus.identification import identify
run = identify(sys.argv[1], model=sys.argv[2], workers=2)
(table,) = run.tables()
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
heavy = sorted({"torch", "tensorflow", "matplotlib", "fastapi"} & set(sys.modules))
peak_mb = int(status["VmHWM"].split()[0]) / 1024
print(json.dumps({"peak_mb": peak_mb, "n": len(table.detections), "duration_s": table.duration_s, "heavy": heavy}))
"""


@pytest.mark.ops
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_a_24_hour_recording_needs_a_few_hundred_megabytes(tmp_path: Path, level_bundle: Bundle) -> None:
    hour = np.tile(tone(seconds=60, rate_hz=16_000), 60)
    path = tmp_path / "day.flac"
    with soundfile.SoundFile(path, "w", 16_000, 1) as file:
        for _ in range(24):
            file.write(hour)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, path, level_bundle.folder], capture_output=True, check=True, text=True
    )
    measured = json.loads(done.stdout)
    assert measured["duration_s"] == 24 * 3600
    assert measured["n"] == 2 * 24 * 3600
    assert measured["peak_mb"] < 300
    assert measured["heavy"] == []
