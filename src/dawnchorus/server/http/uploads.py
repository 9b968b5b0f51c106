"""Reading of request bodies into temporary files, with limits on size and minimum rate."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import IO
from urllib.parse import unquote_to_bytes

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.types import Message, Receive

from dawnchorus.errors import InputError, UploadTooLargeError, UploadTooSlowError
from dawnchorus.limits import Limits
from dawnchorus.server.http.parameters import refuse_repeated
from dawnchorus.server.state.file_names import MAX_NAME, base_name
from dawnchorus.storage.files import cannot_write
from dawnchorus.suggestions import suggestion

FIELD, FORM_TYPE = "audio", "multipart/form-data"
"""Name of the form field with the recording, and media type of forms."""
MAX_FIELDS, MAX_FIELD_BYTES = 16, 4096
"""Maximum number of a form's text fields, and maximum size of each."""
MAX_BATCH = 200
"""Maximum number of files in a form for several files."""

MAX_SURPLUS_FILES = 8
"""Maximum number of files that are read from a form for one file, so that the error message can name them."""

IN_MEMORY = MultiPartParser.spool_max_size
"""Maximum size of a body's file that is in memory and not on disk."""

IN_MEMORY_OF_BATCH = IN_MEMORY // 4
"""Maximum size of each file in memory, in a form for several files."""

Batch = tuple[Path, dict[str, str], list[tuple[str, Path]]]
"""Temporary folder, text fields of a form by name, and client's name and path of each file of the form."""


def announced_bytes(request: Request) -> int | None:
    """Return the value of the Content-Length header; None if the header is absent or invalid."""
    text = request.headers.get("content-length", "")
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


@asynccontextmanager
async def receive_file(request: Request, spool: Path, *, max_bytes: int) -> AsyncIterator[tuple[Path, str]]:
    """Receive the recording of a request into a temporary file, which is deleted at the end of the block.

    The recording is the form field `audio`, or the whole body of any media type except other multipart types. The text
    fields of the form are set as `request.state.texts`.

    Args:
        request: the request.
        spool: folder for the temporary file.
        max_bytes: maximum size of the body.

    Yields:
        Path of the file, and the client's name of it without folders, cut to 255 bytes ("upload" without a name).

    Raises:
        UploadTooLargeError: the body has more than `max_bytes`, by its Content-Length or when it is read.
        UploadTooSlowError: the body arrives too slowly (`PacedBody`).
        InputError: there is no recording, more than one, or the form is invalid or has a repeated text field.
        HTTPException: 415, for a multipart body that is no form.
        OutputError: no space on the disk.
    """
    request.state.texts = {}
    try:
        handle, name = tempfile.mkstemp(prefix="upload-", dir=spool)
    except OSError as error:
        raise cannot_write(spool, error) from error
    path = Path(name)
    try:
        with _writing(spool), os.fdopen(handle, "wb") as file:
            if media_type(request) == FORM_TYPE:
                async with _form(request, max_bytes, max_files=MAX_SURPLUS_FILES) as form:
                    request.state.texts = _texts(form)
                    upload = _only_file(form)
                    if (upload.size or 0) <= IN_MEMORY:
                        file.write(upload.file.read())
                    else:
                        await run_in_threadpool(shutil.copyfileobj, upload.file, file, 1 << 20)
                    given = upload.filename or ""
            else:
                _refuse_other_multipart(request)
                given = ""
                async for chunk in _read_chunks(request, max_bytes):
                    file.write(chunk)
        if not given and not path.stat().st_size:  # an empty file that has a name is refused by it, as unreadable ones
            raise InputError(f"expected a recording in the field '{FIELD}' or as the body, got nothing.")
        yield path, base_name(given)
    finally:
        path.unlink(missing_ok=True)


def _refuse_other_multipart(request: Request) -> None:
    """Refuse a multipart body that is no form, since the parts' boundaries and headers would be decoded as audio.

    Raises:
        HTTPException: 415, the body is of such a type.
    """
    if (kind := media_type(request)).startswith("multipart/"):
        detail = f"expected a recording as the body, or {FORM_TYPE} with the field '{FIELD}', got {kind[:80]}."
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)


