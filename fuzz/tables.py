"""Readers of detection tables, annotations, recordings tables and competitions' samples."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dawnchorus.data.explore import summarize_data_set
from dawnchorus.data.given_split import split_by_tables
from dawnchorus.data.layouts.annotations import MarkTables, NamedMark
from dawnchorus.data.layouts.search_results import read_search_results
from dawnchorus.data.layouts.tables import TableLayout
from dawnchorus.data.layouts.voices import TABLE, read_voice_recordings, read_voices
from dawnchorus.data.marks import match_marks
from dawnchorus.data.recordings import Annotation, RecordingRow, RecordingsTable, read_table, species_of, write_table
from dawnchorus.evaluation.submission import read_sample
from dawnchorus.formats.registry import FORMATS, Read, read_annotations
from dawnchorus.types import Detection, Mark, Provenance, RecordingMetadata, RecordingTable
from fuzz.contract import Reader, Target, from_file, scratch_folder

_TABLE = RecordingTable(
    "a/dawn.wav",
    6.0,
    48_000,
    RecordingMetadata(),
    None,
    (
        Detection(0.0, 3.0, "Parus major", "Great Tit", "species", 0.9, in_range=True, probability=0.5),
        Detection(3.0, 6.0, "Engine", "Engine", "sound", 0.25, low_hz=100.0, high_hz=900.0),
    ),
)
_PROVENANCE = Provenance("birdnet", "2.4", "0" * 12, "dawnchorus", {"range_filter": True})

_METADATA_CSV = (
    b"primary_label,secondary_labels,scientific_name,common_name,filename,latitude,longitude,date,time,license,rating\n"
    b"gretit1,\"['eurrob1', 'x']\",Parus major,Great Tit,gretit1/XC1.ogg,52.5,13.4,2026-05-01,4:30 am,CC BY 4.0,5\n"
    b"nocall,[],nocall,,b.wav,,,2026-00-00,?,,\n"
)
_SEARCH_RESULTS = (
    b'{"recordings": [{"id": "1", "gen": "Parus", "sp": "major", "en": "Great Tit", "also": ["Strix aluco", ""], '
    b'"lic": "//creativecommons.org/licenses/by/4.0/", "length": "0:04", "smp": "48000", "lat": "52.5", "lng": null}]}'
)
_AUDACITY = b"0.000000\t3.000000\tParus major;0.9\n\\\t100.0\t900.0\n3.0\t4.5\tStrix aluco\n"


def _written(name: str) -> bytes:
    out = io.BytesIO()
    FORMATS[name].write(out, [_TABLE], _PROVENANCE)
    return out.getvalue()


def _parquet_seeds(content: bytes) -> tuple[bytes, ...]:
    """Return a Parquet file, the same with its values in plain sight, and that with a name that is not UTF-8."""
    out = io.BytesIO()
    table = pq.read_table(pa.BufferReader(content))
    pq.write_table(table, out, compression="none", use_dictionary=False, store_schema=False)
    plain = out.getvalue()
    return content, plain, plain.replace(b"common_name", b"\xffommon_name")


def _recordings_table() -> bytes:
    row = RecordingRow(
        recording_id="XC1",
        path="a.wav",
        scientific_name="Parus major",
        secondary=("Strix aluco",),
        annotations=(Annotation(start_s=0.0, end_s=1.0, scientific_name="Parus major"),),
        latitude=52.5,
        rate_hz=48_000,
    )
    return write_table(RecordingsTable(scratch_folder(), (row,))).read_bytes()


def _reader_of(name: str, suffix: str, read: Read, seeds: tuple[bytes, ...]) -> Reader:
    def read_all(path: Path) -> None:
        rows = [Mark(line, detection, recording) for line, (recording, detection) in enumerate(read(path), start=1)]
        recording = Path("r.wav")
        match_marks(MarkTables([NamedMark(path, row, recording) for row in rows]), {recording: 6.0}, [recording])

    return Reader(name, from_file(read_all, f"table{suffix}"), seeds)


def _formats() -> tuple[Reader, ...]:
    readers = []
    for name, entry in FORMATS.items():
        if entry.read is not None:
            seed = _written(name)
            seeds = _parquet_seeds(seed) if name == "parquet" else (seed,)
            readers.append(_reader_of(name, entry.suffix, entry.read, seeds))
    return tuple(readers)


def _read_layout(path: Path) -> None:
    summarize_data_set(list(TableLayout.of(path, {}).rows()))


def _read_taxonomy(content: bytes) -> None:
    taxonomy, table = scratch_folder() / "taxonomy.csv", scratch_folder() / "train.csv"
    taxonomy.write_bytes(content)
    table.write_bytes(_METADATA_CSV)
    try:
        _read_layout(table)
    finally:
        taxonomy.unlink()


def _read_voices(path: Path) -> None:
    list(read_voices(path, path.parent, [path.parent / "Great Tit_sound" / "a.mp3"]))
    read_voice_recordings(path)


def _read_search_results(path: Path) -> None:
    summarize_data_set(list(read_search_results(path, path.parent, [path.parent / "XC1.mp3"])))


def _read_split(path: Path) -> None:
    row = RecordingRow(recording_id="XC1", path="a/XC1.mp3", scientific_name="Parus major")
    split_by_tables(RecordingsTable(path.parent, (row,)), [path])


def _read_recordings(path: Path) -> None:
    rows = read_table(path).rows
    species_of(rows)
    summarize_data_set(rows)


TARGET = Target(
    "tables",
    (
        *_formats(),
        Reader("annotations", from_file(read_annotations, "a.txt"), (_written("raven"), _AUDACITY)),
        Reader(
            "classes",
            from_file(read_annotations, "a.csv"),
            (b"file,start,end,A,B\na.wav,0,5,1,0\na.wav,5,9,POS,UNK\n",),
        ),
        Reader(
            "avianz",
            from_file(read_annotations, "a.wav.data"),
            (b'[{"Duration": 6}, [1, 2.5, 0, 0, [{"species": "Kiwi", "certainty": 100}]]]',),
        ),
        Reader(
            "layout",
            from_file(_read_layout, "metadata.csv"),
            (_METADATA_CSV, "Datei;species\nfilename,species\nä.wav,Meise\n".encode("cp1252"), b"path,name\na,b\n"),
        ),
        Reader("taxonomy", _read_taxonomy, (b"primary_label,scientific_name\ngretit1,Parus major\n",)),
        Reader("voices", from_file(_read_voices, TABLE), (b"common_name,scientific_name\nGreat Tit,Parus major x\n",)),
        Reader(
            "search results",
            from_file(_read_search_results, "xc.json"),
            (_SEARCH_RESULTS, b'[{"results": ' + b"[" * 20 + b"]" * 20 + b"}]"),
        ),
        Reader(
            "split", from_file(_read_split, "mine.csv"), (b"xc_id,filename,split\n1,a/XC1.mp3,val\n,b.wav,train\n",)
        ),
        Reader("split in JSON", from_file(_read_split, "mine.json"), (b'{"train": {"files": ["XC1"]}, "val": ["x"]}',)),
        Reader("recordings", from_file(_read_recordings, "recordings.parquet"), _parquet_seeds(_recordings_table())),
        Reader("sample", from_file(read_sample, "sample.csv"), (b"row_id,gretit1,x\nsoundscape_1_5,0.1,0\n",)),
    ),
)
