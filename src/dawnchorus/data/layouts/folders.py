"""A folder per species, by the rules of BirdNET-Analyzer's training data, with folders of sites or years around.

The folder's name is the label: `Parus major_Great Tit`, `Parus_major`, or any one name. `A_a,B_b` holds recordings of
several species; `-A_a` recordings that are known to be without A; `noise`, `background`, `silence`, `other`, `nocall`
(in any case) recordings without any species.

Of the folders that a recording is in, the one whose name is most clearly a species counts: a known class, two names
(`Parus major_Great Tit`) or a background come before a name of the form of a scientific one, and this before any other
word. Numbers, dates and words such as `audio` or `plot7` are no species. Of words that are as clear, the outer counts
if recordings lie directly in it; else the layout is ambiguous and has to be given: `species/site`, `site/species`.

A folder such as `positive`, `negative` or `rejected` around or below it says whether the species is there: see
`dawnchorus.data.layouts.review_folders`.

Files outside folders are labeled by their own names, where those are of known classes, or all have the form of
scientific names.
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
"""Names of folders that say nothing of the species in them."""

_DATE = re.compile(r"((?:19|20)\d\d)([-_. ]?)(\d\d)\2(\d\d)", re.ASCII)
_XENO_CANTO = re.compile(r"(?:^|[^A-Za-z0-9])XC(\d+)(?!\d)")

_NONE, _ANY, _WORD, _BINOMIAL, _SURE = range(5)
"""Strength of the evidence that a folder's name is a label."""

_ANY_SPECIES = frozenset(("bird", "birds", "species", "all", "other birds"))
"""Names of folders, in lower case, that hold folders of species, if they hold any, or else are a class."""

SPECIES, GENUS = "species", "genus"
"""Words of a layout such as `site/species`."""

_MAX_NAMED = 5

Labels = dict[str, Any]
"""Fields of a row that say what is in the recording."""


def xeno_canto_id(name: str) -> str | None:
    """Return the xeno-canto number in a file name, such as `XC580880`; None if there is none."""
    match = _XENO_CANTO.search(name)
    return f"XC{match[1]}" if match else None


def archive_id(stem: str) -> str | None:
    """Return the archive's number in the name of a whole recording; None for a clip such as `XC12_3.0s_6.0s`."""
    named = xeno_canto_id(stem)
    return named if named and not re.search(r"\d", stem.replace(named, "", 1)) else None


