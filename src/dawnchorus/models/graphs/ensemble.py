"""Several bundles as one: their scores averaged inside one graph."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, compose, helper, numpy_helper

from dawnchorus.errors import InputError, ModelError
from dawnchorus.models.bundle import (
    RECORDINGS_NAME,
    Bundle,
    BundleInfo,
    TrainingSummary,
    file_sha256,
    write_bundle,
)
from dawnchorus.models.graphs.input_adapter import adapt_input, unify_opsets
from dawnchorus.models.graphs.onnx_files import load_graph, open_onnx_session
from dawnchorus.models.runner import apply_activation, open_session
from dawnchorus.version import __version__

Average = Literal["mean", "geometric", "rank"]

PARITY = 1e-5


def make_ensemble(
    bundles: Sequence[Bundle],
    folder: Path,
    *,
    name: str,
    license_name: str,
    weights: Sequence[float] | None = None,
    average: Average = "mean",
) -> Bundle:
    """Write a bundle whose scores are the average of its members' scores.

    The average is the "mean" of the scores, their "geometric" mean, or that of their "rank" (of the classes within a
    window, as shares of the number of classes).

    Its classes are in the order of the first member's. It has the highest sample rate and the longest window of its
    members. The others get the window resampled, and the best of as many of their own windows as cover it.

    Raises:
        InputError: fewer than two members, or one of them twice, or they differ in classes, or weights do not fit.
        ModelError: a member is no ONNX graph, or the new one does not give what its members give.
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

    def describe(path: Path) -> BundleInfo:
        return BundleInfo(
            name=name,
            version="1",
            family="ensemble",
            sha256=file_sha256(path / "model.onnx"),
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

    models = unify_opsets([adapt_input(bundle, rate_hz=rate_hz, window_s=window_s) for bundle in bundles])

    def check(bundle: Bundle) -> None:
        windows = np.random.default_rng(1).normal(0, 0.05, (3, bundle.window_samples)).astype(np.float32)
        each = []
        for member, model in zip(bundles, models, strict=True):
            session = open_onnx_session(model.SerializeToString())
            # One by one, because some graphs take no more at once.
            logits = [session.run(["logits"], {"waveform": window[np.newaxis]})[0] for window in windows]
            scores = apply_activation(np.concatenate(logits), member.info.activation)
            each.append(scores[:, _class_order(member, bundles[0])])
        expected = _average(np.stack(each), shares, average)
        ensemble = open_session(bundle).run(windows).logits
        if not np.abs(ensemble - expected).max() <= PARITY:
            raise ModelError(f"{folder}: the ensemble's scores differ from its members' by more than {PARITY:g}.")

    def write_files(path: Path) -> None:
        onnx.save(_graph(bundles, models, shares, average), path / "model.onnx")
        _write_recordings(path, bundles)

    return write_bundle(
        folder,
        write_graphs=write_files,
        describe=describe,
        labels=bundles[0].labels,
        card=lambda bundle: _card(bundle.info, bundles, shares, average),
        check=check,
    )


def _shares(bundles: Sequence[Bundle], weights: Sequence[float] | None) -> np.ndarray:
    if len(bundles) < 2:
        raise InputError(f"ensemble: expected at least two bundles, got {len(bundles)}.")
    first = bundles[0]
    _refuse_repeated(bundles)
    for bundle in bundles:
        if bundle.info.graph != "model.onnx":
            raise ModelError(
                f"{bundle.folder}: expected an ONNX graph, found {bundle.info.graph}. Convert it (with tf2onnx, for "
                f"example), and wrap it again."
            )
        if (batch := _fixed_batch(bundle) or 1) > 1:
            raise ModelError(
                f"{bundle.folder}: expected a graph that takes any number of windows, found one that takes {batch}. "
                f"Export it with a free batch, and wrap it again."
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
    """Refuse a member that is there twice: it would count double without a word.

    Raises:
        InputError: there is one.
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
    """Return the outputs of a member in the order of the first one's classes.

    Raises:
        InputError: its classes are others, or a class has two outputs.
    """
    own, wanted = ([label.scientific_name for label in each.labels] for each in (bundle, first))
    if own == wanted:
        return list(range(len(own)))
    differing = sorted(set(own) ^ set(wanted)) or sorted({name for name in own if own.count(name) > 1})
    if differing:
        raise InputError(
            f"{bundle.folder}: its classes are not those of {first.folder} ({len(own)} and {len(wanted)}; "
            f"{len(differing)} differ, as {differing[0]!r}), and an ensemble's members must share them. Train them on "
            f"the same data set."
        )
    index_by_name = {name: index for index, name in enumerate(own)}
    return [index_by_name[name] for name in wanted]


def _fixed_batch(bundle: Bundle) -> int | None:
    """Return the number of windows that a graph takes at once; None: any."""
    declared = load_graph(bundle.graph_path).graph.input[0].type.tensor_type.shape.dim
    return int(declared[0].dim_value) or None


def _average(scores: np.ndarray, shares: np.ndarray, average: Average) -> np.ndarray:
    """Compute the graph's average with NumPy, of scores [members, windows, classes]."""
    if average == "geometric":
        return np.asarray(np.exp(np.tensordot(shares, np.log(np.maximum(scores, 1e-9)), 1)))
    if average == "rank":
        scores = (scores[..., :, None] > scores[..., None, :]).sum(-1) / max(scores.shape[-1] - 1, 1)
    return np.asarray(np.tensordot(shares, scores, 1))


def _graph(
    bundles: Sequence[Bundle], models: Sequence[onnx.ModelProto], shares: np.ndarray, average: Average
) -> onnx.ModelProto:
    """Join the members behind one input, and average their scores."""
    inner = [compose.add_prefix(model, f"m{k}.") for k, model in enumerate(models)]
    window_samples = models[0].graph.input[0].type.tensor_type.shape.dim[-1].dim_value
    whole = reduce(lambda first, second: compose.merge_models(first, second, io_map=[]), inner)
    graph = whole.graph
    n_classes = len(bundles[0].labels)
    nodes, constants = [], [numpy_helper.from_array(np.array(1e-9, np.float32), "tiny")]
    for k, bundle in enumerate(bundles):
        kind = {"sigmoid": "Sigmoid", "softmax": "Softmax", "identity": "Identity"}[bundle.info.activation]
        options: dict[str, Any] = {"axis": 1} if kind == "Softmax" else {}
        constants.append(numpy_helper.from_array(np.array(_class_order(bundle, bundles[0]), np.int64), f"order{k}"))
        nodes.append(helper.make_node(kind, [f"m{k}.logits"], [f"own_scores{k}"], **options))
        nodes.append(helper.make_node("Gather", [f"own_scores{k}", f"order{k}"], [f"scores{k}"], axis=1))
        nodes += _before(average, k, n_classes, constants)
        constants.append(numpy_helper.from_array(np.array(shares[k], np.float32), f"share{k}"))
        nodes.append(helper.make_node("Mul", [f"ready{k}", f"share{k}"], [f"part{k}"]))
    nodes.append(helper.make_node("Sum", [f"part{k}" for k in range(len(bundles))], ["total"]))
    nodes.append(helper.make_node("Exp" if average == "geometric" else "Identity", ["total"], ["logits"]))
    inputs = [helper.make_node("Identity", ["waveform"], [f"m{k}.waveform"]) for k in range(len(bundles))]
    del graph.input[:], graph.output[:]
    batch = 1 if any(_fixed_batch(bundle) == 1 for bundle in bundles) else "batch"
    graph.input.append(helper.make_tensor_value_info("waveform", TensorProto.FLOAT, [batch, window_samples]))
    graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, n_classes]))
    graph.initializer.extend(constants)
    members = list(graph.node)
    del graph.node[:]
    graph.node.extend([*inputs, *members, *nodes])
    return whole


