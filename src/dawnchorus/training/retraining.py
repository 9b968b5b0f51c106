"""Retraining: a new model from labeled recordings, compared with the active one on held-out recordings."""

from __future__ import annotations

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from dawnchorus.data.prepare import check_and_cut
from dawnchorus.data.recordings import (
    RecordingRow,
    RecordingsTable,
    blocking_problems,
    select_usable,
    species_of,
    write_table,
)
from dawnchorus.data.relations import SAME_RECORDING, assign_groups
from dawnchorus.data.split import split_table
from dawnchorus.data.synthesis.negatives import SOURCE, make_negatives
from dawnchorus.errors import InputError
from dawnchorus.evaluation.data_quality import find_training_overlap
from dawnchorus.evaluation.scoring import Scores, group_by_windows, score_data_set, score_together
from dawnchorus.identification.options import DEFAULT_MIN_SCORE
from dawnchorus.inference.preparation import open_cleaner
from dawnchorus.metrics import classification
from dawnchorus.models.bundle import Bundle, read_bundle
from dawnchorus.models.graphs.class_extension import can_extend, extend_classes
from dawnchorus.models.store import ModelStore
from dawnchorus.training import trainer
from dawnchorus.training.compose import compose_config, family_config, recipe_overrides, split_override
from dawnchorus.training.config import TrainConfig
from dawnchorus.training.dataset import WAIT_S, clip_recipe, recipe_folder
from dawnchorus.training.renamed_keys import with_current_keys
from dawnchorus.training.runs import TrainingRun, find_runs
from dawnchorus.types import Progress, Report, ignore_progress

LOG = logging.getLogger(__name__)

RECIPE = ("experiment=retrain",)
"""Overrides of a default retraining: a head on the embeddings of a backbone."""

OWN_KEYS = ("data.path", "paths.runs", "paths.models")
"""Settings that a retraining sets, so users cannot."""

PARTS = {"train": 0.75, "test": 0.25}
"""Ratios of the split. Test recordings are never trained on: this and all later models are compared on them."""

MAX_LOSS = 0.01
"""Maximum decrease of macro average precision (0 to 1) with which a new model is still promoted."""

MAX_ACCURACY_DECREASE = 0.05
"""Maximum decrease of top-1 accuracy (over all classes) with which a new model is still promoted."""

FALSE_ALARM_SCORE, MAX_FALSE_ALARM_INCREASE = 0.5, 0.1
"""Minimum score of a false alarm, and maximum increase of the share of recordings with a false alarm."""

MIN_KNOWN_PRECISION = 0.5
"""Average precision of the active model from which a species counts as known to it.

Less than half of the active model's average precision for such a species is a reason against the new model.
"""

MIN_HELD_OUT = 5
"""Minimum number of held-out recordings of each trained class for a promotion.

If all n recordings of a class are identified correctly, the one-sided 95 % lower bound of accuracy is 0.05 ** (1 / n)
(Clopper and Pearson, 1934), which exceeds one half from n = 5 on.
"""

MAX_LISTED = 10
"""Maximum number of classes listed in a reason against promotion."""


@dataclass(frozen=True)
class RetrainingResult:
    """A new bundle, and the decision whether it should replace the active bundle."""

    bundle: Bundle
    """The new bundle."""
    meets_promotion_rule: bool
    """True if there are no reasons against promotion."""
    reasons: tuple[str, ...]
    """Clauses with reasons against promotion; see `find_regressions`."""
    report: dict[str, Any]
    """Comparison of both bundles; see `compare`."""


