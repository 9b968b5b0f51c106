"""Parsing of dates; the order of day and month is inferred from the whole column."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day

from dawnchorus.tables.notes import Notes, counted_rows
from dawnchorus.tables.times import convert_fraction, parse_time
from dawnchorus.tables.units import date_order, extract_brackets
from dawnchorus.tables.words import is_blank

FIRST_YEAR, LAST_YEAR = 1850, 2100

DAY_FIRST, MONTH_FIRST, YEAR_FIRST = "day/month/year", "month/day/year", "year/month/day"
_ORDERS = (DAY_FIRST, MONTH_FIRST, YEAR_FIRST)

_EXPECTED = "a date such as 2024-05-01"
_MAX_SHARE_OF_OTHERS = 0.1
"""Largest share of a column's dates that may be in another order than most; these count as typing errors."""

_MONTHS = {
    prefix: number
    for number, prefixes in enumerate(
        (
            "jan ene gen", "feb fev fbr", "mar mrz maa mrt", "apr avr abr", "may mai mag mei maj", "jun juin giu",
            "jul juil lug", "aug aou ago", "sep set", "oct okt ott out", "nov", "dec dez dic des",
        ),
        start=1,
    )
    for prefix in prefixes.split()
}  # fmt: skip
"""Month numbers by the first three letters of month names in European languages."""

_HYPHENS = dict.fromkeys(map(ord, "\u2212\u2013\u2010\u2011"), "-")
_FILLERS = frozenset(("st", "nd", "rd", "th", "er", "de", "of", "le"))

_YEAR_FIRST = re.compile(
    r"(?P<year>\d{4})(?:\s*(?P<separator>[-/.:_ ])\s*(?P<month>\d{1,2})(?:\s*(?P=separator)\s*(?P<day>\d{1,2}))?)?\.?",
    re.ASCII,
)
_YEAR_LAST = re.compile(
    r"(?P<first>\d{1,2})\s*(?P<separator>[-/._ ])\s*(?P<second>\d{1,2})\s*(?P=separator)\s*(?P<year>\d{4}|'?\d{2})",
    re.ASCII,
)
_MONTH_AND_YEAR = re.compile(r"(?P<month>\d{1,2})[-/.](?P<year>\d{4})", re.ASCII)
_COMPACT = re.compile(r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})(?:\.0)?", re.ASCII)
_SERIAL = re.compile(r"(\d{5})(?:[.,](\d*))?", re.ASCII)
_FIRST_SERIAL, _LAST_SERIAL = 18_264, 73_415
"""Spreadsheet day numbers (days since `_DAY_ZERO`) of 1950 and 2100."""
_DAY_ZERO = date(1899, 12, 30)
_VAGUE = re.compile(r"[^\W\d]{2,}[.,]*\s+(?:\d{4}|\d{4}[-/.]\d{1,2}|\d{1,2}[-/.]\d{4})")
"""A word other than a weekday before a year or month: `Spring 2024`."""
_TIME = re.compile(
    r"(?P<date>.*?\d.*?)(?:t|[, ]\s*)(?P<time>\d{1,2}[:.h]\d{2}\D?.*|\d{1,2}\s*[ap]\.?m\.?|\d{4,6}z?)", re.ASCII
)
_STUCK_TIME = re.compile(r"(?P<date>\d{8})[t_ -]?(?P<time>\d{6}\D*.*|\d{4}z?)", re.ASCII)


@dataclass(frozen=True)
class Stamp:
    """A date, in which month and day may be unknown, and the time of day in the same cell."""

    year: int
    """Year with all four digits."""
    month: int | None = None
    """Month from 1; None if it is unknown."""
    day: int | None = None
    """Day of the month from 1; None if it is unknown."""
    time: time_of_day | None = None
    """Time of day in the same cell, with `tzinfo` if the cell has a time zone; None without a time."""

    @property
    def date(self) -> str:
        """The date in ISO 8601: 2024-05-01, 2024-05 or 2024."""
        return "-".join([f"{self.year:04d}", *(f"{part:02d}" for part in (self.month, self.day) if part is not None)])

    def moment(self, at: time_of_day | None) -> datetime | None:
        """Combine the date with the time of day `at`, whose `tzinfo` is kept; None if month, day or `at` is None."""
        if self.month is None or self.day is None or at is None:
            return None
        return datetime.combine(date(self.year, self.month, self.day), at)


