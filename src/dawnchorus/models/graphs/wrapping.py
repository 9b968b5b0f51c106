"""Wrapping of ONNX and TFLite classifiers from other programs as bundles: BirdNET 3, Perch, YAMNet and others."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from dawnchorus.errors import InputError, ModelError
from dawnchorus.models.bundle import (
    Activation,
    Bundle,
    BundleDescription,
    file_sha256,
    new_bundle,
    validation_lines,
)
from dawnchorus.models.cleaning import Cleaning
from dawnchorus.models.graphs.external_onnx import ExternalOnnx
from dawnchorus.models.graphs.external_tflite import ExternalTflite
from dawnchorus.models.graphs.ports import choose_outputs
from dawnchorus.models.graphs.trial import try_scores
from dawnchorus.taxonomy.labels import Label, find_duplicate_class, label_text
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
    """Name of the model."""
    version: str
    """Version of the weights, as their publisher names it."""
    sample_rate_hz: int
    """Sample rate of the windows in Hz."""
    window_s: float
    """Length of a window in seconds."""
    activation: Activation
    """Function from the graph's outputs to scores: "sigmoid", "softmax", or "identity" if they are scores already."""
    license: str
    """SPDX identifier of the weights' license."""
    attribution: str = "not stated"
    """Authors to credit, and the publication to cite."""
    family: str = "outside"
    """Kind of network; the default stands for any model of another program."""
    cleaning: Cleaning | None = None
    """Processing of recordings that the model expects; None for no processing."""
    engine: str | None = None
    """Name of the engine that runs the graph; None for the first engine that reads the file."""


def wrap_model(
    graph: Path,
    folder: Path,
    *,
    labels: Sequence[Label],
    description: ModelDescription,
    scores_output: str | None = None,
    embeddings_output: str | None = None,
) -> Bundle:
    """Write a bundle with the graph to `folder`, and test the bundle on silence, noise and a tone.

    Numbers in half or double precision, and quantized ones, are converted to float32. If the graph takes a fixed number
    of windows, silence fills the batch. Choices and doubts are logged. No bundle is written if the graph does not run,
    or its scores do not match the description's activation.

    Args:
        graph: an ONNX or TFLite file.
        folder: path of the bundle; a bundle that is there is replaced.
        labels: label of each class, in the order of the output's values.
        description: properties that the graph does not state.
        scores_output: name of the output with one number per class; None for the only output with as many numbers as
            labels that is not called an embedding (as in `ports.choose_outputs`).
        embeddings_output: name of the output with embeddings; None for the output that is called an embedding, if any.

    Raises:
        InputError: no such file, a file that is neither ONNX nor TFLite, a class that appears twice, or a number of the
            description out of range.
        ModelError: the graph is not a classifier of waveforms that fits the description.
        MissingExtraError: the library that runs the graph is not installed.
        OutputExistsError, OutputError: see `bundle.new_bundle`.
    """
    if (duplicate := find_duplicate_class(labels)) is not None:
        first, second = (label_text(labels[index]) for index in duplicate)
        raise InputError(f"labels: expected each class once, got {first!r} and {second!r}, which are one class.")
    external = _open_external(graph, description)
    chosen = choose_outputs(
        graph,
        external.outputs,
        n_windows=external.n_windows,
        n_classes=len(labels),
        scores_output=scores_output,
        embeddings_output=embeddings_output,
    )
    if len(external.outputs) > 1:
        LOG.info(f"{graph}: {chosen.describe(external.outputs)}")
    last_operator = external.last_operator(external.outputs.index(chosen.scores))  # of the graph as it came
    with new_bundle(folder) as draft:
        facts = {
            "graph": external.file_name,
            "embedding_dim": chosen.embedding_dim,
            "graph_outputs": external.save(draft.folder, chosen),
        }
        bundle = draft.describe(_describe(graph, description, facts), labels)
        try_scores(bundle, last_operator)
        return draft.finish(_card(description, len(labels)))


def _open_external(graph: Path, description: ModelDescription) -> ExternalOnnx | ExternalTflite:
    """Open the graph, and check that it takes windows of the described length and does not draw random numbers.

    Raises:
        InputError: no such file, or the file is neither ONNX nor TFLite.
        ModelError: the graph is damaged, takes no such windows, or draws random numbers.
    """
    if not graph.is_file():
        raise InputError(f"{graph}: no such file; expected an ONNX or TFLite model.")
    is_tflite = graph.suffix.lower() == ".tflite"
    if not is_tflite and graph.suffix.lower() != ".onnx":
        hint = f" {KERAS_HINT}" if graph.suffix.lower() in KERAS_SUFFIXES else ""
        raise InputError(f"{graph}: expected a file that ends in .onnx or .tflite.{hint}")
    kind = ExternalTflite if is_tflite else ExternalOnnx
    external = kind(graph, _window_samples(description), engine=description.engine)
    _refuse_random(graph, external.random_operators())
    return external


def _describe(graph: Path, description: ModelDescription, facts: Mapping[str, object]) -> BundleDescription:
    """Return the description of the bundle; `facts` are fields that were read from the graph.

    Raises:
        InputError: a number is out of range.
    """
    fields = {
        **vars(description),
        **facts,
        "cleaning": description.cleaning or None,
        "source": f"{graph.name} (sha256 {file_sha256(graph)})",
        "made_by": f"dawnchorus {__version__}",
    }
    try:
        return BundleDescription.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"{graph}: {validation_lines(error)}") from error


def _window_samples(description: ModelDescription) -> int:
    """Return the number of samples in a window.

    Raises:
        InputError: the description's window or sample rate is not above 0.
    """
    n = description.window_s * description.sample_rate_hz
    if not 1 <= n < float("inf"):
        raise InputError(
            f"expected a window of one sample or more, got {description.window_s:g} s at "
            f"{description.sample_rate_hz} Hz."
        )
    return round(n)


def _refuse_random(graph: Path, operators: Sequence[str]) -> None:
    """Refuse a graph that draws random numbers, even if they are too small to change scores in a test.

    Raises:
        ModelError: the graph has such operators.
    """
    if operators:
        raise ModelError(
            f"{graph}: expected a graph that scores a window always alike, found the operators {', '.join(operators)}, "
            f"which draw random numbers. Export it for inference (in PyTorch after model.eval())."
        )


def _card(description: ModelDescription, n_classes: int) -> str:
    return f"""# {description.name} {description.version}

{description.attribution}.

- **License of the weights: {description.license}**
- {n_classes} classes.
- Input: {description.window_s:g} s of mono sound at {description.sample_rate_hz} Hz.
- A score is not a probability: choose thresholds with recordings of your own.
"""
