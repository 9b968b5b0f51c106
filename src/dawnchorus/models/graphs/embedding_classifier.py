"""Extraction of the part of a bundle's graph that computes logits from embeddings."""

from __future__ import annotations

import onnx

from dawnchorus.errors import ModelError
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.graphs.onnx_files import load_graph
from dawnchorus.models.graphs.surgery import cut_graph

INPUTS = ("backbone.embeddings", "embeddings")
"""Possible names of the base's embeddings in a graph.

In the graph of a head, they are called `backbone.embeddings` (see `training.families.embedding_head`), and `embeddings`
are an output of the head. In the base itself, and in a head that was merged with its base, they are `embeddings`.
"""


def base_id(bundle: Bundle) -> str:
    """Return the id of the bundle whose embeddings `bundle` classifies.

    This is the id in `TrainingSummary.backbone` of `bundle`, or the id of `bundle` itself without a backbone.
    """
    training = bundle.info.training
    return bundle.id if training is None or training.backbone is None else training.backbone.rpartition(" ")[2]


def cut_classifier(bundle: Bundle) -> onnx.ModelProto:
    """Return the part of a bundle's graph that computes logits from embeddings, to be run on stored embeddings.

    The only input is the embeddings [batch, dim] of the model that `base_id` names, the only output `logits` [batch,
    classes].

    Raises:
        ModelError: the graph is not ONNX, or its logits need more than embeddings, such as the audio.
    """
    if bundle.info.graph != "model.onnx":
        raise ModelError(f"expected an ONNX graph, got {bundle.info.graph}.", subject=bundle.folder)
    whole = load_graph(bundle.graph_path)
    computed = {name for node in whole.graph.node for name in node.output}
    name = next((name for name in INPUTS if name in computed), None)
    if name is not None:
        _join_copies(whole.graph, name)
    part = None if name is None else cut_graph(whole, [name], ["logits"])
    if part is None or not _is_closed(part):
        raise ModelError(
            "expected a model whose scores come from embeddings alone, as a head that was trained on the embeddings of "
            "another (experiment=birdnet-head), got one that needs the sound.",
            subject=bundle.folder,
        )
    return part


def _join_copies(graph: onnx.GraphProto, name: str) -> None:
    """Rename all values equal to the value `name` to `name`: its Identity node's input, and outputs of equal nodes."""
    (own,) = (node for node in graph.node if name in node.output)
    copies = set(own.input) if own.op_type == "Identity" else set()
    copies |= {node.output[0] for node in graph.node if _is_twin(node, own)}
    for node in graph.node:
        if node is not own:
            node.input[:] = [name if each in copies else each for each in node.input]


def _is_twin(node: onnx.NodeProto, other: onnx.NodeProto) -> bool:
    """Return True if two nodes have the same operator, inputs and attributes."""
    same = (node.op_type, list(node.input)) == (other.op_type, list(other.input))
    return same and list(node.attribute) == list(other.attribute) and len(node.output) == 1


def _is_closed(model: onnx.ModelProto) -> bool:
    """Return True if every input of a node is computed, an input of the graph or a constant."""
    graph = model.graph
    known = {"", *(value.name for value in graph.input), *(tensor.name for tensor in graph.initializer)}
    known |= {name for node in graph.node for name in node.output}
    return all(name in known for node in graph.node for name in node.input)