def retrain(
    table: RecordingsTable,
    active: Bundle,
    folder: Path,
    *,
    backbone: str | Path,
    store: ModelStore,
    negatives_folder: Path,
    started: datetime,
    overrides: Sequence[str] = (),
    n_workers: int,
    report: Report = ignore_progress,
) -> RetrainingResult:
    """Train a model on a data set, and compare it with the active model on held-out recordings.

    Recordings that have a split keep it. The new bundle, below `folder`, also has the classes of its backbone if both
    can be merged (`models.graphs.class_extension`). An interrupted retraining in `folder` is resumed.

    Args:
        table: the data set, whose folder is the retraining's folder; the checked and split table is written there.
        active: the model in use, which the new one may replace.
        folder: the retraining's folder.
        backbone: name or folder of the model whose embeddings a new head uses, unless the active model is trained again
            by its own settings.
        store: the store of models.
        negatives_folder: folder of synthetic negative examples (`data.synthesis.negatives`), created if missing; used
            only if a head is trained by `RECIPE`.
        started: local start time, for the name of the run.
        overrides: settings of the training, see `training_settings`.
        n_workers: number of decoder processes.
        report: called with the progress of the stages "checking", "training" and "comparing".

    Raises:
        InputError: invalid settings, too few recordings (see `split_checked`), or held-out recordings that cannot be
            scored (see `compare`).
        BusyError: another process trains in the folder.
        ModelError, TrainingError, OutputError: see `trainer.train`.
    """
    settings = training_settings(active, overrides, backbone=backbone)
    table = table.with_rows(row for row in table.rows if row.source != SOURCE)  # of a retraining before
    given = [
        *settings.overrides,
        f"data={table.folder}",
        f"paths.runs={folder / 'runs'}",
        f"paths.models={store.folder}",
    ]
    config = compose_config(given)
    checked = _check_and_cut(table, config, store, n_workers=n_workers, report=report)
    ready = split_checked(checked)
    negatives = make_negatives(negatives_folder) if settings.is_default else ()
    ready = ready.with_rows([*ready.rows, *negatives])
    write_table(ready)
    run = _train(config, given, started, report)
    bundle = _merge_with_backbone(run, config, folder / "bundle", store)
    report(Progress("comparing", 0, 2, "models"))
    comparison = compare(active, bundle, ready, store=store, n_workers=n_workers)
    if comparison["n_training_overlap"]:
        LOG.info(
            f"the active model was trained on {comparison['n_training_overlap']} of {comparison['n_held_out']} "
            f"held-out recordings, or on relatives of them: its figures are better than they would be for new ones"
        )
    reasons = find_regressions(active, bundle, comparison, may_change_family=settings.is_chosen)
    return RetrainingResult(bundle, not reasons, reasons, comparison)


def check_settings(active: Bundle, overrides: Sequence[str], *, backbone: str | Path, store: ModelStore) -> None:
    """Check the settings of a retraining without training data; see `training_settings` for the arguments.

    Raises:
        InputError: an unknown group, choice or key, or a value out of range.
        ModelError: the backbone cannot be loaded.
    """
    settings = training_settings(active, overrides, backbone=backbone)
    family_config(compose_config([*settings.overrides, f"data={active.folder}"]), store)


@dataclass(frozen=True)
class RetrainingSettings:
    """Settings of a retraining."""

    overrides: tuple[str, ...]
    """Settings KEY=VALUE of the training; those of the user come last."""
    is_default: bool
    """True if the experiment `RECIPE` ("retrain") is used: a head on the backbone's embeddings."""
    is_chosen: bool
    """True if the user's overrides choose an experiment or a model family (`experiment=`, `model=`)."""


def training_settings(active: Bundle, overrides: Sequence[str], *, backbone: str | Path) -> RetrainingSettings:
    """Return the settings to train a successor of the active model.

    If the overrides choose an experiment or a model family, only the overrides are used. Otherwise, a model that
    dawnchorus has trained is trained with the settings stored in its bundle, followed by the overrides. For other
    models, such as BirdNET, and for models with `init_from_backbone_mean` (results of the experiment `RECIPE`,
    "retrain"), this experiment is used, followed by the overrides: it trains a head on the embeddings of `backbone`.

    Args:
        active: the active model.
        overrides: settings such as `trainer.epochs=50`, which take precedence.
        backbone: name or folder of the model whose embeddings a new head uses.

    Raises:
        InputError: an override sets a key of `OWN_KEYS` (the data set or a folder), which the retraining sets.
    """
    keys = [split_override(override)[0] for override in overrides]
    for key, override in zip(keys, overrides, strict=True):
        if key in OWN_KEYS:
            raise InputError(
                f"{override}: expected no {key}, since a retraining sets it itself. Leave it out; the recordings are "
                f"those of --dataset (in Python: dataset), and the folder is that of --out (folder)."
            )
    is_chosen = not {"experiment", "model"}.isdisjoint(keys)
    recipe = _own_recipe(active)
    if is_chosen:
        base: tuple[str, ...] = ()
    elif recipe is not None and not recipe["model"].get("init_from_backbone_mean"):
        base = tuple(recipe_overrides(recipe))
    else:
        base = (*RECIPE, f"model.backbone={backbone}")
    return RetrainingSettings((*base, *overrides), is_default=base[:1] == RECIPE, is_chosen=is_chosen)


