"""Training examples: prepared clips of a data set with targets, and their sampling."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from dawnchorus.arrays import FloatArray
from dawnchorus.cores import usable_cores
from dawnchorus.data.clips import Clips, WholeRecording, has_clips
from dawnchorus.data.identity import is_same_recording
from dawnchorus.data.prepare import prepare
from dawnchorus.data.presence import ABSENT, NOT_KNOWN, Presence, PresenceArray, is_without_birds
from dawnchorus.data.recipes import Recipe
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, read_table, species_of
from dawnchorus.data.relations import find_leaks
from dawnchorus.data.split import split_table
from dawnchorus.errors import InputError
from dawnchorus.inference.preparation import open_cleaner
from dawnchorus.models.store import ModelStore
from dawnchorus.taxonomy.labels import Label, find_duplicate_class, label_text
from dawnchorus.training.config import DataConfig
from dawnchorus.training.losses import IGNORED

IntArray = npt.NDArray[np.int64]
Item = TypeVar("Item")

WAIT_S = 3600.0
"""Maximum time in seconds to wait for another run that prepares the same clips."""

LOUD_DB = 3.0
"""Level difference in dB at which the softer of two clips of a recording is drawn e (2.72) times less often."""

SILENT = 1e-4
"""Peak at or below which a clip is silent, and excluded."""


@dataclass(frozen=True)
class LabeledClips:
    """Clips with targets, and the indices of each split.

    Attributes:
        clips: the prepared clips.
        classes: scientific names of the classes, without auxiliary species.
        train: indices of the training clips in `clips`.
        validation: indices of the validation clips in `clips`.
        warnings: sentences for the user on the data set.
    """

    clips: Clips
    classes: tuple[str, ...]
    targets: FloatArray
    """Targets [clips, classes + auxiliary species] from 0 to 1, or `IGNORED` (-1)."""
    presence: PresenceArray
    """Presence [clips, classes]: `PRESENT` (1), `ABSENT` (0) or `NOT_KNOWN` (-1) of `dawnchorus.data.presence`."""
    recordings: IntArray
    """Index [clips] of each clip's recording in `rows`; -1 for clips of recordings that are not used."""
    train: IntArray
    validation: IntArray
    backgrounds: IntArray
    """Indices of training clips without species, to be mixed into other clips."""
    crops: Mapping[int, WholeRecording]
    """Recordings to draw random crops from, by clip index. `train` then has one clip per recording, whose targets are
    those of all clips of the recording. Empty if training uses the clips as they are."""
    target_between: Callable[[int, float, float], FloatArray]
    """Function of a recording's index in `rows`, and a segment's start and end in seconds, that returns the targets
    [classes + auxiliary species] of the segment."""
    n_auxiliary: int
    """Number of auxiliary species, which are the last columns of `targets`."""
    rows: tuple[RecordingRow, ...]
    """The training and validation recordings, with the split that is used."""
    fingerprint: str
    """Digest of the recordings, their labels and splits, to recognize a changed data set on resume."""
    warnings: tuple[str, ...]

    @property
    def class_counts(self) -> Tensor:
        """Number of training clips with each class (target above 0.5) [classes + auxiliary species], as float32.

        A clip with several species counts for each of them.
        """
        return torch.from_numpy((self.targets[self.train] > 0.5).sum(0).astype(np.float32))


