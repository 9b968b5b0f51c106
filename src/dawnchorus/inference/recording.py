"""Scoring of one recording: decoding, cleaning, cutting into windows, and analyses of the outputs."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.decode import MAX_DECODED_SAMPLES
from dawnchorus.audio.decoder_pool import DecoderPool
from dawnchorus.audio.process import DecoderProcess
from dawnchorus.audio.windows import Windower, WindowPlan
from dawnchorus.inference.analyses.base import Analysis
from dawnchorus.inference.analyses.windows import SignalAnalysis, WindowAnalysis, WindowBatch, WindowOutput
from dawnchorus.inference.loaded_model import LoadedModel
from dawnchorus.inference.preparation import CleanedRecording
from dawnchorus.inference.results import ScoredChannel, ScoredRecording
from dawnchorus.inference.speech import VadStream, VoiceActivityDetector, join_overlapping
from dawnchorus.inference.work import NumberedWindows
from dawnchorus.limits import Limits
from dawnchorus.models.runner import BATCH_WINDOWS
from dawnchorus.types import ChannelOption, ChannelSource, Segment


@dataclass(frozen=True, kw_only=True)
class ScoringPlan:
    """Settings for scoring recordings.

    Args:
        windows: length and spacing of the windows.
        analyses: analyses of windows and model outputs, by the names of their tables.
        channel: channel to score: "mean" of all, "left" (the first), "right" (the second), "best" (the one whose
            frequency bands vary most over time), its number, from 1, or "each", which scores every channel separately.
        speech_detector: speech detector; None for no speech detection.
        limits: limits of length and channels, beyond which recordings fail; None for none.
        sample_analyses: analyses of the original samples, which run in the decoder process.
    """

    windows: WindowPlan
    analyses: Mapping[str, WindowAnalysis]
    channel: ChannelOption | ChannelSource = "mean"
    speech_detector: VoiceActivityDetector | None = None
    limits: Limits | None = None
    sample_analyses: Sequence[Analysis] = ()

    @property
    def needs_embeddings(self) -> bool:
        """True if an analysis needs embeddings."""
        return any(analysis.needs_embeddings for analysis in self.analyses.values())

    @property
    def max_samples(self) -> int:
        """Maximum number of frames x channels of a recording that is decoded.

        It is `limits.max_duration_s` at the rate of `windows`; without limits, `MAX_DECODED_SAMPLES`.
        """
        return MAX_DECODED_SAMPLES if self.limits is None else round(self.limits.max_duration_s * self.windows.rate_hz)


@dataclass(frozen=True)
class _Signal:
    """One mono signal of a recording: a channel, or the mix of all."""

    source: ChannelSource
    recording: CleanedRecording
    analyses: Mapping[str, SignalAnalysis]
    first_window: int
    """Number of windows in all signals before it."""

    def result(self) -> ScoredChannel:
        """Return the results of the signal, after its last window."""
        channel = self.source if isinstance(self.source, int) else None
        tables = {name: analysis.finish() for name, analysis in self.analyses.items()}
        return ScoredChannel(tables, self.recording.kept, channel)


class RecordingWork:
    """Scoring of one recording in the inference engine; implements `work.Work`.

    Args:
        path: the recording.
        model: the model.
        plan: settings of scoring.
        decoders: pool from which `open` borrows a decoder.
        warnings: sentences that are added to the warnings of the recording.
    """

    def __init__(
        self, path: Path, model: LoadedModel, plan: ScoringPlan, *, decoders: DecoderPool, warnings: Sequence[str] = ()
    ) -> None:
        self.path, self.model, self.plan = path, model, plan
        self.needs_embeddings = plan.needs_embeddings
        self._decoders, self._warnings = decoders, warnings
        self._decoder: DecoderProcess | None = None
        self._windows: Generator[NumberedWindows, None, None] | None = None
        self._signals: list[_Signal] = []
        self._speech: list[Segment] = []
        self._lock = threading.Lock()
        self._n_pulled = self._n_scored = 0
        self._pulled: dict[int, tuple[_Signal, FloatArray]] = {}
        """Signal and samples of the windows without output, by the number of the first window."""
        self._outputs: dict[int, WindowOutput] = {}
        """Outputs that arrived early, by the number of the first window."""

    @property
    def share_done(self) -> float:
        """Share of the recording that is scored, 0 to 1; 0 if its length is unknown."""
        info = self._signals[0].recording.info if self._signals else None
        if info is None or not info.duration_s:
            return 0.0
        n_signals = info.n_channels if self.plan.channel == "each" else 1
        windows = self.plan.windows
        n_windows = n_signals * windows.count(round(info.duration_s * windows.rate_hz))
        return min(self._n_scored / max(n_windows, 1), 1.0)

    # ------------------------------------------------------------------ windows

    def open(self) -> None:
        """Borrow a decoder, and start decoding.

        Raises:
            AudioError: the bundle's cleaning has to decode the recording first, and that failed.
            OverloadedError: the pool of decoders is closed.
        """
        self._decoder = self._decoders.borrow()
        first: ChannelSource = 1 if self.plan.channel == "each" else self.plan.channel
        self._windows = self._pull_signals(self._request(self._decoder, first), first)

    def is_ready(self, *, within_s: float) -> bool:
        """Return True if the decoder has replied (with samples or an error) or ended; wait up to `within_s` seconds.

        Also True without a decoder, before `open` and after the last samples, and always on Windows.
        """
        return self._decoder is None or self._decoder.is_ready(within_s=within_s)

    def next_windows(self) -> NumberedWindows | None:
        """Return the next windows, at most `BATCH_WINDOWS`; None after the last windows, and before `open`.

        Raises:
            AudioError: the recording cannot be decoded, or exceeds the limits.
            MissingExtraError: the bundle's cleaning reduces noise, and noisereduce is not installed.
        """
        return None if self._windows is None else next(self._windows, None)

    def close(self) -> None:
        """Cancel decoding, and give the decoder back."""
        if self._windows is not None:
            self._windows.close()
        self._release_decoder()

    def _pull_signals(self, opened: CleanedRecording, first: ChannelSource) -> Generator[NumberedWindows, None, None]:
        yield from self._pull_signal(opened, first)
        n_signals = opened.info.n_channels if self.plan.channel == "each" else 1
        for number in range(2, n_signals + 1):
            if self._decoder is not None:
                yield from self._pull_signal(self._request(self._decoder, number), number)

    def _pull_signal(self, opened: CleanedRecording, source: ChannelSource) -> Iterator[NumberedWindows]:
        """Yield the windows of one signal; give the decoder back after the last signal was decoded."""
        plan = self.plan
        windower = Windower(plan.windows, batch=BATCH_WINDOWS)
        detector = plan.speech_detector
        vad_stream = None if detector is None else VadStream(detector, rate_hz=plan.windows.rate_hz)
        with opened as recording:
            if plan.limits is not None:
                info = recording.info
                plan.limits.check(
                    self.path, n_channels=info.n_channels, rate_hz=info.rate_hz, duration_s=info.duration_s
                )
            analyses = {name: analysis.create() for name, analysis in plan.analyses.items()}
            signal = _Signal(source, recording, analyses, self._n_pulled)
            self._signals.append(signal)
            for block in recording.blocks():
                if vad_stream is not None:
                    vad_stream.add(block)
                for windows in windower.push(block):
                    yield self._number(signal, windows)
        if vad_stream is not None:
            kept = recording.kept
            self._speech += [Segment(kept.start_s(s.start_s), kept.end_s(s.end_s)) for s in vad_stream.finish()]
        is_last = plan.channel != "each" or source == recording.info.n_channels
        if is_last:
            self._release_decoder()
        rest = windower.finish()
        if rest is not None:
            yield self._number(signal, rest, is_last=is_last)

    def _request(self, decoder: DecoderProcess, source: ChannelSource) -> CleanedRecording:
        plan = self.plan
        # They get all channels, so the first signal is enough.
        new = {analysis.name: analysis.create() for analysis in plan.sample_analyses} if not self._signals else {}
        return self.model.cleaner.open(
            decoder, self.path, rate_hz=plan.windows.rate_hz, max_samples=plan.max_samples, channel=source, analyses=new
        )

    def _release_decoder(self) -> None:
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            self._decoders.give_back(decoder)

    def _number(self, signal: _Signal, windows: FloatArray, *, is_last: bool = False) -> NumberedWindows:
        with self._lock:
            first, self._n_pulled = self._n_pulled, self._n_pulled + len(windows)
            self._pulled[first] = signal, windows
        return NumberedWindows(first, windows, is_last)

    # ------------------------------------------------------------------ output

    def add(self, first_window: int, output: WindowOutput) -> None:
        """Pass the model's output for windows from number `first_window` on to the analyses.

        Outputs may arrive in any order; the analyses get them in the order of the windows.

        Raises:
            ModelError: a score or an embedding is not finite.
            InputError: an analysis needs embeddings, and the output has none.
        """
        with self._lock:
            self._outputs[first_window] = output
            while (following := self._outputs.pop(self._n_scored, None)) is not None:
                signal, windows = self._pulled.pop(self._n_scored)
                batch = WindowBatch(self._n_scored - signal.first_window, windows, following)
                self._check_output(batch, signal)
                for analysis in signal.analyses.values():
                    analysis.on_windows(batch)
                self._n_scored += len(windows)

    def _check_output(self, batch: WindowBatch, signal: _Signal) -> None:
        outputs = (batch.output, *batch.output.others)
        for model, output in zip((self.model, *self.model.others), outputs, strict=True):
            if (invalid := replace(batch, output=output).find_invalid()) is not None:
                number, kind = invalid
                start_s = signal.recording.kept.start_s(self.plan.windows.start_s(number))
                raise model.invalid_output(kind, self.path, at_s=start_s)

    def result(self) -> ScoredRecording:
        """Return the results of all analyses; called after the last output was added."""
        recordings = [signal.recording for signal in self._signals]
        return ScoredRecording(
            path=self.path,
            info=recordings[0].info,
            metadata=recordings[0].metadata,
            duration_s=recordings[0].duration_s,
            warnings=(*dict.fromkeys(warning for each in recordings for warning in each.warnings), *self._warnings),
            channels=tuple(signal.result() for signal in self._signals),
            speech=join_overlapping(self._speech),
            tables=recordings[0].tables,
        )
