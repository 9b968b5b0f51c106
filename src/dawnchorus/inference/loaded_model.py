"""A bundle in memory, ready to score windows on several threads."""

from __future__ import annotations

from dataclasses import dataclass

from dawnchorus.arrays import Windows
from dawnchorus.inference.analyses.windows import WindowOutput
from dawnchorus.inference.preparation import Cleaner
from dawnchorus.inference.sessions import SessionPool
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.runner import apply_activation


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A bundle with its sessions, and its cleaning of recordings."""

    bundle: Bundle
    cleaner: Cleaner
    sessions: SessionPool

    def run(self, windows: Windows, *, embeddings: bool = False) -> WindowOutput:
        """Return the output for windows [n, samples].

        Raises:
            InputError: windows of another length or type.
            ModelError: the bundle cannot be run.
        """
        output = self.sessions.run(windows, embeddings=embeddings)
        return WindowOutput(apply_activation(output.logits, self.bundle.info.activation), output.embeddings)
