"""Construction of a run's score filter from its options."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dawnchorus.errors import InputError
from dawnchorus.identification.options import Options
from dawnchorus.inference.analyses.hits import ScoreFilter
from dawnchorus.models.bundle import Bundle
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label


def build_score_filter(bundle: Bundle, options: Options) -> ScoreFilter:
    """Return the score filter for a bundle and options.

    The minimum score of a class is that in the option `thresholds`, or else in the bundle, or else `min_score`; with
    the option `species`, all other classes are left out. Names that are no class of the bundle are ignored.

    Raises:
        InputError: none of the requested species is a class of the bundle, or two names of a class have different
            thresholds.
    """
    thresholds = np.full(len(bundle.labels), options.min_score, np.float32)
    known = bundle.class_by_scientific_name
    for name, value in bundle.info.thresholds.items():
        if name in known:
            thresholds[known[name]] = value
    for index, value in _thresholds_by_class(bundle, options).items():
        thresholds[index] = value
    if options.species is not None:
        indices = list(find_classes(bundle, options.species).values())
        if not indices:
            raise InputError(
                f"species list: none of its {len(options.species)} names is a class of the model "
                f"{bundle.info.name}. Names are scientific ('Parus major'), labels ('Parus major_Great Tit') or those "
                f"that the model's labels have ('Great Tit')."
            )
        others = np.ones(len(bundle.labels), bool)
        others[indices] = False
        thresholds[others] = np.inf
    return ScoreFilter(thresholds=thresholds, top=options.top)


def find_classes(bundle: Bundle, names: Iterable[str]) -> dict[str, int]:
    """Return the index of the class in the bundle's labels for each scientific or common name in `names`, by name.

    Differences in case, spacing and the like are ignored (`taxonomy.classes.KnownClasses`). Names that are no class of
    the bundle are left out; two names of a class are both in the result. A scientific name takes precedence over an
    equal common name.
    """
    names = tuple(names)
    known = bundle.class_by_scientific_name
    others = [name for name in names if name not in known]
    known_classes = KnownClasses(bundle.labels if others else ())
    classes = {name: known[name] for name in names if name in known}
    for name in others:
        label = known_classes.find(Label(name, name))
        if label is not None:
            classes[name] = known[label.scientific_name]
    return classes


def _thresholds_by_class(bundle: Bundle, options: Options) -> dict[int, float]:
    """Return the minimum scores in the options, by class index.

    Raises:
        InputError: two names of the same class have different minimum scores.
    """
    first: dict[int, str] = {}
    for name, index in find_classes(bundle, options.thresholds).items():
        other = first.setdefault(index, name)
        if options.thresholds[other] != options.thresholds[name]:
            raise InputError(
                f"thresholds: '{other}' and '{name}' are one class of the model {bundle.info.name}, but have the "
                f"scores {options.thresholds[other]:g} and {options.thresholds[name]:g}. Leave one of them out."
            )
    return {index: options.thresholds[name] for index, name in first.items()}