@dataclass(frozen=True)
class _Pair:
    """A date such as 01/02/2024, whose order of day, month and year is inferred from the other dates in the column."""

    first: int
    second: int
    last: int
    has_short_year: bool
    separator: str
    is_padded: bool
    time: time_of_day | None = None

    def stamp(self, order: str) -> Stamp | None:
        """Read the numbers in an order such as `DAY_FIRST`; None if they are no date in this order."""
        if order == YEAR_FIRST:
            return _stamp(_full_year(self.first), self.second, self.last, self.time) if self.has_short_year else None
        day, month = (self.first, self.second) if order == DAY_FIRST else (self.second, self.first)
        return _stamp(_full_year(self.last) if self.has_short_year else self.last, month, day, self.time)

    def day(self, order: str) -> int:
        """Return the day of the month that the numbers mean in an order such as `DAY_FIRST`."""
        return {DAY_FIRST: self.first, MONTH_FIRST: self.second, YEAR_FIRST: self.last}[order]

    @property
    def orders(self) -> tuple[str, ...]:
        """Orders of day, month and year in which the numbers are a valid date."""
        return tuple(order for order in _ORDERS if self.stamp(order))


def _full_year(year: int) -> int:
    """Complete a year of two digits: 0 to 68 are 2000 to 2068, 69 to 99 are 1969 to 1999."""
    return year + (2000 if year < 69 else 1900)


def _stamp(year: int, month: int | None, day: int | None, at: time_of_day | None = None) -> Stamp | None:
    """Return the date; a month or day of 0 or None is unknown. None if there is no such day."""
    if not FIRST_YEAR <= year <= LAST_YEAR or (month or 0) > 12:
        return None
    if not month:
        return Stamp(year) if not day else None
    if not day:
        return Stamp(year, month)
    try:
        date(year, month, day)
    except ValueError:
        return None
    return Stamp(year, month, day, at)


def parse_date(text: str) -> Stamp | _Pair | None:
    """Parse a date; None if it is no date.

    `2024-05-01`, `20240501`, `1 May 2024`, `May 2024` and `2024` are dates. For three numbers such as `01/05/2024` and
    `13/05/24`, whose order only `DateColumn` decides, the result is a `_Pair` of these unchecked numbers. A time of day
    may follow, as in `2024-05-01 06:30`.

    None also for dates with a year outside `FIRST_YEAR` (1850) to `LAST_YEAR` (2100), and for a spreadsheet's day
    numbers, which only `DateColumn` reads.
    """
    text = _plain(text)
    day_only = _without_time(text)
    if day_only is not None:
        return day_only
    for pattern in (_STUCK_TIME, _TIME):
        parts = pattern.fullmatch(text)
        if parts is None:
            continue
        day, at = _without_time(parts["date"].strip(" ,")), parse_time(parts["time"])
        if day is not None and at is not None:
            return replace(day, time=at)
    return None


def _plain(text: str) -> str:
    """Normalize a date's text: lower case, single spaces, no accents, no weekday."""
    text = (
        unicodedata.normalize("NFKC", " ".join(text.split())).casefold().replace("\u2212", "-").replace("\u2013", "-")
    )
    text = re.sub(r"(\d)\s*年\s*(\d+)\s*月\s*(\d+)\s*日", r"\1-\2-\3 ", text).strip()
    text = _letters(text)
    return re.sub(r"^[^\W\d_]{2,}\.?,?\s+(?=\d)|^[^\W\d_]{2,}\.?,\s+", "", text) if not _month(text) else text


def _without_time(text: str) -> Stamp | _Pair | None:
    if match := _YEAR_FIRST.fullmatch(text):
        return _stamp(int(match["year"]), int(match["month"] or 0), int(match["day"] or 0))
    if match := _YEAR_LAST.fullmatch(text):
        return _pair(match)
    if match := _MONTH_AND_YEAR.fullmatch(text):
        return _stamp(int(match["year"]), int(match["month"]), None)
    if (match := _COMPACT.fullmatch(text)) and (stamp := _stamp(int(match[1]), int(match[2]), int(match[3]))):
        return stamp
    return _in_words(text)


