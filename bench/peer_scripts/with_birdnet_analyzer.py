"""BirdNET-Analyzer: FOLDER OUT.csv N_CORES, in its own environment; its csv files are joined into one."""

import subprocess
import sys
import tempfile
from pathlib import Path

OUR_HEADER = "Start (s),End (s),Scientific name,Common name,Confidence,File"

folder, out, n_cores = sys.argv[1:]
with tempfile.TemporaryDirectory() as scratch:
    command = [sys.executable, "-m", "birdnet_analyzer.analyze", folder, "-o", scratch, "--min_conf", "0.25"]
    done = subprocess.run([*command, "-t", n_cores, "--rtype", "csv"], capture_output=True, text=True, check=False)
    tables = sorted(Path(scratch).rglob("*.BirdNET.results.csv"))
    if done.returncode or "Error:" in done.stdout or not tables:  # a failed file leaves the exit code at 0
        sys.exit(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    lines = [table.read_text(encoding="utf-8").splitlines() for table in tables]
    headers = {table[0] for table in lines}
    if headers != {OUR_HEADER}:
        sys.exit(f"expected the csv header {OUR_HEADER}, found {headers}")
    rows = [row for table in lines for row in table[1:]]
    Path(out).write_text("\n".join([OUR_HEADER, *rows]) + "\n", encoding="utf-8")
