"""Runs begun by an earlier version are resumed, and their tables equal those of an undisturbed run."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.fixtures.sounds import tone

from dawnchorus.audio.write import write_recording
from dawnchorus.identification import identify
from dawnchorus.models.bundle import Bundle
from dawnchorus.types import Progress

RUN = "CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;"
RECORDINGS = """
CREATE TABLE recordings (
    path BLOB PRIMARY KEY, given BLOB NOT NULL, size INTEGER, mtime_ns INTEGER, status TEXT NOT NULL, reason TEXT,
    duration_s REAL, {summary} TEXT, hits BLOB{more}
) STRICT;
"""
IN_TABLE = ", in_table INTEGER NOT NULL DEFAULT 0"
OUTPUTS = "CREATE TABLE outputs (path BLOB PRIMARY KEY, signature TEXT NOT NULL) STRICT;"
ANALYSES = """
CREATE TABLE analyses (path BLOB NOT NULL, name TEXT NOT NULL, rows TEXT NOT NULL, PRIMARY KEY (path, name)) STRICT;
"""


@dataclass(frozen=True)
class Version:
    """Tables of a version's journals, and what its names were."""

    schema: str
    summary: str = "summary"
    metadata: str = "metadata"
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Names of parameters that are others now."""


VERSIONS = {
    "tables are notes of the whole run": Version(
        RUN + RECORDINGS.format(summary="about", more=IN_TABLE), "about", "origin", {"tta_shifts": "turns"}
    ),
    "analyses of samples": Version(
        RUN + RECORDINGS.format(summary="about", more=IN_TABLE) + ANALYSES, "about", "origin"
    ),
    "a signature for each output": Version(RUN + RECORDINGS.format(summary="summary", more="") + OUTPUTS + ANALYSES),
}


def rewrite(path: Path, version: Version) -> None:
    """Turn the journal at `path` into one of another version."""
    new = path.with_name("older")
    with closing(sqlite3.connect(new, isolation_level=None)) as older:
        older.executescript(version.schema)
        older.execute("ATTACH ? AS today", [str(path)])
        names = "path, given, size, mtime_ns, status, reason, duration_s, hits"
        older.execute(
            f"INSERT INTO recordings ({names}, {version.summary})"  # noqa: S608 - names of ours
            f" SELECT {names}, replace(summary, '\"metadata\":', '\"{version.metadata}\":') FROM today.recordings"
        )
        for table, columns in (("run", "key, value"), ("outputs", "path, signature"), ("analyses", "path, name, rows")):
            if f"CREATE TABLE {table} " in version.schema:
                older.execute(f"INSERT INTO {table} SELECT {columns} FROM today.{table}")  # noqa: S608
        (text,) = older.execute("SELECT value FROM run WHERE key = 'parameters'").fetchone()
        parameters = {version.parameters.get(name, name): value for name, value in json.loads(text).items()}
        older.execute("UPDATE run SET value = ? WHERE key = 'parameters'", [json.dumps(parameters)])
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    new.replace(path)


def stop(progress: Progress) -> None:
    """Interrupt a run when two recordings are done."""
    if progress.metrics["n_done"] == 2:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings."""
    folder = tmp_path_factory.mktemp("sounds")
    for k in range(3):
        write_recording(folder / f"{k}.wav", tone(seconds=1 + k, level=0.3 + k / 10), rate_hz=16_000)
    return folder


@pytest.fixture(scope="module")
def undisturbed(sounds: Path, level_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of a run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "out.csv"
    identify(sounds, model=level_bundle.folder, out=out, tta_shifts=2, analyses=["health"])
    return out


@pytest.mark.parametrize("version", VERSIONS.values(), ids=list(VERSIONS))
def test_a_run_of_an_earlier_version_is_resumed(
    version: Version, sounds: Path, undisturbed: Path, level_bundle: Bundle, tmp_path: Path
) -> None:
    """Interrupted by the user, and added to when it was finished."""
    out, journal = tmp_path / "out.csv", tmp_path / ".out.csv.journal"
    analyses = ["health"] if ANALYSES in version.schema else []
    with pytest.raises(KeyboardInterrupt):
        identify(sounds, model=level_bundle.folder, out=out, tta_shifts=2, analyses=analyses, workers=1, report=stop)
    rewrite(journal, version)
    run = identify(sounds, model=level_bundle.folder, out=out, tta_shifts=2, analyses=analyses)
    assert (run.counts.n_resumed, run.counts.n_done) == (2, 1)
    assert out.read_bytes() == undisturbed.read_bytes()
    for name in ("out.health.csv", "out.health.recorders.csv"):
        assert not analyses or (tmp_path / name).read_bytes() == undisturbed.with_name(name).read_bytes()
    assert run.warnings == ()
    run.journal.close()
    rewrite(journal, version)
    again = identify(sounds, model=level_bundle.folder, out=out, tta_shifts=2, analyses=analyses, resume=True)
    assert (again.counts.n_resumed, again.counts.n_done) == (3, 0)
    assert out.read_bytes() == undisturbed.read_bytes()
    assert again.warnings == ()
