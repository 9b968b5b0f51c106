"""Downloading the recordings that a search found into a data set."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from dawnchorus.data.recordings import RecordingRow
from dawnchorus.data.xeno_canto import Found
from dawnchorus.errors import FetchFailed
from dawnchorus.files import cannot_write
from dawnchorus.web import Web


@dataclass(frozen=True)
class Fetched:
    """The rows of the recordings that are there now, and why others are not."""

    rows: tuple[RecordingRow, ...]
    n_before: int
    failures: dict[str, str]


def fetch_recordings(
    web: Web,
    wanted: Sequence[Found],
    folder: Path,
    *,
    n_workers: int,
    on_recording: Callable[[], None] = lambda: None,
) -> Fetched:
    """Download what is not in `folder` yet, some at a time.

    A file has its name only when it is whole, so what is there is done; after an interruption the same call goes on.

    Raises:
        OutputError: no space, or no permission.
    """
    place = folder / "audio"
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(place, error) from error
    missing = [item for item in wanted if not (place / item.file_name).exists()]
    failures: dict[str, str] = {}

    def fetch(item: Found) -> None:
        try:
            web.download(item.file_url, place / item.file_name)
        except FetchFailed as error:
            failures[item.row.recording_id] = str(error)
        on_recording()

    with ThreadPoolExecutor(n_workers) as pool:
        for future in [pool.submit(fetch, item) for item in missing]:
            try:
                future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    rows = [
        replace(item.row, n_bytes=os.path.getsize(place / item.file_name))
        for item in wanted
        if item.row.recording_id not in failures
    ]
    return Fetched(tuple(rows), len(wanted) - len(missing), failures)
