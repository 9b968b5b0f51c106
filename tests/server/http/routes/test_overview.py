"""The overview as a page without scripts, as JSON, and as a stream of changes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import httpx2 as httpx
import pytest
from tests.fixtures.server import running
from tests.fixtures.waiting import wait_for

from dawnchorus.models.bundle import Bundle
from dawnchorus.server.http.routes.overview import OverviewFilter
from dawnchorus.server.settings import Settings


@pytest.fixture(scope="module")
def client(level_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of one server for the tests of this module, in any order."""
    settings = Settings(data=tmp_path_factory.mktemp("overview") / "server", model=level_bundle.folder)
    with running(settings) as opened:
        yield opened


@pytest.fixture
def new_client(level_bundle: Bundle, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a server without recordings."""
    with running(Settings(data=tmp_path / "server", model=level_bundle.folder)) as opened:
        yield opened


def test_the_page_counts_what_is_stored_and_what_is_only_predicted(new_client: httpx.Client, tone: Path) -> None:
    client = new_client
    empty = client.get("/overview").text
    assert "No recordings yet." in empty
    assert '<a href="/overview" aria-current="page">Overview</a>' in empty
    stored = client.post(
        "/api/v1/identify?store=true&site=Pond", files={"audio": ("SITE7_20260512_040000.wav", tone.read_bytes())}
    )
    client.post("/api/predict", content=tone.read_bytes())
    client.post("/api/v1/identify?store=true", files={"audio": ("broken.wav", b"no sound")})
    # what is not stored is counted within a tenth of a second
    both = re.compile('.*<tr data-name="Quiet Bird" data-value="2">.*', re.DOTALL)
    page = wait_for(lambda: both.fullmatch(client.get("/overview").text))[0]
    assert "style=" not in page, "the policy for contents refuses it"
    for path in re.findall(r'(?:href|src)="(/static/[^"]+)"', page):
        assert client.get(path).status_code == 200, path
    assert '<a href="/detections?recorded_from=2026-05-12&amp;recorded_to=2026-05-12">12 May 2026</a>' in page
    assert page.count('class="hatched">\N{EN DASH}</td>') == 23, "the other hours were not recorded"
    assert re.search(r'<td class="heat-\d">1</td>', page)
    assert '<a href="/overview?species=Avis+quieta">' in page or "Quiet Bird</a>" in page
    link = f'data-href="/recordings/{stored.json()["sha256"]}"'
    assert re.search(rf'<tr data-name="Quiet Bird" data-value="0.75\d*" data-at="\d{{4}}-[^"]+" {link}>', page)
    assert "<dt>Files failed</dt>" in page
    assert "No recordings match these filters." in client.get("/overview?site=Nowhere").text
    assert "The last day is used with a period" in client.get("/overview?to=2026-05-12").text
    week = client.get("/overview?period=week&site=Pond").text
    assert "The last day is used with a period" not in week
    assert "/overview?period=week&amp;site=Pond&amp;to=2026-05-05" in week
    assert "/overview?period=week&amp;site=Pond&amp;to=2026-05-19" in week


def test_the_api_has_the_same_numbers_and_refuses_odd_ones(client: httpx.Client, tone: Path) -> None:
    client.post("/api/v1/identify?store=true", files={"audio": ("SITE7_20260512_040000.wav", tone.read_bytes())})
    fields = client.get("/api/v1/overview?period=month&min_score=0.5").json()
    assert (len(fields["spans"]), len(fields["hours"]), len(fields["hours"][0])) == (31, 31, 24)
    assert fields["spans"][-1] == {"unit": "day", "first": "2026-05-12", "last": "2026-05-12"}
    n = fields["n_recordings"]
    recorded_h = pytest.approx(n * 3 / 3600, abs=1e-4)
    assert (n > 0, fields["recorded_h"]) == (True, recorded_h)
    assert fields["hours"][-1][4] == {"n_detections": fields["n_detections"], "recorded_h": recorded_h}
    assert fields["species"][0]["n_recordings"] == [0] * 30 + [n]
    assert client.get("/api/v1/overview/events").text.count("event: change") == 1, "without a version"
    for query, message in (
        ("min_score=0.3", "min_score: expected one of 0, 0.25, 0.5, 0.75, 0.9"),
        ("to=1812-01-01", "to: Input should be greater than or equal to 1900-01-01"),
        ("perod=week", "Did you mean 'period'?"),
    ):
        reply = client.get(f"/api/v1/overview?{query}")
        assert reply.status_code in (400, 422)
        assert message in reply.json()["detail"]


def test_a_change_is_an_event_until_which_the_stream_waits(client: httpx.Client, tone: Path) -> None:
    version = client.get("/api/v1/overview").json()["version"]
    with client.stream("GET", f"/api/v1/overview/events?version={version}") as stream:
        lines = stream.iter_lines()
        assert next(lines) == "retry: 1000"
        client.post("/api/v1/identify?store=true", files={"audio": ("later.wav", tone.read_bytes() + b"\0")})
        event = next(line for line in lines if line.startswith("event: "))
        assert event == "event: change"
        identifier = next(line for line in lines if line.startswith("id: "))
    current = client.get("/api/v1/overview").json()["version"]
    assert identifier == f"id: {current}"
    assert current != version
    (detection, *_) = client.get("/api/v1/detections").json()["detections"]
    put = client.put(f"/api/v1/detections/{detection['id']}/review", json={"verdict": "unsure"})
    assert put.status_code == 200, "the sums stay, but another species would be shown"
    assert client.get("/api/v1/overview").json()["version"] != current


def test_links_to_lists_have_the_filters_that_lists_have() -> None:
    query = OverviewFilter(period="week", site="Upper Pond", min_score=0.5)
    assert (
        query.link_to_list("site", "species", "min_score", state="failed")
        == "site=Upper+Pond&min_score=0.5&state=failed"
    )
    assert query.query_string(to="2026-05-12", site=None) == "period=week&min_score=0.5&to=2026-05-12"


def test_the_libraries_of_others_are_as_published() -> None:
    folder = resources.files("dawnchorus.server.http").joinpath("static", "vendor")
    names = set()
    for line in folder.joinpath("SHA256SUMS").read_text("utf-8").splitlines():
        sha256, name = line.split()
        names.add(name)
        assert hashlib.sha256(folder.joinpath(name).read_bytes()).hexdigest() == sha256
    assert {each.name for each in folder.iterdir()} == {*names, "SHA256SUMS"}
    assert "MIT License" in folder.joinpath("uPlot.LICENSE").read_text("utf-8")
    assert "Apache License" in folder.joinpath("tom-select.LICENSE").read_text("utf-8")
