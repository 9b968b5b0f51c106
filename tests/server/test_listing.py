"""Lists of recordings and detections: no row is skipped or repeated; filters, failures, deletion, odd names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, text, update
from tests.fixtures.databases import new_database
from tests.fixtures.machines import Postgres
from tests.fixtures.server import Serve
from tests.fixtures.waiting import wait_for

from dawnchorus.errors import InputError
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.listing import (
    MAX_MERGED,
    Cursor,
    DetectionQuery,
    Page,
    Position,
    RecordingQuery,
    find_best,
    find_detections,
    find_recordings,
    list_sites,
    order_by_upload,
)
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.tables import (
    DetectionRow,
    Identification,
    Recording,
    RecordingSpecies,
    Review,
    Species,
)
from dawnchorus.server.timeline import Timeline, TimelineQuery

START = datetime(2026, 5, 1, tzinfo=UTC)

Find = Callable[..., Page[Any]]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = new_database(tmp_path)
    yield opened
    opened.close()


def add(database: Database, k: int, *species: str, added_at: datetime | None = None, **columns: Any) -> str:
    """Add recording `k` with a detection of each species, a second apart, the first with the highest score."""
    sha256, at = f"{k:064x}", added_at or START + timedelta(minutes=k)
    scores = [0.9 - 0.1 * n for n in range(len(species))]
    with database.write() as session:
        row = Identification(recording=sha256, bundle_id="b", duration_s=60.0)
        values = {
            "name": f"{k}.wav",
            "n_bytes": 1,
            "n_detections": len(species),
            "best_score": max(scores, default=None),
        }
        session.add(Recording(sha256=sha256, added_at=at, **(values | columns)))
        session.flush()
        session.add(row)
        session.flush()
        session.get_one(Recording, sha256).latest_identification = row.id
        for n, (name, score) in enumerate(zip(species, scores, strict=True)):
            names = {"scientific_name": f"Avis {name}", "common_name": name}
            owners = {"identification": row.id, "recording": sha256, "bundle_id": "b"}
            session.add(DetectionRow(**owners, **names, start_s=float(n), end_s=n + 3.0, score=score))
        for name in set(species):
            names = {"scientific_name": f"Avis {name}", "common_name": name}
            session.merge(Species(**names))
            best = max(score for each, score in zip(species, scores, strict=True) if each == name)
            session.add(RecordingSpecies(recording=sha256, **names, n_detections=1, best_score=best, added_at=at))
    return sha256


def names(page: Page[Any]) -> list[str]:
    return [row.recording.name for row in page.rows]


def spots(page: Page[Any]) -> list[tuple[str, float]]:
    return [(row.recording.name, row.detection.start_s) for row in page.rows]


def walk(find: Find, database: Database, query: RecordingQuery, show: Callable[[Page[Any]], list[Any]]) -> list[Any]:
    """Return all rows, two a page, and check that the way back has the same pages."""
    pages, cursor = [], None
    while True:
        page = find(database, query, limit=2, cursor=cursor)
        pages.append(page)
        cursor = page.next
        if cursor is None:
            break
    shown = [show(page) for page in pages]
    for k in range(len(pages) - 1, 0, -1):
        assert show(find(database, query, limit=2, cursor=pages[k].previous)) == shown[k - 1]
    assert pages[0].previous is None
    rows = [row for page in shown for row in page]
    assert pages[0].total == len(rows)
    return rows


def test_every_row_is_on_one_page_in_both_directions_also_of_one_upload_time(database: Database) -> None:
    for k in range(7):
        add(database, k, "Wren", "Robin", added_at=START if k < 4 else None)
    expected = [f"{k}.wav" for k in (6, 5, 4, 3, 2, 1, 0)]
    assert walk(find_recordings, database, RecordingQuery(), names) == expected
    assert walk(find_detections, database, DetectionQuery(), spots) == [(n, t) for n in expected for t in (0.0, 1.0)]


def test_pages_go_on_where_they_were_when_rows_come_and_go(database: Database) -> None:
    shas = [add(database, k, "Wren") for k in range(6)]
    first = find_recordings(database, RecordingQuery(), limit=2)
    assert names(first) == ["5.wav", "4.wav"]
    add(database, 6, "Wren")
    with database.write() as session:
        session.execute(delete(Recording).where(Recording.sha256.in_([shas[4], shas[3]])))
    second = find_recordings(database, RecordingQuery(), limit=2, cursor=first.next)
    assert names(second) == ["2.wav", "1.wav"]
    assert names(find_recordings(database, RecordingQuery(), limit=2, cursor=second.previous)) == ["6.wav", "5.wav"]
    with database.write() as session:
        session.execute(delete(Recording).where(Recording.sha256.in_(shas[:3])))
    empty = find_recordings(database, RecordingQuery(), limit=2, cursor=first.next)
    assert (names(empty), empty.next) == ([], None)
    assert names(find_recordings(database, RecordingQuery(), limit=2, cursor=empty.previous)) == ["6.wav", "5.wav"]


def test_filters_of_recordings(database: Database) -> None:
    add(database, 1, "Wren", "Robin", site="SITE7", recorded_at="2026-05-01T23:59:59")
    add(database, 2, "Great Tit", "Wren", name="100%_a.wav", site="SITE8", recorded_at="2026-05-02T00:00:00+02:00")
    add(database, 3)
    add(database, 4, error="the file is empty.")

    def listed_by(**fields: Any) -> list[str]:
        return walk(find_recordings, database, RecordingQuery(**fields), names)

    assert listed_by(species="wren") == ["100%_a.wav", "1.wav"]
    assert listed_by(species="R") == ["100%_a.wav", "1.wav"], "a recording with several of the species comes once"
    assert listed_by(species="avis robin") == ["1.wav"]
    assert listed_by(species="nothing") == []
    assert listed_by(species="t", site="SITE8") == ["100%_a.wav"]
    assert listed_by(name="0%_A") == ["100%_a.wav"]
    assert listed_by(name="%x") == []
    assert listed_by(state="failed") == ["4.wav"]
    assert listed_by(state="no_detections") == ["3.wav"]
    assert listed_by(state="detections") == ["100%_a.wav", "1.wav"]
    day = datetime(2026, 5, 1).date()
    assert listed_by(recorded_to=day) == ["1.wav"]
    assert listed_by(recorded_from=day + timedelta(days=1)) == ["100%_a.wav"]
    assert listed_by(since=START + timedelta(minutes=4)) == ["4.wav"]
    assert list_sites(database, limit=9) == ["SITE7", "SITE8"]
    (listed,) = find_recordings(database, RecordingQuery(site="SITE7"), limit=1).rows
    assert [species.common_name for species in listed.species] == ["Wren", "Robin"]


def test_filters_of_detections(database: Database) -> None:
    one = add(database, 1, "Wren", "Robin", "Wren", site="SITE7")
    add(database, 2, "Robin", *(f"Bird {k}" for k in range(MAX_MERGED + 1)))
    with database.write() as session:
        session.add(Review(detection=2, recording=one, verdict="incorrect"))
        session.get_one(DetectionRow, 2).verdict = "incorrect"

    def listed_by(**fields: Any) -> list[tuple[str, float]]:
        return walk(find_detections, database, DetectionQuery(**fields), spots)

    assert listed_by(species="wren") == [("1.wav", 0.0), ("1.wav", 2.0)]
    assert listed_by(species="r", site="SITE7") == [("1.wav", 0.0), ("1.wav", 1.0), ("1.wav", 2.0)]
    assert len(listed_by(species="bird")) == MAX_MERGED + 1, "more species than are merged"
    assert listed_by(reviewed=True) == [("1.wav", 1.0)]
    assert listed_by(reviewed="incorrect") == [("1.wav", 1.0)]
    assert listed_by(reviewed="unsure") == []
    assert listed_by(reviewed=False, recording=one) == [("1.wav", 0.0), ("1.wav", 2.0)]
    assert listed_by(min_score=0.85) == [("2.wav", 0.0), ("1.wav", 0.0)]
    best = find_best(database, DetectionQuery(reviewed=False, recording=one), limit=9)
    assert [row.detection.start_s for row in best] == [0.0, 2.0]
    first = Position.decode(Position(best[0].detection.score, best[0].detection.id).encode())
    (second,) = find_best(database, DetectionQuery(reviewed=False, recording=one), limit=9, after=first)
    assert second.detection.start_s == 2.0
    with pytest.raises(InputError, match="expected the position of a detection, such as 0.75_81, got .0.75."):
        Position.decode("0.75")


@pytest.mark.parametrize("given", ["", "x", "Wzwx", "W10", "é", "WyI-IiwiMjAyNiJd", "9" * 400])
def test_a_cursor_of_another_kind_is_refused(given: str, database: Database) -> None:
    message = "cursor: expected `next` or `previous` of this list"
    detection = Cursor((START, "a" * 64, 1), is_backward=False).encode()
    for cursor in (given, detection, Cursor((START, "a\0"), is_backward=True).encode()):
        with pytest.raises(InputError, match=message):
            find_recordings(database, RecordingQuery(), limit=1, cursor=cursor)
    for key in ((START, "a" * 64), (START, "a" * 64, 10**30), (START, "a" * 64, True)):
        with pytest.raises(InputError, match=message):
            find_detections(database, DetectionQuery(), limit=1, cursor=Cursor(key, is_backward=False).encode())
    assert find_detections(database, DetectionQuery(), limit=1, cursor=detection).rows == []


ODD_NAME = 'SITE "7" <b>\n\u202e\u05d3\u05d5\u05db\u05d9\u05e4\u05ea\'_20260512_040000.wav'


def test_recordings_are_listed_with_all_names_failures_and_sites_and_deleted_together(
    level_bundle: Bundle, serve: Serve, tone: Path
) -> None:
    client = serve(model=level_bundle.folder)
    query = "?store=true&min_score=0.01"
    body = tone.read_bytes()
    reply = client.post(f"/api/v1/identify{query}", files={"audio": (ODD_NAME, body)})
    assert client.get(f"/api/v1/recordings/{reply.json()['sha256']}").json()["name"] == ODD_NAME
    failed = {"audio": ("SITE7_20260512_050000.wav", b"not a sound")}
    assert client.post(f"/api/v1/identify{query}", files=failed).status_code == 422
    assert client.post("/api/v1/identify", files={"audio": ("x.wav", b"no sound either")}).status_code == 422
    rows = client.get("/api/v1/recordings").json()["recordings"]
    assert [(row["state"], row["site"]) for row in rows] == [
        ("failed", "SITE7"),
        ("detections", ODD_NAME.removesuffix("_20260512_040000.wav")),
    ]
    assert "not a sound file" in rows[0]["error"]
    assert client.get(rows[0]["audio"]).status_code == 404, "it is not kept"
    page = client.get("/recordings").text
    assert "&#34;7&#34; &lt;b&gt;\n\u202e" in page, "in an element of its own direction"
    assert page.count('<bdi class="name">') == 2
    assert '<bdi class="faint">' not in page, "the names have the sites"
    first = client.get("/api/v1/detections").json()["detections"][0]
    link = f'/recordings/{first["recording"]}?d={first["id"]}&amp;t={first["start_s"]:.3f}"'
    assert link in client.get("/detections").text
    assert client.get("/api/v1/species?name=bird").json()["species"], "names while one is typed"
    plain = {"audio": ("20260614_060000.wav", body), "site": (None, "SITE <A>")}
    assert client.post(f"/api/v1/identify{query}", files=plain).status_code == 200
    for path in ("/recordings", "/detections", f"/recordings/{first['recording']}", "/"):
        assert "20260614_060000.wav</bdi>" in client.get(path).text, path
        assert '<bdi class="faint">SITE &lt;A&gt;</bdi>' in client.get(path).text, path
    # the same bytes, sent as a job that fails and then as what can be identified
    job = client.post("/api/v1/identify?background=true&site=East", files={"audio": ("y.wav", b"not a sound")}).json()
    wait_for(lambda: client.get(f"/api/v1/jobs/{job['id']}").json()["status"] == "failed")
    assert wait_for(lambda: client.get("/api/v1/recordings?name=y.wav").json()["total"]), "the newer name"
    sha256s = [row["sha256"] for row in rows]
    reply = client.post("/api/v1/recordings/delete", json={"recordings": [*sha256s, "0" * 64]})
    assert reply.json() == {"deleted": sorted(sha256s), "missing": ["0" * 64]}
    assert client.get("/api/v1/recordings").json()["recordings"] == []
    assert client.get("/api/v1/detections").json()["total"] == 0


def test_species_that_are_out_of_range_are_marked_in_lists(database: Database) -> None:
    first, second, third = add(database, 1, "wren", "owl"), add(database, 2, "owl", "wren"), add(database, 3, "owl")
    with database.write() as session:
        out = update(DetectionRow).where(DetectionRow.recording == first, DetectionRow.common_name == "owl")
        session.execute(out.values(in_range=False))
        session.execute(update(DetectionRow).where(DetectionRow.recording == second).values(in_range=True))
        relabeled = {"in_range": False, "model_scientific_name": "Avis wren", "model_common_name": "wren"}
        session.execute(update(DetectionRow).where(DetectionRow.recording == third).values(relabeled))
    records = find_recordings(database, RecordingQuery(), limit=9).rows
    unexpected = {each.recording.sha256: each.unexpected for each in records}
    assert unexpected == {first: {"Avis owl"}, second: set(), third: set()}, "the model knows only its own species"
    counts = [Timeline(database).count_by_species(TimelineQuery(each)) for each in (first, second, third)]
    assert [{each.common_name for each in listed if each.is_unexpected} for listed in counts] == [{"owl"}, set(), set()]


def test_recordings_of_one_upload_are_in_the_natural_order_of_their_names(database: Database) -> None:
    names = "SITE10_a.wav", "site9_b.wav", "SITE9_a.wav", "10.wav", "9.wav", ""
    for k, name in enumerate(names):
        add(database, k, added_at=START + timedelta(seconds=50 * k), name=name)
    add(database, 7, added_at=START + timedelta(minutes=6), name="zebra.wav")
    add(database, 8, added_at=START - timedelta(minutes=1), name="aardvark.wav")
    rows = find_recordings(database, RecordingQuery(), limit=9).rows
    listed = [row.recording.name for row in order_by_upload(rows)]
    assert listed == ["zebra.wav", "", "9.wav", "10.wav", "SITE9_a.wav", "site9_b.wav", "SITE10_a.wav", "aardvark.wav"]


@pytest.mark.ops
def test_lists_are_the_same_on_postgresql(tmp_path: Path) -> None:
    with Postgres(tmp_path / "postgres") as postgres:
        for check in (
            test_every_row_is_on_one_page_in_both_directions_also_of_one_upload_time,
            test_pages_go_on_where_they_were_when_rows_come_and_go,
            test_filters_of_recordings,
            test_filters_of_detections,
            test_species_that_are_out_of_range_are_marked_in_lists,
        ):
            database = Database(postgres.url)
            check(database)
            with database.engine.begin() as connection:
                connection.execute(text("DROP SCHEMA public CASCADE"))
                connection.execute(text("CREATE SCHEMA public"))
            database.close()
