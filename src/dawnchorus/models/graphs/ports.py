"""Inputs and outputs of a graph from another program: detection of the input's layout, and choice of outputs."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dawnchorus.errors import ModelError
from dawnchorus.models.engines.base import LoadedGraph, Port

_EMBEDDINGS = re.compile(r"(?<![a-z])embed", re.IGNORECASE)
"""Names of outputs with embeddings, which cannot be scores: `embedding`, `spatial_embedding`."""


@dataclass(frozen=True)
class Layout:
    """Shape of the input that takes windows."""

    batch: int | None
    """Number of windows in one run; None for any number."""
    shape: tuple[int, ...]
    """Shape of the input array; -1 stands for any number of windows, if `batch` is None."""

    def with_batch(self, batch: int) -> Layout:
        """Return the layout with `batch` windows in one run if `self.batch` is None, else the layout itself."""
        return self if self.batch else Layout(batch, tuple(batch if size == -1 else size for size in self.shape))


def find_layout(path: Path, inputs: Sequence[Port], window_samples: int) -> Layout:
    """Return the layout of a graph's only input: [samples] or [batch, samples], with any further axes of size 1.

    Args:
        path: file of the graph, for the error message.
        inputs: all inputs of the graph.
        window_samples: number of samples in a window.

    Raises:
        ModelError: there are several inputs, or the input does not take waveforms of `window_samples` samples.
    """
    if len(inputs) != 1:
        raise ModelError(
            f"expected one input of shape [batch, samples], found {_describe_ports(inputs)}.", subject=path
        )
    (port,) = inputs
    if not port.is_convertible:
        raise ModelError(
            f"expected an input of floating-point samples, or a quantized one with a scale, found {port}. The "
            f"file does not say which level is full scale. Export it with a float input.",
            subject=path,
        )
    has_batch = len(port.shape) != 1
    first, rest = (port.shape[0], port.shape[1:]) if len(port.shape) > 1 else (1, port.shape)
    samples = [axis for axis, size in enumerate(rest) if size != 1]
    if len(samples) != 1:
        raise ModelError(
            f"expected one input of shape [batch, samples], found {port}. A graph of spectrograms needs its "
            f"front end inside, and sound has one channel.",
            subject=path,
        )
    size = rest[samples[0]]
    if size is not None and size != window_samples:
        raise ModelError(
            f"the graph takes {size} samples, but window times sample rate is {window_samples}. "
            f"Give the model's own --window and --sample-rate.",
            subject=path,
        )
    full = tuple(window_samples if axis == samples[0] else 1 for axis in range(len(rest)))
    return Layout(first, (-1 if first is None else first, *full) if has_batch else full)


@dataclass(frozen=True)
class Chosen:
    """Outputs of a graph that a bundle uses: scores or logits and, if there are any, embeddings."""

    scores: Port
    """Output with the scores or logits."""
    n_classes: int
    """Number of classes, each of which has one value in `scores`."""
    embeddings: Port | None
    """Output with the embeddings; None without embeddings."""
    embedding_dim: int | None
    """Length of an embedding; None without embeddings."""

    def describe(self, outputs: Sequence[Port]) -> str:
        """Return a sentence that says which of the graph's `outputs` are used, and which are not."""
        others = [port for port in outputs if port not in (self.scores, self.embeddings)]
        parts = [f"scores are {self.scores.name}", f"embeddings are {self.embeddings.name}" if self.embeddings else ""]
        parts.append(f"not used: {_describe_ports(others)}" if others else "")
        return "; ".join(filter(None, parts)) + "."


