"""Parsers of what clients send: file names and multipart bodies."""

from __future__ import annotations

import asyncio
import os
from http import HTTPStatus

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import Message

from dawnchorus.server.http.uploads import announced_bytes, receive_file, receive_files
from dawnchorus.server.state.file_names import MAX_NAME, base_name
from fuzz.contract import ContractError, Reader, Target, scratch_folder

_MAX_BYTES = 1 << 16

_BODY = (
    b'--b\r\nContent-Disposition: form-data; name="latitude"\r\n\r\n52.5\r\n'
    b'--b\r\nContent-Disposition: form-data; name="audio"; filename="a/d\xc3\xa4wn.wav"\r\n'
    b"Content-Type: audio/wav\r\n\r\nRIFF\0\0\r\n--b--\r\n"
)
_FORM = b"multipart/form-data; boundary=b\n" + _BODY


def _read_name(content: bytes) -> None:
    name = base_name(content.decode("utf-8", "surrogateescape"))
    if not name or "/" in name or "\0" in name or len(os.fsencode(name)) > MAX_NAME:
        raise ContractError(f"expected a name that a folder takes, got {name!r}")


def _request(content: bytes) -> Request:
    """Return a request whose content type is the first line, and whose body is the rest."""
    kind, _, body = content.partition(b"\n")
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    parts = [body[: len(body) // 2], body[len(body) // 2 :]]

    async def receive() -> Message:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers, "query_string": b""}, receive)


def _read_announced(content: bytes) -> None:
    announced_bytes(Request({"type": "http", "headers": [(b"content-length", content)]}))


async def _read_upload(content: bytes) -> None:
    try:
        async with receive_file(_request(content), scratch_folder(), max_bytes=_MAX_BYTES) as (path, name):
            path.with_name(name)
    except HTTPException as error:
        if error.status_code != HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
            raise


async def _read_batch(content: bytes) -> None:
    async with receive_files(_request(content), scratch_folder(), max_bytes=_MAX_BYTES):
        pass


TARGET = Target(
    "uploads",
    (
        Reader("name", _read_name, (b"a/b.wav", b"C:\\x\\\xc3\xa4.mp3", b"\0")),
        Reader("announced length", _read_announced, (b"123",)),
        Reader("one file", lambda content: asyncio.run(_read_upload(content)), (_FORM, b"audio/wav\nRIFF")),
        Reader("files", lambda content: asyncio.run(_read_batch(content)), (_FORM,)),
    ),
)
