"""`Model` of the Python interface: an opened bundle with `predict` and `embed`."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dawnchorus.arrays import Embeddings, Scores, Windows
from dawnchorus.audio.channels import as_channel
from dawnchorus.audio.decode import open_recording
from dawnchorus.audio.sources import AudioSource, open_audio
from dawnchorus.audio.windows import Windower, WindowPlan
from dawnchorus.cores import usable_cores
from dawnchorus.errors import InputError, ModelError
from dawnchorus.inference.analyses.dense_scores import DenseScores
from dawnchorus.inference.analyses.embeddings import Embeddings as EmbeddingAnalysis
from dawnchorus.inference.analyses.windows import Table, WindowAnalysis, WindowBatch
from dawnchorus.inference.engine import InferenceEngine
from dawnchorus.inference.loaded_model import LoadedModel
from dawnchorus.inference.preparation import open_cleaner
from dawnchorus.inference.recording import RecordingWork, ScoringPlan
from dawnchorus.inference.sessions import SessionPool
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.runner import BATCH_WINDOWS
from dawnchorus.models.store import DEFAULT_MODEL, ModelStore, default_folder
from dawnchorus.taxonomy.labels import Label
from dawnchorus.types import ChannelSource

LOG = logging.getLogger(__name__)

MAX_SHOWN_LABELS = 5


@dataclass(frozen=True, repr=False)
class Model:
    """A loaded model. Threads can share it; pickle and fork work.

    Attributes:
        bundle: the model's files: graph, labels and description.
        store: folder of built-in models, which also has the speech detector.
    """

    bundle: Bundle
    store: ModelStore = field(default_factory=lambda: ModelStore(default_folder()))

    def __repr__(self) -> str:
        facts = f"{len(self.labels)} classes, windows of {self.window_s:g} s at {self.sample_rate_hz} Hz"
        return f"<Model {self.name} {self.bundle.info.version}: {facts}>"

    def __reduce__(self) -> tuple[type[Model], tuple[Bundle, ModelStore]]:
        return Model, (self.bundle, self.store)  # what is in memory stays there

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.bundle.info.name

    @property
    def labels(self) -> tuple[Label, ...]:
        """Classes, in the column order of scores."""
        return self.bundle.labels

    @property
    def sample_rate_hz(self) -> int:
        """Sample rate of the windows in Hz; recordings are resampled to it."""
        return self.bundle.info.sample_rate_hz

    @property
    def window_s(self) -> float:
        """Length of a window in seconds."""
        return self.bundle.info.window_s

    @property
    def embedding_dim(self) -> int | None:
        """Length of an embedding; None if the model has no embeddings."""
        return self.bundle.info.embedding_dim

    def predict(
        self,
        audio: AudioSource | npt.ArrayLike,
        sample_rate_hz: int | None = None,
        *,
        overlap_s: float = 0.0,
        channel: ChannelSource = "mean",
    ) -> Scores:
        """Return the scores [windows, classes] of a recording, from 0 to 1.

        A rest at the recording's end that no window covers has another window, padded with silence, if the rest is a
        quarter of a window or longer; a shorter rest is not scored. A recording shorter than a window has one window.

        Args:
            audio: a path, a sound file's bytes, an open sound file, or samples [frames] or [frames, channels], alone or
                in a tuple with their sample rate.
            sample_rate_hz: rate of samples without a tuple; it may differ from the model's. None for all other audio.
            overlap_s: seconds that neighboring windows share; window k starts at `k * (window_s - overlap_s)` seconds,
                of the cleaned audio if the model's bundle has cleaning.
            channel: channel to score: "mean" of all channels, "left" (the first), "right" (the second), "best" (the
                one whose frequency bands vary most over time), or its number, from 1.

        Raises:
            ModelError: the model cannot be loaded or run, or its scores are not finite.
            MissingExtraError: the library that runs the model, or noisereduce for its cleaning, is not installed.
            InputError: samples of a wrong shape or type, or without a rate, a rate for audio that has one, an overlap
                that is not from 0 to below the window, or no such channel name.
            AudioError: the file cannot be decoded, or has no channel of this number.
        """
        analysis = DenseScores(np.arange(len(self.labels)))
        rows = self._compute(analysis, audio, sample_rate_hz, overlap_s=overlap_s, channel=channel)
        return rows["scores"]

    def embed(
        self,
        audio: AudioSource | npt.ArrayLike,
        sample_rate_hz: int | None = None,
        *,
        overlap_s: float = 0.0,
        channel: ChannelSource = "mean",
    ) -> Embeddings:
        """Return the embeddings [windows, dim] of a recording; the arguments are those of `predict`.

        Raises:
            ModelError: the model has no embeddings, they are not finite, or the model cannot be loaded or run.
            MissingExtraError: the library that runs the model, or noisereduce for its cleaning, is not installed.
            InputError: samples of a wrong shape or type, or without a rate, a rate for audio that has one, an overlap
                that is not from 0 to below the window, or no such channel name.
            AudioError: the file cannot be decoded, or has no channel of this number.
        """
        if self.embedding_dim is None:
            raise ModelError(f"{self.name}: this model has no embeddings. Use one that has, such as birdnet.")
        return self._compute(EmbeddingAnalysis(), audio, sample_rate_hz, overlap_s=overlap_s, channel=channel)[
            "embedding"
        ]

    @cached_property
    def loaded(self) -> LoadedModel:
        """The opened bundle, with its inference sessions, which are opened when they are first used.

        Raises:
            ModelError: the bundle's cleaning needs a speech detector, which cannot be downloaded.
        """
        cleaner = open_cleaner(self.bundle.info.cleaning, self.store.folder)
        return LoadedModel(self.bundle, cleaner, SessionPool(self.bundle))

    def _compute(
        self,
        analysis: WindowAnalysis,
        audio: AudioSource | npt.ArrayLike,
        sample_rate_hz: int | None,
        *,
        overlap_s: float,
        channel: ChannelSource,
    ) -> Table:
        """Return the table that the analysis computes for a recording."""
        channel = as_channel(channel)
        windows = WindowPlan.from_seconds(rate_hz=self.sample_rate_hz, window_s=self.window_s, overlap_s=overlap_s)
        with open_audio(_with_rate(audio, sample_rate_hz)) as file:
            if file.is_trusted and self.bundle.info.cleaning is None:
                return self._compute_here(analysis, file.path, windows, channel)
            plan = ScoringPlan(windows=windows, analyses={"": analysis}, channel=channel)
            with InferenceEngine(n_threads=usable_cores(), max_active=1) as engine:
                work = RecordingWork(file.path, self.loaded, plan, decoders=engine.decoders)
                scored = engine.submit(work).result()
                for warning in scored.warnings:
                    LOG.warning(f"{file.name}: {warning}.")
                return scored.channels[0].tables[""]

    def _compute_here(self, analysis: WindowAnalysis, path: Path, plan: WindowPlan, channel: ChannelSource) -> Table:
        """Return the table that the analysis computes for samples of this process, without a decoder process."""
        state, n = analysis.create(), 0
        for windows in _cut_windows(path, plan, channel):
            output = self.loaded.run(windows, embeddings=analysis.needs_embeddings)
            batch = WindowBatch(n, windows, output)
            if (invalid := batch.find_invalid()) is not None:
                number, kind = invalid
                raise self.loaded.invalid_output(kind, path, at_s=plan.start_s(number))
            state.on_windows(batch)
            n += len(windows)
        return state.finish()

    def _repr_html_(self) -> str:
        """Return the model's properties as HTML for notebooks."""
        info = self.bundle.info
        names = ", ".join(label.common_name for label in self.labels[:MAX_SHOWN_LABELS])
        more = len(self.labels) - MAX_SHOWN_LABELS
        facts = {
            "Model": f"{info.name} {info.version} ({self.bundle.id})",
            "Classes": f"{len(self.labels)}: {names}{f' and {more} more' if more > 0 else ''}",
            "Window": f"{info.window_s:g} s at {info.sample_rate_hz} Hz",
            "Embeddings": str(self.embedding_dim or "none"),
            "License": info.license,
        }
        rows = "".join(f"<tr><th>{name}</th><td>{escape(value)}</td></tr>" for name, value in facts.items())
        return f"<table>{rows}</table>"


