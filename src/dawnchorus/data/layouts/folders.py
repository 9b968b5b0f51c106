"""A folder per species, by the rules of BirdNET-Analyzer's training data.

The folder's name is the label: `Parus major_Great Tit`, `Parus_major`, or any one name. Only files directly in it
count. `A_a,B_b` holds recordings of several species; `-A_a` recordings that are known to be without A; `noise`,
`background`, `silence`, `other`, `nocall` (in any case) recordings without any species.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dawnchorus.data.recordings import RecordingRow
from dawnchorus.taxonomy.file_names import label_of_folder
from dawnchorus.taxonomy.labels import OTHER_SOUNDS

_XENO_CANTO = re.compile(r"(?:^|[^A-Za-z0-9])XC(\d+)(?!\d)")


def xeno_canto_id(name: str) -> str | None:
    """`XC580880`, where a file's name has such a number."""
    match = _XENO_CANTO.search(name)
    return f"XC{match[1]}" if match else None


def rows_of_folders(root: Path, files: list[Path]) -> Iterator[RecordingRow]:
    """A row for each of `files` below `root`, labelled by the folder that it is in."""
    for path in files:
        place = path.relative_to(root)
        named = xeno_canto_id(path.stem)
        about = {
            "recording_id": named or place.as_posix(),
            "path": str(path),
            "url": named and f"https://xeno-canto.org/{named[2:]}",
            "source": "xeno-canto" if named else None,
        }
        yield RecordingRow(**about, **_labels(place.parent.name))  # type: ignore[arg-type]


def _labels(folder: str) -> dict[str, object]:
    if folder.lower() in OTHER_SOUNDS:
        return {"kind": "background"}
    if folder.startswith("-"):
        return {"kind": "background", "absent": (label_of_folder(folder[1:].strip()).scientific_name,)}
    labels = [label_of_folder(part.strip()) for part in folder.split(",") if part.strip()]
    if not labels:
        return {"kind": "soundscape"}
    first, *others = labels
    return {
        "scientific_name": first.scientific_name,
        "common_name": first.common_name,
        "secondary": tuple(label.scientific_name for label in others),
    }
