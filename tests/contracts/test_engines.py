"""One suite over every engine, those of other packages included: the scores of a graph that NumPy computes as well."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from tests.fixtures.examples import MAX_LINES, count_lines
from tests.fixtures.external_models import DESCRIPTION, LABELS, RATE_HZ, WINDOW_SAMPLES, ExternalModel

from dawnchorus.errors import InvalidBundleError, ModelError
from dawnchorus.models.bundle import Bundle, read_bundle
from dawnchorus.models.engines import registry
from dawnchorus.models.engines.base import Engine, LoadedGraph
from dawnchorus.models.engines.litert import LITERT
from dawnchorus.models.engines.onnxruntime import ONNXRUNTIME
from dawnchorus.models.engines.registry import ENGINES, open_graph
from dawnchorus.models.graphs.onnx_writer import OnnxWriter
from dawnchorus.models.graphs.wrapping import wrap_model
from dawnchorus.models.runner import open_session
from dawnchorus.registry import Registry

SUFFIXES = (".onnx", ".tflite")
"""Files that the reference graph is written as; an engine that reads neither is not held to it."""

EXTERNAL = ExternalModel(n_outputs=2)
WINDOWS = np.random.default_rng(3).uniform(-0.9, 0.9, (65, WINDOW_SAMPLES)).astype(np.float32)


def run(graph: LoadedGraph, windows: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], ...]:
    """Return scores and embeddings of windows, in as many runs as the graph needs."""
    (port,) = graph.inputs
    batches = [windows] if port.shape[0] is None else windows[:, np.newaxis]
    outputs = [graph.run({port.name: batch}, ["label", "embedding"]) for batch in batches]
    return tuple(map(np.concatenate, zip(*outputs, strict=True)))


def check_reference(engine: Engine, path: Path) -> None:
    """Hold ports, scores and errors of whole graphs to the protocol."""
    graph = engine.open(EXTERNAL.write(path), n_threads=1)
    (port,) = graph.inputs
    assert (port.dtype, port.shape[1:]) == ("float32", (WINDOW_SAMPLES,))
    assert port.shape[0] in (None, 1)
    assert [port.name for port in graph.outputs] == ["embedding", "label"]
    assert [port.shape[-1] for port in graph.outputs] == [3, 3]
    before, expected = WINDOWS.copy(), EXTERNAL.reference(WINDOWS)
    for n_windows in (1, 2, 7, 65):
        label, embedding = run(graph, WINDOWS[:n_windows])
        np.testing.assert_allclose(label, expected["label"][:n_windows], atol=1e-5)
        np.testing.assert_allclose(embedding, expected["embedding"][:n_windows], atol=1e-5)
    np.testing.assert_array_equal(WINDOWS, before, err_msg="inputs may not be changed")
    (first,) = graph.run({port.name: WINDOWS[:1]}, ["label"])
    kept = first.copy()
    graph.run({port.name: WINDOWS[1:2]}, ["label"])
    np.testing.assert_array_equal(first, kept, err_msg="a run may not change what an earlier one gave")


def check_errors(engine: Engine, path: Path) -> None:
    """Hold an engine to errors that name the file, after which it runs on."""
    graph = engine.open(EXTERNAL.write(path), n_threads=1)
    name, window = graph.inputs[0].name, WINDOWS[:1]
    for wrong in (window[:, 1:], window[0], window[np.newaxis], window.astype(float)):
        with pytest.raises(ModelError, match=f"{path.name}: the graph does not run"):
            graph.run({name: wrong}, ["label"])
    with pytest.raises(ModelError, match=f"{path.name}: the graph does not run"):
        graph.run({"another": window}, ["label"])
    np.testing.assert_allclose(run(graph, window)[0], EXTERNAL.reference(window)["label"], atol=1e-5)
    whole = path.read_bytes()
    for content in (b"", b"no graph", bytes(100), whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(InvalidBundleError, match=path.name) as error:
            open_graph(path, engine=engine.name)
        assert str(path.parent) not in error.value.reason


def check_threads(engine: Engine, path: Path) -> None:
    """Run one graph in two threads at once, and one that has two threads of its own."""
    graph = engine.open(EXTERNAL.write(path), n_threads=1)
    parts = [WINDOWS[:9], WINDOWS[9:20]] * 10
    expected = [run(graph, part) for part in parts]
    with ThreadPoolExecutor(2) as threads:
        np.testing.assert_equal(list(threads.map(lambda part: run(graph, part), parts)), expected)
    label, _ = run(engine.open(path, n_threads=2), WINDOWS)
    np.testing.assert_allclose(label, EXTERNAL.reference(WINDOWS)["label"], atol=1e-5)


def check_bundles(engine: Engine, path: Path) -> None:
    """Run bundles that name the engine, of graphs that take any number of windows and of one that takes 8."""
    expected = EXTERNAL.reference(WINDOWS)
    for batch in (None, 8):
        bundle = wrap(ExternalModel(batch=batch, n_outputs=2).write(path), path.with_suffix(""), engine.name)
        session = open_session(bundle)
        for n_windows in (1, 9, 65):
            output = session.run(WINDOWS[:n_windows], embeddings=True)
            np.testing.assert_allclose(output.logits, expected["label"][:n_windows], atol=1e-5)
            np.testing.assert_allclose(output.embeddings, expected["embedding"][:n_windows], atol=1e-5)


def wrap(graph: Path, folder: Path, engine: str | None) -> Bundle:
    return wrap_model(graph, folder, labels=LABELS, description=replace(DESCRIPTION, engine=engine))


CHECKS = (check_reference, check_errors, check_threads, check_bundles)


def check(engine: Engine, folder: Path) -> None:
    """Hold an engine to the protocol."""
    assert engine.summary
    assert not engine.summary.endswith(".")
    for suffix in engine.suffixes:
        assert suffix == suffix.lower()
        assert suffix.startswith(".")
        if suffix in SUFFIXES:
            for each in CHECKS:
                each(engine, folder / f"{each.__name__}{suffix}")


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_gives_the_scores_of_the_reference(name: str, tmp_path: Path) -> None:
    check(ENGINES[name], tmp_path)


def test_a_package_adds_an_engine_without_a_change_here(
    installed_examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert count_lines("dawnchorus-onnx-reference") <= MAX_LINES
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed_examples), *sys.path]), "COLUMNS": "200"}
    (tmp_path / "labels.txt").write_text("\n".join(label.scientific_name for label in LABELS))
    options = ["--labels", "labels.txt", "--sample-rate", str(RATE_HZ), "--window", str(WINDOW_SAMPLES / RATE_HZ)]
    graph = EXTERNAL.write(tmp_path / "x.onnx")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, graph, "bundle", *options, "--activation", "sigmoid"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "[onnxruntime|litert|onnx-reference]" in done.stdout
    assert read_bundle(tmp_path / "bundle").info.engine == "onnx-reference"
    monkeypatch.syspath_prepend(installed_examples)
    engines = Registry(
        Engine, (ONNXRUNTIME, LITERT), noun="engine", group="dawnchorus.engines", guard=registry.guard_engine
    )
    monkeypatch.setattr(registry, "ENGINES", engines)
    check(engines["onnx-reference"], tmp_path)


SCRIPT = """
import sys
from dawnchorus.cli.main import cli

