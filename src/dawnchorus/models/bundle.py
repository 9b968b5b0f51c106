"""The bundle: a folder with a model and everything needed to run and cite it.

bundle.json     what the model is (`BundleInfo`)
model.onnx      input `waveform` float32 [batch, samples]; outputs `logits` [batch, classes] and, where the model
                has them, `embeddings` [batch, dim]. The front end is inside the graph. (Or `model.tflite`, or a file
                that another engine reads.)
range.onnx      optional: input `location` float32 [batch, 3] = latitude, longitude, week 1 to 48, or
                -1 for the whole year; output `probabilities` [batch, classes] that a species occurs there at that time
labels.csv      one row per class, in output order: scientific_name, common_name, kind
recordings.parquet  optional: the recordings of the training data with their splits, without locations
MODEL_CARD.md   a description for readers, with the license
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dawnchorus.errors import FormatError, InvalidBundleError, OutputError, OutputExistsError
from dawnchorus.models.cleaning import Cleaning
from dawnchorus.taxonomy.labels import Label, read_labels, write_labels

SCHEMA_VERSION: Literal[1] = 1
BUNDLE_ID_DIGITS = 12
RECORDINGS_NAME = "recordings.parquet"
RANGE_NAME = "range.onnx"

RUN_BUNDLE_NAME = "bundle"
"""Name of the bundle's folder in the folder of a training run."""

Activation = Literal["sigmoid", "softmax", "identity"]
OutputName = Literal["logits", "embeddings"]


class Calibration(BaseModel):
    """Platt scaling of scores to probabilities: sigmoid(scale * logit(score) + offset)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scale: float
    """Factor of the score's log odds."""
    offset: float
    """Term that is added to the scaled log odds."""
    n_recordings: int
    """Number of recordings that the scaling was fitted on."""


class TrainingSummary(BaseModel):
    """Training data and settings of a bundle that was trained with Dawn Chorus."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str
    """Fingerprint of the data set: its recordings, their labels and their splits."""
    n_recordings: int
    """Number of training recordings, without those for validation."""
    n_clips: int
    """Number of training clips, without those for validation."""
    licenses: dict[str, int]
    """Number of recordings, those for validation included, by license; "unknown" for recordings without a license."""
    backbone: str | None = None
    """Name and id, separated by a space, of the bundle whose embeddings or weights were used; None if none was used."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Metrics of the best epoch by name, such as "val_auc"; see `training.fitting.FitResult`."""
    recipe: dict[str, Any] | None = None
    """Settings of `dawnchorus train` for this training, by name, without classes and paths of data.

    A backbone or weights that were given as a folder are named by the folder's path. None if the settings are not
    known.
    """


class BundleDescription(BaseModel):
    """Description of a bundle without checksums; unknown keys are rejected."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = SCHEMA_VERSION
    """Version of the format of `bundle.json`."""
    name: str = Field(min_length=1)
    """Name of the model."""
    version: str
    """Version of the weights, as their publisher names it; "1" for models trained here."""
    family: str
    """Kind of network: name of the model family that it was trained with.

    For other models, a word such as "birdnet", "ensemble" or "outside" (made by another program).
    """
    graph: str = Field(default="model.onnx", pattern=r"^model\.[a-z0-9]+$")
    """Name of the graph's file, whose suffix decides on the engine."""
    engine: str | None = None
    """Name of the engine that runs the graph; None for the first engine that reads such files."""
    sample_rate_hz: int = Field(ge=4_000, le=500_000)
    """Sample rate of the windows in Hz."""
    window_s: float = Field(gt=0, le=120)
    """Length of a window in seconds."""
    activation: Activation
    """Function from logits to scores: "sigmoid", "softmax", or "identity" if the graph's outputs are scores already."""
    embedding_dim: int | None = Field(default=None, ge=1)
    """Length of an embedding; None without embeddings."""
    graph_outputs: dict[OutputName, int] | None = None
    """Positions, from 0, of "logits" and "embeddings" among the outputs of a graph that is not ONNX.

    None if the logits are the only output of the right size, and for ONNX graphs, whose outputs have these names.
    """
    license: str
    """SPDX identifier of the weights' license."""
    attribution: str
    """Authors to credit, and the publication to cite."""
    source: str
    """Origin of the weights, in words."""
    made_by: str
    """Software that wrote the bundle, with its version."""
    thresholds: dict[str, float] = Field(default_factory=dict)
    """Minimum score by scientific name, for classes to which the general `min_score` does not apply.

    Thresholds in the options of an identification take precedence.
    """
    cleaning: Cleaning | None = None
    """Processing of recordings before they are cut into windows; None for no processing."""
    calibration: Calibration | None = None
    """Scaling of scores to probabilities; None if the model has no probabilities."""
    training: TrainingSummary | None = None
    """Training data and settings; None for models that were not trained with Dawn Chorus."""


class BundleInfo(BundleDescription):
    """Content of `bundle.json`: the description with checksums."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Checksum of the graph's file."""
    range_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Checksum of the range model's file; None without a range model."""


@dataclass(frozen=True)
class Bundle:
    """An opened and validated bundle: its folder, the content of `bundle.json`, and the labels in output order."""

    folder: Path
    """Folder with the bundle's files."""
    info: BundleInfo = field(repr=False)
    """Content of `bundle.json`."""
    labels: tuple[Label, ...] = field(repr=False)
    """Label of each class, in the order of the graph's outputs."""

    @property
    def id(self) -> str:
        """First 12 hexadecimal digits of the graph's sha256; stored with every detection."""
        return self.info.sha256[:BUNDLE_ID_DIGITS]

    @property
    def graph_path(self) -> Path:
        """Path of the graph."""
        return self.folder / self.info.graph

    @property
    def range_path(self) -> Path:
        """Path of the range model (where and when species occur); a bundle without a range model has no such file."""
        return self.folder / RANGE_NAME

    @property
    def window_samples(self) -> int:
        """Number of samples in a window."""
        return round(self.info.window_s * self.info.sample_rate_hz)

    @cached_property
    def class_by_scientific_name(self) -> dict[str, int]:
        """Index of each class in the graph's output, by scientific name."""
        return {label.scientific_name: k for k, label in enumerate(self.labels)}


