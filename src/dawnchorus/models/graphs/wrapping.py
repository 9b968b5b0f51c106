"""Any outside ONNX or TFLite classifier as a bundle: BirdNET 3, Perch, YAMNet, a model of one's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from dawnchorus.errors import InputError, ModelError
from dawnchorus.models.bundle import (
    Activation,
    Bundle,
    BundleInfo,
    OutputName,
    file_sha256,
    validation_lines,
    write_bundle,
)
from dawnchorus.models.cleaning import Cleaning
from dawnchorus.models.graphs.foreign_onnx import ForeignOnnx
from dawnchorus.models.graphs.ports import Chosen, Port, choose_outputs
from dawnchorus.models.graphs.trial import try_scores
from dawnchorus.models.litert import LiteRtGraph
from dawnchorus.taxonomy.labels import Label, doubled_class, label_text
from dawnchorus.version import __version__

KERAS_SUFFIXES = frozenset((".h5", ".hdf5", ".keras"))
KERAS_HINT = (
    "Where TensorFlow is installed, tf2onnx writes a Keras model as ONNX (or tf.lite.TFLiteConverter as TFLite). The "
    "graph has to take sound: join the features, the scaler and the model in one graph, and write the classes of the "
    "label encoder, in its order, to the file for --labels. docs/KERAS.md has the two scripts."
)


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """Facts on a model that its graph does not state."""

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


@dataclass(frozen=True)
class _AdaptedGraph:
    """A graph in the form of a bundle."""

    embedding_dim: int | None = None
    graph_outputs: dict[OutputName, int] | None = None
    last_operator: str = ""
    """Operator that makes the scores."""


_Choose = Callable[[Sequence[Port], int], tuple[Chosen, dict[OutputName, int]]]
"""Choice among outputs that have the shapes of so many windows, with the positions of the chosen ones."""


def wrap_model(
    graph: Path,
    folder: Path,
    *,
    labels: Sequence[Label],
    description: ModelDescription,
    scores_output: str | None = None,
    embeddings_output: str | None = None,
    on_note: Callable[[str], None] = lambda _note: None,
) -> Bundle:
    """Write the bundle to `folder` and try it on silence, noise and a tone.

    `scores_output` names the graph's output with one number per class (default: the only one with as many as there
    are labels that is not called an embedding); `embeddings_output` the one with an embedding (default: the one that
    is called so, if any). Numbers in half or double precision, and quantised ones, are converted; a fixed number of
    windows is filled up. A bundle that does not run, or whose scores are not what `activation` says, is not written.
    `on_note` takes a sentence for each choice and doubt.

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
    adapted = _AdaptedGraph()

    def choose(outputs: Sequence[Port], n_windows: int) -> tuple[Chosen, dict[OutputName, int]]:
        chosen = choose_outputs(
            graph,
            outputs,
            n_windows=n_windows,
            n_classes=len(labels),
            scores_output=scores_output,
            embeddings_output=embeddings_output,
        )
        positions: dict[OutputName, int] = {"logits": outputs.index(chosen.scores)}
        if chosen.embeddings is not None:
            positions["embeddings"] = outputs.index(chosen.embeddings)
        if len(outputs) > 1:
            on_note(f"{graph}: {chosen.describe(outputs)}")
        return chosen, positions

    def write_graphs(path: Path) -> None:
        nonlocal adapted
        adapted = (_adapt_tflite if is_tflite else _adapt_onnx)(graph, window_samples, path, choose)

    def describe(path: Path) -> BundleInfo:
        name = "model.tflite" if is_tflite else "model.onnx"
        fields = {
            **vars(description),
            "cleaning": description.cleaning or None,
            "graph": name,
            "sha256": file_sha256(path / name),
            "embedding_dim": adapted.embedding_dim,
            "graph_outputs": adapted.graph_outputs,
            "source": f"{graph.name} (sha256 {file_sha256(graph)})",
            "made_by": f"dawnchorus {__version__}",
        }
        try:
            return BundleInfo.model_validate(fields)
        except ValidationError as error:
            raise InputError(f"{graph}: {validation_lines(error)}") from error

    return write_bundle(
        folder,
        write_graphs=write_graphs,
        describe=describe,
        labels=labels,
        card=_card(description, len(labels)),
        check=lambda bundle: try_scores(bundle, adapted.last_operator, on_note),
    )


def _window_samples(description: ModelDescription) -> int:
    """Return the samples of a window.

    Raises:
        InputError: the description's window or rate is no number above 0.
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


def _adapt_onnx(graph: Path, window_samples: int, folder: Path, choose: _Choose) -> _AdaptedGraph:
    model = ForeignOnnx(graph, window_samples)
    _refuse_random(graph, model.random_operators())
    chosen, positions = choose(model.outputs, model.n_windows)
    last = model.last_operator(positions["logits"])
    outputs = {"logits": (chosen.scores, chosen.n_classes)}
    if chosen.embeddings is not None and chosen.embedding_dim is not None:
        outputs["embeddings"] = (chosen.embeddings, chosen.embedding_dim)
    model.save(folder / "model.onnx", outputs)
    return _AdaptedGraph(chosen.embedding_dim, None, last)


def _adapt_tflite(graph: Path, window_samples: int, folder: Path, choose: _Choose) -> _AdaptedGraph:
    model = LiteRtGraph(graph, window_samples)
    _refuse_random(graph, model.random_operators())
    chosen, positions = choose(model.measured_outputs(window_samples), model.batch)
    shutil.copyfile(graph, folder / "model.tflite")
    return _AdaptedGraph(chosen.embedding_dim, positions, model.last_operator(positions["logits"]))


def _card(description: ModelDescription, n_classes: int) -> str:
    return f"""# {description.name} {description.version}

{description.attribution}.

- **Licence of the weights: {description.license}**
- {n_classes} classes.
- Input: {description.window_s:g} s of mono sound at {description.sample_rate_hz} Hz.
- A score is not a probability: choose thresholds with recordings of your own.
"""
