"""Settings of the cleaning of recordings (noise reduction, removal of silence and speech), which a bundle stores."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from dawnchorus.audio.noise import NoiseKind


class Cleaning(BaseModel):
    """Processing steps of recordings before scoring; by default none.

    Segments to remove are found in the original audio, and cut out after noise reduction.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    trim_db: float | None = Field(default=None, gt=0, le=120)
    """Trim start and end where frames are at least this many dB below the loudest one, as `librosa.effects.trim`.

    None for no trimming.
    """
    denoise: NoiseKind | None = None
    """Kind of noise reduction by spectral gating (noisereduce), "stationary" or "nonstationary"; None for none."""
    cut_speech: bool = False
    """True to remove segments with human speech (Silero VAD)."""

    @property
    def removes(self) -> bool:
        """True if segments of a recording are removed: if `trim_db` or `cut_speech` is set."""
        return self.cut_speech or self.trim_db is not None

    def __bool__(self) -> bool:
        return self.removes or self.denoise is not None
