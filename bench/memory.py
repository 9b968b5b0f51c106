"""Peak memory for one recording of 24 hours, with BirdNET on all cores."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from dawnchorus.data.synthesis.dawn_chorus import dawn_chorus

RUN = """
import json, sys, time
from pathlib import Path
from dawnchorus.identification import identify
begin = time.perf_counter()
run = identify(sys.argv[1], out=sys.argv[2])
took_s = time.perf_counter() - begin
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
(table,) = run.tables()
print(json.dumps({"peak_mb": int(status["VmHWM"].split()[0]) / 1024, "hours": table.duration_s / 3600,
                  "identify_x": table.duration_s / took_s, "n_detections": len(table.detections),
                  "torch_or_tensorflow": bool({"torch", "tensorflow"} & set(sys.modules))}))
"""


def measure() -> dict[str, Any] | None:
    """Return peak resident memory of the main process in MB; None where /proc is not there."""
    if sys.platform != "linux":
        print("  peak memory is read from /proc: left out")
        return None
    scene = dawn_chorus(seed=1)
    quiet = np.zeros(10 * 60 * scene.rate_hz - len(scene.samples), np.float32)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "day.flac")
        with soundfile.SoundFile(path, "w", scene.rate_hz, 1) as file:
            for _ in range(24 * 6):
                file.write(scene.samples)
                file.write(quiet)
        command = [sys.executable, "-c", RUN, str(path), str(Path(scratch, "day.csv"))]
        done = subprocess.run(command, capture_output=True, check=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result
