"""Readers of label files, lists that users bring, and bundles."""

from __future__ import annotations

from pathlib import Path

from dawnchorus.identification.input_tables import read_recordings, read_species_list, read_thresholds
from dawnchorus.models.bundle import BundleInfo, read_bundle, verify_bundle
from dawnchorus.models.class_lists import read_classes
from dawnchorus.taxonomy.classes import nearest_species
from dawnchorus.taxonomy.labels import read_label_lines, read_labels
from dawnchorus.types import RecordingTable
from fuzz.contract import ContractError, Reader, Target, from_file, scratch_folder

_LABELS = b"scientific_name,common_name,kind\nParus major,Great Tit,species\nEngine,Engine,sound\n"
_LINES = "Parus major_Great Tit\nEngine_Engine\nStrix aluco\nCorvus corax_Kolkrabe ä\n".encode()
_INFO = (
    BundleInfo.model_validate(
        {
            "name": "level",
            "version": "1",
            "family": "outside",
            "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "sample_rate_hz": 48_000,
            "window_s": 3.0,
            "activation": "sigmoid",
            "embedding_dim": 4,
            "license": "CC0-1.0",
            "attribution": "nobody",
            "source": "here",
            "made_by": "fuzz",
            "thresholds": {"Parus major": 0.5},
            "calibration": {"scale": 1.0, "offset": 0.0, "n_recordings": 3},
            "training": {"data": "d", "n_recordings": 1, "n_clips": 2, "licenses": {"CC0-1.0": 1}},
        }
    )
    .model_dump_json(exclude_none=True)
    .encode()
)


def _folder(*, info: bytes, labels: bytes) -> Path:
    folder = scratch_folder() / "bundle"
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(b"")
    (folder / "bundle.json").write_bytes(info)
    (folder / "labels.csv").write_bytes(labels)
    return folder


def _open_bundle(folder: Path) -> None:
    bundle = read_bundle(folder)
    if bundle.window_samples < 1:
        raise ContractError(f"a bundle with windows of {bundle.window_samples} samples was opened")
    verify_bundle(bundle)


def _read_classes(path: Path) -> None:
    nearest_species(["Parus maior", "Great Tit"], read_classes(path)[:50])


def _read_recordings(path: Path) -> None:
    for recording, metadata in read_recordings(path).values.items():
        RecordingTable(str(recording), 60.0, 48_000, metadata, None, ()).clock_time(60.0)


TARGET = Target(
    "labels",
    (
        Reader("labels.csv", from_file(read_labels, "labels.csv"), (_LABELS,)),
        Reader("label lines", from_file(read_label_lines, "labels.txt"), (_LINES,)),
        Reader(
            "classes.csv",
            from_file(_read_classes, "classes.csv"),
            (_LABELS, b'index,mid,display_name\n0,/m/09x0r,Speech\n1,/m/015lz1,"Singing, loud"\n', b"Label\nA b_C\n"),
        ),
        Reader("species list", from_file(read_species_list, "list.txt"), (b"# owls\nStrix aluco\n" + _LINES,)),
        Reader(
            "thresholds",
            from_file(read_thresholds, "thresholds.csv"),
            (b'scientific_name,min_score\nParus major,0.5\n"Strix aluco_Tawny Owl",1e-1\n',),
        ),
        Reader(
            "recordings",
            from_file(_read_recordings, "places.csv"),
            (
                b"path,lat,lon,start_time\na.wav,52.5,13.4,2026-05-01T04:30:00\nb.wav,,,2026-05-01\n",
                b"recording,time\n/x/c.wav,2026-05-01T04:30:00+02:00\n",
            ),
        ),
        Reader("bundle.json", lambda content: _open_bundle(_folder(info=content, labels=_LABELS)), (_INFO,)),
        Reader("bundle's labels", lambda content: _open_bundle(_folder(info=_INFO, labels=content)), (_LABELS,)),
    ),
)
