"""Scores of a head from kept embeddings, beside those from the audio, in one run."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from tests.fixtures.heads import write_head

from bench.recordings import N_FILES, make_recordings
from dawnchorus.archive.archive import Archive
from dawnchorus.identification.archiving import archive_recordings
from dawnchorus.identification.rescoring import rescore_archive
from dawnchorus.models.store import ModelStore, default_folder
from dawnchorus.taxonomy.labels import Label

N_CLASSES = 200
N_COPIES = int(os.environ.get("BENCH_COPIES", "10"))
"""Names of each recording of six minutes, of which there are 24: 24 hours of sound."""


def measure() -> dict[str, Any]:
    """Seconds of both ways, and the largest difference of a score."""
    labels = [Label(f"Genus species{k:03d}", f"Bird {k:03d}") for k in range(N_CLASSES)]
    with tempfile.TemporaryDirectory() as folder:
        sounds = Path(folder, "sounds")
        audio_s = _make_recordings(sounds)
        base = ModelStore(default_folder()).open("birdnet")
        head = write_head(base, Path(folder, "head"), labels=labels, bias=-5.0)
        kept = archive_recordings(sounds, Path(folder, "kept"), model=base.folder, keep=["embeddings"]).archive
        start_s = time.perf_counter()
        heard = archive_recordings(sounds, Path(folder, "heard"), model=head.folder)
        heard_s = time.perf_counter() - start_s
        start_s = time.perf_counter()
        (result,) = rescore_archive(kept.location.root, head.folder)
        rescored_s = time.perf_counter() - start_s
        expected, got = _scores(heard.archive), _scores(kept, runs=result.run)
        both = sorted(expected.keys() & got.keys())
        differences = np.array([abs(expected[key] - got[key]) for key in both])
        return {
            "n_classes": N_CLASSES,
            "audio_s": audio_s,
            "n_windows": sum(file.n_rows for file in kept.table("embeddings").list_files()),
            "n_detections": len(got),
            "n_only_one": len(expected.keys() ^ got.keys()),
            "heard_s": heard_s,
            "rescored_s": rescored_s,
            "ratio": heard_s / rescored_s,
            "largest_difference": float(differences.max()),
            "p999_difference": float(np.quantile(differences, 0.999)),
            "load_average": os.getloadavg()[0],
        }


def _make_recordings(folder: Path) -> float:
    """Write recordings under several names each; their length in seconds together."""
    audio_s = make_recordings(folder, n_files=N_FILES)
    for path in sorted(folder.glob("*.wav")):
        for copy in range(1, N_COPIES):
            path.with_stem(f"{path.stem}-{copy}").hardlink_to(path)
    return audio_s * N_COPIES


def _scores(archive: Archive, **where: Any) -> dict[tuple[str, float, str], float]:
    columns = ["recording", "start_s", "scientific_name", "score"]
    rows = archive.detections(columns=columns, **where).read_all()
    names, starts_s, species, scores = (rows[name].to_pylist() for name in columns)
    return dict(zip(zip(names, starts_s, species, strict=True), scores, strict=True))