def choose_outputs(
    path: Path,
    outputs: Sequence[Port],
    *,
    n_windows: int,
    n_classes: int,
    scores_output: str | None = None,
    embeddings_output: str | None = None,
) -> Chosen:
    """Choose the outputs with scores and embeddings by name, type and shape.

    An output is called an embedding if "embed" is in its name or alias, ignoring case, at the start or after another
    character than a letter: `Embeddings` and `spatial_embedding`, but not `PositionEmbedding`.

    Args:
        path: path of the graph, for error messages.
        outputs: outputs of the graph, with their shapes for `n_windows` windows (`measure_outputs`).
        n_windows: number of windows in the run that measured the shapes.
        n_classes: number of classes.
        scores_output: name or alias of the output with scores; None for the only output with `n_classes` values per
            window that is not called an embedding or, if `embeddings_output` is given, does not have this name.
        embeddings_output: name or alias of the output with embeddings; None for the output, other than that with the
            scores, that is called an embedding, if any.

    Raises:
        ModelError: no output or more than one fits for the scores, more than one fits for the embeddings, or no output
            of the name `embeddings_output` has values for each window.
    """
    rows = [port for port in outputs if port.is_convertible and _width(port, n_windows) is not None]
    fitting = [port for port in rows if _width(port, n_windows) == n_classes]
    if scores_output:
        candidates = [port for port in fitting if port.is_named(scores_output)]
    else:
        candidates = [port for port in fitting if not _is_embedding(port, embeddings_output)]
    if not candidates:
        set_aside = "" if scores_output else _describe_set_aside(fitting, embeddings_output)
        raise ModelError(
            f"expected an output {scores_output or 'of the size'} with {n_classes} classes (as many as there "
            f"are labels), found {_describe_ports(outputs)}. {set_aside}{_advice(outputs)}",
            subject=path,
        )
    if len(candidates) > 1:
        raise ModelError(
            f"expected one output with {n_classes} classes, found {_describe_ports(candidates)}. Name the one "
            f"with the scores with --scores-output.",
            subject=path,
        )
    (scores,) = candidates
    others = [port for port in rows if port is not scores]
    embeddings = [port for port in others if _is_embedding(port, embeddings_output)]
    if embeddings_output:
        embeddings = [port for port in others if port.is_named(embeddings_output)]
    if embeddings_output and not embeddings:
        raise ModelError(
            f"expected an output {embeddings_output} with one embedding for each window, next to the scores "
            f"({scores.name}), found {_describe_ports(outputs)}. Name it with --embeddings-output, or leave that out.",
            subject=path,
        )
    if len(embeddings) > 1:
        raise ModelError(
            f"expected one output with embeddings, found {_describe_ports(embeddings)}. Name it with "
            f"--embeddings-output.",
            subject=path,
        )
    embedding_port = embeddings[0] if embeddings else None
    return Chosen(
        scores, n_classes, embedding_port, None if embedding_port is None else _width(embedding_port, n_windows)
    )


def _describe_set_aside(fitting: Sequence[Port], embeddings_output: str | None) -> str:
    """Return a sentence on the outputs of the right size that were taken for embeddings; empty if there are none."""
    if not fitting:
        return ""
    reason = "--embeddings-output names it" if embeddings_output else "it is called an embedding"
    return f"{fitting[0].name} has that size, but is not used for the scores, because {reason}. "


def measure_outputs(graph: LoadedGraph, layout: Layout, *, given: Port) -> list[Port]:
    """Return the outputs, in file order, with the shapes that they have in a run on silence.

    The `dtype` of an output that is not a tensor becomes "no tensor".

    Args:
        graph: the graph.
        layout: shape of the input, with a fixed batch size.
        given: the only input of the graph.

    Raises:
        ModelError: the graph does not run.
    """
    silence = given.encode(np.zeros(layout.shape, np.float32))
    outputs = graph.run({given.name: silence}, [port.name for port in graph.outputs])
    return [
        replace(port, shape=values.shape) if isinstance(values, np.ndarray) else replace(port, dtype="no tensor")
        for port, values in zip(graph.outputs, outputs, strict=True)
    ]


def _is_embedding(port: Port, named: str | None) -> bool:
    return port.is_named(named) if named else any(_EMBEDDINGS.search(name) for name in (port.name, port.alias))


def _width(port: Port, n_windows: int) -> int | None:
    """Return the number of values per window; None if the output does not have one row of values for each window."""
    sizes = [size or 0 for size in port.shape]
    if sizes[:1] == [n_windows] and (len(sizes) > 1 or n_windows > 1):
        sizes = sizes[1:]
    elif n_windows > 1:
        return None
    return math.prod(sizes) if sum(size != 1 for size in sizes) <= 1 else None


def _advice(outputs: Sequence[Port]) -> str:
    """Return a sentence on what to do if no output has the scores."""
    if not outputs or any(port.is_convertible for port in outputs):
        return "Name it with --scores-output, or correct the labels."
    first = outputs[0]
    return (
        f"{first.name} gives {first.dtype}, which are no scores (perhaps the index of the best class). Export the "
        f"scores of all classes as float32."
    )


def _describe_ports(ports: Sequence[Port]) -> str:
    return ", ".join(map(str, ports)) or "none"
