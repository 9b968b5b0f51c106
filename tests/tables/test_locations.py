"""Latitudes, longitudes and both in one cell."""

from __future__ import annotations

import pytest

from dawnchorus.tables import parse_latitude, parse_location, parse_longitude


@pytest.mark.parametrize(
    ("text", "degrees"),
    [("52.5", 52.5), ("52,5", 52.5), ("52°30'N", 52.5), ("52°30\u203200\u2033", 52.5), ("N 52 30", 52.5),
     ("52:30:00", 52.5), ("33.9 S", -33.9), ("-33,9", -33.9), ("90.1", None), ("52.123.456", None), ("52500000", None),
     ("13 E", None), ("Pond", None)],
)  # fmt: skip
def test_latitudes(text: str, degrees: float | None) -> None:
    assert parse_latitude(text) == degrees


def test_longitudes_know_west_and_ost() -> None:
    assert [parse_longitude(text) for text in ("13,4 O", "13.4W", "13°24' Ost", "4.2 Oeste", "180.1")] == [
        None,  # east in German, west in French and Spanish
        -13.4,
        13.4,
        -4.2,
        None,
    ]


@pytest.mark.parametrize(
    "text", ["48.1, 11.5", "48.1,11.5", "48,1; 11,5", "48,1, 11,5", "48.1 11.5", "48°6'N 11°30'E", "(48.1, 11.5)",
             "POINT(11.5 48.1)", "11.5E, 48.1N", "N48.1 E11.5", "lon: 11.5, lat: 48.1", "geo:48.1,11.5",
             "48 6 0 N 11 30 0 E", "4806.000,N,01130.000,E", "+48.1+011.5+520.3CRSWGS_84/", "+4806+01130/",
             "+480600+0113000/", "48 6 +11 30", "48.1\\11.5"]
)  # fmt: skip
def test_locations_in_one_cell(text: str) -> None:
    assert parse_location(text) == (48.1, 11.5)


@pytest.mark.parametrize("text", ["48,1", "Pond", "Berlin, Ost", "91.5, 11.5", "", "32U 691604 5334760", "48-11"])
def test_other_texts_are_no_locations(text: str) -> None:
    assert parse_location(text) is None
