"""Labels from folder names: a folder per species, as in BirdNET-Analyzer's training data, in any depth.

The folder's name is the label: `Parus major_Great Tit`, `Parus_major`, or any one name. `A_a,B_b` holds recordings of
several species; `-A_a` recordings that are known to be without A; `noise`, `background`, `silence`, `other`, `nocall`
(in any case) recordings without any species.

If a recording is in several nested folders, the folder whose name is most clearly a species is its label: first known
classes, two names (`Parus major_Great Tit`) and background names; then names that look like scientific names; then any
other word. Numbers, dates and words such as `audio` or `plot7` are no species. Of equally clear names, the outermost is
the label if recordings are directly in its folder; otherwise the layout is ambiguous, and the user has to give it:
`species/site` or `site/species`.

A folder such as `positive`, `negative` or `rejected` above or below the species is the outcome of a review: see
`dawnchorus.data.layouts.review_folders`.

Files outside folders are labeled by their file names if these are known classes, or if all look like scientific names.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

from dawnchorus.data.clip_names import tape_clip
from dawnchorus.data.layouts.review_folders import parse_folder_review
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.tables.notes import counted
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.file_names import find_class_of_file, parse_file_label, parse_folder_label
from dawnchorus.taxonomy.labels import OTHER_SOUNDS, Label, is_indeterminate, is_scientific, name_key, split_labels
from dawnchorus.taxonomy.reviews import Review, split_review

_NUMBERED = (
    r"(?:site|plot|dev|device|station|point|card|unit|recorder|deployment|location|transect|grid|zone|area|week|day|month"
    r"|year|visit|survey|session|batch|fold|part|set|aru|sm)s?(?:[ _-]*\d+[a-z]?|[ _-]+[a-z]|(?-i:[A-Z]))?"
)
_GENERAL = (
    r"(?:data|dataset|audios?|sounds?|recordings?|raw|wavs?|mp3|flac|ogg|clips|segments|files?|media|train|training|test"
    r"|testing|val|valid|validation|short|soundscapes?)"
)
_NO_LABELS = re.compile(
    rf"""
    [\d\W_]*                                                                # numbers, years, dates
    | {_NUMBERED}
    | {_GENERAL}(?:[ _.-]+(?:{_GENERAL}|\d+))*                              # train_audio, soundscape_data, audio 2
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Folder names that are no species, such as `2024`, `site 3` and `train_audio`."""

_DATE = re.compile(r"((?:19|20)\d\d)([-_. ]?)(\d\d)\2(\d\d)", re.ASCII)
_XENO_CANTO = re.compile(r"(?:^|[^A-Za-z0-9])XC(\d+)(?!\d)")

_NONE, _ANY, _WORD, _BINOMIAL, _SURE = range(5)
"""Strength of the evidence that a folder's name is a label, from none to certain."""

_ANY_SPECIES = frozenset(("bird", "birds", "species", "all", "other birds"))
"""Folder names, in lower case, that contain folders of species, or are a class of their own if they do not."""

SPECIES, GENUS = "species", "genus"
"""Words in a layout such as `site/genus/species` that name the level of the label."""

_MAX_NAMED = 5

Labels = dict[str, Any]
"""Label fields of a `RecordingRow`: scientific_name, common_name, secondary, absent, kind."""


def xeno_canto_id(name: str) -> str | None:
    """Return the xeno-canto number in a file name, such as `XC580880` from `robin_XC580880.mp3`; None without one.

    `XC` is in capitals, at the start or after a sign that is no letter or digit.
    """
    match = _XENO_CANTO.search(name)
    return f"XC{match[1]}" if match else None


def archive_id(stem: str) -> str | None:
    """Return the xeno-canto number in the file name of a whole recording, such as `XC12` from `XC12 - Robin`.

    None for a clip (`XC12_3.0s_6.0s`), that is if the rest of the name has a digit, and for a name without a number.
    """
    named = xeno_canto_id(stem)
    return named if named and not re.search(r"\d", stem.replace(named, "", 1)) else None