def load_labeled_clips(
    config: DataConfig, *, rate_hz: int, window_s: float, clips_folder: Path | None, store: ModelStore
) -> LabeledClips:
    """Prepare missing clips of a data set, and return all clips with their targets.

    If the data set's folder was written by `dawnchorus prepare`, its clips are used as they are.

    Args:
        config: the data settings.
        rate_hz: sample rate of the model.
        window_s: window of the model in seconds.
        clips_folder: folder for prepared clips; None: `clips` in the data set's folder.
        store: the store of models, for a speech detector.

    Raises:
        InputError: the table has no split, or no recording in "train" or the given fold; there is no species, a class
            has no training clip, two classes are the same, or the only class has no negative examples; all clips are
            silent; prepared clips have another length or sample rate than the model; or random crops or an auxiliary
            data set do not fit the other settings.
        FormatError: the recordings table is invalid.
        BusyError: another process still writes clips into the folder after an hour (`WAIT_S`).
        OutputError: the clips cannot be written: no space, or no permission.
    """
    _check_crop(config)
    table = read_table(Path(config.path))
    if has_clips(table.folder):
        return _read_prepared_clips(table, config, rate_hz=rate_hz, window_s=window_s)
    splits = _assign_splits(table, config)
    classes = _classes(splits["train"], config)
    auxiliary_rows = _auxiliary_rows(table, config, classes)
    splits["train"] += auxiliary_rows
    warnings = (*_warn_unlabeled(table), *_warnings(splits["train"], classes), *_leak_warnings(splits))
    # In the table's order, whatever part they are in: what is made of the clips then serves every fold.
    chosen = {row.recording_id: row for rows in splits.values() for row in rows}
    used = table.with_rows(
        [*(chosen[row.recording_id] for row in table.rows if row.recording_id in chosen), *auxiliary_rows]
    )
    recipe = clip_recipe(config, rate_hz=rate_hz, window_s=window_s)
    folder = recipe_folder(clips_folder or table.folder / "clips", recipe, seed=config.seed)
    cleaner = open_cleaner(recipe.cleaning, store.folder)
    prepare(used, folder, recipe, seed=config.seed, n_workers=usable_cores(), cleaner=cleaner, wait_s=WAIT_S)
    clips = Clips(folder)
    return _label_clips(clips, used, splits, classes, species_of(auxiliary_rows), config, warnings)


def clip_recipe(config: DataConfig, *, rate_hz: int, window_s: float) -> Recipe:
    """Return the recipe (settings for cutting clips) for a network with this sample rate and window."""
    return Recipe(
        rate_hz=rate_hz,
        window_s=window_s,
        overlap_s=config.overlap_s,
        clip_selection=config.clip_selection,
        n_clips=config.n_clips,
        pad_mode=config.pad_mode,
        **config.cleaning.model_dump(),
    )


def recipe_folder(clips_folder: Path, recipe: Recipe, *, seed: int) -> Path:
    """Return the folder, below `clips_folder`, of the clips cut by a recipe with a seed; it may not exist yet."""
    return clips_folder / _digest([recipe.as_json(), seed])


def _check_crop(config: DataConfig) -> None:
    """Raise `InputError` if random crops are combined with settings for which clips are no whole recordings."""
    if config.crop == "random" and (config.clip_selection != "all" or config.overlap_s or config.random_clip_split):
        raise InputError(
            f"data.crop=random draws from whole recordings: expected data.clip_selection=all, data.overlap_s=0 and "
            f"data.random_clip_split=false, got {config.clip_selection}, {config.overlap_s:g} and "
            f"{str(config.random_clip_split).lower()}."
        )


def _read_prepared_clips(table: RecordingsTable, config: DataConfig, *, rate_hz: int, window_s: float) -> LabeledClips:
    """Return the clips that `dawnchorus prepare` wrote to the table's folder, with their targets."""
    clips = Clips(table.folder)
    _check_shape(clips, rate_hz=rate_hz, window_s=window_s)
    if config.auxiliary is not None:
        raise InputError(
            f"data.auxiliary: expected a data set, but {table.folder} holds prepared clips. Name the data set that "
            f"they are of, or leave data.auxiliary out."
        )
    with_clips = set(clips.index["recording_id"].to_pylist())
    splits = {
        name: [row for row in rows if row.recording_id in with_clips]
        for name, rows in _assign_splits(table, config).items()
    }
    classes = _classes(splits["train"], config)
    warnings = (
        *_warn_unlabeled(table),
        *_species_without_clips(table, with_clips),
        *_warnings(splits["train"], classes),
        *_leak_warnings(splits),
        *_unused_options(clips, config),
    )
    chosen = {row.recording_id for rows in splits.values() for row in rows}
    used = table.with_rows(row for row in table.rows if row.recording_id in chosen)
    return _label_clips(clips, used, splits, classes, (), config, warnings)


