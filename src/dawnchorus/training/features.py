"""Features of a front end without trainable weights, computed once per clip and cached on disk."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dawnchorus.arrays import FloatArray
from dawnchorus.cores import usable_cores
from dawnchorus.errors import OutputError
from dawnchorus.storage.files import cannot_write
from dawnchorus.training.dataset import LabeledClips
from dawnchorus.training.families import Network
from dawnchorus.version import __version__

BATCH, N_AT_ONCE = 16, 8
"""Number of clips in a batch, and number of batches that are computed before they are written."""


@contextmanager
def fixed_features(network: Network, examples: LabeledClips, *, scratch: Path) -> Iterator[FloatArray]:
    """Yield the front end's features [clips, ...] of all clips in `examples.clips`, as memory-mapped float32.

    If the network has a `features_key`, the file is stored in the folder of the clips for later runs, provided that
    the folder is writable; it replaces older files of the same front end. Otherwise it is written to `scratch`, and
    deleted at the end of the block.

    Raises:
        ModelError: a frozen backbone has no embeddings, or an embedding is not finite.
        OutputError: the file cannot be written or read.
    """
    network.eval()
    kept = _kept_path(network, examples)
    path = kept or scratch / "features.npy"
    if kept is None:
        path.unlink(missing_ok=True)  # of a run that was ended: what it is of is not known
    if not path.is_file():
        try:
            _write(path, network, len(examples.clips), examples.clips.samples)
        except OSError as error:
            raise cannot_write(path, error) from error
        if kept is not None:
            _drop_others(kept, f"{kept.stem.rpartition('-')[0]}-*.npy")
    try:
        features = np.load(path, mmap_mode="r")
    except OSError as error:
        raise OutputError(f"cannot be read ({error.strerror}). Remove it; it is made again.", subject=path) from error
    try:
        yield features
    finally:
        if kept is None:
            del features
            with suppress(OSError):  # where a file that is mapped cannot be removed, it goes with the run
                path.unlink()


def birdless_features(network: Network, waveforms: Tensor, folder: Path) -> Tensor:
    """Return the front end's features [sounds, ...] of synthetic sounds without birds [sounds, samples].

    If the network has a `features_key`, they are cached in `folder`, the folder of the clips, provided that it is
    writable.

    Raises:
        ModelError: a frozen backbone has no embeddings, or an embedding is not finite.
        OutputError: the file cannot be written.
    """
    network.eval()
    digest = hashlib.sha256(waveforms.numpy().tobytes()).hexdigest()[:12]
    kept = _path_to_keep(network, folder, f"noise-{{kind}}-{digest}.npy")
    if kept is None:
        return torch.cat([_compute(network, part.numpy()) for part in waveforms.split(BATCH)])
    if not kept.is_file():
        try:
            _write(kept, network, len(waveforms), lambda k: waveforms[k].numpy())
        except OSError as error:
            raise cannot_write(kept, error) from error
    return torch.from_numpy(np.load(kept))


def _kept_path(network: Network, examples: LabeledClips) -> Path | None:
    """Return the path to cache the features at; None without a `features_key`, or if the folder is read-only."""
    return _path_to_keep(network, examples.clips.folder, f"features-{{kind}}-{_digest(examples)}.npy")


def _path_to_keep(network: Network, folder: Path, name: str) -> Path | None:
    if network.features_key is None:
        return None
    kind = hashlib.sha256(f"{__version__} {network.features_key}".encode()).hexdigest()[:8]
    path = folder / name.format(kind=kind)
    return path if path.is_file() or os.access(folder, os.W_OK) else None


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


def _compute(network: Network, waveforms: FloatArray) -> Tensor:
    with torch.inference_mode():
        return network.features(torch.from_numpy(waveforms)).clone()


def _compute_batch(network: Network, n: int, samples: Callable[[int], FloatArray], start: int) -> FloatArray:
    """Return the features of sounds `start` to `start + BATCH` (at most `n`)."""
    return _compute(network, np.stack([samples(k) for k in range(start, min(start + BATCH, n))])).numpy()


def _write(path: Path, network: Network, n: int, samples: Callable[[int], FloatArray]) -> None:
    """Write the features of `n` sounds to a .npy file atomically; `samples` returns a sound by its index."""
    compute = partial(_compute_batch, network, n, samples)
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
