"""Analyses of a recording's own samples, before channels are mixed and the rate is changed."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

Columns = dict[str, npt.NDArray[Any]]
"""Columns of a table by name, all of one length: numbers, truth values or texts."""


class SampleAnalysis(Protocol):
    """What is computed of the samples of one recording; a new one can be pickled."""

    def on_samples(self, block: FloatArray, sample_rate_hz: int) -> None:
        """Add samples [frames, channels], finite, full scale -1 to 1; the block may not be kept or changed."""
        ...

    def finish(self) -> Columns:
        """Return the rows of the recording."""
        ...
