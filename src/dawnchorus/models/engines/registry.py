"""The engines by name; other packages add theirs by entry points of the group `dawnchorus.engines`."""

from __future__ import annotations

from pathlib import Path

from dawnchorus.errors import InvalidBundleError
from dawnchorus.models.engines.base import Engine, LoadedGraph
from dawnchorus.models.engines.litert import LITERT
from dawnchorus.models.engines.onnxruntime import ONNXRUNTIME
from dawnchorus.models.graphs.onnx_files import check_self_contained
from dawnchorus.registry import Registry

ENGINES = Registry(Engine, (ONNXRUNTIME, LITERT), noun="engine", group="dawnchorus.engines")


def open_graph(path: Path, *, engine: str | None = None, n_threads: int = 1) -> LoadedGraph:
    """Load a graph with the named engine, or the first one that supports the file.

    A run uses up to `n_threads` threads; one each, where as many graphs run as there are cores.

    Raises:
        InvalidBundleError: no engine of this name reads such files, or the file is damaged or names other files.
        MissingExtraError: the engine's library is not installed.
    """
    chosen = _find_engine(path, engine)
    if path.suffix.lower() == ".onnx":
        check_self_contained(path)
    return chosen.open(path, n_threads=n_threads)


def _find_engine(path: Path, name: str | None) -> Engine:
    for engine in ENGINES.values():
        if name in (None, engine.name) and path.suffix.lower() in engine.suffixes:
            return engine
    wanted = "no engine" if name is None else f"no engine '{name}'"
    known = "; ".join(f"{engine.name} reads {', '.join(engine.suffixes)}" for engine in ENGINES.values())
    raise InvalidBundleError(f"{wanted} that reads such a file is installed ({known}). Install it.", subject=path)
