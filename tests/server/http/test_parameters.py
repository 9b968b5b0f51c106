"""Parameters of requests: the same in the URL and in the form, and none is passed over."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fastapi.routing import _IncludedRouter
from starlette.routing import Route
from tests.fixtures.server import Serve, running_service

from dawnchorus.limits import Limits
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.http.app import create_app
from dawnchorus.server.settings import Role, Settings

IDENTIFY = "/api/v1/identify"


def test_form_fields_mean_the_same_as_the_query(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    files = {"audio": (tone.name, tone.read_bytes())}
    fields = {"min_score": "0.5", "top": "1", "lat": "52.5", "lon": "13.4", "week": "", "merge": "true"}
    in_query = client.post(f"{IDENTIFY}?min_score=0.5&top=1&lat=52.5&lon=13.4&week=&merge=true", files=files)
    in_form = client.post(IDENTIFY, files=files, data=fields)
    in_words = {**fields, "lat": "52,5", "lon": "13.4 E"}
    in_both = client.post(f"{IDENTIFY}?top=1&min_score=0.50", files=files, data=in_words)
    assert in_form.status_code == 200, in_form.text
    assert in_form.json() == in_query.json() == in_both.json()
    (row,) = in_form.json()["detections"]
    assert (row["latitude"], row["longitude"]) == (52.5, 13.4)
    table = client.post(IDENTIFY, files=files, data={"format": "raven", "min_score": "0"}).status_code
    assert table == 400, "nearly every class, as in the URL"
    assert client.post(IDENTIFY, files=files, data={"format": "Raven"}).text.startswith("Selection\t")
    kept = client.post(IDENTIFY, files=files, data={"store": "yes"})
    assert kept.status_code == 200
    assert client.get("/api/v1/recordings").json()["total"] == 1


@pytest.mark.parametrize(
    ("query", "fields", "status", "message"),
    [
        ("?minscore=0.97", {}, 400, "parameter 'minscore': expected .*Did you mean 'min_score'?"),
        ("", {"minscore": "0.97"}, 400, "field 'minscore': expected .*Did you mean 'min_score'?"),
        ("", {"meta": '{"lat": 52.5}'}, 400, "field 'meta': expected background, channel, format, lat"),
        ("?week=20", {"week": "21"}, 400, "week: expected one value, got 20 in the URL and 21 in the form"),
        ("", {"lat": "north"}, 422, "lat: Input should be a valid number"),
        ("", {"lat": "95"}, 422, "lat: Input should be less than or equal to 90, got '95'"),
        ("?min_score=1.5", {}, 422, "min_score: Input should be less than or equal to 1, got '1.5'"),
        ("?week=49", {}, 422, "week: Input should be less than or equal to 48, got '49'"),
        ("?MIN_SCORE=0.97", {}, 400, "parameter 'MIN_SCORE': expected .*Did you mean 'min_score'?"),
        (
            "?channel=middle",
            {},
            422,
            "channel: Input should be 'mean', 'left', 'right', 'best' or 'each', got 'middle'",
        ),
        ("?lat=52.5", {}, 400, "latitude and longitude: expected both"),
        ("?top=1&top=2", {}, 400, "parameter 'top': expected one value, got 2: '1' and '2'."),
        ("?background=true&store=false", {}, 400, "store: background=true was given, so .* a job, .* got false"),
        ("?background=true", {"format": "csv"}, 400, "format: background=true was given, so .* no table, got 'csv'"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(
    query: str, fields: dict[str, str], status: int, message: str, level_bundle: Bundle, serve: Serve, tone: Path
) -> None:
    client = serve(model=level_bundle.folder)
    reply = client.post(IDENTIFY + query, files={"audio": (tone.name, tone.read_bytes())}, data=fields)
    assert reply.status_code == status, reply.text
    with pytest.raises(ValueError, match=message):
        raise ValueError(reply.json()["detail"])


def test_a_body_that_says_two_things_is_refused(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder)
    request_once, retrain = f"/v2/models/{level_bundle.info.name}/infer", "/api/v1/retrain"
    for path, body, message in (
        (
            retrain,
            b'{"require_approval": true, "require_approval": false}',
            "field 'require_approval': expected one value, got 2: True and False.",
        ),
        (
            retrain,
            b'{"require_approval": true, "\\u0072equire_approval": true}',
            "field 'require_approval': expected one value, got 2",
        ),
        (retrain, b'{"overrides": [-Infinity]}', "expected a number or null, got -Infinity"),
        (
            retrain,
            b'{"overrides": ["seed=1", "seed=2"]}',
            "overrides 'seed': expected one value, got 2: '1' and '2'.",
        ),
        (retrain, b'{"overrides": ["optimizer.lr=nan"]}', "got 'optimizer.lr=nan'"),
        (request_once, b'{"id": "1", "id": "2"}', "field 'id': expected one value, got 2"),
        (request_once, b'{"id": NaN}', "expected a number or null, got NaN"),
    ):
        reply = client.post(path, content=body, headers={"content-type": "application/json"})
        assert reply.status_code == 400, reply.text
        assert message in reply.json()["detail"]
    for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"):
        reply = client.post(
            retrain, content=b"require_approval=true&require_approval=false", headers={"content-type": kind}
        )
        assert reply.status_code == 400, reply.text
        assert f"expected a body in JSON with the Content-Type application/json, got {kind[:9]}" in reply.text
    for path in ("/api/trigger_retrain", "/api/v1/models/rollback"):
        reply = client.post(path, json={"require_approval": True})
        assert (reply.status_code, reply.json()["detail"][:16]) == (400, "expected no body")
        assert "expected no body" not in client.post(path, json={}).text
    reply = client.post("/login", data={"token": ["first secret", "second secret"]})
    assert reply.status_code == 400
    assert "field &#39;token&#39;" in reply.text or "field 'token': expected one value, got 2" in reply.text
    assert "secret" not in reply.text


def test_forms_without_a_boundary_and_encoded_parts_are_refused(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    head = b"--x\r\nContent-Disposition: form-data; Name=audio; Filename=a.wav\r\n"

    def post(header: bytes, kind: str) -> tuple[int, str]:
        body = head + header + b"\r\n" + tone.read_bytes() + b"\r\n--x--\r\n"
        reply = client.post(IDENTIFY, content=body, headers={"content-type": kind})
        return reply.status_code, reply.json().get("detail", "")

    assert post(b"content-transfer-encoding: Binary\r\n", "multipart/form-data; boundary=x") == (200, "")
    status, detail = post(b"Content-Transfer-Encoding: BASE64\r\n", "multipart/form-data; boundary=x")
    assert (status, "Content-Transfer-Encoding 'base64'. Send its bytes as they are" in detail) == (400, True)
    status, detail = post(b"", "multipart/form-data")
    assert (status, "it knows the boundary" in detail) == (400, True)


def test_every_route_refuses_parameters_that_it_does_not_read(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    files = {"audio": (tone.name, tone.read_bytes())}
    for path in ("/api/v1/detections?specis=Parus", "/api/health?x=1", "/v2?x=1"):
        reply = client.get(path)
        assert reply.status_code == 400, path
        assert "parameter '" in reply.json()["detail"], path
    assert client.post("/api/predict", files=files, data={"lat": "52.5"}).status_code == 400
    refused = client.post("/api/v1/training-data", files=files, data={"specie": "Loud Bird"})
    assert refused.status_code == 400
    assert "Did you mean 'species'?" in refused.json()["detail"]
    twice = client.post("/api/v1/training-data", files=files, data={"species": ["Loud Bird", "Quiet Bird"]})
    assert (twice.status_code, "field 'species': expected one value" in twice.text) == (400, True)
    tensor = {"name": "waveform", "shape": [1, 3], "datatype": "FP32", "data": [0, 0, 0]}
    body = {"inputs": [tensor], "outputs": [{"name": "embeddings"}]}
    reply = client.post(f"/v2/models/{level_bundle.info.name}/infer", json=body)
    assert reply.status_code == 400
    assert "outputs.0.name" in reply.json()["detail"]


def test_compressed_bodies_are_refused_before_they_are_read(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    for encoding in ("gzip", "br", "gzip, identity"):
        headers = {"Content-Encoding": encoding}
        reply = client.post(IDENTIFY, content=gzip.compress(tone.read_bytes()), headers=headers)
        assert (reply.status_code, reply.headers["accept-encoding"]) == (415, "identity")
        assert "Send it uncompressed" in reply.json()["detail"]
    plain = client.post(IDENTIFY, content=tone.read_bytes(), headers={"Content-Encoding": "identity"})
    assert plain.status_code == 200


def test_media_types_are_read_in_any_case(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    head = b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a.wav"\r\n\r\n'
    body = head + tone.read_bytes() + b"\r\n--x--\r\n"
    reply = client.post(IDENTIFY, content=body, headers={"Content-Type": "Multipart/Form-Data; boundary=x"})
    assert reply.status_code == 200, reply.text
    assert reply.json()["recording"] == "a.wav"


NAMES = [
    ("filename=\"a.wav\"; filename*=UTF-8''M%C3%B6we%20%E9%B3%A5.wav", "M\u00f6we \u9ce5.wav"),
    ("FileName*=utf-8'de'M%C3%B6we.wav; filename=a.wav", "M\u00f6we.wav"),
    ("filename*=iso-8859-1''M%F6we.wav", "M\u00f6we.wav"),
    ("filename*=\"UTF-8''20240601_013005.wav\"", "20240601_013005.wav"),
    ("filename*=UTF-8''..%2F..%2Fa%00b.wav", "ab.wav"),
    ("filename=a.wav; filename*=UTF-9''b.wav", "a.wav"),
    ("filename=a.wav; filename*=UTF-8''%FF.wav", "a.wav"),
    ("filename=\"a; filename*=UTF-8''b.wav\"", "a; filename*=UTF-8''b.wav"),
]


def test_names_of_files_are_read_as_clients_write_them(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    """RFC 8187's `filename*` comes from .NET's HttpClient, Apache HttpComponents and old requests and urllib3."""
    client = serve(model=level_bundle.folder)
    headers = {"content-type": "MULTIPART/Form-Data; Boundary=x"}
    for given, expected in NAMES:
        head = f'--x\r\ncontent-disposition: Form-Data; Name="audio"; {given}\r\ncontent-type: AUDIO/Wav\r\n\r\n'
        body = head.encode() + tone.read_bytes() + b"\r\n--x--\r\n"
        reply = client.post(IDENTIFY, content=body, headers=headers)
        assert (reply.status_code, reply.json().get("recording")) == (200, expected), (given, reply.text)


def test_two_files_are_refused_by_name(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    audio = tone.read_bytes()
    for second, expected in (("audio", "'b.wav' in 'audio'. Send a request for each"), ("photo", "'b.wav' in 'photo'")):
        reply = client.post(IDENTIFY, files=[("audio", ("a.wav", audio)), (second, ("b.wav", audio))])
        assert reply.status_code == 400
        assert (
            f"expected one file in the field 'audio', got 2: 'a.wav' in 'audio', {expected}" in reply.json()["detail"]
        )
    other = client.post(IDENTIFY, files={"Audio": ("a.wav", audio)}).json()["detail"]
    assert other == "expected a file in the field 'audio', got the fields ['Audio']. Did you mean 'audio'?"
    text = client.post(IDENTIFY, files={"audio": (None, b"a.wav")}).json()["detail"]
    assert text.startswith("expected a file in the field 'audio', got a text. Send it with a file name")
    reply = client.post(IDENTIFY, files=[("audio", (f"{k}.wav", audio)) for k in range(9)])
    assert (reply.status_code, reply.json()["detail"]) == (400, "expected at most 8 files in a request, got more.")


def test_audio_quality_over_http_equals_command_line(level_bundle: Bundle, serve: Serve, tmp_path: Path) -> None:
    client = serve(model=level_bundle.folder)
    audio = np.zeros((32_000, 2), np.float32)
    soundfile.write(tmp_path / "x.wav", audio, 16_000)
    silence = ["silence: no sample of 2.000 s is above one step of 16 bits; ignore anything that is detected in it"]
    content = {"audio": ("x.wav", (tmp_path / "x.wav").read_bytes())}
    assert client.post(IDENTIFY, files=content).json()["warnings"] == silence
    assert client.post("/api/predict", files=content).json()["warnings"] == silence
    audio[:, 1] = 0.5 * np.sin(np.arange(32_000))
    soundfile.write(tmp_path / "x.wav", audio, 16_000)
    content = {"audio": ("x.wav", (tmp_path / "x.wav").read_bytes())}
    (warning,) = client.post(IDENTIFY, files=content).json()["warnings"]
    assert "left is silent; it weakens the mean of all" in warning
    assert client.post(f"{IDENTIFY}?channel=right", files=content).json()["warnings"] == []
    (warning,) = client.post(IDENTIFY, files=content, data={"channel": "left"}).json()["warnings"]
    assert warning == "channels: left is silent, and it is the one that is read; right has more"
    assert client.post("/api/predict?channel=right", files=content).json()["warnings"] == []
    assert client.post("/api/predict", files=content, data={"channel": "left"}).json()["warnings"] == [warning]
    reply = client.post("/api/predict?channel=right", files=content, data={"channel": "left"})
    assert (reply.status_code, reply.json()["detail"]) == (
        400,
        "channel: expected one value, got right in the URL and left in the form.",
    )


def test_each_channel_is_reported_stored_shown_and_deleted(level_bundle: Bundle, serve: Serve, tmp_path: Path) -> None:
    """The channels cancel out in their mean, of which there is nothing to see or hear."""
    client = serve(model=level_bundle.folder)
    left = np.repeat([0.9, 0.6], 16_000) * np.tile([1.0, -1.0], 16_000)
    soundfile.write(tmp_path / "x.wav", np.column_stack([left, -0.9 * left]), 16_000, subtype="FLOAT")
    given = {"files": {"audio": ("x.wav", (tmp_path / "x.wav").read_bytes())}, "params": {"min_score": "0.5"}}
    reply = client.post(IDENTIFY, **given, data={"channel": "each", "store": "yes"})
    reported = [(d["start_s"], d["channel"], d["score"]) for d in reply.json()["detections"]]
    assert reported == [(0, 1, 0.9), (0, 2, 0.81), (1, 1, 0.6), (1, 2, 0.54)]
    (row,) = client.get("/api/v1/recordings").json()["recordings"]
    url = f"/api/v1/recordings/{row['sha256']}/detections"
    kept = client.get(url).json()["detections"]
    assert [(d["start_s"], d["channel"], d["score"]) for d in kept] == reported
    plots = {client.get(detection["spectrogram"]).content for detection in kept[:2]}
    assert len(plots) == 2
    assert client.get(url, params={"format": "csv"}).text.splitlines()[1].endswith(",x.wav,1")
    assert client.get(url, params={"format": "raven"}).text.splitlines()[2].split("\t")[2] == "2"
    assert '<th scope="col">channel</th>' in client.get(f"/recordings/{row['sha256']}").text
    assert client.put(f"/api/v1/detections/{kept[1]['id']}/review", json={"verdict": "correct"}).status_code == 200
    client.post(IDENTIFY, **given, data={"channel": "each", "store": "yes"})
    again = client.get(url).json()["detections"]
    assert [bool(d["review"]) for d in again] == [False, True, False, False], "a review stays with its channel"
    plain = client.post(IDENTIFY, **given, data={"channel": "left", "store": "yes"}).json()["detections"]
    assert [(d["start_s"], d.get("channel")) for d in plain] == [(0, None), (1, None)]
    assert '<th scope="col">channel</th>' not in client.get(f"/recordings/{row['sha256']}").text
    assert not client.get(url, params={"format": "csv"}).text.splitlines()[0].endswith("channel")


def test_a_location_or_a_week_without_effect_is_said(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    warnings = client.post(f"{IDENTIFY}?week=20", content=tone.read_bytes()).json()["warnings"]
    assert warnings == ["week 20 has no effect: the recording has no location. Give latitude and longitude."]
    assert client.post(IDENTIFY, content=tone.read_bytes()).json()["warnings"] == []
    (warning,) = client.post(f"{IDENTIFY}?lat=52.5&lon=13.4&week=20", content=tone.read_bytes()).json()["warnings"]
    assert warning.startswith("location and week have no effect: the range model of birdnet knows none of the classes")


def test_parameters_without_a_value_or_effect_are_named(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    files = {"audio": (tone.name, tone.read_bytes())}
    warnings = client.post(f"{IDENTIFY}?min_score=", files=files, data={"lat": " "}).json()["warnings"]
    assert warnings == ["min_score, lat: given without a value, which counts as not given."]
    (warning,) = client.post(f"{IDENTIFY}?range_threshold=0.5", files=files).json()["warnings"]
    assert warning.startswith("the range threshold 0.5 has no effect: the recording has no location.")


def test_long_recordings_are_not_stored_against_the_request(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder, limits=Limits(max_sync_s=1.0))
    reply = client.post(f"{IDENTIFY}?store=false", content=tone.read_bytes())
    assert reply.status_code == 400
    assert "longer than 1 s" in reply.json()["detail"]
    assert client.get("/api/v1/recordings").json()["total"] == 0
    assert client.post(f"{IDENTIFY}?store=false&background=false", content=tone.read_bytes()).status_code == 200


def test_other_multipart_bodies_and_cut_forms_are_refused(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    head = '--x\r\nContent-Disposition: form-data; name="audio"; filename="{}"\r\n\r\n'
    first, second = (head.format(name).encode() + tone.read_bytes() for name in ("a.wav", "b.wav"))
    body = first + b"\r\n" + second
    mixed = client.post(IDENTIFY, content=body, headers={"content-type": "Multipart/Mixed; boundary=x"})
    assert mixed.status_code == 415
    assert mixed.json()["detail"].endswith("multipart/form-data with the field 'audio', got multipart/mixed.")
    for url in (IDENTIFY, "/api/v1/training-data"):
        cut = client.post(url, content=body, headers={"content-type": "multipart/form-data; boundary=x"})
        assert (cut.status_code, "cut off after 1 whole fields, before" in cut.json()["detail"]) == (400, True)


def test_messages_name_the_field_and_the_methods(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder)
    infer = client.post(f"/v2/models/{level_bundle.info.name}/infer", json={"inputs": [{"name": "waveform"}]})
    assert "Protocol: inputs.0.shape: Field required; inputs.0.datatype: " in infer.json()["detail"]
    assert "pydantic" not in infer.text
    assert client.post("/api/v1/models/compare").json()["detail"].startswith("body: ")
    form = client.post("/api/v1/retrain", content=b"{}", headers={"content-type": "application/x-www-form-urlencoded"})
    assert "Content-Type application/json, got application/x-www-form" in form.json()["detail"]
    wrong = client.put("/api/v1/training-data")
    assert wrong.status_code == 405
    assert wrong.json()["detail"].endswith("/api/v1/training-data expects GET or POST, got PUT.")
    assert wrong.headers["allow"] == "GET, POST"


def test_time_and_location_are_said_as_on_the_command_line(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)

    def notes(url: str, name: str, **fields: str) -> list[str]:
        sentences: list[str] = client.post(url, files={"audio": (name, tone.read_bytes())}, data=fields).json()["notes"]
        return sentences

    name = "20240501T060000+0200_REC [52.5000 13.4000].wav"
    assert notes(IDENTIFY, name) == notes(IDENTIFY, name, lat="52.5", lon="13.4") == []
    for url in (IDENTIFY, "/api/predict"):
        (untimed,) = notes(url, "a.wav")
        assert untimed.startswith("no time found for 1 of 1 recording, as a.wav")
    (other,) = notes(IDENTIFY, name, lat="48.1", lon="11.5")
    assert other.endswith(f"{name}: (48.1, 11.5) is given, file name says (52.5, 13.4).")
    (other,) = notes(IDENTIFY, name, week="1")
    assert other.endswith(f"{name}: week 1 is given, file name says 2024-05-01 (week 17).")
    given = {"lat": "48.1", "lon": "11.5", "week": "1", "own_location_first": "true"}
    assert notes(IDENTIFY, name, **given) == [], "the file's own location and time are used"
    row = client.post(f"{IDENTIFY}?week=0&own_location_first=true", files={"audio": (name, tone.read_bytes())}).json()
    assert row["detections"][0]["week"] is None, "all year is no week that a file can have"
    files = {"audio": ("a.wav", tone.read_bytes())}
    row = client.post(IDENTIFY, files=files, data=given).json()["detections"][0]
    assert (row["latitude"], row["longitude"], row["week"]) == (48.1, 11.5, 1), "it has none of its own"
    schema = client.get("/api/openapi.json").json()["paths"][IDENTIFY]["post"]["responses"]["200"]
    assert "No time found" in schema["content"]["application/json"]["schema"]["properties"]["notes"]["description"]


def test_head_is_get_without_a_body(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    client.post(f"{IDENTIFY}?store=true", content=tone.read_bytes())
    (recording,) = client.get("/api/v1/recordings").json()["recordings"]
    base = f"/api/v1/recordings/{recording['sha256']}"
    paths = [
        "/",
        "/detections",
        "/metrics",
        "/api/v1/health/live",
        "/v2/health/ready",
        "/api/health",
        "/static/style.css",
    ]
    paths += [
        base,
        f"{base}/audio",
        f"{base}/spectrogram",
        f"{base}/detections?format=raven",
        "/api/v1/jobs/none/events",
    ]
    for path in paths:
        expected, reply = client.get(path), client.head(path)
        assert reply.status_code == expected.status_code, path
        assert reply.headers["content-type"] == expected.headers["content-type"], path
        assert reply.content == b"", path
    assert client.head("/api/v1/health/live", params={"x": "1"}).status_code == 400
    assert client.head("/api/predict").status_code == 405
    job = client.post(f"{IDENTIFY}?background=true", content=tone.read_bytes()).json()
    assert client.head(job["events"]).headers["content-type"].startswith("text/event-stream")
    assert 'method="HEAD",route="/api/v1/health/live",status="200"' in client.get("/metrics").text


def test_every_route_of_get_answers_head(level_bundle: Bundle, tmp_path: Path) -> None:
    with running_service(Settings(data=tmp_path / "server", model=level_bundle.folder)) as (client, service):
        routers = [route.original_router for route in create_app(service).routes if isinstance(route, _IncludedRouter)]
        routes = [route for router in routers for route in router.routes if isinstance(route, Route)]
        paths = [re.sub(r"\{[^}]*\}", "0" * 64, route.path) for route in routes if "GET" in (route.methods or ())]
        assert len(paths) > 40
        for path in sorted(set(paths)):
            expected, reply = client.get(path), client.head(path)
            assert reply.status_code == expected.status_code, path
            assert reply.headers.get("content-type") == expected.headers.get("content-type"), path
            assert reply.content == b"", path


ODD = [
    ("GET", "/api/v1/detections?since=0001-01-01T00:00:00%2B14:00", {}),
    ("GET", "/api/v1/detections?until=9999-12-31T23:59:59-14:00", {}),
    ("GET", "/api/v1/detections?since=0001-01-01T00:00:00", {}),
    ("GET", "/api/v1/detections?species=%00", {}),
    ("GET", "/api/v1/detections?limit=99999999999999999999", {}),
    ("GET", "/api/v1/detections?min_score=nan", {}),
    ("GET", "/api/v1/detections/99999999999999999999/audio", {}),
    ("GET", "/api/v1/jobs/%00", {}),
    ("GET", "/api/v1/recordings/" + "f" * 64 + "/spectrogram?end_s=nan", {}),
    ("GET", "/api/v1/recordings/" + "f" * 64 + "/audio", {"Range": "bytes=99999999999999999999999-"}),
    ("GET", "/detections?min_score=x", {}),
    ("GET", "/recordings?recorded_from=0001-01-01&recorded_to=9999-12-31", {"Accept": "text/html"}),
    ("POST", "/api/v1/retrain", {"Transfer-Encoding": "chunked"}),
    ("POST", "/api/predict", {"Origin": "http://["}),
    ("GET", "/", {"Cookie": "dawnchorus_session=\u00e9"}),
    ("POST", "/api/predict", {"X-CSRF-Token": "\u00e9", "Cookie": "dawnchorus_session=x"}),
]
"""Requests whose values no client of ours sends."""


@pytest.mark.parametrize("tokens", [{}, {"the-operators-one": Role.ADMIN}], ids=["open", "closed"])
def test_odd_values_are_refused_and_nothing_fails(tokens: dict[str, Role], level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder, tokens=tokens)
    right = {"Authorization": b"Bearer the-operators-one"}
    for method, path, headers in ODD:
        encoded = {name: value.encode("latin-1") for name, value in headers.items()}
        for more in ({}, right) if tokens else ({},):
            reply = client.request(method, path, headers={**encoded, **more})
            assert 200 <= reply.status_code < 500, (method, path, headers, reply.text)
