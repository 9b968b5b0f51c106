"""Ensembles: a bundle whose graph averages the scores of several bundles (its members)."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto

from dawnchorus.arrays import FloatArray
from dawnchorus.errors import InputError, ModelError
from dawnchorus.models.bundle import (
    RECORDINGS_NAME,
    Activation,
    Bundle,
    BundleDescription,
    TrainingSummary,
    new_bundle,
)
from dawnchorus.models.engines.registry import open_graph
from dawnchorus.models.graphs.input_adapter import adapt_input
from dawnchorus.models.graphs.onnx_files import load_graph
from dawnchorus.models.graphs.onnx_writer import OnnxWriter
from dawnchorus.models.graphs.parity import check_parity, noise_windows
from dawnchorus.models.graphs.surgery import declare_ports, join_graphs, opset_version, rename_values, unify_opsets
from dawnchorus.models.runner import apply_activation
from dawnchorus.version import __version__

Average = Literal["mean", "geometric", "rank"]

PARITY, N_PARITY = 1e-5, 3
"""Maximum difference between the ensemble's scores and the average of its members', and the number of test windows."""

TINY = 1e-9
"""Minimum score in a geometric mean, in which a score of 0 would make the mean 0."""

_OPERATORS: dict[Activation, str] = {"sigmoid": "Sigmoid", "softmax": "Softmax", "identity": "Identity"}


def make_ensemble(
    bundles: Sequence[Bundle],
    folder: Path,
    *,
    name: str,
    license_name: str,
    weights: Sequence[float] | None = None,
    average: Average = "mean",
) -> Bundle:
    """Write a bundle whose scores are the average of its members' scores, and return it.

    The bundle's classes are in the order of the first member's. It has the highest sample rate and the longest window
    of its members. A member with another sample rate gets a resampled window. A member with a shorter window scores
    several windows that together cover the ensemble's, and the highest score of each class counts. Thresholds and
    calibrations of the members are left out; their tables of recordings are joined, and the training summary is the
    first member's, without metrics, if all were trained on the same data.

    Args:
        bundles: the members.
        folder: path of the new bundle; a bundle that is there is replaced.
        name: name of the new bundle.
        license_name: SPDX identifier of the new bundle's license.
        weights: weight of each member, above 0, in the order of `bundles`; divided by their sum. None for equal
            weights.
        average: "mean" for the mean of the scores, "geometric" for their geometric mean, or "rank" for the mean of the
            ranks: a class's rank is the share of the other classes that have a lower score in the window.

    Raises:
        InputError: fewer than two members, a repeated member, members with different classes or cleaning, or `weights`
            that are not a number above 0 for each member.
        ModelError: a member is not an ONNX graph, or takes a fixed number of windows above 1, or the ensemble's scores
            differ from the members' average.
        OutputExistsError, OutputError: see `bundle.new_bundle`.
    """
    if any(bundle.info.cleaning != bundles[0].info.cleaning for bundle in bundles):
        raise InputError(
            "ensemble: expected members that clean recordings alike, got "
            + ", ".join(f"{bundle.info.name} ({bundle.info.cleaning or 'no cleaning'})" for bundle in bundles)
            + ". Train them with the same data.trim_db, data.denoise and data.cut_speech."
        )
    shares = _shares(bundles, weights)
    rate_hz = max(bundle.info.sample_rate_hz for bundle in bundles)
    window_s = max(bundle.info.window_s for bundle in bundles)

    models = unify_opsets([adapt_input(bundle, rate_hz=rate_hz, window_s=window_s) for bundle in bundles])
    description = BundleDescription(
        name=name,
        version="1",
        family="ensemble",
        sample_rate_hz=rate_hz,
        window_s=window_s,
        activation="identity",
        license=license_name,
        attribution="; ".join(dict.fromkeys(bundle.info.attribution for bundle in bundles)),
        source="bundles " + ", ".join(f"{bundle.info.name} {bundle.id}" for bundle in bundles),
        made_by=f"dawnchorus {__version__}",
        cleaning=bundles[0].info.cleaning,
        training=_training(bundles),
    )
    with new_bundle(folder) as draft:
        onnx.save(_graph(bundles, models, shares, average), draft.folder / "model.onnx")
        _write_recordings(draft.folder, bundles)
        ensemble = draft.describe(description, bundles[0].labels)
        windows = noise_windows(ensemble, N_PARITY)
        each = [
            _scores(bundle, model, windows)[:, _class_order(bundle, bundles[0])]
            for bundle, model in zip(bundles, models, strict=True)
        ]
        expected = _average(np.stack(each), shares, average)
        check_parity(ensemble, windows, expected, tolerance=PARITY, source="its members")
        return draft.finish(_card(description, bundles, shares, average))


def _shares(bundles: Sequence[Bundle], weights: Sequence[float] | None) -> np.ndarray:
    if len(bundles) < 2:
        raise InputError(f"ensemble: expected at least two bundles, got {len(bundles)}.")
    first = bundles[0]
    _refuse_repeated(bundles)
    for bundle in bundles:
        if bundle.info.graph != "model.onnx":
            raise ModelError(
                f"expected an ONNX graph, found {bundle.info.graph}. Convert it (with tf2onnx, for "
                f"example), and wrap it again.",
                subject=bundle.folder,
            )
        if (batch := _fixed_batch(bundle) or 1) > 1:
            raise ModelError(
                f"expected a graph that takes any number of windows, found one that takes {batch}. "
                f"Export it with a free batch, and wrap it again.",
                subject=bundle.folder,
            )
        _class_order(bundle, first)
    values = np.ones(len(bundles)) if weights is None else np.asarray(weights, float)
    if len(values) != len(bundles) or not (values > 0).all() or not values.sum() < np.inf:
        given = ", ".join(f"{value:g}" for value in values)
        raise InputError(
            f"weights: expected {len(bundles)} numbers above 0, got {given}. A bundle of weight 0 would not "
            f"count: leave it out."
        )
    return np.asarray(values / values.sum())


def _refuse_repeated(bundles: Sequence[Bundle]) -> None:
    """Refuse a member that appears twice, since it would silently have double weight.

    Raises:
        InputError: a member appears twice.
    """
    first: dict[tuple[object, ...], Bundle] = {}
    for bundle in bundles:
        key = (bundle.id, bundle.info.activation, bundle.labels)
        if (other := first.get(key)) is not None:
            raise InputError(
                f"ensemble: expected different members, got {other.folder} and {bundle.folder}, which are one model "
                f"(bundle {bundle.id}). Leave one of them out; --weights gives the other more weight."
            )
        first[key] = bundle


def _class_order(bundle: Bundle, first: Bundle) -> list[int]:
    """Return the indices of a member's outputs in the order of the first member's classes.

    Raises:
        InputError: the members have different classes, or a class has two outputs.
    """
    own, expected = ([label.scientific_name for label in each.labels] for each in (bundle, first))
    if own == expected:
        return list(range(len(own)))
    differing = sorted(set(own) ^ set(expected)) or sorted({name for name in own if own.count(name) > 1})
    if differing:
        raise InputError(
            f"its classes are not those of {first.folder} ({len(own)} and {len(expected)}; "
            f"{len(differing)} differ, as {differing[0]!r}), and an ensemble's members must share them. Train them on "
            f"the same data set.",
            subject=bundle.folder,
        )
    index_by_name = {name: index for index, name in enumerate(own)}
    return [index_by_name[name] for name in expected]


def _fixed_batch(bundle: Bundle) -> int | None:
    """Return the fixed number of windows that a graph takes in one run; None for any number."""
    declared = load_graph(bundle.graph_path).graph.input[0].type.tensor_type.shape.dim
    return int(declared[0].dim_value) or None


def _scores(bundle: Bundle, model: onnx.ModelProto, windows: FloatArray) -> FloatArray:
    """Return a member's scores [windows, classes], computed by `model`, its graph adapted to the ensemble's input."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "model.onnx")
        onnx.save(model, path)
        graph = open_graph(path)
    # One by one, because some graphs take no more at once.
    logits = [graph.run({"waveform": window[np.newaxis]}, ["logits"])[0] for window in windows]
    return apply_activation(np.concatenate(logits), bundle.info.activation)


