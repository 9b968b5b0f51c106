"""Fetching from a local server that speaks the true API v3."""

from __future__ import annotations

import json
import urllib.parse
from pathlib import Path

import pytest
from tests.fixtures.logs import logged
from tests.fixtures.xeno_canto import KEY, Fetch, XenoCanto, running, web

from dawnchorus.data.recordings import RecordingRow, read_table
from dawnchorus.data.sources.xeno_canto import FetchFilter, check_query, parse_recordings, search
from dawnchorus.errors import DownloadError, InputError
from dawnchorus.storage.http_client import HttpClient
from dawnchorus.tables import Notes
from dawnchorus.taxonomy.labels import read_label


def parse_row(fields: dict[str, object], notes: Notes | None = None) -> RecordingRow:
    return parse_recordings([fields], notes or Notes())[0].row


def test_everything_is_read_whatever_the_quirks(archive: XenoCanto) -> None:
    results = {item.row.recording_id: item for item in search(web(), "cnt:Spain", key=KEY, server=archive.url)}
    assert len(results) == 25
    one = results["XC5"].row
    assert (one.scientific_name, one.common_name, one.license) == ("Sylvia borin", "Garden Warbler", "CC-BY-NC-ND-4.0")
    assert (one.latitude, one.date, one.time, one.duration_s) == (41.5, "2024-05-05", "05:30", 5.0)
    assert one.url == "https://xeno-canto.org/5"
    assert one.secondary == ("Turdus merula",)
    assert results["XC4"].row.latitude is None
    assert results["XC4"].row.time is None
    assert results["XC7"].file_url == ""


def test_null_and_empty_and_missing_values_are_unknown() -> None:
    notes = Notes()
    row = parse_row(
        {"id": "1", "gen": "Parus", "sp": "", "lic": None, "length": "1:02:03", "date": "0000-00-00"}, notes
    )
    assert notes.sentences() == ["a genus without a species: left out in 1 row (as 'Parus')."]
    assert (row.scientific_name, row.license, row.duration_s, row.date, row.secondary) == (
        None,
        None,
        3723,
        None,
        (),
    )


def test_pages_that_shift_while_they_are_read() -> None:
    with running(XenoCanto(shift_after_page=1)) as archive:
        results = search(web(), "cnt:Spain", key=KEY, server=archive.url, per_page=10)
    assert [item.row.recording_id for item in results] == [f"XC{k}" for k in range(1, 27)]


def test_a_recording_that_is_removed_while_pages_are_read_hides_no_other() -> None:
    with running(XenoCanto(n_recordings=20, remove_after_page=1)) as archive, logged() as notes:
        results = search(web(), "cnt:Spain", key=KEY, server=archive.url, per_page=5)
    assert not notes
    assert [item.row.recording_id for item in results] == [f"XC{k}" for k in range(1, 20)]


def test_a_listing_that_never_settles_is_said() -> None:
    with running(XenoCanto(n_recordings=15)) as archive:
        first = json.dumps(archive.page({"key": KEY, "query": "cnt:Spain", "per_page": "10"})[1]).encode()
        archive.odd_pages = {1: first.replace(b'"15"', b'"17"')}
        with logged() as notes:
            results = search(web(), "cnt:Spain", key=KEY, server=archive.url, per_page=10)
    assert len(results) == 15
    assert len(archive.seen_urls) == 4, "read twice, with the same outcome"
    assert "promised 15 and 17 recordings, the last reading had 15" in notes[0]
    with running(XenoCanto(n_recordings=15)) as archive:
        page = archive.page({"key": KEY, "query": "cnt:Spain", "per_page": "10"})[1]
        page["recordings"][-1] = {**page["recordings"][0], "gen": "Corvus", "sp": "corax"}
        archive.odd_pages = {1: json.dumps(page).encode()}
        with logged() as notes:
            search(web(), "cnt:Spain", key=KEY, server=archive.url, per_page=10)
    assert any("listed under several species: 1 recording (as XC15: Corvus corax, " in note for note in notes)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"error": "server_error", "message": "the database is down"}, "the server says error: the database is down"),
        ({"error": {"code": 500, "message": "timeout"}}, "timeout"),
        ({"recordings": []}, "expected a number as numRecordings, got None"),
        ({"numRecordings": "0", "recordings": []}, "expected a number as numPages"),
        ({"numRecordings": "12", "numPages": 3, "recordings": None}, "expected a list of recordings"),
        ({"numRecordings": "-1", "numPages": 3, "recordings": []}, "got '-1'"),
        ({"numRecordings": "12", "numPages": 3, "page": 7, "recordings": []}, "got page 7"),
        ({"numRecordings": "12", "numPages": 3, "recordings": [{"gen": "Parus"}]}, "recordings with their numbers"),
        ([], "expected an object, got a list"),
        (None, "expected an object"),
        ("<html>Service Unavailable</html>", "It sent: <html>Service Unavailable"),
        ("", "expected JSON"),
    ],
)
def test_a_reply_that_is_no_page_is_an_error_that_names_the_page(content: object, said: str) -> None:
    sent = content.encode() if isinstance(content, str) else json.dumps(content).encode()
    with running(XenoCanto()) as archive:
        for page in (1, 2):
            archive.odd_pages = {page: sent}
            with pytest.raises(DownloadError) as failure:
                search(web(), "cnt:Spain", key=KEY, server=archive.url, per_page=10)
            assert f"page {page} of 'cnt:Spain'" in str(failure.value)
            assert said in str(failure.value)


