"""Leaderboard: training and evaluation of experiments (sets of training settings) on one split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from dawnchorus.data.recordings import RecordingsTable
from dawnchorus.evaluation.evaluation import Evaluation, evaluate
from dawnchorus.evaluation.scoring import Scores, group_by_windows, score_data_set, score_together
from dawnchorus.metrics.classification import roc_auc
from dawnchorus.models.bundle import Bundle, read_bundle
from dawnchorus.models.graphs.ensemble import make_ensemble
from dawnchorus.models.runner import milliseconds
from dawnchorus.models.store import ModelStore
from dawnchorus.training.compose import compose_config
from dawnchorus.training.runs import TrainingRun
from dawnchorus.training.trainer import open_store, train

ENSEMBLE_NAME = "ensemble"
"""Name of the ensemble's folder, in the folder of the first run."""


@dataclass(frozen=True)
class LeaderboardRow:
    """Result of one experiment in the leaderboard.

    Attributes:
        recipe: name of the experiment.
        bundle: the trained bundle; for several seeds, the ensemble of their bundles.
        evaluation: evaluation of `bundle`.
    """

    recipe: str
    runs: tuple[TrainingRun, ...]
    """Training runs, one per seed."""
    bundle: Bundle
    evaluation: Evaluation
    by_seed: tuple[Evaluation, ...]
    """Evaluation of each run's bundle, in the order of `runs`."""
    ms_per_5_s: float
    """Inference time in milliseconds for 5 s of audio on one core, without decoding."""
    open_set_auroc: float | None
    """ROC AUC for telling known from unknown species by a recording's highest score, as `open_set_auroc` measures it;
    None if not measured."""
    random_split_accuracy: float | None
    """Clip accuracy after training on a random split of clips, which leaks; None if not measured."""
    grouped_split_accuracy: float | None
    """Clip accuracy of the first run on whole held-out recordings, to compare with `random_split_accuracy`; None if
    not measured."""

    def total(self, name: str) -> float:
        """Return the sum over all runs of the number `name` in `run.json`, such as "fit_s", the seconds of training.

        Raises:
            KeyError: a run does not have this number.
        """
        return sum(float(run.metadata[name]) for run in self.runs)

    @property
    def bundle_mb(self) -> float:
        """Size of the bundle's graph in megabytes."""
        return self.bundle.graph_path.stat().st_size / 1e6

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON-compatible values.

        Keys are recipe; runs (their names); by_recording (for each metric by name a dict of value, low and high, the
        bounds of its confidence interval); by_seed (a dict of metrics for each run); n_parameters,
        n_trainable_parameters, fit_s and features_s (sums over the runs); bundle (its folder); bundle_mb; devices (of
        the first run); ms_per_5_s, open_set_auroc, random_split_accuracy and grouped_split_accuracy. NaN stays NaN.
        """
        return {
            "recipe": self.recipe,
            "runs": [run.name for run in self.runs],
            "by_recording": {name: vars(value) for name, value in self.evaluation.by_recording.items()},
            "by_seed": [{name: value.value for name, value in each.by_recording.items()} for each in self.by_seed],
            "n_parameters": self.total("n_parameters"),
            "n_trainable_parameters": self.total("n_trainable_parameters"),
            "bundle": str(self.bundle.folder),
            "bundle_mb": self.bundle_mb,
            "fit_s": self.total("fit_s"),
            "features_s": self.total("features_s"),
            "devices": self.runs[0].metadata["devices"],
            "ms_per_5_s": self.ms_per_5_s,
            "open_set_auroc": self.open_set_auroc,
            "random_split_accuracy": self.random_split_accuracy,
            "grouped_split_accuracy": self.grouped_split_accuracy,
        }


def measure_recipe(
    recipe: str,
    overrides: Sequence[str],
    table: RecordingsTable,
    *,
    split: str,
    clock: Callable[[], datetime],
    unknown: RecordingsTable | None = None,
    random_split: bool = False,
    n_seeds: int = 1,
    overlap_s: float = 0.0,
    config_dir: Path | None = None,
) -> LeaderboardRow:
    """Train with the settings of an experiment, and evaluate the bundle on the recordings of `split`.

    Args:
        recipe: name of the experiment.
        overrides: settings of the training, which take precedence over the experiment's.
        table: the data set.
        split: name of the split to evaluate on, such as "test".
        clock: function that returns the current local time.
        unknown: recordings of species that are not trained, to measure `open_set_auroc`; None skips it.
        random_split: also train on a random split of clips, to measure `random_split_accuracy` and
            `grouped_split_accuracy`.
        n_seeds: number of runs with different seeds; their bundles are averaged (geometrically) to an ensemble.
        overlap_s: overlap of neighboring windows in the evaluation, in seconds.
        config_dir: folder of the user's configuration choices, which take precedence over built-in ones; None for the
            built-in ones only.

    Raises:
        InputError, ModelError, TrainingError, OutputError: see `trainer.train`.
    """
    settings = [f"experiment={recipe}", f"data={table.folder}", f"name={recipe}", *overrides]
    config = compose_config(settings, config_dir=config_dir)
    runs = []
    for seed in range(config.seed, config.seed + n_seeds):
        own = [*settings, f"seed={seed}"]
        runs.append(train(compose_config(own, config_dir=config_dir), started=clock(), overrides=own))
    store, bundles = open_store(config), [read_bundle(each.bundle) for each in runs]
    rows = [row for row in table.rows if row.split == split]
    measured = [
        scores
        for group in group_by_windows(bundles)
        for scores in score_together(group, table, rows, store=store, overlap_s=overlap_s)
    ]
    by_seed = tuple(map(evaluate, bundles, measured))
    options = {"data_set": str(table.folder.resolve()), "split": split, "overlap_s": overlap_s, "tta_shifts": 1}
    date = clock().isoformat(timespec="seconds")
    runs = [
        run.add_evaluation({**options, "date": date, **each.as_record()})
        for run, each in zip(runs, by_seed, strict=True)
    ]
    bundle, scores, evaluation = bundles[0], measured[0], by_seed[0]
    if n_seeds > 1:
        bundle = _average_bundles(bundles, recipe)
        scores = score_data_set(bundle, table, rows, store=store, overlap_s=overlap_s)
        evaluation = evaluate(bundle, scores)
    random_accuracy = grouped_split_accuracy = None
    if random_split:
        random_split_config = compose_config([*settings, "data.random_clip_split=true"], config_dir=config_dir)
        random_split_run = train(random_split_config, started=clock(), overrides=settings)
        random_accuracy = random_split_run.metrics.get("val_clip_accuracy")
        single = read_bundle(runs[0].bundle)
        grouped_split_accuracy = evaluate(single, score_data_set(single, table, rows, store=store)).by_window["top_1"]
    return LeaderboardRow(
        recipe=recipe,
        runs=tuple(runs),
        bundle=bundle,
        evaluation=evaluation,
        by_seed=by_seed,
        ms_per_5_s=milliseconds(bundle),
        open_set_auroc=None if unknown is None else open_set_auroc(bundle, scores, unknown, store, overlap_s),
        random_split_accuracy=random_accuracy,
        grouped_split_accuracy=grouped_split_accuracy,
    )


def _average_bundles(bundles: Sequence[Bundle], name: str) -> Bundle:
    folder = bundles[0].folder.parent / ENSEMBLE_NAME
    return make_ensemble(bundles, folder, name=name, license_name=bundles[0].info.license, average="geometric")


def open_set_auroc(
    bundle: Bundle, known: Scores, unknown: RecordingsTable, store: ModelStore, overlap_s: float
) -> float:
    """Return the area (0 to 1) under the ROC curve of telling recordings of known species from those of unknown ones.

    The criterion is a recording's maximum score over the classes of `known`; the score of a class is the mean over the
    recording's windows.

    Args:
        bundle: the model.
        known: scores of the model in recordings of known species.
        unknown: recordings of species that are no classes of the model.
        store: the store of models.
        overlap_s: overlap of neighboring windows in seconds.

    Raises:
        InputError: none of the recordings of unknown species can be scored.
    """
    others = score_data_set(bundle, unknown, unknown.rows, store=store, classes=known.classes, overlap_s=overlap_s)
    best = [scores.by_recording("mean")[0].max(1) for scores in (known, others)]
    truth = np.r_[np.ones(len(best[0]), bool), np.zeros(len(best[1]), bool)]
    return float(roc_auc(truth[:, None], np.concatenate(best)[:, None])[0])