def _average(scores: FloatArray, shares: np.ndarray, average: Average) -> FloatArray:
    """Return the average of scores [members, windows, classes], computed with NumPy to check the graph."""
    if average == "geometric":
        return np.asarray(np.exp(np.tensordot(shares, np.log(np.maximum(scores, TINY)), 1)))
    if average == "rank":
        scores = (scores[..., :, None] > scores[..., None, :]).sum(-1) / max(scores.shape[-1] - 1, 1)
    return np.asarray(np.tensordot(shares, scores, 1))


def _graph(
    bundles: Sequence[Bundle], models: Sequence[onnx.ModelProto], shares: np.ndarray, average: Average
) -> onnx.ModelProto:
    """Return a graph with one input, which runs all members and averages their scores."""
    members = {f"m{k}": model for k, model in enumerate(models)}
    graph = join_graphs(
        {**members, "average": _average_graph(bundles, shares, average, opset=opset_version(models[0]))},
        [(f"{prefix}.logits", f"average.{prefix}") for prefix in members],
    )
    rename_values(graph.graph, {**{f"{prefix}.waveform": "waveform" for prefix in members}, "average.logits": "logits"})
    window_samples = models[0].graph.input[0].type.tensor_type.shape.dim[-1].dim_value
    batch = 1 if any(_fixed_batch(bundle) == 1 for bundle in bundles) else "batch"
    declare_ports(
        graph.graph,
        inputs={"waveform": (batch, window_samples)},
        outputs={"logits": (batch, len(bundles[0].labels))},
    )
    return graph


