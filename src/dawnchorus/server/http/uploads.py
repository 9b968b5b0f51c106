"""From a request's body to a file: counted while it comes, named by us, and gone when it is done with."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import unquote_to_bytes

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from dawnchorus.errors import InputError, UploadTooLargeError, UploadTooSlowError
from dawnchorus.server.http.parameters import refuse_repeated
from dawnchorus.server.state.file_names import MAX_NAME, base_name
from dawnchorus.storage.files import cannot_write
from dawnchorus.suggestions import suggestion

FIELD, FORM_TYPE = "audio", "multipart/form-data"
MAX_FIELDS, MAX_FIELD_BYTES = 16, 4096
MAX_BATCH = 200
"""Files in one request."""

MAX_REFUSED = 8
"""Files that are read of a form that may have one, so that a message can name them."""

PATIENCE_S, MIN_BYTES_PER_S = 30.0, 1_000
"""A body may take so long, and as long again as its bytes at this pace."""

IN_MEMORY = MultiPartParser.spool_max_size
"""Bytes of a file up to which the parser keeps it in memory."""

IN_MEMORY_OF_BATCH = IN_MEMORY // 4
"""The same for each of up to `MAX_BATCH` files."""

Batch = tuple[Path, dict[str, str], list[tuple[str, Path]]]
"""A folder for scratch, a form's texts, and its files with the names that their sender gave them."""


def announced_bytes(request: Request) -> int | None:
    """Return the length of the body as its sender states it; None if it is not stated, or no number."""
    text = request.headers.get("content-length", "")
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


@asynccontextmanager
async def receive_file(request: Request, spool: Path, *, max_bytes: int) -> AsyncIterator[tuple[Path, str]]:
    """Receive the recording of a request, as a file and the name that its sender gave it.

    It is the multipart field `audio`, or the whole body of any other type. The form's texts become `state.texts`.

    Raises:
        UploadTooLargeError: it has more than `max_bytes`, or says so.
        UploadTooSlowError: it does not come.
        InputError: there is none.
        OutputError: there is no space for it.
    """
    request.state.texts = {}
    announced = announced_bytes(request)
    if announced is not None and announced > max_bytes:
        raise UploadTooLargeError(f"expected at most {max_bytes} bytes, got {announced}.")
    try:
        handle, name = tempfile.mkstemp(prefix="upload-", dir=spool)
    except OSError as error:
        raise cannot_write(spool, error) from error
    path = Path(name)
    try:
        with _writing(spool), os.fdopen(handle, "wb") as file:
            if media_type(request) == FORM_TYPE:
                async with _form(request, max_bytes, max_files=MAX_REFUSED) as form:
                    request.state.texts = _texts(form)
                    upload = _only_file(form)
                    if (upload.size or 0) <= IN_MEMORY:
                        file.write(upload.file.read())
                    else:
                        await run_in_threadpool(shutil.copyfileobj, upload.file, file, 1 << 20)
                    given = upload.filename or ""
            else:
                given = ""
                async for part in _counted(request, max_bytes):
                    file.write(part)
        if not path.stat().st_size:
            raise InputError(f"expected a recording in the field '{FIELD}' or as the body, got nothing.")
        yield path, base_name(given)
    finally:
        path.unlink(missing_ok=True)


@asynccontextmanager
async def receive_files(request: Request, spool: Path, *, max_bytes: int) -> AsyncIterator[Batch]:
    """Receive a form: a temporary folder, its texts, and its files by the name that their sender gave them.

    Raises:
        UploadTooLargeError, InputError, OutputError: as of `receive_file`.
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
    """Return the file in the field `audio`; fields in which a browser's user chose no file do not count.

    Raises:
        InputError: there is none, or there is another one.
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
        said = ", ".join(f"'{base_name(value.filename or '')}' in '{name[:80]}'" for name, value in files)
        raise InputError(
            f"expected one file in the field '{FIELD}', got {len(files)}: {said}. Send a request for each."
        )
    return files[0][1]


