"""Extension of a model (the base) by the classes of a classifier head that was trained on its embeddings."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from dawnchorus.errors import ModelError
from dawnchorus.models.bundle import RECORDINGS_NAME, Bundle, new_bundle
from dawnchorus.models.graphs.onnx_files import load_graph
from dawnchorus.models.graphs.onnx_writer import OnnxWriter
from dawnchorus.models.graphs.parity import check_parity, noise_windows
from dawnchorus.models.graphs.surgery import cut_graph, declare_ports, join_graphs, opset_version, rename_values
from dawnchorus.models.runner import open_session
from dawnchorus.taxonomy.labels import Label

PARITY = 1e-4
"""Maximum difference between the merged model's logits and those of base and head; see `largest_difference`."""


def can_extend(base: Bundle, head: Bundle) -> bool:
    """Return True if a classifier head can be merged with the model (base) on whose embeddings it was trained.

    Both must be multi-label (sigmoid), with the same cleaning of recordings and windows of the same length, and the
    base must be an ONNX graph. That the head was trained on embeddings of this base is not checked.
    """
    is_each_by_itself = base.info.activation == head.info.activation == "sigmoid"
    has_same_cleaning = base.info.cleaning == head.info.cleaning
    return (
        is_each_by_itself
        and has_same_cleaning
        and base.info.graph == "model.onnx"
        and base.window_samples == head.window_samples
    )


def extend_classes(base: Bundle, head: Bundle, folder: Path, *, name: str) -> Bundle:
    """Write the bundle `name` to `folder`, with the base's classes in order, followed by the head's new classes.

    `head` is a bundle of the family embedding_head, trained on embeddings of `base`. The head scores all of its
    classes, also those that the base has; the base scores its other classes, and its layers run only once. The
    description is the head's, with the thresholds of both, of which the head's take precedence; the calibration is left
    out, since it was fitted for the head alone. The head's table of recordings is copied. A bundle that is in `folder`
    is replaced.

    Raises:
        ModelError: base and head cannot be merged, or the merged graph's logits differ from theirs.
        OutputExistsError, OutputError: see `bundle.new_bundle`.
    """
    if not can_extend(base, head):
        raise ModelError(
            f"expected a head and a base {base.folder} that score every class by itself (sigmoid), got "
            f"{head.info.activation} and {base.info.activation}.",
            subject=head.folder,
        )
    head_index = head.class_by_scientific_name
    known = {label.scientific_name for label in base.labels}
    labels = (*base.labels, *(label for label in head.labels if label.scientific_name not in known))
    n_base = len(base.labels)
    sources = [
        n_base + head_index[label.scientific_name] if label.scientific_name in head_index else k
        for k, label in enumerate(labels)
    ]

    description = head.info.model_copy(
        update={"name": name, "thresholds": {**base.info.thresholds, **head.info.thresholds}, "calibration": None}
    )
    with new_bundle(folder) as draft:
        onnx.save(_join(base, head, sources), draft.folder / "model.onnx")
        if (head.folder / RECORDINGS_NAME).is_file():
            shutil.copy(head.folder / RECORDINGS_NAME, draft.folder / RECORDINGS_NAME)
        bundle = draft.describe(description, labels)
        windows = noise_windows(bundle, 2)
        each = [open_session(part).run(windows).logits for part in (base, head)]
        expected = np.concatenate(each, axis=1)[:, sources]
        check_parity(bundle, windows, expected, tolerance=PARITY, source=f"{base.info.name} and {head.info.name}")
        return draft.finish(_card(base, head, labels))


def _card(base: Bundle, head: Bundle, labels: Sequence[Label]) -> str:
    """Return the head's model card, with an introduction on the classes of both."""
    introduction = (
        f"Of its {len(labels)} classes, {len(head.labels)} were trained on its embeddings (the rest of this "
        f"card is about them; {len(labels) - len(base.labels)} are new). The others are scored as {base.info.name} "
        f"{base.id} scores them.\n\n"
    )
    return introduction + (head.folder / "MODEL_CARD.md").read_text(encoding="utf-8")


def _join(base: Bundle, head: Bundle, sources: Sequence[int]) -> onnx.ModelProto:
    """Return the merged graph; `sources` has for each class its index in the base's logits followed by the head's."""
    known, whole = load_graph(base.graph_path), load_graph(head.graph_path)
    own = cut_graph(whole, [_embeddings_input(whole)], ["logits"])
    choice = OnnxWriter()
    both = choice.node("Concat", ["known", "own"], axis=1)
    choice.node("Gather", [both, choice.constant(sources, dtype=np.int64)], output="logits", axis=1)
    n_base, n_head = len(base.labels), len(head.labels)
    models = {
        "base": known,
        "head": own,
        "choice": choice.model(
            inputs={"known": ("batch", n_base), "own": ("batch", n_head)},
            outputs={"logits": ("batch", len(sources))},
            opset=max(map(opset_version, (known, own))),
        ),
    }
    links = [
        ("base.embeddings", f"head.{own.graph.input[0].name}"),
        ("base.logits", "choice.known"),
        ("head.logits", "choice.own"),
    ]
    joined = join_graphs(models, links)
    names = {"base.waveform": "waveform", "base.embeddings": "embeddings", "choice.logits": "logits"}
    rename_values(joined.graph, names)
    declare_ports(
        joined.graph,
        inputs={"waveform": ("batch", base.window_samples)},
        outputs={"logits": ("batch", len(sources)), "embeddings": ("batch", base.info.embedding_dim or "dim")},
    )
    return joined


def _embeddings_input(model: onnx.ModelProto) -> str:
    """Return the name of the backbone's embeddings in a head's graph; see `training.families.embedding_head`.

    Raises:
        ModelError: the graph has no such value.
    """
    name = "backbone.embeddings"
    if not any(name in node.output for node in model.graph.node):
        raise ModelError("expected a head on a backbone's embeddings, found none in the graph.")
    return name
