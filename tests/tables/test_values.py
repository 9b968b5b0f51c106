"""Dates, times, numbers, locations and identifiers in the forms that people write."""

from __future__ import annotations

from datetime import time

import pytest

from dawnchorus.tables import (
    DateColumn,
    Notes,
    NumberColumn,
    TimeColumn,
    exact_id,
    is_blank,
    is_day,
    parse_latitude,
    parse_location,
    parse_longitude,
    parse_number,
    parse_offset_s,
    parse_time,
    posix_path,
)


def dates(*values: str) -> tuple[list[str | None], list[str]]:
    notes = Notes()
    column = DateColumn("date", values, notes)
    parsed = [column.read(value) for value in values]
    return [stamp and stamp.date for stamp in parsed], notes.sentences()


@pytest.mark.parametrize(
    "text",
    ["2024-05-03", "2024/05/03", "2024.5.3", "20240503", "20240503.0", "2024. 5. 3.", "2024年5月3日", "03.05.2024",
     "3.5.24", "3 May 2024", "May 3, 2024", "May 3rd, 2024", "03-May-24", "3. Mai 2024", "3 mai 2024",
     "3 de mayo de 2024", "Fri, 3 May 2024", "Friday, May 3, 2024", "Fr 03.05.2024", "2024-05-03 06:00:00",
     "2024-05-03T06:00:00Z", "2024:05:03 06:00:00", "20240503_060000", "3 mars 2024".replace("mars", "MAY")],
)  # fmt: skip
def test_dates_in_many_forms(text: str) -> None:
    assert dates(text) == (["2024-05-03"], [])


@pytest.mark.parametrize(
    ("text", "date"),
    [("2019-05-00", "2019-05"), ("2019", "2019"), ("05/2019", "2019-05"), ("May 2019", "2019-05"), ("?", None),
     ("0000-00-00", None), ("", None), ("n/a", None), ("dd.mm.yyyy", None)],
)  # fmt: skip
def test_dates_are_as_exact_as_they_are_known(text: str, date: str | None) -> None:
    assert dates(text) == ([date], [])


def test_day_month_order_is_inferred_from_the_column() -> None:
    assert dates("1/2/2024", "13/2/2024") == (["2024-02-01", "2024-02-13"], [])
    assert dates("1/2/2024", "1/13/2024") == (["2024-01-02", "2024-01-13"], [])
    assert dates("5/5/2024") == (["2024-05-05"], [])
    assert dates("05.13.2024", "05.06.2024") == (["2024-05-13", "2024-05-06"], [])


@pytest.mark.parametrize(
    ("pattern", "order", "reason"),
    [
        ("5/{}/2024", "month/day/year", "the second number varies more"),
        ("05/0{}/2024", "month/day/year", "the second number varies more"),
        ("0{}/05/2024", "day/month/year", "the first number varies more"),
        ("0{}-05-2024", "day/month/year", "the first number varies more"),
    ],
)
def test_ambiguous_day_month_order_is_reported(pattern: str, order: str, reason: str) -> None:
    values = [pattern.format(day) for day in (1, 2, 3)]
    dates_read, (note,) = dates(*values)
    assert dates_read == ["2024-05-01", "2024-05-02", "2024-05-03"]
    assert "'date': in 3 rows day and month could change places" in note
    assert f"(as '{values[0]}'); read as {order}, so 2024-05-01, because {reason}" in note


def test_years_of_two_digits_may_stand_first() -> None:
    dates_read, (note,) = dates("24-05-01", "24-05-02", "24-05-03")
    assert dates_read == ["2024-05-01", "2024-05-02", "2024-05-03"]
    assert "read as year/month/day, so 2024-05-01, because the last number varies more" in note
    assert dates("24-05-30", "24-05-00")[0] == ["2024-05-30", "2024-05"]
    assert dates("31/05/24", "30/05/24")[0] == ["2024-05-31", "2024-05-30"]
    assert dates("31.05.24", "01.06.24") == (["2024-05-31", "2024-06-01"], [])


def test_slips_in_a_long_column_are_counted() -> None:
    dates_read, notes = dates(*(f"{day}/5/2024" for day in range(1, 29)), "5/29/2024")
    assert dates_read[:2] == ["2024-05-01", "2024-05-02"]
    assert dates_read[-1] is None
    assert "left out, in 1 row (as '5/29/2024')" in notes[0]


def test_both_orders_in_a_column_leave_out_what_could_be_either() -> None:
    dates_read, notes = dates("13/5/2024", "5/14/2024", "1/2/2024")
    assert dates_read == ["2024-05-13", "2024-05-14", None]
    assert "day and month stand in several orders (day/month/year in 1 row, month/day/year in 1 row)" in notes[0]
    assert "1 row that could be either (as '1/2/2024') is left without a date" in notes[0]
    assert len(notes) == 1


def test_values_that_are_no_dates_are_counted_with_an_example() -> None:
    dates_read, notes = dates("2024-05-01", "spring", "2024-13-01", "31/31/2024")
    assert dates_read == ["2024-05-01", None, None, None]
    assert notes == [
        "column 'date': not understood, and left out, in 3 rows (as 'spring'); expected a date such as 2024-05-01."
    ]