def test_a_page_after_the_last_recording_adds_none() -> None:
    """The archive counts one page too many where the last one is full, and sends a recording without anything."""
    with running(XenoCanto(n_recordings=10)) as archive:
        pages = [archive.page({"key": KEY, "query": "cnt:Spain", "per_page": "5", "page": str(n)})[1] for n in (1, 2)]
        pages.append({"numRecordings": "10", "numSpecies": "3", "page": 3, "recordings": [{"also": []}]})
        archive.odd_pages = {n: json.dumps({**page, "numPages": 3}).encode() for n, page in enumerate(pages, start=1)}
        with logged() as notes:
            assert len(search(web(), "cnt:Spain", key=KEY, server=archive.url, per_page=5)) == 10
    assert not notes


def test_a_query_without_recordings_finds_none() -> None:
    with running(XenoCanto(n_recordings=0)) as archive, logged() as notes:
        assert not search(web(), "cnt:Spain", key=KEY, server=archive.url)
    assert not notes


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"gen": "Mystery", "sp": "mystery", "en": "Identity unknown"}, "focal"),
        ({"gen": "MYSTERY", "sp": "Mystery ", "en": ""}, "focal"),
        ({"gen": "Mystery", "sp": "", "en": "Identity Unknown"}, "focal"),
        ({"gen": "", "sp": "", "en": "identity  unknown"}, "focal"),
        ({"gen": "Sonus", "sp": "naturalis", "en": "Soundscape"}, "soundscape"),
        ({"gen": "", "sp": "", "en": "Soundscape"}, "soundscape"),
    ],
)
def test_what_is_no_species_is_no_class(fields: dict[str, str], kind: str) -> None:
    row = parse_row({"id": "1", **fields, "also": ["Parus major", "Mystery mystery", "Sonus naturalis", "Parus sp."]})
    assert (row.scientific_name, row.common_name, row.kind) == (None, None, kind)
    assert row.secondary == ("Parus major",)
    binomial = f"{fields['gen']} {fields['sp']}" if fields["sp"] else ""
    for name in (binomial, binomial.replace(" ", "_"), fields["en"], fields["en"].replace(" ", "_")):
        assert read_label(name) is None
    for open_name in ("sp.", "cf. major", "major x minor"):
        assert parse_row({"id": "1", "gen": "Parus", "sp": open_name, "en": "A tit"}).scientific_name is None
    assert parse_row({"id": "1", "gen": "parus", "sp": "Major", "en": "Great Tit"}).scientific_name == "Parus major"


def test_values_of_a_listing_that_are_left_out_are_counted() -> None:
    with running(XenoCanto(n_recordings=8)) as archive:
        archive.changed = {
            1: {"lat": "91", "lon": "400", "date": "2024-13-45", "time": "25:99", "length": "banana", "q": "Z"},
            2: {"lat": "0", "lon": "0", "also": "Turdus merula, Parus sp."},
            3: {"lat": "41.5", "lon": "", "q": "no score"},
            5: {"id": "x"},
        }
        with logged() as notes:
            results = search(web(), "cnt:Spain", key=KEY, server=archive.url)
    rows = {result.row.recording_id: result.row for result in results}
    assert sorted(rows) == ["XC1", "XC2", "XC3", "XC4", "XC6", "XC7", "XC8"]
    odd = rows["XC1"]
    assert (odd.latitude, odd.longitude, odd.date, odd.time, odd.duration_s, odd.quality) == (None,) * 6
    assert (rows["XC2"].latitude, rows["XC3"].latitude, rows["XC3"].quality) == (None, None, None)
    assert rows["XC2"].secondary == ("Turdus merula",)
    said = " ".join(notes)
    for part in (
        "column 'lat': not understood, and left out, in 1 row (as '91')",
        "column 'lon': not understood, and left out, in 1 row (as '400')",
        "column 'date': not understood, and left out, in 1 row (as '2024-13-45')",
        "column 'time': not understood, and left out, in 1 row (as '25:99')",
        "column 'length': not understood, and left out, in 1 row (as 'banana')",
        "column 'q': not understood, and left out, in 1 row (as 'Z')",
        "latitude 0, longitude 0, which many tables have where no location is known: left out in 1 row",
        "half a location, a latitude alone: left out in 1 row (as '41.5')",
        "also: a name of no one species: left out in 1 row (as 'Parus sp.')",
        "a recording without a number of digits: left out in 1 row (as 'x')",
    ):
        assert f"the listing: {part}" in said


