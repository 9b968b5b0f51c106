"""The command `dawnchorus identify --dry-run`: an estimate of a run's time, size and costs."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from dawnchorus.cli.present import length_text
from dawnchorus.cores import usable_cores
from dawnchorus.identification.dry_run import MEASURE_S, RunCost, estimate_cost
from dawnchorus.identification.journal import file_version
from dawnchorus.identification.options import Options
from dawnchorus.identification.run import build_run_plan, load_sessions
from dawnchorus.inference.loaded_model import LoadedModel
from dawnchorus.inference.model import Model
from dawnchorus.inference.recording import ScoringPlan
from dawnchorus.storage.paths import as_path, is_remote
from dawnchorus.tables.notes import counted

if TYPE_CHECKING:
    from dawnchorus.identification.archiving import ArchivePlan

JSON_SCHEMA = 1


@dataclass(frozen=True)
class Prices:
    """Prices in any one currency; a price is None if it was not given."""

    per_core_hour: float | None = None
    """Price of an hour of one core."""
    per_gb: float | None = None
    """Price of reading 1 GB (1e9 bytes) of recordings."""

    def cost(self, *, core_hours: float, n_bytes: int) -> dict[str, float] | None:
        """Return the costs by kind: "cores" for `core_hours`, "reading" for reading `n_bytes`, and their sum, "total".

        A price that was not given counts as 0; without any price, the result is None.
        """
        if self.per_core_hour is None and self.per_gb is None:
            return None
        cores, reading = core_hours * (self.per_core_hour or 0.0), n_bytes / 1e9 * (self.per_gb or 0.0)
        return {"cores": cores, "reading": reading, "total": cores + reading}


@dataclass(frozen=True)
class DryRun:
    """Measurement and printing of a run's costs.

    Attributes:
        screen: console for messages.
        n_workers: number of cores of the run.
        prices: prices of cores and reading.
        as_json: True to print the figures also as JSON, on standard output.
    """

    screen: Console
    n_workers: int
    prices: Prices
    as_json: bool

    def show_table(
        self, files: Sequence[Path], model: Model, options: Options, analyses: Sequence[str], out: Path | None
    ) -> None:
        """Measure and print the costs of identifying the recordings `files` with tables as output.

        Nothing is identified or written: the costs are estimated by `identification.dry_run.estimate_cost`.

        Args:
            files: the recordings.
            model: the model.
            options: options of the identification.
            analyses: names of further analyses.
            out: output file or folder, of which a warning says if its disk has too little space; None for standard
                output.

        Raises:
            InputError: an option does not apply to the model, an analysis is unknown, or none of the recordings can be
                scored.
            ModelError: the model cannot be loaded or run.
            MissingExtraError: the library that runs the model, or noisereduce for its cleaning, is not installed.
            PlugInError: an analysis of a plug-in cannot be used.
        """
        sized = [(path, file_version(path)[0]) for path in files]
        cost = self._estimate(sized, load_sessions(model, options), build_run_plan(model, options, analyses))
        self._print_scoring(cost, each=options.channel == "each", n_shards=1, largest_share=1.0)
        self.screen.print(
            f"About {counted(cost.n_detections, 'detection')}; a csv table of about {_size_text(cost.table_bytes)}."
        )
        if out is not None and not is_remote(out):
            warn_if_full(self.screen, out, cost.table_bytes)
        self._finish(cost, {"output_bytes": cost.table_bytes})

    def show_archive(self, plan: ArchivePlan, folder: str, model: Model) -> None:
        """Measure and print the costs of a planned run into an archive.

        Nothing is identified or written.

        Args:
            plan: the planned work.
            folder: the archive's folder, of which a warning says if its disk has too little space, or the URL.
            model: the model.

        Raises:
            InputError: none of the recordings can be scored.
            ModelError: the model cannot be run.
            MissingExtraError: the library that runs the model, or noisereduce for its cleaning, is not installed.
        """
        sized = [(file.full_path, file.n_bytes) for files in plan.missing.values() for file in files]
        cost = self._estimate(sized, plan.model, plan.plan)
        n_shards, n_units = plan.shard.count, len(plan.missing)
        largest_share = max(plan.missing_shares(n_shards))
        has_run = len(plan.sizes) > n_units
        if has_run:
            self.screen.print(f"Done already: {len(plan.sizes) - n_units} of {counted(len(plan.sizes), 'unit')}.")
        self._print_scoring(cost, each=plan.plan.channel == "each", n_shards=n_shards, largest_share=largest_share)
        n_bytes = cost.archive_bytes(n_units=n_units, n_classes=None if has_run else len(model.labels))
        dim = model.embedding_dim
        is_short = "embeddings:int8" in plan.plan.analyses
        embeddings_bytes = None if dim is None else cost.embeddings_bytes(dim, n_units=n_units, is_short=is_short)
        keeps = is_short or "embeddings" in plan.plan.analyses
        more = "" if embeddings_bytes is None else f", and {_size_text(embeddings_bytes)} of embeddings"
        self.screen.print(
            f"About {counted(cost.n_detections, 'detection')}; {_size_text(n_bytes)} in the archive{more}"
            + (" (with --keep embeddings)." if more and not keeps else ".")
        )
        kept_bytes = n_bytes + (embeddings_bytes or 0 if keeps else 0)
        if not is_remote(as_path(folder)):
            warn_if_full(self.screen, as_path(folder), kept_bytes)
        fields = {
            "run": plan.run,
            "shard": str(plan.shard),
            "n_units": n_units,
            "shards_s": cost.wall_s(self.n_workers, share=largest_share),
            "archive_bytes": n_bytes,
            "embeddings_bytes": embeddings_bytes,
        }
        self._finish(cost, fields, n_processes=n_shards)

    def _estimate(self, sized: Sequence[tuple[Path, int | None]], model: LoadedModel, plan: ScoringPlan) -> RunCost:
        n_cores = min(self.n_workers, usable_cores())
        self.screen.print(f"Measuring on {counted(n_cores, 'core')} for up to {MEASURE_S:.0f} seconds...")
        return estimate_cost(sized, model, plan, n_workers=n_cores, clock=time.perf_counter)

    def _print_scoring(self, cost: RunCost, *, each: bool, n_shards: int, largest_share: float) -> None:
        source, speed = cost.source, cost.speed
        unreadable = f", {source.n_unreadable} of which cannot be read" if source.n_unreadable else ""
        self.screen.print(
            f"{counted(source.n_files, 'recording')}, {length_text(source.duration_s)} of sound"
            f"{', each channel counted' if each else ''}; {_size_text(source.n_bytes)} to read "
            f"(from {counted(source.n_probed, 'header')}{unreadable})."
        )
        self.screen.print(
            f"Measured for {speed.elapsed_s:.1f} s on {counted(speed.n_workers, 'core')}: "
            f"{cost.x_real_time:,.0f} x real time."
        )
        one = length_text(cost.wall_s(self.n_workers))
        text = f"{self._core_hours(cost, n_shards):.3g} core-hours; about {one} on {counted(self.n_workers, 'core')}"
        if n_shards > 1:
            together = length_text(cost.wall_s(self.n_workers, share=largest_share))
            text += f" for one process, {together} for {n_shards} shards at once"
        self.screen.print(f"{text}.")

    def _core_hours(self, cost: RunCost, n_processes: int) -> float:
        return cost.core_s(self.n_workers, n_processes=n_processes) / 3600

    def _finish(self, cost: RunCost, fields: dict[str, Any], *, n_processes: int = 1) -> None:
        """Print the costs in money and, with `as_json`, all figures as JSON."""
        core_hours = self._core_hours(cost, n_processes)
        money = self.prices.cost(core_hours=core_hours, n_bytes=cost.source.n_bytes)
        if money is not None:
            self.screen.print(
                f"Cost: {money['total']:.2f} ({money['cores']:.2f} for cores, {money['reading']:.2f} for reading)."
            )
        if not self.as_json:
            return
        printed = {
            "schema": JSON_SCHEMA,
            "dry_run": True,
            **asdict(cost.source),
            "measured": asdict(cost.speed),
            "x_real_time": cost.x_real_time,
            "n_workers": self.n_workers,
            "core_hours": core_hours,
            "estimated_s": cost.wall_s(self.n_workers),
            "n_detections": cost.n_detections,
            **fields,
            "cost": money,
        }
        click.echo(json.dumps(printed))


def warn_if_full(screen: Console, out: Path, n_bytes: int) -> None:
    """Print a warning if the disk of the output path `out` (which may not exist yet) has less than `n_bytes` free."""
    folder = next((p for p in (out, *out.absolute().parents) if p.exists()), None)
    if folder is not None and shutil.disk_usage(folder).free < n_bytes:
        screen.print(f"warning: {folder} may not have enough free space for the results.")


def _size_text(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.2f} MB"
