"""The command `dawnchorus leaderboard`: training with several recipes, and a table of their results."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from dawnchorus.cli.log import LinesHandler, show_log
from dawnchorus.cli.options import LOCAL_PATH, config_dir_option
from dawnchorus.cli.present import console, print_table, without_nan
from dawnchorus.cli.train import print_config_dir_notes
from dawnchorus.data.recordings import read_table
from dawnchorus.errors import DawnChorusError, InputError, MissingExtraError
from dawnchorus.storage.files import atomic_file

if TYPE_CHECKING:
    from dawnchorus.training.leaderboard import LeaderboardRow


@click.command("leaderboard")
@click.argument("data_set", type=LOCAL_PATH)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--recipe", "recipes", multiple=True, help="Only this recipe; repeatable.  [default: all]")
@click.option("--split", default="test", show_default=True, help="Split to evaluate on.")
@click.option("--open-set", type=click.Path(path_type=Path), help="Data set of species that no model is trained on.")
@click.option("--random-split", is_flag=True, help="Also measure the optimistic bias of a random split of clips.")
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of models with different random seeds, which are averaged to an ensemble.",
)
@click.option(
    "--overlap", type=float, default=0.0, show_default=True, help="Overlap of neighboring windows in seconds."
)
@config_dir_option
@click.option("--out", type=click.Path(path_type=Path), help="Output file for the table, as JSON.")
def command(
    *,
    data_set: Path,
    overrides: tuple[str, ...],
    recipes: tuple[str, ...],
    split: str,
    open_set: Path | None,
    random_split: bool,
    seeds: int,
    overlap: float,
    config_dir: Path | None,
    out: Path | None,
) -> None:
    """Train with all recipes (named sets of training settings) on DATA_SET, and compare them on one split.

    KEY=VALUE changes a setting in all recipes.
    """
    try:
        from dawnchorus.training.compose import available_choices, refuse_contradictions
        from dawnchorus.training.leaderboard import measure_recipe
    except ImportError as error:
        raise MissingExtraError(error.name or "torch", extra="train", purpose="Training") from error

    refuse_contradictions(overrides)
    table = read_table(data_set)
    if not any(row.split == split for row in table.rows):
        raise InputError(f"{data_set}: no recording is in the split {split!r}. Run `dawnchorus data split` first.")
    unknown = read_table(open_set) if open_set is not None else None
    screen = console()
    print_config_dir_notes(config_dir, screen)
    show_log(LinesHandler())
    rows: list[LeaderboardRow] = []
    failed = False
    for recipe in recipes or available_choices(config_dir)["experiment"]:
        screen.rule(recipe)
        try:
            row = measure_recipe(
                recipe,
                overrides,
                table,
                split=split,
                clock=datetime.now,
                unknown=unknown,
                random_split=random_split,
                n_seeds=seeds,
                overlap_s=overlap,
                config_dir=config_dir,
            )
        except DawnChorusError as error:
            screen.print(f"failed: {recipe}: {error}", markup=False)
            failed = True
            continue
        rows.append(row)
        screen.print(f"top 1 {row.evaluation.by_recording['top_1']}")
        if row.evaluation.interval_note is not None:
            screen.print(f"{row.recipe}: {row.evaluation.interval_note}", markup=False)
        if out is not None:
            with atomic_file(out) as stream:
                table = without_nan([each.as_json() for each in rows])
                stream.write(json.dumps(table, indent=2, allow_nan=False).encode())
    rows.sort(key=lambda e: -e.evaluation.by_recording["top_1"].value)
    print_table(_table(rows))
    if failed:
        sys.exit(1)


def _table(rows: list[LeaderboardRow]) -> Table:
    table = Table(box=None)
    names = ("recipe", "top 1", "of each seed", "macro ROC AUC", "trainable", "MB", "fit s", "ms per 5 s", "open set")
    for column in (*names, "random split bias"):
        table.add_column(column)
    for row in rows:
        metrics = row.evaluation.by_recording
        bias = ""
        if row.random_split_accuracy is not None and row.grouped_split_accuracy is not None:
            bias = f"{row.random_split_accuracy:.2f} for {row.grouped_split_accuracy:.2f}"
        table.add_row(
            row.recipe,
            str(metrics["top_1"]),
            "" if len(row.by_seed) == 1 else ", ".join(f"{e.by_recording['top_1'].value:.3f}" for e in row.by_seed),
            str(metrics["macro_roc_auc"]),
            f"{row.total('n_trainable_parameters'):,.0f}",
            f"{row.bundle_mb:.1f}",
            f"{row.total('fit_s'):.1f}",
            f"{row.ms_per_5_s:.1f}",
            "" if row.open_set_auroc is None else f"{row.open_set_auroc:.3f}",
            bias,
        )
    return table
