"""Dates in the forms that people write."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fixtures.tables import table

from dawnchorus.tables import DateColumn, Notes


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
    ("name", "expected", "n_notes"),
    [("Date (mm/dd/yyyy)", "2024-05-04", 0), ("Datum (TT/MM/JJJJ)", "2024-04-05", 0),
     ("Date (jj/mm/aaaa)", "2024-04-05", 0)],
)  # fmt: skip
def test_date_order_is_read_from_the_header(tmp_path: Path, name: str, expected: str, n_notes: int) -> None:
    dated = table(tmp_path, f"path,{name}\na.wav,05/04/2024\n")
    stamp = dated.dates(1).read("05/04/2024")
    assert stamp is not None
    assert (stamp.date, len(dated.notes.sentences())) == (expected, n_notes)


def test_dates_that_contradict_the_header_are_noted(tmp_path: Path) -> None:
    dated = table(tmp_path, "path,Date (mm/dd/yyyy)\na.wav,25/04/2024\n")
    dated.dates(1)
    assert "not all written as its name says" in dated.notes.sentences()[0]
