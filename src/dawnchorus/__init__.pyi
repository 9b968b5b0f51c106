"""Public names and their types; `__init__.py` imports each when it is first used."""

from dawnchorus.archive.archive import Archive, open_archive
from dawnchorus.archive.manifest import UnitSize
from dawnchorus.archive.runs import ArchiveRun, StoredRun
from dawnchorus.audio.sample_analyses import build_table
from dawnchorus.data.layouts.base import Source
from dawnchorus.data.layouts.registry import SOURCES
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.errors import (
    AudioDecodeError,
    AudioError,
    AudioNotFoundError,
    AudioReadError,
    AudioTooLargeError,
    BusyError,
    ConflictError,
    DawnChorusError,
    DecoderCrashError,
    DownloadError,
    FormatError,
    InputError,
    InvalidBundleError,
    JournalDamagedError,
    LongWaitError,
    MissingExtraError,
    ModelError,
    ModelNotFoundError,
    NotFoundError,
    OutputError,
    OutputExistsError,
    OverloadedError,
    PlugInError,
    StoreError,
    TrainingError,
    UnknownClassError,
    UploadTooLargeError,
    UploadTooSlowError,
)
from dawnchorus.formats.detections import Detections
from dawnchorus.formats.files import read_detections, write_detections
from dawnchorus.formats.registry import FORMATS, TableFormat
from dawnchorus.identification.archiving import ArchiveResult, archive_recordings
from dawnchorus.identification.notebook import NotebookProgress
from dawnchorus.identification.options import Options
from dawnchorus.identification.rescoring import rescore_archive
from dawnchorus.identification.result import RecordingFailure, Run
from dawnchorus.identification.run import identify
from dawnchorus.inference.analyses.base import Analysis
from dawnchorus.inference.analyses.registry import ANALYSES
from dawnchorus.inference.model import Model, load_model
from dawnchorus.models.engines.base import Engine, Port, check_inputs
from dawnchorus.models.engines.registry import ENGINES
from dawnchorus.taxonomy.labels import Label
from dawnchorus.types import Detection, Progress, Provenance, RecordingMetadata, RecordingTable
from dawnchorus.version import __version__
from dawnchorus.workflows import Plot, evaluate, import_recordings, plot_spectrogram, prepare, split, train

__all__ = [
    "ANALYSES",
    "ENGINES",
    "FORMATS",
    "SOURCES",
    "Analysis",
    "Archive",
    "ArchiveResult",
    "ArchiveRun",
    "AudioDecodeError",
    "AudioError",
    "AudioNotFoundError",
    "AudioReadError",
    "AudioTooLargeError",
    "BusyError",
    "ConflictError",
    "DawnChorusError",
    "DecoderCrashError",
    "Detection",
    "Detections",
    "DownloadError",
    "Engine",
    "FormatError",
    "InputError",
    "InvalidBundleError",
    "JournalDamagedError",
    "Label",
    "LongWaitError",
    "MissingExtraError",
    "Model",
    "ModelError",
    "ModelNotFoundError",
    "NotFoundError",
    "NotebookProgress",
    "Options",
    "OutputError",
    "OutputExistsError",
    "OverloadedError",
    "Plot",
    "PlugInError",
    "Port",
    "Progress",
    "Provenance",
    "RecordingFailure",
    "RecordingMetadata",
    "RecordingRow",
    "RecordingTable",
    "Run",
    "Source",
    "StoreError",
    "StoredRun",
    "TableFormat",
    "TrainingError",
    "UnitSize",
    "UnknownClassError",
    "UploadTooLargeError",
    "UploadTooSlowError",
    "__version__",
    "archive_recordings",
    "build_table",
    "check_inputs",
    "evaluate",
    "identify",
    "import_recordings",
    "load_model",
    "open_archive",
    "plot_spectrogram",
    "prepare",
    "read_detections",
    "rescore_archive",
    "split",
    "train",
    "write_detections",
]
