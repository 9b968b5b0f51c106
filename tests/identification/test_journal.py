"""The journal of a run, on its own: what it remembers, and what it says when it cannot."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import FrozenInstanceError, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.commands import Command
from tests.fixtures.sounds import tone

from dawnchorus.audio.decode import read_mono
from dawnchorus.audio.sample_analyses import build_table
from dawnchorus.audio.write import write_recording
from dawnchorus.errors import JournalDamagedError, OutputError
from dawnchorus.identification import Options, identify
from dawnchorus.identification.journal import NO_FILE, Journal, file_version
from dawnchorus.identification.journal_records import RecordingSummary
from dawnchorus.inference.analyses.hits import HIT
from dawnchorus.inference.preparation import KeptSegments
from dawnchorus.inference.results import FailedRecording, ScoredChannel, ScoredRecording
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore
from dawnchorus.types import AudioInfo, RecordingMetadata, Segment

VERSION = (1000, 2_000_000)

INFO = AudioInfo("WAV", "PCM_16", 16_000, 1, None)


def scored(path: Path, *, speech: tuple[Segment, ...] = ()) -> ScoredRecording:
    hits = np.array([(0, 1, 0.5), (2, 0, 0.25)], HIT)
    metadata = RecordingMetadata(datetime(2026, 5, 1, 4, 30), 52.5, 13.4, "AudioMoth", "guano")
    return ScoredRecording(path, INFO, metadata, 3.0, ("truncated",), (ScoredChannel({"hits": hits}),), speech)


def contents(result: ScoredRecording) -> dict[str, object]:
    """Return every field, the hits as lists."""
    channels = [(each.channel, each.kept, each.hits.tolist()) for each in result.channels]
    return {**vars(result), "channels": channels}


def new_journal(path: Path | None = None) -> Journal:
    journal = Journal(path)
    journal.start({"min_score": 0.25})
    return journal


def test_journal_keeps_what_it_was_given(tmp_path: Path) -> None:
    first, second = (
        scored(Path("/a.wav"), speech=(Segment(0.5, 1.0), Segment(2.0, 3.25))),
        FailedRecording(Path("/b.wav"), "broken"),
    )
    with closing(new_journal(tmp_path / "run.journal")) as journal:
        journal.add(first, VERSION)
        journal.add_failure(second, VERSION)
    with closing(Journal(tmp_path / "run.journal")) as journal:
        assert journal.parameters() == {"min_score": 0.25}
        read = journal.read(first.path)
        assert isinstance(read, ScoredRecording)
        assert contents(read) == contents(first)
        assert journal.read_failure(second.path) == second.reason
        assert journal.read(second.path) is None
        assert journal.read(Path("/c.wav")) is None
        assert journal.read_summary(first.path) == RecordingSummary(
            first.path, first.metadata, ("truncated",), 1.75, kept_s=(first.duration_s,), duration_s=first.duration_s
        )
        assert journal.read_summary(second.path) is None
        assert journal.read_failure(first.path) is None
        assert journal.read_summary(Path("/c.wav")) is None
        assert journal.paths() == [first.path, second.path]


def test_journal_keeps_channels_apart() -> None:
    """The second has no hits, and the third keeps a part of the recording only."""
    one = scored(Path("/a.wav"))
    hits = one.channels[0].hits
    cut = KeptSegments((Segment(0.5, 1.0), Segment(2.0, 2.25)), is_whole=False)
    three = replace(one, channels=(ScoredChannel({"hits": hits}, channel=1),
                                   ScoredChannel({"hits": hits[:0]}, channel=2),
                                   ScoredChannel({"hits": hits[1:]}, cut, 3)))  # fmt: skip
    with closing(new_journal()) as journal:
        journal.add(three, VERSION)
        read, note = journal.read(one.path), journal.read_summary(one.path)
        assert isinstance(read, ScoredRecording)
        assert isinstance(note, RecordingSummary)
        assert contents(read) == contents(three)
        assert note.kept_s == (3.0, 3.0, 0.75)


def test_older_journal_has_the_names_of_today() -> None:
    journal = Journal(None)
    journal.start({"turns": 3, "top": 1})
    assert journal.parameters() == {"tta_shifts": 3, "top": 1}


def test_older_journal_is_read_and_continued(tmp_path: Path) -> None:
    first, second = scored(Path("/a.wav")), scored(Path("/b.wav"))
    with closing(new_journal(tmp_path / "run.journal")) as journal:
        journal.add(first, VERSION)
    with closing(sqlite3.connect(tmp_path / "run.journal")) as database, database:
        database.execute("ALTER TABLE recordings RENAME COLUMN summary TO about")
        database.execute("UPDATE recordings SET about = replace(about, '\"metadata\"', '\"origin\"')")
    with closing(Journal(tmp_path / "run.journal")) as journal:
        journal.add(second, VERSION)
        for expected in (first, second):
            read = journal.read(expected.path)
            assert isinstance(read, ScoredRecording)
            assert contents(read) == contents(expected)


def test_journal_of_a_new_run_is_empty() -> None:
    with closing(Journal(None)) as journal:
        assert journal.parameters() is None
        assert journal.earlier_layout() is None
        assert journal.paths() == []
        assert journal.replaced is None


def test_journal_that_starts_again_forgets_everything() -> None:
    with closing(new_journal()) as journal:
        journal.add(scored(Path("/a.wav")), VERSION)
        journal.note_output("a.csv", "signature", digest="d1")
        journal.start({"min_score": 0.5})
        assert journal.parameters() == {"min_score": 0.5}
        assert journal.output_signature("a.csv") is None
        assert journal.paths() == []


def test_journal_notes_outputs() -> None:
    with closing(new_journal()) as journal:
        assert journal.output_signature("a.csv") is None
        journal.note_output("a.csv", "first", digest="d1")
        journal.note_output("caf\udce9.csv", "other", digest="d2")
        assert journal.output_signature("a.csv") == "first"
        journal.note_output("a.csv", "second", digest="d3")
        assert journal.output_signature("a.csv") == "second"
        journal.forget_output("a.csv")
        assert journal.output_signature("a.csv") is None
        assert journal.output_signature("caf\udce9.csv") == "other"


def test_recording_is_done_while_its_file_is_the_same() -> None:
    path = Path("/a.wav")
    with closing(new_journal()) as journal:
        assert not journal.is_done(path, VERSION)
        assert not journal.is_done(path, NO_FILE)
        journal.add_failure(FailedRecording(path, "broken"), VERSION)
        assert not journal.is_done(path, VERSION)
        journal.add(scored(path), VERSION)
        assert journal.is_done(path, VERSION)
        assert journal.is_done(path, NO_FILE), "a drive that is away"
        assert not journal.is_done(path, (VERSION[0] + 1, VERSION[1]))
        assert not journal.is_done(path, (VERSION[0], VERSION[1] + 1))


def test_version_of_a_scored_recording_is_that_of_its_file() -> None:
    path = Path("/a.wav")
    with closing(new_journal()) as journal:
        assert journal.scored_version(path) is None
        journal.add_failure(FailedRecording(path, "broken"), VERSION)
        assert journal.scored_version(path) is None
        journal.add(scored(path), VERSION)
        assert journal.scored_version(path) == VERSION


def test_root_is_that_of_the_start() -> None:
    with closing(Journal(None)) as journal:
        assert journal.root is None
        journal.start({}, root="/a")
        journal.add(scored(Path("/a/b/x.wav")), VERSION)
        assert journal.root == "/a"
        journal._db.execute("DELETE FROM run WHERE key = 'root'")
        assert journal.root == str(Path("/a/b").absolute()), "as a version that was killed at its start left it"


@pytest.mark.parametrize("elsewhere", ["a", "z"])
def test_relative_paths_are_kept_where_they_mean_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: str
) -> None:
    for name in ("m", elsewhere):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "m")
    with closing(new_journal(tmp_path / "journal")) as journal:
        journal.add(scored(Path("x.wav")), VERSION)
        assert journal.paths() == [Path("x.wav")]
        monkeypatch.chdir(tmp_path / elsewhere)
        assert journal.read(Path("x.wav")) is not None, "a run is not lost with its folder"
    with closing(Journal(tmp_path / "journal")) as journal:
        assert journal.paths() == [tmp_path / "m" / "x.wav"]


def test_journal_is_used_by_several_threads() -> None:
    with closing(new_journal()) as journal, ThreadPoolExecutor(1) as pool:
        pool.submit(journal.add, scored(Path("/a.wav")), VERSION).result()
        assert pool.submit(journal.paths).result() == [Path("/a.wav")]


def test_odd_letters_of_reasons_and_warnings_are_printable() -> None:
    with closing(new_journal()) as journal:
        journal.add_failure(FailedRecording(Path("/a.wav"), "caf\udce9.wav: broken"), VERSION)
        assert journal.read_failure(Path("/a.wav")) == "caf\\udce9.wav: broken"


def test_version_is_size_and_time_of_a_file(tmp_path: Path) -> None:
    assert file_version(tmp_path / "none.wav") == NO_FILE
    (tmp_path / "a.wav").write_bytes(b"123")
    assert file_version(tmp_path / "a.wav") == (3, (tmp_path / "a.wav").stat().st_mtime_ns)


def test_journal_that_cannot_be_made_says_where(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"none.run\.journal: cannot write the journal of this run \(unable to open"):
        Journal(tmp_path / "none" / "run.journal")


def test_temporary_journal_that_fails_says_so() -> None:
    journal = Journal(None)
    journal.close()
    with pytest.raises(JournalDamagedError, match="temporary files: the journal of this run is damaged"):
        journal.parameters()


def test_file_that_is_no_journal_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "run.journal").write_bytes(b"no database " * 100)
    with pytest.raises(JournalDamagedError, match=r"run\.journal: the journal of this run is damaged \(file is not a"):
        Journal(tmp_path / "run.journal")


def test_journal_with_a_broken_page_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"
    with closing(new_journal(path)) as journal:
        for k in range(200):
            journal.add(scored(Path(f"/{k}.wav")), VERSION)
    content = bytearray(path.read_bytes())
    content[5 * 4096 : 6 * 4096] = bytes(4096)
    path.write_bytes(content)
    with pytest.raises(JournalDamagedError, match=r"Start again with --overwrite \(in Python: .*; the damaged file is"):
        Journal(path)


def test_journal_of_an_older_version_lacks_speech() -> None:
    with closing(new_journal()) as journal:
        journal.add(scored(Path("/a.wav")), VERSION)
        journal._db.execute("UPDATE recordings SET summary = json_remove(summary, '$.speech')")
        read, note = journal.read(Path("/a.wav")), journal.read_summary(Path("/a.wav"))
        assert isinstance(read, ScoredRecording)
        assert isinstance(note, RecordingSummary)
        assert (read.speech, note.speech_s) == ((), 0)
        with pytest.raises(FrozenInstanceError):
            note.speech_s = 1.0  # type: ignore[misc]


def test_journal_that_is_refused_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.journal").write_bytes(b"no database " * 100)
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def remembered(*arguments: object, **more: object) -> sqlite3.Connection:
        opened.append(connect(*arguments, **more))  # type: ignore[call-overload]
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", remembered)
    with pytest.raises(JournalDamagedError):
        Journal(tmp_path / "run.journal")
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


def test_a_journal_of_an_older_version_is_resumed(tmp_path: Path) -> None:
    """The version of 2026-11-27 wrote it: a run of each channel by itself, and options that came later than others."""
    stored = Path(__file__).parents[1] / "formats" / "stored" / "run.sqlite"
    path = Path(shutil.copy(stored, tmp_path / "run.journal"))
    options = Options(species=("Parus major",), tta_shifts=2, channel="each")
    with closing(Journal(path)) as journal:
        expected = {"bundle_id": "0123456789ab", "activation": "sigmoid", **options.scoring()}
        assert journal.parameters() == json.loads(json.dumps(expected))
        assert journal.paths() == [Path("/data/a.wav"), Path("/data/b.wav")]
        assert (journal.root, journal.earlier_layout(), journal.earlier_tables()) == ("/data", None, set())
        assert journal.is_done(Path("/data/a.wav"), (100, 5))
        assert journal.read_failure(Path("/data/b.wav")) == "it is damaged"
        result = journal.read(Path("/data/a.wav"))
        assert isinstance(result, ScoredRecording)
        assert contents(result)["channels"] == [
            (1, KeptSegments(), [(0, 1, 0.875), (1, 0, 0.25)]),
            (2, KeptSegments((Segment(0.0, 30.0),), is_whole=False), [(0, 1, 0.875)]),
        ]
        assert (result.info.n_channels, result.speech) == (2, (Segment(1.0, 2.0),))
        assert result.metadata == RecordingMetadata(datetime(2026, 5, 1, 3, 45), 52.5, 13.4)
        journal.add(result, VERSION)
        assert journal.is_done(Path("/data/a.wav"), VERSION)


def test_rows_are_in_the_journal_with_the_recording_that_they_are_of(tmp_path: Path) -> None:
    table = build_table({"level_dbfs": [-20.5, float("nan")], "verdict": ["ok", "stumm"]})
    recording = ScoredRecording(
        path=Path("/a.wav"),
        info=AudioInfo("WAV", "PCM_16", 16_000, 1, 100),
        metadata=RecordingMetadata(),
        duration_s=1.0,
        warnings=(),
        channels=(ScoredChannel({"hits": np.empty(0, HIT)}),),
        tables={"health": table},
    )
    with closing(Journal(tmp_path / "run.journal")) as journal:
        journal.start({})
        journal.add(recording, NO_FILE)
        assert journal.read_analysis(recording.path, "indices") is None
        read = journal.read_analysis(recording.path, "health")
        assert read is not None
        assert read.tobytes() == table.tobytes()
        journal.add_failure(FailedRecording(recording.path, "gone"), NO_FILE)
        assert journal.read_analysis(recording.path, "health") is None


def test_a_journal_from_before_there_were_analyses_opens(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"
    with closing(Journal(path)) as journal:
        journal.start({"min_score": 0.25})
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE analyses")
    with closing(Journal(path)) as journal:
        assert journal.parameters() == {"min_score": 0.25}
        assert journal.read_analysis(Path("/a.wav"), "health") is None


N_FILES, N_KILLS = 200, 10

KILLED = """
import os, signal, sys
from dawnchorus.identification import identify

