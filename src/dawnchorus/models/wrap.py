"""Any outside ONNX or TFLite classifier as a bundle: BirdNET 3, Perch, YAMNet, a model of one's own."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from pydantic import ValidationError

from dawnchorus import __version__
from dawnchorus.audio.cleaning import Cleaning
from dawnchorus.errors import BundleInvalid, FormatError, InputError, ModelError
from dawnchorus.models.bundle import (
    Activation,
    Bundle,
    BundleInfo,
    file_sha256,
    validation_lines,
    write_bundle,
)
from dawnchorus.models.runner import open_session
from dawnchorus.onnx_files import load_graph
from dawnchorus.taxonomy.labels import Kind, Label, parse_label, read_label_lines, with_common_name
from dawnchorus.text_files import csv_records, read_text

_BUNDLE_NAMES = frozenset(("waveform", "logits", "embeddings"))
_EMBEDDINGS = re.compile(r"(outside\.)*embed", re.IGNORECASE)

KERAS_SUFFIXES = frozenset((".h5", ".hdf5", ".keras"))
KERAS_HINT = (
    "Where TensorFlow is installed, tf2onnx writes a Keras model as ONNX (or tf.lite.TFLiteConverter as TFLite). The "
    "graph has to take sound: join the features, the scaler and the model in one graph, and write the classes of the "
    "label encoder, in its order, to the file for --labels. docs/KERAS.md has the two scripts."
)

NAME_COLUMNS = ("scientific_name", "scientific name", "display_name", "label", "name", "common_name", "ebird2021")
INDEX_COLUMNS = ("index", "idx", "id")
"""Columns of a csv of labels that say which output a row is of, from 0."""


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """What a graph does not say of itself."""

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


def read_classes(path: Path, *, kind: Kind | None = None) -> tuple[Label, ...]:
    """Labels in output order: one in a line, or a csv with a header that names a column of names.

    The rows of a csv are sorted by a column `index`, `idx` or `id`, if its values are whole numbers.

    `kind` overrides what the names look like.

    Raises:
        FormatError: the file is not UTF-8 text, has no labels or a row without one, or its indices are not 0, 1, 2...
        InputError: no such file, or a csv without a column of names.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the labels of the model, one in a line, in output order.")
    labels = _csv_classes(path) if path.suffix.lower() == ".csv" else read_label_lines(path)
    return labels if kind is None else tuple(Label(x.scientific_name, x.common_name, kind) for x in labels)


def _csv_classes(path: Path) -> tuple[Label, ...]:
    columns, rows = csv_records(path, read_text(path))
    names = {name.strip().lower(): name for name in columns}
    column = next((names[name] for name in NAME_COLUMNS if name in names), None)
    if column is None:
        raise InputError(f"{path}: expected one of the columns {NAME_COLUMNS}, found {columns}.")
    common = names.get("common_name") or names.get("common name")
    index = next((names[name] for name in INDEX_COLUMNS if name in names), None)
    labels = []
    for number, row in enumerate(_in_output_order(path, list(rows), index), start=1):
        if not row[column].strip():
            raise FormatError(f"{path}: expected a name in '{column}' for each class, class {number} has none.")
        named = parse_label(row[column])
        other = row[common].strip() if common and common != column else ""
        labels.append(with_common_name(named, other) if other else named)
    if not labels:
        raise InputError(f"{path}: expected one row per class, found none.")
    return tuple(labels)


def _in_output_order(path: Path, rows: list[dict[str, str]], column: str | None) -> list[dict[str, str]]:
    """Return the rows sorted by their indices; a column of ids that are no whole numbers says nothing of the order.

    Raises:
        FormatError: the indices are not 0, 1, 2... once each.
    """
    given = [row[column].strip() for row in rows] if column else []
    is_order = any(map(str.isdecimal, given)) if column and column.lower() == "id" else bool(given)
    if column is None or not is_order:
        return rows
    if sorted(given, key=lambda text: (len(text), text)) != [str(k) for k in range(len(rows))]:
        raise FormatError(
            f"{path}: expected the numbers 0 to {len(rows) - 1} in '{column}', each once, as the order of the model's "
            f"outputs; found {', '.join(given[:5])}{'...' if len(given) > 5 else ''}. Correct them, or leave the "
            f"column out if the rows are in the order of the outputs."
        )
    return sorted(rows, key=lambda row: int(row[column]))


