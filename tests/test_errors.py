"""Errors: a subject and a reason, which survive pickling."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from dawnchorus import errors
from dawnchorus.cli.present import SOME_FAILED
from dawnchorus.errors import AudioDecodeError, DawnChorusError, DownloadError, InputError


def every_error() -> Iterator[DawnChorusError]:
    """Yield an error of each class."""
    for kind in vars(errors).values():
        if not (isinstance(kind, type) and issubclass(kind, DawnChorusError)):
            continue
        if issubclass(kind, DownloadError):
            yield kind("it is gone", 404)
        elif kind is errors.OverloadedError:
            yield kind("the queue is full", retry_after_s=2.5)
        elif kind is errors.UnknownClassError:
            yield kind("no such class", suggestions=("Parus major_Great Tit",))
        elif kind is errors.ConflictError:
            yield kind("it is wrong", current={"verdict": "correct"})
        elif kind is errors.MissingExtraError:
            yield kind("torch", extra="train", purpose="Training")
        elif kind is errors.PlugInError:
            yield kind("format 'x' of the package y 1 (y:X)", "failed", detail="ValueError: no luck")
        else:
            yield kind("it is wrong", subject=Path("/a.csv"))


@pytest.mark.parametrize("error", list(every_error()), ids=lambda error: type(error).__name__)
def test_every_error_is_whole_after_pickling(error: DawnChorusError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(again) is type(error)
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))
    assert again.reason in str(again)


def test_text_joins_subject_and_reason() -> None:
    error = AudioDecodeError("the file is empty (0 bytes).", subject=Path("/data/a.wav"))
    assert str(error) == "/data/a.wav: the file is empty (0 bytes)."
    assert (error.subject, error.reason) == (Path("/data/a.wav"), "the file is empty (0 bytes).")
    plain = InputError("threshold: expected 0 to 1, got 2.")
    assert (str(plain), plain.reason, plain.subject) == ("threshold: expected 0 to 1, got 2.", str(plain), None)
    assert isinstance(plain, ValueError)


def test_a_failed_store_does_not_end_like_a_run_with_some_failures() -> None:
    """The job scripts in deploy/ take the exit code of the latter as success."""
    assert errors.StoreError("it cannot be reached").exit_code not in (0, SOME_FAILED)