for arguments in (["--help"], [*sys.argv[1:], "--engine", "onnx-reference"]):
    cli.main(["models", "wrap", *arguments], prog_name="dawnchorus", standalone_mode=False)
"""


def test_a_file_that_no_engine_reads_and_an_unknown_engine_are_refused(tmp_path: Path) -> None:
    path = EXTERNAL.write(tmp_path / "x.onnx")
    known = r"onnxruntime reads \.onnx; litert reads \.tflite"
    for name in ("openvino", "litert"):
        with pytest.raises(InvalidBundleError, match=rf"x\.onnx: no engine '{name}' that reads such .* \({known}\)"):
            open_graph(path, engine=name)
    with pytest.raises(InvalidBundleError, match=r"x\.pt: no engine that reads such a file is installed"):
        open_graph(path.rename(tmp_path / "x.pt"))


def test_a_graph_that_needs_too_much_memory_is_said_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    writer = OnnxWriter()
    writer.node("Expand", ["waveform", writer.constant([1 << 30, 1 << 30], dtype=np.int64)], output="logits")
    onnx.save(writer.model(inputs={"waveform": ("n", 1)}, outputs={"logits": ("n", "m")}), tmp_path / "x.onnx")
    graph = open_graph(tmp_path / "x.onnx")
    with pytest.raises(ModelError, match=r"x\.onnx: the graph does not run: there is not enough memory"):
        graph.run({"waveform": np.zeros((1, 1), np.float32)}, ["logits"])
    assert capfd.readouterr().err == ""
