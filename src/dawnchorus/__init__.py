"""Dawn Chorus: from any recording to a table of birds.

    import dawnchorus as dc

    run = dc.identify("recordings/", latitude=52.5, longitude=13.4)
    run.to_pandas()

Public names are imported when they are first used, so that importing this package is fast. The import sets environment
variables that turn off the usage statistics of libraries (`dawnchorus.privacy`). Type checkers read `__init__.pyi`.
"""

import os
from importlib import import_module

from dawnchorus.privacy import opt_out

_NAMES = {
    "archive.archive": ("Archive", "open_archive"),
    "archive.manifest": ("UnitSize",),
    "archive.runs": ("ArchiveRun", "StoredRun"),
    "audio.sample_analyses": ("build_table",),
    "data.layouts.base": ("Source",),
    "data.layouts.registry": ("SOURCES",),
    "data.recordings": ("RecordingRow",),
    "errors": (
        *("AudioDecodeError", "AudioError", "AudioNotFoundError", "AudioReadError", "AudioTooLargeError"),
        *("BusyError", "ConflictError", "DawnChorusError"),
        *("DecoderCrashError", "DownloadError", "FormatError", "InputError", "InvalidBundleError", "LongWaitError"),
        *("JournalDamagedError", "MissingExtraError", "ModelError", "ModelNotFoundError", "NotFoundError"),
        *("OutputError", "OutputExistsError", "OverloadedError", "PlugInError", "StoreError", "TrainingError"),
        "UnknownClassError",
        *("UploadTooLargeError", "UploadTooSlowError"),
    ),
    "formats.detections": ("Detections",),
    "formats.files": ("read_detections", "write_detections"),
    "formats.registry": ("FORMATS", "TableFormat"),
    "identification.archiving": ("ArchiveResult", "archive_recordings"),
    "identification.notebook": ("NotebookProgress",),
    "identification.options": ("Options",),
    "identification.rescoring": ("rescore_archive",),
    "identification.result": ("RecordingFailure", "Run"),
    "identification.run": ("identify",),
    "inference.analyses.base": ("Analysis",),
    "inference.analyses.registry": ("ANALYSES",),
    "inference.model": ("Model", "load_model"),
    "models.engines.base": ("Engine", "Port", "check_inputs"),
    "models.engines.registry": ("ENGINES",),
    "taxonomy.labels": ("Label",),
    "types": ("Detection", "Progress", "Provenance", "RecordingMetadata", "RecordingTable"),
    "version": ("__version__",),
    "workflows": ("Plot", "evaluate", "import_recordings", "plot_spectrogram", "prepare", "split", "train"),
}
"""Public names by the module that defines them."""

_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    """Import a public name on its first use.

    Raises:
        AttributeError: the package has no public name like this.
    """
    if name not in _MODULES:
        raise AttributeError(f"module 'dawnchorus' has no attribute {name!r}")
    value = getattr(import_module(f"dawnchorus.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


opt_out(os.environ)