def test_best_quality_first_and_licenses_and_limits(archive: XenoCanto) -> None:
    results = search(web(), "cnt:Spain", key=KEY, server=archive.url)
    chosen, left_out = FetchFilter(licenses=("CC-BY", "CC-BY-SA", "CC-BY-NC-SA"), per_species=2).choose(results)
    assert len(chosen) == 6
    assert {item.row.license for item in chosen}.isdisjoint({"CC-BY-NC-ND-4.0"})
    assert left_out["license CC-BY-NC-ND-4.0"] == 6, "XC21 is without sound besides"
    assert left_out["no sound (restricted species)"] == 3
    great_tits = [item.row.quality for item in chosen if item.row.common_name == "Great Tit"]
    assert great_tits == ["A", "A"], "XC6 and XC12, not XC3"


def test_fetch_writes_audio_table_and_attribution(archive: XenoCanto, fetch: Fetch, tmp_path: Path) -> None:
    code, _, errors = fetch(tmp_path / "set")
    assert code == 0, errors
    assert "sounds of another length than the archive lists: 1" in " ".join(errors.split())
    table = read_table(tmp_path / "set")
    files = {path.name for path in (tmp_path / "set" / "audio").iterdir()}
    assert files == {Path(row.path).name for row in table.rows}
    assert len(files) == 25 - 7 - 3 + 1  # XC21 has no sound and no license to derive
    text = (tmp_path / "set" / "ATTRIBUTION.md").read_text()
    assert "Recordist 3, XC3. Accessible at www.xeno-canto.org/3" in text
    assert all(row.license and row.n_bytes for row in table.rows)
    n_before = archive.n_downloads
    assert fetch(tmp_path / "set")[0] == 0
    assert archive.n_downloads == n_before, "what is there is not fetched again"


def test_a_dry_run_counts_and_fetches_nothing(archive: XenoCanto, fetch: Fetch, tmp_path: Path) -> None:
    _, _, errors = fetch(tmp_path / "set", "--dry-run", "--license", "CC-BY", "--license", "CC-BY-XX")
    assert "--license: no recording has CC-BY-XX; they have CC-BY-4.0," in " ".join(errors.split())
    assert "25 recordings found" in errors
    assert archive.n_downloads == 0
    assert not (tmp_path / "set").exists()


def test_invalid_key_error_says_how_to_get_one_and_hides_the_key(fetch: Fetch, tmp_path: Path) -> None:
    code, _, advice = fetch(tmp_path / "set", key="")
    assert (code, "export XENO_CANTO_API_KEY=" in advice) == (2, True)
    wrong = fetch(tmp_path / "set", key="wrong-key-9876")
    assert wrong[0] == 3
    assert "copy the key from your account page" in wrong[2]
    good = fetch(tmp_path / "set", "--limit", "3")
    for text in (advice, *wrong[1:], *good[1:]):
        assert "wrong-key-9876" not in text
        assert KEY not in text
    for path in (tmp_path / "set").rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()


def test_a_server_that_is_not_there_is_said_without_the_key() -> None:
    waits: list[float] = []
    gone = HttpClient(per_s=1000, secret=KEY, sleep=waits.append)
    with pytest.raises(DownloadError, match="tried 6 times") as caught:
        gone.read(f"http://127.0.0.1:9/api/3/recordings?key={KEY}")
    assert KEY not in str(caught.value)
    assert [round(w) >= 0 for w in waits[:5]] == [True] * 5
    assert sum(waits) > 10, "longer and longer waits"


def test_a_key_with_odd_characters_is_hidden_in_a_url_too() -> None:
    key = "a+b/c=d&e"
    gone = HttpClient(per_s=1000, secret=key, sleep=lambda _: None)
    with pytest.raises(DownloadError) as caught:
        gone.read("http://127.0.0.1:9/?" + urllib.parse.urlencode({"key": key}))
    assert "key=***" in str(caught.value)


@pytest.mark.parametrize("query", ["Parus major", "", "gen:Parus major", '"great tit"'])
def test_free_text_is_refused_with_a_hint(query: str) -> None:
    with pytest.raises(InputError, match="expected tags"):
        check_query(query)


def test_queries_with_quotes_and_ranges_pass() -> None:
    assert check_query('en:"=great tit" len:10-30 q:">C"') == 'en:"=great tit" len:10-30 q:">C"'
