"""Template values of the HTML page of one recording, whose size does not grow with the recording's length."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from pydantic import Field

from dawnchorus.errors import NotFoundError
from dawnchorus.formats.registry import FORMATS
from dawnchorus.identification.options import DEFAULT_MIN_SCORE
from dawnchorus.server.http.parameters import RequestParameters, to_text
from dawnchorus.server.listing import DetectionRecord, Reviewed, count_reviews
from dawnchorus.server.service import Service
from dawnchorus.server.state.tables import Recording
from dawnchorus.server.timeline import Order, TimelineQuery

N_ROWS, N_SPECIES = 50, 40
"""Maximum number of rows in the tables of detections and of species."""

VIEW_S, PLAIN_S = 20.0, 60.0
"""Seconds that the viewer shows at first, and seconds in the image for browsers without scripts."""

MAX_TRACKED = 200
"""Maximum number of species, the most frequent first, in the list by which the viewer orders its rows of detections."""

MAX_S = 1e7
"""Maximum time in seconds in the page's URL."""


class RecordingPageParameters(RequestParameters):
    """Parameters in the URL of the HTML page of a recording."""

    t: float | None = Field(None, ge=0, le=MAX_S)
    """Time in the middle of the viewer, in seconds from the start of the recording.

    None for the middle of the selected detection; without a detection, the viewer shows the recording's start.
    """
    zoom: float = Field(VIEW_S, gt=0, le=MAX_S)
    """Seconds that the viewer shows."""
    d: int | None = Field(None, ge=1, le=2**63 - 1)
    """Id of the selected detection; None for the detection at `t`, or without `t` for the highest-scoring one."""
    species: str = Field("", max_length=200)
    """Substring of the common or scientific name of the listed detections, ignoring case; empty for all."""
    min_score: float | None = Field(None, ge=0, le=1)
    """Minimum score of the listed detections; None for all."""
    reviewed: Reviewed | None = None
    """State of review of the listed detections: True (reviewed), False (not reviewed) or a verdict; None for all."""
    order: Order = "start"
    """Order of the table of detections: "start" for rising start time, "score" for falling score."""
    after: int | None = Field(None, ge=1, le=2**63 - 1)
    """Id of the detection after which the table of detections starts.

    None to start with the first or, with `before`, at most `N_ROWS` detections before that one.
    """
    before: int | None = Field(None, ge=1, le=2**63 - 1)
    """Id of the detection before which the table of detections ends; None to end after at most `N_ROWS` rows."""

    @property
    def filter(self) -> dict[str, str]:
        """Values of `species`, `min_score` and `reviewed` by parameter, if given, as texts for the URLs of the API."""
        values = {"species": self.species or None, "min_score": self.min_score, "reviewed": self.reviewed}
        return {name: to_text(value) for name, value in values.items() if value is not None}


def drop_missing(
    service: Service, sha256: str, parameters: RecordingPageParameters
) -> tuple[RecordingPageParameters, list[str]]:
    """Return the parameters without ids of detections that the recording does not have, and a sentence on each such id.

    Args:
        service: components of the server.
        sha256: hash of the recording.
        parameters: parameters in the URL, of which `d`, `after` and `before` are ids.
    """
    problems = []
    for name in ("d", "after", "before"):
        number = getattr(parameters, name)
        try:
            if number is not None:
                service.timeline.get(sha256, number)
        except NotFoundError as error:
            problems.append(f"{name}: {error.reason}")
            parameters = parameters.model_copy(update={name: None})
    return parameters, problems


DOWNLOADS = {"csv": "CSV", "raven": "Raven table", "audacity": "Audacity labels"}
"""Table formats that pages offer for download, with the texts of their links."""


