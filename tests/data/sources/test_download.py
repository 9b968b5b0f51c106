"""Downloads that are interrupted, refused or done by two at once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.fixtures.xeno_canto import KEY, Fetch, XenoCanto, running, web

from dawnchorus.data.recordings import RecordingRow, read_table
from dawnchorus.data.sources.download import claim_folder, fetch_recordings
from dawnchorus.data.sources.xeno_canto import search
from dawnchorus.storage.http_client import HttpClient


def test_the_table_has_what_is_there_when_a_fetch_is_killed(archive: XenoCanto, tmp_path: Path) -> None:
    results = [item for item in search(web(), "cnt:Spain", key=KEY, server=archive.url) if item.file_url]
    kept: list[int] = []

    def keep(rows: Sequence[RecordingRow]) -> None:
        there = {path.name for path in (tmp_path / "audio").glob("XC*.mp3")}
        assert {Path(row.path).name for row in rows} <= there
        kept.append(len(rows))
        if len(rows) >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_recordings(web(), results, tmp_path, n_workers=1, keep=keep)
    assert kept[0] == 0
    assert 5 <= kept[-1] < len(results)
    kept.clear()
    fetch_recordings(web(), results, tmp_path, n_workers=1, keep=lambda rows: kept.append(len(rows)))
    assert kept[0] >= 5
    assert kept[-1] == len(results)


def test_two_fetches_do_not_write_the_same_files(archive: XenoCanto, fetch: Fetch, tmp_path: Path) -> None:
    with claim_folder(tmp_path / "set"):
        code, _, errors = fetch(tmp_path / "set")
    assert code != 0
    assert "another dawnchorus process is downloading to it" in " ".join(errors.split())
    assert archive.n_downloads == 0


def test_a_busy_server_and_broken_connections_are_outlasted(tmp_path: Path) -> None:
    def fetched(archive: XenoCanto, folder: Path) -> dict[str, bytes]:
        with running(archive):
            patient = HttpClient(per_s=1e6, secret=KEY, sleep=lambda _seconds: None)
            wanted = search(patient, "cnt:Spain", key=KEY, server=archive.url)[:9]
            done = fetch_recordings(patient, [item for item in wanted if item.file_url], folder, n_workers=3)
        assert not done.failures
        return {path.name: path.read_bytes() for path in (folder / "audio").iterdir()}

    busy = XenoCanto(busy_every=4, break_every=3)
    assert fetched(busy, tmp_path / "busy") == fetched(XenoCanto(), tmp_path / "calm")
    assert busy.broken


def test_a_long_wait_ends_the_fetch_and_keeps_what_came(archive: XenoCanto, fetch: Fetch, tmp_path: Path) -> None:
    archive.long_wait_after = 3
    code, out, errors = fetch(tmp_path / "set", "--workers", "1", "--json")
    said, summary = " ".join(errors.split()), json.loads(out)
    assert code == 3
    assert archive.n_downloads == 4, "nothing is requested after the refusal"
    assert len(read_table(tmp_path / "set").rows) == 3
    assert "asks to wait 86400 s" in said
    assert (summary["n_failed"], summary["n_not_requested"]) == (1, 12)
    assert "the fetch ended early: not requested are 12 recordings (as XC" in said


@pytest.mark.ops
def test_five_hundred_recordings_and_five_kills(tmp_path: Path) -> None:
    rng = random.Random(3)
    data_set = tmp_path / "set"
    environment = {**os.environ, "XENO_CANTO_API_KEY": KEY}
    with running(XenoCanto(n_recordings=800, break_every=20)) as archive:
        command = [sys.executable, "-m", "dawnchorus", "fetch", "xeno-canto", "cnt:Spain", str(data_set)]
        command += ["--server", archive.url, "--limit", "500", "--license", "CC-BY", "--license", "CC-BY-SA"]
        command += ["--license", "CC-BY-NC-SA", "--license", "CC-BY-NC-ND", "--workers", "8"]
        for _ in range(5):
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rng.uniform(1.0, 2.0))
            process.send_signal(signal.SIGKILL)
            process.wait()
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    table = read_table(data_set)
    assert len(table.rows) == 500
    assert {path.name for path in (data_set / "audio").iterdir()} == {Path(row.path).name for row in table.rows}
