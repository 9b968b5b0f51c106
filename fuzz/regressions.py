"""Inputs that were findings, as target, reader and content: fuzzing starts from them, and a test holds them."""

from __future__ import annotations

REGRESSIONS: tuple[tuple[str, str, bytes], ...] = (
    ("metadata", "guano", b"Timestamp: 2026-05-01T04:30:00+99:00"),  # no time zone that can be written
    ("metadata", "guano", b"Timestamp: 9999-12-31T23:59:59"),  # seconds cannot be added
    ("labels", "labels.csv", b"scientific_name,common_name,kind\n" + b"x" * 140_000),  # csv's limit of a field
    ("labels", "classes.csv", b"index,label\n0\n"),  # a row without its last cell
    ("labels", "classes.csv", b"label\n\xe4"),  # not UTF-8
    ("labels", "recordings", b"path,time\n" + b"x" * 300 + b",2026-05-01\n"),  # a name that is too long
    ("labels", "recordings", b"path,time\na.wav,9999-12-31T23:59:59\n"),
    ("labels", "recordings", b"path,latitude\na.wav,1" + b" " * 60_000 + b"1\n"),  # a time that grows with the square
    ("uploads", "one file", b"multipart/mixed; boundary=b\n--b--"),
    (  # an encoding with a NUL character
        "uploads",
        "one file",
        b"multipart/form-data; boundary=b\n--b\r\nContent-Disposition: form-data; name=\"audio\"; filename*=a\0b''x"
        b"\r\n\r\nRIFF\r\n--b--\r\n",
    ),
    ("tables", "layout", b"path,species\n" + b"x" * 300 + b",y\n"),
    ("tables", "layout", b"path,species,date,time\na,b,2019-20-05,4:30\n"),  # the 20th month
    ("tables", "voices", b"common_name,scientific_name\nGreat Tit\n"),
    ("tables", "annotations", b"a\rb\tc\nd\te\n"),  # a line end inside of a line
    ("tables", "sample", b"row_id,\xe4\n"),
)
