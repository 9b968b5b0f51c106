"""Listing of objects in stores by URL: one object, a folder, or a pattern with wildcards."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import cast

from dawnchorus.errors import StoreError
from dawnchorus.storage.paths import RemotePath, is_remote
from dawnchorus.storage.stores import ObjectInfo, describe
from dawnchorus.storage.urls import CLOUD_SCHEMES, ObjectUrl

N_REQUESTS = 16
"""Maximum number of objects whose sizes are requested at the same time."""

_WILDCARD = re.compile(r"[*?\[]")
_TOKEN = re.compile(r"\*+|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)


@dataclass(frozen=True)
class ListedObject:
    """Object that was found for a URL."""

    path: RemotePath
    """URL of the object, with size and version if they are known."""
    is_named: bool
    """True for the object at the URL itself, or an object whose key matches the whole pattern; False for an object in a
    folder that the URL or its pattern names."""
    folder: str = ""
    """Key of the folder that the URL or its pattern names, with a slash at its end; empty for the whole store, or if no
    folder is named."""
    failure: StoreError | None = None
    """Error of the request for the object's size; None if the request succeeded or there is no such object."""

    @property
    def key_in_folder(self) -> str:
        """Key of the object relative to `folder`."""
        return self.path.url.key.removeprefix(self.folder)


def list_objects(paths: Sequence[RemotePath]) -> list[list[ListedObject]]:
    """Return the objects that each URL names (an object, a folder or a pattern), as a list for each of `paths`.

    A URL names an object if there is one with exactly its key, even if this has `*`, `?` or `[`; else a pattern if it
    has one of these characters, and else a folder, with its subfolders. The objects of a folder are ordered by name,
    those directly in the folder before those in its subfolders, and have sizes. If a URL names neither an object nor a
    folder, its list has one entry for the URL, without a size. If the size of an object cannot be requested, its entry
    has the `failure`. Each path of `paths` caches its list.

    Raises:
        StoreError: a store refused to list a folder, or cannot be reached.
    """
    if not paths:
        return []
    with ThreadPoolExecutor(N_REQUESTS, thread_name_prefix="dawnchorus-list") as threads:
        return list(threads.map(_list_once, paths))


def existing_paths(paths: Iterable[Path]) -> list[Path]:
    """Return those of `paths` at which a file, a folder or an object exists, in the given order.

    Raises:
        StoreError: a store refused access, or cannot be reached.
    """
    given = list(paths)
    if not any(map(is_remote, given)):
        return [path for path in given if path.exists()]
    with ThreadPoolExecutor(N_REQUESTS, thread_name_prefix="dawnchorus-list") as threads:
        return [path for path, is_there in zip(given, threads.map(_exists, given), strict=True) if is_there]


def _exists(path: Path) -> bool:
    return path.exists()


def _list_once(path: RemotePath) -> list[ListedObject]:
    """Return the objects that a path names. The path caches them, since a bucket may have millions of objects."""
    if path.listing is None:
        path.listing = _list(path)
    return cast("list[ListedObject]", path.listing)


def _list(path: RemotePath) -> list[ListedObject]:
    if path.is_listed:
        return [ListedObject(path, is_named=True)]
    try:
        named = _find_named(path)
    except OSError as error:
        return [ListedObject(path, is_named=True, failure=_explain(path, error))]
    if named is not None or path.url.is_http:
        return [named or ListedObject(path, is_named=True)]
    try:
        listed = list(_match(path.url) if path.url.is_pattern else _walk(path.url))
    except FileNotFoundError as error:
        if path.url.scheme in CLOUD_SCHEMES:  # where a folder that is not there has no objects
            raise StoreError(f"there is no bucket {path.url.host}.", subject=path) from None
        raise _explain(path, error) from None
    except OSError as error:
        raise _explain(path, error) from None
    return listed or [ListedObject(path, is_named=True)]


def _explain(path: RemotePath, error: OSError) -> StoreError:
    return StoreError(describe(error), subject=path)


