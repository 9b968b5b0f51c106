"""The protocol of analyses, which may come from other packages by entry points."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dawnchorus.audio.sample_analyses import SampleAnalysis, Table
from dawnchorus.errors import InputError, PlugInError
from dawnchorus.plug_ins import PlugIn
from dawnchorus.types import RecordingMetadata

Tables = dict[str, Table]
"""Tables of a run by the end of their files' names."""


@dataclass(frozen=True)
class AnalyzedRecording:
    """Rows that an analysis computed of a recording, with the recording's metadata."""

    recording: str
    duration_s: float
    metadata: RecordingMetadata
    rows: Table


@dataclass(frozen=True)
class Analysis:
    """An analysis that users select by name.

    Args:
        name: in lower case, as users type it.
        summary: a phrase for lists.
        create: makes the state of one recording; it must be importable by its name, for it is pickled.
        summarize: makes the tables of a run from all its recordings, in their order, by the end of their names ("" is
            the analysis's own table); None: the own table is the rows of all recordings, one after the other.
        tables: the ends of the names of these tables; files that are called so are in the way of a new run.
        plug_in: entry point that it comes from; None for our own.
    """

    name: str
    summary: str
    create: Callable[[], SampleAnalysis]
    summarize: Callable[[Iterable[AnalyzedRecording]], Tables] | None = None
    tables: tuple[str, ...] = ("",)
    plug_in: PlugIn | None = None

    def check(self) -> None:
        """Check that a state can be made and sent to a decoder.

        Raises:
            InputError: it cannot.
            PlugInError: another package's function failed.
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
