"""Scores of a head from kept embeddings, beside those from the audio, in one run."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tests.fixtures.heads import write_head

from bench.recordings import N_FILES, make_recordings
from dawnchorus.archive.archive import Archive
from dawnchorus.archive.maintenance import compact_archive
from dawnchorus.archive.vectors import encode_vectors, read_vectors
from dawnchorus.cores import usable_cores
from dawnchorus.identification.archiving import archive_recordings
from dawnchorus.identification.options import KEPT_MIN_SCORE
from dawnchorus.identification.rescoring import rescore_archive
from dawnchorus.inference.embedding_scoring import EmbeddingScorer
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore, default_folder
from dawnchorus.taxonomy.labels import Label

N_CLASSES = 200
MIN_SCORE = 0.25
N_COPIES = int(os.environ.get("BENCH_COPIES", "5"))
"""Names of each recording of six minutes, of which there are 24: 12 hours of sound."""


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
        n_files = len(kept.table("embeddings").list_files())
        start_s = time.perf_counter()
        (result,) = rescore_archive(kept.location.root, head.folder)
        rescored_s = time.perf_counter() - start_s
        compacted_s = _time_compacted(kept, write_head(base, Path(folder, "second"), labels=labels, bias=-5.5))
        expected, got = _scores(heard.archive), _scores(kept, runs=result.run)
        both = sorted(expected.keys() & got.keys())
        differences = np.array([abs(expected[key] - got[key]) for key in both])
        return {
            **_measure_bytes(kept, base),
            "n_classes": N_CLASSES,
            "audio_s": audio_s,
            "n_windows": sum(file.n_rows for file in kept.table("embeddings").list_files()),
            "n_detections": len(got),
            "n_only_one": len(expected.keys() ^ got.keys()),
            "heard_s": heard_s,
            "rescored_s": rescored_s,
            "n_files": n_files,
            "compacted_s": compacted_s,
            "largest_difference": float(differences.max()),
            "p999_difference": float(np.quantile(differences, 0.999)),
            "load_average": os.getloadavg()[0],
        }


def _time_compacted(archive: Archive, head: Bundle) -> float:
    """Compact an archive, and return the seconds of another head's scores."""
    list(compact_archive(archive))
    start_s = time.perf_counter()
    rescore_archive(archive.location.root, head.folder)
    return time.perf_counter() - start_s


def _measure_bytes(archive: Archive, base: Bundle) -> dict[str, Any]:
    """Return how scores of the base itself change, if its embeddings are kept in 8 bits or in half precision."""
    scorer = EmbeddingScorer(base, dim=base.info.embedding_dim or 0, n_threads=usable_cores())
    differences: list[np.ndarray[Any, Any]] = []
    n_changed = n_detections = 0
    for batch in archive.table("embeddings").dataset().scanner(columns=["embedding"], batch_size=2_000).to_batches():
        vectors = read_vectors(batch["embedding"], base.info.embedding_dim or 0).astype(np.float32)
        stored = pa.array(encode_vectors(vectors, "embeddings:int8"), pa.binary())
        rough = read_vectors(stored, base.info.embedding_dim or 0).astype(np.float32)
        half, small = scorer.run(vectors), scorer.run(rough)
        is_kept = (half >= MIN_SCORE) | (small >= MIN_SCORE)
        differences.append(np.abs(half - small)[(half >= KEPT_MIN_SCORE) | (small >= KEPT_MIN_SCORE)])
        n_detections += int(is_kept.sum())
        n_changed += int(((half >= MIN_SCORE) != (small >= MIN_SCORE)).sum())
    every = np.concatenate(differences)
    return {
        "int8_largest": float(every.max()),
        "int8_p999": float(np.quantile(every, 0.999)),
        "int8_n_detections": n_detections,
        "int8_n_changed": n_changed,
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
