"""Registry of analyses of samples; other packages add theirs by entry points of the group `dawnchorus.analyses`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from dawnchorus.audio.sample_analyses import GuardedAnalysis, SampleAnalysis, check_table
from dawnchorus.errors import InputError
from dawnchorus.inference.analyses.base import Analysis, AnalyzedRecording, Tables
from dawnchorus.inference.analyses.health import HEALTH
from dawnchorus.inference.analyses.indices import INDICES
from dawnchorus.plug_ins import PlugIn
from dawnchorus.registry import Registry

_NAME_END = re.compile(r"([\w-][\w.-]*)?")
"""Allowed suffix of a table's name, which is between dots and contains no path."""


def guard_analysis(entry: Analysis, plug_in: PlugIn) -> Analysis:
    """Return a plug-in's analysis, with its functions wrapped so that errors name the plug-in; see `PlugIn.guard`.

    Raises:
        InputError: the suffix of a table's name has other characters than letters, digits, `_`, `-` and `.`, or begins
            with `.`; an empty suffix is allowed.
    """
    wrong = next((end for end in entry.tables if not isinstance(end, str) or not _NAME_END.fullmatch(end)), None)
    if wrong is not None:
        raise InputError(
            f"tables: expected ends of files' names, of letters, digits, '_', '-' and '.' or empty, got {wrong!r}."
        )
    summarize = None if entry.summarize is None else partial(_summarize_guarded, plug_in, entry.tables, entry.summarize)
    create = partial(_create_guarded, plug_in, entry.create)
    return replace(entry, create=create, summarize=summarize, plug_in=plug_in)


def _create_guarded(plug_in: PlugIn, create: Callable[[], SampleAnalysis]) -> GuardedAnalysis:
    with plug_in.guard():
        return GuardedAnalysis(plug_in, create())


def _summarize_guarded(
    plug_in: PlugIn,
    ends: tuple[str, ...],
    summarize: Callable[[Iterable[AnalyzedRecording]], Tables],
    recordings: Iterable[AnalyzedRecording],
) -> Tables:
    with plug_in.guard():
        tables = dict(summarize(recordings))
        for name, table in tables.items():
            if name not in ends:
                raise TypeError(f"expected tables by the ends of names that the analysis lists, {ends}, got {name!r}")
            check_table(table)
        return tables


ANALYSES = Registry(Analysis, (HEALTH, INDICES), noun="analysis", group="dawnchorus.analyses", guard=guard_analysis)
