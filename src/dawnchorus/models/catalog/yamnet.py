"""YAMNet as a bundle: 521 sound classes of AudioSet and embeddings, from Google's published weights."""

from __future__ import annotations

import zipfile
from pathlib import Path

from dawnchorus.errors import ModelError, ModelNotFoundError
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.catalog.weights import YAMNET, download_weights
from dawnchorus.taxonomy.labels import Label

ATTRIBUTION = "YAMNet by Google (The TensorFlow Authors), trained on AudioSet"
CLASS_MAP = "yamnet_class_map.csv"
N_CLASSES = 521
SAMPLE_RATE_HZ, N_WINDOW = 16_000, 15_600


def make_yamnet(source: Path, folder: Path) -> Bundle:
    """Write the bundle to `folder` from an ONNX or TFLite file of YAMNet, or a folder with one such file.

    The labels are those in `yamnet_class_map.csv` next to the file, or else those inside a TFLite file with metadata.
    A bundle that is in `folder` is replaced.

    Raises:
        ModelNotFoundError: the folder `source` does not have exactly one such file, or there are no labels.
        ModelError: the file is not YAMNet.
        InputError, FormatError: the file is missing or of another kind, or `yamnet_class_map.csv` is not valid.
        MissingExtraError: the file is TFLite, and LiteRT is not installed.
        OutputExistsError, OutputError: see `models.bundle.new_bundle`.
    """
    if source.is_dir():
        files = sorted(path for path in source.iterdir() if path.suffix in (".onnx", ".tflite"))
        if len(files) != 1:
            raise ModelNotFoundError(
                f"expected one .onnx or .tflite file in it, found {len(files)}. Name the file.", subject=source
            )
        source = files[0]
    from dawnchorus.models.graphs.wrapping import (  # loads onnx, which is needed once per machine
        ModelDescription,
        wrap_model,
    )

    labels = _labels(source)
    if len(labels) != N_CLASSES:
        raise ModelError(f"expected {N_CLASSES} classes, found {len(labels)}.", subject=source)
    description = ModelDescription(
        name="yamnet",
        version="1",
        family="yamnet",
        sample_rate_hz=SAMPLE_RATE_HZ,
        window_s=N_WINDOW / SAMPLE_RATE_HZ,
        activation="identity",
        license=YAMNET.license,
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
        f"expected the labels in {CLASS_MAP} next to it. The file is in tensorflow/models, research/audioset/yamnet.",
        subject=source,
    )


def find_yamnet() -> Path | None:
    """Return None, since no installed package contains the files of YAMNet."""
    return None


def fetch_yamnet(folder: Path) -> Path:
    """Download Google's TFLite file (4 MB), which includes its labels, into `folder`, and return the file's path.

    Raises:
        ModelNotFoundError: the download failed, or the file has another checksum.
        OutputError: the file cannot be written.
    """
    return download_weights(YAMNET, folder, instead="run `dawnchorus models pull yamnet --from FILE`")
