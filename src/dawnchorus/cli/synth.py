"""The command `dawnchorus synth`: data sets of synthetic birds."""

from __future__ import annotations

from pathlib import Path

import click

from dawnchorus.audio.write import write_recording
from dawnchorus.cli.options import LOCAL_PATH
from dawnchorus.data.synthesis.datasets import SOUNDSCAPES_FOLDER, SyntheticPlan, synthetic_recordings
from dawnchorus.errors import OutputExistsError
from dawnchorus.formats import raven
from dawnchorus.storage.files import atomic_file, cannot_write
from dawnchorus.tables.notes import counted
from dawnchorus.types import Provenance
from dawnchorus.version import __version__


@click.command("synth")
@click.argument("folder", type=LOCAL_PATH)
@click.option("--species", type=int, default=SyntheticPlan.n_species, show_default=True, help="Number of species.")
@click.option(
    "--clips", type=int, default=SyntheticPlan.n_clips, show_default=True, help="Number of recordings of each species."
)
@click.option(
    "--clip-seconds",
    type=float,
    default=SyntheticPlan.clip_s,
    show_default=True,
    help="Length of a recording of a species in seconds.",
)
@click.option(
    "--soundscapes",
    type=int,
    default=SyntheticPlan.n_soundscapes,
    show_default=True,
    help="Number of soundscapes, recordings with several species.",
)
@click.option(
    "--soundscape-seconds",
    type=float,
    default=SyntheticPlan.soundscape_s,
    show_default=True,
    help="Length of a soundscape in seconds.",
)
@click.option("--sample-rate", type=int, default=SyntheticPlan.rate_hz, show_default=True, help="Sample rate in Hz.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Seed of the random generator; the same seed makes the same data set.",
)
@click.option("--overwrite", is_flag=True, help="Allow an output folder that is not empty.")
def command(
    *,
    folder: Path,
    species: int,
    clips: int,
    clip_seconds: float,
    soundscapes: int,
    soundscape_seconds: float,
    sample_rate: int,
    seed: int,
    overwrite: bool,
) -> None:
    """Create a labeled data set of synthetic birds in FOLDER.

    clips/ has one folder per species and one without birds; soundscapes/ has longer recordings, each with its songs
    annotated in a Raven table.
    """
    plan = SyntheticPlan(
        n_species=species,
        n_clips=clips,
        clip_s=clip_seconds,
        n_soundscapes=soundscapes,
        soundscape_s=soundscape_seconds,
        rate_hz=sample_rate,
    )
    if folder.exists() and not overwrite and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputExistsError("it is not empty. Choose another folder, or use --overwrite.", subject=folder)
    provenance = Provenance("synth", "1", "", f"dawnchorus {__version__}", {"seed": seed, "annotated": True})
    n = 0
    for relative, scene in synthetic_recordings(plan, seed=seed):
        path = folder / relative
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(path.parent, error) from error
        write_recording(path, scene.samples, rate_hz=scene.rate_hz)
        if relative.parts[0] == SOUNDSCAPES_FOLDER:
            with atomic_file(path.with_suffix(".selections.txt")) as stream:
                raven.write(stream, [scene.truth(path.name)], provenance)
        n += 1
    click.echo(f"{counted(n, 'recording')} in {folder}")
