"""Downloading the recordings that a search found into a data set."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from dawnchorus.audio.decode import open_recording
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.data.sources.archive_changes import SAME_LENGTH_S
from dawnchorus.data.sources.xeno_canto import Found
from dawnchorus.errors import AudioError, BusyError, DownloadError, OutputError
from dawnchorus.storage.file_kinds import find_page
from dawnchorus.storage.files import cannot_write
from dawnchorus.storage.http_client import Web

_KEEP_SHARE = 10
"""Of the time, one part in so many is spent on writing the table as files come."""


@dataclass(frozen=True)
class Fetched:
    """The rows of the recordings that are there now, and why others are not."""

    rows: tuple[RecordingRow, ...]
    n_before: int
    failures: dict[str, str]
    unsound: tuple[str, ...] = ()
    """Recordings whose file of an earlier run was no sound; it was removed, and fetched again."""
    cut: tuple[tuple[str, float, float], ...] = ()
    """Recordings that came shorter than the archive lists them: recording_id, seconds that came, seconds listed."""

    def notes(self) -> Iterator[str]:
        """Yield what became of files of earlier runs, and sounds that are shorter than they should be."""
        if self.cut:
            name, came_s, listed_s = self.cut[0]
            yield (
                f"sounds that are shorter than the archive lists them: {len(self.cut)} (as {name}: {came_s:.1f} of "
                f"{listed_s:.1f} s). They are kept; remove a file to fetch it again."
            )
        if self.unsound:
            n_failed = len(set(self.unsound) & set(self.failures))
            yield (
                f"files of an earlier run that were no sound, removed: {len(self.unsound)} (as {self.unsound[0]}); "
                f"fetched again: {len(self.unsound) - n_failed}; without a row now: {n_failed}."
            )


@contextmanager
def claim_folder(folder: Path) -> Iterator[None]:
    """Keep other fetches away from a data set: two of them would write the same files.

    Raises:
        BusyError: another process fetches into it.
        OutputError: it cannot be written.
    """
    path = folder / ".fetch.lock"
    lock = FileLock(path, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise BusyError(f"{folder}: another dawnchorus process fetches into it. Wait for its end.") from None
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        yield
    finally:
        if sys.platform != "win32":  # there the open file cannot be removed, and release() does it
            path.unlink(missing_ok=True)
        lock.release()


def fetch_recordings(
    web: Web,
    wanted: Sequence[Found],
    folder: Path,
    *,
    n_workers: int,
    known_bytes: Mapping[str, int | None] | None = None,
    replaced: Collection[str] = (),
    on_recording: Callable[[], None] = lambda: None,
    keep: Callable[[Sequence[RecordingRow]], None] = lambda _rows: None,
) -> Fetched:
    """Download what is not in `folder` yet, some at a time.

    A file has its name only when it is whole and sound, so what is there is done; after an interruption the same call
    goes on.

    Args:
        web: The server.
        wanted: The recordings.
        folder: The data set.
        n_workers: Downloads at a time.
        known_bytes: Sizes of files by recording, which are not opened again if they still have them.
        replaced: Recordings to fetch though their file is there, because the archive has another one.
        on_recording: Called after each download.
        keep: Called with the rows of what is there, again and again while files come.

    Raises:
        OutputError: no space, or no permission.
    """
    place = folder / "audio"
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(place, error) from error
    there = {item.row.recording_id: place / item.file_name for item in wanted if (place / item.file_name).exists()}
    unsound = tuple(name for name, path in there.items() if not _is_sound(path, (known_bytes or {}).get(name)))
    for name in unsound:
        there.pop(name).unlink()
    missing = [item for item in wanted if item.row.recording_id not in there or item.row.recording_id in replaced]
    got = set(there)
    failures: dict[str, str] = {}
    came_s: dict[str, float] = {}

    def rows() -> list[RecordingRow]:
        have = [item for item in wanted if item.row.recording_id in got]
        return [replace(item.row, n_bytes=(place / item.file_name).stat().st_size) for item in have]

    def fetch(item: Found) -> str:
        name = item.row.recording_id

        def check(path: Path) -> None:
            came_s[name] = decode_sound(path, item.file_name)

        try:
            web.download(item.file_url, place / item.file_name, check=check)
        except DownloadError as error:
            failures[name] = str(error)
        on_recording()
        return name

    next_at_s = time.monotonic()
    with ThreadPoolExecutor(n_workers) as pool:
        try:
            keep(rows())
            for future in as_completed([pool.submit(fetch, item) for item in missing]):
                name = future.result()
                if name in failures:
                    continue
                got.add(name)
                begun_s = time.monotonic()
                if begun_s >= next_at_s:
                    keep(rows())
                    next_at_s = time.monotonic() + _KEEP_SHARE * (time.monotonic() - begun_s)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            with suppress(OutputError):
                keep(rows())
            raise
    keep(rows())
    listed_s = {item.row.recording_id: item.row.duration_s for item in wanted}
    cut = ((name, came_s[name], listed_s[name] or 0.0) for name in sorted(set(came_s) & got))
    return Fetched(
        tuple(rows()),
        len(wanted) - len(missing),
        failures,
        unsound,
        tuple(each for each in cut if each[2] - each[1] > SAME_LENGTH_S),
    )


def decode_sound(path: Path, name: str) -> float:
    """Decode a downloaded file to its end, and return the seconds that it holds.

    Raises:
        DownloadError: it is no sound.
    """
    try:
        with open_recording(path) as recording:
            for _ in recording.blocks():
                pass
            return recording.duration_s
    except AudioError as error:
        reason, n_bytes = str(error).replace(str(path), name), path.stat().st_size
        raise DownloadError(f"expected sound, got {n_bytes} bytes that no decoder opens: {reason}", None) from error


def _is_sound(path: Path, known_bytes: int | None) -> bool:
    if find_page(path, path.name) is not None:
        return False
    if path.stat().st_size == known_bytes:
        return True
    try:
        decode_sound(path, path.name)
    except DownloadError:
        return False
    return True
