"""What a front end that does not learn makes of every clip: computed once, on all cores, and read from disk."""

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
from dawnchorus.audio.many import usable_cores
from dawnchorus.files import cannot_write
from dawnchorus.train.examples import Examples
from dawnchorus.train.families import Network

FloatArray = npt.NDArray[np.float32]

BATCH = 16


@contextmanager
def fixed_features(network: Network, examples: Examples, *, scratch: Path) -> Iterator[FloatArray]:
    """The front end's result for every clip [clips, ...], mapped from a file.

    Where the network's front end has a name (`features_key`) the file stays with the clips, for the next run;
    elsewhere it is in `scratch`, and goes in the end.

    Raises:
        OutputError: the file cannot be written.
    """
    network.eval()
    if network.features_key is None:
        path = scratch / "features.npy"
    else:
        path = examples.clips.folder / f"features-{_digest(network.features_key, examples)}.npy"
    if not path.is_file():
        try:
            _write(path, network, examples)
        except OSError as error:
            raise cannot_write(path, error) from error
    try:
        yield np.load(path, mmap_mode="r")
    finally:
        if network.features_key is None:
            path.unlink(missing_ok=True)


def _digest(key: str, examples: Examples) -> str:
    found = hashlib.sha256(f"{__version__} {key}".encode())
    for name in ("recording_id", "start_s", "shard", "row"):
        found.update(repr(examples.clips.index[name].to_pylist()).encode())
    return found.hexdigest()[:12]


def _write(path: Path, network: Network, examples: Examples) -> None:
    """Write all or nothing."""
    n = len(examples.clips)

    def computed(start: int) -> FloatArray:
        sound = np.stack([examples.clips.samples(k) for k in range(start, min(start + BATCH, n))])
        with torch.inference_mode():
            return network.features(torch.from_numpy(sound)).numpy()

    first = computed(0)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".npy", dir=path.parent)
    os.close(handle)
    try:
        out = np.lib.format.open_memmap(name, mode="w+", dtype=np.float32, shape=(n, *first.shape[1:]))
        # Space that is not there is found here, and not by a signal when a page is written.
        with open(name, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.path.getsize(name))

        def keep(start: int) -> None:
            out[start : start + BATCH] = computed(start)

        out[: len(first)] = first
        with ThreadPoolExecutor(usable_cores()) as pool:
            for _ in pool.map(keep, range(BATCH, n, BATCH)):
                pass
        out.flush()
        os.replace(name, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)