def _check_shape(clips: Clips, *, rate_hz: int, window_s: float) -> None:
    """Raise `InputError` if sample rate or length of the clips differ from the network's input."""
    if (clips.rate_hz, clips.window_samples) != (rate_hz, round(window_s * rate_hz)):
        raise InputError(
            f"expected clips of {window_s:g} s at {rate_hz} Hz for this model, found clips of "
            f"{clips.window_s:g} s at {clips.rate_hz} Hz. Prepare others with `dawnchorus prepare "
            f"--sample-rate {rate_hz} --window {window_s:g}`, name the data set instead, or set "
            f"model.window_s={clips.window_s:g} and model.rate_hz={clips.rate_hz} where the model has these keys.",
            subject=clips.folder,
        )


def _species_without_clips(table: RecordingsTable, with_clips: Collection[str]) -> tuple[str, ...]:
    """Return a warning if species of the table have no prepared clips; else an empty tuple."""
    prepared = species_of([row for row in table.rows if row.recording_id in with_clips])
    missing = sorted(set(species_of(table.rows)) - set(prepared))
    if not missing:
        return ()
    return (f"{len(missing)} species have no clips in {table.folder} and are no classes: {', '.join(missing[:5])}.",)


def _unused_options(clips: Clips, config: DataConfig) -> tuple[str, ...]:
    """Return a warning for each setting of clips that differs from the setting the clips were prepared with."""
    defaults = {name: field.default for name, field in DataConfig.model_fields.items() if name in clips.recipe}
    return tuple(
        f"data.{name}={getattr(config, name)} is not used: the clips in {clips.folder} were prepared with "
        f"{name}={clips.recipe[name]}."
        for name, default in defaults.items()
        if name != "seed" and getattr(config, name) not in (default, clips.recipe[name])
    )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def _assign_splits(table: RecordingsTable, config: DataConfig) -> dict[str, list[RecordingRow]]:
    """Return the recordings of "train" and "validation", without unlabeled recordings."""
    table = table.with_rows(row for row in table.rows if not row.is_unlabeled)
    named = {row.split for row in table.rows if row.split}
    if not named:
        raise InputError("the recordings are not split yet. Run `dawnchorus data split` first.", subject=table.folder)
    if config.validation_fold is not None:
        fold = f"fold{config.validation_fold}"
        if fold not in named:
            raise InputError(
                f"data.validation_fold: expected one of {', '.join(sorted(named))}, got {config.validation_fold}."
            )
        others = [row for row in table.rows if row.split and row.split != fold]
        return {"train": others, "validation": [row for row in table.rows if row.split == fold]}
    train = [row for row in table.rows if row.split == "train"]
    validation = [row for row in table.rows if row.split == "validation"]
    if not train:
        raise InputError(
            f"no recording is in the split 'train'; its splits are {', '.join(sorted(map(str, named)))}. "
            f"Name a fold with data.validation_fold=0, or split again with `dawnchorus data split`.",
            subject=table.folder,
        )
    if not validation and config.validation:
        shares = {"train": 1 - config.validation, "validation": config.validation}
        split = split_table(table.with_rows(train), shares, seed=config.seed).rows
        train = [row for row in split if row.split == "train"]
        validation = [row for row in split if row.split == "validation"]
    return {"train": train, "validation": validation}