@asynccontextmanager
async def receive_files(request: Request, spool: Path, *, max_bytes: int) -> AsyncIterator[Batch]:
    """Receive a form with several files into a temporary folder, which is deleted at the end of the block.

    Args:
        request: the request.
        spool: folder in which the temporary folder is created.
        max_bytes: maximum size of the body.

    Yields:
        The temporary folder, the text fields of the form by name, and for each file the client's name, with its
        folders, and the path in the temporary folder. Files without a name are left out.

    Raises:
        UploadTooLargeError: the body has more than `max_bytes`, by its Content-Length or when it is read.
        UploadTooSlowError: the body arrives too slowly (`PacedBody`).
        InputError: the body is no form, or has more than `MAX_BATCH` files or a repeated text field.
        OutputError: no space on the disk.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="batch-", dir=spool))
    except OSError as error:
        raise cannot_write(spool, error) from error
    try:
        files: list[tuple[str, Path]] = []
        async with _form(request, max_bytes, max_files=MAX_BATCH, in_memory=IN_MEMORY_OF_BATCH) as form:
            texts = _texts(form)
            for _, value in form.multi_items():
                if isinstance(value, UploadFile) and value.filename:
                    path = folder / f"upload-{len(files)}"
                    with _writing(spool), path.open("wb") as file:
                        await run_in_threadpool(shutil.copyfileobj, value.file, file, 1 << 20)
                    files.append((value.filename[: 4 * MAX_NAME], path))
        yield folder, texts, files
    finally:
        await run_in_threadpool(shutil.rmtree, folder, True)  # noqa: FBT003 - ignore_errors


def _only_file(form: FormData) -> UploadFile:
    """Return the file in the form's field `audio`; other file fields may be empty.

    Raises:
        InputError: there is no file in the field, or there is more than one file in the form.
    """
    given = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
    files = [(name, value) for name, value in given if name == FIELD or value.filename or value.size]
    if FIELD not in [name for name, _ in files]:
        if FIELD in form:
            raise InputError(
                f"expected a file in the field '{FIELD}', got a text. Send it with a file name "
                f"(curl -F {FIELD}=@night.wav)."
            )
        nearest = suggestion(next(iter(form), "").lower(), [FIELD])
        raise InputError(f"expected a file in the field '{FIELD}', got the fields {sorted(form)}.{nearest}")
    if len(files) > 1:
        names = ", ".join(f"'{base_name(value.filename or '')}' in '{name[:80]}'" for name, value in files)
        raise InputError(
            f"expected one file in the field '{FIELD}', got {len(files)}: {names}. Send a request for each."
        )
    return files[0][1]


def _texts(form: FormData) -> dict[str, str]:
    """Return the text fields of a form by name.

    Raises:
        InputError: a field is repeated.
    """
    texts = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    refuse_repeated(texts, "field")
    return dict(texts)


@contextmanager
def _writing(spool: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(spool, error) from error


async def read_body(request: Request, *, max_bytes: int) -> bytes:
    """Read the whole body of a request, of at most `max_bytes` bytes, into memory.

    Raises:
        UploadTooLargeError: the body has more than `max_bytes`, by its Content-Length or when it is read.
        UploadTooSlowError: the body arrives too slowly (`PacedBody`).
    """
    return b"".join([chunk async for chunk in _read_chunks(request, max_bytes)])


@asynccontextmanager
async def receive_body(request: Request, spool: Path, *, max_bytes: int) -> AsyncIterator[IO[bytes]]:
    """Receive the body of a request into an open temporary file, which is in memory up to `IN_MEMORY` bytes.

    Args:
        request: the request.
        spool: folder for the file if it is larger.
        max_bytes: maximum size of the body.

    Yields:
        The file, positioned at its start.

    Raises:
        UploadTooLargeError: the body has more than `max_bytes`, by its Content-Length or when it is read.
        UploadTooSlowError: the body arrives too slowly (`PacedBody`).
        OutputError: no space on the disk.
    """
    with tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(spool)) as file:
        async for chunk in _read_chunks(request, max_bytes):
            with _writing(spool):
                file.write(chunk)
        file.seek(0)
        yield file


async def _read_chunks(request: Request, max_bytes: int) -> AsyncGenerator[bytes]:
    """Yield the chunks of a body; if the Content-Length is too large, nothing is read.

    Starlette's `max_body_size` is not used, since its limit cannot be a setting and its response is no problem details.
    """
    announced = announced_bytes(request)
    if announced is not None and announced > max_bytes:
        raise UploadTooLargeError(f"expected at most {max_bytes} bytes, got {announced}.")
    n = 0
    async for chunk in request.stream():
        n += len(chunk)
        if n > max_bytes:
            raise UploadTooLargeError(f"expected at most {max_bytes} bytes.")
        yield chunk


class PacedBody:
    """ASGI receiver that requires a minimum rate of a request's body.

    `t` seconds after construction, more than `(t - limits.body_timeout_s) * limits.min_bytes_per_s` bytes must have
    arrived. A pause between two messages must be shorter than `limits.body_timeout_s` seconds.

    Args:
        receive: receiver of the ASGI server.
        limits: limits of the server.
    """

    def __init__(self, receive: Receive, limits: Limits) -> None:
        self._receive, self._limits = receive, limits
        self._n, self._start_s, self._is_complete = 0, time.monotonic(), False

    async def receive(self) -> Message:
        """Return the next ASGI message of the request; after the whole body, wait without a limit.

        Raises:
            UploadTooSlowError: the body arrives below the minimum rate, or pauses for `limits.body_timeout_s`.
        """
        if self._is_complete:
            return await self._receive()
        timeout_s, min_bytes_per_s = self._limits.body_timeout_s, self._limits.min_bytes_per_s
        left_s = self._start_s + timeout_s + self._n / min_bytes_per_s - time.monotonic()
        try:
            async with asyncio.timeout(min(max(left_s, 0), timeout_s)):
                message = await self._receive()
        except TimeoutError:
            raise UploadTooSlowError(
                f"expected {min_bytes_per_s} bytes in a second, after {timeout_s:g} s, and no pause as long; got "
                f"{self._n} bytes in all."
            ) from None
        self._n += len(message.get("body", b""))
        self._is_complete = not message.get("more_body", False)
        return message


def media_type(request: Request) -> str:
    """Return the media type of the request's body in lower case, without parameters; "" without a Content-Type."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


