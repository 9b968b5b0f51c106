"""Types of NumPy arrays that several packages use, and validation of arrays from users."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dawnchorus.errors import InputError

FloatArray = npt.NDArray[np.float32]
"""Array of float32 of any shape."""

Waveform = FloatArray
"""Mono samples [samples], -1 to 1."""

Frames = FloatArray
"""Samples of all channels [frames, channels], -1 to 1; a frame has one sample of each channel."""

Windows = FloatArray
"""Mono samples of windows of equal length [windows, samples], -1 to 1."""

Scores = FloatArray
"""Scores from 0 to 1 [windows, classes]."""

Embeddings = FloatArray
"""Embeddings of windows by a model [windows, dim]."""

MAX_INTEGER_BYTES = 4
"""Maximum size of an integer sample. Larger integers (int64) are refused: their values rarely use all 64 bits, so the
full scale is not known."""

MAX_PEAK = 100.0
"""Maximum absolute value of a floating-point sample, 40 dB above full scale.

Recorders with 32-bit float samples stay below this value; integers that were converted without division do not.
"""

_INTEGER_SCALES = (1 << 15, 1 << 23, 1 << 31)


class ScaleCheck:
    """Check of floating-point samples, block by block, for the scale of integers (such as -32768 to 32767)."""

    def __init__(self) -> None:
        self._peak = 0.0
        self._is_whole = True

    def add(self, samples: FloatArray) -> None:
        """Include a block of samples of any shape, all finite, in the check."""
        self._peak = max(self._peak, float(np.abs(samples).max(initial=0.0)))
        self._is_whole = self._is_whole and bool((samples == np.rint(samples)).all())

    def describe(self) -> str | None:
        """Return a message with a remedy if the samples have the scale of integers, else None.

        Peaks above 1 are accepted up to `MAX_PEAK`, unless all samples are whole numbers.
        """
        if self._peak <= (1 if self._is_whole else MAX_PEAK):
            return None
        scale = next((scale for scale in _INTEGER_SCALES if self._peak <= scale), _INTEGER_SCALES[-1])
        return (
            f"samples of floating point reach {self._peak:.6g}, where full scale is 1, as if they were integers. "
            f"Divide them by the full scale of these ({scale} of {scale.bit_length()} bits)"
        )


def as_frames(samples: npt.ArrayLike) -> Frames:
    """Convert samples [frames] or [frames, channels] to float32 [frames, channels]; integers are scaled to -1 to 1.

    Raises:
        InputError: `samples` is not an array, is empty or of another shape, has fewer frames than channels, has a type
            without a known full scale (int64, lists of integers, unsigned integers), has values that are not finite,
            or has floating-point values with the scale of integers.
    """
    given = _as_array(samples)
    if given.ndim not in (1, 2) or given.size == 0:
        raise InputError(f"samples: expected an array [frames] or [frames, channels], got the shape {given.shape}.")
    if given.ndim == 2 and given.shape[0] < given.shape[1]:
        raise InputError(
            f"samples: expected [frames, channels], got the shape {given.shape}, which has more channels than frames. "
            f"Transpose it: samples.T."
        )
    frames = given.reshape(len(given), -1)
    if np.issubdtype(frames.dtype, np.signedinteger):
        if frames.dtype.itemsize > MAX_INTEGER_BYTES or isinstance(samples, list | tuple):
            kind = f"a {type(samples).__name__} of integers" if isinstance(samples, list | tuple) else frames.dtype
            raise InputError(
                f"samples: expected int16 or int32 samples, or floating point ones from -1 to 1, got {kind}, whose "
                f"full scale is not known. Divide them by it (by 32768 if they have 16 bits), or give "
                f"numpy.asarray(samples, numpy.int16)."
            )
        scaled: Frames = np.divide(frames, -float(np.iinfo(frames.dtype).min), dtype=np.float32)
        return scaled
    if not np.issubdtype(frames.dtype, np.floating):
        raise InputError(f"samples: expected floating point or signed integer samples, got {frames.dtype}.")
    if not np.isfinite(frames).all():
        raise InputError("samples: expected finite numbers, got NaN or infinity. Replace them, as by numpy.nan_to_num.")
    check = ScaleCheck()
    check.add(frames)
    if (problem := check.describe()) is not None:
        raise InputError(f"samples: expected -1 to 1, but {problem}.")
    return frames.astype(np.float32, copy=False)


def _as_array(samples: npt.ArrayLike) -> npt.NDArray[Any]:
    try:
        return np.asarray(samples)
    except (RuntimeError, TypeError, ValueError) as error:  # a tensor with a gradient or on a GPU, a ragged list
        raise InputError(
            f"samples: expected an array, got {type(samples).__name__}, which NumPy cannot read ({error}). Give a "
            f"NumPy array, as of a tensor by samples.detach().cpu().numpy()."
        ) from error


def check_windows(windows: Windows, *, window_samples: int) -> None:
    """Check the shape and type of windows for a model.

    Raises:
        InputError: `windows` is not float32 [windows, window_samples].
    """
    if windows.ndim != 2 or windows.shape[1] != window_samples or windows.dtype != np.float32:
        raise InputError(
            f"windows: expected float32 [windows, {window_samples}], got {windows.dtype} {list(windows.shape)}."
        )
