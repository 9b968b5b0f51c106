"""Stored detections come back as they were: every column, place and time, and the options of their own run."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from sqlalchemy import inspect, update
from sqlalchemy.exc import OperationalError
from tests.fixtures.databases import new_database
from tests.fixtures.server import running_service

from dawnchorus.formats import parquet
from dawnchorus.formats.columns import DETECTION_COLUMNS, detection_values
from dawnchorus.formats.detection_columns import iterate_rows
from dawnchorus.identification.options import Options
from dawnchorus.identification.result import build_provenance
from dawnchorus.limits import Limits
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.detection_reviews import set_verdict
from dawnchorus.server.history import DetectionStore
from dawnchorus.server.service import Service
from dawnchorus.server.settings import Settings
from dawnchorus.server.state.blobs import BlobStore
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.tables import DetectionRow, Identification
from dawnchorus.server.work import IdentifyResult
from dawnchorus.taxonomy.labels import Label
from dawnchorus.types import Detection, RecordingMetadata, RecordingTable

BIRD = Detection(
    0.0, 3.0, "Parus major", "Great Tit", "species", 0.5, in_range=False, probability=0.25, low_hz=2e3, high_hz=8e3
)
ENGINE = Detection(1.5, 4.5, "Engine", "Engine", "sound", 0.75, human_voice=True)
OPTIONS = Options(min_score=0.125, overlap_s=1.5, merge=True, latitude=52.5, longitude=13.4, week=17)


@pytest.fixture
def server(level_bundle: Bundle, tmp_path: Path) -> Iterator[tuple[httpx.Client, Service]]:
    with running_service(Settings(data=tmp_path / "server", model=level_bundle.folder)) as parts:
        yield parts


@pytest.fixture
def result(level_bundle: Bundle) -> IdentifyResult:
    metadata = RecordingMetadata(datetime(2026, 5, 1, 3, 45), 52.5, 13.4)
    table = RecordingTable("a.wav", 6.0, 16_000, metadata, 17, (BIRD, ENGINE))
    return IdentifyResult(table=table, bundle=level_bundle, warnings=(), notes=(), stage_s={})


def stored(client: httpx.Client, sha256: str, folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the table that the server makes of a stored recording."""
    reply = client.get(f"/api/v1/recordings/{sha256}/detections", params={"format": "parquet"})
    (folder / "stored.parquet").write_bytes(reply.content)
    rows: list[dict[str, Any]] = pq.read_table(folder / "stored.parquet").to_pylist()
    return rows


def test_rows_of_the_database_have_the_columns_of_the_schema() -> None:
    columns = inspect(DetectionRow).columns
    assert {column.name: not columns[column.name].nullable for column in DETECTION_COLUMNS} == {
        column.name: column.is_required for column in DETECTION_COLUMNS
    }


def test_a_stored_identification_comes_back_as_it_was(
    server: tuple[httpx.Client, Service], result: IdentifyResult, tmp_path: Path
) -> None:
    client, service = server
    (tmp_path / "a.wav").write_bytes(b"sound")
    result = replace(result, warnings=("truncated: 2 of <3> s",))
    sha256 = service.detections.store(result, tmp_path / "a.wav", name="a.wav", options=OPTIONS).sha256
    assert client.get(f"/api/v1/recordings/{sha256}").json()["warnings"] == ["truncated: 2 of <3> s"]
    assert "truncated: 2 of &lt;3&gt; s" in client.get(f"/recordings/{sha256}").text
    provenance = build_provenance(result.bundle, OPTIONS, range_filter=True)
    assert stored(client, sha256, tmp_path) == list(iterate_rows(result.table, provenance))
    metadata = pq.read_schema(tmp_path / "stored.parquet").metadata[parquet.METADATA_KEY]
    assert json.loads(metadata) == json.loads(json.dumps(asdict(provenance)))
    reply = client.get(f"/api/v1/recordings/{sha256}/detections").json()["detections"]
    for fields, detection in zip(reply, (BIRD, ENGINE), strict=True):
        assert fields.items() >= detection_values(detection).items()


