"""Runs: equal settings are one run."""

from __future__ import annotations

from dataclasses import replace

from dawnchorus.archive.runs import ArchiveRun, StoredRun

RUN = ArchiveRun(
    model="bands",
    model_version="1",
    bundle_id="0" * 12,
    software="dawnchorus 0",
    sample_rate_hz=16_000,
    window_s=1.0,
    overlap_s=0.0,
    min_score=0.05,
    top=10,
    analyses=("health",),
    thresholds={"Avis gravis": 0.5},
    parameters={"channel": "mean"},
)


def test_a_run_is_read_as_it_was_written() -> None:
    (row,) = RUN.to_rows().to_pylist()
    assert StoredRun.from_row(row) == StoredRun(RUN.id, RUN)


def test_every_setting_makes_another_run() -> None:
    changed = [replace(RUN, overlap_s=0.5), replace(RUN, software="dawnchorus 1"), replace(RUN, parameters={})]
    assert len({RUN.id, *(each.id for each in changed)}) == 4
    assert replace(RUN, parameters=dict(RUN.parameters)).id == RUN.id


def test_a_row_of_another_version_has_defaults_for_what_it_lacks() -> None:
    (row,) = RUN.to_rows().to_pylist()
    older = {name: value for name, value in row.items() if name not in ("parameters", "analyses")} | {"colour": "red"}
    stored = StoredRun.from_row(older)
    assert (stored.run.parameters, stored.run.analyses, stored.run.top) == ({}, (), 10)