def _classes(rows: Sequence[RecordingRow], config: DataConfig) -> tuple[str, ...]:
    species = species_of(rows)
    missing = sorted(set(config.classes or ()) - set(species))
    if missing:
        raise InputError(
            f"data.classes: no recording for training has {', '.join(missing)}. Add recordings, or leave it out."
        )
    classes = tuple(config.classes or species)
    if not classes:
        raise InputError("expected at least one species to learn, found none.", subject=config.path)
    if len(classes) == 1 and config.auxiliary is None and not any(_may_be_without(row, classes[0]) for row in rows):
        raise _no_background(config.path, classes[0])
    if (duplicate := find_duplicate_class(labels := class_labels(rows, classes))) is not None:
        first, second = (label_text(labels[index]) for index in duplicate)
        raise InputError(
            f"expected each class once, found {first!r} and {second!r}, which are one class. "
            f"`dawnchorus data check` names such labels; correct them and import the recordings again.",
            subject=config.path,
        )
    return classes


def class_labels(rows: Iterable[RecordingRow], classes: Iterable[str]) -> tuple[Label, ...]:
    """Return the labels of `classes` (scientific names) in this order, with common names from the rows.

    Of several common names of a class the last is taken; a class without one has its scientific name in both fields.
    """
    common = {row.scientific_name: row.common_name for row in rows if row.common_name}
    return tuple(Label(name, common.get(name) or name) for name in classes)


def _warn_unlabeled(table: RecordingsTable) -> tuple[str, ...]:
    """Return a warning if there are unlabeled recordings; else an empty tuple."""
    unlabeled = [row.recording_id for row in table.rows if row.is_unlabeled]
    if not unlabeled:
        return ()
    return (
        f"{len(unlabeled)} of {len(table.rows)} recordings are unlabeled ({', '.join(unlabeled[:3])}...) and left "
        f"out: name their species, or mark them as background.",
    )


def _may_be_without(row: RecordingRow, name: str) -> bool:
    """Return True if the recording may contain negative examples of the species."""
    if row.kind == "background":
        return not row.absent or name in row.absent
    return row.is_annotated or row.scientific_name not in (None, name)


def _no_background(path: str | Path, name: str) -> InputError:
    return InputError(
        f"expected background besides the only species, {name}, found none for training. Add recordings without "
        f"it: a folder 'noise', or '-{name}' for what is mistaken for it; then import and split again.",
        subject=path,
    )


def _auxiliary_rows(table: RecordingsTable, config: DataConfig, classes: Sequence[str]) -> list[RecordingRow]:
    """Return recordings of further species, and background, of the auxiliary data set, without shared recordings."""
    if config.auxiliary is None:
        return []
    other = read_table(Path(config.auxiliary))
    own = {row.recording_id: row for row in table.rows}
    own_hashes = {row.audio_hash for row in table.rows if row.audio_hash}
    auxiliary = [
        replace(row, path=str(other.file(row).absolute()), split="train")
        for row in other.rows
        if (row.kind == "background" or (row.scientific_name is not None and row.scientific_name not in classes))
        and row.audio_hash not in own_hashes
        and not (row.recording_id in own and is_same_recording(row, own[row.recording_id]))
    ]
    # Another recording of the same name in the two data sets is another recording.
    auxiliary = [
        replace(row, recording_id=f"{row.recording_id}#{row.content_hash}") if row.recording_id in own else row
        for row in auxiliary
    ]
    if not any(row.scientific_name for row in auxiliary):
        raise InputError(f"data.auxiliary: {config.auxiliary} has no recordings of other species.")
    return auxiliary


def _warnings(rows: Sequence[RecordingRow], classes: Sequence[str]) -> Iterator[str]:
    counts = Counter(row.scientific_name for row in rows)
    alone = [name for name in classes if counts[name] == 1]
    if alone:
        yield (
            f"{len(alone)} species have one recording to learn from ({', '.join(alone[:5])}...): what the model knows "
            f"of them may be that recording's, and cannot be validated."
        )
    untrained = Counter(name for row in rows for name in row.secondary if name not in classes)
    if untrained:
        named = ", ".join(f"{name} ({n})" for name, n in untrained.most_common(5))
        yield (
            f"{len(untrained)} species are only secondary ones of recordings ({named}...) and are not learned: give "
            f"them recordings or marks of their own."
        )