def _own_recipe(bundle: Bundle) -> dict[str, Any] | None:
    """Return the training settings stored in the bundle; None if it has none (trained by other software)."""
    recipe = None if bundle.info.training is None else bundle.info.training.recipe
    return None if recipe is None else with_current_keys(recipe)


def _check_and_cut(
    table: RecordingsTable, config: TrainConfig, store: ModelStore, *, n_workers: int, report: Report
) -> RecordingsTable:
    """Check the recordings, and cut them into clips in the same pass; training then uses these clips."""
    report(Progress("checking", 0, len(table.rows), "recordings"))
    _, shape = family_config(config, store)
    recipe = clip_recipe(config.data, rate_hz=shape.rate_hz, window_s=shape.window_s)
    clips_folder = Path(config.paths.clips) if config.paths.clips else table.folder / "clips"
    return check_and_cut(
        table,
        recipe_folder(clips_folder, recipe, seed=config.data.seed),
        recipe,
        seed=config.data.seed,
        n_workers=n_workers,
        cleaner=open_cleaner(recipe.cleaning, store.folder),
        wait_s=WAIT_S,
        report=report,
    )


def split_checked(checked: RecordingsTable) -> RecordingsTable:
    """Remove unusable recordings and duplicates from a checked table, and split the rest by `PARTS`.

    These ratios are 0.75 for "train" and 0.25 for "test". Recordings that have a split keep it. What is left out, and
    species without a test recording, are logged.

    Raises:
        InputError: no recording is usable, or no species has a test recording.
    """
    for row in checked.rows:
        if problems := blocking_problems(row, copies=False):
            LOG.info(f"left out: {row.recording_id} is {' and '.join(problems).replace('_', ' ')}")
    rows = select_usable(checked.rows, copies=False)
    if not rows:
        raise InputError(f"none of its {len(checked.rows)} recordings can be trained on.", subject=checked.folder)
    split = split_table(checked.with_rows(rows), PARTS, seed=1, keep=True)
    counts = Counter((row.scientific_name, row.split) for row in split.rows)
    species = species_of(split.rows)
    without_test = [name for name in species if not counts[name, "test"]]
    if len(without_test) == len(species):
        raise InputError(
            "expected at least two recordings, from different occasions, of some species, so that one "
            "can be held out to compare models on. Add recordings.",
            subject=checked.folder,
        )
    for name in without_test:
        LOG.info(f"{name}: too few recordings to hold one out; its accuracy stays unknown")
    return split


def _train(config: TrainConfig, overrides: list[str], started: datetime, report: Report) -> TrainingRun:
    """Return the finished run in the runs folder if there is one, or resume an unfinished run, or start a new run."""
    report(Progress("training", 0, config.trainer.epochs, "epochs"))
    for run in find_runs(Path(config.paths.runs)):
        is_done = run.metadata["status"] == "done"
        if is_done or (run.folder / "checkpoints").is_dir():
            _log_other_settings(run, overrides)
            LOG.info("the training is done already" if is_done else "resuming from the last checkpoint")
            return run if is_done else trainer.resume(run.folder, report=report)
    return trainer.train(config, started=started, overrides=overrides, report=report)


def _log_other_settings(run: TrainingRun, overrides: Sequence[str]) -> None:
    """Log a warning if the run that is resumed was started with other settings."""
    before, now = (
        [each for each in given if split_override(each)[0] not in OWN_KEYS]
        for given in (run.metadata.get("overrides", overrides), overrides)
    )
    if before != now:
        LOG.warning(
            f"{run.folder}: this training is resumed with the settings that it began with ({' '.join(before)}), not "
            f"with {' '.join(now)}. For these, choose another folder"
        )


