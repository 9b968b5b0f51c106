"""Several bundles as one: their scores averaged inside one graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from dawnchorus import __version__
from dawnchorus.errors import InputError, ModelError
from dawnchorus.models.bundle import Bundle, BundleInfo, file_sha256, write_bundle
from dawnchorus.models.runner import open_session, scores_of

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
    """Write a bundle whose scores are the members' averaged: "mean" of the scores, "geometric" mean, or "rank" (of the
    classes within a window, as shares of the number of classes).

    Raises:
        InputError: fewer than two members, or they differ in sample rate, window or classes, or weights do not fit.
        ModelError: a member is no ONNX graph, or the new one does not give what its members give.
    """
    shares = _shares(bundles, weights)
    info = bundles[0].info

    def describe(target: Path) -> BundleInfo:
        return BundleInfo(
            name=name,
            version="1",
            family="ensemble",
            sha256=file_sha256(target / "model.onnx"),
            sample_rate_hz=info.sample_rate_hz,
            window_s=info.window_s,
            activation="identity",
            license=license_name,
            attribution="; ".join(dict.fromkeys(bundle.info.attribution for bundle in bundles)),
            source="bundles " + ", ".join(f"{bundle.info.name} {bundle.id}" for bundle in bundles),
            made_by=f"dawnchorus {__version__}",
            training=info.training,
        )

    def check(bundle: Bundle) -> None:
        windows = np.random.default_rng(1).normal(0, 0.05, (3, bundle.n_window)).astype(np.float32)
        each = [scores_of(open_session(member).run(windows).logits, member.info.activation) for member in bundles]
        expected = _averaged(np.stack(each), shares, average)
        found = open_session(bundle).run(windows).logits
        if not np.abs(found - expected).max() <= PARITY:
            raise ModelError(f"{folder}: the ensemble's scores differ from its members' by more than {PARITY:g}.")

    return write_bundle(
        folder,
        write_graphs=lambda target: onnx.save(_graph(bundles, shares, average), target / "model.onnx"),
        describe=describe,
        labels=bundles[0].labels,
        card=_card(name, license_name, bundles, shares, average),
        check=check,
    )


def _shares(bundles: Sequence[Bundle], weights: Sequence[float] | None) -> np.ndarray:
    if len(bundles) < 2:
        raise InputError(f"ensemble: expected at least two bundles, got {len(bundles)}.")
    first = bundles[0]
    for bundle in bundles:
        if bundle.info.graph != "model.onnx":
            raise ModelError(f"{bundle.folder}: expected an ONNX graph, found {bundle.info.graph}.")
        for what, own, expected in (
            ("sample rate", bundle.info.sample_rate_hz, first.info.sample_rate_hz),
            ("window", bundle.n_window, first.n_window),
            ("classes", [x.scientific_name for x in bundle.labels], [x.scientific_name for x in first.labels]),
        ):
            if own != expected:
                raise InputError(
                    f"{bundle.folder}: its {what} is not that of {first.folder}, and an ensemble's members must share "
                    f"it. Train them on the same data set with the same rate and window."
                )
    values = np.ones(len(bundles)) if weights is None else np.asarray(weights, float)
    if len(values) != len(bundles) or (values < 0).any() or not values.sum():
        raise InputError(f"weights: expected {len(bundles)} numbers, none below 0, got {list(values)}.")
    return np.asarray(values / values.sum())


def _averaged(scores: np.ndarray, shares: np.ndarray, average: Average) -> np.ndarray:
    """What the graph computes, in NumPy [members, windows, classes]."""
    if average == "geometric":
        return np.asarray(np.exp(np.tensordot(shares, np.log(np.maximum(scores, 1e-9)), 1)))
    if average == "rank":
        scores = (scores[..., :, None] > scores[..., None, :]).sum(-1) / max(scores.shape[-1] - 1, 1)
    return np.asarray(np.tensordot(shares, scores, 1))


def _graph(bundles: Sequence[Bundle], shares: np.ndarray, average: Average) -> onnx.ModelProto:
    """The members side by side behind one input, and the average of their scores."""
    whole: onnx.ModelProto | None = None
    for k, bundle in enumerate(bundles):
        model = compose.add_prefix(onnx.load(bundle.graph_path), f"m{k}.")
        whole = model if whole is None else compose.merge_models(*_alike(whole, model), io_map=[])
    if whole is None:
        raise InputError("ensemble: expected at least two bundles, got none.")
    graph = whole.graph
    n_classes = len(bundles[0].labels)
    nodes, constants = [], [numpy_helper.from_array(np.array(1e-9, np.float32), "tiny")]
    for k, bundle in enumerate(bundles):
        kind = {"sigmoid": "Sigmoid", "softmax": "Softmax", "identity": "Identity"}[bundle.info.activation]
        options: dict[str, Any] = {"axis": 1} if kind == "Softmax" else {}
        nodes.append(helper.make_node(kind, [f"m{k}.logits"], [f"scores{k}"], **options))
        nodes += _before(average, k, n_classes, constants)
        constants.append(numpy_helper.from_array(np.array(shares[k], np.float32), f"share{k}"))
        nodes.append(helper.make_node("Mul", [f"ready{k}", f"share{k}"], [f"part{k}"]))
    nodes.append(helper.make_node("Sum", [f"part{k}" for k in range(len(bundles))], ["total"]))
    nodes.append(helper.make_node("Exp" if average == "geometric" else "Identity", ["total"], ["logits"]))
    inputs = [helper.make_node("Identity", ["waveform"], [f"m{k}.waveform"]) for k in range(len(bundles))]
    del graph.input[:], graph.output[:]
    graph.input.append(helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", bundles[0].n_window]))
    graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", n_classes]))
    graph.initializer.extend(constants)
    members = list(graph.node)
    del graph.node[:]
    graph.node.extend([*inputs, *members, *nodes])
    return whole


def _before(average: Average, k: int, n_classes: int, constants: list[onnx.TensorProto]) -> list[onnx.NodeProto]:
    """What is done to a member's scores before they are added up."""
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


def _alike(first: onnx.ModelProto, second: onnx.ModelProto) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Both with the same version of ONNX's format, which merging asks for.

    Raises:
        InputError: their operators are of different versions.
    """
    opsets = [{entry.domain: entry.version for entry in model.opset_import} for model in (first, second)]
    if opsets[0] != opsets[1]:
        raise InputError(f"ensemble: its members' graphs have operators of different versions: {opsets}.")
    first.ir_version = second.ir_version = max(first.ir_version, second.ir_version)
    return first, second


def _card(name: str, license_name: str, bundles: Sequence[Bundle], shares: np.ndarray, average: Average) -> str:
    rows = "\n".join(
        f"| {bundle.info.name} {bundle.id} | {bundle.info.family} | {share:.3f} | {bundle.info.license} |"
        for bundle, share in zip(bundles, shares, strict=True)
    )
    info = bundles[0].info
    return f"""# {name}

The {average} average of {len(bundles)} models.

- **Licence of the weights: {license_name}**
- {len(bundles[0].labels)} classes.
- Input: {info.window_s:g} s of mono sound at {info.sample_rate_hz} Hz.

| member | family | weight | licence |
| --- | --- | ---: | --- |
{rows}
"""