def _pair(match: re.Match[str]) -> _Pair:
    digits = match["year"].lstrip("'")
    is_padded = any(match[name].startswith("0") for name in ("first", "second"))
    return _Pair(
        int(match["first"]), int(match["second"]), int(digits), len(digits) == 2, match["separator"], is_padded
    )


def _in_words(text: str) -> Stamp | None:
    """Return a date whose month is a word: `1 May 2024`, `May 1, 2024`, `01-May-24`, `1. Mai 2024`, `May 2024`."""
    parts = [part for part in re.findall(r"\d+|[^\W\d_]+", text) if part not in _FILLERS]
    months = [(index, _month(part)) for index, part in enumerate(parts) if not part.isdigit()]
    if len(months) != 1 or months[0][1] is None or not 2 <= len(parts) <= 3:
        return None
    index, month = months[0]
    numbers = [part for part in parts if part.isdigit()]
    if len(numbers) == 1:
        return _stamp(int(numbers[0]), month, None) if len(numbers[0]) == 4 else None
    if len(numbers[0]) == 4:
        numbers.reverse()
    day, year = numbers
    if len(day) > 2 or len(year) not in (2, 4) or index == 2:
        return None
    return _stamp(int(year) if len(year) == 4 else _full_year(int(year)), month, int(day))


def _letters(text: str) -> str:
    """Return the text in lower case, without accents."""
    decomposed = unicodedata.normalize("NFD", text.casefold())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def _month(word: str) -> int | None:
    """Return the number of the month that a word (without accents) begins with; None if it is no month."""
    word = re.match(r"[^\W\d_]*", word)[0]  # type: ignore[index]
    if len(word) < 3:
        return None
    return _MONTHS.get(word[:4]) or _MONTHS.get(word[:3])


def _serial(text: str) -> Stamp | None:
    """Convert a spreadsheet's day number such as `45413.25` to a date and time; None for other texts."""
    match = _SERIAL.fullmatch(text.strip())
    if match is None or not _FIRST_SERIAL <= int(match[1]) <= _LAST_SERIAL:
        return None
    day = _DAY_ZERO + timedelta(days=int(match[1]))
    fraction = float(f"0.{match[2] or 0}")
    return Stamp(day.year, day.month, day.day, convert_fraction(fraction) if fraction else None)