@dataclass
class FolderReading:
    """Labels of recordings from folder and file names, with the evidence."""

    labels: dict[Path, str] = field(default_factory=dict)
    """Label of each recording, as the name of its folder (or of two folders, joined) has it."""
    of_files: dict[Path, Label] = field(default_factory=dict)
    """Labels in the names of files, by recording."""
    sure: set[Path] = field(default_factory=set)
    """Recordings whose label has the form of a species or of a background."""
    ties: dict[Path, tuple[str, ...]] = field(default_factory=dict)
    """Names of folders of which either may be the label, the outer first, by recording."""
    of_levels: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Names of folders that are labels, with their numbers of recordings, by depth below the source, from 1."""
    others: Counter[str] = field(default_factory=Counter)
    """Names of other folders, with their numbers of recordings."""
    reviews: dict[Path, tuple[str, Review]] = field(default_factory=dict)
    """Folders that say whether the species is there, by recording."""
    review_siblings: Counter[str] = field(default_factory=Counter)
    """Labeled recordings by folders that are none of a review, and lie next to one that is."""
    tape_clips: list[Path] = field(default_factory=list)
    """Recordings labeled by a name of ANIMAL-SPOT's form."""

    def find_clear(self) -> set[Path]:
        """Return recordings with sure labels, and those in folders next to these: of `noise` and `robin`, both."""
        folders = {
            path: next((each for each in path.parents if each.name == name), None) for path, name in self.labels.items()
        }
        next_to = {folder.parent for path, folder in folders.items() if path in self.sure and folder is not None}
        return self.sure | {path for path, folder in folders.items() if folder is not None and folder.parent in next_to}

    def notes(self) -> Iterator[str]:
        """Yield sentences on where labels were read."""
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
        """Yield sentences on folders that are read as outcomes of a review, and their siblings that are not."""
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
    """Read labels from the folders below `root`, or else from file names.

    `levels` are what the folders are, the outer first, one of them `SPECIES`; without them, names tell.
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
    """Return the folders below `root` that are outcomes of a review, and the outcomes."""
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
    """Take a review behind or before the name of the species for one: `Parus major_negative`, `not Parus major`."""
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
    """Count labeled recordings in folders that lie next to one of a review, and are none."""
    parents = {folder.parent for folder in reviews}
    for path, label in reading.labels.items():
        if path not in reading.reviews:
            siblings = [folder.name for folder in path.parents if folder.parent in parents and folder.name != label]
            reading.review_siblings.update(siblings[:1])


def _read_file_name(reading: FolderReading, path: Path, known: KnownClasses | None) -> None:
    """Label a file outside folders by the class in its own name, if that has one for certain."""
    clip = tape_clip(path.stem)
    label = None if known is None else find_class_of_file(path.stem if clip is None else clip.class_name, known)
    if clip is not None:
        label = label or parse_folder_label(clip.class_name)
        reading.tape_clips.append(path)
    if label is not None:
        reading.of_files[path] = label


def _read_source_name(reading: FolderReading, path: Path, root: Path, known: KnownClasses | None) -> None:
    """Label a file in a folder of a review alone by the name of the source, if that is plainly a species."""
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
    """Count folders that are no labels, but for those of a review."""
    reading.others.update(name for name in folders if parse_folder_review(name) is None)


def _join(folders: Sequence[str], known: KnownClasses) -> list[str] | None:
    """Return folders of a genus with a folder of a species in it, as levels, where both are a known class together."""
    for level, (genus, species) in enumerate(pairwise(folders)):
        if known.find(parse_folder_label(f"{genus} {species}")) is not None:
            return [SPECIES if k == level + 1 else GENUS if k == level else name for k, name in enumerate(folders)]
    return None


def _key(folder: str, known: KnownClasses | None) -> str:
    """Return what is the same for folders of the same label."""
    label = parse_folder_label((split_review(folder) or (folder,))[0])
    return name_key(((known.find(label) if known else None) or label).scientific_name)


def _clearness(folder: str, known: KnownClasses | None) -> int:
    """Return how clearly the name of a folder is a label."""
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
    """Label files outside folders by their names, where all of them have the form of scientific names, not just one."""
    named = {path: parse_file_label(path.stem) for path in files}
    if not all(is_scientific(label.scientific_name) for label in named.values()):
        return
    downloads = {path for path, label in named.items() if label.common_name != label.scientific_name}
    if len(downloads) == len(named) or len({label.scientific_name for label in named.values()}) > 1:
        for path, label in named.items():
            reading.of_files.setdefault(path, label)


def read_folder_rows(root: Path, files: list[Path], known: KnownClasses | None = None) -> Iterator[RecordingRow]:
    """Yield a row for each of `files` below `root`, labeled by its folders or its name.

    Recordings whose folders may each be the label have none.
    """
    yield from build_rows(root, files, read_folders(root, files, known))


def build_rows(root: Path, files: Sequence[Path], reading: FolderReading) -> Iterator[RecordingRow]:
    """Yield a row for each of `files` below `root`, with its label in `reading`."""
    for path in files:
        labels = _labels(reading.labels[path]) if path in reading.labels else list_labels(reading.of_files.get(path))
        if path in reading.reviews:
            labels = apply_review(labels, reading.reviews[path][1])
        yield RecordingRow(**parse_file_facts(path, root), **labels)  # type: ignore[arg-type]


def apply_review(labels: Labels, review: Review) -> Labels:
    """Return a recording's labels after a review of the presence of its species.

    Of a rejected background, or a rejected absence, nothing is known.
    """
    if review == "present":
        return labels
    species = (labels.get("scientific_name"), *labels.get("secondary", ()))
    if review == "absent" and species[0] is not None:
        return {"kind": "background", "absent": species}
    return {"kind": "soundscape"}


def parse_file_facts(path: Path, root: Path) -> dict[str, object]:
    """Return identifier, path and source of a recording below `root`, from its name."""
    named = xeno_canto_id(path.stem)
    return {
        "recording_id": archive_id(path.stem) or path.relative_to(root).as_posix(),
        "path": str(path),
        "url": named and f"https://xeno-canto.org/{named[2:]}",
        "source": "xeno-canto" if named else None,
    }


def find_folder_date(path: Path) -> str | None:
    """Return the date in the innermost folder named by a date: `2021-05-01`, `20210501`."""
    for folder in path.parents:
        if label := _DATE.fullmatch(folder.name):
            with suppress(ValueError):
                return date(int(label[1]), int(label[3]), int(label[4])).isoformat()
    return None


def list_labels(label: Label | None) -> Labels:
    """Return the label fields of a row; None for an unlabeled recording."""
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
