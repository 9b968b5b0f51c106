"""Steps from recordings to an evaluated model as functions: import, split, prepare, train, evaluate and plot."""

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
from dawnchorus.storage.paths import as_path
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

    Sentences on rows and files that cannot be read are logged by loggers below `dawnchorus.data`, with the level INFO.

    Args:
        source: a folder with a subfolder per species, a Kaggle or BirdCLEF folder, a csv, results of xeno-canto's API,
            annotated soundscapes, or a table of detections.
        data_set: folder of the data set.
        layout: kind of the source: "folders", "csv", "xeno-canto", "voices", "annotations", "mixed", "detections", the
            name of a plug-in, or the meaning of folder levels such as "species/site"; "auto" detects the kind.
        columns: names of a csv's columns by field of `RecordingRow`, such as `{"scientific_name": "Art"}`; None to find
            columns by usual names.
        audio: folder of the recordings that a table describes; None for the table's folder.
        per_species: maximum number of recordings of a species, of which the first are used; None for all recordings.
        checklists: path or paths of csv files in which species names are looked up first; then come the labels of
            BirdNET, checklists next to the source, and installed checklists.
        append: True to add rows to an existing recordings table; not together with `overwrite`.
        overwrite: True to replace an existing recordings table.
        models_folder: folder of the built-in models, in whose labels species names are looked up; None for
            `$DAWNCHORUS_MODELS`, or else the user's cache.
        workers: number of cores to use; None for all cores that this process may use.

    Returns:
        The recordings table, as written into `data_set`.

    Raises:
        OutputExistsError: the data set has a table, and neither `append` nor `overwrite` was given.
        InputError: the source does not exist, has no recordings, or has an ambiguous layout; or an argument is invalid,
            such as `per_species` below 1, or both `append` and `overwrite`.
        FormatError: a table of the source is invalid.
        OutputError: the table cannot be written: no space, or no permission.
    """
    if per_species is not None:
        check_count("per_species", per_species)
    imported = import_data_set(
        as_path(source),
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
    """Split a data set, with related recordings in the same split, and write the splits into its recordings table.

    Args:
        data_set: folder of the data set.
        ratios: relative sizes by name of the split: "train", "validation" and "test", or "fold0", "fold1", ... By
            default 0.7, 0.15 and 0.15.
        seed: seed of the random choice.

    Returns:
        The recordings table with the split of each row.

    Raises:
        InputError: no data set in this folder, no usable recordings, ratios that are not positive, or unknown splits.
        FormatError: the data set's recordings table is invalid.
        OutputError: the table cannot be written: no space, or no permission.
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
    """Cut recordings of a data set into clips of equal length; clips that exist already are not cut again.

    Args:
        data_set: folder of the data set.
        folder: folder to write the clips to; it must not be the folder of the data set.
        recipe: name of the settings for cutting clips (`Recipe`), as listed by `dawnchorus prepare --list-recipes`.
        seed: seed for recipes that choose clips at random.
        model: model whose scores choose clips, for recipes with `clip_selection="scored"`.
        models_folder: folder of the built-in models; None for `$DAWNCHORUS_MODELS`, or else the user's cache.
        workers: number of cores to use; None for all cores that this process may use.
        changes: changed fields of the recipe, such as `window_s=3.0` or `clip_selection="loudest"`.

    Returns:
        Numbers of recordings and clips, and the reason for each recording that failed (`PrepareSummary`).

    Raises:
        InputError: `data_set` has no recordings table, the recipe or the value of a field is invalid, or `folder` is
            the data set's or has clips of another recipe or seed.
        FormatError: the data set's recordings table is invalid.
        ModelError: `model` is needed, and cannot be loaded or run.
        BusyError: another process writes clips into `folder`.
        TypeError: a keyword argument is no field of `Recipe`.
        OutputError: the clips cannot be written: no space, or no permission.
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
    """Train a model on a split data set, and write the folder of the training run with the trained bundle.

    The folder is a new one in `runs` of the working directory, or of the folder in the setting `paths.runs`, and is
    named by the time; each call makes another run.

    Args:
        data_set: folder of the data set, or of prepared clips.
        overrides: settings as on the command line, such as `"model=efficientnet"` or `"optimizer.lr=3e-4"`.
        config_dir: folder of further configuration files (YAML), which take precedence over the built-in ones; None for
            the built-in ones only.

    Returns:
        The training run. `TrainingRun.bundle` is the trained model; `load_model` opens the run's folder.

    Raises:
        InputError: an unknown or contradictory setting, or a data set that cannot be trained on.
        FormatError: the data set's recordings table is invalid.
        MissingExtraError: the extra [train], or the package of the configured tracker, is not installed.
        ModelError: a backbone or pretrained weights cannot be loaded.
        TrainingError: the loss is not finite.
        OutputError: the run cannot be written: no space, or no permission.
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
        split: name of the split to use; "all" for every recording.
        secondary: treatment of secondary species (audible besides the labeled one): "count" them as present, or "mask"
            their scores. None for the rule of the model's training; "count" if the bundle does not record its training.
        pool: "mean" or "max" of the scores of a recording's windows as the score of the recording.
        overlap_s: overlap of neighboring windows in seconds.
        workers: number of cores to use; None for all cores that this process may use.

    Returns:
        Metrics with 95 % confidence intervals, and notes on the data (`Evaluation`).

    Raises:
        InputError: an argument is out of range, the data set has no recordings table, the split has no recordings, or
            the model knows none of their species.
        FormatError: the data set's recordings table is invalid.
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
    """Return the rule for secondary species (audible besides the labeled one) by which the bundle was trained.

    "count" if its training counted them as present (a target above 0), or is not recorded; else "mask".
    """
    from dawnchorus.training.renamed_keys import with_current_keys

    recipe = None if bundle.info.training is None else bundle.info.training.recipe
    data = {"secondary_target": 1.0} if recipe is None else with_current_keys(recipe)["data"]
    return "count" if data.get("secondary_target") and not data.get("mask_secondary") else "mask"


@dataclass(frozen=True, repr=False)
class Plot:
    """A plot that Jupyter notebooks display.

    Attributes:
        png: content of the plot as a PNG file.
    """

    png: bytes

    def _repr_png_(self) -> bytes:
        return self.png

    def write(self, path: StrPath) -> None:
        """Write the plot as a PNG file; an existing file is replaced.

        Raises:
            InputError: `path` does not end in `.png`.
            OutputError: the file cannot be written: no space, or no permission.
        """
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise InputError("expected a name that ends in .png, as the plot is written in this format.", subject=path)
        with atomic_file(path) as stream:
            stream.write(self.png)


def plot_spectrogram(audio: AudioSource, detections: RecordingTable | None = None, *, waveform: bool = False) -> Plot:
    """Draw the spectrogram of a recording, with detections boxed and named.

    Args:
        audio: a path or URL, the bytes of an audio file, an open binary audio file, or `(samples, sample_rate_hz)` with
            samples [frames] or [frames, channels].
        detections: detections of the recording, such as a table of an identification run: `next(run.tables())`; None to
            draw no detections.
        waveform: True to draw the waveform above the spectrogram.

    Raises:
        InputError: `detections` is not a `RecordingTable`, or `audio` is of none of these kinds.
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
    """Decode a recording for its length, and return a table of the recording without detections."""
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
