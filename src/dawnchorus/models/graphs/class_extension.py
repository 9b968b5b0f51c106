"""A model that knows what another knew, and what a head on its embeddings has learned besides."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper, utils

from dawnchorus.errors import ModelError
from dawnchorus.models.bundle import RECORDINGS_NAME, Bundle, BundleInfo, file_sha256, write_bundle
from dawnchorus.models.graphs.onnx_files import load_graph
from dawnchorus.models.runner import open_session

PARITY = 1e-3
"""The largest difference between a logit of the grown model and of the one that it is from."""


def can_extend(base: Bundle, head: Bundle) -> bool:
    """Return True if the two can be one model: both score every class by itself, of recordings cleaned alike."""
    is_each_by_itself = base.info.activation == head.info.activation == "sigmoid"
    is_same_sound = base.info.cleaning == head.info.cleaning
    return (
        is_each_by_itself
        and is_same_sound
        and base.info.graph == "model.onnx"
        and base.window_samples == head.window_samples
    )


def extend_classes(base: Bundle, head: Bundle, folder: Path, *, name: str) -> Bundle:
    """Write a bundle with the base's classes, in their order, and then the head's new ones.

    `head` is a bundle of the family embedding_head, trained on `base`. Classes of the head are scored by it, all others
    by the base; the base's layers are run once. The calibration was the head's alone, so it is left out.

    Raises:
        ModelError: the two cannot stand beside each other, or the new graph does not give what they give.
    """
    if not can_extend(base, head):
        raise ModelError(
            f"{head.folder}: expected a head and a base {base.folder} that score every class by itself (sigmoid), got "
            f"{head.info.activation} and {base.info.activation}."
        )
    head_index = head.class_by_scientific_name
    known = {label.scientific_name for label in base.labels}
    labels = (*base.labels, *(label for label in head.labels if label.scientific_name not in known))
    n_base = len(base.labels)
    sources = [
        n_base + head_index[label.scientific_name] if label.scientific_name in head_index else k
        for k, label in enumerate(labels)
    ]

    def describe(path: Path) -> BundleInfo:
        return head.info.model_copy(
            update={
                "name": name,
                "sha256": file_sha256(path / "model.onnx"),
                "thresholds": {**base.info.thresholds, **head.info.thresholds},
                "calibration": None,
            }
        )

    def write_files(path: Path) -> None:
        onnx.save(_graph(base, head, np.array(sources, np.int64)), path / "model.onnx")
        if (head.folder / RECORDINGS_NAME).is_file():
            shutil.copy(head.folder / RECORDINGS_NAME, path / RECORDINGS_NAME)

    def check(made: Bundle) -> None:
        windows = np.random.default_rng(1).normal(0, 0.05, (2, made.window_samples)).astype(np.float32)
        each = [open_session(bundle).run(windows).logits for bundle in (base, head)]
        expected = np.concatenate(each, axis=1)[:, sources]
        logits = open_session(made).run(windows).logits
        if not np.abs(logits - expected).max() <= PARITY:
            raise ModelError(
                f"{folder}: the grown model's logits differ from those it is made of by more than {PARITY}."
            )

    card = (head.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    n_new = len(labels) - n_base
    introduction = (
        f"Of its {len(labels)} classes, {len(head.labels)} were trained on its embeddings (the rest of this "
        f"card is about them; {n_new} are new). The others are scored as {base.info.name} {base.id} scores them.\n\n"
    )
    return write_bundle(
        folder, write_graphs=write_files, describe=describe, labels=labels, card=introduction + card, check=check
    )


def _graph(base: Bundle, head: Bundle, sources: np.ndarray) -> onnx.ModelProto:
    """Join the base and the head's own layers behind its embeddings; each class is from the one or the other."""
    whole, known = load_graph(head.graph_path), load_graph(base.graph_path)
    own = utils.Extractor(whole).extract_model([_embeddings_input(whole)], ["logits"])
    first, second = compose.add_prefix(known, "base."), compose.add_prefix(own, "head.")
    first.ir_version = second.ir_version = max(first.ir_version, second.ir_version)
    merged = compose.merge_models(first, second, [("base.embeddings", second.graph.input[0].name)])
    graph = merged.graph
    graph.initializer.append(numpy_helper.from_array(sources, "sources"))
    graph.node.extend(
        [
            helper.make_node("Concat", ["base.logits", "head.logits"], ["both"], axis=1),
            helper.make_node("Gather", ["both", "sources"], ["logits"], axis=1),
            helper.make_node("Identity", ["base.embeddings"], ["embeddings"]),
        ]
    )
    graph.node.insert(0, helper.make_node("Identity", ["waveform"], ["base.waveform"]))
    dimension = base.info.embedding_dim
    del graph.input[:], graph.output[:]
    graph.input.append(helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", base.window_samples]))
    graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(sources)]))
    graph.output.append(helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", dimension]))
    return merged


def _embeddings_input(model: onnx.ModelProto) -> str:
    """Return the name of the backbone's embeddings in the graph of a head: see `train.families.embedding_head`."""
    name = "backbone.embeddings"
    if not any(name in node.output for node in model.graph.node):
        raise ModelError("expected a head on a backbone's embeddings, found none in the graph.")
    return name
