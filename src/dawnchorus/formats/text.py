"""What the text formats share: an encoded stream and the way numbers are written."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, TextIO


@contextmanager
def text_stream(stream: BinaryIO) -> Iterator[TextIO]:
    """`stream` for UTF-8 text with `\\n` line ends; it stays open."""
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=False)
    try:
        yield text
        text.flush()
    finally:
        text.detach()


def seconds(value: float) -> str:
    """Seconds with up to three decimals, at least one."""
    text = f"{value:.3f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def score(value: float) -> str:
    """A score with four decimals."""
    return f"{value:.4f}"
