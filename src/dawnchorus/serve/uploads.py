"""From a request's body to a file: counted while it comes, named by us, and gone when it is done with."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import Request, UploadFile
from starlette.concurrency import run_in_threadpool
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from dawnchorus.errors import InputError, UploadTooLarge
from dawnchorus.files import cannot_write

FIELD = "audio"
MAX_FILES, MAX_FIELDS, MAX_FIELD_BYTES = 1, 16, 4096
MAX_NAME = 255


@asynccontextmanager
async def uploaded(request: Request, spool: Path, *, max_bytes: int) -> AsyncIterator[tuple[Path, str]]:
    """The recording that a request brings, as a file and the name that its sender gave it.

    It is the multipart field `audio`, or the whole body of any other type.

    Raises:
        UploadTooLarge: it has more than `max_bytes`, or says so.
        InputError: there is none.
        OutputError: there is no space for it.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        raise UploadTooLarge(f"expected at most {max_bytes} bytes, got {announced}.")
    try:
        handle, name = tempfile.mkstemp(prefix="upload-", dir=spool)
    except OSError as error:
        raise cannot_write(spool, error) from error
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            if request.headers.get("content-type", "").startswith("multipart/form-data"):
                upload = await _from_form(request, max_bytes)
                await run_in_threadpool(shutil.copyfileobj, upload.file, file, 1 << 20)
                given = upload.filename or ""
                await upload.close()
            else:
                given = ""
                async for part in _counted(request, max_bytes):
                    file.write(part)
        if not path.stat().st_size:
            raise InputError(f"expected a recording in the field '{FIELD}' or as the body, got nothing.")
        yield path, given.replace("\\", "/").rpartition("/")[2][:MAX_NAME] or "upload"
    finally:
        path.unlink(missing_ok=True)


async def _counted(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    n = 0
    async for part in request.stream():
        n += len(part)
        if n > max_bytes:
            raise UploadTooLarge(f"expected at most {max_bytes} bytes.")
        yield part


class _Ended(MultiPartException):
    """The body ended early; the parser closes its files for errors of this kind only."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


async def _closing(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        async for part in parts:
            yield part
    except (UploadTooLarge, ClientDisconnect) as error:
        raise _Ended(error) from error


async def _from_form(request: Request, max_bytes: int) -> UploadFile:
    parser = MultiPartParser(
        request.headers,
        _closing(_counted(request, max_bytes)),  # type: ignore[arg-type]
        max_files=MAX_FILES,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except _Ended as error:
        raise error.reason from error
    except MultiPartException as error:
        raise InputError(f"the multipart body cannot be read: {error.message}") from error
    found = form.get(FIELD)
    if found is None or isinstance(found, str):
        await form.close()
        raise InputError(f"expected a file in the field '{FIELD}', got the fields {sorted(form)}.")
    return found  # type: ignore[return-value]
