"""Reading of Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from dawnchorus.errors import FormatError


@contextmanager
def reading_parquet(path: Path) -> Iterator[None]:
    """Report Arrow's errors about the content of `path` as one kind.

    Raises:
        FormatError: the file is no Parquet, is damaged, or has columns of other types than expected.
    """
    try:
        yield
    except (pa.ArrowException, ValueError) as error:
        raise FormatError(f"expected a Parquet file of ours, undamaged ({error}).", subject=path) from error
    except OSError as error:
        if error.errno is not None:  # the system's: no such file, no permission, a broken disk
            raise
        raise FormatError(f"expected a Parquet file of ours, undamaged ({error}).", subject=path) from error