@dataclass
class FolderReading:
    """Labels of recordings read from folder and file names, with the evidence for them."""

    labels: dict[Path, str] = field(default_factory=dict)
    """Name of the folder (or of genus and species folders, joined) that is the label, by recording."""
    of_files: dict[Path, Label] = field(default_factory=dict)
    """Labels read from file names, by recording; `labels` have precedence."""
    sure: set[Path] = field(default_factory=set)
    """Recordings whose label is a known class, a background, or looks like a scientific name."""
    ties: dict[Path, tuple[str, ...]] = field(default_factory=dict)
    """Names of equally likely folders, the outermost first, by recording; the layout is then ambiguous."""
    of_levels: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Numbers of recordings by folder name that is a label, by depth below the source (from 1)."""
    others: Counter[str] = field(default_factory=Counter)
    """Numbers of recordings by name of a folder that is no label."""
    reviews: dict[Path, tuple[str, Review]] = field(default_factory=dict)
    """Name of the folder that is the outcome of a review, and the outcome, by recording."""
    review_siblings: Counter[str] = field(default_factory=Counter)
    """Numbers of labeled recordings by folder that is no review outcome, but next to a folder that is one."""
    tape_clips: list[Path] = field(default_factory=list)
    """Recordings with file names in the form of ANIMAL-SPOT (`class-information_id_year_tape_start_end`)."""

    def find_clear(self) -> set[Path]:
        """Return the recordings in `sure`, and those whose labeled folder is next to a folder with a sure label.

        For example, `noise` is a background and thus sure, so that the folder `robin` next to it is a label, too.
        """
        folders = {
            path: next((each for each in path.parents if each.name == name), None) for path, name in self.labels.items()
        }
        next_to = {folder.parent for path, folder in folders.items() if path in self.sure and folder is not None}
        return self.sure | {path for path, folder in folders.items() if folder is not None and folder.parent in next_to}

    def notes(self) -> Iterator[str]:
        """Yield sentences for the user on the folders and files that labels were read from, and on reviews."""
        for level, names in sorted(self.of_levels.items()):
            yield f"labels read from folders of level {level}: {counted(names.total(), 'recording')} ({_first(names)})."
        if self.others:
            listed = ", ".join(f"{name} ({n})" for name, n in self.others.most_common(_MAX_NAMED))
            more = f" and {len(self.others) - _MAX_NAMED} more" if len(self.others) > _MAX_NAMED else ""
            yield f"folders that are not read as labels: {listed}{more}."
        several = [name for names in self.of_levels.values() for name in names if len(split_labels(name)) > 1]
        if several:
            yield f"folders of several labels: {len(several)} ({_first(map(repr, several))}), the main one first."
        if self.of_files:
            named = _first(label.scientific_name for label in self.of_files.values())
            yield f"labels read from the names of files: {counted(len(self.of_files), 'recording')} ({named})."
        yield from self.list_review_notes()
        others = [path for path in self.reviews if path not in self.labels and path not in self.of_files]
        if others:
            yield (
                f"folders of a review without a species: {counted(len(others), 'recording')} "
                f"(as {others[0].parent.name}/{others[0].name}), which are unlabeled. Put these folders into one "
                f"named after the species."
            )
        if self.tape_clips:
            yield (
                f"names of the form class-information_id_year_tape_start_end: {len(self.tape_clips)} (as "
                f"{self.tape_clips[0].name}); the class is the label, the information is not read."
            )

    def list_review_notes(self) -> Iterator[str]:
        """Yield sentences on folders read as outcomes of a review, and on their siblings that were not."""
        outcomes = {
            "present": "the species is there",
            "absent": "the species is known not to be there",
            "undecided": "nothing is known of them",
        }
        labeled = {path: each for path, each in self.reviews.items() if path in self.labels or path in self.of_files}
        for review, outcome in outcomes.items():
            names = Counter(name for name, each in labeled.values() if each == review)
            if names:
                listed = ", ".join(f"{name} ({n})" for name, n in names.most_common(_MAX_NAMED))
                yield f"folders of a review, {listed}: {outcome}, in {counted(names.total(), 'recording')}."
        if self.review_siblings:
            listed = ", ".join(f"{name} ({n})" for name, n in self.review_siblings.most_common(_MAX_NAMED))
            yield (
                f"folders next to those of a review, {listed}: not understood, so their recordings count as the "
                "species. Name them positive, negative or uncertain."
            )


def _first(names: Iterable[str]) -> str:
    listed = list(dict.fromkeys(names))
    return ", ".join(listed[:_MAX_NAMED]) + (
        f" and {len(listed) - _MAX_NAMED} more" if len(listed) > _MAX_NAMED else ""
    )


def read_folders(
    root: Path, files: Sequence[Path], known: KnownClasses | None = None, *, levels: Sequence[str] = ()
) -> FolderReading:
    """Read the labels of recordings from folder names, or else from file names.

    Args:
        root: the folder below which folder names are read.
        files: the recordings, which are below `root`.
        known: known classes, to recognize species in names; None to judge names by their form only.
        levels: meaning of the folder levels, the outermost first, one of them "species" (`SPECIES`), others any word,
            but "genus" directly before "species" is part of the name; empty: inferred from names.
    """
    reading = FolderReading()
    holding = {path.parent for path in files}
    reviews = _find_folder_reviews(root, files)
    for path in files:
        folders = path.relative_to(root).parts[:-1]
        folder = next((parent for parent in path.parents if parent in reviews), None)
        if folder is not None:
            reading.reviews[path] = folder.name, reviews[folder]
        if levels:
            _read_given(reading, path, folders, levels)
        else:
            _read_names(reading, path, folders, holding, reviews, known)
        _read_reviewed_label(reading, path, folders, known)
        if path not in reading.labels and path not in reading.ties:
            _read_file_name(reading, path, known)
        if path in reading.reviews and path not in reading.labels and path not in reading.of_files:
            _read_source_name(reading, path, root, known)
    _count_review_siblings(reading, reviews)
    unnamed = [path for path in files if path not in reading.labels and path not in reading.ties]
    _read_file_names(reading, [path for path in unnamed if tape_clip(path.stem) is None])
    return reading


def _find_folder_reviews(root: Path, files: Sequence[Path]) -> dict[Path, Review]:
    """Return the outcomes of reviews by folder below `root` that is named by one."""
    folders = {folder for path in files for folder in path.parents if folder != root and folder.is_relative_to(root)}
    names: dict[Path, set[str]] = defaultdict(set)
    for folder in folders:
        names[folder.parent].add(folder.name)
    reviews: dict[Path, Review] = {}
    for folder in folders:
        review = parse_folder_review(folder.name, frozenset(names[folder.parent]))
        if review is not None:
            reviews[folder] = review
    return reviews


def _read_reviewed_label(
    reading: FolderReading, path: Path, folders: Sequence[str], known: KnownClasses | None
) -> None:
    """Split a label that contains the outcome of a review: `Parus major_negative`, `not Parus major`."""
    label = reading.labels.get(path)
    if label is None:
        return
    for name in reversed(folders):
        reviewed = split_review(name)
        if reviewed is not None and _key(name, known) == _key(label, known):
            reading.labels[path] = reviewed[0]
            reading.reviews.setdefault(path, (name, reviewed[1]))
            return


def _count_review_siblings(reading: FolderReading, reviews: Mapping[Path, Review]) -> None:
    """Count labeled recordings in folders next to a review's folder that are no outcome themselves."""
    parents = {folder.parent for folder in reviews}
    for path, label in reading.labels.items():
        if path not in reading.reviews:
            siblings = [folder.name for folder in path.parents if folder.parent in parents and folder.name != label]
            reading.review_siblings.update(siblings[:1])


