"""Settings of the cleaning of recordings, which a bundle stores."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from dawnchorus.audio.noise import NoiseKind


class Cleaning(BaseModel):
    """Cleaning of recordings, in order of application; nothing by default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trim_db: float | None = Field(default=None, gt=0, le=120)
    """Remove the start and the end as far as they are this much below the loudest frame (as librosa.effects.trim)."""
    denoise: NoiseKind | None = None
    """Reduce noise by spectral gating (noisereduce)."""
    cut_speech: bool = False
    """Remove human speech (Silero VAD)."""

    @property
    def removes(self) -> bool:
        """True if segments of a recording are removed."""
        return self.cut_speech or self.trim_db is not None

    def __bool__(self) -> bool:
        return self.removes or self.denoise is not None
