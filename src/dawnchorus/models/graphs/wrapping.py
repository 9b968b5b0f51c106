"""Wrapping of foreign ONNX and TFLite classifiers as bundles: BirdNET 3, Perch, YAMNet and others."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from dawnchorus.errors import InputError, ModelError
from dawnchorus.models.bundle import (
    Activation,
    Bundle,
    BundleDescription,
    OutputName,
    file_sha256,
    new_bundle,
    validation_lines,
)
from dawnchorus.models.cleaning import Cleaning
from dawnchorus.models.graphs.foreign_onnx import ForeignOnnx
from dawnchorus.models.graphs.ports import Chosen, Port, choose_outputs
from dawnchorus.models.graphs.trial import try_scores
from dawnchorus.models.litert import LiteRtGraph
from dawnchorus.taxonomy.labels import Label, doubled_class, label_text
from dawnchorus.version import __version__

LOG = logging.getLogger(__name__)

KERAS_SUFFIXES = frozenset((".h5", ".hdf5", ".keras"))
KERAS_HINT = (
    "Where TensorFlow is installed, tf2onnx writes a Keras model as ONNX (or tf.lite.TFLiteConverter as TFLite). The "
    "graph has to take sound: join the features, the scaler and the model in one graph, and write the classes of the "
    "label encoder, in its order, to the file for --labels. docs/KERAS.md has the two scripts."
)


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """Properties of a model that its graph does not state."""

    name: str
    version: str
    sample_rate_hz: int
    window_s: float
    activation: Activation
    license: str
    attribution: str = "not stated"
    family: str = "outside"
    cleaning: Cleaning | None = None
    """Steps that the model expects recordings to have gone through."""


@dataclass(frozen=True, kw_only=True)
class _AdaptedGraph:
    """A graph in the form of a bundle."""

    name: str
    embedding_dim: int | None
    graph_outputs: dict[OutputName, int] | None
    last_operator: str
    """Operator that makes the scores."""
    choice: str
    """A sentence on the outputs that are used; empty where there is one."""


@dataclass(frozen=True)
class _OutputChoice:
    """The number of classes, and the names of outputs where the user gave them."""

    n_classes: int
    scores_output: str | None
    embeddings_output: str | None

    def choose(self, graph: Path, outputs: Sequence[Port], *, n_windows: int) -> Chosen:
        """Choose outputs that have the expected shapes for this number of windows.

        Raises:
            ModelError: there is none with a score for each class, or more than one.
        """
        return choose_outputs(
            graph,
            outputs,
            n_windows=n_windows,
            n_classes=self.n_classes,
            scores_output=self.scores_output,
            embeddings_output=self.embeddings_output,
        )


def wrap_model(
    graph: Path,
    folder: Path,
    *,
    labels: Sequence[Label],
    description: ModelDescription,
    scores_output: str | None = None,
    embeddings_output: str | None = None,
) -> Bundle:
    """Write the bundle to `folder`, and test it on silence, noise and a tone.

    `scores_output` names the graph's output with one number per class (default: the only one with as many as there
    are labels that is not called an embedding); `embeddings_output` the one with an embedding (default: the one that
    is called so, if any). Numbers in half or double precision, and quantised ones, are converted; a fixed number of
    windows is filled up. A bundle that does not run, or whose scores are not what `activation` says, is not written.
    The log says each choice and doubt.

    Raises:
        InputError: no such file, or it is neither ONNX nor TFLite, or a number of the description is out of range.
        ModelError: the graph is not a classifier of waveforms that fits the description.
    """
    if not graph.is_file():
        raise InputError(f"{graph}: no such file; expected an ONNX or TFLite model.")
    is_tflite = graph.suffix.lower() == ".tflite"
    if not is_tflite and graph.suffix.lower() != ".onnx":
        hint = f" {KERAS_HINT}" if graph.suffix.lower() in KERAS_SUFFIXES else ""
        raise InputError(f"{graph}: expected a file that ends in .onnx or .tflite.{hint}")
    if (doubled := doubled_class(labels)) is not None:
        first, second = (label_text(labels[index]) for index in doubled)
        raise InputError(f"labels: expected each class once, got {first!r} and {second!r}, which are one class.")
    window_samples = _window_samples(description)
    outputs = _OutputChoice(len(labels), scores_output, embeddings_output)
    with new_bundle(folder) as draft:
        adapt = _adapt_tflite if is_tflite else _adapt_onnx
        adapted = adapt(graph, window_samples, outputs=outputs, folder=draft.folder)
        if adapted.choice:
            LOG.info(f"{graph}: {adapted.choice}")
        bundle = draft.describe(_describe(graph, description, adapted), labels)
        try_scores(bundle, adapted.last_operator)
        return draft.finish(_card(description, len(labels)))


def _describe(graph: Path, description: ModelDescription, adapted: _AdaptedGraph) -> BundleDescription:
    """Return the description of the bundle.

    Raises:
        InputError: a number is out of range.
    """
    fields = {
        **vars(description),
        "cleaning": description.cleaning or None,
        "graph": adapted.name,
        "embedding_dim": adapted.embedding_dim,
        "graph_outputs": adapted.graph_outputs,
        "source": f"{graph.name} (sha256 {file_sha256(graph)})",
        "made_by": f"dawnchorus {__version__}",
    }
    try:
        return BundleDescription.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"{graph}: {validation_lines(error)}") from error


def _window_samples(description: ModelDescription) -> int:
    """Return the samples of a window.

    Raises:
        InputError: the description's window or rate is not a number above 0.
    """
    n = description.window_s * description.sample_rate_hz
    if not 1 <= n < float("inf"):
        raise InputError(
            f"expected a window of one sample or more, got {description.window_s:g} s at "
            f"{description.sample_rate_hz} Hz."
        )
    return round(n)


def _refuse_random(graph: Path, operators: Sequence[str]) -> None:
    """Refuse a graph that draws random numbers, also if so small ones that a trial would not show them.

    Raises:
        ModelError: it does.
    """
    if operators:
        raise ModelError(
            f"{graph}: expected a graph that scores a window always alike, found the operators {', '.join(operators)}, "
            f"which draw random numbers. Export it for inference (in PyTorch after model.eval())."
        )


def _adapt_onnx(graph: Path, window_samples: int, *, outputs: _OutputChoice, folder: Path) -> _AdaptedGraph:
    model = ForeignOnnx(graph, window_samples)
    _refuse_random(graph, model.random_operators())
    chosen = outputs.choose(graph, model.outputs, n_windows=model.n_windows)
    named = {"logits": (chosen.scores, chosen.n_classes)}
    if chosen.embeddings is not None and chosen.embedding_dim is not None:
        named["embeddings"] = (chosen.embeddings, chosen.embedding_dim)
    last_operator = model.last_operator(model.outputs.index(chosen.scores))  # of the graph as it came
    model.save(folder / "model.onnx", named)
    return _AdaptedGraph(
        name="model.onnx",
        embedding_dim=chosen.embedding_dim,
        graph_outputs=None,
        last_operator=last_operator,
        choice=_describe_choice(chosen, model.outputs),
    )


def _adapt_tflite(graph: Path, window_samples: int, *, outputs: _OutputChoice, folder: Path) -> _AdaptedGraph:
    model = LiteRtGraph(graph, window_samples)
    _refuse_random(graph, model.random_operators())
    ports = model.measured_outputs(window_samples)
    chosen = outputs.choose(graph, ports, n_windows=model.batch)
    positions: dict[OutputName, int] = {"logits": ports.index(chosen.scores)}
    if chosen.embeddings is not None:
        positions["embeddings"] = ports.index(chosen.embeddings)
    shutil.copyfile(graph, folder / "model.tflite")
    return _AdaptedGraph(
        name="model.tflite",
        embedding_dim=chosen.embedding_dim,
        graph_outputs=positions,
        last_operator=model.last_operator(positions["logits"]),
        choice=_describe_choice(chosen, ports),
    )


def _describe_choice(chosen: Chosen, outputs: Sequence[Port]) -> str:
    return chosen.describe(outputs) if len(outputs) > 1 else ""


def _card(description: ModelDescription, n_classes: int) -> str:
    return f"""# {description.name} {description.version}

{description.attribution}.

- **Licence of the weights: {description.license}**
- {n_classes} classes.
- Input: {description.window_s:g} s of mono sound at {description.sample_rate_hz} Hz.
- A score is not a probability: choose thresholds with recordings of your own.
"""
