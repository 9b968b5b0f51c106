"""`python -m bench [NAME...] [--old FOLDER]`: run the measurements of these names and write the report again.

By default these are all, but `engine`, which compares this checkout with an older one in the folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench import (
    ablation,
    acoustic,
    agreement,
    analyses,
    archive,
    dry_run,
    engine,
    few_shot,
    gpu,
    heads,
    leaderboard,
    lists,
    load,
    memory,
    migrations,
    noise,
    overhead,
    pages,
    peers,
    preparing,
    ray_overhead,
    reading,
    rescoring,
    retrain_latency,
    reviewing,
    scale_simulation,
    search,
    search_peer,
    serving,
    soundscapes,
    speech,
    startup,
    stereo,
    storage,
    swaps,
    training,
    uploads,
)
from bench.report import write_report
from bench.results import save

MEASUREMENTS = {
    "startup": startup.measure,
    "overhead": overhead.measure,
    "analyses": analyses.measure,
    "archive": archive.measure,
    "dry_run": dry_run.measure,
    "search": search.measure,
    "search_peer": search_peer.measure,
    "rescoring": rescoring.measure,
    "scale": scale_simulation.measure,
    "ray_overhead": ray_overhead.measure,
    "stereo": stereo.measure,
    "peers": peers.measure,
    "agreement": agreement.measure,
    "memory": memory.measure,
    "speech": speech.measure,
    "acoustic": acoustic.measure,
    "heads": heads.measure,
    "serving": serving.measure,
    "retrain_latency": retrain_latency.measure,
    "load": load.measure,
    "lists": lists.measure,
    "migrations": migrations.measure,
    "few_shot": few_shot.measure,
    "swaps": swaps.measure,
    "training": training.measure,
    "uploads": uploads.measure,
    "gpu": gpu.measure,
    "leaderboard": leaderboard.measure,
    "noise": noise.measure,
    "ablation": ablation.measure,
    "soundscapes": soundscapes.measure,
    "preparing": preparing.measure,
    "reading": reading.measure,
    "pages": pages.measure,
    "reviewing": reviewing.measure,
    "storage": storage.measure,
    "distant_storage": storage.measure_distant,
}


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*MEASUREMENTS, "engine", []])
    parser.add_argument("--old", type=Path, metavar="FOLDER", help="an older checkout, for engine")
    given = parser.parse_args()
    if "engine" in given.names and given.old is None:
        parser.error("engine: expected --old FOLDER")
    for name in given.names or list(MEASUREMENTS):
        print(f"{name}...", flush=True)
        save(name, engine.measure(given.old) if name == "engine" else MEASUREMENTS[name]())
    print(f"Written: {write_report()}")


if __name__ == "__main__":
    main()