def _read_file_name(reading: FolderReading, path: Path, known: KnownClasses | None) -> None:
    """Label a file by its name, if the name is a known class or has the form of ANIMAL-SPOT."""
    clip = tape_clip(path.stem)
    label = None if known is None else find_class_of_file(path.stem if clip is None else clip.class_name, known)
    if clip is not None:
        label = label or parse_folder_label(clip.class_name)
        reading.tape_clips.append(path)
    if label is not None:
        reading.of_files[path] = label


def _read_source_name(reading: FolderReading, path: Path, root: Path, known: KnownClasses | None) -> None:
    """Label a file in no folder but a review's by the name of the source folder, if that is surely a species."""
    name = root.absolute().name
    if path not in reading.ties and _clearness(name, known) == _SURE:
        reading.labels[path] = name
        reading.sure.add(path)


def _read_given(reading: FolderReading, path: Path, folders: Sequence[str], levels: Sequence[str]) -> None:
    level = levels.index(SPECIES)
    if level >= len(folders):
        return
    is_joined = level > 0 and levels[level - 1] == GENUS
    reading.labels[path] = " ".join(folders[level - 1 : level + 1]) if is_joined else folders[level]
    reading.of_levels[level + 1][reading.labels[path]] += 1
    _count_others(reading, [name for k, name in enumerate(folders) if k not in {level, level - is_joined}])