class DateColumn:
    """Parser of a column of dates, which infers the order of day and month from all values of the column.

    Dates such as 01/02/2024 are read in the order in which all dates with the same separator are valid. If several
    orders are possible, these rules decide: after points the day is first (1.2.2024); otherwise the number that varies
    more is the day; otherwise `prefer_day_first`; otherwise unpadded numbers with slashes have the month first, and all
    others the day. A guess is added to `notes`. An order in brackets in the column's name, `date (dd/mm/yyyy)`, comes
    before these rules if all dates fit it. If no order fits all dates, one that fits nine tenths of them is taken; if
    there is none, dates that are valid in several orders are None, with a note. Years of two digits are 1969 to 2068.

    Args:
        name: the column's name in the header.
        values: all cells of the column.
        notes: gets a sentence for each guess, and the number of values that could not be read.
        prefer_day_first: read dates that no other rule decides as day first; False leaves them to the last rule.

    Attributes:
        has_times: True if at least one value has a time of day other than midnight.
    """

    def __init__(self, name: str, values: Iterable[str], notes: Notes, *, prefer_day_first: bool = False) -> None:
        self.name = name
        self._notes = notes
        self._prefer_day_first = prefer_day_first
        self._named_order = date_order(name)
        counts = Counter(map(str.strip, values))
        pairs: dict[str, dict[_Pair, str]] = defaultdict(dict)
        n_rows: Counter[_Pair] = Counter()
        times, serials = set(), Counter[str]()
        for value, n in counts.items():
            date_ = parse_date(value)
            if isinstance(date_, _Pair):
                pairs[date_.separator].setdefault(replace(date_, time=None), value)
                n_rows[replace(date_, time=None)] += n
            if date_ is not None and date_.time is not None:
                times.add(date_.time.replace(tzinfo=None))
            if date_ is None and (day := _serial(value)):
                serials[value] = n
                times.add(day.time or time_of_day())
        self.has_times = bool(times - {time_of_day()})
        """True if at least one value has a time of day other than midnight, which spreadsheets add to bare dates."""
        self._orders = {sign: self._order(list(date_), date_, n_rows) for sign, date_ in pairs.items()}
        self._note_serials(serials)
        self._note_damage(pairs)
        self._note_vague(counts)
        self._note_future(counts)

    def read(self, text: str) -> Stamp | None:
        """Parse a cell as a date; None if it is blank, zeros (`0000-00-00`), invalid, or of unknown order.

        Invalid values are counted in the notes. Dates of unknown order have a note of the constructor, and no count.
        """
        date_ = self.parse(text)
        if date_ is None and not is_blank(text) and not re.fullmatch(r"[0\W]+", text) and not self._is_open(text):
            self._notes.misread(self.name, text, expected=_EXPECTED)
        return date_

    def _is_open(self, text: str) -> bool:
        """Return True if the date is valid in several orders and the column has none; `_most_frequent` notes these."""
        date_ = parse_date(text)
        return isinstance(date_, _Pair) and len(date_.orders) > 1 and self._orders.get(date_.separator) is None

    def parse(self, text: str) -> Stamp | None:
        """Parse a cell as `read` does, without counting invalid values."""
        date_ = parse_date(text) or _serial(text)
        if isinstance(date_, _Pair):
            order = self._orders.get(date_.separator) or (date_.orders[0] if len(date_.orders) == 1 else None)
            date_ = date_.stamp(order) if order else None
        return date_

    def _order(self, pairs: list[_Pair], texts: dict[_Pair, str], n_rows: Counter[_Pair]) -> str | None:
        """Return the order of the dates with one separator; None if too many dates contradict each order."""
        dates = [pair for pair in pairs if pair.orders]
        n_fitting = Counter({order: sum(n_rows[pair] for pair in dates if pair.stamp(order)) for order in _ORDERS})
        n_dates = sum(n_rows[pair] for pair in dates)
        possible = [order for order in _ORDERS if n_fitting[order] == n_dates]
        if self._named_order is not None and self._named_order in possible:
            return self._named_order
        if self._named_order is not None and dates:
            self._notes.add(
                f"column '{self.name}': dates such as '{texts[dates[0]]}' are not all written as its name says, "
                f"'{extract_brackets(self.name)}': the order of day and month is read from the dates."
            )
        if not possible:
            return self._most_frequent(dates, texts, n_fitting, n_rows)
        unsure = [pair for pair in dates if len({pair.stamp(order) for order in possible}) > 1]
        if len(possible) == 1 or not unsure:
            return possible[0]
        if DAY_FIRST in possible and unsure[0].separator == ".":
            return DAY_FIRST
        order, reason = self._guess(unsure, possible)
        read = unsure[0].stamp(order)
        n_unsure = sum(n_rows[pair] for pair in unsure)
        self._notes.add(
            f"column '{self.name}': in {counted_rows(n_unsure)} day and month could change places (as "
            f"'{texts[unsure[0]]}'); read as {order}{f', so {read.date}' if read else ''}, because {reason}. Write "
            f"dates as 2024-05-01 to be sure."
        )
        return order

    def _most_frequent(
        self, dates: list[_Pair], texts: dict[_Pair, str], n_fitting: Counter[str], n_rows: Counter[_Pair]
    ) -> str | None:
        """Return the order that all dates but a few typing errors fit; None, with a note, if there is no such order."""
        order, n = n_fitting.most_common(1)[0]
        n_dates = sum(n_rows[pair] for pair in dates)
        if n_dates - n <= _MAX_SHARE_OF_OTHERS * n_dates:
            return order
        sure: Counter[str] = Counter()
        unsure = [pair for pair in dates if len(pair.orders) > 1]
        for pair in dates:
            if len(pair.orders) == 1:
                sure[pair.orders[0]] += n_rows[pair]
        n_open = n_dates - sure.total()
        example = f" (as '{texts[unsure[0]]}')" if unsure else ""
        counts = ", ".join(f"{each} in {counted_rows(number)}" for each, number in sure.items())
        self._notes.add(
            f"column '{self.name}': day and month stand in several orders ({counts}); {counted_rows(n_open)} that "
            f"could be either{example} {'is' if n_open == 1 else 'are'} left without a date. Write dates as 2024-05-01."
        )
        return None

    def _guess(self, pairs: list[_Pair], possible: list[str]) -> tuple[str, str]:
        """Return the likeliest of the `possible` orders, and the reason as a clause for the note."""
        n_days = {order: len({pair.day(order) for pair in pairs}) for order in possible}
        most = [order for order in possible if n_days[order] == max(n_days.values())]
        if len(most) == 1:
            index = {DAY_FIRST: "first", MONTH_FIRST: "second", YEAR_FIRST: "last"}[most[0]]
            return most[0], f"the {index} number varies more"
        if YEAR_FIRST in most and len(most) == 2:
            return most[0], "the year mostly stands last"
        if self._prefer_day_first:
            reason = "tables with semicolons are from countries where the day stands first"
        elif pairs[0].separator != "/":
            reason = "with this separator the day mostly stands first"
        elif any(pair.is_padded for pair in pairs):
            reason = "its numbers have zeros before them, as most countries write them"
        else:
            return MONTH_FIRST, "its numbers have no zeros before them, as spreadsheets of the USA write them"
        return DAY_FIRST, reason

    def _note_serials(self, serials: Counter[str]) -> None:
        if not serials:
            return
        example = next(iter(serials))
        day = _serial(example)
        self._notes.add(
            f"column '{self.name}': {counted_rows(serials.total())} with numbers such as '{example}' are taken for a "
            f"spreadsheet's days since 1900 ({day.date if day else ''})."
        )

    def _note_vague(self, counts: Counter[str]) -> None:
        """Note dates of which only a part is understood: from `Spring 2024` only the year is read."""
        dates = {
            value: stamp.date
            for value in counts
            if _VAGUE.fullmatch(value) and (stamp := self.parse(value)) is not None and _month(_letters(value)) is None
        }
        if dates:
            value, read = next(iter(dates.items()))
            self._notes.add(
                f"column '{self.name}': {counted_rows(sum(counts[each] for each in dates))} with dates such as "
                f"'{value}' are understood only in part, and read as {read}; expected {_EXPECTED}."
            )

    def _note_future(self, counts: Counter[str]) -> None:
        """Note dates after tomorrow, which cannot be a recording's date."""
        last_day = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
        future = [
            value
            for value in counts
            if (stamp := self.parse(value)) is not None and stamp.date > last_day[: len(stamp.date)]
        ]
        if future:
            self._notes.add(
                f"column '{self.name}': {counted_rows(sum(counts[value] for value in future))} with dates in the "
                f"future (as '{future[0]}'), which are read as they are. Check them."
            )

    def _note_damage(self, pairs: dict[str, dict[_Pair, str]]) -> None:
        """Note two date styles in one column: a spreadsheet may have swapped day and month up to the day 12."""
        open_signs = [sign for sign, date_ in pairs.items() if all(_could_be_either(pair) for pair in date_)]
        sure_signs = [sign for sign, date_ in pairs.items() if not any(_could_be_either(pair) for pair in date_)]
        if open_signs and sure_signs:
            examples = (next(iter(pairs[sign].values())) for sign in (sure_signs[0], open_signs[0]))
            self._notes.add(
                f"column '{self.name}': dates are written as '{next(examples)}' where the day is above 12, and as "
                f"'{next(examples)}' where it is not: a spreadsheet may have changed day and month there. Check them."
            )


def _could_be_either(pair: _Pair) -> bool:
    """Return True if the date is valid both with the day and with the month first."""
    return pair.stamp(DAY_FIRST) is not None and pair.stamp(MONTH_FIRST) is not None
