"""Conversion of detections to other libraries (Arrow, pandas, Polars, OpenSoundscape) and to files."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from dawnchorus.errors import MissingExtraError
from dawnchorus.formats.class_names import write_class
from dawnchorus.formats.detection_columns import DetectionColumns
from dawnchorus.formats.registry import write_tables
from dawnchorus.types import Provenance, RecordingTable

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

MAX_SHOWN_SPECIES = 20


@dataclass(frozen=True)
class SpeciesSummary:
    """Summary of the detections of one class.

    Attributes:
        scientific_name: for example "Parus major".
        common_name: for example "Great Tit".
        kind: "species", or "sound" for other classes (an engine, a human voice).
        n_detections: number of detections of the class.
        n_recordings: number of recordings in which the class is detected.
        max_score: highest score of these detections, 0 to 1.
    """

    scientific_name: str
    common_name: str
    kind: str
    n_detections: int
    n_recordings: int
    max_score: float


@dataclass(frozen=True)
class DetectionsSummary:
    """Summary of detections.

    Attributes:
        n_recordings: number of recordings with a table; in a `Run` also those without detections.
        n_detections: number of detections of all classes.
        species: detected classes, those with most detections first.
    """

    n_recordings: int
    n_detections: int
    species: tuple[SpeciesSummary, ...]

    def __str__(self) -> str:
        lines = [f"{self.n_recordings} recordings, {self.n_detections} detections, {len(self.species)} classes"]
        lines += [f"{each.n_detections:8d}  {each.common_name}" for each in self.species[:MAX_SHOWN_SPECIES]]
        if len(self.species) > MAX_SHOWN_SPECIES:
            lines.append(f"          and {len(self.species) - MAX_SHOWN_SPECIES} more")
        return "\n".join(lines)


class DetectionExports(ABC):
    """Base class with conversions of detections to other libraries and files.

    Conversions hold one recording in memory at a time, unless the result itself is in memory.
    """

    @property
    @abstractmethod
    def provenance(self) -> Provenance:
        """Model, software and options that made the rows; names and versions that are unknown are ""."""

    @abstractmethod
    def tables(self) -> Iterator[RecordingTable]:
        """Yield the table of each recording in order, also of a recording without detections if the object knows of it.

        Each call starts with the first recording.
        """

    def to_arrow(self) -> pa.Table:
        """Return an Arrow table with one row per detection and all `columns.COLUMNS`, as in the format "parquet".

        The provenance, as JSON, is in the metadata of the schema, under the key `dawnchorus`.
        """
        from dawnchorus.formats.parquet import open_batches

        return open_batches(self.tables(), self.provenance).read_all()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the rows as a stream of Arrow's C data interface, for Polars, DuckDB and other readers."""
        from dawnchorus.formats.parquet import open_batches

        return open_batches(self.tables(), self.provenance).__arrow_c_stream__(requested_schema)

    def to_pandas(self) -> pd.DataFrame:
        """Return a pandas data frame with one row per detection, and the columns of `to_arrow`.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        require_package("pandas", "A pandas data frame")
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame

    def to_polars(self) -> pl.DataFrame:
        """Return a Polars data frame with one row per detection, and the columns of `to_arrow`.

        Raises:
            MissingExtraError: polars is not installed.
        """
        require_package("polars", "A polars data frame")
        import polars as pl

        return pl.DataFrame(self.to_arrow())

    def to_opensoundscape(self) -> pd.DataFrame:
        """Return a pandas score table as OpenSoundscape has: one row per window with a detection, one column per class.

        The index has `file`, `start_time` and `end_time` in seconds; the columns are scientific names, with a
        backslash before one that would be read as two names. A class that was not detected in a window is NaN there; of
        several detections of a class in a window, the highest score is taken. For all scores, identify with
        `min_score=0`.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        require_package("pandas", "A pandas data frame")
        frame = self.to_arrow().select(["recording", "start_s", "end_s", "scientific_name", "score"]).to_pandas()
        frame = frame.astype({"recording": str, "scientific_name": str})
        frame = frame.rename(columns={"recording": "file", "start_s": "start_time", "end_s": "end_time"})
        wide: pd.DataFrame = frame.pivot_table(
            index=["file", "start_time", "end_time"], columns="scientific_name", values="score", aggfunc="max"
        )
        return wide.rename(columns=write_class).rename_axis(columns=None)

    def write(self, path: str | os.PathLike[str], *, format: str | None = None) -> None:  # noqa: A002 - as in pandas
        """Write one table with all recordings to `path`, atomically; create the folder if it does not exist.

        `format` is the name of a table format ("csv", "raven", "audacity", "kaleidoscope", "parquet", "jsonl",
        "birdnet", "opensoundscape" or a plug-in's); None for the format of the path's suffix (`.csv`, `.parquet`,
        `.jsonl`, `.selections.txt`, ...; see `registry.detect_format`).

        Raises:
            InputError: an unknown format or suffix.
            PlugInError: the format of a plug-in failed.
            OutputError: no space, or no permission.
        """
        write_tables(Path(path), self.tables(), self.provenance, format_name=format)

    def summary(self) -> DetectionsSummary:
        """Count recordings and detections, in all and by class: (scientific name, common name, kind)."""
        n_recordings = 0
        counts: Counter[tuple[str, str, str]] = Counter()
        recordings: Counter[tuple[str, str, str]] = Counter()
        best: dict[tuple[str, str, str], float] = {}
        for table in self.tables():
            n_recordings += 1
            columns = DetectionColumns.from_detections(table.detections)
            names = list(columns.rows("scientific_name", "common_name", "kind"))
            counts.update(names)
            recordings.update(set(names))
            for name, score in zip(names, columns.to_list("score"), strict=True):
                best[name] = max(best.get(name, 0.0), score)
        species = tuple(SpeciesSummary(*name, n, recordings[name], best[name]) for name, n in counts.most_common())
        return DetectionsSummary(n_recordings, counts.total(), species)

    def _repr_html_(self) -> str:
        """Return the summary as HTML for notebooks."""
        summary = self.summary()
        rows = "".join(
            f"<tr><td>{escape(each.common_name)}</td><td><i>{escape(each.scientific_name)}</i></td>"
            f"<td>{each.n_detections}</td><td>{each.n_recordings}</td><td>{each.max_score:.2f}</td></tr>"
            for each in summary.species[:MAX_SHOWN_SPECIES]
        )
        more = len(summary.species) - MAX_SHOWN_SPECIES
        return (
            f"<p>{escape(self._headline(summary))}</p><table><thead><tr><th>Species</th><th></th><th>Detections</th>"
            f"<th>Recordings</th><th>Best score</th></tr></thead><tbody>{rows}</tbody></table>"
            f"{f'<p>and {more} more</p>' if more > 0 else ''}"
        )

    def _headline(self, summary: DetectionsSummary) -> str:
        return str(summary).partition("\n")[0]


def require_package(package: str, purpose: str) -> None:
    """Check that a package of the extra [dataframes] is installed.

    Args:
        package: import name of the package.
        purpose: subject of the message, such as "A pandas data frame".

    Raises:
        MissingExtraError: the package is not installed.
    """
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise MissingExtraError(package, extra="dataframes", purpose=purpose)