def _leak_warnings(splits: Mapping[str, Sequence[RecordingRow]]) -> Iterator[str]:
    """Yield a warning if validation recordings are related to training recordings."""
    split_of = {row.recording_id: split for split, rows in splits.items() for row in rows}
    leaks = list(find_leaks([row for rows in splits.values() for row in rows], lambda row: split_of[row.recording_id]))
    if leaks:
        names = {row.recording_id for leak in leaks for row in (leak.first, leak.second)}
        n_related = sum(split_of[name] == "validation" for name in names)
        first = leaks[0]
        yield (
            f"{n_related} of {len(splits['validation'])} recordings to validate on belong together with some for "
            f"training ({first.first.recording_id} and {first.second.recording_id}: {first.relation}...), so that "
            f"validation flatters. Split again with `dawnchorus data split`."
        )


def _label_clips(
    clips: Clips,
    table: RecordingsTable,
    splits: dict[str, list[RecordingRow]],
    classes: tuple[str, ...],
    auxiliary_species: Sequence[str],
    config: DataConfig,
    warnings: tuple[str, ...],
) -> LabeledClips:
    rows = {row.recording_id: row for row in table.rows}
    split_of = {row.recording_id: split for split, members in splits.items() for row in members}
    number_of = {name: k for k, name in enumerate(rows)}
    index = {k: clip for k, clip in enumerate(clips.index.to_pylist()) if clip["recording_id"] in rows}
    number = {name: k for k, name in enumerate([*classes, *auxiliary_species])}
    targets = np.zeros((len(clips), len(number)), np.float32)
    presence = Presence(tuple(number), secondary=config.secondary_rule)
    present = np.full(targets.shape, NOT_KNOWN, np.int8)
    target_between = partial(_target_between, tuple(rows.values()), presence, number, config.secondary_target)
    recordings = np.full(len(clips), -1, np.int64)
    chosen: dict[str, list[int]] = {"train": [], "validation": [], "background": []}
    for k, clip in index.items():
        row = rows[clip["recording_id"]]
        recordings[k] = number_of[row.recording_id]
        present[k] = presence.between(row, clip["start_s"], clip["end_s"])
        targets[k] = target_between(int(recordings[k]), clip["start_s"], clip["end_s"])
        split = split_of[row.recording_id]
        if split == "train" and is_without_birds(row, clip["start_s"], clip["end_s"]):
            chosen["background"].append(k)
        has_own = bool((targets[k] > 0).any())
        # One class has no other to be separated from: recordings of other species are what it is not.
        if has_own or row.kind != "focal" or row.is_annotated or len(number) == 1:
            chosen[split].append(k)
    loud = {split: [k for k in members if np.abs(clips.samples(k)).max() > SILENT] for split, members in chosen.items()}
    n_silent = len(chosen["train"]) - len(loud["train"])
    if not loud["train"]:
        raise InputError(
            f"all {n_silent} clips for training are silent. Run `dawnchorus data check`.", subject=table.folder
        )
    if n_silent:
        warnings = (*warnings, f"{n_silent} silent clips are left out.")
    empty = [name for name in classes if not (targets[loud["train"], number[name]] > 0.5).any()]
    if empty:
        raise InputError(
            f"no clip for training has {', '.join(empty)} (its recordings may be silent, broken or "
            f"copies). Run `dawnchorus data check`, add recordings, or leave it out with data.classes.",
            subject=table.folder,
        )
    if len(number) == 1 and not (targets[loud["train"]] == 0).any():
        raise _no_background(table.folder, classes[0])
    if config.random_clip_split:
        every = np.random.default_rng(config.seed).permutation(loud["train"] + loud["validation"])
        n_validation = round(len(every) * (config.validation or 0.2))
        loud = {**loud, "train": sorted(every[n_validation:].tolist()), "validation": every[:n_validation].tolist()}
        with_train_clips = {index[k]["recording_id"] for k in loud["train"]}
        split_of |= dict.fromkeys(with_train_clips, "train")  # whole recordings are no longer held out
    crops: dict[int, WholeRecording] = {}
    if config.crop == "random":
        loud["train"] = _one_clip_each(loud["train"], recordings, targets)
        whole = clips.whole_recordings()
        crops = {k: whole[index[k]["recording_id"]] for k in loud["train"]}
    identity = [
        [row.recording_id, row.audio_hash, row.scientific_name, split_of[row.recording_id]] for row in table.rows
    ]
    return LabeledClips(
        clips=clips,
        classes=classes,
        targets=targets,
        presence=present[:, : len(classes)],
        recordings=recordings,
        train=np.array(loud["train"], np.int64),
        validation=np.array(loud["validation"], np.int64),
        backgrounds=np.array(loud["background"], np.int64),
        crops=crops,
        target_between=target_between,
        n_auxiliary=len(auxiliary_species),
        rows=tuple(replace(row, split=split_of[row.recording_id]) for row in table.rows),
        fingerprint=_digest(identity),
        warnings=warnings,
    )