def read_recording_page(service: Service, row: Recording, parameters: RecordingPageParameters) -> dict[str, Any]:
    """Return the values for the template of a recording's page, by name.

    Args:
        service: components of the server.
        row: row of an identified recording.
        parameters: parameters in the URL, as `drop_missing` returns them.
    """
    query = TimelineQuery(
        row.sha256,
        species=parameters.species or None,
        min_score=parameters.min_score or 0.0,
        reviewed=parameters.reviewed,
    )
    counts = service.timeline.count_by_species(query)
    selected = _find_selected(service, query, parameters)
    duration_s = row.duration_s or 0.0
    time_s = parameters.t
    if time_s is None:
        time_s = VIEW_S / 2 if selected is None else (selected.detection.start_s + selected.detection.end_s) / 2
    plain_s = PLAIN_S * (min(parameters.t or 0.0, max(duration_s - 0.01, 0.0)) // PLAIN_S)
    run = service.detections.latest_identification(row.sha256)
    settings = run.provenance or {"parameters": {}}
    return {
        "row": row,
        "run": run,
        "model": " ".join(filter(None, (settings.get("model"), settings.get("model_version")))),
        "has_location_filter": settings["parameters"].get("range_filter", False),
        "min_score": settings["parameters"].get("min_score", DEFAULT_MIN_SCORE),
        "n_reviewed": count_reviews(service.database, row.sha256),
        "n_unexpected": sum(each.is_unexpected for each in counts),
        "parameters": parameters,
        "n_detections": sum(each.n_detections + each.n_rejected for each in counts),
        "counts": counts,
        "n_species": N_SPECIES,
        "tracked": [each.scientific_name for each in counts[:MAX_TRACKED]],
        "selected": selected,
        "time_s": min(time_s, duration_s),
        "plain_s": plain_s,
        "plain_end_s": min(plain_s + PLAIN_S, duration_s),
        "clock_s": _seconds_of_day(row),
        "label": partial(_format_time, row),
        "downloads": [(name, f"{row.name}{FORMATS.lookup(name).suffix}", text) for name, text in DOWNLOADS.items()],
        **_read_rows(service, query, parameters),
    }


def _find_selected(
    service: Service, query: TimelineQuery, parameters: RecordingPageParameters
) -> DetectionRecord | None:
    """Return the detection with the id in the URL, or at the time in the URL, or the one with the highest score."""
    if parameters.d is not None:
        return service.timeline.get(query.recording, parameters.d)
    if parameters.t is None:
        best = service.timeline.list_detections(query, limit=1, order="score")
        return best[0] if best else None
    return service.timeline.find_at(query, parameters.t)


def _read_rows(service: Service, query: TimelineQuery, parameters: RecordingPageParameters) -> dict[str, Any]:
    """Return the rows of the table of detections, and the URL queries of the pages before and after these rows."""
    after, before = parameters.after, parameters.before
    rows = service.timeline.list_detections(query, limit=N_ROWS + 1, after=after, before=before, order=parameters.order)
    has_more = len(rows) > N_ROWS
    rows = rows[-N_ROWS:] if before is not None else rows[:N_ROWS]
    has_earlier, has_later = (has_more, True) if before is not None else (after is not None, has_more)
    first, last = (rows[0].detection.id, rows[-1].detection.id) if rows else (None, None)
    return {
        "records": rows,
        "earlier": parameters.query_string(before=first, after=None) if rows and has_earlier else None,
        "later": parameters.query_string(after=last, before=None) if rows and has_later else None,
        "has_channels": any(each.detection.channel is not None for each in rows),
    }


def _seconds_of_day(row: Recording) -> float | None:
    if row.recorded_at is None:
        return None
    start = datetime.fromisoformat(row.recorded_at)
    return start.hour * 3600 + start.minute * 60 + start.second + start.microsecond / 1e6


def _format_time(row: Recording, seconds: float) -> str:
    """Return the time of day as text if the recording's start time is known, else the time in the recording."""
    clock_s = _seconds_of_day(row)
    whole = int(seconds if clock_s is None else (clock_s + seconds) % 86_400)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"
