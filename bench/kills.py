"""Kills processes that write an archive, in shards and on Ray, and compares its rows with those of one undisturbed run.

`python -m bench.kills --n 200 --seed 1` ends with exit code 1 if a row is missing or doubled.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from tests.fixtures.archives import table_rows, write_sounds
from tests.fixtures.killed_workers import KillCounts, KilledCluster, kill_until_done
from tests.fixtures.models import write_band_bundle
from tests.fixtures.ray_clusters import ray_cluster

from dawnchorus.archive.archive import open_archive
from dawnchorus.identification import Options, identify

N_COPIES = 95
"""Recordings besides the five of each archive."""


def main() -> None:
    """Kill, compare and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.kills", description=__doc__)
    parser.add_argument("--n", type=int, default=200, help="number of kills")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rng, counts, start_s = random.Random(given.seed), KillCounts(), time.monotonic()  # noqa: S311 - no secret
    n_lost = n_doubled = 0
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        scratch = Path(temporary)
        bundle = write_band_bundle(scratch)
        sounds = write_sounds(scratch / "sounds")
        for k in range(N_COPIES):
            shutil.copy(sounds / "A_20260430_040000.wav", sounds / f"C{k:02d}_20260601_040000.wav")
        run = identify(sounds, Options(min_score=0.05, top=10), model=bundle.folder)
        expected = table_rows(run.to_arrow())
        cluster = None if find_spec("ray") is None else KilledCluster(stack.enter_context(ray_cluster()))
        while counts.n_kills < given.n:
            archive = scratch / f"archive-{counts.n_archives}"
            kill_until_done(sounds, archive, bundle.folder, rng, counts, cluster)
            opened = open_archive(archive)
            rows = table_rows(opened.detections())
            n_lost += sum(row not in rows for row in expected)
            n_doubled += len(rows) - len({str(row) for row in rows})
            n_doubled += sum(row not in expected for row in rows)
            n_recordings = len(opened.recordings().read_all())
            if n_recordings != len(run.paths):
                counts.faults.append(f"{archive}: expected {len(run.paths)} recordings, got {n_recordings}")
            print(
                f"{counts.n_kills} kills, {counts.n_archives} archives, {time.monotonic() - start_s:.0f} s", flush=True
            )
            shutil.rmtree(archive)
    print(
        f"{counts.n_kills} kills (seed {given.seed}) in {time.monotonic() - start_s:.0f} s at a load average of "
        f"{os.getloadavg()[0]:.1f}: {counts.at_any_time} at any time, {counts.before_rows} before the rows of a unit, "
        f"{counts.before_commit} between its rows and its end; on Ray {counts.of_actors} of actors, "
        f"{counts.of_nodes} of nodes, {counts.of_drivers} of drivers; {counts.n_archives} archives with "
        f"{counts.n_recordings} recordings and {counts.n_uncounted_rows} rows that do not count. "
        f"{n_lost} rows lost, {n_doubled} doubled."
    )
    for fault in counts.faults:
        print(f"fault: {fault}")
    sys.exit(bool(n_lost or n_doubled or counts.faults))


if __name__ == "__main__":
    main()