def _one_clip_each(clips: Sequence[int], recordings: IntArray, targets: FloatArray) -> list[int]:
    """Return the index of each recording's first clip; set its targets to the maximum over the recording's clips."""
    first: dict[int, int] = {}
    for k in clips:
        clip = first.setdefault(int(recordings[k]), k)
        targets[clip] = np.maximum(targets[clip], targets[k])
    return list(first.values())


def _target_between(
    rows: Sequence[RecordingRow],
    presence: Presence,
    number: Mapping[str, int],
    secondary: float | None,
    recording: int,
    start_s: float,
    end_s: float,
) -> FloatArray:
    row = rows[recording]
    known = presence.between(row, start_s, end_s)
    target = np.where(known == NOT_KNOWN, IGNORED, known).astype(np.float32)
    if secondary is not None and not row.is_annotated:
        for name in set(row.secondary) - {row.scientific_name}:
            if name in number and known[number[name]] != ABSENT:
                target[number[name]] = secondary
    return target


class ClipDataset(Dataset[tuple[Tensor, Tensor, int]]):
    """Dataset of (input, targets [classes + auxiliary species], index of the clip) for some clips.

    Args:
        examples: the clips with their targets.
        members: indices of the clips of the dataset in `examples.clips`.
        read_input: function that returns the network's input (waveform or features) for a clip by its index.
    """

    def __init__(self, examples: LabeledClips, members: IntArray, read_input: Callable[[int], FloatArray]) -> None:
        self._examples, self._members, self._read_input = examples, members, read_input

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        k = int(self._members[index])
        return torch.from_numpy(np.array(self._read_input(k))), torch.from_numpy(self._examples.targets[k]), k


class DistributedBatchSampler(Sampler[list[int]]):
    """Batch sampler for distributed training: yields this process's share of every batch, a list of dataset indices.

    Args:
        n: number of clips in an epoch; without `weights`, the size of the dataset.
        batch: number of clips in a batch of all processes together.
        seed: seed of the order.
        weights: relative frequencies [clips of the dataset] to draw clips with replacement; None: each clip once per
            epoch, in random order. In both cases, clips that do not fill a last batch are left out; if `n` is less than
            `batch`, the only batch has `n` clips.

    Attributes:
        n_per_batch: number of clips in a batch of all processes together.
    """

    def __init__(self, n: int, *, batch: int, seed: int, weights: Tensor | None) -> None:
        self._n, self.n_per_batch, self._seed, self._weights = n, batch, seed, weights
        self._epoch = 0
        self.sampler = self  # where Lightning looks for set_epoch

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the epoch, from 0, which changes the order of the clips; called by Lightning."""
        self._epoch = epoch

    def __len__(self) -> int:
        return max(self._n // self.n_per_batch, 1)

    @property
    def first_draw(self) -> int:
        """Number of clips drawn in all epochs before the current one, `n` in each."""
        return self._epoch * self._n

    def __iter__(self) -> Iterator[list[int]]:
        yield from map(rank_share, self.whole())

    def whole(self) -> Iterator[list[int]]:
        """Yield the batches of the current epoch, lists of dataset indices, for all processes together."""
        rng = torch.Generator().manual_seed(self._seed * 100_003 + self._epoch)
        if self._weights is None:
            order = torch.randperm(self._n, generator=rng)
        else:
            order = torch.multinomial(self._weights, self._n, replacement=True, generator=rng)
        for k in range(len(self)):
            yield order[k * self.n_per_batch : (k + 1) * self.n_per_batch].tolist()


def rank_share(batch: list[Item]) -> list[Item]:
    """Return this process's share of a batch: every n-th item for n processes; the whole batch for a single process."""
    is_shared = torch.distributed.is_available() and torch.distributed.is_initialized()
    rank, n_ranks = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if is_shared else (0, 1)
    return batch[rank::n_ranks]


