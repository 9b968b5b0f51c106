"""All exceptions that Dawn Chorus raises.

DawnChorusError
├── InputError                  the user's request cannot be carried out as asked (also a ValueError)
│   ├── UploadTooLargeError     a request brings more bytes than the server takes
│   ├── UploadTooSlowError      a request's body comes too slowly
│   ├── UnknownClassError       a label is of no known class
│   ├── NotFoundError           there is no recording, detection, model or job of this name
│   └── ConflictError           the object of a request was changed meanwhile
├── AudioError                  a recording cannot be used
│   ├── AudioNotFoundError      no such file, or it is not a regular file
│   ├── AudioDecodeError        the bytes are not a sound file that we can decode
│   │   └── DecoderCrashError   a decoder ended, or hung, on it
│   ├── AudioReadError          a store failed while it was read, or it was replaced there
│   └── AudioTooLargeError      more samples than the caller allowed
├── ModelError                  a model or bundle cannot be used
│   ├── ModelNotFoundError      unknown name, or the weights are not on this machine
│   └── InvalidBundleError      a bundle folder breaks the contract
├── FormatError                 a table is not in the format it should be in
├── TrainingError               learning came to nothing: the loss is no number any more
├── OverloadedError             a server has too much to do; ask again later
├── DownloadError               a server refused, or cannot be reached
│   └── LongWaitError           it asks to wait for longer than a request waits
├── StoreError                  a store refused, or cannot be reached
├── MissingExtraError           an optional package is not installed
├── PlugInError                 a plug-in of another package cannot be used, or failed
├── OutputError                 results cannot be written
│   ├── OutputExistsError       something is there already and may not be replaced
│   └── JournalDamagedError     the journal of a run cannot be read
└── BusyError                   another process works on the same output

Each has a `reason`, which says what was expected, what came and what to do, and may have a `subject`: the file that the
reason applies to. `str()` joins both. A reason names no folder of this machine, so that a server can show it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar


class DawnChorusError(Exception):
    """Base class of all errors; `exit_code` is that of the command line."""

    exit_code: ClassVar[int] = 1

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
    """The file does not exist, or is not a regular file."""


class AudioDecodeError(AudioError):
    """No decoder can read the file."""


class DecoderCrashError(AudioDecodeError):
    """The decoder process crashed or stalled."""


class AudioReadError(AudioError):
    """A store failed while the recording was read, or the recording was replaced there."""


class AudioTooLargeError(AudioError):
    """The file decodes to more samples than the caller allowed."""


class ModelError(DawnChorusError):
    """A model or bundle cannot be used."""

    exit_code = 5


class ModelNotFoundError(ModelError):
    """The model's name is unknown, or its weights are not on this machine."""


class InvalidBundleError(ModelError):
    """A bundle folder breaks the contract of `dawnchorus.models.bundle`."""


class FormatError(DawnChorusError):
    """A table has an invalid format."""

    exit_code = 2


class TrainingError(DawnChorusError):
    """Training failed or produced no usable model."""


class UploadTooLargeError(InputError):
    """A request exceeds the server's size limit."""


class UploadTooSlowError(InputError):
    """A request's body arrives below the minimum rate."""


class UnknownClassError(InputError):
    """A label matches no known class; `suggestions` are similar ones, as `Genus species_Common Name`."""

    def __init__(self, reason: str, *, suggestions: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.suggestions = suggestions


class NotFoundError(InputError):
    """There is no object of this name or id."""


class ConflictError(InputError):
    """The object of a request was changed since the client read it; `current` has its fields now."""

    def __init__(self, reason: str, *, current: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.current = current


class OverloadedError(DawnChorusError):
    """The server is overloaded; a client may retry after `retry_after_s`."""

    def __init__(self, reason: str, *, retry_after_s: float) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class DownloadError(DawnChorusError):
    """A download failed; `status` is the HTTP status, if there was a response."""

    exit_code = 3

    def __init__(self, reason: str, status: int | None) -> None:
        super().__init__(reason)
        self.status = status


class LongWaitError(DownloadError):
    """A server asks to wait longer than the maximum, so no further requests should be sent."""


class StoreError(DawnChorusError):
    """An object store refused, or could not be reached after several tries."""

    exit_code = 3


class MissingExtraError(DawnChorusError):
    """An optional package is required but not installed."""

    exit_code = 5

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed. "
            f"Install it with: pip install 'dawnchorus[{extra}]'"
        )


class PlugInError(DawnChorusError):
    """A plug-in of another package cannot be loaded, or failed.

    `plug_in` names it with its package, `problem` is what happened, and `detail` is the text of its own exception, the
    cause; only `str()` has it, since it may name folders.
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
    """The journal of a run is damaged or was replaced."""


class BusyError(DawnChorusError):
    """Another process is writing to the same output."""

    exit_code = 6
