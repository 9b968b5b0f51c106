"""Import of recordings as a data set: the recordings table is created, extended or replaced."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dawnchorus.arguments import option
from dawnchorus.data.audio_notes import list_audio_notes
from dawnchorus.data.identity import merge
from dawnchorus.data.import_notes import list_import_notes, list_label_notes, list_name_notes
from dawnchorus.data.importing import import_recordings
from dawnchorus.data.labels import LabelReader, collect_labels
from dawnchorus.data.layout_detection import Layout
from dawnchorus.data.name_lists import open_name_lists
from dawnchorus.data.recordings import RecordingsTable, read_table, table_path, write_table
from dawnchorus.errors import InputError, OutputExistsError
from dawnchorus.models.store import ModelStore

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImportedDataSet:
    """A data set after an import."""

    table: RecordingsTable
    """All recordings of the data set: the imported ones, and with `append` also the earlier ones."""
    path: Path
    """The file of the recordings table."""
    labels: LabelReader
    """Reader with the labels of the imported recordings, their classes and counts."""
    editions: tuple[str, ...]
    """Names of the checklists in which species were looked up, in order of precedence; empty if there are none."""


def import_data_set(
    source: Path,
    folder: Path,
    *,
    store: ModelStore,
    layout: Layout = "auto",
    columns: Mapping[str, str] | None = None,
    audio: Path | None = None,
    per_species: int | None = None,
    checklists: Sequence[Path] = (),
    append: bool = False,
    overwrite: bool = False,
    n_workers: int,
) -> ImportedDataSet:
    """Import the recordings of `source` into the data set `folder`, and write its recordings table.

    Guesses, and values that were left out, are logged.

    Args:
        source: a folder of recordings, or a table that describes them.
        folder: the data set's folder, which is created if missing.
        store: the models on this machine; the labels of the default model, if installed, are a list of species names.
        layout: a name of `list_layouts`, or the meaning of folder levels such as `site/species`; "auto" detects it.
        columns: column names by field (keys of `layouts.tables.COLUMNS`), for the layout "csv"; None to find columns by
            usual names.
        audio: the folder of the recordings; None: next to the table.
        per_species: maximum number of recordings per species, the first in order; None for all.
        checklists: CSV files of species names, used before the lists installed on this machine.
        append: True to merge the recordings with the data set's table, if there is one (see `identity.merge`).
        overwrite: True to replace the data set's table, if there is one.
        n_workers: number of decoder processes.

    Raises:
        OutputExistsError: the data set has a table, and neither `append` nor `overwrite` is True.
        InputError: no such source or checklist, no recordings in the source, an ambiguous layout, one common name for
            all species, `columns` or `audio` with a layout that does not use them, or both `append` and `overwrite`.
        FormatError: the source's table, the data set's table or a checklist is invalid.
        OutputError: no space, or no permission.
    """
    if append and overwrite:
        raise InputError("append and overwrite: expected one of them, got both.")
    has_table = table_path(folder).exists()
    if has_table and not (append or overwrite):
        raise OutputExistsError(
            f"it exists already. Add to it with {option('append')}, replace it with {option('overwrite')}, or choose "
            f"another folder.",
            subject=table_path(folder),
        )
    before = read_table(folder) if append and has_table else None
    own = collect_labels(before.rows) if before else ()
    names = open_name_lists(store, source, checklists=checklists, own=own)
    labels = LabelReader(names.known)
    _log(names.notes)
    table = import_recordings(
        source, folder, layout=layout, columns=columns, audio=audio, per_species=per_species, labels=labels,
        n_workers=n_workers,
    )  # fmt: skip
    _log((*list_label_notes(labels), *list_name_notes(labels, sources=names.editions)))
    _log((*list_import_notes(table.rows), *list_audio_notes(table)))
    if before is not None:
        merged = merge(before, table)
        table = merged.table
        _log(merged.notes())
    folder.mkdir(parents=True, exist_ok=True)
    return ImportedDataSet(table, write_table(table), labels, names.editions)


def _log(notes: Iterable[str]) -> None:
    for note in notes:
        LOG.info(note)
