"""Export of prepared clips or whole recordings for other training code.

An export is a folder next to the clips, named by its content: `wav`, `npy`, `mel-npy`, `whole-wav`, ... Audio files and
whole recordings are in a folder per species. Clips as arrays are one `<split>_x.npy` [clips, ...] and `<split>_y.npy`
[clips] per split, with `labels.json` (the species by their index in y) and `groups.json` (by split, the group of each
clip, for grouped cross-validation). `export.json` has the settings; it is written last.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dawnchorus.arrays import FloatArray
from dawnchorus.audio.mel import MelImage
from dawnchorus.audio.write import write_wav
from dawnchorus.data.clips import Clips, as_float, lock_clips
from dawnchorus.data.recordings import RecordingsTable
from dawnchorus.errors import InputError, OutputExistsError
from dawnchorus.storage.files import atomic_file, cannot_write
from dawnchorus.storage.safe_names import safe_name

ExportFormat = Literal["wav", "npy", "pt"]
Convert = Callable[[Path], None]

METADATA_NAME = "export.json"
UNSPLIT = "unsplit"
"""Split name for clips that are in no split."""

_MAX_NAME = 60
"""Maximum length of a name in characters of up to four bytes each; file systems allow 255 bytes."""

_SCRATCH_PREFIX = ".export-"

_BLOCK = 1 << 22
"""Number of samples of a whole recording that are converted at once."""


@dataclass(frozen=True)
class Export:
    """Result of an export."""

    folder: Path
    """Folder of the export."""
    n_items: int
    """Number of clips, or of whole recordings, in the export; without `n_without_species`."""
    n_without_species: int
    """Number of clips left out of the arrays because they have no species; 0 for audio files and whole recordings,
    which are exported without a species, too."""
    is_new: bool
    """True if this call wrote the export; False if an up-to-date one existed already."""


@dataclass(frozen=True)
class ExportKind:
    """Format and content of an export.

    Raises:
        InputError: `mel` with the format "wav", or with whole recordings.
    """

    format: ExportFormat
    """Format of the files: "wav", "npy" (NumPy arrays) or "pt" (PyTorch tensors)."""
    is_whole: bool = False
    """True for whole recordings instead of clips."""
    mel: MelImage | None = None
    """Settings of log-mel spectrograms; None for waveforms."""

    def __post_init__(self) -> None:
        if self.mel is not None and (self.format == "wav" or self.is_whole):
            raise InputError("--mel: expected clips in the format npy or pt, without --whole.")

    @property
    def folder_name(self) -> str:
        """Name of the export's folder, such as `mel-npy` or `whole-wav`; it is in the folder of the clips."""
        return "-".join(["whole"] * self.is_whole + ["mel"] * (self.mel is not None) + [self.format])


