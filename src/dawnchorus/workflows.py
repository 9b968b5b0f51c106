"""The steps from recordings to an evaluated model as Python functions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from dawnchorus.arguments import check_choice, check_count, count_workers
from dawnchorus.audio.process import DecoderProcess
from dawnchorus.audio.sources import AudioSource, open_audio
from dawnchorus.data import prepare as preparing
from dawnchorus.data.attribution import write_attribution
from dawnchorus.data.clips import write_prepared_table
from dawnchorus.data.data_set_import import import_data_set
from dawnchorus.data.layout_detection import parse_layout
from dawnchorus.data.model_check import call_times
from dawnchorus.data.prepare import PrepareSummary
from dawnchorus.data.recipes import Recipe
from dawnchorus.data.recordings import RecordingsTable, read_table, select_split, write_table
from dawnchorus.data.split import DEFAULT_RATIOS, split_table
from dawnchorus.errors import InputError, MissingExtraError
from dawnchorus.evaluation.evaluation import Evaluation
from dawnchorus.evaluation.evaluation import evaluate as evaluate_scores
from dawnchorus.evaluation.scoring import Pool, score_data_set
from dawnchorus.inference.model import Model, load_model
from dawnchorus.inference.preparation import open_cleaner
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import DEFAULT_MODEL, ModelStore, default_folder
from dawnchorus.storage.files import atomic_file
from dawnchorus.suggestions import suggestion
from dawnchorus.types import RecordingTable

if TYPE_CHECKING:
    from dawnchorus.data.presence import Secondary
    from dawnchorus.training.runs import TrainingRun

StrPath = str | os.PathLike[str]


def import_recordings(
    source: StrPath,
    data_set: StrPath,
    *,
    layout: str = "auto",
    columns: Mapping[str, str] | None = None,
    audio: StrPath | None = None,
    per_species: int | None = None,
    checklists: Iterable[StrPath] | StrPath = (),
    append: bool = False,
    overwrite: bool = False,
    models_folder: StrPath | None = None,
    workers: int | None = None,
) -> RecordingsTable:
    """Create the recordings table of a data set from a folder or table; recordings stay where they are.

    What could not be read goes to the log `dawnchorus.data`.

    Args:
        source: a folder per species, a Kaggle or BirdCLEF folder, a csv, results of xeno-canto's API, annotated
            soundscapes, or a table of detections.
        data_set: folder of the data set.
        layout: a name of `dawnchorus data import --help`; default: detected.
        columns: columns of a csv by field, such as `{"scientific_name": "Art"}`.
        audio: folder of the recordings that a table describes; default: the table's folder.
        per_species: largest number of recordings of a species, the first ones.
        checklists: csv file or files in which names are looked up, besides those that are on this machine.
        append: add to the table that is there.
        overwrite: replace the table that is there.
        models_folder: folder of the built-in models, whose labels are looked up.
        workers: cores to use; default: all that this process may use.

    Raises:
        OutputExistsError: the data set has a table, and neither `append` nor `overwrite` was given.
        InputError: no such source, or no recordings in it, or an ambiguous layout.
        FormatError: a table is invalid.
    """
    if per_species is not None:
        check_count("per_species", per_species)
    imported = import_data_set(
        Path(source),
        Path(data_set),
        store=_store(models_folder),
        layout=parse_layout(layout),
        columns=columns,
        audio=None if audio is None else Path(audio),
        per_species=per_species,
        checklists=[Path(path) for path in _as_paths(checklists)],
        append=append,
        overwrite=overwrite,
        n_workers=count_workers(workers),
    )
    return imported.table


def split(data_set: StrPath, *, ratios: Mapping[str, float] = DEFAULT_RATIOS, seed: int = 1) -> RecordingsTable:
    """Split a data set with related recordings kept together, and write its table.

    Args:
        data_set: folder of the data set.
        ratios: shares of train, validation and test, or of fold0, fold1, ...
        seed: seed of the random choice.

    Raises:
        InputError: no data set, no usable recordings, ratios that are not positive, or names that are no splits.
    """
    table = split_table(read_table(Path(data_set)), ratios, seed=seed)
    write_table(table)
    return table


def prepare(
    data_set: StrPath,
    folder: StrPath,
    recipe: str = "birdclef-5s",
    *,
    seed: int = 1,
    model: str | os.PathLike[str] | Model = DEFAULT_MODEL,
    models_folder: StrPath | None = None,
    workers: int | None = None,
    **changes: Any,
) -> PrepareSummary:
    """Cut recordings of a data set into clips of equal length; existing clips are kept.

    Args:
        data_set: folder of the data set.
        folder: folder of the clips; another one than the data set's.
        recipe: a name of `dawnchorus prepare --list-recipes`.
        seed: seed of clips that are chosen at random.
        model: model whose scores choose clips, for recipes with `clip_selection="scored"`.
        models_folder: folder of the built-in models.
        workers: cores to use; default: all that this process may use.
        changes: fields of the recipe (`Recipe`), such as `window_s=3.0` or `clip_selection="loudest"`.

    Raises:
        InputError: an unknown recipe, the data set's own folder, or a folder with clips of another recipe.
        TypeError: a recipe has no field of this name.
        OutputError: no space, or no permission.
    """
    table, out = read_table(Path(data_set)), Path(folder)
    if out.resolve() == table.folder.resolve():
        raise InputError("expected another folder than the data set's own, for the clips.", subject=out)
    chosen = _change_recipe(_find_recipe(recipe), changes)
    n_workers = count_workers(workers)
    calls = {}
    if chosen.clip_selection == "scored":
        loaded = load_model(model, models_folder=models_folder)
        calls = call_times(table, loaded, n_workers, folder=out)
    cleaner = open_cleaner(chosen.cleaning, _store(models_folder).folder)
    summary = preparing.prepare(table, out, chosen, seed=seed, n_workers=n_workers, cleaner=cleaner, calls=calls)
    write_prepared_table(table, out)
    write_attribution((row for row in table.rows if row.recording_id not in summary.failures), out)
    return summary


def _find_recipe(name: str) -> Recipe:
    from dawnchorus.training.clip_recipes import known_recipes

    recipes = known_recipes()
    check_choice("recipe", name, recipes)
    return recipes[name][1]


def _change_recipe(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    known = [field.name for field in fields(Recipe)]
    for name in changes:
        if name not in known:
            raise TypeError(f"'{name}' is no field of a recipe.{suggestion(name, known)}")
    return replace(recipe, **changes)


def train(data_set: StrPath, *overrides: str, config_dir: StrPath | None = None) -> TrainingRun:
    """Train a model on a split data set, and write its run and bundle.

    Args:
        data_set: folder of the data set, or of prepared clips.
        overrides: settings as on the command line, such as `"model=efficientnet"` or `"optimizer.lr=3e-4"`.
        config_dir: folder of choices of your own, which take precedence over the built-in ones.

    The bundle is in `TrainingRun.bundle`, and a run's folder is a model for `load_model`.

    Raises:
        InputError: an unknown setting, or a data set that cannot be trained on.
        MissingExtraError: the extra [train] is not installed.
        TrainingError: the loss is not finite.
        OutputError: no space, or no permission.
    """
    try:
        from dawnchorus.training import compose, trainer
    except ImportError as error:
        raise MissingExtraError(error.name or "torch", extra="train", purpose="Training") from error
    given = [f"data={os.fspath(data_set)}", *overrides]
    compose.refuse_contradictions(given)
    config = compose.compose_config(given, config_dir=None if config_dir is None else Path(config_dir))
    started = datetime.now()  # noqa: DTZ005 - a folder's name, in the user's own time
    return trainer.train(config, started=started, overrides=given)


def evaluate(
    model: str | os.PathLike[str] | Model,
    data_set: StrPath,
    *,
    split: str = "test",
    secondary: Secondary | None = None,
    pool: Pool = "mean",
    overlap_s: float = 0.0,
    workers: int | None = None,
) -> Evaluation:
    """Evaluate a model on the recordings of a data set, with confidence intervals.

    Args:
        model: a built-in model's name, a bundle's or training run's folder, or a loaded model.
        data_set: folder of the data set.
        split: the split to use; "all": every recording.
        secondary: "count" or "mask" secondary species; default: as the model was trained, else "mask".
        pool: how windows become one score of a recording: "mean" or "max".
        overlap_s: seconds that neighboring windows share.
        workers: cores to use; default: all that this process may use.

    Raises:
        InputError: an argument out of range, no recordings in this split, or the model knows none of the species.
        ModelError: the model cannot be loaded or run.
    """
    check_choice("pool", pool, get_args(Pool))
    if secondary is not None:
        check_choice("secondary", secondary, ("count", "mask"))
    loaded, table = load_model(model), read_table(Path(data_set))
    scores = score_data_set(
        loaded.bundle,
        table,
        select_split(table, split),
        store=loaded.store,
        n_workers=count_workers(workers),
        overlap_s=overlap_s,
        secondary=secondary or choose_secondary(loaded.bundle),
    )
    return evaluate_scores(loaded.bundle, scores, pool=pool)


def choose_secondary(bundle: Bundle) -> Secondary:
    """Return "mask" for bundles trained here with secondary species masked, else "count"."""
    from dawnchorus.training.renamed_keys import with_current_keys

    recipe = None if bundle.info.training is None else bundle.info.training.recipe
    data = {"secondary_target": 1.0} if recipe is None else with_current_keys(recipe)["data"]
    return "count" if data.get("secondary_target") and not data.get("mask_secondary") else "mask"


@dataclass(frozen=True, repr=False)
class Plot:
    """A plot, displayed by notebooks.

    Attributes:
        png: the picture as a PNG file.
    """

    png: bytes

    def _repr_png_(self) -> bytes:
        return self.png

    def write(self, path: StrPath) -> None:
        """Write the plot as a PNG file.

        Raises:
            InputError: the name ends in something else than `.png`.
            OutputError: no space, or no permission.
        """
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise InputError("expected a name that ends in .png, as the plot is written in this format.", subject=path)
        with atomic_file(path) as stream:
            stream.write(self.png)


def plot_spectrogram(audio: AudioSource, detections: RecordingTable | None = None, *, waveform: bool = False) -> Plot:
    """Draw the spectrogram of a recording, with detections boxed and named.

    Args:
        audio: a path, a sound file's bytes, an open sound file, or `(samples, sample_rate_hz)`.
        detections: a table of the recording, as of a run: `next(run.tables())`.
        waveform: draw the waveform above the spectrogram.

    Raises:
        InputError: `detections` is something else, such as a whole run.
        AudioError: the recording cannot be decoded.
    """
    from dawnchorus.plotting.recording import draw_recording, draw_recording_with_waveform

    _check_recording_table(detections)
    draw = draw_recording_with_waveform if waveform else draw_recording
    with open_audio(audio) as file, closing(DecoderProcess()) as decoder:
        return Plot(draw(file.path, detections or _empty_table(file.path, decoder), decoder=decoder))


def _check_recording_table(detections: object) -> None:
    if not isinstance(detections, RecordingTable | None):
        kind = type(detections).__name__
        raise InputError(f"detections: expected the table of one recording, such as next(run.tables()), got {kind}.")


def _empty_table(path: Path, decoder: DecoderProcess) -> RecordingTable:
    """Return a table without detections, with the length that decoding tells."""
    with decoder.open(path) as recording:
        for _block in recording.blocks():
            continue
        return RecordingTable(
            str(path), recording.duration_s, recording.info.rate_hz, recording.metadata, None, detections=()
        )


def _as_paths(paths: Iterable[StrPath] | StrPath) -> tuple[StrPath, ...]:
    return (paths,) if isinstance(paths, str | os.PathLike) else tuple(paths)


def _store(models_folder: StrPath | None) -> ModelStore:
    return ModelStore(default_folder() if models_folder is None else Path(models_folder))
