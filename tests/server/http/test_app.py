"""HTTP as clients of others speak it: ranges, entity tags, OpenAPI's way to log in."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from tests.fixtures.server import Serve

from dawnchorus.models.bundle import Bundle
from dawnchorus.server.http.app import ROUTE_MODULES, ROUTER, STATIC_FOLDERS, DawnChorusAPI, RevalidatedFiles
from dawnchorus.server.settings import Role

TOKEN = "the-operators-one"  # noqa: S105 - of these tests


def test_audio_comes_in_ranges_of_the_recording_that_the_client_knows(
    level_bundle: Bundle, serve: Serve, tone: Path
) -> None:
    client, content = serve(model=level_bundle.folder), tone.read_bytes()
    client.post("/api/v1/identify?store=true", content=content)
    (recording,) = client.get("/api/v1/recordings").json()["recordings"]
    whole = client.get(recording["audio"])
    assert (whole.content, whole.headers["accept-ranges"]) == (content, "bytes")
    tag = whole.headers["etag"]
    assert tag == f'"{recording["sha256"]}"', "the same on every server of the store"
    expected = {
        "bytes=4-": content[4:],
        "bytes=-4": content[-4:],
        "bytes=0-0": content[:1],
        "bytes=100-199": content[100:200],
        f"bytes=100-{1 << 70}": content[100:],
    }
    for range_, part in expected.items():
        reply = client.get(recording["audio"], headers={"Range": range_, "If-Range": tag})
        assert (reply.status_code, reply.content) == (206, part), range_
        assert reply.headers["content-range"].endswith(f"/{len(content)}")
    for known in ('"another"', f"W/{tag}", "Fri, 01 May 2026 00:00:00 GMT"):
        reply = client.get(recording["audio"], headers={"Range": "bytes=100-199", "If-Range": known})
        assert (reply.status_code, reply.content) == (200, content), known
    several = client.get(recording["audio"], headers={"Range": "bytes=0-3,100-103"})
    assert several.headers["content-type"].startswith("multipart/byteranges")
    assert content[:4] in several.content
    assert client.get(recording["audio"], headers={"Range": f"bytes={len(content)}-"}).status_code == 416


def test_pages_never_run_scripts_of_another_version(level_bundle: Bundle, serve: Serve, tmp_path: Path) -> None:
    client = serve(model=level_bundle.folder)
    first = client.get("/static/page.js")
    assert first.headers["cache-control"] == "no-cache", "or browsers guess for how long they need not ask"
    known = {"If-None-Match": first.headers["etag"], "If-Modified-Since": first.headers["last-modified"]}
    again = client.get("/static/page.js", headers=known)
    assert (again.status_code, again.content, again.headers["cache-control"]) == (304, b"", "no-cache")
    proxied = {"If-None-Match": f'"x", W/{first.headers["etag"]}'}
    assert client.get("/static/page.js", headers=proxied).status_code == 304, "proxies that compress weaken the tag"

    script = tmp_path / "page.js"
    scope = {"type": "http", "method": "GET", "headers": [(b"if-none-match", first.headers["etag"].encode())]}
    script.write_text("// an update")
    files = RevalidatedFiles(packages=STATIC_FOLDERS)
    reply = files.file_response(script, os.stat(script), scope)
    assert (reply.status_code, reply.headers["cache-control"]) == (200, "no-cache")

    page = client.get("/").text
    for name, folder in (("report.css", "dawnchorus.reports"), ("style.css", "dawnchorus.server.http")):
        assert f"/static/{name}" in page
        assert client.get(f"/static/{name}").content == resources.files(folder).joinpath("static", name).read_bytes()
    assert client.get("/static/base.html").status_code == 404, "templates are not served"


def test_a_client_made_from_the_description_can_log_in(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder, tokens={TOKEN: Role.ADMIN})
    client.headers["Authorization"] = f"bearer  {TOKEN}"  # the scheme has no case, and may be followed by spaces
    description = client.get("/api/openapi.json").json()
    schemes = description["components"]["securitySchemes"]
    del client.headers["Authorization"]
    operations = [(path, operation) for path, methods in description["paths"].items() for operation in methods.values()]
    public = {path for path, operation in operations if "security" not in operation}
    assert public == {f"{base}/health/{state}" for base in ("/api/v1", "/v2") for state in ("live", "ready")}
    (name,) = {name for _, operation in operations for each in operation.get("security", []) for name in each}
    assert (schemes[name]["type"], schemes[name]["scheme"]) == ("http", "bearer")
    assert client.get("/api/v1/recordings").status_code == 401
    header = {"Authorization": f"{schemes[name]['scheme']} {TOKEN}"}
    assert client.get("/api/v1/recordings", headers=header).status_code == 200


def test_every_parameter_and_body_field_is_described() -> None:
    document = DawnChorusAPI(openapi_url=None, routes=list(ROUTER.routes)).openapi()
    missing = [
        (path, parameter["name"])
        for path, methods in document["paths"].items()
        for operation in methods.values()
        for parameter in operation.get("parameters", [])
        if not parameter.get("description")
    ]
    missing += [
        (name, field)
        for name, schema in document["components"]["schemas"].items()
        for field, properties in schema.get("properties", {}).items()
        if not properties.get("description")
    ]
    assert missing == []


def test_first_readers_of_the_description_at_once_get_all_of_it() -> None:
    app = DawnChorusAPI(openapi_url=None)
    for module in ROUTE_MODULES:
        app.include_router(module.router)
    switch_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            first, *others = pool.map(lambda _: app.openapi(), range(8))
    finally:
        sys.setswitchinterval(switch_s)
    assert all(other == first for other in others)


N_EXAMPLES = 100


@pytest.mark.ops
def test_replies_match_the_openapi_schema_for_any_request(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    import schemathesis
    from schemathesis.checks import CHECKS

    client = serve(model=level_bundle.folder)
    client.post("/api/v1/identify?store=true", files={"audio": (tone.name, tone.read_bytes())})
    document = client.get("/api/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.base_url = str(client.base_url).rstrip("/")
    wanted = (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    )
    checks = CHECKS.get_by_names(wanted)
    n_requests = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path.endswith("/events"):
            continue  # a stream; see test_jobs

        @settings(
            max_examples=N_EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def request_once(case: schemathesis.Case) -> None:
            nonlocal n_requests
            n_requests += 1
            case.call_and_validate(checks=checks, timeout=30)

        request_once()
    assert n_requests > 15 * N_EXAMPLES
    assert client.post("/api/predict", content=tone.read_bytes()).status_code == 200
