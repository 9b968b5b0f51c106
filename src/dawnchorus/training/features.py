"""Results of a fixed front end for every clip: computed once, on all cores, and read from disk."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dawnchorus import __version__
from dawnchorus.cores import usable_cores
from dawnchorus.errors import OutputError
from dawnchorus.storage.files import cannot_write
from dawnchorus.training.dataset import LabeledClips
from dawnchorus.training.families import Network

FloatArray = npt.NDArray[np.float32]

BATCH, N_AT_ONCE = 16, 8
"""Clips in a batch, and batches that are worked on before they are written."""


@contextmanager
def fixed_features(network: Network, examples: LabeledClips, *, scratch: Path) -> Iterator[FloatArray]:
    """Yield the front end's result for every clip [clips, ...], mapped from a file.

    Where the network's front end has a name (`features_key`) the file stays with the clips, if their folder can be
    written, for the next run, in the place of an older one for fewer clips; elsewhere it is in `scratch`, and goes in
    the end.

    Raises:
        OutputError: the file cannot be written, or not be read by this user.
    """
    network.eval()
    kept = _kept_path(network, examples)
    path = kept or scratch / "features.npy"
    if kept is None:
        path.unlink(missing_ok=True)  # of a run that was ended: what it is of is not known
    if not path.is_file():
        try:
            _write(path, network, examples)
        except OSError as error:
            raise cannot_write(path, error) from error
        if kept is not None:
            _drop_others(kept, f"{kept.stem.rpartition('-')[0]}-*.npy")
    try:
        features = np.load(path, mmap_mode="r")
    except OSError as error:
        raise OutputError(f"{path}: cannot be read ({error.strerror}). Remove it; it is made again.") from error
    try:
        yield features
    finally:
        if kept is None:
            del features
            with suppress(OSError):  # where a file that is mapped cannot be removed, it goes with the run
                path.unlink()


def _kept_path(network: Network, examples: LabeledClips) -> Path | None:
    """Return where the features stay for other runs; None where they have no name, or the folder is read-only."""
    if network.features_key is None:
        return None
    kind = hashlib.sha256(f"{__version__} {network.features_key}".encode()).hexdigest()[:8]
    path = examples.clips.folder / f"features-{kind}-{_digest(examples)}.npy"
    return path if path.is_file() or os.access(path.parent, os.W_OK) else None


def _digest(examples: LabeledClips) -> str:
    digest = hashlib.sha256()
    for name in ("recording_id", "start_s", "shard", "row"):
        digest.update(repr(examples.clips.index[name].to_pylist()).encode())
    return digest.hexdigest()[:12]


def _drop_others(path: Path, pattern: str) -> None:
    for older in path.parent.glob(pattern):
        if older != path:
            with suppress(OSError):  # another run may have it open
                older.unlink()


def _write(path: Path, network: Network, examples: LabeledClips) -> None:
    """Write all or nothing."""
    n = len(examples.clips)

    def compute(start: int) -> FloatArray:
        audio = np.stack([examples.clips.samples(k) for k in range(start, min(start + BATCH, n))])
        with torch.inference_mode():
            return network.features(torch.from_numpy(audio)).numpy()

    first = compute(0)
    with tempfile.TemporaryDirectory(prefix=".features-", dir=path.parent) as folder:
        unfinished = Path(folder, path.name)
        header = {"descr": "<f4", "fortran_order": False, "shape": (n, *first.shape[1:])}
        with unfinished.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            file.write(np.ascontiguousarray(first, "<f4").data)
            with ThreadPoolExecutor(usable_cores()) as pool:
                # In order, and so many at once that what waits to be written stays small.
                for start in range(BATCH, n, BATCH * N_AT_ONCE):
                    for features in pool.map(compute, range(start, min(start + BATCH * N_AT_ONCE, n), BATCH)):
                        file.write(np.ascontiguousarray(features, "<f4").data)
        os.replace(unfinished, path)
