"""Definition of the analyses of samples that users select by name; other packages add theirs by entry points."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dawnchorus.audio.sample_analyses import SampleAnalysis, Table
from dawnchorus.errors import InputError, PlugInError
from dawnchorus.plug_ins import PlugIn
from dawnchorus.types import RecordingMetadata

Tables = dict[str, Table]
"""Tables of a run by the suffix of their files' names, such as "recorders"; "" is the analysis's main table."""


@dataclass(frozen=True)
class AnalyzedRecording:
    """Rows that an analysis computed for one recording, with the recording's metadata."""

    recording: str
    """Name of the recording in tables."""
    duration_s: float
    """Duration of the recording in seconds."""
    metadata: RecordingMetadata
    """Location and time, including those that the user gave."""
    rows: Table
    """Rows of the analysis; `SampleAnalysis.finish` returned them."""


@dataclass(frozen=True)
class Analysis:
    """An analysis of samples that users select by name.

    Args:
        name: in lower case, as users type it.
        summary: a phrase for lists of analyses.
        create: function that returns a new state for one recording; it must be importable, since the state is pickled.
        summarize: function that returns the tables of a run by suffix of their name, given all recordings in order;
            None if the only table has the rows of all recordings, one after the other.
        tables: suffixes of the names of the run's tables, "" for the main table; existing files with these names are
            refused before a run.
        plug_in: entry point of the package that adds the analysis; None for an analysis of Dawn Chorus itself.
    """

    name: str
    summary: str
    create: Callable[[], SampleAnalysis]
    summarize: Callable[[Iterable[AnalyzedRecording]], Tables] | None = None
    tables: tuple[str, ...] = ("",)
    plug_in: PlugIn | None = None

    def check(self) -> None:
        """Check that a state can be created and sent to a decoder process.

        Raises:
            InputError: the state cannot be created or pickled.
            PlugInError: a function of the plug-in failed.
        """
        try:
            pickle.dumps(self.create())
        except PlugInError:  # which says more
            raise
        except Exception as error:  # another package's can fail in any way
            raise InputError(
                f"analysis '{self.name}': expected a state that can be made and pickled, got {error!r}. "
                f"Define its class at the top of a module."
            ) from error