def _read_names(
    reading: FolderReading,
    path: Path,
    folders: Sequence[str],
    holding: set[Path],
    reviews: Mapping[Path, Review],
    known: KnownClasses | None,
) -> None:
    parents = list(path.parents)[: len(folders)][::-1]
    clearness = [
        _NONE if folder in reviews else _clearness(name, known) for folder, name in zip(parents, folders, strict=True)
    ]
    best = max(clearness, default=_NONE)
    if best == _NONE:
        _count_others(reading, folders)
        return
    likely = [level for level, value in enumerate(clearness) if value == best]
    labels = {_key(folders[level], known) for level in likely}
    chosen = likely[0] if len(labels) == 1 or parents[likely[0]] in holding else None
    if chosen is None and known is not None and (joined := _join(folders, known)) is not None:
        _read_given(reading, path, folders, joined)
        return
    if chosen is None:
        reading.ties[path] = tuple(folders[level] for level in likely)
        return
    reading.labels[path] = folders[chosen]
    reading.of_levels[chosen + 1][folders[chosen]] += 1
    _count_others(reading, [name for level, name in enumerate(folders) if level != chosen])
    if best > _WORD:
        reading.sure.add(path)


def _count_others(reading: FolderReading, folders: Sequence[str]) -> None:
    """Count folders that are no labels, except outcomes of a review."""
    reading.others.update(name for name in folders if parse_folder_review(name) is None)


def _join(folders: Sequence[str], known: KnownClasses) -> list[str] | None:
    """Return the levels of folders if two nested ones, genus and species, are a known class together; else None."""
    for level, (genus, species) in enumerate(pairwise(folders)):
        if known.find(parse_folder_label(f"{genus} {species}")) is not None:
            return [SPECIES if k == level + 1 else GENUS if k == level else name for k, name in enumerate(folders)]
    return None


def _key(folder: str, known: KnownClasses | None) -> str:
    """Return a key that is equal for folders with the same label."""
    label = parse_folder_label((split_review(folder) or (folder,))[0])
    return name_key(((known.find(label) if known else None) or label).scientific_name)


def _clearness(folder: str, known: KnownClasses | None) -> int:
    """Return the strength of the evidence that a folder's name is a label, from `_NONE` to `_SURE`."""
    name = folder.strip()
    parts = split_labels(name.removeprefix("-"))
    if not parts or (_NO_LABELS.fullmatch(name) and name.lower() not in OTHER_SOUNDS):
        return _NONE
    return min(_measure_clearness(part, known) for part in parts)


def _measure_clearness(name: str, known: KnownClasses | None) -> int:
    if name.lower() in OTHER_SOUNDS or name.lower().endswith(("_sound", "_sounds")):
        return _SURE
    label = parse_folder_label(name)
    if known is not None and known.find(label) is not None:
        return _SURE
    if is_indeterminate(name):
        return _BINOMIAL
    if is_scientific(label.scientific_name):
        return _SURE if label.common_name != label.scientific_name else _BINOMIAL
    return _ANY if name.lower() in _ANY_SPECIES else _WORD


def _read_file_names(reading: FolderReading, files: Sequence[Path]) -> None:
    """Label files outside folders by their names, if all look like scientific names, and not all have the same one."""
    named = {path: parse_file_label(path.stem) for path in files}
    if not all(is_scientific(label.scientific_name) for label in named.values()):
        return
    downloads = {path for path, label in named.items() if label.common_name != label.scientific_name}
    if len(downloads) == len(named) or len({label.scientific_name for label in named.values()}) > 1:
        for path, label in named.items():
            reading.of_files.setdefault(path, label)


