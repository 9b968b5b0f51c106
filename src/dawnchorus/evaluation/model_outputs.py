"""Detections of models for a comparison, from an archive or scored now; and comparison by labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.dataset as pa_dataset

from dawnchorus.archive.archive import Archive
from dawnchorus.archive.schemas import CLASSES
from dawnchorus.archive.selection import DONE
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, species_of
from dawnchorus.errors import InputError
from dawnchorus.evaluation.evaluation import Comparison, compare
from dawnchorus.evaluation.model_comparison import COLUMNS, ModelOutput, map_labels
from dawnchorus.evaluation.scoring import score_data_set
from dawnchorus.identification import Options, Run, identify
from dawnchorus.identification.options import KEPT_MIN_SCORE, KEPT_TOP
from dawnchorus.inference.model import Model
from dawnchorus.taxonomy.labels import Kind, Label
from dawnchorus.types import Report, ignore_progress


def score_output(
    files: Sequence[Path], model: Model, *, workers: int | None = None, report: Report = ignore_progress
) -> tuple[ModelOutput, Run]:
    """Score recordings with a model, and return its detections and the run, which lists failures.

    Detections are kept as an archive of detections keeps them by default: from the score `KEPT_MIN_SCORE` (0.05) on,
    and at most the `KEPT_TOP` (10) highest of a window. The output's name is the model's name and version.

    Args:
        files: the recordings.
        model: the model.
        workers: number of cores to use; None: all that this process may use.
        report: called with the progress of the run.

    Raises:
        InputError: there are no recordings in `files`.
        ModelError: the model cannot be run, or a score is not finite.
    """
    options = Options(min_score=KEPT_MIN_SCORE, top=KEPT_TOP)
    run = identify(files, options, model=model, workers=workers, report=report)
    info = model.bundle.info
    output = ModelOutput(
        name=f"{info.name} {info.version}",
        labels=tuple(model.labels),
        window_s=info.window_s,
        kept_score=KEPT_MIN_SCORE,
        detections=run.to_arrow().select(COLUMNS),
        recordings=frozenset(table.recording for table in run.tables()),
    )
    return output, run


def read_output(archive: Archive, name: str) -> ModelOutput:
    """Read the detections of a run in an archive, with the recordings that the run has scored (without failed ones).

    Args:
        archive: the archive of detections.
        name: id of the run, or else the name (without version) of its model, if only one run has this model.

    Raises:
        InputError: no run has this id, and no or several runs have a model of this name.
    """
    runs = archive.runs()
    named = [each for each in runs if each.id == name] or [each for each in runs if each.run.model == name]
    if len(named) != 1:
        listed = ", ".join(f"{each.id} ({each.run.model} {each.run.model_version})" for each in runs) or "no run"
        got = "several runs of" if named else "no run or model"
        raise InputError(f"expected the id of a run, or a model that has one run, got {got} '{name}'. It has {listed}.")
    (stored,) = named
    run = stored.run
    recordings = archive.recordings(runs=stored.id, columns=["recording", "status"]).read_all()
    done = recordings.filter(pa_dataset.field("status") == DONE)
    return ModelOutput(
        name=f"{run.model} {run.model_version}",
        labels=_read_labels(archive, stored.id),
        window_s=run.window_s,
        kept_score=run.min_score,
        detections=archive.detections(runs=stored.id, columns=COLUMNS).read_all(),
        recordings=frozenset(done["recording"].to_pylist()),
    )


def _read_labels(archive: Archive, run: str) -> tuple[Label, ...]:
    rows = archive.table(CLASSES).read(condition=pa_dataset.field("run") == run).sort_by("index").to_pylist()
    return tuple(Label(row["scientific_name"], row["common_name"], _kind(row["kind"])) for row in rows)


def _kind(text: str) -> Kind:
    return "sound" if text == "sound" else "species"


def compare_by_labels(
    models: Sequence[Model], table: RecordingsTable, rows: Sequence[RecordingRow], *, workers: int | None = None
) -> Comparison | None:
    """Score recordings with two models, and return the differences (first minus second) of metrics against the labels.

    Returns None if no label is of a species that both models know. Labels may have the names of either model. A
    recording's score is the mean over its windows.

    Args:
        models: exactly two models, the first and the second.
        table: the data set, which gives the paths of the files.
        rows: the recordings to score; unlabeled ones are left out.
        workers: number of cores to use; None: all that this process may use.

    Raises:
        InputError: none of the recordings could be scored.
        ModelError: a model cannot be run.
    """
    first, second = models
    labels = map_labels(first.labels, second.labels)
    own_names = {own: other for other, own in labels.pairs.items()}
    rows = [_rename(row, labels.pairs) for row in rows if not row.is_unlabeled]
    if not own_names.keys() & set(species_of(rows)):
        return None
    scores = score_data_set(first.bundle, table, rows, store=first.store, n_workers=workers)
    renamed = [_rename(row, own_names) for row in rows]
    others = score_data_set(second.bundle, table, renamed, store=second.store, n_workers=workers)
    classes = tuple(labels.pairs.get(name, name) for name in others.classes)
    return compare(scores, replace(others, classes=classes))


def _rename(row: RecordingRow, names: Mapping[str, str]) -> RecordingRow:
    """Return the row with its species' names replaced by `names` (current to new name)."""
    species = row.scientific_name
    return replace(
        row,
        scientific_name=None if species is None else names.get(species, species),
        secondary=tuple(names.get(name, name) for name in row.secondary),
        absent=tuple(names.get(name, name) for name in row.absent),
        annotations=tuple(
            replace(mark, scientific_name=names.get(mark.scientific_name, mark.scientific_name))
            for mark in row.annotations
        ),
    )
