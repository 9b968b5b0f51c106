"""YAMNet as a bundle: 521 sound classes of AudioSet and embeddings, from Google's published weights."""

from __future__ import annotations

import zipfile
from pathlib import Path

from dawnchorus.errors import DownloadError, ModelError, ModelNotFoundError
from dawnchorus.models.bundle import Bundle
from dawnchorus.storage.http_client import HttpClient
from dawnchorus.taxonomy.labels import Label

LICENSE = "Apache-2.0"
ATTRIBUTION = "YAMNet by Google (The TensorFlow Authors), trained on AudioSet"
URL = "https://storage.googleapis.com/mediapipe-models/audio_classifier/yamnet/float32/1/yamnet.tflite"
"""Google's TFLite file; it carries its labels as an attached zip entry."""

SHA256 = "4d8b4a53282dc83ef04e3e7dbc4fbc98082e34e44ed798e16c3a0cdd4c584faf"
"""The checksum of the file at `URL`, which has 4,126,810 bytes."""

CLASS_MAP = "yamnet_class_map.csv"
N_CLASSES = 521
SAMPLE_RATE_HZ, N_WINDOW = 16_000, 15_600
MAX_TRIES = 3


def make_yamnet(source: Path, folder: Path) -> Bundle:
    """Write the bundle to `folder` from an ONNX or TFLite file of YAMNet, or a folder with one.

    The labels are those inside a TFLite file with metadata, or else `yamnet_class_map.csv` beside the file.

    Raises:
        ModelNotFoundError: there is no such file, or there are no labels.
        ModelError: the file is not YAMNet.
    """
    if source.is_dir():
        files = sorted(path for path in source.iterdir() if path.suffix in (".onnx", ".tflite"))
        if len(files) != 1:
            raise ModelNotFoundError(
                f"{source}: expected one .onnx or .tflite file in it, found {len(files)}. Name the file."
            )
        source = files[0]
    from dawnchorus.models.graphs.wrapping import (  # loads onnx, which is needed once per machine
        ModelDescription,
        wrap_model,
    )

    labels = _labels(source)
    if len(labels) != N_CLASSES:
        raise ModelError(f"{source}: expected {N_CLASSES} classes, found {len(labels)}.")
    description = ModelDescription(
        name="yamnet",
        version="1",
        family="yamnet",
        sample_rate_hz=SAMPLE_RATE_HZ,
        window_s=N_WINDOW / SAMPLE_RATE_HZ,
        activation="identity",
        license=LICENSE,
        attribution=ATTRIBUTION,
    )
    return wrap_model(source, folder, labels=labels, description=description)


def _labels(source: Path) -> tuple[Label, ...]:
    from dawnchorus.models.class_lists import read_classes

    class_map = source.with_name(CLASS_MAP)
    if class_map.is_file():
        return read_classes(class_map, kind="sound")
    if source.is_file() and zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            names = [name for name in archive.namelist() if name.endswith(".txt")]
            lines = archive.read(names[0]).decode("utf-8").splitlines() if names else []
        return tuple(Label(line.strip(), line.strip(), "sound") for line in lines if line.strip())
    raise ModelNotFoundError(
        f"{source}: expected the labels in {CLASS_MAP} beside it. The file is in tensorflow/models, "
        f"research/audioset/yamnet."
    )


def find_yamnet() -> Path | None:
    """Return None: no package carries YAMNet."""
    return None


def fetch_yamnet(folder: Path, *, url: str = URL, sha256: str = SHA256) -> Path:
    """Download Google's file (4 MB) into `folder`, and return its path.

    Raises:
        ModelNotFoundError: It could not be downloaded, or another file came.
        OutputError: It cannot be written.
    """
    out_path = folder / "yamnet.tflite"
    try:
        HttpClient(per_s=10, max_tries=MAX_TRIES).download(url, out_path, sha256=sha256)
    except DownloadError as error:
        raise ModelNotFoundError(
            f"YAMNet could not be downloaded ({error}). Bring a file of it (ONNX or TFLite, with "
            f"{CLASS_MAP} beside it) and run `dawnchorus models pull yamnet --from FILE`."
        ) from error
    return out_path
