"""The overview sums what it is asked for, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete
from tests.fixtures.databases import new_database

from dawnchorus.server.detection_counts import CountedDetection, add_counts, count_failed, count_recording
from dawnchorus.server.overview import MAX_SPECIES, Overview, OverviewQuery, read_overview, read_version
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.tables import DetectionCount, Identification, Recording, Species

WREN, ROBIN, WINTER_WREN = (
    ("Troglodytes troglodytes", "Wren"),
    ("Erithacus rubecula", "Robin"),
    ("Troglodytes hiemalis", "Winter Wren"),
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = new_database(tmp_path)
    with opened.write() as session:
        session.add_all(Species(scientific_name=one, common_name=other) for one, other in (WREN, ROBIN, WINTER_WREN))
    yield opened
    opened.close()


def add(
    database: Database, at: datetime | None, *detections: tuple[tuple[str, str], float], site: str | None = None
) -> None:
    """Count a recording of an hour with detections a second apart."""
    counted = [CountedDetection(*names, float(k), score) for k, (names, score) in enumerate(detections)]
    recorded_at = None if at is None else at.isoformat()
    with database.write() as session:
        add_counts(session, count_recording(site=site, recorded_at=recorded_at, duration_s=3600.0, detections=counted))


def shown_species(overview: Overview) -> dict[str, tuple[int, ...]]:
    return {each.common_name: each.n_recordings for each in overview.species}


def test_an_empty_collection_has_no_times(database: Database) -> None:
    for period in ("all", "year", "month", "week"):
        overview = read_overview(database, OverviewQuery(period=period))  # type: ignore[arg-type]
        assert (overview.spans, overview.hours, overview.n_recordings, overview.latest) == ((), (), 0, ())


def test_sums_by_hour_and_day_of_a_filter(database: Database) -> None:
    first = datetime(2026, 5, 12, 4)
    add(database, first, (WREN, 0.9), (WREN, 0.5), (ROBIN, 0.3), site="Pond")
    add(database, first + timedelta(days=1), (ROBIN, 0.8), site="Hill")
    add(database, None, (ROBIN, 0.6))
    with database.write() as session:
        add_counts(session, count_failed("Hill"))
    overview = read_overview(database, OverviewQuery())
    assert [span.first for span in overview.spans] == [date(2026, 5, 12), date(2026, 5, 13)]
    assert (overview.n_recordings, overview.recorded_h, overview.n_detections, overview.n_species) == (3, 3.0, 5, 2)
    assert (overview.n_undated, overview.n_failed) == (1, 1)
    assert [(h, each.n_detections) for h, each in enumerate(overview.hours[0]) if each.recorded_h] == [(4, 3)]
    assert shown_species(overview) == {"Robin": (1, 1), "Wren": (1, 0)}
    assert overview.top == (("Robin", 2), ("Wren", 1))

    pond = read_overview(database, OverviewQuery(site="Pond", min_score=0.5))
    assert (pond.n_recordings, pond.n_detections, pond.n_species, pond.n_undated) == (1, 2, 1, 0)
    assert shown_species(pond) == {"Wren": (1,)}
    assert read_overview(database, OverviewQuery(site="Nowhere")).n_recordings == 0

    wren = read_overview(database, OverviewQuery(species="wren"))
    assert wren.n_recordings == 3, "the effort is that of all species"
    assert (wren.n_detections, shown_species(wren), wren.top) == (2, {"Wren": (1, 0)}, (("Wren", 1),))
    assert wren.hours[1][4].n_detections == 0
    assert wren.hours[1][4].recorded_h == 1.0


def test_a_whole_name_is_one_species_and_a_part_is_all_that_have_it(database: Database) -> None:
    add(database, datetime(2026, 5, 12, 4), (WREN, 0.9), (WINTER_WREN, 0.9))
    for text, n in (("Wren", 1), ("troglodytes TROGLODYTES", 1), ("wre", 2), ("Troglodytes", 2), ("Eagle", 0)):
        assert read_overview(database, OverviewQuery(species=text)).n_species == n, text


@pytest.mark.parametrize(
    ("n_days", "query", "n_spans", "first", "last"),
    [
        (10, OverviewQuery(), 11, date(2026, 1, 30), date(2026, 2, 9)),
        (100, OverviewQuery(), 5, date(2026, 1, 1), date(2026, 5, 31)),
        (1000, OverviewQuery(), 2, date(2026, 1, 1), date(2028, 12, 31)),
        (100, OverviewQuery(period="week"), 7, date(2026, 5, 4), date(2026, 5, 10)),
        (100, OverviewQuery(period="month", to=date(2026, 2, 28)), 31, date(2026, 1, 29), date(2026, 2, 28)),
        (100, OverviewQuery(period="year"), 12, date(2025, 6, 1), date(2026, 5, 31)),
        (100, OverviewQuery(period="year", to=date(1900, 1, 1)), 12, date(1899, 2, 1), date(1900, 1, 31)),
    ],
)
def test_periods_have_days_months_or_years(
    database: Database, n_days: int, query: OverviewQuery, n_spans: int, first: date, last: date
) -> None:
    start = datetime(2026, 1, 30, 22, 30)
    add(database, start, (WREN, 0.9))
    add(database, start + timedelta(days=n_days), (WREN, 0.9))
    spans = read_overview(database, query).spans
    assert (len(spans), spans[0].first, spans[-1].last) == (n_spans, first, last)


def test_the_first_day_of_the_calendar_is_no_error(database: Database) -> None:
    add(database, datetime(1, 1, 1), (WREN, 0.9))
    for period in ("all", "year", "month", "week"):
        overview = read_overview(database, OverviewQuery(period=period))  # type: ignore[arg-type]
        assert overview.spans[0].first == date(1, 1, 1)


def test_species_fill_a_page_and_all_come_on_request(database: Database) -> None:
    detections = [((f"Avis {k:03}", f"Bird {k:03}"), 0.5) for k in range(30)]
    for day in range(1, 32):
        add(database, datetime(2026, 5, day, 4), *detections)
    assert len(read_overview(database, OverviewQuery()).species) == 12, "with 31 days"
    assert len(read_overview(database, OverviewQuery(period="week")).species) == 20
    everything = read_overview(database, OverviewQuery(all_species=True))
    assert (len(everything.species), everything.n_species) == (30, 30)
    assert MAX_SPECIES > 30


def identify(database: Database, k: int, species: str | None, score: float, site: str | None) -> None:
    with database.write() as session:
        sha256 = None if site is None else f"{k:064x}"
        if sha256 is not None:
            session.add(Recording(sha256=sha256, name=f"{k}.wav", n_bytes=1, site=site))
            session.flush()
        at = datetime(2026, 5, 1, tzinfo=UTC) + timedelta(minutes=k)
        session.add(
            Identification(recording=sha256, at=at, bundle_id="b", duration_s=1.0, species=species, score=score)
        )


def test_latest_predictions_are_filtered_by_site_species_and_score(database: Database) -> None:
    for k in range(25):
        identify(database, k, None if k == 24 else "Wren" if k % 2 else "Robin", k / 25, "Pond" if k % 3 else None)
    latest = read_overview(database, OverviewQuery()).latest
    assert (len(latest), latest[0].species, latest[0].score) == (20, "Wren", 23 / 25)
    assert [each.recording is None for each in latest[:3]] == [False, False, True]
    of_site = read_overview(database, OverviewQuery(site="Pond", species="robin", min_score=0.75)).latest
    assert [round(25 * each.score) for each in of_site] == [22, 20]


def test_the_version_changes_with_counts_and_identifications(database: Database) -> None:
    with database.read() as session:
        versions = [read_version(session)]
    for change in (
        lambda: add(database, datetime(2026, 5, 12, 4), (WREN, 0.9)),
        lambda: identify(database, 1, "Wren", 0.5, None),
        lambda: add(database, None),
    ):
        change()
        with database.read() as session:
            assert read_version(session) == read_version(session)
            versions.append(read_version(session))
    with database.write() as session:
        session.execute(delete(DetectionCount))
    with database.read() as session:
        versions.append(read_version(session))
    assert len(set(versions)) == 5
