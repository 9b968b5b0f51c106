"""Download of the recordings found by a search."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from dawnchorus.audio.decoder_pool import DecoderPool
from dawnchorus.audio.process import DecoderProcess
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.data.sources.archive_changes import lengths_differ
from dawnchorus.data.sources.xeno_canto import SearchResult
from dawnchorus.errors import AudioError, BusyError, DownloadError, LongWaitError, OutputError
from dawnchorus.storage.file_kinds import find_page
from dawnchorus.storage.files import cannot_write
from dawnchorus.storage.http_client import HttpClient
from dawnchorus.tables.notes import counted
from dawnchorus.types import Progress, Report, ignore_progress

_KEEP_SHARE = 10
"""Saving the table takes at most one part in this number of the time during downloads."""


@dataclass(frozen=True)
class FetchSummary:
    """Result of a download.

    Attributes:
        rows: rows of the requested recordings whose file exists now, downloaded by this call or before.
        n_before: number of requested recordings whose file existed before, and was not downloaded again.
        failures: reasons by recording_id of recordings whose download failed.
    """

    rows: tuple[RecordingRow, ...]
    n_before: int
    failures: dict[str, str]
    unsound: tuple[str, ...] = ()
    """recording_ids whose file from before this download was not audio; the file was deleted, and requested again."""
    other_lengths: tuple[tuple[str, float, float], ...] = ()
    """(recording_id, length of the file, listed length), in seconds, of decoded files if they differ by over 2 s."""
    not_requested: tuple[str, ...] = ()
    """recording_ids that were not requested because the server asked for a long wait; they are not in `failures`."""

    @property
    def missing(self) -> set[str]:
        """recording_ids that could not be downloaded, or were not requested."""
        return {*self.failures, *self.not_requested}

    def notes(self) -> Iterator[str]:
        """Yield sentences for the user on damaged earlier files, unexpected lengths, and recordings not requested."""
        if self.not_requested:
            yield (
                f"the server asks for a long wait, so the fetch ended early: not requested are "
                f"{counted(len(self.not_requested), 'recording')} (as {self.not_requested[0]}). Run the same command "
                f"again later."
            )
        if self.other_lengths:
            n_shorter = sum(length_s < listed_s for _, length_s, listed_s in self.other_lengths)
            name, length_s, listed_s = self.other_lengths[0]
            yield (
                f"sounds of another length than the archive lists: {len(self.other_lengths)}, {n_shorter} of them "
                f"shorter (as {name}: {length_s:.1f} s, listed with {listed_s:.1f} s). The table has the length of the "
                f"file; remove a file to fetch it again."
            )
        if self.unsound:
            n_failed = len(set(self.unsound) & self.missing)
            yield (
                f"files of an earlier run that were no sound, removed: {len(self.unsound)} (as {self.unsound[0]}); "
                f"fetched again: {len(self.unsound) - n_failed}; without a row now: {n_failed}."
            )


@contextmanager
def claim_folder(folder: Path) -> Iterator[None]:
    """Lock a data set's folder against other downloads during the block, without waiting; create it if missing.

    Raises:
        BusyError: another process is downloading to the folder.
        OutputError: the folder cannot be written.
    """
    path = folder / ".fetch.lock"
    lock = FileLock(path, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise BusyError(
            "another dawnchorus process is downloading to it. Wait until it ends.", subject=folder
        ) from None
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        yield
    finally:
        if sys.platform != "win32":  # there the open file cannot be removed, and release() does it
            path.unlink(missing_ok=True)
        lock.release()


def fetch_recordings(
    web: HttpClient,
    results: Sequence[SearchResult],
    folder: Path,
    *,
    n_workers: int,
    known: Mapping[str, RecordingRow] | None = None,
    replaced: Collection[str] = (),
    report: Report = ignore_progress,
    keep: Callable[[Sequence[RecordingRow]], None] = lambda _rows: None,
) -> FetchSummary:
    """Download recordings that are not yet in the subfolder `audio` of `folder`, in parallel.

    A file gets its name only when it is complete and decodable; after an interruption, the same call resumes. Failed
    downloads are in the result, and raise no error.

    Args:
        web: the HTTP client.
        results: the recordings to download.
        folder: the data set's folder.
        n_workers: number of parallel downloads.
        known: rows of earlier runs by recording_id; their files are not decoded again if their size is unchanged. None
            if there are none.
        replaced: recording_ids to download again because the archive has another file now; the old file stays until
            the download succeeds.
        report: called with the progress after each download.
        keep: called with the rows of the existing files, to save them: before the download, repeatedly during it, and
            at its end, also after an error.

    Raises:
        OutputError: no space, or no permission.
    """
    audio_folder = folder / "audio"
    try:
        audio_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(audio_folder, error) from error
    decoders = DecoderPool(n_workers, n_kept=n_workers)
    fetch = _Fetch(web, results, audio_folder, known=known or {}, decoders=decoders)
    current = fetch.got.difference(replaced)
    missing = [entry for entry in results if entry.row.recording_id not in current]
    next_at_s = time.monotonic()
    with ThreadPoolExecutor(n_workers) as pool, closing(decoders):
        try:
            keep(fetch.rows())
            for n, future in enumerate(as_completed([pool.submit(fetch.download, entry) for entry in missing]), 1):
                downloaded = future.result()
                report(Progress("fetching", n, len(missing), "recordings"))
                if downloaded is None:
                    continue
                fetch.got.add(downloaded)
                begun_s = time.monotonic()
                if begun_s >= next_at_s:
                    keep(fetch.rows())
                    next_at_s = time.monotonic() + _KEEP_SHARE * (time.monotonic() - begun_s)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            with suppress(OutputError):
                keep(fetch.rows())
            raise
    keep(fetch.rows())
    decoded_s = {name: fetch.decoded_s[name] for name in sorted(fetch.decoded_s.keys() & fetch.got)}
    return FetchSummary(
        tuple(fetch.rows()),
        len(results) - len(missing),
        {name: str(error) for name, error in fetch.failures.items()},
        fetch.unsound,
        tuple(_find_other_lengths(results, decoded_s)),
        tuple(fetch.not_requested),
    )


class _Fetch:
    """State of a download; existing files that are not audio are deleted on construction."""

    def __init__(
        self,
        web: HttpClient,
        results: Sequence[SearchResult],
        folder: Path,
        *,
        known: Mapping[str, RecordingRow],
        decoders: DecoderPool,
    ) -> None:
        self._web, self._results, self._folder, self._known, self._decoders = web, results, folder, known, decoders
        files = {entry.row.recording_id: folder / entry.file_name for entry in results}
        there = {name: path for name, path in files.items() if path.exists()}
        self.decoded_s, self.unsound = _decode_unknown(there, known)
        for name in self.unsound:
            there.pop(name).unlink()
        self.got = set(there)
        self.failures: dict[str, DownloadError] = {}
        self.not_requested: list[str] = []

    def rows(self) -> list[RecordingRow]:
        """Return the rows of the recordings whose file exists."""
        have = [entry for entry in self._results if entry.row.recording_id in self.got]
        before_s = {name: row.duration_s for name, row in self._known.items() if row.duration_s is not None}
        length_s = {entry.row.recording_id: entry.row.duration_s for entry in have} | before_s | self.decoded_s
        return [
            replace(
                entry.row,
                n_bytes=(self._folder / entry.file_name).stat().st_size,
                duration_s=length_s[entry.row.recording_id],
            )
            for entry in have
        ]

    def download(self, entry: SearchResult) -> str | None:
        """Download a file, and return the recording_id; None if it failed, or the server asked for a long wait."""
        name = entry.row.recording_id
        if any(isinstance(error, LongWaitError) for error in list(self.failures.values())):
            self.not_requested.append(name)
            return None
        try:
            self._web.download(entry.file_url, self._folder / entry.file_name, check=partial(self._decode, entry))
        except DownloadError as error:
            self.failures[name] = error
            return None
        return name

    def _decode(self, entry: SearchResult, path: Path) -> None:
        with self._decoders.decoder() as decoder:
            self.decoded_s[entry.row.recording_id] = decode_audio(path, entry.file_name, decoder=decoder)


def _find_other_lengths(
    results: Sequence[SearchResult], decoded_s: Mapping[str, float]
) -> Iterator[tuple[str, float, float]]:
    """Yield (recording_id, length of the file, listed length) in seconds of recordings whose lengths differ."""
    listed_s = {entry.row.recording_id: entry.row.duration_s for entry in results}
    for name, own_s in decoded_s.items():
        each_s = listed_s[name]
        if each_s is not None and lengths_differ(own_s, each_s):
            yield name, own_s, each_s


def decode_audio(path: Path, name: str, *, decoder: DecoderProcess) -> float:
    """Decode a downloaded file completely, and return its duration in seconds; `name` is its name in errors.

    Raises:
        DownloadError: no decoder can read the whole file, or the decoder crashed on it.
    """
    try:
        with decoder.open(path) as recording:
            for _ in recording.blocks():
                pass
            return recording.duration_s
    except AudioError as error:
        n_bytes = path.stat().st_size
        raise DownloadError(
            f"expected sound, got {n_bytes} bytes that no decoder opens: {name}: {error.reason}", None
        ) from error


def _decode_unknown(
    paths: Mapping[str, Path], known: Mapping[str, RecordingRow]
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return durations in seconds of new files (by size), and the recording_ids of files that are not audio."""
    decoded_s: dict[str, float] = {}
    unsound = []
    with closing(DecoderProcess()) as decoder:
        for name, path in paths.items():
            if find_page(path, path.name) is not None:
                unsound.append(name)
            elif name not in known or path.stat().st_size != known[name].n_bytes:
                try:
                    decoded_s[name] = decode_audio(path, path.name, decoder=decoder)
                except DownloadError:
                    unsound.append(name)
    return decoded_s, tuple(unsound)