def _before(average: Average, k: int, n_classes: int, constants: list[onnx.TensorProto]) -> list[onnx.NodeProto]:
    """Return the nodes that transform a member's scores before they are added up."""
    own, ready = f"scores{k}", f"ready{k}"
    if average == "geometric":
        return [
            helper.make_node("Max", [own, "tiny"], [f"above{k}"]),
            helper.make_node("Log", [f"above{k}"], [ready]),
        ]
    if average == "mean":
        return [helper.make_node("Identity", [own], [ready])]
    if not k:
        constants.append(numpy_helper.from_array(np.array([2], np.int64), "third"))
        constants.append(numpy_helper.from_array(np.array([1], np.int64), "second"))
        constants.append(numpy_helper.from_array(np.array(max(n_classes - 1, 1), np.float32), "others"))
    return [
        helper.make_node("Unsqueeze", [own, "third"], [f"rows{k}"]),
        helper.make_node("Unsqueeze", [own, "second"], [f"columns{k}"]),
        helper.make_node("Greater", [f"rows{k}", f"columns{k}"], [f"greater{k}"]),
        helper.make_node("Cast", [f"greater{k}"], [f"counted{k}"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", [f"counted{k}", "third"], [f"rank{k}"], keepdims=0),
        helper.make_node("Div", [f"rank{k}", "others"], [ready]),
    ]


def _training(bundles: Sequence[Bundle]) -> TrainingSummary | None:
    """Return the members' training summary, if all have the same; each has metrics of its own."""
    first = bundles[0].info.training
    if first is None or any(b.info.training is None or b.info.training.data != first.data for b in bundles):
        return None
    return first.model_copy(update={"metrics": {}})


def _write_recordings(folder: Path, bundles: Sequence[Bundle]) -> None:
    """All recordings that the members were trained on, where their bundles have the table."""
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


def _on_windows(info: BundleInfo, bundles: Sequence[Bundle]) -> str:
    """Return a sentence on members with shorter windows, if there are any."""
    shorter = [bundle.info for bundle in bundles if bundle.info.window_s < info.window_s]
    if not shorter:
        return ""
    named = ", ".join(f"{each.name} ({each.window_s:g} s)" for each in shorter)
    return (
        f" Members with shorter windows ({named}) score as many of their own as cover {info.window_s:g} s; the best "
        f"score of each class is averaged with the other members'."
    )


def _card(info: BundleInfo, bundles: Sequence[Bundle], shares: np.ndarray, average: Average) -> str:
    rows = "\n".join(
        f"| {bundle.info.name} {bundle.id} | {bundle.info.family} | {share:.3f} | {bundle.info.license} |"
        for bundle, share in zip(bundles, shares, strict=True)
    )
    return f"""# {info.name}

The {average} average of {len(bundles)} models.{_on_windows(info, bundles)}

- **Licence of the weights: {info.license}**
- {len(bundles[0].labels)} classes.
- Input: {info.window_s:g} s of mono sound at {info.sample_rate_hz} Hz.

| member | family | weight | licence |
| --- | --- | ---: | --- |
{rows}
"""
