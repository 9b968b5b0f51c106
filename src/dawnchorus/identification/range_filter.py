"""The range filter: species that are expected at a location in a week."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dawnchorus.errors import ModelNotFoundError
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.engines.registry import open_graph

WHOLE_YEAR = -1
"""Input of the range model for "no week"."""


class RangeFilter:
    """Range model of one bundle (`source`), applied to the classes of another or the same bundle (`bundle`).

    Species are matched by scientific name. A class that the range model lacks, or that is no species, is neither in
    nor out of range.

    Args:
        source: bundle with the range model.
        bundle: bundle with the classes.
        threshold: minimum probability of occurrence for a species in range.

    Raises:
        ModelNotFoundError: `source` has no range model.
    """

    def __init__(self, source: Bundle, *, bundle: Bundle, threshold: float) -> None:
        if not source.range_path.is_file():
            raise ModelNotFoundError(
                f"{source.folder}: this bundle has no range model. Leave latitude and longitude out, or run "
                f"`dawnchorus models pull birdnet`."
            )
        self._graph = open_graph(source.range_path)
        self._input = self._graph.inputs[0].name  # "place" in bundles of before 2026-12
        known = source.class_by_scientific_name
        self._classes = np.array(
            [known.get(label.scientific_name, -1) if label.kind == "species" else -1 for label in bundle.labels]
        )
        self._names = source.info.name, bundle.info.name
        self._threshold = threshold
        self._predict = lru_cache(maxsize=4096)(self._probabilities)

    def _probabilities(self, latitude: float, longitude: float, week: int) -> npt.NDArray[np.float32]:
        location = np.array([[latitude, longitude, week]], np.float32)
        probabilities: npt.NDArray[np.float32] = self._graph.run({self._input: location}, ["probabilities"])[0][0]
        return probabilities

    def note(self) -> str | None:
        """Return a sentence for users if the range model has no class of `bundle`; else None."""
        if (self._classes >= 0).any():
            return None
        source, bundle = self._names
        return f"location and week have no effect: the range model of {source} knows none of the classes of {bundle}."

    def expected(self, *, latitude: float, longitude: float, week: int | None) -> list[bool | None]:
        """Return for each class of `bundle`, in order, if its probability of occurrence is `threshold` or more.

        None is for a class that the range model lacks, and for sounds that are no species. `week` is from 1 to 48, see
        `week_of`; None is all year. Latitude and longitude are in degrees north and east, and are rounded to
        hundredths.
        """
        week = WHOLE_YEAR if week is None else week
        probabilities = self._predict(round(latitude, 2), round(longitude, 2), week)
        inside = probabilities >= self._threshold
        return [bool(inside[k]) if k >= 0 else None for k in self._classes]
