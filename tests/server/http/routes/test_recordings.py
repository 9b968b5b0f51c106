"""Tables and spectrograms of stored recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from tests.fixtures.server import Serve

from dawnchorus.limits import Limits
from dawnchorus.models.bundle import Bundle


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