def _merge_with_backbone(run: TrainingRun, config: TrainConfig, folder: Path, store: ModelStore) -> Bundle:
    """Return the run's bundle, extended with the classes of its backbone if possible."""
    head = read_bundle(run.bundle)
    family, shape = family_config(config, store)
    backbone = family.base_bundle(shape)
    if backbone is None or not can_extend(base := store.open(backbone), head):
        return head
    return extend_classes(base, head, folder, name=f"{base.info.name}, retrained")


def compare(
    active: Bundle, new: Bundle, table: RecordingsTable, *, store: ModelStore, n_workers: int
) -> dict[str, Any]:
    """Compare both bundles on held-out (test) recordings.

    Args:
        active: the active model.
        new: the new model.
        table: the data set with its split.
        store: the store of models.
        n_workers: number of decoder processes.

    Returns:
        The report:

        - numbers of recordings: n_train_recordings, n_held_out, and n_training_overlap (held-out recordings that the
          active model was trained on);
        - dicts with the values of the "active" and the "new" model: bundles (ids), average_precision (macro), top_1
          (share of recordings), false_alarms (share of recordings in which an absent species scores at least
          `FALSE_ALARM_SCORE`), n_false_alarm_recordings and false_alarm_hours (number and length of the recordings that
          this is a share of);
        - too_few_held_out: the result of the function of this name;
        - species: a list with a dict for each held-out species: scientific_name, common_name, n_train_recordings,
          n_held_out, active_average_precision and new_average_precision (None if the model does not know the species);
        - recordings: a list with a dict for each held-out recording: recording_id, name (locality, or the id),
          scientific_name, and for each model (active_..., new_...) prediction (a dict of species and score, or None)
          and is_correct (None for recordings without a main species).

        A species that a model does not know counts as 0 in its macro average_precision.

    Raises:
        InputError: a model knows a species of the held-out recordings, but none of the recordings could be scored.
    """
    rows = [row for row in table.rows if row.split == "test" and not row.is_unlabeled]
    each = {"active": active, "new": new}
    scores = _score_models([active, new], table, rows, store, n_workers)
    results = {name: _judge(bundle, own, rows) for (name, bundle), own in zip(each.items(), scores, strict=True)}
    species = species_of(rows)
    return {
        "n_train_recordings": sum(row.split == "train" and row.source != SOURCE for row in table.rows),
        "n_held_out": len(rows),
        "n_training_overlap": len(find_training_overlap(active, rows)),
        "bundles": {name: bundle.id for name, bundle in each.items()},
        "average_precision": {name: _mean(m.precision.get(s, 0.0) for s in species) for name, m in results.items()},
        "false_alarms": {name: m.false_alarms for name, m in results.items()},
        "n_false_alarm_recordings": {name: m.n_scored for name, m in results.items()},
        "false_alarm_hours": {name: round(m.scored_h, 4) for name, m in results.items()},
        "top_1": {name: _mean(m.is_right.values()) for name, m in results.items()},
        "too_few_held_out": too_few_held_out(table.rows),
        "species": [
            {
                "scientific_name": s,
                "common_name": next((r.common_name for r in rows if r.scientific_name == s and r.common_name), s),
                "n_train_recordings": sum(r.scientific_name == s and r.split == "train" for r in table.rows),
                "n_held_out": sum(r.scientific_name == s for r in rows),
                **{f"{name}_average_precision": m.precision.get(s) for name, m in results.items()},
            }
            for s in species
        ],
        "recordings": [
            {
                "recording_id": row.recording_id,
                "name": row.locality or row.recording_id,
                "scientific_name": row.scientific_name,
                **{f"{name}_prediction": m.best.get(row.recording_id) for name, m in results.items()},
                **{f"{name}_is_correct": m.is_right.get(row.recording_id) for name, m in results.items()},
            }
            for row in rows
        ],
    }


