"""Inference engines by name; other packages add theirs by entry points of the group `dawnchorus.engines`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from dawnchorus.errors import InvalidBundleError
from dawnchorus.models.engines.base import Array, Engine, LoadedGraph, OpenGraph, Port
from dawnchorus.models.engines.litert import LITERT
from dawnchorus.models.engines.onnxruntime import ONNXRUNTIME
from dawnchorus.models.graphs.onnx_files import check_self_contained
from dawnchorus.plug_ins import PlugIn
from dawnchorus.registry import Registry


class GuardedGraph:
    """Graph that a plug-in's engine has loaded, with errors that name the plug-in; implements `base.LoadedGraph`.

    Args:
        plug_in: the plug-in.
        graph: the graph that the plug-in's engine loaded.
    """

    def __init__(self, plug_in: PlugIn, graph: LoadedGraph) -> None:
        self._plug_in, self._graph = plug_in, graph

    @property
    def inputs(self) -> Sequence[Port]:
        """Inputs of the graph, in file order."""
        with self._plug_in.guard():
            return self._graph.inputs

    @property
    def outputs(self) -> Sequence[Port]:
        """Outputs of the graph, in file order."""
        with self._plug_in.guard():
            return self._graph.outputs

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Any]:
        """Run the graph, and return the named outputs in the order of `outputs`; see `LoadedGraph.run`.

        Raises:
            ModelError: the engine reports that the graph does not run on these arrays.
            PlugInError: the engine failed with an unexpected exception (see `PlugIn.guard`).
        """
        with self._plug_in.guard():
            return self._graph.run(inputs, outputs)


def guard_engine(entry: Engine, plug_in: PlugIn) -> Engine:
    """Return a copy of a plug-in's engine in which errors of its code name the plug-in; see `PlugIn.guard`.

    This includes errors of the graphs that the engine loads. The suffixes of the engine's files become lower case.
    """
    return replace(
        entry, open=partial(_open_guarded, plug_in, entry.open), suffixes=tuple(map(str.lower, entry.suffixes))
    )


def _open_guarded(plug_in: PlugIn, open_graph: OpenGraph, path: Path, *, n_threads: int) -> GuardedGraph:
    with plug_in.guard():
        return GuardedGraph(plug_in, open_graph(path, n_threads=n_threads))


ENGINES = Registry(Engine, (ONNXRUNTIME, LITERT), noun="engine", group="dawnchorus.engines", guard=guard_engine)


def open_graph(path: Path, *, engine: str | None = None, n_threads: int = 1) -> LoadedGraph:
    """Load a graph with the engine of the name `engine`; None for the first engine that reads files of this suffix.

    Engines are in the order of `ENGINES`: ONNX Runtime, LiteRT, then plug-ins. Each run uses up to `n_threads` threads.
    Use 1 if as many graphs run in parallel as there are cores.

    Raises:
        InvalidBundleError: no engine reads files of this suffix, or `engine` is unknown or does not read them, or the
            file is damaged or refers to other files.
        MissingExtraError: the engine's library is not installed.
        PlugInError: the engine is a plug-in, and failed with an unexpected exception.
    """
    chosen = _find_engine(path, engine)
    if path.suffix.lower() == ".onnx":
        check_self_contained(path)
    return chosen.open(path, n_threads=n_threads)


def _find_engine(path: Path, name: str | None) -> Engine:
    for engine in ENGINES.values():
        if name in (None, engine.name) and path.suffix.lower() in engine.suffixes:
            return engine
    ENGINES.log_broken(name)
    missing = "no engine" if name is None else f"no engine '{name}'"
    known = "; ".join(f"{engine.name} reads {', '.join(engine.suffixes)}" for engine in ENGINES.values())
    raise InvalidBundleError(f"{missing} that reads such a file is installed ({known}). Install it.", subject=path)