def _find_named(path: RemotePath) -> ListedObject | None:
    """Return the object with exactly this key, which may contain wildcard characters; None if there is none."""
    if not path.url.key.rstrip("/") or (path.url.key.endswith("/") and not path.url.is_http):
        return None
    try:
        return ListedObject(path.with_info(path.store.head(path.url.key)), is_named=True)
    except FileNotFoundError:
        return None


def _walk(url: ObjectUrl) -> Iterator[ListedObject]:
    """Yield the objects of a folder: those directly in it first, then those of its subfolders."""
    folder = f"{url.key.rstrip('/')}/" if url.key.strip("/") else ""
    yield from _in_order(url, folder, _objects(url, folder))


def _match(url: ObjectUrl) -> Iterator[ListedObject]:
    """Yield the objects whose keys match a pattern, and the objects in folders whose keys match it."""
    pattern = url.key.rstrip("/")
    regex = re.compile(translate(pattern))
    prefix = "".join(_literal_folders(pattern))
    matches: dict[str, list[tuple[str, ObjectInfo]]] = {}
    for key, info in _objects(url, prefix):
        starts = [key, *accumulate(key.split("/"), "{}/{}".format)]
        match = next(filter(regex.fullmatch, starts), None)
        if match is not None:
            matches.setdefault(match, []).append((key, info))
    for match in sorted(matches):
        objects = matches[match]
        if [match] == [key for key, _ in objects]:
            ((key, info),) = objects
            yield ListedObject(RemotePath(url.at(key), info), is_named=True)
        else:
            yield from _in_order(url, f"{match}/", objects)


def _objects(url: ObjectUrl, prefix: str) -> Iterator[tuple[str, ObjectInfo]]:
    """Yield key, size and version of the objects below a prefix, without the empty objects that represent folders."""
    for key, info in RemotePath(url).store.list(prefix):
        if not key.endswith("/") and (key.startswith(prefix) and key != prefix):
            yield key, info


def _in_order(url: ObjectUrl, folder: str, objects: Iterable[tuple[str, ObjectInfo]]) -> Iterator[ListedObject]:
    for key, info in sorted(objects, key=_walk_order):
        yield ListedObject(RemotePath(url.at(key), info), is_named=key == folder[:-1], folder=folder)


def _walk_order(listed: tuple[str, ObjectInfo]) -> list[tuple[bool, str]]:
    """Return a sort key that puts a folder's own files before those of its subfolders, as a walk of a disk does."""
    *folders, name = listed[0].split("/")
    return [*((True, folder) for folder in folders), (False, name)]


def _literal_folders(pattern: str) -> Iterator[str]:
    for part in pattern.split("/")[:-1]:
        if _WILDCARD.search(part):
            return
        yield f"{part}/"


def translate(pattern: str) -> str:
    """Return a regular expression for a glob pattern, which whole keys have to match (`re.fullmatch`).

    `**` between slashes stands for any number of folders, also none: `a/**/*.wav` matches `a/x.wav` and `a/b/c/x.wav`.
    `a/**` matches all keys below `a`. `*`, `?`, `[ab]` and `[!ab]` match within a name. Wildcards match a hidden name
    (with a dot at its start) only if the pattern has this dot: `*` does not match `.x`, `.*` does.
    """
    parts = pattern.split("/")
    regex = ""
    for k, part in enumerate(parts):
        is_last = k == len(parts) - 1
        if part == "**":
            regex += r"[^/.][^/]*(?:/[^/.][^/]*)*" if is_last else r"(?:[^/.][^/]*/)*"
            continue
        hidden = "" if part.startswith(".") or not _WILDCARD.search(part) else r"(?!\.)"
        regex += hidden + _TOKEN.sub(_translate_token, part) + ("" if is_last else "/")
    return regex


def _translate_token(match: re.Match[str]) -> str:
    """Return the regular expression of a wildcard, or of a literal character."""
    text = match[0]
    if text[0] == "*":
        return "[^/]*"
    if text == "?":
        return "[^/]"
    if text[0] == "[" and len(text) > 1:
        is_negative = text[1] == "!"
        listed = re.sub(r"([\\^\[\]])", r"\\\1", text[1 + is_negative : -1])
        return f"[{'^/' if is_negative else ''}{listed}]"
    return re.escape(text)
