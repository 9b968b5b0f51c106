"""Outputs of external graphs are chosen by name, type and shape, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.fixtures.external_models import DESCRIPTION, LABELS, N_CLASSES, WINDOWS, ExternalModel, describe, write_tail

from dawnchorus.errors import ModelError
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.graphs.wrapping import wrap_model
from dawnchorus.models.runner import open_session


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_two_outputs_of_the_size_are_refused_until_one_is_named(suffix: str, tmp_path: Path) -> None:
    external = ExternalModel(n_outputs=2, embedding_name="one")
    path = external.write(tmp_path / f"x{suffix}")

    def wrap(scores_output: str | None = None, embeddings_output: str | None = None) -> Bundle:
        return wrap_model(
            path,
            tmp_path / "x",
            labels=LABELS,
            description=describe(external),
            scores_output=scores_output,
            embeddings_output=embeddings_output,
        )

    refused: tuple[tuple[dict[str, str], str], ...] = (
        ({}, "expected one output with 3 classes, found one .* label .*--scores-output"),
        ({"scores_output": "two"}, "expected an output two with 3 classes"),
        ({"scores_output": "one", "embeddings_output": "two"}, "expected an output two with one embedding"),
        ({"scores_output": "one", "embeddings_output": "one"}, r"next to the scores \(one\)"),
    )
    for options, message in refused:
        with pytest.raises(ModelError, match=message):
            wrap(**options)
    assert wrap(scores_output="label").info.embedding_dim is None
    assert wrap(embeddings_output="one").info.embedding_dim == N_CLASSES
    named = wrap(scores_output="one", embeddings_output="label")
    output = open_session(named).run(WINDOWS, embeddings=True)
    expected = external.reference(WINDOWS)
    assert output.embeddings is not None
    np.testing.assert_allclose(output.logits, expected["embedding"], atol=1e-5)
    np.testing.assert_allclose(output.embeddings, expected["label"], atol=1e-5)


def test_the_only_output_is_not_scores_and_embedding(tmp_path: Path) -> None:
    path = ExternalModel().write(tmp_path / "x.onnx")
    with pytest.raises(ModelError, match=r"label has that size, but is not used .* because --embeddings-output names"):
        wrap_model(path, tmp_path / "x", labels=LABELS, description=DESCRIPTION, embeddings_output="label")


def test_whole_numbers_and_random_ones_are_no_scores(tmp_path: Path) -> None:
    """Labels as the only output: onnx/sklearn-onnx#974. Dropout that stayed in: microsoft/onnxruntime#5600."""
    cast = helper.make_node("Cast", ["sums"], ["scores"], to=TensorProto.INT64)
    whole = write_tail(tmp_path / "whole.onnx", cast, dtype=TensorProto.INT64)
    with pytest.raises(ModelError, match=r"scores \[2, 3\] int64. scores gives int64, which are no scores"):
        wrap_model(whole, tmp_path / "x", labels=LABELS, description=DESCRIPTION)
    noise = helper.make_node("RandomNormalLike", ["sums"], ["noise"])
    random = write_tail(tmp_path / "random.onnx", noise, helper.make_node("Add", ["sums", "noise"], ["scores"]))
    with pytest.raises(ModelError, match=r"found the operators RandomNormalLike, .* random numbers.*model\.eval"):
        wrap_model(random, tmp_path / "x", labels=LABELS, description=DESCRIPTION)