def _texts(form: FormData) -> dict[str, str]:
    """Return the texts of a form by their fields.

    Raises:
        InputError: a field comes twice.
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
    """Read a body that is no recording, as a whole.

    Raises:
        UploadTooLargeError: it has more than `max_bytes`.
        UploadTooSlowError: it does not come.
    """
    return b"".join([part async for part in _counted(request, max_bytes)])


@asynccontextmanager
async def received_body(request: Request, spool: Path, *, max_bytes: int) -> AsyncIterator[IO[bytes]]:
    """Receive a body that is no recording into a file, of which little is in memory while it comes.

    Raises:
        UploadTooLargeError: it has more than `max_bytes`.
        UploadTooSlowError: it does not come.
        OutputError: there is no space for it.
    """
    with tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(spool)) as file:
        async for part in _counted(request, max_bytes):
            with _writing(spool):
                file.write(part)
        file.seek(0)
        yield file


async def _counted(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    n = 0
    async for part in request.stream():
        n += len(part)
        if n > max_bytes:
            raise UploadTooLargeError(f"expected at most {max_bytes} bytes.")
        yield part


def paced(receive: Receive) -> Receive:
    """Return a function that receives a request's body as long as it comes fast enough.

    It raises UploadTooSlowError: nothing came for `PATIENCE_S`, or too little in all.
    """
    n, begin, is_whole = 0, time.monotonic(), False

    async def receive_in_time() -> Message:
        nonlocal n, is_whole
        if is_whole:
            return await receive()
        left_s = begin + PATIENCE_S + n / MIN_BYTES_PER_S - time.monotonic()
        try:
            async with asyncio.timeout(min(max(left_s, 0), PATIENCE_S)):
                message = await receive()
        except TimeoutError:
            raise UploadTooSlowError(
                f"expected {MIN_BYTES_PER_S} bytes in a second, after {PATIENCE_S:g} s, and no pause as long; got {n} "
                f"bytes in all."
            ) from None
        n += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        return message

    return receive_in_time


def media_type(request: Request) -> str:
    """Return the type of the body in lower case, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


NO_BOUNDARY = " Leave the Content-Type to the program that sends the form: it knows the boundary."

PLAIN_ENCODINGS = frozenset((b"", b"binary", b"8bit", b"7bit"))
"""Transfer encodings of a part's bytes as they are."""

_DISPOSITION_PARAMETER = re.compile(rb';\s*([^=;\s]+)\s*=\s*("(?:\\.|[^"\\])*"|[^;]*)')


def _extended_name(disposition: bytes) -> str | None:
    """Return the file name that `filename*` gives (RFC 8187), which many clients send; None without or if damaged."""
    for name, value in _DISPOSITION_PARAMETER.findall(disposition):
        if name.lower() == b"filename*":
            charset, _, rest = value.strip(b' "').partition(b"'")
            try:
                return unquote_to_bytes(rest.partition(b"'")[2]).decode(charset.decode("ascii"))
            except (LookupError, UnicodeDecodeError):
                return None
    return None


class _FormParser(MultiPartParser):
    """The framework's parser, which also reads `filename*`."""

    @property
    def n_files(self) -> int:
        """Number of files that have begun."""
        return self._current_files

    def on_headers_finished(self) -> None:
        """Begin a file or a text field.

        Raises:
            MultiPartException: the part is encoded, which RFC 7578 (section 4.7) forbids; nothing here decodes it.
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
        if name is not None and part.file is not None:
            part.file.filename = name


class _Ended(MultiPartException):
    """The body ended early; the parser closes its files for errors of this kind only."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


async def _closing(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        async for part in parts:
            yield part
    except (UploadTooLargeError, UploadTooSlowError, ClientDisconnect) as error:
        raise _Ended(error) from error


@asynccontextmanager
async def _form(
    request: Request, max_bytes: int, *, max_files: int, in_memory: int = IN_MEMORY
) -> AsyncIterator[FormData]:
    """Parse a multipart body while it comes, with `in_memory` bytes of each file in memory.

    Its files are closed afterwards.
    """
    if (kind := media_type(request)) != FORM_TYPE:
        raise InputError(f"expected a body of the type {FORM_TYPE}, got {kind[:80] or 'none'}.")
    parser = _FormParser(
        request.headers,
        _closing(_counted(request, max_bytes)),  # type: ignore[arg-type]
        max_files=max_files,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    parser.spool_max_size = in_memory
    try:
        with _writing(Path(tempfile.gettempdir())):
            form = await parser.parse()
    except _Ended as error:
        raise error.reason from error
    except MultiPartException as error:
        if parser.n_files > max_files:
            raise InputError(f"expected at most {max_files} files in a request, got more.") from error
        hint = "" if "boundary=" in request.headers["content-type"].lower() else NO_BOUNDARY
        raise InputError(f"the multipart body cannot be read: {error.message}{hint}") from error
    try:
        yield form
    finally:
        await form.close()
