"""Conversion of Arrow's errors on reading Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from dawnchorus.errors import FormatError


@contextmanager
def reading_parquet(path: Path) -> Iterator[None]:
    """Convert errors of Arrow in the block, which reads the Parquet file `path`, to FormatError.

    Raises:
        FormatError: the file is not Parquet, is damaged, or has columns of other types than expected.
        OSError: the system cannot read the file, which may be missing; this error is not converted.
    """
    try:
        yield
    except (pa.ArrowException, ValueError) as error:
        raise _damaged(path, error) from error
    except OSError as error:
        if error.errno is not None:  # the system's: no such file, no permission, a broken disk
            raise
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> FormatError:
    detail = str(error).replace(str(path), path.name)  # some of Arrow's messages name the file, with its folder
    return FormatError(f"expected a Parquet file of ours, undamaged ({detail}).", subject=path)