def sampling_weights(
    examples: LabeledClips, *, sampling: str, class_balance: float, auxiliary_share: float
) -> tuple[int, Tensor | None]:
    """Return the number of clips per epoch, and the relative frequencies [training clips] to draw clips by.

    The frequencies are None, for each clip once per epoch, with "clips", no class balance and no auxiliary species.

    The number is that of the training recordings with "recordings", and that of the training clips with "clips". With
    "clips" and auxiliary species it is the number of clips of no auxiliary species, divided by 1 - `auxiliary_share`.

    A class or auxiliary species is weighted by its number of recordings (with "clips": of clips) to the power of
    -class_balance. A clip of several has their largest weight, a clip of none the mean weight. With "recordings", 30 %
    of a recording's weight is spread equally over its clips, and 70 % by loudness.

    Args:
        examples: the clips; weights are for `examples.train`.
        sampling: "clips" or "recordings", see `TrainerConfig.sampling`.
        class_balance: 0 keeps class frequencies, 1 draws all classes equally often.
        auxiliary_share: share of clips of auxiliary species among the drawn clips; not used without such species.
    """
    members = examples.train
    targets = examples.targets[members] > 0.5
    recordings = examples.recordings[members]
    if sampling == "clips" and not class_balance and not examples.n_auxiliary:
        return len(members), None
    if sampling == "recordings":
        weights = _loud_shares(examples, members, recordings)
        n = len(np.unique(recordings))
    else:
        weights, n = np.ones(len(members), np.float64), len(members)
    counts = (targets * weights[:, None]).sum(0).clip(min=1e-9)
    weights = weights * np.where(targets, counts**-class_balance, 0).max(1)
    weights[~targets.any(1)] = weights[targets.any(1)].mean() if targets.any() else 1.0
    if examples.n_auxiliary:
        is_auxiliary = targets[:, -examples.n_auxiliary :].any(1)
        for of_kind, share in ((is_auxiliary, auxiliary_share), (~is_auxiliary, 1 - auxiliary_share)):
            weights[of_kind] *= share / weights[of_kind].sum()
        n = round(n * (~is_auxiliary).mean() / (1 - auxiliary_share)) if sampling == "clips" else n
    return max(n, 1), torch.from_numpy(weights)


def _loud_shares(examples: LabeledClips, members: IntArray, recordings: IntArray) -> npt.NDArray[np.float64]:
    """Return each clip's share of its recording's weight [clips], larger for louder clips (by the first difference)."""
    levels = np.array([np.mean(np.diff(examples.clips.samples(k)) ** 2) for k in members.tolist()])
    loud_db = 10 * np.log10(levels + 1e-12)
    shares = np.zeros(len(members))
    for recording in np.unique(recordings).tolist():
        here = recordings == recording
        powers = np.exp((loud_db[here] - loud_db[here].max()) / LOUD_DB)
        shares[here] = 0.3 / here.sum() + 0.7 * powers / powers.sum()
    return shares
