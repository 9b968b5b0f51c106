"""Reading of CSV tables that people made: encoding, delimiter, numbers, dates and header spelling.

`docs/TABLES.md` states the rules. Each guess, and each kind of value that was left out (with the number of rows),
becomes a sentence in the table's `Notes`.
"""

from dawnchorus.tables.dates import DateColumn, Stamp
from dawnchorus.tables.encoding import read_start, read_text
from dawnchorus.tables.ids import exact_id, is_day, posix_path
from dawnchorus.tables.locations import (
    NO_FIX,
    CoordinateColumns,
    LocationColumn,
    has_two_numbers,
    is_without_fix,
    parse_latitude,
    parse_location,
    parse_longitude,
    without_missing_fix,
)
from dawnchorus.tables.notes import Notes, list_columns
from dawnchorus.tables.numbers import NumberColumn, parse_number
from dawnchorus.tables.offsets import parse_offset_s
from dawnchorus.tables.table import Table, column_keys, header_key
from dawnchorus.tables.times import TimeColumn, parse_time
from dawnchorus.tables.words import is_blank

__all__ = [
    "NO_FIX",
    "CoordinateColumns",
    "DateColumn",
    "LocationColumn",
    "Notes",
    "NumberColumn",
    "Stamp",
    "Table",
    "TimeColumn",
    "column_keys",
    "exact_id",
    "has_two_numbers",
    "header_key",
    "is_blank",
    "is_day",
    "is_without_fix",
    "list_columns",
    "parse_latitude",
    "parse_location",
    "parse_longitude",
    "parse_number",
    "parse_offset_s",
    "parse_time",
    "posix_path",
    "read_start",
    "read_text",
    "without_missing_fix",
]
