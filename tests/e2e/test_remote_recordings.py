"""Runs over recordings of a web server, and results in a store: as with files, whatever fails."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.fixtures.commands import Command
from tests.fixtures.object_servers import Objects, busy, forbidden, half, serving_objects
from tests.fixtures.sounds import tone

from dawnchorus.data.clips import Clips
from dawnchorus.data.prepare import prepare
from dawnchorus.data.recipes import Recipe
from dawnchorus.data.recordings import read_table
from dawnchorus.errors import InputError, OutputExistsError
from dawnchorus.formats.columns import detection_values
from dawnchorus.identification import Run, identify
from dawnchorus.identification.output_paths import RUNS_VARIABLE
from dawnchorus.models.bundle import Bundle
from dawnchorus.storage.paths import as_path
from dawnchorus.storage.stores import RETRY_VARIABLE
from dawnchorus.types import Progress
from dawnchorus.workflows import import_recordings

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings that decoders read in different ways."""
    folder = tmp_path_factory.mktemp("remote") / "My Birds"
    folder.mkdir()
    long = np.tile(tone(), 8)
    for name in ("2026-06-01_040000.wav", "b.flac", "c.mp3", "d.ogg"):
        soundfile.write(folder / name, long, RATE_HZ)
    wav = (folder / "2026-06-01_040000.wav").read_bytes()
    at = wav.index(b"data") + 4
    (folder / "e.wav").write_bytes(wav[:at] + bytes(4) + wav[at + 4 :])  # its length was never written
    (folder / "f.wav").write_bytes(wav[: len(wav) // 2])
    flac = (folder / "b.flac").read_bytes()
    (folder / "g.flac").write_bytes(flac + flac)
    guano = b"GUANO|Version: 1.0\nTimestamp: 2026-06-02T05:00:00+02:00\nLoc Position: 52.5 13.4\n"
    (folder / "h.wav").write_bytes(wav + b"guan" + len(guano).to_bytes(4, "little") + guano)
    return folder


@pytest.fixture(scope="module")
def served() -> Iterator[Objects]:
    with serving_objects() as objects:
        yield objects


@pytest.fixture
def objects(served: Objects, files: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Objects:
    served.contents = {f"/My%20Birds/{path.name}": path.read_bytes() for path in files.iterdir()}
    served.faults.clear()
    served.requests.clear()
    served.always, served.has_ranges, served.has_versions = None, True, True
    monkeypatch.setenv(RETRY_VARIABLE, "5")
    monkeypatch.setenv(RUNS_VARIABLE, str(tmp_path / "runs"))
    return served


@pytest.fixture
def out() -> str:
    """A folder of fsspec's file system in memory."""
    return f"memory://{uuid.uuid4().hex}"


def urls(objects: Objects, *names: str) -> list[str]:
    wanted = names or sorted(path.rpartition("/")[2] for path in objects.contents)
    return [f"{objects.url}/My%20Birds/{name}" for name in wanted]


def rows(run: Run) -> dict[str, list[dict[str, Any]]]:
    """Return all that a run says of each recording, by its name."""
    return {
        as_path(table.recording).name: [
            {**vars(table.metadata), "duration_s": table.duration_s},
            *map(detection_values, table.detections),
        ]
        for table in run.tables()
    }


def test_results_equal_those_of_the_files(objects: Objects, files: Path, level_bundle: Bundle) -> None:
    local = identify(sorted(files.iterdir()), model=level_bundle.folder)
    remote = identify(urls(objects), model=level_bundle.folder)
    assert rows(remote) == rows(local)
    assert len(rows(local)) == 8
    assert sorted(w.reason for w in remote.warnings) == sorted(w.reason for w in local.warnings)
    assert any("another FLAC file" in warning.reason for warning in remote.warnings)
    read = sum(int(last) - int(first) + 1 for _, r in objects.requests for first, last in [r[6:].split("-")])
    assert read < 1.6 * sum(map(len, objects.contents.values())), "nothing large is read twice"


def test_a_server_without_ranges_or_versions_serves_as_well(
    objects: Objects, files: Path, level_bundle: Bundle
) -> None:
    objects.has_ranges = objects.has_versions = False
    run = identify(urls(objects, "b.flac", "h.wav"), model=level_bundle.folder)
    assert rows(run) == rows(identify([files / "b.flac", files / "h.wav"], model=level_bundle.folder))


def test_what_passes_over_is_not_noticed(objects: Objects, files: Path, level_bundle: Bundle) -> None:
    (listed,) = (as_path(url) for url in urls(objects, "h.wav"))
    listed.stat()  # type: ignore[attr-defined]
    objects.faults.extend([busy, half, busy, None, half])
    run = identify([listed], model=level_bundle.folder)
    assert rows(run) == rows(identify(files / "h.wav", model=level_bundle.folder))
    assert not objects.faults


def test_what_stays_is_a_failure_of_one_recording_without_secrets(
    objects: Objects, level_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RETRY_VARIABLE, "0")
    host = objects.url.removeprefix("http://")
    changed = as_path(f"http://me:PASSWORD@{host}/My%20Birds/h.wav?X-Amz-Signature=SIGNED")
    changed.stat()
    objects.contents["/My%20Birds/h.wav"] += b"\0"
    vanished = as_path(*urls(objects, "e.wav"))
    vanished.stat()
    del objects.contents["/My%20Birds/e.wav"]
    given = [changed, vanished, *urls(objects, "none.wav", "b.flac")]
    run = identify(given, model=level_bundle.folder, out=tmp_path / "x.csv")
    assert list(rows(run)) == ["b.flac"]
    assert {as_path(failure.recording).name: failure.reason for failure in run.failures} == {
        "h.wav": "it was replaced while it was read. Run the same command again.",
        "none.wav": "there is no such object. Was it moved or deleted?",
        "e.wav": "there is no such object. Was it moved or deleted?",
    }
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert b"h.wav" in written
    assert b"SIGNED" not in written
    assert b"PASSWORD" not in written


def test_a_refusal_is_a_failure_that_says_what_to_check(objects: Objects, level_bundle: Bundle) -> None:
    path = as_path(*urls(objects, "b.flac"))
    path.stat()
    objects.faults.append(forbidden)
    run = identify([path], model=level_bundle.folder)
    assert [failure.reason for failure in run.failures] == [
        "the store refused access. Check the credentials, and what they may read and write."
    ]


def test_a_run_is_continued_by_url_and_version(objects: Objects, level_bundle: Bundle, tmp_path: Path) -> None:
    given = urls(objects, "b.flac", "d.ogg")
    first = identify(given, model=level_bundle.folder, out=tmp_path / "x.csv")
    signed = [f"{url}?X-Amz-Signature=new" for url in given]
    again = identify(signed, model=level_bundle.folder, out=tmp_path / "x.csv", resume=True)
    assert (first.counts.n_done, again.counts.n_done, again.counts.n_resumed) == (2, 0, 2)
    objects.contents["/My%20Birds/d.ogg"] = objects.contents["/My%20Birds/b.flac"]
    changed = identify(given, model=level_bundle.folder, out=tmp_path / "x.csv", resume=True)
    assert (changed.counts.n_done, changed.counts.n_resumed) == (1, 1)


def test_results_go_into_a_store_and_the_journal_stays_here(
    objects: Objects, level_bundle: Bundle, tmp_path: Path, out: str
) -> None:
    given = urls(objects, "b.flac", "none.wav")
    table = f"{out}/2026/results.csv"
    run = identify(given, model=level_bundle.folder, out=table)
    assert run.journal.path is not None
    assert run.journal.path.parent == tmp_path / "runs"
    local = tmp_path / "local.csv"
    identify([*map(as_path, given)], model=level_bundle.folder, out=local)
    assert as_path(table).read_bytes() == local.read_bytes()
    for suffix in (".params.json", ".failures.csv"):
        assert as_path(table + suffix).read_bytes() == local.with_name(local.name + suffix).read_bytes()
    with pytest.raises(OutputExistsError, match="it holds a finished run"):
        identify(given, model=level_bundle.folder, out=table)
    more = identify(urls(objects, "d.ogg"), model=level_bundle.folder, out=table, resume=True)
    assert (more.counts.n_resumed, more.counts.n_done) == (1, 1)
    run.journal.path.unlink()
    with pytest.raises(OutputExistsError, match=r"results\.csv: it exists already"):
        identify(given, model=level_bundle.folder, out=table)
    identify(given, model=level_bundle.folder, out=table, overwrite=True)
    assert as_path(table).read_bytes() == local.read_bytes()


def test_a_folder_in_a_store_has_a_table_for_each_recording(objects: Objects, level_bundle: Bundle, out: str) -> None:
    run = identify(urls(objects, "b.flac", "d.ogg"), model=level_bundle.folder, out=f"{out}/tables")
    assert [str(path) for path in run.written.paths] == [f"{out}/tables/b.flac.csv", f"{out}/tables/d.ogg.csv"]
    assert all(path.exists() for path in run.written.paths)


def _interrupt(progress: Progress) -> None:
    if progress.done:
        raise KeyboardInterrupt


def test_a_run_in_a_store_continues_after_an_interruption(objects: Objects, level_bundle: Bundle, out: str) -> None:
    given = urls(objects, "b.flac", "d.ogg", "c.mp3")
    with pytest.raises(KeyboardInterrupt):
        identify(given, model=level_bundle.folder, out=f"{out}/x.csv", workers=1, report=_interrupt)
    assert not as_path(f"{out}/x.csv").exists()
    run = identify(given, model=level_bundle.folder, out=f"{out}/x.csv")
    assert run.counts.n_resumed >= 1
    assert len(rows(run)) == 3


def test_the_command_line_takes_urls(objects: Objects, level_bundle: Bundle, command: Command, out: str) -> None:
    done = command("identify", *urls(objects, "b.flac"), "--model", level_bundle.folder, "--out", f"{out}/x.csv")
    assert done.returncode == 0
    assert f"Written: {out}/x.csv" in done.stderr.decode()
    assert "Kept for --resume: " in done.stderr.decode()
    assert as_path(f"{out}/x.csv").read_bytes().startswith(b"Start (s)")
    listed = command("identify", "memory://none/2026", "--model", level_bundle.folder)
    assert (listed.returncode, b"No recordings found in memory://none/2026" in listed.stderr) == (2, True)


def test_a_folder_of_a_web_server_is_refused(objects: Objects, level_bundle: Bundle) -> None:
    with pytest.raises(InputError, match="No recordings found"):
        identify(f"{objects.url}/My%20Birds/", model=level_bundle.folder)


def test_a_table_of_urls_is_imported_and_prepared_as_one_of_files(
    objects: Objects, files: Path, tmp_path: Path
) -> None:
    names = ("b.flac", "d.ogg", "none.wav")
    clips, rows_ = [], []
    for kind, paths in (("remote", urls(objects, *names)), ("local", [str(files / name) for name in names])):
        table = tmp_path / f"{kind}.csv"
        lines = (f"{path},Parus major\n" for path in paths)
        table.write_text("path,scientific_name\n" + "".join(lines))
        data_set = tmp_path / kind
        imported = import_recordings(table, data_set, layout="csv")
        rows_.append([(row.duration_s, row.content_hash, row.problems) for row in imported.rows])
        assert [row.path.rpartition("/")[2] for row in imported.rows] == list(names)
        recipe = Recipe(rate_hz=RATE_HZ, window_s=2.0)
        prepare(read_table(data_set), data_set / "clips", recipe, seed=1, n_workers=1)
        prepared = Clips(data_set / "clips")
        clips.append(np.stack([prepared.samples(k) for k in range(len(prepared))]))
    assert rows_[0] == rows_[1]
    assert rows_[0][-1] == (None, None, ("missing",))
    assert len(clips[0])
    np.testing.assert_array_equal(*clips)


def test_an_archive_keeps_recordings_by_url(objects: Objects, level_bundle: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("deltalake")
    from dawnchorus.identification.archiving import archive_recordings

    run = archive_recordings(urls(objects, "b.flac", "none.wav"), tmp_path / "kept", model=level_bundle.folder)
    assert (run.counts.n_done, run.counts.n_failed) == (1, 1)
