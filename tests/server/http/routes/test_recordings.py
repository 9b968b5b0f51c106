"""Tables and spectrograms of stored recordings."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.server import Serve
from tests.fixtures.waiting import wait_for

from dawnchorus.limits import Limits
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.http.routes.recordings import _media_type


def test_tables_that_are_read_in_pages_are_whole_and_in_order(
    level_bundle: Bundle, serve: Serve, tmp_path: Path
) -> None:
    client = serve(model=level_bundle.folder, limits=Limits(page_rows=7))
    soundfile.write(tmp_path / "long.wav", np.full(20 * 16_000, 0.25, np.float32), 16_000, subtype="FLOAT")
    body = (tmp_path / "long.wav").read_bytes()
    assert client.post("/api/v1/identify?store=true&min_score=0.5", content=body).status_code == 200
    (recording,) = client.get("/api/v1/recordings").json()["recordings"]
    table = f"/api/v1/recordings/{recording['sha256']}/detections"
    rows = client.get(table).json()["detections"]
    assert [row["start_s"] for row in rows] == list(range(20))
    assert rows == client.get("/api/v1/detections?limit=200").json()["detections"]
    lines = client.get(f"{table}?format=raven").text.splitlines()[1:]
    assert [line.split("\t")[0] for line in lines] == [str(k + 1) for k in range(20)]
    assert [float(line.split("\t")[3]) for line in lines] == list(range(20))
    lines = client.get(f"{table}?format=audacity").text.splitlines()
    assert [float(line.split("\t")[0]) for line in lines] == list(range(20))


def test_spectrogram_is_drawn_once_and_deleted_with_its_recording(
    level_bundle: Bundle, serve: Serve, tone: Path, tmp_path: Path
) -> None:
    client = serve(model=level_bundle.folder)
    client.post("/api/v1/identify?store=true&min_score=0.5", content=tone.read_bytes())
    (recording,) = client.get("/api/v1/recordings").json()["recordings"]
    first = client.get(recording["spectrogram"])
    kept = list((tmp_path / "server").glob("spool-*/response-*"))
    assert [path.read_bytes() for path in kept] == [first.content]
    assert client.get(recording["spectrogram"]).content == first.content
    assert list((tmp_path / "server").glob("spool-*/response-*")) == kept
    assert client.delete(f"/api/v1/recordings/{recording['sha256']}").status_code == 204
    assert not list((tmp_path / "server").glob("spool-*/response-*"))
    assert client.get(recording["spectrogram"]).status_code == 404


def test_a_recording_is_identified_again_with_its_own_options(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    files = {"audio": ("SITE7_20260512_040000.wav", tone.read_bytes())}
    client.post("/api/v1/identify?store=true&min_score=0.5&merge=true&site=pond", files=files).raise_for_status()
    (detection,) = client.get("/api/v1/detections").json()["detections"]
    client.put(f"/api/v1/detections/{detection['id']}/review", json={"verdict": "correct"}).raise_for_status()
    (before,) = client.get("/api/v1/recordings").json()["recordings"]
    reply = client.post(f"/api/v1/recordings/{before['sha256']}/identify")
    assert reply.status_code == 202
    job = reply.json()
    assert (job["parameters"]["options"]["min_score"], job["parameters"]["site"]) == (0.5, "pond")
    wait_for(lambda: client.get(f"/api/v1/jobs/{job['id']}").json()["status"] == "done")
    (after,) = client.get("/api/v1/recordings").json()["recordings"]
    assert after == before
    (again,) = client.get("/api/v1/detections").json()["detections"]
    assert (again["end_s"], again["review"]["verdict"]) == (detection["end_s"], "correct"), "answers are kept"
    assert again["identification"] != detection["identification"]
    assert client.post(f"/api/v1/recordings/{'f' * 64}/identify").status_code == 404


def test_selected_recordings_are_downloaded_as_a_table_each(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    for k, name in enumerate(("a.wav", "A.wav", "b.wav")):
        sound = {"audio": (name, tone.read_bytes() + bytes(4 * k))}
        client.post("/api/v1/identify?store=true&min_score=0.5", files=sound).raise_for_status()
    client.post("/api/v1/identify?store=true", files={"audio": ("c.wav", b"no sound")})
    rows = {row["name"]: row["sha256"] for row in client.get("/api/v1/recordings").json()["recordings"]}
    chosen = [rows["a.wav"], rows["A.wav"], rows["a.wav"]]
    url = "/api/v1/recordings/download"
    for output, suffix in (("csv", ".csv"), ("raven", ".selections.txt"), ("audacity", ".labels.txt")):
        reply = client.post(url, json={"recordings": chosen, "format": output})
        assert reply.headers["content-type"] == "application/zip"
        with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
            assert archive.namelist() == [f"a.wav{suffix}", f"A.wav (2){suffix}"]
            table = client.get(f"/api/v1/recordings/{rows['a.wav']}/detections?format={output}")
            assert archive.read(f"a.wav{suffix}") == table.content
    refused = client.post(url, json={"recordings": [rows["c.wav"]]})
    assert (refused.status_code, "c.wav: expected an identified recording" in refused.json()["detail"]) == (400, True)
    assert client.post(url, json={"recordings": ["f" * 64]}).status_code == 404
    assert client.post(url, json={"recordings": chosen, "format": "word"}).status_code == 400


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x1cftyp", "audio/mp4"),
        (b"RIFF\0\0\0\0", "audio/wav"),
        (b"\xff\xfb\x90\0\0\0\0\0", "audio/mpeg"),
        (b"FORM\0\0\0\0", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_files_have_the_media_type_of_their_first_bytes(head: bytes, kind: str) -> None:
    assert _media_type(head) == kind
