"""`python -m bench [NAME...]`: run the measurements of these names (default: all) and write the report again."""

from __future__ import annotations

import sys

from bench import (
    ablation,
    acoustic,
    agreement,
    analyses,
    few_shot,
    heads,
    leaderboard,
    load,
    memory,
    noise,
    overhead,
    peers,
    preparing,
    reading,
    retrain_latency,
    serving,
    soundscapes,
    speech,
    startup,
    stereo,
    swaps,
    training,
)
from bench.report import write_report
from bench.results import save

MEASUREMENTS = {
    "startup": startup.measure,
    "overhead": overhead.measure,
    "analyses": analyses.measure,
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
    "few_shot": few_shot.measure,
    "swaps": swaps.measure,
    "training": training.measure,
    "leaderboard": leaderboard.measure,
    "noise": noise.measure,
    "ablation": ablation.measure,
    "soundscapes": soundscapes.measure,
    "preparing": preparing.measure,
    "reading": reading.measure,
}


def main() -> None:
    """Run and report."""
    names = sys.argv[1:] or list(MEASUREMENTS)
    unknown = set(names) - set(MEASUREMENTS)
    if unknown:
        sys.exit(f"expected any of {', '.join(MEASUREMENTS)}, got {', '.join(sorted(unknown))}")
    for name in names:
        print(f"{name}...", flush=True)
        save(name, MEASUREMENTS[name]())
    print(f"Written: {write_report()}")


if __name__ == "__main__":
    main()
