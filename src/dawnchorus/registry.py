"""Registries (formats, analyses, families...) to which other packages add entries by entry points."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, Protocol, TypeVar

from dawnchorus.errors import InputError
from dawnchorus.suggestions import suggestion


class Named(Protocol):
    """Protocol of a registry entry."""

    @property
    def name(self) -> str:
        """Name in lower case, as users type it."""
        ...


EntryT = TypeVar("EntryT", bound=Named)


class Registry(Mapping[str, EntryT], Generic[EntryT]):
    """Built-in entries by name, followed by those of installed packages.

    A package adds an entry by an entry point of `group` (`dawnchorus.formats`) that names an object of the type `kind`;
    it is loaded when the registry is first used. A name can be used once.
    """

    def __init__(self, kind: type[EntryT], builtin: Iterable[EntryT], *, noun: str, group: str) -> None:
        self.noun, self.group = noun, group
        self._kind = kind
        self._entries: dict[str, EntryT] = {}
        self._lock = threading.RLock()
        self._is_loaded = False
        for entry in builtin:
            self._add(entry, source="dawnchorus")

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

    def lookup(self, name: str) -> EntryT:
        """Return the entry of a name, ignoring case.

        Raises:
            InputError: there is none; the message names all, and the nearest one.
        """
        entry = self.get(str(name).lower())
        if entry is None:
            raise InputError(
                f"{self.noun}: expected one of {', '.join(self)}, got {name!r}.{suggestion(str(name), self)}"
            )
        return entry

    def register(self, entry: EntryT) -> None:
        """Add an entry in this process.

        Raises:
            InputError: it is of another type, or its name is not in lower case or is used already.
        """
        self._load()
        with self._lock:
            self._add(entry, source=f"{type(entry).__module__}.{type(entry).__qualname__}")

    def _load(self) -> None:
        """Add the entries of installed packages, once."""
        with self._lock:
            if self._is_loaded:
                return
            self._is_loaded = True  # before the packages are imported, which may use the registry themselves
            try:
                for point in sorted(entry_points(group=self.group), key=lambda point: point.name):
                    self._add(self._load_point(point), source=_describe(point))
            except BaseException:
                self._is_loaded = False
                raise

    def _load_point(self, point: EntryPoint) -> EntryT:
        try:
            entry: EntryT = point.load()
        except Exception as error:  # another package can fail in any way
            raise InputError(
                f"{self.noun} '{point.name}': {_describe(point)} cannot be loaded: {error!r}. Repair or uninstall it."
            ) from error
        return entry

    def _add(self, entry: EntryT, *, source: str) -> None:
        if not isinstance(entry, self._kind):
            raise InputError(
                f"{self.noun}: {source} gives an object of type {type(entry).__name__}, expected {self._kind.__name__}."
            )
        if entry.name != entry.name.lower():
            raise InputError(f"{self.noun} '{entry.name}' of {source}: expected a name in lower case.")
        if entry.name in self._entries and self._entries[entry.name] is not entry:
            raise InputError(
                f"{self.noun} '{entry.name}' of {source}: there is one of this name already. Rename or uninstall one."
            )
        self._entries[entry.name] = entry


def _describe(point: EntryPoint) -> str:
    package = f"the package {point.dist.name}" if point.dist is not None else "a package"
    return f"{package} ({point.value})"
