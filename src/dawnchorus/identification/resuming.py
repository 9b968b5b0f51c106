"""Preparation of a run's output: the lock, and the journal, which is new or that of the run to resume."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dawnchorus.arguments import option
from dawnchorus.errors import BusyError, InputError, JournalDamagedError, OutputExistsError
from dawnchorus.identification.journal import Journal
from dawnchorus.identification.output import (
    OutputLocation,
    as_json,
    hash_file,
    is_finished,
    list_other_files,
    list_outputs,
)
from dawnchorus.identification.output_paths import shared_folder, unused_path
from dawnchorus.storage.files import cannot_write
from dawnchorus.storage.listing import existing_paths
from dawnchorus.storage.paths import is_remote

MAX_NAMED = 5
"""Maximum number of existing files that a refusal names in addition to the first."""

LATER_SETTINGS = ("activation",)
"""Settings that journals of earlier versions lack."""


_TO_REPLACE = "to be replaced"
"""Signature of an object that may be replaced; no table has it."""


@contextmanager
def lock_output(location: OutputLocation) -> Iterator[None]:
    """Lock the output against other processes, for a `with` block, without waiting; create its folder if missing.

    Raises:
        BusyError: another process holds the lock, as it is writing to the output.
        OutputError: the path cannot be written.
    """
    lock = FileLock(location.files.lock, timeout=0)
    try:
        for folder in (location.files.folder, location.files.lock.parent):
            folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise BusyError(
            "another dawnchorus process is writing here. Wait for it, or choose another output.",
            subject=location.path,
        ) from None
    except OSError as error:
        raise cannot_write(location.path, error) from error
    try:
        yield
    finally:
        if sys.platform != "win32":  # there the open file cannot be removed, and release() does it
            location.files.lock.unlink(missing_ok=True)
        lock.release()


def open_journal(
    location: OutputLocation, key: dict[str, Any], recordings: Sequence[Path], *, resume: bool, overwrite: bool
) -> Journal:
    """Open the journal for writing: a new one, or that of the run to resume.

    A damaged journal is renamed, unless `resume` is True and `overwrite` is not; its new path is in `Journal.replaced`.

    Args:
        location: the output.
        key: settings that determine the contents of the journal: bundle_id, activation, the options in
            `Options.scoring` and, if there are any, cleaning and analyses.
        recordings: the recordings of the run.
        resume: True to add to a finished run; False to resume only an interrupted one.
        overwrite: True to replace a finished or interrupted run; takes precedence over `resume`.

    Raises:
        OutputExistsError: there is a finished run, and neither `resume` nor `overwrite` is True; or there are output
            files without a usable journal, and `overwrite` is not True.
        InputError: the run to resume had another model or other options, or one of `recordings` is outside the common
            folder of its recordings.
        JournalDamagedError: the journal is damaged, `resume` is True, and `overwrite` is not.
        OutputError: the journal cannot be created or written.
    """
    path = location.files.journal
    if not overwrite and not path.exists():
        tables = (output.path for output in list_outputs(location, recordings))
        _refuse_existing(chain(tables, list_other_files(location)))
    try:
        journal = Journal(path)
    except JournalDamagedError:
        if resume and not overwrite:
            raise
        if not overwrite:
            _refuse_existing(output.path for output in list_outputs(location, recordings))  # the others are its own
        journal = Journal(path, replaced=set_aside(path))
    try:
        known = journal.parameters()
        if overwrite or known is None:
            journal.start(key, root=shared_folder(recordings))
            if overwrite and is_remote(location.path):
                _note_replaced(journal, location, recordings)
        else:
            _check_settings(location, known, as_json(key))
            if not resume:
                _refuse_finished(location, journal)
            list_outputs(location, recordings, journal.root)  # refuses those that have no path there
    except BaseException:
        journal.close()
        raise
    return journal


def _note_replaced(journal: Journal, location: OutputLocation, recordings: Sequence[Path]) -> None:
    """Record the objects that exist when the run starts and may be replaced.

    Objects that others write later may not.
    """
    for path in existing_paths(output.path for output in list_outputs(location, recordings)):
        journal.note_output(location.files.name(path), _TO_REPLACE, digest=hash_file(path))


def _refuse_existing(paths: Iterable[Path]) -> None:
    existing = existing_paths(paths)
    if existing:
        first, *others = existing
        more = f", as do {', '.join(path.name for path in others[:MAX_NAMED])}" if others else ""
        raise OutputExistsError(
            f"it exists already{more}. Choose another output, or replace what is there with {option('overwrite')}.",
            subject=first,
        )


def _check_settings(location: OutputLocation, known: Mapping[str, Any], requested: Mapping[str, Any]) -> None:
    known = {name: requested[name] for name in LATER_SETTINGS if name in requested} | {**known}
    if known != requested:
        changed = sorted(name for name in known.keys() | requested if known.get(name) != requested.get(name))
        raise InputError(
            f"it was started with other settings ({', '.join(changed)} changed). Use the same ones to "
            f"continue it, choose another output, or begin again with {option('overwrite')}.",
            subject=location.path,
        )


def _refuse_finished(location: OutputLocation, journal: Journal) -> None:
    if (location.path.exists() or location.path.is_dir()) and is_finished(journal, location.files):
        raise OutputExistsError(
            f"it holds a finished run. Add new recordings to it with {option('resume')}, replace it with "
            f"{option('overwrite')}, or choose another output.",
            subject=location.path,
        )


def set_aside(path: Path) -> Path:
    """Rename a damaged journal and its SQLite side files, and return the new path: NAME.damaged-1 and so on."""
    kept = unused_path(path, "damaged")
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(kept.with_name(kept.name + suffix))
    return kept
