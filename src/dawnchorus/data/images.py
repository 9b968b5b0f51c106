"""Log-mel spectrograms of prepared clips as PNG images.

Each clip is one 8-bit PNG in a folder per species: time to the right, low frequencies at the bottom, black at
`range_db` below the clip's maximum. PNG text chunks have the recording, start, end, license and recordist.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dawnchorus.audio.mel import MelImage
from dawnchorus.data.clips import Clips
from dawnchorus.storage.files import atomic_file, cannot_write
from dawnchorus.storage.safe_names import safe_name
from dawnchorus.types import Progress, Report, ignore_progress

FOLDER = "images"
KEY = "key"
_TEXT_FIELDS = ("recording_id", "start_s", "end_s", "scientific_name", "license", "recordist", "url")


def write_images(clips: Clips, folder: Path, how: MelImage, *, n_workers: int, report: Report = ignore_progress) -> int:
    """Write those images of the clips that are missing or out of date, and return the number of images written.

    Images of clips that no longer exist, or have another species now, are deleted; PNG files that this function did
    not write stay.

    Args:
        clips: the prepared clips.
        folder: the folder of the images.
        how: settings of the mel spectrograms.
        n_workers: number of threads.
        report: called with the progress after each image.

    Raises:
        InputError: the mel bands are narrower than the spectrum's resolution, or out of order.
        OutputError: no space, or no permission.
    """
    rows = clips.index.to_pylist()
    paths = [folder / safe_name(row["scientific_name"] or row["kind"]) / _name(row) for row in rows]
    numbers = {path: number for number, path in enumerate(paths)}  # clips within a millisecond share an image

    n_written = 0
    with ThreadPoolExecutor(n_workers) as pool:
        written = pool.map(lambda path: _write_if_changed(path, clips, numbers[path], how), numbers)
        for n, is_written in enumerate(written, 1):
            n_written += is_written
            report(Progress("drawing", n, len(numbers), "images"))
    for path in set(folder.rglob("*.png")) - set(paths):
        if _read_key(path) is not None:
            path.unlink()
    return n_written


def _write_if_changed(path: Path, clips: Clips, number: int, how: MelImage) -> bool:
    """Write a clip's image, unless an up-to-date one exists; return True if it was written."""
    row, samples = clips.index.slice(number, 1).to_pylist()[0], clips.samples(number)
    key = hashlib.sha256(json.dumps([asdict(how), row["recording_id"]]).encode() + samples.tobytes()).hexdigest()
    if _read_key(path) == key:
        return False
    _write(path, _image(how.levels(samples, rate_hz=clips.rate_hz), how.range_db), {KEY: key, **_text_chunks(row)})
    return True


def _image(levels: Any, range_db: float) -> Image.Image:
    """Return a gray image of levels [bands, frames] in dB (0 is white), low frequencies at the bottom."""
    gray = np.rint((levels + range_db) / range_db * 255).astype(np.uint8)
    return Image.fromarray(gray[::-1])


def _text_chunks(row: dict[str, Any]) -> dict[str, str]:
    return {name: str(row[name]) for name in _TEXT_FIELDS if row[name] is not None}


def _name(row: dict[str, Any]) -> str:
    return f"{safe_name(row['recording_id'])}_{row['start_s']:.3f}-{row['end_s']:.3f}.png"


def _read_key(path: Path) -> str | None:
    """Return the digest of settings and samples stored in an existing image; None if there is none."""
    try:
        with Image.open(path) as image:
            key = image.info.get(KEY)
    except OSError:
        return None
    return key if isinstance(key, str) else None


def _write(path: Path, image: Image.Image, metadata: dict[str, str]) -> None:
    text = PngInfo()
    for name, value in metadata.items():
        text.add_itxt(name, value)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    with atomic_file(path) as stream:
        image.save(stream, format="PNG", pnginfo=text)