def kill(progress):
    if progress.done - progress.metrics["n_resumed"] >= int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)

identify(
    sys.argv[1], model=sys.argv[2], out=sys.argv[3], workers=2, analyses=["health", "indices"], report=kill
)
"""
"""A run that is killed as soon as so many recordings are done."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, dawn: Path) -> Path:
    """Six-second pieces of the dawn chorus, one of them broken."""
    folder = tmp_path_factory.mktemp("many")
    samples, rate_hz = read_mono(dawn)
    rng = np.random.default_rng(5)
    for k in range(N_FILES - 1):
        start = int(rng.integers(0, len(samples) - 6 * rate_hz))
        write_recording(folder / f"{k:03d}.wav", samples[start : start + 6 * rate_hz], rate_hz=rate_hz)
    (folder / "broken.wav").write_text("no sound")
    return folder


def test_identify_resumes_after_sigkill(tmp_path: Path, level_bundle: Bundle) -> None:
    recordings, out = tmp_path / "sounds", tmp_path / "killed.csv"
    recordings.mkdir()
    for k in range(12):
        write_recording(recordings / f"{k:02d}.wav", tone(seconds=2 + k % 3, level=0.3 + 0.05 * k), rate_hz=16_000)
    (recordings / "broken.wav").write_text("no sound")
    analyses = ("health", "indices")
    identify(recordings, model=level_bundle.folder, out=tmp_path / "whole.csv", analyses=analyses)
    before = set(Path("/dev/shm").glob("dawnchorus-*"))
    for n in (1, 2, 4):
        killed = subprocess.run([sys.executable, "-c", KILLED, recordings, level_bundle.folder, out, str(n)])
        assert killed.returncode == -signal.SIGKILL
        assert not out.exists()
    run = identify(recordings, model=level_bundle.folder, out=out, analyses=analyses)
    assert run.counts.n_resumed >= 5
    for end in (".csv", ".health.csv", ".health.recorders.csv", ".indices.csv"):
        assert (tmp_path / f"killed{end}").read_bytes() == (tmp_path / f"whole{end}").read_bytes()
    assert b"broken.wav" in (tmp_path / "killed.csv.failures.csv").read_bytes()
    left = {path.name for path in tmp_path.iterdir() if path.name.startswith((".killed.csv.lock", ".killed.csv.part"))}
    assert not left
    assert not {path for path in set(Path("/dev/shm").glob("dawnchorus-*")) - before if "spool" not in path.name}


