"""Speed of reading prepared clips in random order for training: memory-mapped shards against usual containers."""

from __future__ import annotations

import io
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from dawnchorus.arrays import FloatArray
from dawnchorus.cores import usable_cores
from dawnchorus.data.clips import FULL_SCALE, Clips
from dawnchorus.data.prepare import prepare
from dawnchorus.data.recipes import Recipe
from dawnchorus.data.recordings import RecordingRow, RecordingsTable
from dawnchorus.data.synthesis.dawn_chorus import dawn_chorus

Read = Callable[[npt.NDArray[np.int64]], FloatArray]

N_RECORDINGS, N_ROUNDS, BATCH = 60, 3, 32


def _clips(folder: Path) -> Clips:
    """Return clips of dawn choruses: windows of 5 s at 32 kHz."""
    rows = []
    for k in range(N_RECORDINGS):
        scene = dawn_chorus(seed=k)
        soundfile.write(folder / f"{k}.wav", scene.samples, scene.rate_hz)
        rows.append(RecordingRow(recording_id=str(k), path=f"{k}.wav", scientific_name="A a"))
    table = RecordingsTable(folder, tuple(rows))
    prepare(table, folder / "clips", Recipe(), seed=1, n_workers=usable_cores())
    return Clips(folder / "clips")


def _arrow(clips: Clips, path: Path) -> Read:
    """Return one Arrow file of binary values, memory-mapped."""
    kind = pa.binary(clips.window_samples * 2)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, pa.schema([("clip", kind)])) as writer:
        for start in range(0, len(clips), 1000):
            values = [_int16(clips.samples(k)).tobytes() for k in range(start, min(start + 1000, len(clips)))]
            writer.write_batch(pa.record_batch([pa.array(values, kind)], names=["clip"]))
    column = pa.ipc.open_file(pa.memory_map(str(path))).read_all()["clip"]
    return lambda chosen: np.stack(
        [np.frombuffer(column[k].as_buffer(), np.int16).astype(np.float32) / FULL_SCALE for k in chosen.tolist()]
    )


def _parquet(clips: Clips, path: Path) -> Read:
    """Return one Parquet file with row groups of one batch, as data set hubs keep them; batches come from several."""
    table = pa.table({"clip": [_int16(clips.samples(k)).tobytes() for k in range(len(clips))]})
    pq.write_table(table, path, row_group_size=BATCH, compression="zstd")
    file = pq.ParquetFile(path)

    def read(chosen: npt.NDArray[np.int64]) -> FloatArray:
        durations = []
        for k in chosen.tolist():
            value = file.read_row_group(k // BATCH)["clip"][k % BATCH]
            durations.append(np.frombuffer(value.as_buffer(), np.int16).astype(np.float32) / FULL_SCALE)
        return np.stack(durations)

    return read


def _tar_flac(clips: Clips, path: Path) -> Read:
    """Return a reader in WebDataset's way: FLAC in a tar, read from front to end and shuffled in a buffer."""
    with tarfile.open(path, "w") as archive:
        for k in range(len(clips)):
            content = io.BytesIO()
            soundfile.write(content, _int16(clips.samples(k)), clips.rate_hz, format="FLAC")
            member = tarfile.TarInfo(f"{k}.flac")
            member.size = len(content.getvalue())
            archive.addfile(member, io.BytesIO(content.getvalue()))
    archive = tarfile.open(path)
    members = cycle(archive.getmembers())

    def read(chosen: npt.NDArray[np.int64]) -> FloatArray:
        files = (archive.extractfile(member) for member in islice(members, len(chosen)))
        return np.stack([soundfile.read(file, dtype="float32")[0] for file in files])

    return read


def _int16(samples: FloatArray) -> npt.NDArray[np.int16]:
    return np.rint(samples * FULL_SCALE).astype(np.int16)


def measure() -> dict[str, Any]:
    """Return clips a second on one core by container, read in batches of random clips; medians of rounds in turn."""
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        clips = _clips(scratch)
        memory_mapped: Read = lambda chosen: np.stack([clips.samples(k) for k in chosen.tolist()])  # noqa: E731
        readers: dict[str, tuple[Read, Path]] = {
            "our shards, memory-mapped": (memory_mapped, scratch / "clips" / "clips-00000.i16"),
            "Arrow file, memory-mapped": (_arrow(clips, scratch / "x.arrow"), scratch / "x.arrow"),
            "Parquet, row groups of 32": (_parquet(clips, scratch / "x.parquet"), scratch / "x.parquet"),
            "tar of FLAC, in order": (_tar_flac(clips, scratch / "x.tar"), scratch / "x.tar"),
        }
        rng = np.random.default_rng(1)
        speeds: dict[str, list[float]] = {name: [] for name in readers}
        for _ in range(N_ROUNDS):
            for name, (read, _path) in readers.items():
                n_batches = 2 if "Parquet" in name else 20
                chosen = rng.integers(0, len(clips), (n_batches, BATCH))
                begin = time.perf_counter()
                for batch in chosen:
                    read(batch)
                speeds[name].append(n_batches * BATCH / (time.perf_counter() - begin))
        size = {name: path.stat().st_size / len(clips) / 1000 for name, (_, path) in readers.items()}
        rows = [
            {"name": name, "clips_per_s": statistics.median(speed), "kb_per_clip": size[name]}
            for name, speed in speeds.items()
        ]
        return {"n_clips": len(clips), "n_rounds": N_ROUNDS, "containers": rows}