def test_a_failure_is_listed_until_the_recording_is_identified(
    server: tuple[httpx.Client, Service], result: IdentifyResult, tmp_path: Path
) -> None:
    client, service = server
    path = tmp_path / "a.wav"
    path.write_bytes(b"sound")

    def listed() -> list[tuple[str, str, str | None]]:
        rows = client.get("/api/v1/recordings").json()["recordings"]
        return [(row["name"], row["state"], row["error"]) for row in rows]

    for name in ("a.wav", "b.wav"):
        service.detections.store_failure(path, name=name, reason="the decoder crashed.")
    assert listed() == [("b.wav", "failed", "the decoder crashed.")]
    service.files.sweep()
    sha256 = service.detections.store(result, path, name="c.wav", options=OPTIONS).sha256
    assert listed() == [("c.wav", "detections", None)]
    service.detections.store_failure(path, name="d.wav", reason="the decoder crashed.")
    assert listed() == [("c.wav", "detections", None)]
    assert client.get(f"/api/v1/recordings/{sha256}/audio").content == b"sound"
    again = replace(result, table=replace(result.table, detections=()))
    service.detections.store(again, path, name="c.wav", options=OPTIONS)
    assert listed() == [("c.wav", "no_detections", None)]
    assert client.get("/api/v1/detections").json()["total"] == 0


def test_tables_have_what_people_corrected(
    server: tuple[httpx.Client, Service], result: IdentifyResult, tmp_path: Path
) -> None:
    client, service = server
    (tmp_path / "a.wav").write_bytes(b"sound")
    sha256 = service.detections.store(result, tmp_path / "a.wav", name="a.wav", options=OPTIONS).sha256
    first, second = (row["id"] for row in client.get("/api/v1/detections").json()["detections"])
    with service.database.write() as session:
        set_verdict(session.get_one(DetectionRow, first), "relabeled", Label("Parus minor", "Japanese Tit"))
        set_verdict(session.get_one(DetectionRow, second), "incorrect")
    (row,) = stored(client, sha256, tmp_path)
    assert (row["scientific_name"], row["score"], row["in_range"]) == ("Parus minor", 0.5, None)
    assert (row["verdict"], row["probability"]) == ("relabeled", None)
    for output in ("csv", "raven", "audacity"):
        text = client.get(f"/api/v1/recordings/{sha256}/detections", params={"format": output}).text
        assert ("Japanese Tit" in text, "Great Tit" in text, "Engine" in text) == (True, False, False), output
    reply = client.get(f"/api/v1/recordings/{sha256}/detections").json()["detections"]
    assert [row["verdict"] for row in reply] == ["relabeled", "incorrect"], "JSON has all"
    assert [row["model_common_name"] for row in reply] == ["Great Tit", None]
    lines = client.get(f"/api/v1/recordings/{sha256}/detections", params={"format": "csv"}).text.splitlines()
    assert (lines[0].split(",")[-1], lines[1].split(",")[-1]) == ("verdict", "relabeled")


def test_audio_that_is_sent_again_takes_the_values_that_are_given(
    server: tuple[httpx.Client, Service], tone: Path
) -> None:
    client, _ = server
    fields = ("name", "recorded_at", "latitude", "longitude", "site")

    def send(**data: str) -> tuple[list[str], list[Any]]:
        name, sound, params = data.pop("name", None), tone.read_bytes(), {"store": "true", **data}
        given: dict[str, Any] = {"content": sound} if name is None else {"files": {"audio": (name, sound)}}
        reply = client.post("/api/v1/identify", params=params, **given).json()
        row = client.get(f"/api/v1/recordings/{reply['sha256']}").json()
        assert row["warnings"] == reply["warnings"]
        return reply["warnings"], [row[name] for name in fields]

    first = ["A_20260501_040000.wav", "2026-05-01T04:00:00", None, None, "A"]
    assert send(name="A_20260501_040000.wav") == ([], first)
    assert send(name="A_20260501_040000.wav") == ([], first)
    assert send() == ([], first), "without a name, the audio keeps its own"
    (*_, warning), row = send(name="B_20260501_050000.wav", lat="52.5", lon="13.4")
    assert row == ["B_20260501_050000.wav", "2026-05-01T05:00:00", 52.5, 13.4, "B"]
    assert warning == (
        "already stored as A_20260501_040000.wav; it now has the name B_20260501_050000.wav, "
        "the start time 2026-05-01T05:00:00, the location 52.5, 13.4, the site B"
    )
    (warning,), row = send(name="x.wav", site="pond")
    assert row == ["x.wav", "2026-05-01T05:00:00", 52.5, 13.4, "pond"]
    assert send(name="C_20260501_050000.wav")[1][-1] == "pond", "a site that was given stays"