NO_BOUNDARY = " Leave the Content-Type to the program that sends the form: it knows the boundary."

PLAIN_ENCODINGS = frozenset((b"", b"binary", b"8bit", b"7bit"))
"""Values of Content-Transfer-Encoding that leave a part's bytes unchanged."""

_DISPOSITION_PARAMETER = re.compile(rb';\s*([^=;\s]+)\s*=\s*("(?:\\.|[^"\\])*"|[^;]*)')


def _extended_name(disposition: bytes) -> str | None:
    """Return the file name in `filename*` (RFC 8187), or None if it is absent or invalid."""
    for name, value in _DISPOSITION_PARAMETER.findall(disposition):
        if name.lower() == b"filename*":
            charset, _, rest = value.strip(b' "').partition(b"'")
            try:
                return unquote_to_bytes(rest.partition(b"'")[2]).decode(charset.decode("ascii"))
            except (LookupError, ValueError):  # no such encoding, or other bytes than it has
                return None
    return None


class _FormParser(MultiPartParser):
    """Starlette's form parser with support for `filename*` and for escapes in file names by HTML's form encoding."""

    _is_complete = False
    """True once the closing boundary has arrived."""

    def on_end(self) -> None:
        """Handle the closing boundary."""
        self._is_complete = True

    async def parse(self) -> FormData:
        """Parse the body.

        Raises:
            MultiPartException: the body is invalid, or ends before the closing boundary.
        """
        form = await super().parse()
        if not self._is_complete:
            for file in self._files_to_close_on_error:
                file.close()
            raise MultiPartException(
                f"it was cut off after {len(self.items)} whole fields, before its closing boundary. Send it again."
            )
        return form

    @property
    def n_files(self) -> int:
        """Number of files whose headers were read."""
        return self._current_files

    def on_headers_finished(self) -> None:
        """Handle the end of a part's headers.

        Raises:
            MultiPartException: the part has a transfer encoding, which RFC 7578 (section 4.7) deprecates.
        """
        part = self._current_part
        encoding = dict(part.item_headers).get(b"content-transfer-encoding", b"").strip().lower()
        if encoding not in PLAIN_ENCODINGS:
            raise MultiPartException(
                f"a part has the Content-Transfer-Encoding {encoding[:40].decode('latin-1')!r}. Send its bytes as they "
                f"are."
            )
        name = _extended_name(part.content_disposition or b"")
        if name is not None:
            part.content_disposition = (part.content_disposition or b"") + b'; filename="upload"'  # makes it a file
        super().on_headers_finished()
        if part.file is not None:
            part.file.filename = _ESCAPES.sub(_unescape, part.file.filename or "") if name is None else name


_ESCAPES = re.compile("%(22|0A|0D)", re.IGNORECASE)
"""Escapes of quotes and line breaks in file names by HTML's form encoding, which escapes nothing else."""


def _unescape(match: re.Match[str]) -> str:
    return chr(int(match[1], 16))


@asynccontextmanager
async def _form(
    request: Request, max_bytes: int, *, max_files: int, in_memory: int = IN_MEMORY
) -> AsyncIterator[FormData]:
    """Parse a multipart form as a stream; its files are closed at the end of the block.

    Args:
        request: the request.
        max_bytes: maximum size of the body.
        max_files: maximum number of files.
        in_memory: maximum size of each file in memory; larger files are on disk.

    Raises:
        InputError: the body is no form, is invalid, or has too many files.
    """
    if (kind := media_type(request)) != FORM_TYPE:
        raise InputError(f"expected a body of the type {FORM_TYPE}, got {kind[:80] or 'none'}.")
    parser = _FormParser(
        request.headers,
        _read_chunks(request, max_bytes),
        max_files=max_files,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    parser.spool_max_size = in_memory
    try:
        with _writing(Path(tempfile.gettempdir())):
            form = await parser.parse()
    except MultiPartException as error:
        if parser.n_files > max_files:
            raise InputError(f"expected at most {max_files} files in a request, got more.") from error
        hint = "" if "boundary=" in request.headers["content-type"].lower() else NO_BOUNDARY
        raise InputError(f"the multipart body cannot be read: {error.message}{hint}") from error
    try:
        yield form
    finally:
        await form.close()
