"""Peak memory of training on a data set, and on one ten times as large."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from dawnchorus.data.recordings import read_table, write_table

RUN = """
import json, sys, threading, time
from datetime import datetime
from pathlib import Path
from dawnchorus.training.compose import compose_config
from dawnchorus.training.trainer import train

def status():
    return dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())

own = [0]
def watch():
    while True:
        own[0] = max(own[0], int(status()["RssAnon"].split()[0]))
        time.sleep(0.02)

threading.Thread(target=watch, daemon=True).start()
run = train(compose_config(sys.argv[1:]), started=datetime.now())
print(json.dumps({"n_clips": run.metadata["n_train"], "own_mb": own[0] / 1024,
                  "peak_mb": int(status()["VmHWM"].split()[0]) / 1024}))
"""

SETTINGS = (
    "model=mel_cnn",
    "model.window_s=3",
    "model.channels=[8,16]",
    "data.validation=0",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
)


def measure() -> dict[str, Any] | None:
    """Return clips, memory of its own, and with the pages of mapped files, which any other program may take."""
    if sys.platform != "linux":
        print("  peak memory is read from /proc: left out")
        return None
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        raw, small = Path(scratch, "raw"), Path(scratch, "small")
        for arguments in (
            ["synth", raw, "--species", "4", "--clips", "20"],
            ["data", "import", raw / "clips", small],
        ):
            subprocess.run([sys.executable, "-m", "dawnchorus", *map(str, arguments)], check=True, capture_output=True)
        table = read_table(small)
        rows = [replace(row, path=str(table.file(row).resolve()), split="train") for row in table.rows]
        for name, n_copies, n_epochs in (("small", 1, 10), ("large", 10, 1)):  # as many steps
            copies = [replace(row, recording_id=f"{k}/{row.recording_id}") for k in range(n_copies) for row in rows]
            folder = Path(scratch, name)
            folder.mkdir(exist_ok=True)
            write_table(replace(table, folder=folder, rows=tuple(copies)))
            settings = [*SETTINGS, f"trainer.epochs={n_epochs}", f"data={folder}", f"paths.runs={scratch}/runs"]
            done = subprocess.run([sys.executable, "-c", RUN, *settings], check=True, capture_output=True, text=True)
            results[name] = json.loads(done.stdout.splitlines()[-1])
    return results
