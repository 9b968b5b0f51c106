"""All exceptions that Dawn Chorus raises.

DawnChorusError
├── InputError                  arguments or input files are invalid (also a ValueError)
│   ├── UploadTooLargeError     a request has more bytes, or a zip more files, than the server accepts
│   ├── UploadTooSlowError      a request's body arrives too slowly or pauses
│   ├── UnknownClassError       a label matches no known class
│   ├── NotFoundError           there is no recording, detection, model or job of this name
│   └── ConflictError           the object of a request was changed since the client read it
├── AudioError                  a recording cannot be used
│   ├── AudioNotFoundError      the file does not exist, is not a regular file, or may not be read
│   ├── AudioDecodeError        no decoder can read the file
│   │   └── DecoderCrashError   the decoder process crashed or stalled
│   ├── AudioReadError          an object store failed while the recording was read, or the recording was replaced
│   └── AudioTooLargeError      the recording has more samples than the caller allowed
├── ModelError                  a model or bundle cannot be used
│   ├── ModelNotFoundError      unknown name, or the weights are not on this machine
│   └── InvalidBundleError      a bundle folder breaks the contract
├── FormatError                 a file, such as a table, is damaged or has an invalid format or content
├── TrainingError               training failed, for example because the loss is not finite
├── OverloadedError             a server has too much to do; a client may retry later
├── DownloadError               a server refused a download, or cannot be reached
│   └── LongWaitError           the server asks to wait for longer than the maximum
├── StoreError                  an object store refused, or cannot be reached
├── MissingExtraError           an optional package is not installed
├── PlugInError                 a plug-in of another package cannot be used, or failed
├── OutputError                 results cannot be written
│   ├── OutputExistsError       the output exists and may not be replaced
│   └── JournalDamagedError     the journal of a run cannot be read
└── BusyError                   another process writes to the same output

Each error has a `reason`, which says what was expected, what was found and what to do. An error may have a `subject`:
the file, URL or object that the reason applies to. `str()` joins both. A reason names no folder of this machine, since
a server shows reasons to its clients.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar


class DawnChorusError(Exception):
    """Base class of all errors of Dawn Chorus.

    Args:
        reason: message with what was expected, what was found and what to do; without paths of this machine.
        subject: file, URL or object that the reason applies to; None if the reason says it.
    """

    exit_code: ClassVar[int] = 1
    """Exit code of the command line after an error of this class."""

    def __init__(self, reason: str, *, subject: str | os.PathLike[str] | None = None) -> None:
        super().__init__(reason)
        self.reason, self.subject = reason, subject

    def __str__(self) -> str:
        return self.reason if self.subject is None else f"{os.fspath(self.subject)}: {self.reason}"

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception calls the class with `args`, which have no keyword-only arguments.
        return _restore, (type(self), self.args), self.__dict__


def _restore(kind: type[DawnChorusError], args: tuple[object, ...]) -> DawnChorusError:
    return kind.__new__(kind, *args)


class InputError(DawnChorusError, ValueError):
    """Invalid arguments: a value out of range, an unknown name, no recordings."""

    exit_code = 2


class AudioError(DawnChorusError):
    """A recording (the `subject`) cannot be used."""

    exit_code = 3

    def __init__(self, reason: str, *, subject: str | os.PathLike[str]) -> None:
        super().__init__(reason, subject=subject)


class AudioNotFoundError(AudioError):
    """The file does not exist, is not a regular file, or may not be read (no permission)."""


class AudioDecodeError(AudioError):
    """No decoder can read the file."""


class DecoderCrashError(AudioDecodeError):
    """The decoder process crashed or stalled."""


class AudioReadError(AudioError):
    """An object store failed while the recording was read, or the recording was replaced during reading."""


class AudioTooLargeError(AudioError):
    """The file decodes to more samples than the caller allowed."""


class ModelError(DawnChorusError):
    """A model, or its bundle (the folder of a model's files), cannot be used."""

    exit_code = 5


class ModelNotFoundError(ModelError):
    """The model's name is unknown, or its weights are not on this machine."""


class InvalidBundleError(ModelError):
    """A bundle folder is incomplete, damaged or inconsistent; `dawnchorus.models.bundle` describes its files."""


class FormatError(DawnChorusError):
    """A file, such as a table, is damaged or has an invalid format or content."""

    exit_code = 2


class TrainingError(DawnChorusError):
    """Training failed, for example because the loss is not finite, or produced no usable model."""


class UploadTooLargeError(InputError):
    """A request has more bytes, or its zip archive more or larger files, than the server accepts (`Limits`)."""


class UploadTooSlowError(InputError):
    """A request's body arrives below `Limits.min_bytes_per_s`, or pauses for longer than `Limits.body_timeout_s`."""


class UnknownClassError(InputError):
    """A label matches no known class.

    `suggestions` are the labels of similar known classes, in the form `Genus species_Common Name`; empty if
    there is none.
    """

    def __init__(self, reason: str, *, suggestions: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.suggestions = suggestions


class NotFoundError(InputError):
    """There is no recording, detection, model, job or stored file of the given name or id."""


class ConflictError(InputError):
    """The object that a request would change was changed by another request since the client read it.

    `current` has the object's present fields by name, for the server's response; None if there are none to show.
    """

    def __init__(self, reason: str, *, current: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.current = current


class OverloadedError(DawnChorusError):
    """The server is overloaded; a client may retry after `retry_after_s` seconds."""

    def __init__(self, reason: str, *, retry_after_s: float) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class DownloadError(DawnChorusError):
    """A download failed; `status` is the HTTP status code, None if there was no response."""

    exit_code = 3

    def __init__(self, reason: str, status: int | None) -> None:
        super().__init__(reason)
        self.status = status


class LongWaitError(DownloadError):
    """A server asks to wait for more than 120 s (`storage.http_client.MAX_WAIT_S`); send it no further requests."""


class StoreError(DawnChorusError):
    """An object store refused, or could not be reached after several tries."""

    exit_code = 7


class MissingExtraError(DawnChorusError):
    """An optional package is required but not installed.

    Args:
        package: name of the missing package.
        extra: extra of `dawnchorus` that installs the package, such as "train".
        purpose: feature that needs the package; the subject of the message.
    """

    exit_code = 5

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed. "
            f"Install it with: pip install 'dawnchorus[{extra}]'"
        )


class PlugInError(DawnChorusError):
    """A plug-in (an entry that another package adds to a registry) cannot be loaded, or failed.

    Args:
        plug_in: description of the plug-in with the name of its package.
        problem: predicate of the message, such as "failed" or "cannot be used".
        detail: text of the exception that the plug-in raised. `str()` has the detail; `reason` does not, since the
            detail may name folders of this machine.
    """

    exit_code = 5

    def __init__(self, plug_in: str, problem: str, *, detail: str) -> None:
        super().__init__(f"{plug_in} {problem}. Update or uninstall that package, or tell its authors.")
        self.plug_in, self.problem, self.detail = plug_in, problem, detail

    def __str__(self) -> str:
        return f"{self.reason} Cause: {self.detail}"


class OutputError(DawnChorusError):
    """Results cannot be written: no space, no permission, or no such folder."""

    exit_code = 4


class OutputExistsError(OutputError):
    """The output exists, and overwriting was not allowed."""


class JournalDamagedError(OutputError):
    """The journal of a run, the file from which an interrupted run resumes, is damaged or was replaced."""


class BusyError(DawnChorusError):
    """Another process is writing to the same output."""

    exit_code = 6
