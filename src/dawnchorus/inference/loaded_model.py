"""An opened bundle that scores windows on several threads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dawnchorus.arrays import Windows
from dawnchorus.errors import ModelError
from dawnchorus.inference.analyses.windows import WindowOutput
from dawnchorus.inference.preparation import Cleaner, open_cleaner
from dawnchorus.inference.sessions import SessionPool
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.runner import apply_activation


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """An opened bundle: its inference sessions, and the cleaning of audio before it is scored."""

    bundle: Bundle
    """Files of the model: graph, labels and description."""
    cleaner: Cleaner
    """Opener of recordings that applies the bundle's cleaning."""
    sessions: SessionPool
    """Inference sessions, one for each thread in use."""
    others: tuple[LoadedModel, ...] = ()
    """Other models with equal windows and cleaning, which score the same windows, so that audio is decoded once."""

    @classmethod
    def open(cls, bundle: Bundle, models_folder: Path, *, tta_shifts: int = 1) -> LoadedModel:
        """Open a bundle, with a speech detector from `models_folder` if its cleaning removes speech.

        Sessions are opened when they are first used. `tta_shifts` is the number of circular time shifts of each window
        whose logits are averaged (test-time augmentation); 1: none.

        Raises:
            ModelError: a speech detector is needed, and cannot be downloaded.
        """
        return cls(bundle, open_cleaner(bundle.info.cleaning, models_folder), SessionPool(bundle, tta_shifts))

    def load(self, n_threads: int) -> None:
        """Open one more session in advance for this model and for each of `others`.

        A model that has `n_threads` sessions or more gets none.

        Raises:
            ModelError: the graph cannot be loaded.
            MissingExtraError: the library that runs the graph is not installed.
        """
        for each in (self, *self.others):
            each.sessions.load(n_threads)

    def invalid_output(self, kind: str, path: Path, *, at_s: float) -> ModelError:
        """Return the error for output that is not finite.

        Args:
            kind: kind of the output: "scores" or "embeddings".
            path: the recording.
            at_s: start in seconds of the window in the recording.
        """
        return ModelError(
            f"expected finite {kind}, got NaN or infinity for the window at {at_s:g} s of {path.name}. Export the "
            f"model again, as in 32 bits, or use another.",
            subject=self.bundle.info.name,
        )

    def run(self, windows: Windows, *, embeddings: bool = False) -> WindowOutput:
        """Run the model, and those in `others`, on windows [n, samples]; compute embeddings if `embeddings` is True.

        Raises:
            InputError: the windows are not float32 of the bundle's window length.
            ModelError: the graph cannot be loaded or run.
            MissingExtraError: the library that runs the graph is not installed.
        """
        output = self.sessions.run(windows, embeddings=embeddings)
        scores = apply_activation(output.logits, self.bundle.info.activation)
        others = tuple(each.run(windows, embeddings=embeddings) for each in self.others)
        return WindowOutput(scores, output.embeddings, others)
