"""Checks of a downloaded file's kind by its first bytes, since error pages may come with status 200."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePath

_N_FIRST = 512
_N_SHOWN = 60
_TEXTS = frozenset((".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".html", ".md", ".yaml", ".yml", ".svg"))
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\x1b")) + b"\x7f"
_ZIPS = frozenset((".zip", ".whl", ".npz"))
_SIGNATURES = {".gz": (0, b"\x1f\x8b"), ".tflite": (4, b"TFL3"), ".onnx": (0, b"\x08")}
"""Offset and bytes that every file with a suffix has."""


def find_page(path: Path, name: str) -> str | None:
    """Return the start of the text (such as an error page) that was received in place of the file `name`.

    At most 60 characters are returned: "" if the file at `path` is empty. Return None if the content is not text (its
    first 512 bytes have control characters other than white space and Escape), or if the suffix of `name` is that of a
    text, such as .csv.

    Args:
        path: the received file.
        name: file name that the content should have, such as `model.onnx`.
    """
    if PurePath(name).suffix.lower() in _TEXTS:
        return None
    with path.open("rb") as file:
        first = file.read(_N_FIRST)
    if first.translate(None, _CONTROL) != first:
        return None
    return " ".join(first.decode("utf-8", "replace").split())[:_N_SHOWN]


def find_other_kind(path: Path, name: str) -> str | None:
    """Return the expected kind of file, such as "a gz file", if the content is of another kind; else None.

    Only names that end in .zip, .whl, .npz, .gz, .tflite or .onnx are checked, ignoring case; None for others. A zip
    archive must be complete, or the result is "a whole zip archive".

    Args:
        path: the received file.
        name: file name, whose suffix decides on the expected kind.
    """
    suffix = PurePath(name).suffix.lower()
    if suffix in _ZIPS:
        return None if zipfile.is_zipfile(path) else "a whole zip archive"
    offset, mark = _SIGNATURES.get(suffix, (0, b""))
    with path.open("rb") as file:
        file.seek(offset)
        return None if file.read(len(mark)) == mark else f"a {suffix[1:]} file"


def describe_content(path: Path) -> str:
    """Return a clause on why a file cannot be read as a model: empty, a text, or damaged."""
    if not path.stat().st_size:
        return "the file is empty"
    page = find_page(path, path.name)
    if page is not None:
        return f"the file is a text that begins with {page!r}. Download the model itself"
    return f"the file of {path.stat().st_size:,} bytes is cut off, damaged or of another kind. Fetch it again"