def file_sha256(path: Path) -> str:
    """Return a file's sha256 as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_bundle(folder: Path) -> Bundle:
    """Open the bundle in a folder or, if the folder has no `bundle.json`, the bundle in its subfolder `bundle`.

    The subfolder is where a training run has its bundle. The graph's checksum is not verified here; `verify_bundle`
    does that.

    Raises:
        InvalidBundleError: a file is missing or invalid.
    """
    if not (folder / "bundle.json").is_file() and (folder / RUN_BUNDLE_NAME / "bundle.json").is_file():
        folder = folder / RUN_BUNDLE_NAME
    path = folder / "bundle.json"
    try:
        info = BundleInfo.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InvalidBundleError(
            "it is not a bundle: there is no bundle.json in it. Give the folder that "
            "`dawnchorus models path NAME` prints, or wrap a model with `dawnchorus models wrap`.",
            subject=folder,
        ) from None
    except ValidationError as error:
        raise InvalidBundleError(f"it is not valid: {validation_lines(error)}", subject=path) from error
    graph, labels_path = folder / info.graph, folder / "labels.csv"
    for needed in (graph, labels_path):
        if not needed.is_file():
            raise InvalidBundleError(f"it is not complete: {needed.name} is missing. Make it again.", subject=folder)
    try:
        labels = read_labels(labels_path)
    except FormatError as error:
        raise InvalidBundleError(f"{error} Correct the file, or make the bundle again.") from error
    return Bundle(folder=folder, info=info, labels=labels)


def validation_lines(error: ValidationError) -> str:
    """Return a single line with the location and message of each of Pydantic's validation errors, joined by "; "."""
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())


def verify_bundle(bundle: Bundle) -> None:
    """Verify the checksums of the graph and the range model.

    Raises:
        InvalidBundleError: a file is missing, or its checksum differs.
    """
    expected = {bundle.graph_path: bundle.info.sha256}
    if bundle.info.range_sha256 is not None:
        expected[bundle.range_path] = bundle.info.range_sha256
    for path, sha256 in expected.items():
        digest = file_sha256(path) if path.is_file() else "no file"
        if digest != sha256:
            raise InvalidBundleError(
                f"it is damaged or was replaced: expected sha256 {sha256}, found {digest}. "
                f"Delete the folder and make it again.",
                subject=path,
            )


@dataclass(frozen=True)
class BundleDraft:
    """A bundle under construction in a temporary `folder`, moved to its path by `finish`."""

    folder: Path
    """Temporary folder next to the bundle's final path."""
    out_folder: Path
    """Final path of the bundle."""

    def describe(self, description: BundleDescription, labels: Sequence[Label]) -> Bundle:
        """Write the labels and `bundle.json` with the checksums, and open the draft, in its folder, as a bundle.

        The graph, and the range model if there is one, have to be in the draft's folder already.

        Raises:
            InvalidBundleError: the graph is missing, or two of the labels are the same class.
        """
        graph, range_graph = self.folder / description.graph, self.folder / RANGE_NAME
        if not graph.is_file():
            raise InvalidBundleError(
                f"expected {graph.name} to be written first, got no such file.", subject=self.out_folder
            )
        checksums = {
            "sha256": file_sha256(graph),
            "range_sha256": file_sha256(range_graph) if range_graph.is_file() else None,
        }
        info = BundleInfo.model_validate({**dict(description), **checksums})
        write_labels(self.folder / "labels.csv", labels)
        text = info.model_dump_json(indent=2, exclude_none=True)
        (self.folder / "bundle.json").write_text(text + "\n", encoding="utf-8")
        return read_bundle(self.folder)

    def finish(self, card: str) -> Bundle:
        """Write the model card, move the draft to its final path, and return the bundle there.

        An older bundle at this path is replaced. `card` is the card's text in Markdown.

        Raises:
            InvalidBundleError: the draft is not complete; `describe` comes first.
        """
        read_bundle(self.folder)
        (self.folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")
        self.folder.chmod(0o755)
        _replace_folder(self.folder, self.out_folder)
        return read_bundle(self.out_folder)


@contextmanager
def new_bundle(folder: Path) -> Iterator[BundleDraft]:
    """Yield a draft for a new bundle at `folder`; the draft is deleted unless `BundleDraft.finish` is called.

    The parent folders of `folder` are created.

    Raises:
        OutputExistsError: `folder` exists, and has no `bundle.json`.
        OutputError: the temporary folder cannot be created: no space, or no permission.
    """
    if folder.exists() and not (folder / "bundle.json").is_file():
        raise OutputExistsError(
            "it is there and is no bundle, so it is not replaced. Choose another folder.", subject=folder
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise OutputError(f"cannot be made ({error.strerror}). Choose another folder.", subject=folder) from error
    try:
        yield BundleDraft(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _replace_folder(new: Path, folder: Path) -> None:
    try:
        os.rename(new, folder)
    except OSError:
        # Something is there: another process made the same bundle first, or an older one is being replaced.
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
        os.rename(folder, old / "bundle")
        os.rename(new, folder)
        shutil.rmtree(old, ignore_errors=True)
