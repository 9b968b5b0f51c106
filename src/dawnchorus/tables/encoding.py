"""Detection of text encodings: UTF-8, UTF-16, UTF-32, or a code page."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from dawnchorus.errors import FormatError
from dawnchorus.tables.notes import Notes

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_CODE_PAGES = (
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1257", "mac_roman", "cp850",
    "cp932", "gb18030", "big5", "cp949",
)  # fmt: skip
"""Code pages that are tried: those of Windows, older Macs and the command line of Windows."""

_MAX_SAMPLE = 1 << 16
"""Maximum number of bytes passed to the encoding detector."""

_SPREADSHEETS = ((b"PK\x03\x04", ".xlsx or .ods"), (b"\xd0\xcf\x11\xe0", ".xls"))
_CONTROLS = re.compile("[\0-\x08\x0e-\x19\x1b-\x1f\x7f]")
_END_OF_FILE = "\x1a"
"""Character that DOS programs write at the end of a text file."""


def read_text(path: Path, notes: Notes | None = None) -> str:
    """Read a whole file as text in the encoding that is detected.

    Args:
        path: the file.
        notes: gets a sentence if a code page was guessed; None drops the sentence.

    Raises:
        FormatError: the file is a spreadsheet, or is not text.
    """
    return decode(path.read_bytes(), str(path), notes or Notes())


def read_start(path: Path, n_bytes: int) -> str:
    """Read the complete lines in the first `n_bytes` of a file as text, in the encoding that is detected.

    If the first line is longer than `n_bytes`, its first `n_bytes` are read.

    Raises:
        FormatError: the file is a spreadsheet, or its first `n_bytes` are not text.
    """
    with path.open("rb") as file:
        data = file.read(n_bytes)
        is_cut = bool(file.read(1))
    _, encoding = _mark_and_encoding(data)
    line_end = "\n".encode(encoding or "ascii")
    if is_cut and line_end in data:
        data = data[: data.rindex(line_end) + len(line_end)]
    return decode(data, str(path), Notes())


def decode(data: bytes, name: str, notes: Notes) -> str:
    """Decode the content of a file as text in the encoding that is detected.

    A byte order mark and the end-of-file character of DOS programs are dropped.

    Args:
        data: all bytes of the file.
        name: the file's name, for errors.
        notes: gets a sentence if a code page was guessed.

    Raises:
        FormatError: the file is a spreadsheet, has control characters, or is not valid in UTF-16 or UTF-32, which its
            byte order mark or zero bytes show.
    """
    for magic, kind in _SPREADSHEETS:
        if data.startswith(magic):
            raise FormatError(
                f"expected a text file, found a spreadsheet or archive ({kind}). Save it as CSV (UTF-8).", subject=name
            )
    mark, encoding = _mark_and_encoding(data)
    if encoding is not None:
        text = _decode_marked(data.removeprefix(mark), encoding, name, notes)
    else:
        text = _decode_narrow(data, notes)
    text = text.removeprefix("\ufeff").rstrip(_END_OF_FILE)
    if matches := _CONTROLS.search(text):
        raise FormatError(
            f"expected text, found the control character {matches[0]!r} at {matches.start()}.", subject=name
        )
    return text


def _mark_and_encoding(data: bytes) -> tuple[bytes, str | None]:
    """Return the byte order mark (or b"") and the encoding shown by it or by zero bytes (None if unknown)."""
    return next(((mark, code) for mark, code in _MARKS if data.startswith(mark)), (b"", _wide(data)))


def _wide(data: bytes) -> str | None:
    """Return "utf-16-le" or "utf-16-be" if nearly all zero bytes are at odd or even positions; else None."""
    head = data[:4096]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if len(data) % 2 or max(even, odd) < max(len(head) // 20, 2) or min(even, odd) > max(even, odd) // 10:
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _decode_marked(data: bytes, encoding: str, name: str, notes: Notes) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-8":
            return _decode_narrow(data, notes)
        raise FormatError(
            f"expected text in {encoding.upper()} ({error.reason}, at byte {error.start}).", subject=name
        ) from None


def _decode_narrow(data: bytes, notes: Notes) -> str:
    """Decode bytes without a byte order mark: as UTF-8, or else each line as UTF-8 or in one guessed code page."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        lines = data.split(b"\n")
    others = [line for line in lines if not _is_utf8(line)]
    page = _code_page(b"\n".join(others)[:_MAX_SAMPLE])
    example = _example(others[0].decode(page, "replace"))
    n_lines = len(lines) - (not lines[-1])
    notes.add(
        f"not in UTF-8: {len(others)} of {n_lines} lines read as "
        f"code page {page} (as '{example}'). Save it as UTF-8 if letters are wrong."
    )
    return "\n".join(line.decode() if _is_utf8(line) else line.decode(page, "replace") for line in lines)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _example(line: str) -> str:
    """Return the cell of the line with the most non-ASCII characters, cut to 40 characters."""
    return max(re.split(r"[,;\t|]", line), key=lambda cell: sum(not letter.isascii() for letter in cell)).strip()[:40]


def _code_page(sample: bytes) -> str:
    """Return the code page of lines with non-ASCII letters.

    The detector cannot distinguish Western code pages by a few letters. Code page 1252 is preferred if the detector
    rates it as high as its best match, and if its text has no symbols inside words.
    """
    from charset_normalizer import from_bytes

    matches = list(from_bytes(sample, cp_isolation=list(_CODE_PAGES)))
    chaos = {match.encoding: match.chaos for match in matches}
    western = sample.decode("cp1252", "replace")
    if not matches or (matches[0].chaos >= chaos.get("cp1252", 1) - 0.02 and _oddness(western) == 0):
        return "cp1252"
    best = min(matches, key=lambda match: (_oddness(str(match)), match.chaos, _CODE_PAGES.index(match.encoding)))
    return "cp1252" if str(best) == western else best.encoding


_CARONS, _GRAVES = re.compile("[ŠšŽž]"), re.compile("[ÈèÌìÒòÙùØøÏï]")
"""Letters that no language uses together: Czech text in code page 1250 has both if it is read as 1252."""

_ODD = re.compile(
    r"(?<=[^\W\d_])[^\w\s\x00-\x7f\u2010-\u2027°º·](?=[^\W\d_])|(?<=[a-zß-ÿ\u0430-\u0491])[À-ÖØ-ÞŠŽŸŒ\u0401-\u042f]|(?<=[A-Z])[ŠŽŸŒ](?=[a-z])"
    r"|[À-ž]{4,}|\ufffd"
)


def _oddness(text: str) -> int:
    """Return the number of non-ASCII characters in impossible positions, such as symbols inside words."""
    return len(_ODD.findall(text)) + (len(_CARONS.findall(text)) if _GRAVES.search(text) else 0)