def _cut_windows(path: Path, plan: WindowPlan, channel: ChannelSource) -> Iterator[Windows]:
    windower = Windower(plan, batch=BATCH_WINDOWS)
    with open_recording(path) as recording:
        for block in recording.blocks(rate_hz=plan.rate_hz, channel=channel):
            yield from windower.push(block)
    rest = windower.finish()
    if rest is not None:
        yield rest


def load_model(
    model: str | os.PathLike[str] | Model = DEFAULT_MODEL, *, models_folder: str | os.PathLike[str] | None = None
) -> Model:
    """Load a built-in model by name, or a bundle or training run by folder.

    Args:
        model: name or folder; a folder with the name of a built-in model is given as `./NAME`. A loaded model is
            returned unchanged.
        models_folder: folder of the built-in models; default: `$DAWNCHORUS_MODELS`, or the user's cache.

    Raises:
        InputError: `model` is neither a name, a path nor a loaded model.
        ModelNotFoundError: neither a folder nor a built-in model's name, the weights cannot be downloaded, or the
            training run has no bundle yet.
        InvalidBundleError: the folder is not a bundle.
        ModelError: the weights of a built-in model are not the published ones.
        OutputError: the folder of the built-in models cannot be written.
    """
    if isinstance(model, Model):
        return model
    if not isinstance(model, str | os.PathLike):
        raise InputError(
            f"model: expected a built-in model's name, a bundle's or training run's folder, or a loaded model, "
            f"got {type(model).__name__}."
        )
    store = ModelStore(default_folder() if models_folder is None else Path(models_folder))
    return Model(store.open(Path(model) if isinstance(model, os.PathLike) else model), store)


def _with_rate(audio: AudioSource | npt.ArrayLike, sample_rate_hz: int | None) -> AudioSource:
    """Return samples in a tuple with their rate, and other audio unchanged.

    Raises:
        InputError: samples without a rate, or a rate for audio that has its own.
    """
    is_array = hasattr(audio, "__array__") or isinstance(audio, list)
    if is_array and sample_rate_hz is None:
        raise InputError("sample_rate_hz: expected the rate of the samples in Hz, as in predict(samples, 48_000).")
    if not is_array and sample_rate_hz is not None:
        raise InputError("sample_rate_hz: expected a rate with samples only; files and tuples have their own.")
    return (audio, sample_rate_hz) if is_array else audio  # type: ignore[return-value]
