"""Stored training data."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fixtures.databases import new_database
from tests.fixtures.server import Serve
from tests.fixtures.uploads import make_audio, upload

from dawnchorus.audio.decoder_pool import DecoderPool
from dawnchorus.data.recordings import read_table
from dawnchorus.limits import Limits
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.state.blobs import BlobStore
from dawnchorus.server.state.job_queue import JobQueue
from dawnchorus.server.state.tables import LabeledRecording
from dawnchorus.server.training.data import TrainingData


def test_same_audio_is_stored_once_and_can_be_relabeled(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder)
    assert upload(client, ("a.wav", make_audio()), species="Avis magna") == {"a.wav": ("accepted", "Loud Bird")}
    assert upload(client, ("again.wav", make_audio()), species="Loud Bird") == {"again.wav": ("duplicate", "Loud Bird")}
    assert upload(client, ("a.wav", make_audio()), species="Quiet Bird") == {"a.wav": ("accepted", "Quiet Bird")}
    (row,) = client.get("/api/v1/training-data").json()["species"]
    assert (row["common_name"], row["n_recordings"]) == ("Quiet Bird", 1)


def test_labels_that_differ_in_case_and_spaces_are_one_class(tmp_path: Path) -> None:
    """Also those that were stored before names were compared."""
    database = new_database(tmp_path)
    with database.write() as session:
        for k, name in enumerate(("Nova avis", "nova  Avis")):
            session.add(
                LabeledRecording(
                    sha256=f"{k}", name="x", n_bytes=1, duration_s=1.0, rate_hz=1, scientific_name=name, source="upload"
                )
            )
    files = BlobStore(database, tmp_path / "files", cache=tmp_path / "cache", scratch=tmp_path)
    (row,) = TrainingData(database, files, Limits(), decoders=DecoderPool(1, n_kept=1)).count_by_species()
    assert (row.scientific_name, row.n_recordings, row.duration_s) == ("Nova avis", 2, 2.0)
    database.close()


def test_reviewed_detection_becomes_training_data_and_can_change(
    level_bundle: Bundle, serve: Serve, tone: Path
) -> None:
    client = serve(model=level_bundle.folder)
    client.post("/api/v1/identify?store=true&min_score=0.7", files={"audio": (tone.name, tone.read_bytes())})
    page = client.get("/api/v1/detections").json()
    assert page["total"] == 3
    first, second, third = (row["id"] for row in page["detections"])
    assert client.put(f"/api/v1/detections/{first}/review", json={"verdict": "correct"}).status_code == 200
    said = {"verdict": "relabeled", "species": "Avis mgna"}
    refused = client.put(f"/api/v1/detections/{second}/review", json=said)
    assert refused.status_code == 400
    assert "Did you mean Avis magna (Loud Bird)?" in refused.json()["detail"]
    assert refused.json()["suggestions"] == ["Avis magna_Loud Bird"]
    said = {"verdict": "relabeled", "species": "Avis nova_New Bird", "new_class": True}
    assert client.put(f"/api/v1/detections/{second}/review", json=said).json()["common_name"] == "New Bird"
    assert client.put(f"/api/v1/detections/{third}/review", json={"verdict": "incorrect"}).status_code == 200
    balance = {row["common_name"]: row["n_recordings"] for row in client.get("/api/v1/training-data").json()["species"]}
    assert balance == {"Quiet Bird": 1, "New Bird": 1, "no species, or unknown": 1}
    assert client.get("/api/v1/detections?reviewed=false").json()["total"] == 0
    client.put(f"/api/v1/detections/{second}/review", json={"verdict": "correct"})
    client.delete(f"/api/v1/detections/{third}/review")
    balance = {row["common_name"]: row["n_recordings"] for row in client.get("/api/v1/training-data").json()["species"]}
    assert balance == {"Quiet Bird": 2}
    for body, status in (
        ({"verdict": "relabeled"}, 400),
        ({"verdict": "correct", "species": "x"}, 400),
        ({"verdict": "maybe"}, 422),
        ({}, 422),
    ):
        assert client.put(f"/api/v1/detections/{first}/review", json=body).status_code == status
    assert client.put("/api/v1/detections/999999/review", json={"verdict": "correct"}).status_code == 404
    # the sound is forgotten; what was learned of it stays
    sha256 = client.get("/api/v1/recordings").json()["recordings"][0]["sha256"]
    assert client.delete(f"/api/v1/recordings/{sha256}").status_code == 204
    assert client.get("/api/v1/detections").json()["total"] == 0
    assert client.get(f"/api/v1/recordings/{sha256}/audio").status_code == 404
    assert client.get("/api/v1/training-data").json()["total"] == 2


def test_a_snapshot_does_not_change_with_what_comes_later(tmp_path: Path, level_bundle: Bundle) -> None:
    database = new_database(tmp_path)
    decoders = DecoderPool(1, n_kept=1)
    files = BlobStore(database, tmp_path / "files", cache=tmp_path / "cache", scratch=tmp_path)
    labeled_files = TrainingData(database, files, Limits(), decoders=decoders)

    def upload_files(name: str, level: float) -> None:
        folder = tmp_path / name
        folder.mkdir()
        path = folder / "upload"
        path.write_bytes(make_audio(level))
        labeled_files.add_files(
            folder, {"species": "Loud Bird"}, [(name, path)], level_bundle.labels, max_bytes=1 << 20
        )

    upload_files("a.wav", 0.1)
    (tmp_path / "job").mkdir()
    job = JobQueue(database, worker_id="one").add("retrain", {})
    before = labeled_files.snapshot(tmp_path / "job", job.id).rows
    upload_files("b.wav", 0.2)
    assert read_table(tmp_path / "job").rows == before
    assert len(before) == 1
    decoders.close()
    database.close()


def test_upload_lists_each_file_once_with_a_relative_data_folder(
    tmp_path: Path, level_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    database = new_database(tmp_path)
    decoders = DecoderPool(1, n_kept=1)
    store = BlobStore(database, tmp_path / "files", cache=tmp_path / "cache", scratch=tmp_path)
    data = TrainingData(database, store, Limits(), decoders=decoders)
    folder = Path("upload")
    folder.mkdir()
    files = {"a.wav": make_audio(0.1), "b.wav": make_audio(0.2), "labels.csv": b"path,species\na.wav,Avis magna\n"}
    for k, content in enumerate(files.values()):
        (folder / f"{k}").write_bytes(content)
    sent = [(name, folder / f"{k}") for k, name in enumerate(files)]
    result = data.add_files(folder, {}, sent, level_bundle.labels, max_bytes=1 << 20)
    assert [(each.name, each.status, each.reason) for each in result.files] == [
        ("a.wav", "accepted", None),
        ("b.wav", "rejected", "the csv does not name it"),
    ]
    decoders.close()
    database.close()


def test_what_is_said_survives_another_listening_and_other_recordings(
    level_bundle: Bundle, serve: Serve, tone: Path
) -> None:
    client = serve(model=level_bundle.folder)

    def listen(body: bytes) -> None:
        client.post("/api/v1/identify?store=true&min_score=0.7", files={"audio": (tone.name, body)})

    listen(tone.read_bytes())
    for row in client.get("/api/v1/detections").json()["detections"]:
        client.put(f"/api/v1/detections/{row['id']}/review", json={"verdict": "correct"})
    listen(tone.read_bytes())
    again = client.get("/api/v1/detections?reviewed=true").json()
    assert again["total"] == 3
    assert client.get("/api/v1/training-data").json()["total"] == 3
    client.put(f"/api/v1/detections/{again['detections'][0]['id']}/review", json={"verdict": "incorrect"})
    assert client.get("/api/v1/training-data").json()["total"] == 3, "another word replaces the first"
    # the recording goes; numbers of its detections are not given to others, so nothing is said of those
    upload(client, ("same.wav", tone.read_bytes()), species="Quiet Bird")
    sha256 = client.get("/api/v1/recordings").json()["recordings"][0]["sha256"]
    client.delete(f"/api/v1/recordings/{sha256}")
    listen(make_audio(0.2, 3))
    new = client.get("/api/v1/detections").json()["detections"]
    assert not {row["id"] for row in new} & {row["id"] for row in again["detections"]}
    for row in new:
        client.delete(f"/api/v1/detections/{row['id']}/review")
    assert client.get("/api/v1/training-data").json()["total"] == 4
