"""Operations on whole ONNX graphs: extract, convert, join, rename, declare inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import onnx
from onnx import TensorProto, compose, helper, utils, version_converter

Shape = tuple[int | str, ...]
"""Sizes of a tensor's axes; a name stands for any size."""


def cut_graph(model: onnx.ModelProto, inputs: Sequence[str], outputs: Sequence[str]) -> onnx.ModelProto:
    """Return the subgraph that computes the tensors named `outputs` from the tensors named `inputs`."""
    return utils.Extractor(model).extract_model(list(inputs), list(outputs))


def opset_version(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's default operator set that a graph uses."""
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def unify_opsets(models: Sequence[onnx.ModelProto]) -> list[onnx.ModelProto]:
    """Return the graphs in the same order, converted to the newest opset and IR version among them.

    Graphs with the newest opset are not copied; their IR version is changed in place.
    """
    newest = max(map(opset_version, models))
    converted = [
        model if opset_version(model) == newest else version_converter.convert_version(model, newest)
        for model in models
    ]
    for model in converted:
        model.ir_version = max(each.ir_version for each in converted)
    return converted


def join_graphs(models: Mapping[str, onnx.ModelProto], links: Sequence[tuple[str, str]]) -> onnx.ModelProto:
    """Merge graphs to one graph, in which the prefix of each graph and a dot precede its names: "head.logits".

    Args:
        models: graphs by prefix, such as "head"; a graph comes before the graphs that use its outputs.
        links: pairs of an output and the input that it is connected to, both with prefix.
    """
    unified = zip(models, unify_opsets(list(models.values())), strict=True)
    return reduce(
        lambda first, second: compose.merge_models(first, second, io_map=_links_into(second, links)),
        [compose.add_prefix(model, f"{prefix}.") for prefix, model in unified],
    )


def _links_into(model: onnx.ModelProto, links: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    names = {value.name for value in model.graph.input}
    return [link for link in links if link[1] in names]


def rename_values(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename values (inputs, outputs, constants, intermediate tensors) of a graph and its subgraphs in place.

    `names` has new names by old names; other values keep their names.
    """
    for values in (graph.input, graph.output, graph.initializer, graph.value_info):
        for value in values:
            value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                rename_values(inner, names)


def declare_ports(graph: onnx.GraphProto, *, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]) -> None:
    """Replace a graph's declared inputs and outputs, in place, by float32 tensors.

    `inputs` and `outputs` have shapes by name; an axis is a size, or a text, such as "batch", for any size.
    """
    del graph.input[:], graph.output[:]
    graph.input.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items())
    graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()
    )
