"""Lookup of classes by names in any spelling."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

from dawnchorus.suggestions import nearest
from dawnchorus.taxonomy.labels import Label, has_two_species, label_text, name_key

MAX_SUGGESTIONS, MIN_SIMILARITY = 3, 0.75
"""Maximum number of suggested classes for an unknown name, and minimum similarity (difflib's ratio) of their names."""

MAX_COMPARED = 100
"""Maximum number of queries for which one `KnownClasses` searches similar names, which takes up to 0.1 s each."""


class KnownClasses:
    """Lookup of classes by scientific name, common name or code.

    Case, spacing, underscores and Unicode form are ignored. So are hyphens, apostrophes, accents and "grey" against
    "gray", if only one class matches.

    Args:
        labels: the classes.
        codes: classes by their codes, such as eBird's `gretit1`; None if there are no codes.
    """

    def __init__(self, labels: Iterable[Label], codes: Mapping[str, Label] | None = None) -> None:
        labels = tuple(labels)
        self._by_name: dict[str, Label] = {}
        self._by_both: dict[str, Label] = {}
        self._by_spelling: dict[str, set[Label]] | None = None
        self._near: dict[Label, tuple[Label, ...]] = {}
        for label in labels:  # before all common names, which can be another class's scientific one
            self._by_name.setdefault(name_key(label.scientific_name), label)
        for label in labels:
            self.add(label)
        self._by_code = {name_key(code): label for code, label in (codes or {}).items()}

    def __len__(self) -> int:
        return len(self._by_both)

    def add(self, label: Label) -> None:
        """Add a class; a name that belongs to a class added before stays with that class."""
        for name in filter(None, map(name_key, (label.scientific_name, label.common_name))):
            self._by_name.setdefault(name, label)
        self._by_both.setdefault(name_key(f"{label.scientific_name} {label.common_name}"), label)
        self._by_spelling = None

    def find(self, query: Label) -> Label | None:
        """Return the class that `query` names; None if no class matches, or its two names are of different classes.

        A query with a single name has this name in both fields. Names of classes come first: the query's scientific
        name is compared with them, then both of its names as one (`great` and `tit`), then its common name. Then come
        both names of a class in one (`Parus_major_Great_Tit`), then codes, and last other spellings (`Black footed
        Albatross`). A name with a question mark only matches a class with a question mark.
        """
        if has_two_species(query, self):
            return None
        names = _names(query)
        for known in (self._by_name, self._by_both, self._by_code):
            known_label = next((known[name] for name in names if name in known), None)
            if known_label is not None:
                return known_label
        spelled = self._spellings()
        several = (spelled.get(spelling, set()) for name in names if "?" not in name for spelling in _loose_forms(name))
        return next((next(iter(labels)) for labels in several if len(labels) == 1), None)

    def has_code(self, name: str) -> bool:
        """Return True if the name is the code of a class, and not also a scientific or common name."""
        key = name_key(name)
        return key in self._by_code and key not in self._by_name

    def _spellings(self) -> dict[str, set[Label]]:
        """Return the sets of classes by loosely spelled names (`_loose_forms`), built on the first call."""
        if self._by_spelling is None:
            self._by_spelling = {}
            for name, label in self._by_name.items():
                for spelling in _loose_forms(name):
                    self._by_spelling.setdefault(spelling, set()).add(label)
        return self._by_spelling

    def near(self, query: Label) -> tuple[Label, ...]:
        """Return at most `MAX_SUGGESTIONS` (3) classes with names similar to those of `query`, the closest first.

        The result of each query is cached, also when classes are added later; after `MAX_COMPARED` (100) different
        queries, () is returned for any new query.
        """
        if query not in self._near and len(self._near) < MAX_COMPARED:
            names = (
                close
                for name in dict.fromkeys(each for name in _names(query) for each in (name, _without_details(name)))
                for close in nearest(name, self._by_name, n=MAX_SUGGESTIONS, cutoff=MIN_SIMILARITY)
            )
            labels = dict.fromkeys(self._by_name[name] for name in names)
            self._near[query] = tuple(labels)[:MAX_SUGGESTIONS]
        return self._near.get(query, ())

    def question(self, query: Label) -> str:
        """Return the message that no class has the name of `query`, with a suggestion if classes have similar names."""
        near = " or ".join(_readable(label) for label in self.near(query))
        return f"'{label_text(query)}': no such class." + (f" Did you mean {near}?" if near else "")


def nearest_species(names: Sequence[str], labels: Sequence[Label]) -> list[str]:
    """Return one message per name that no class of a model has, in order, with the most similar class if there is one.

    `labels` are all classes of the model. Scientific and common names in any spelling that `KnownClasses` finds get no
    message.
    """
    scientific = {label.scientific_name for label in labels}
    unknown = [name for name in names if name not in scientific]
    known = KnownClasses(labels if unknown else ())
    lines = []
    for name in unknown:
        if known.find(Label(name, name)) is not None:
            continue
        near = known.near(Label(name, name))
        hint = f" Did you mean '{near[0].scientific_name}'?" if near else ""
        lines.append(f"'{name}' is not a class of the model.{hint}")
    return lines


def _loose_forms(name: str) -> Iterator[str]:
    """Yield loose spellings of a lower-case name: letters and digits only, with the ending `'s` as `s` and without."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    plain = plain.replace("grey", "gray").replace("\u2019", "'").replace("\u02bc", "'")
    for text in dict.fromkeys((plain.replace("'", ""), re.sub(r"'s\b", "", plain))):
        words = re.sub(r"[\W_]+", " ", text).strip()
        if words:
            yield words


def _names(query: Label) -> dict[str, None]:
    """Return the normalized names to look up for `query`, in order of precedence, as keys of a dict."""
    scientific, common = name_key(query.scientific_name), name_key(query.common_name)
    # A folder such as great_tit is read as two names.
    both = f"{scientific} {common}" if common != scientific else ""
    return dict.fromkeys(name for name in (scientific, both, common) if name)


def _without_details(name: str) -> str:
    """Remove additions in brackets or after a comma: `great tit, adult`, `parus major (male)`."""
    return re.split(r"[,(]", name, maxsplit=1)[0].strip() or name


def _readable(label: Label) -> str:
    if label.common_name in ("", label.scientific_name):
        return label.scientific_name
    return f"{label.scientific_name} ({label.common_name})"