def find_regressions(
    active: Bundle, new: Bundle, report: dict[str, Any], *, may_change_family: bool = False
) -> tuple[str, ...]:
    """Return clauses with the reasons against replacing the active bundle by the new one; empty if there are none.

    Reasons are missing classes, another model family (if dawnchorus has trained the active model), a lower macro
    average precision or top-1 accuracy, a top-1 accuracy of 0, more false alarms, a species detected much worse, and
    too few held-out recordings. Constants of this module say how much lower, more or fewer counts.

    Args:
        active: the active bundle.
        new: the new bundle.
        report: the result of `compare`.
        may_change_family: True if another model family is no reason, because the user chose it; False if it is one.
    """
    lost = [label.common_name for label in active.labels if label.scientific_name not in new.class_by_scientific_name]
    reasons = []
    if _own_recipe(active) and not may_change_family and new.info.family != active.info.family:
        reasons.append(f"it is of another family ({new.info.family}; the active model: {active.info.family})")
    if lost:
        reasons.append(f"it does not know {len(lost)} classes that the active model knows ({', '.join(lost[:3])}...)")
    before, after = (report["average_precision"][name] for name in ("active", "new"))
    if after < before - MAX_LOSS:
        reasons.append(
            f"its macro average precision on the held-out recordings is {after:.3f}, the active model's {before:.3f}"
        )
    right = {name: share or 0.0 for name, share in report["top_1"].items()}
    if not right["new"]:
        reasons.append("it names none of the held-out recordings right")
    elif right["new"] < right["active"] - MAX_ACCURACY_DECREASE:
        reasons.append(
            f"it names {right['new']:.0%} of the held-out recordings, the active model {right['active']:.0%}"
        )
    alarms = report["false_alarms"]
    if alarms["new"] > alarms["active"] + MAX_FALSE_ALARM_INCREASE:
        reasons.append(f"it detects absent species in {alarms['new']:.0%} of the held-out recordings")
    for row in report["species"]:
        old, own = row["active_average_precision"], row["new_average_precision"] or 0.0
        if old is not None and old >= MIN_KNOWN_PRECISION and own < old / 2:
            reasons.append(f"it detects {row['common_name']} much worse ({own:.2f}, was {old:.2f})")
    if report["too_few_held_out"]:
        reasons.append(_too_few(report["too_few_held_out"]))
    return tuple(reasons)


def too_few_held_out(rows: Sequence[RecordingRow]) -> list[dict[str, Any]]:
    """Return the trained classes with fewer than `MIN_HELD_OUT` (5) held-out (test) recordings, sorted by name.

    Each dict has scientific_name, common_name, n_held_out and n_needed: the number of recordings to add until the test
    ratio of `PARTS` yields enough. Clips of one recording count once. `rows` are all rows of the split data set.
    """
    names: dict[str, str] = {}
    recordings: dict[tuple[str, str | None], set[int]] = defaultdict(set)
    for row, recording in zip(rows, assign_groups(rows, SAME_RECORDING), strict=True):
        for name in species_of([row]):
            recordings[name, row.split].add(recording)
        if row.scientific_name and row.common_name:
            names.setdefault(row.scientific_name, row.common_name)
    too_few = []
    for name in sorted({name for name, split in recordings if split == "train"}):
        n_train, n_held_out = (len(recordings.get((name, split), ())) for split in PARTS)
        if n_held_out < MIN_HELD_OUT:
            n_wanted = math.ceil(MIN_HELD_OUT / PARTS["test"])
            too_few.append(
                {
                    "scientific_name": name,
                    "common_name": names.get(name, name),
                    "n_held_out": n_held_out,
                    "n_needed": max(n_wanted - n_train - n_held_out, MIN_HELD_OUT - n_held_out),
                }
            )
    return too_few


def _too_few(classes: Sequence[Mapping[str, Any]]) -> str:
    named = [
        f"{each['common_name']} {each['n_held_out']} of {MIN_HELD_OUT} (add {each['n_needed']} recordings)"
        for each in classes[:MAX_LISTED]
    ]
    more = [f"{len(classes) - MAX_LISTED} more classes"] if len(classes) > MAX_LISTED else []
    return (
        f"too few held-out recordings to compare: {', '.join(named + more)}; add recordings from other occasions, or "
        f"decide yourself"
    )


