"""Input and folder of a retraining: the labeled recordings, the copy of their table, and the report."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dawnchorus.arguments import option
from dawnchorus.data.importing import import_recordings
from dawnchorus.data.recordings import RecordingsTable, read_table, table_path
from dawnchorus.errors import OutputExistsError
from dawnchorus.storage.files import atomic_file, cannot_write
from dawnchorus.taxonomy.labels import Label

LOG = logging.getLogger(__name__)

REPORT_NAME = "retraining.json"

MAX_NAMED = 20
"""Maximum number of unlabeled files that are listed in the log."""


def load_labeled_recordings(dataset: Path, known: Sequence[Label], *, n_workers: int) -> RecordingsTable:
    """Read a data set's recordings table, or import a folder of recordings that has no table.

    Recordings of a folder that neither folder nor file names label are left out, and listed in the log.

    Args:
        dataset: a data set, or a folder of recordings.
        known: known classes, to recognize species in the names of folders and files.
        n_workers: number of decoder processes.

    Raises:
        InputError: `dataset` does not exist or has no recordings.
        FormatError: the recordings table is invalid.
    """
    if table_path(dataset).exists():
        return read_table(dataset)
    table = import_recordings(dataset, dataset, known=known, n_workers=n_workers)
    unlabeled = {row.path for row in table.rows if row.is_unlabeled}
    if unlabeled:
        named = ", ".join(sorted(unlabeled)[:MAX_NAMED])
        LOG.info(
            f"left out, because neither folder nor file name is that of a species that the model knows: "
            f"{len(unlabeled)} files ({named})"
        )
    return table.with_rows(row for row in table.rows if row.path not in unlabeled)


def copy_table(
    source: RecordingsTable, folder: Path, *, overwrite: bool = False, in_use: Sequence[Path] = ()
) -> RecordingsTable:
    """Return a copy of the table for the retraining's folder, with absolute paths; create the folder.

    The copy is not written yet. Recordings without a split in `source` get the split that an unfinished retraining in
    the folder has assigned.

    Args:
        source: the labeled recordings.
        folder: the retraining's folder.
        overwrite: True to delete a finished retraining in the folder; False to raise OutputExistsError for it. An
            unfinished one is kept in any case.
        in_use: folders of models that must not be deleted.

    Raises:
        OutputExistsError: the folder has a finished retraining, and `overwrite` is False or a model in it is in use.
        OutputError: the folder cannot be written.
    """
    if (folder / REPORT_NAME).is_file():
        _remove_finished(folder, overwrite=overwrite, in_use=in_use)
    before = read_table(folder).rows if table_path(folder).exists() else ()
    splits = {row.recording_id: row.split for row in before}
    rows = (
        replace(row, path=str(source.file(row).absolute()), split=row.split or splits.get(row.recording_id))
        for row in source.rows
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return RecordingsTable(folder, tuple(rows))


def _remove_finished(folder: Path, *, overwrite: bool, in_use: Sequence[Path]) -> None:
    """Delete report, run and bundle of a finished retraining.

    Raises:
        OutputExistsError: `overwrite` is False, or the folder has one of the models `in_use`.
    """
    if not overwrite:
        raise OutputExistsError(
            f"it holds a finished retraining. Replace it with {option('overwrite')}, or choose another folder.",
            subject=folder,
        )
    used = [model for model in in_use if model.resolve().is_relative_to(folder.resolve())]
    if used:
        raise OutputExistsError(
            f"it holds the model that this retraining is based on ({used[0].resolve().relative_to(folder.resolve())}), "
            f"so it cannot be replaced. Choose another folder.",
            subject=folder,
        )
    LOG.info(f"{folder}: the finished retraining there is replaced")
    (folder / REPORT_NAME).unlink()
    for name in ("runs", "bundle"):
        shutil.rmtree(folder / name, ignore_errors=True)


def write_report(folder: Path, fields: dict[str, Any]) -> None:
    """Write the report of a finished retraining, `retraining.json`, into its folder.

    `fields` are those of `retraining_messages.RetrainOutcome`, without `splits`.

    Raises:
        OutputError: no space, or no permission.
    """
    with atomic_file(folder / REPORT_NAME) as stream:
        stream.write(json.dumps(fields, indent=2, ensure_ascii=False).encode())