def _average_graph(bundles: Sequence[Bundle], shares: np.ndarray, average: Average, *, opset: int) -> onnx.ModelProto:
    """Return a graph from the members' logits, m0, m1 and so on, to `logits`: the average of their scores."""
    writer = OnnxWriter()
    n_classes = len(bundles[0].labels)
    weighted = []
    for k, (bundle, share) in enumerate(zip(bundles, shares, strict=True)):
        options: dict[str, Any] = {"axis": 1} if bundle.info.activation == "softmax" else {}
        scores = writer.node(_OPERATORS[bundle.info.activation], [f"m{k}"], **options)
        order = writer.constant(_class_order(bundle, bundles[0]), dtype=np.int64)
        scores = writer.node("Gather", [scores, order], axis=1)
        if average == "geometric":
            scores = writer.node("Log", [writer.node("Max", [scores, writer.constant(TINY)])])
        elif average == "rank":
            scores = _rank(writer, scores, n_classes)
        weighted.append(writer.node("Mul", [scores, writer.constant(share)]))
    total = writer.node("Sum", weighted)
    writer.node("Exp" if average == "geometric" else "Identity", [total], output="logits")
    return writer.model(
        inputs={f"m{k}": ("batch", n_classes) for k in range(len(bundles))},
        outputs={"logits": ("batch", n_classes)},
        opset=opset,
    )


def _rank(writer: OnnxWriter, scores: str, n_classes: int) -> str:
    """Return the name of the rank of each class: the fraction of the other classes with a lower score."""
    second, third = (writer.constant([axis], dtype=np.int64) for axis in (1, 2))
    rows, columns = (writer.node("Unsqueeze", [scores, axis]) for axis in (third, second))
    is_above = writer.node("Cast", [writer.node("Greater", [rows, columns])], to=TensorProto.FLOAT)
    n_below = writer.node("ReduceSum", [is_above, third], keepdims=0)
    return writer.node("Div", [n_below, writer.constant(max(n_classes - 1, 1))])


def _training(bundles: Sequence[Bundle]) -> TrainingSummary | None:
    """Return the training summary of the members without metrics; None unless all were trained on the same data."""
    first = bundles[0].info.training
    if first is None or any(b.info.training is None or b.info.training.data != first.data for b in bundles):
        return None
    return first.model_copy(update={"metrics": {}})


def _write_recordings(folder: Path, bundles: Sequence[Bundle]) -> None:
    """Write the table of all recordings that the members were trained on, from the bundles that have such a table."""
    paths = [path for bundle in bundles if (path := bundle.folder / RECORDINGS_NAME).is_file()]
    if not paths:
        return
    rows: dict[str, dict[str, Any]] = {}
    tables = [pq.read_table(path) for path in paths]
    for table in tables:
        for row in table.to_pylist():
            # Training recordings of one member are those of the ensemble.
            if row["recording_id"] not in rows or row["split"] == "train":
                rows[row["recording_id"]] = row
    pq.write_table(pa.Table.from_pylist(list(rows.values()), tables[0].schema), folder / RECORDINGS_NAME)


def _on_windows(info: BundleDescription, bundles: Sequence[Bundle]) -> str:
    """Return a sentence on members with shorter windows; empty if there are none."""
    shorter = [bundle.info for bundle in bundles if bundle.info.window_s < info.window_s]
    if not shorter:
        return ""
    named = ", ".join(f"{each.name} ({each.window_s:g} s)" for each in shorter)
    return (
        f" Members with shorter windows ({named}) score as many of their own as cover {info.window_s:g} s; the best "
        f"score of each class is averaged with the other members'."
    )


def _card(info: BundleDescription, bundles: Sequence[Bundle], shares: np.ndarray, average: Average) -> str:
    rows = "\n".join(
        f"| {bundle.info.name} {bundle.id} | {bundle.info.family} | {share:.3f} | {bundle.info.license} |"
        for bundle, share in zip(bundles, shares, strict=True)
    )
    return f"""# {info.name}

The {average} average of {len(bundles)} models.{_on_windows(info, bundles)}

- **License of the weights: {info.license}**
- {len(bundles[0].labels)} classes.
- Input: {info.window_s:g} s of mono sound at {info.sample_rate_hz} Hz.

| member | family | weight | license |
| --- | --- | ---: | --- |
{rows}
"""
