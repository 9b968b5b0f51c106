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
"""Code pages that are tried: what Windows, older Macs and the command line of Windows write."""

_MAX_SAMPLE = 1 << 16
"""Bytes that the detector sees."""

_SPREADSHEETS = ((b"PK\x03\x04", ".xlsx or .ods"), (b"\xd0\xcf\x11\xe0", ".xls"))
_CONTROLS = re.compile("[\0-\x08\x0e-\x19\x1b-\x1f\x7f]")
_END_OF_FILE = "\x1a"
"""Written at the end by programs of DOS."""


def read_text(path: Path, notes: Notes | None = None) -> str:
    """Read a whole file as text; a guessed encoding is noted.

    Raises:
        FormatError: the file is not text.
    """
    return decode(path.read_bytes(), str(path), notes or Notes())


def read_start(path: Path, n_bytes: int) -> str:
    """Read the complete lines among a file's first bytes as text, in any encoding.

    Raises:
        FormatError: the file is not text.
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
    """Decode the content of a file as text, detect its encoding, and add remarks on it to `notes`.

    `name` is for errors.

    Raises:
        FormatError: the file is not text.
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
    """Return the byte order mark, if there is one, and the encoding that it or bytes of zero speak for."""
    return next(((mark, code) for mark, code in _MARKS if data.startswith(mark)), (b"", _wide(data)))


def _wide(data: bytes) -> str | None:
    """Return the UTF-16 that the bytes of zero speak for, where there is no mark; None if they do not."""
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
    """Return bytes without a mark as text: UTF-8 if they are that, else line by line UTF-8 or one code page."""
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
    """Return the cell with the most letters that are not ASCII."""
    return max(re.split(r"[,;\t|]", line), key=lambda cell: sum(not letter.isascii() for letter in cell)).strip()[:40]


def _code_page(sample: bytes) -> str:
    """Return the code page of lines that have letters beyond ASCII.

    The detector cannot tell a few letters of one Western page from those of another: 1252 is taken where it says that
    it reads as well as the best, and has no sign where a letter must be.
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
"""Letters that no language has together: in code page 1252 the Czech letters of 1250 look like this."""

_ODD = re.compile(
    r"(?<=[^\W\d_])[^\w\s\x00-\x7f\u2010-\u2027°º·](?=[^\W\d_])|(?<=[a-zß-ÿ\u0430-\u0491])[À-ÖØ-ÞŠŽŸŒ\u0401-\u042f]|(?<=[A-Z])[ŠŽŸŒ](?=[a-z])"
    r"|[À-ž]{4,}|\ufffd"
)


def _oddness(text: str) -> int:
    """Return the number of letters beyond ASCII that stand where they cannot, as signs inside words."""
    return len(_ODD.findall(text)) + (len(_CARONS.findall(text)) if _GRAVES.search(text) else 0)
