"""Registries (of formats, analyses, model families...) to which other packages add entries, called plug-ins.

A package declares a plug-in as an entry point (Python packaging's "entry point" of a group, in its pyproject.toml).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, Protocol, TypeVar

from dawnchorus.errors import DawnChorusError, InputError, PlugInError
from dawnchorus.plug_ins import PLUG_IN_FAILURES, PlugIn, describe_failure
from dawnchorus.suggestions import suggestion

LOG = logging.getLogger(__name__)


class Named(Protocol):
    """Protocol of registry entries, which are objects with a name."""

    @property
    def name(self) -> str:
        """Name in lower case, as users type it."""
        ...


EntryT = TypeVar("EntryT", bound=Named)


class Registry(Mapping[str, EntryT], Generic[EntryT]):
    """Mapping of names to entries: the built-in entries, followed by the plug-ins of installed packages.

    Plug-ins are loaded when the registry is first used, sorted by the names of the entry point and the package. Of
    entries with the same name, a built-in one takes precedence, then the plug-in that is loaded first. A plug-in that
    cannot be loaded, or whose name is used already, is in `broken`, and does not affect the other entries.

    Args:
        kind: type of the entries. The entry point of a plug-in must name an object of this type.
        builtin: built-in entries.
        noun: what an entry is, such as "format", for messages.
        group: group of the entry points, such as "dawnchorus.formats".
        guard: function that returns a copy of a plug-in's entry with `PlugIn.guard` around its functions; None to use
            the entry unchanged.

    Raises:
        InputError: a built-in entry has another type, or its name is not in lower case or is used twice.
    """

    def __init__(
        self,
        kind: type[EntryT],
        builtin: Iterable[EntryT],
        *,
        noun: str,
        group: str,
        guard: Callable[[EntryT, PlugIn], EntryT] | None = None,
    ) -> None:
        self.noun, self.group = noun, group
        self._kind, self._guard = kind, guard
        self._entries: dict[str, EntryT] = {}
        self._given: dict[str, EntryT] = {}
        """Entries by name, without guards."""
        self._plug_ins: dict[str, PlugIn] = {}
        self._broken: dict[PlugIn, PlugInError] = {}
        self._logged: set[str] = set()
        self._lock = threading.RLock()
        self._is_loaded = False
        for entry in builtin:
            self._add(entry)

    def __getitem__(self, name: str) -> EntryT:
        self._load()
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        self._load()
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<{self.group}: {', '.join(self)}>"

    @property
    def plug_ins(self) -> Mapping[str, PlugIn]:
        """Plug-ins whose entries are in the registry, by the name of the entry."""
        self._load()
        return self._plug_ins

    @property
    def broken(self) -> Mapping[PlugIn, PlugInError]:
        """Plug-ins that cannot be used, each with the error: it cannot be loaded, or its name is used already."""
        self._load()
        return self._broken

    def lookup(self, name: str) -> EntryT:
        """Return the entry of a name, ignoring case.

        If another plug-in of this name cannot be used, a warning is logged.

        Raises:
            InputError: there is no entry of this name; the message lists all names and suggests the most similar one.
            PlugInError: the name is that of a plug-in that cannot be used.
        """
        entry = self.get(str(name).lower())
        if entry is None:
            self.raise_broken(str(name))
            raise InputError(
                f"{self.noun}: expected one of {', '.join(self)}, got {name!r}.{suggestion(str(name), self)}"
            )
        self.log_broken(str(name))  # another package's of the same name may have been meant
        return entry

    def raise_broken(self, name: str) -> None:
        """Raise the error of the plug-in of this name, ignoring case, if it cannot be used; do nothing for other names.

        Raises:
            PlugInError: the plug-in cannot be used.
        """
        for plug_in, error in self.broken.items():
            if plug_in.name.lower() == name.lower():
                raise PlugInError(error.plug_in, error.problem, detail=error.detail) from error.__cause__

    def log_broken(self, name: str | None = None) -> None:
        """Log a warning once for each plug-in that cannot be used.

        Args:
            name: name of the entry point, ignoring case; None for all plug-ins.
        """
        for plug_in, error in self.broken.items():
            if name is None or plug_in.name.lower() == name.lower():
                self.log_once(error)

    def log_once(self, error: PlugInError) -> None:
        """Log the error of a plug-in as a warning, unless this registry has logged the same message before."""
        with self._lock:
            if str(error) not in self._logged:
                self._logged.add(str(error))
                LOG.warning(str(error))

    def register(self, entry: EntryT) -> None:
        """Add an entry without an entry point, in this process only.

        Raises:
            InputError: the entry has another type, or its name is not in lower case or is used by another entry.
        """
        self._load()
        with self._lock:
            self._add(entry)

    def _load(self) -> None:
        """Add the entries of installed packages, once."""
        with self._lock:
            if self._is_loaded:
                return
            self._is_loaded = True  # before the packages are imported, which may use the registry themselves
            plug_ins = [(_describe(self.noun, point), point) for point in entry_points(group=self.group)]
            try:
                for plug_in, point in sorted(plug_ins, key=lambda each: (each[0].name, each[0].package)):
                    self._load_plug_in(plug_in, point)
            except BaseException:  # an interrupt from the keyboard
                self._is_loaded = False
                raise

    def _load_plug_in(self, plug_in: PlugIn, point: EntryPoint) -> None:
        try:
            self._add(point.load(), plug_in)
        except PLUG_IN_FAILURES as error:  # another package can fail in any way
            detail = error.reason if isinstance(error, DawnChorusError) else describe_failure(error)
            self._broken[plug_in] = PlugInError(str(plug_in), "cannot be used", detail=detail)
            self._broken[plug_in].__cause__ = error
        except KeyboardInterrupt:  # by the user, who would like to know what took so long, or by its own code
            LOG.warning(f"interrupted while it was imported: {plug_in}")
            raise

    def _add(self, entry: EntryT, plug_in: PlugIn | None = None) -> None:
        if not isinstance(entry, self._kind):
            raise InputError(
                f"{self.noun}: expected an object of type {self._kind.__name__}, got one of {type(entry).__name__}."
            )
        if entry.name != entry.name.lower():
            raise InputError(f"{self.noun} '{entry.name}': expected a name in lower case.")
        if self._given.get(entry.name, entry) is not entry:
            raise InputError(f"{self.noun} '{entry.name}': there is one of this name already. Rename one.")
        if plug_in is None:
            self._entries[entry.name] = entry
        else:
            self._entries[entry.name] = entry if self._guard is None else self._guard(entry, plug_in)
            self._plug_ins[entry.name] = plug_in
        self._given[entry.name] = entry


def _describe(noun: str, point: EntryPoint) -> PlugIn:
    package = ""
    if point.dist is not None:
        metadata = point.dist.metadata  # damaged ones have neither
        package = " ".join(metadata[name] for name in ("Name", "Version") if name in metadata)
    return PlugIn(noun, point.name, package or "of an unknown name", point.value)