def read_folder_rows(root: Path, files: list[Path], known: KnownClasses | None = None) -> Iterator[RecordingRow]:
    """Yield a row for each of `files` below `root`, labeled by its folders or its file name.

    Recordings with several equally likely folders are unlabeled. `known` are classes, to recognize species in names;
    None to judge names by their form only.
    """
    yield from build_rows(root, files, read_folders(root, files, known))


def build_rows(root: Path, files: Sequence[Path], reading: FolderReading) -> Iterator[RecordingRow]:
    """Yield a row for each of `files` below `root`, with its label from `reading` (the result of `read_folders`).

    A label of folders has precedence over one of the file name; without either, the row is unlabeled. If a folder tells
    the outcome of a review (`reading.reviews`), the row has what `apply_review` makes of the label.
    """
    for path in files:
        labels = _labels(reading.labels[path]) if path in reading.labels else list_labels(reading.of_files.get(path))
        if path in reading.reviews:
            labels = apply_review(labels, reading.reviews[path][1])
        yield RecordingRow(**parse_file_facts(path, root), **labels)  # type: ignore[arg-type]


def apply_review(labels: Labels, review: Review) -> Labels:
    """Return a recording's label fields (scientific_name, common_name, secondary, absent, kind) after a review.

    The review is of the presence of the recording's species. "present" changes nothing. "absent" moves main and
    secondary species to `absent`, and sets `kind` to "background"; a recording without a main species, also background,
    becomes unlabeled. "undecided" makes every recording unlabeled. Fields that are not in the result have the defaults
    of `RecordingRow`.
    """
    if review == "present":
        return labels
    species = (labels.get("scientific_name"), *labels.get("secondary", ()))
    if review == "absent" and species[0] is not None:
        return {"kind": "background", "absent": species}
    return {"kind": "soundscape"}


def parse_file_facts(path: Path, root: Path) -> dict[str, object]:
    """Return the fields recording_id, path, url and source of a recording below `root`, from its file name.

    The recording_id is `archive_id`, or else the path relative to `root`; `path` is the given path. Without a number of
    xeno-canto in the file name, url and source are None; clips of a recording of xeno-canto have both.
    """
    named = xeno_canto_id(path.stem)
    return {
        "recording_id": archive_id(path.stem) or path.relative_to(root).as_posix(),
        "path": str(path),
        "url": named and f"https://xeno-canto.org/{named[2:]}",
        "source": "xeno-canto" if named else None,
    }


def find_folder_date(path: Path) -> str | None:
    """Return the date (ISO 8601) of the innermost folder named `2021-05-01` or `20210501`; None without one."""
    for folder in path.parents:
        if label := _DATE.fullmatch(folder.name):
            with suppress(ValueError):
                return date(int(label[1]), int(label[3]), int(label[4])).isoformat()
    return None


def list_labels(label: Label | None) -> Labels:
    """Return fields of a `RecordingRow` by name: scientific_name and common_name for a species, else only `kind`.

    `kind` is "background" for a label of another sound (`Label.kind` "sound"), and "soundscape" (unlabeled) for None.
    For a species it is left to its default, "focal".
    """
    if label is None:
        return {"kind": "soundscape"}
    if label.kind == "sound":
        return {"kind": "background"}
    return {"scientific_name": label.scientific_name, "common_name": label.common_name}


def _labels(folder: str) -> Labels:
    if folder.lower() in OTHER_SOUNDS:
        return {"kind": "background"}
    labels = [parse_folder_label(part) for part in split_labels(folder.removeprefix("-"))]
    if folder.startswith("-") and labels:
        return {"kind": "background", "absent": tuple(label.scientific_name for label in labels)}
    species = [label for label in labels if label.kind == "species"]
    if not species:
        return {"kind": "background" if labels else "soundscape"}
    first, *others = species
    return {
        "scientific_name": first.scientific_name,
        "common_name": first.common_name,
        "secondary": tuple(label.scientific_name for label in others),
    }
