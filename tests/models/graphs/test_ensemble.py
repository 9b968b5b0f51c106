"""Ensembles of unlike members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.fixtures.models import LEVEL, LEVEL_LABELS, level_graph

from dawnchorus.errors import InputError, ModelError
from dawnchorus.models.bundle import Bundle, read_bundle
from dawnchorus.models.graphs.ensemble import make_ensemble
from dawnchorus.models.graphs.wrapping import wrap_model
from dawnchorus.models.runner import apply_activation, open_session
from dawnchorus.taxonomy.labels import Label


def test_an_ensemble_of_unlike_members_hears_with_each(level_bundle: Bundle, tmp_path: Path) -> None:
    graph = level_graph(tmp_path / "level.onnx", window_samples=3 * 8_000)
    description = replace(LEVEL, name="low", sample_rate_hz=8_000, window_s=3.0)
    low = wrap_model(graph, tmp_path / "low", labels=LEVEL_LABELS, description=description)
    made = make_ensemble([level_bundle, low], tmp_path / "both", name="both", license_name="CC0-1.0", weights=[3, 1])
    assert (made.info.sample_rate_hz, made.info.window_s) == (16_000, 3.0)
    card = (made.folder / "MODEL_CARD.md").read_text("utf-8")
    assert "Members with shorter windows (level (1 s)) score as many of their own as cover 3 s; the best score" in card
    with pytest.raises(InputError, match="expected different members, got .* which are one model"):
        make_ensemble([level_bundle, low, level_bundle], tmp_path / "twice", name="twice", license_name="CC0-1.0")
    with pytest.raises(InputError, match="expected 2 numbers above 0, got 0, 1. A bundle of weight 0 would not count"):
        make_ensemble([level_bundle, low], tmp_path / "one", name="one", license_name="CC0-1.0", weights=[0, 1])
    audio = np.repeat(np.array([0.1, 0.6, 0.2], np.float32), 16_000)[None]  # a second each of three levels
    logits = open_session(made).run(audio).logits[0]
    # The one takes the best of its three seconds for each class, the other hears their mean level.
    own = np.array(
        [
            apply_activation(open_session(level_bundle).run(part[None]).logits, "identity")[0]
            for part in audio.reshape(3, -1)
        ]
    )
    others = open_session(low).run(np.full((1, 24_000), 0.3, np.float32)).logits[0]
    np.testing.assert_allclose(logits, 0.75 * own.max(0) + 0.25 * others, atol=0.01)


def test_a_member_may_take_no_batch_and_no_class_twice(level_bundle: Bundle, tmp_path: Path) -> None:
    flat = onnx.load(level_graph(tmp_path / "flat.onnx", window_samples=16_000))
    name = flat.graph.input[0].name
    flat.graph.initializer.append(numpy_helper.from_array(np.array([1, 16_000]), "shape"))
    flat.graph.node.insert(0, helper.make_node("Reshape", ["flat", "shape"], [name]))
    del flat.graph.input[:]
    flat.graph.input.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, [16_000]))
    onnx.save(flat, tmp_path / "flat.onnx")
    member = wrap_model(tmp_path / "flat.onnx", tmp_path / "flat", labels=LEVEL_LABELS, description=LEVEL)
    made = make_ensemble([level_bundle, member], tmp_path / "both", name="x", license_name="CC0-1.0")
    windows = np.linspace(0, 0.3, 3 * 16_000, dtype=np.float32).reshape(3, -1)
    expected = open_session(level_bundle).run(windows).logits
    np.testing.assert_allclose(open_session(made).run(windows).logits, expected, atol=1e-6)
    with pytest.raises(InputError, match="expected each class once, got .* are one class"):
        wrap_model(
            tmp_path / "flat.onnx",
            tmp_path / "twice",
            labels=(*LEVEL_LABELS[:2], LEVEL_LABELS[0]),
            description=LEVEL,
        )


def test_classes_of_members_are_put_into_one_order(level_bundle: Bundle, tmp_path: Path) -> None:
    def member(name: str, labels: Sequence[Label], batch: str | int = "n") -> Bundle:
        graph = level_graph(tmp_path / f"{name}.onnx", window_samples=16_000, batch=batch)
        return wrap_model(graph, tmp_path / name, labels=labels, description=replace(LEVEL, name=name))

    quiet, loud, engine = LEVEL_LABELS
    turned = member("turned", (engine, quiet, loud))
    windows = np.full((2, 16_000), 0.25, np.float32)
    own = open_session(level_bundle).run(windows).logits
    for average in ("mean", "rank"):
        made = make_ensemble(
            [level_bundle, turned], tmp_path / average, name="x", license_name="CC0-1.0", average=average
        )
        assert made.labels == level_bundle.labels
    np.testing.assert_allclose(
        open_session(read_bundle(tmp_path / "mean")).run(windows).logits, (own + own[:, [1, 2, 0]]) / 2, atol=1e-6
    )
    other = member("other", (quiet, loud, Label("Avis alia", "Avis alia")))
    with pytest.raises(InputError, match="other: its classes are not those of .* 2 differ, as 'Avis alia'"):
        make_ensemble([level_bundle, other], tmp_path / "no", name="no", license_name="CC0-1.0")
    with pytest.raises(ModelError, match="eight: expected a graph that takes any number of windows, found .* takes 8"):
        make_ensemble([level_bundle, member("eight", LEVEL_LABELS, 8)], tmp_path / "no", name="n", license_name="x")


def test_members_that_take_one_window_at_a_time(tmp_path: Path) -> None:
    graph = onnx.load(level_graph(tmp_path / "level.onnx", window_samples=16_000, batch=1))
    members = []
    for name in "ab":
        graph.doc_string = name
        onnx.save(graph, tmp_path / f"{name}.onnx")
        description = replace(LEVEL, name=name)
        members.append(
            wrap_model(tmp_path / f"{name}.onnx", tmp_path / name, labels=LEVEL_LABELS, description=description)
        )
    made = make_ensemble(members, tmp_path / "both", name="both", license_name="CC0-1.0")
    windows = np.full((3, 16_000), 0.25, np.float32)
    np.testing.assert_allclose(open_session(made).run(windows).logits, [[0.25, 0.75, 0]] * 3, atol=1e-5)