@dataclass(frozen=True)
class _ModelScores:
    precision: dict[str, float]
    """Average precision over recordings, by species that the model knows."""
    false_alarms: float
    """Share of recordings in which an absent one of these species has a score of `FALSE_ALARM_SCORE` or more."""
    n_scored: int
    """Number of recordings that `false_alarms` is a share of."""
    scored_h: float
    """Total length of these recordings in hours."""
    best: dict[str, dict[str, Any]]
    """Species with the highest score among all classes of the model, and its score, by recording_id."""
    is_right: dict[str, bool]
    """True if that species is the recording's, with a score that `identify` shows by default; by recording_id."""


def _knows_any(bundle: Bundle, rows: Sequence[RecordingRow]) -> bool:
    return any(row.scientific_name in bundle.class_by_scientific_name for row in rows)


def _score_models(
    bundles: Sequence[Bundle], table: RecordingsTable, rows: Sequence[RecordingRow], store: ModelStore, n_workers: int
) -> list[Scores | None]:
    """Return the scores of both models, decoding the recordings once if possible; see `_score_model`."""
    classes = [_choose_classes(bundle, rows) for bundle in bundles]
    if len(group_by_windows(bundles)) == 1:
        with suppress(InputError):  # of which model, each by itself shows
            return [*score_together(bundles, table, rows, store=store, n_workers=n_workers, classes=classes)]
    return [_score_model(bundle, table, rows, store, n_workers) for bundle in bundles]


def _score_model(
    bundle: Bundle, table: RecordingsTable, rows: Sequence[RecordingRow], store: ModelStore, n_workers: int
) -> Scores | None:
    """Return the scores of a model; None if it knows no species of the recordings and can score no recording.

    Raises:
        InputError: the model knows a species, but no recording could be scored.
    """
    classes = _choose_classes(bundle, rows)
    try:
        return score_data_set(bundle, table, rows, store=store, n_workers=n_workers, classes=classes)
    except InputError:
        if classes is None:
            raise
        return None


def _choose_classes(bundle: Bundle, rows: Sequence[RecordingRow]) -> list[str] | None:
    """Return None (the species of the rows); for a model that knows none of them, any one class, as one is required."""
    return None if _knows_any(bundle, rows) else [bundle.labels[0].scientific_name]  # one must be named


def _judge(bundle: Bundle, scores: Scores | None, rows: Sequence[RecordingRow]) -> _ModelScores:
    """Compute the figures of a model from its scores; None stands for a model that knows no species of the rows."""
    if scores is None:
        return _ModelScores({}, 0.0, 0, 0.0, {}, {row.recording_id: False for row in rows if row.scientific_name})
    is_known = _knows_any(bundle, rows)
    precision: dict[str, float] = {}
    false_alarms, n_scored, scored_h = 0.0, 0, 0.0
    if is_known:
        n_scored, scored_h = len(scores.rows), sum(row.duration_s or 0.0 for row in scores.rows) / 3600
        values, truth = scores.by_recording("max")
        each = classification.average_precision(truth, values)
        false_alarms = float(((values >= FALSE_ALARM_SCORE) & ~truth).any(1).mean())
        precision = {name: float(v) for name, v in zip(scores.classes, each, strict=True) if np.isfinite(v)}
    best: dict[str, dict[str, Any]] = {}
    is_right = {row.recording_id: False for row in rows if row.scientific_name is not None}
    for row, first in zip(scores.rows, scores.best, strict=True):
        if first is None:
            continue
        label = bundle.labels[first.index]
        best[row.recording_id] = {"species": label.common_name, "score": round(first.score, 4)}
        if row.scientific_name is not None:
            is_named = label.scientific_name == row.scientific_name
            is_right[row.recording_id] = is_named and first.score >= DEFAULT_MIN_SCORE
    return _ModelScores(precision, false_alarms, n_scored, scored_h, best, is_right)


def _mean(values: Any) -> float | None:
    numbers = list(values)
    return float(np.mean(numbers)) if numbers else None
