"""Values of a stored recording that an upload gives in addition to the audio: name, start time, location, site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dawnchorus.server.state.file_names import UNNAMED, find_site
from dawnchorus.server.state.tables import Recording
from dawnchorus.types import RecordingMetadata


@dataclass(frozen=True)
class RecordingValues:
    """Values that were given; None for those that were not."""

    name: str
    metadata: RecordingMetadata
    site: str | None

    @property
    def columns(self) -> dict[str, Any]:
        """Columns of a new recording."""
        return {"name": self.name, "site": self.site or find_site(self.name), **self._time, **self._location}

    def update(self, recording: Recording) -> str | None:
        """Replace the values of a recording by those given, and return a sentence on it; None if nothing changes.

        A site that was read from the recording's name follows its new name.
        """
        is_site_named = recording.site == find_site(recording.name)
        site = self.site or (find_site(self.name) if is_site_named else None)
        columns_by_noun = {
            "name": {"name": None if self.name == UNNAMED else self.name},
            "start time": self._time,
            "location": self._location,
            "site": {"site": site},
        }
        known_name, changes = recording.name, []
        for noun, columns in columns_by_noun.items():
            given = {column: value for column, value in columns.items() if value is not None}
            if any(getattr(recording, column) != value for column, value in given.items()):
                changes.append(f"the {noun} {', '.join(map(str, given.values()))}")
                for column, value in given.items():
                    setattr(recording, column, value)
        return f"already stored as {known_name}; it now has {', '.join(changes)}" if changes else None

    @property
    def _time(self) -> dict[str, Any]:
        start_time = self.metadata.start_time
        return {"recorded_at": None if start_time is None else start_time.isoformat()}

    @property
    def _location(self) -> dict[str, Any]:
        return {"latitude": self.metadata.latitude, "longitude": self.metadata.longitude}
