"""Values that come with the upload of a recording, in addition to the audio: name, start time, location and site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dawnchorus.server.state.file_names import UNNAMED, find_site
from dawnchorus.server.state.tables import Recording
from dawnchorus.types import RecordingMetadata


@dataclass(frozen=True)
class RecordingValues:
    """Values of one upload; None for unknown values."""

    name: str
    """Client's name of the file without folders; `UNNAMED` ("upload") if the client gave none."""
    metadata: RecordingMetadata
    """Start time and location, from the request or from the file."""
    site: str | None
    """Name of the recording site in the request; None if the request has none."""

    @property
    def columns(self) -> dict[str, Any]:
        """Values for a new `Recording`, by column: `name`, `site`, `recorded_at`, `latitude` and `longitude`.

        `recorded_at` is in ISO 8601. Without a site in the request, the site is read from the name. Unknown values are
        None.
        """
        return {"name": self.name, "site": self.site or find_site(self.name), **self._time, **self._location}

    def update(self, recording: Recording) -> str | None:
        """Replace the values of a stored recording by the known values of this upload.

        The name `UNNAMED` replaces no name. The site of the request replaces the stored site. Without one, the site in
        the upload's name replaces the stored site only if that was read from the stored name.

        Returns:
            A clause for the client that names the changed values; None if nothing changed.
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