@pytest.mark.ops
def test_ten_kills_lose_nothing(folder: Path, tmp_path: Path, command: Command, store: ModelStore) -> None:
    store.open("birdnet")
    begin = time.monotonic()
    undisturbed = command("identify", folder, "--out", tmp_path / "whole.csv", "-q")
    elapsed_s = time.monotonic() - begin
    assert undisturbed.returncode == 3
    rng = np.random.default_rng(7)
    out = tmp_path / "killed.csv"
    arguments = [sys.executable, "-m", "dawnchorus", "identify", str(folder), "--out", str(out), "-q"]
    environment = {**os.environ, "DAWNCHORUS_MODELS": str(store.folder)}
    n_killed = 0
    for _ in range(5 * N_KILLS):
        process = subprocess.Popen(arguments, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(rng.uniform(0.2, 0.7) * elapsed_s)
        if process.poll() is None and not out.exists():
            os.killpg(process.pid, signal.SIGKILL)
            n_killed += 1
        process.wait()
        if out.exists():
            for path in (*tmp_path.glob("killed.csv*"), tmp_path / ".killed.csv.journal"):
                path.unlink()  # a run that was quicker than its killer: begin again
            elapsed_s *= 0.8
        if n_killed == N_KILLS:
            break
    assert n_killed == N_KILLS
    assert command(*arguments[3:]).returncode == 3
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert b"broken.wav" in (tmp_path / "killed.csv.failures.csv").read_bytes()
    assert not list(tmp_path.glob(".*.part"))