def write_export(table: RecordingsTable, kind: ExportKind, *, convert: Convert = lambda _folder: None) -> Export:
    """Export prepared clips atomically, unless an up-to-date export exists; an outdated one is replaced.

    Args:
        table: recordings table in the folder of the clips.
        kind: format and content.
        convert: called with the unfinished export's folder, to replace the `.npy` files by another format, as "pt"
            needs; by default, nothing is replaced.

    Raises:
        InputError: the folder has no prepared clips, whole recordings are asked for but the clips are not consecutive
            windows, or mel bands are narrower than the spectrum's resolution or out of order.
        OutputError: no space, or no permission.
        OutputExistsError: the folder exists and is no finished export.
        BusyError: another process writes to the folder of the clips.
        FormatError: the clips are damaged; see `Clips`.
    """
    clips = Clips(table.folder)
    folder = table.folder / kind.folder_name
    key = _key(clips, table, kind)
    metadata = _read_metadata(folder)
    if metadata is not None and metadata["key"] == key:
        return Export(folder, metadata["n_items"], metadata["n_without_species"], is_new=False)
    if metadata is None and folder.exists():
        raise OutputExistsError("expected no folder, or an export of an earlier run. Move it away.", subject=folder)
    try:
        with lock_clips(table.folder), _scratch_folder(table.folder) as scratch:
            unfinished = scratch / kind.folder_name
            unfinished.mkdir()
            counts = _write_items(clips, table, kind, unfinished)
            convert(unfinished)
            _write_json(unfinished / METADATA_NAME, {"key": key, **counts, **_describe(clips, kind)})
            if folder.exists():
                os.replace(folder, scratch / "old")
            os.replace(unfinished, folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return Export(folder, counts["n_items"], counts["n_without_species"], is_new=True)


@contextmanager
def _scratch_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder for unfinished files, after deleting the folders of runs that were killed."""
    for left in folder.glob(f"{_SCRATCH_PREFIX}*"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH_PREFIX, dir=folder) as scratch:
        yield Path(scratch)


def _key(clips: Clips, table: RecordingsTable, kind: ExportKind) -> str:
    digest = hashlib.sha256(json.dumps([asdict(kind), clips.recipe], sort_keys=True).encode())
    for name in ("recording_id", "start_s", "shard", "row", "scientific_name", "split"):
        digest.update(repr(clips.index[name].to_pylist()).encode())
    digest.update(repr([(row.recording_id, row.group) for row in table.rows]).encode())
    return digest.hexdigest()


def _read_metadata(folder: Path) -> dict[str, Any] | None:
    """Return the content of a finished export's `export.json`; None if there is no valid one."""
    try:
        metadata = json.loads((folder / METADATA_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return (
        metadata if isinstance(metadata, dict) and {"key", "n_items", "n_without_species"} <= metadata.keys() else None
    )


def _describe(clips: Clips, kind: ExportKind) -> dict[str, Any]:
    return {
        "sample_rate_hz": clips.rate_hz,
        "window_s": None if kind.is_whole else clips.window_s,
        "mel": None if kind.mel is None else asdict(kind.mel),
    }


def _write_items(clips: Clips, table: RecordingsTable, kind: ExportKind, folder: Path) -> dict[str, int]:
    if kind.is_whole:
        return {"n_items": _write_recordings(clips, kind, folder), "n_without_species": 0}
    if kind.format == "wav":
        return {"n_items": _write_clips(clips, folder), "n_without_species": 0}
    return _write_arrays(clips, table, kind.mel, folder)


def _write_clips(clips: Clips, folder: Path) -> int:
    for number, clip in enumerate(clips.index.to_pylist()):
        stem = f"{clip['recording_id']}_{clip['start_s']:.3f}-{clip['end_s']:.3f}"
        write_wav(_free_path(folder, clip, stem, ".wav"), clips.stored_clip(number), rate_hz=clips.rate_hz)
    return len(clips)


def _write_recordings(clips: Clips, kind: ExportKind, folder: Path) -> int:
    labels = {clip["recording_id"]: clip for clip in clips.index.to_pylist()}
    whole = clips.whole_recordings()
    for name in sorted(whole):
        samples = clips.stored_samples(whole[name])
        if kind.format == "wav":
            write_wav(_free_path(folder, labels[name], name, ".wav"), samples, rate_hz=clips.rate_hz)
        else:
            blocks = (as_float(samples[start : start + _BLOCK]) for start in range(0, len(samples), _BLOCK))
            _write_array(_free_path(folder, labels[name], name, ".npy"), samples.shape, blocks)
    return len(whole)


def _free_path(folder: Path, label: Mapping[str, Any], stem: str, suffix: str) -> Path:
    """Create the species' folder, and return an unused path in it."""
    species = folder / safe_name((label["scientific_name"] or label["kind"])[:_MAX_NAME])
    species.mkdir(exist_ok=True)
    plain = safe_name(stem[-_MAX_NAME:])
    path = species / f"{plain}{suffix}"
    number = 2
    while path.exists():
        path = species / f"{plain}-{number}{suffix}"
        number += 1
    return path


def _write_arrays(clips: Clips, table: RecordingsTable, mel: MelImage | None, folder: Path) -> dict[str, int]:
    rows = clips.index.to_pylist()
    labels = sorted({clip["scientific_name"] for clip in rows if clip["scientific_name"]})
    number_of = {name: k for k, name in enumerate(labels)}
    groups = {row.recording_id: row.group or row.recording_id for row in table.rows}
    parts: dict[str, list[int]] = defaultdict(list)
    for k, clip in enumerate(rows):
        if clip["scientific_name"]:
            parts[clip["split"] or UNSPLIT].append(k)
    for split, members in parts.items():
        shape = (len(members), *_values(clips, members[0], mel).shape)
        values = (_values(clips, k, mel) for k in members)
        _write_array(folder / f"{safe_name(split)}_x.npy", shape, values)
        targets = np.array([number_of[rows[k]["scientific_name"]] for k in members], "<i8")
        with atomic_file(folder / f"{safe_name(split)}_y.npy") as stream:
            np.save(stream, targets)
    _write_json(folder / "labels.json", labels)
    _write_json(
        folder / "groups.json",
        {split: [groups[rows[k]["recording_id"]] for k in members] for split, members in parts.items()},
    )
    n_items = sum(map(len, parts.values()))
    return {"n_items": n_items, "n_without_species": len(rows) - n_items}


def _values(clips: Clips, k: int, mel: MelImage | None) -> FloatArray:
    """Return the samples of clip `k`, or with `mel` its log-mel spectrogram [bands, frames]."""
    return clips.samples(k) if mel is None else mel.levels(clips.samples(k), rate_hz=clips.rate_hz)


def _write_array(path: Path, shape: tuple[int, ...], blocks: Iterable[FloatArray]) -> None:
    """Write blocks in a row as one .npy array of float32; only one block is in memory at a time."""
    with atomic_file(path) as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for block in blocks:
            stream.write(np.ascontiguousarray(block, "<f4").data)


def _write_json(path: Path, value: object) -> None:
    with atomic_file(path) as stream:
        stream.write(json.dumps(value, indent=2, ensure_ascii=False).encode())