def test_dates_understood_in_part_are_said() -> None:
    _dates, (note,) = dates("Spring 2024", "Frühling 2024", "May 2024", "Sept. 2024", "Wed 2024-05-01", "2024")
    assert "2 rows with dates such as 'Spring 2024' are understood only in part, and read as 2024" in note


def test_dates_in_the_future_are_said() -> None:
    texts, (note,) = dates("2099-05-01", "2024-05-01", "2098")
    assert texts == ["2099-05-01", "2024-05-01", "2098"]
    assert "2 rows with dates in the future (as '2099-05-01'), which are read as they are" in note


def test_numbers_of_days_from_a_spreadsheet_are_dates_and_said() -> None:
    dates_read, (note,) = dates("45413", "45414.25")
    assert dates_read == ["2024-05-01", "2024-05-02"]
    assert "2 rows with numbers such as '45413' are taken for a spreadsheet's days since 1900 (2024-05-01)" in note


def test_the_mixture_of_a_spreadsheet_that_changed_days_and_months_is_said() -> None:
    _found, notes = dates("5/13/2024", "5/14/2024", "05.01.2024")
    assert "a spreadsheet may have changed day and month there" in notes[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("06:00", time(6)), ("6:00", time(6)), ("06:00:30", time(6, 0, 30)), ("0530", time(5, 30)), ("530", time(5, 30)),
     ("5.30", time(5, 30)), ("5.30 Uhr", time(5, 30)), ("5h30", time(5, 30)), ("6:00 AM", time(6)), ("6 pm", time(18)),
     ("12:00 a.m.", time(0)), ("05-30-00", time(5, 30)), ("1899-12-30 06:00:00", time(6)), ("25:00", None),
     ("13 pm", None), ("dawn", None), ("6", None)],
)  # fmt: skip
def test_times_in_many_forms(text: str, expected: time | None) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    ("values", "expected", "said"),
    [
        (["0.25", "0.229166667"], [time(6), time(5, 30)], "parts of a day (06:00)"),
        (["0.25", "?"], [time(6), None], "parts of a day (06:00)"),
        (["5.45", "5.3"], [time(5, 45), time(5, 30)], ""),
        (["5.45", "early"], [time(5, 45), None], "left out, in 1 row (as 'early'); expected a time of day"),
    ],
)
def test_numbers_in_a_column_of_times(values: list[str], expected: list[time | None], said: str) -> None:
    notes = Notes()
    column = TimeColumn("time", values, notes)
    assert [column.read(value) for value in values] == expected
    assert said in "".join(notes.sentences())


@pytest.mark.parametrize(
    ("text", "point", "comma"),
    [("1,234", 1234, 1.234), ("1.234", 1.234, 1234), ("1,234.5", 1234.5, 1234.5), ("1.234,5", 1234.5, 1234.5),
     ("0,98", 0.98, 0.98), ("1\u202f234,5", 1234.5, 1234.5), ("5.88E+05", 588000, 588000), ("\u22123.5", -3.5, -3.5),
     ("1.234.567", 1234567, 1234567), ("1,2,3", None, None), ("1e999", None, None), ("nan", None, None)],
)  # fmt: skip
def test_decimal_signs(text: str, point: float | None, comma: float | None) -> None:
    assert (parse_number(text), parse_number(text, comma=True)) == (point, comma)


def test_a_column_tells_its_decimal_sign() -> None:
    notes = Notes()
    assert NumberColumn("hz", ["1.234", "0,5"], notes).read("1.234") == 1234
    assert NumberColumn("hz", ["1,234", "0.5"], notes).read("1,234") == 1234
    assert notes.sentences() == []
    assert NumberColumn("hz", ["1,234"], notes, prefer_comma=True).read("1,234") == 1.234
    assert "in 1 row a comma may part decimals or thousands (as '1,234'); read as 1.234" in notes.sentences()[0]


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


def test_identifiers_keep_all_their_digits_or_none() -> None:
    texts = ("00123", "134874.0", "1.34874E+05", "5.88E+05", "XC12")
    assert [exact_id(text) for text in texts] == ["00123", "134874", "134874", None, "XC12"]
    assert [is_day(text) for text in ("2-Feb", "Mar-01", "01. Mrz", "gretit1", "asbfly")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_paths_of_windows() -> None:
    texts = (".\\a.wav", "..\\x\\a.wav", '"C:\\x\\a.wav"', "./a.wav", "x/a.wav")
    assert [posix_path(text) for text in texts] == ["a.wav", "../x/a.wav", "C:/x/a.wav", "a.wav", "x/a.wav"]


def test_words_for_no_value() -> None:
    assert all(map(is_blank, ("", " ", "-", "?", "??:??", "n/a", "NaN", "unknown", "xx:xx")))
    assert not any(map(is_blank, ("0", "a", "00:00", "no", "#####")))


def test_times_within_a_recording() -> None:
    given = {"00:01": 1, "1:02.5": 62.5, "0:01:02": 62, "00:00:48,5": 48.5, "62.5 s": 62.5, "3": 3, "1,5": 1.5}
    assert {text: parse_offset_s(text) for text in given} == given
    assert [parse_offset_s(text) for text in ("1:75", "1:2", "0:75:00", "-1:00", "abc", "nan", "")] == [None] * 7