def test_each_identification_has_its_own_location_and_options(
    server: tuple[httpx.Client, Service], result: IdentifyResult, tmp_path: Path
) -> None:
    client, service = server
    (tmp_path / "a.wav").write_bytes(b"sound")
    service.detections.store(result, tmp_path / "a.wav", name="a.wav", options=OPTIONS)
    table = replace(result.table, metadata=RecordingMetadata(), week=None, detections=(ENGINE,))
    again = replace(result, table=table)
    sha256 = service.detections.store(again, tmp_path / "a.wav", name="a.wav", options=Options(speech="flag")).sha256
    (row,) = stored(client, sha256, tmp_path)
    assert (row["latitude"], row["longitude"], row["week"], row["human_voice"]) == (None, None, None, True)
    lines = client.get(f"/api/v1/recordings/{sha256}/detections", params={"format": "csv"}).text.splitlines()
    assert lines[0].endswith(",human_voice"), "the run looked for voices, not for the range"


def test_a_clip_has_the_channel_that_was_scored(server: tuple[httpx.Client, Service], tmp_path: Path) -> None:
    """The channels cancel out, so that there is nothing to see in their mean."""
    client, _ = server
    left = np.tile([0.9, -0.9], 16_000)
    soundfile.write(tmp_path / "x.wav", np.column_stack([left, -left]), 16_000, subtype="FLOAT")
    given = {"content": (tmp_path / "x.wav").read_bytes(), "params": {"min_score": "0.5", "store": "true"}}
    plots = {}
    for channel in ("left", "each"):
        client.post(f"/api/v1/identify?channel={channel}", **given)
        first = client.get("/api/v1/detections").json()["detections"][0]
        plots[channel] = client.get(first["spectrogram"]).content
    assert plots["left"] == plots["each"]


def test_rows_of_an_older_version_have_the_options_that_are_known(
    server: tuple[httpx.Client, Service], result: IdentifyResult, tmp_path: Path
) -> None:
    client, service = server
    (tmp_path / "a.wav").write_bytes(b"sound")
    sha256 = service.detections.store(result, tmp_path / "a.wav", name="a.wav", options=OPTIONS).sha256
    with service.database.write() as session:
        session.execute(update(Identification).values(provenance=None))
    (row, _) = stored(client, sha256, tmp_path)
    assert (row["model"], row["bundle_id"], row["software"]) == ("level", result.bundle.id, "")
    metadata = pq.read_schema(tmp_path / "stored.parquet").metadata[parquet.METADATA_KEY]
    assert json.loads(metadata)["parameters"] == {}


def test_job_stores_all_requested_options(server: tuple[httpx.Client, Service], tmp_path: Path) -> None:
    client, _ = server
    soundfile.write(tmp_path / "x.wav", np.full(16_000, 0.5), 16_000)
    query = "background=true&overlap=0.5&lat=52.5&lon=13.4"
    job = client.post(f"/api/v1/identify?{query}", content=(tmp_path / "x.wav").read_bytes()).json()
    assert job["parameters"]["options"] == asdict(Options(overlap_s=0.5, latitude=52.5, longitude=13.4))


@pytest.fixture
def detections(tmp_path: Path) -> Iterator[DetectionStore]:
    database = new_database(tmp_path)
    yield DetectionStore(database, BlobStore(database, tmp_path / "files", cache=tmp_path, scratch=tmp_path), Limits())
    database.close()


def test_counts_wait_for_a_database_that_is_full(
    detections: DetectionStore, result: IdentifyResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: Database) -> None:
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", fail)
        detections.add_to_totals(result, BIRD)
        with pytest.raises(OperationalError):
            detections.flush()
        assert detections.totals()["total_predictions"] == 0, "totals are read all the same"
        detections.add_to_totals(result, None)
    totals = detections.totals()
    assert (totals["total_predictions"], totals["species_distribution"]) == (2, {"Great Tit": 1})
    detections.close()
    assert detections.totals()["total_predictions"] == 2, "nothing is written twice"


def test_identifications_that_are_counted_while_others_are_written_are_not_lost(
    detections: DetectionStore, result: IdentifyResult
) -> None:
    def count() -> None:
        for _ in range(250):
            detections.add_to_totals(result, BIRD)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        detections.flush()
    assert detections.totals()["total_predictions"] == 1000