def wrap_model(
    graph: Path,
    folder: Path,
    *,
    labels: Sequence[Label],
    description: ModelDescription,
    scores_output: str | None = None,
    embeddings_output: str | None = None,
) -> Bundle:
    """Write the bundle to `folder` and try it on silence.

    `scores_output` names the graph's output with one number per class (default: the one with as many as there are
    labels); `embeddings_output` the one with an embedding (default: one whose name begins so, if any). A bundle that
    does not run is not written.

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
    n_window = round(description.window_s * description.sample_rate_hz)
    embedding_dim: int | None = None

    def write_graphs(target: Path) -> None:
        nonlocal embedding_dim
        if is_tflite:
            shutil.copyfile(graph, target / "model.tflite")
            return
        model = load_graph(graph)
        embedding_dim = _rename(
            model,
            graph,
            n_window=n_window,
            n_classes=len(labels),
            scores_output=scores_output,
            embeddings_output=embeddings_output,
        )
        onnx.save(model, target / "model.onnx")

    def describe(target: Path) -> BundleInfo:
        name = "model.tflite" if is_tflite else "model.onnx"
        fields = {
            **vars(description),
            "cleaning": description.cleaning or None,
            "graph": name,
            "sha256": file_sha256(target / name),
            "embedding_dim": embedding_dim,
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
        check=_try,
    )


def _free_prefix(graph: onnx.GraphProto) -> str:
    """Return a prefix with which no name of a bundle is one of the graph's: it may have been wrapped before."""
    names = {value.name for values in (graph.input, graph.output, graph.initializer) for value in values}
    names |= {name for node in graph.node for name in (*node.input, *node.output)}
    prefix = "outside."
    while any(prefix + name in names for name in _BUNDLE_NAMES):
        prefix += "outside."
    return prefix


def _set_aside(graph: onnx.GraphProto, names: frozenset[str], prefix: str) -> None:
    """Give values inside the graph that have one of `names` a prefix."""

    def free(name: str) -> str:
        return prefix + name if name in names else name

    for values in (graph.input, graph.output, graph.initializer, graph.value_info):
        for value in values:
            value.name = free(value.name)
    for node in graph.node:
        node.input[:] = map(free, node.input)
        node.output[:] = map(free, node.output)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _set_aside(inner, names, prefix)


def _dims(value: onnx.ValueInfoProto) -> list[int | str]:
    return [d.dim_value or d.dim_param or "?" for d in value.type.tensor_type.shape.dim]


def _rename(
    model: onnx.ModelProto,
    path: Path,
    *,
    n_window: int,
    n_classes: int,
    scores_output: str | None,
    embeddings_output: str | None,
) -> int | None:
    """Give the graph the names of a bundle; the size of the embedding, where there is one."""
    graph = model.graph
    prefix = _free_prefix(graph)
    _set_aside(graph, _BUNDLE_NAMES, prefix)
    scores_output, embeddings_output = (
        prefix + name if name in _BUNDLE_NAMES else name for name in (scores_output, embeddings_output)
    )
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1 or len(_dims(inputs[0])) != 2:
        found = {value.name: _dims(value) for value in inputs}
        raise ModelError(f"{path}: expected one input of shape [batch, samples], found {found}.")
    samples = _dims(inputs[0])[1]
    if isinstance(samples, int) and samples != n_window:
        raise ModelError(
            f"{path}: the graph takes {samples} samples, but window times sample rate is {n_window}. "
            f"Give the model's own --window and --sample-rate."
        )
    outputs = {value.name: value for value in graph.output}
    scores = scores_output or next((n for n, v in outputs.items() if _dims(v)[-1:] == [n_classes]), None)
    embeddings = embeddings_output or next((n for n in outputs if _EMBEDDINGS.match(n)), None)
    if scores is None or scores not in outputs or (embeddings is not None and embeddings not in outputs):
        shapes = {n.removeprefix(prefix): _dims(v) for n, v in outputs.items()}
        raise ModelError(
            f"{path}: expected an output {scores_output or 'of the size'} with {n_classes} classes (as many as there "
            f"are labels), found {shapes}. Name it with --scores-output, or correct the labels."
        )
    batch = _dims(inputs[0])[0]
    _alias_input(graph, inputs[0], [batch, n_window])
    dim = _dims(outputs[embeddings])[-1] if embeddings else None
    embedding_dim = dim if isinstance(dim, int) else None
    wanted = {"logits": (scores, n_classes)}
    if embeddings and embedding_dim:
        wanted["embeddings"] = (embeddings, embedding_dim)
    _alias_outputs(graph, wanted, batch)
    return embedding_dim


def _alias_input(graph: onnx.GraphProto, value: onnx.ValueInfoProto, shape: list[int | str]) -> None:
    graph.node.insert(0, helper.make_node("Identity", ["waveform"], [value.name]))
    graph.input.remove(value)
    graph.input.insert(0, helper.make_tensor_value_info("waveform", TensorProto.FLOAT, shape))


def _alias_outputs(graph: onnx.GraphProto, wanted: dict[str, tuple[str, int]], batch: int | str) -> None:
    del graph.output[:]
    for name, (source, size) in wanted.items():
        graph.node.append(helper.make_node("Identity", [source], [name]))
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, size]))


def _try(bundle: Bundle) -> None:
    """Run the bundle once."""
    output = open_session(bundle).run(np.zeros((2, bundle.n_window), np.float32))
    if output.logits.shape != (2, len(bundle.labels)) or not np.isfinite(output.logits).all():
        raise BundleInvalid(
            f"On two windows of silence the model gave {output.logits.shape}; expected finite numbers "
            f"of shape (2, {len(bundle.labels)})."
        )


def _card(description: ModelDescription, n_classes: int) -> str:
    return f"""# {description.name} {description.version}

{description.attribution}.

- **Licence of the weights: {description.license}**
- {n_classes} classes.
- Input: {description.window_s:g} s of mono sound at {description.sample_rate_hz} Hz.
- A score is not a probability: choose thresholds with recordings of your own.
"""
