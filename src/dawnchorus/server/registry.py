"""Registry of models: the active one, the history of activations, and reports of retraining."""

from __future__ import annotations

import logging
import shutil
import threading
import uuid
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import select

from dawnchorus.errors import DawnChorusError, InputError, ModelError, NotFoundError
from dawnchorus.models.bundle import Bundle, read_bundle, verify_bundle
from dawnchorus.models.store import ModelStore
from dawnchorus.server.scheduling import InferencePool
from dawnchorus.server.state.blobs import BlobStore
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.tables import Model, ModelActivation
from dawnchorus.storage.files import cannot_write

LOG = logging.getLogger(__name__)

GIVEN, RETRAINED = "given", "retrained"


class Registry:
    """Models in the database, with their bundles in the file store; each server unpacks those that it activates."""

    def __init__(self, database: Database, files: BlobStore, store: ModelStore, folder: Path, *, scratch: Path) -> None:
        """Open the registry; bundles are unpacked to `folder`, by way of `scratch` on the same drive."""
        self._database, self._files, self._folder, self._scratch = database, files, folder, scratch
        self.store = store
        self._last_activation = 0
        """Id of the last activation that this server has applied."""
        self._switching = threading.Lock()
        self.pool: InferencePool | None = None
        self._given: Bundle | None = None

    # ------------------------------------------------------------------ start

    def select_first(self, given: str | Path, *, is_alone: bool) -> Bundle:
        """Return the bundle to start with: the last active one, or else the given one.

        A bundle that cannot be opened is skipped for the one before it. If other servers share the database, this is
        not written down, because they may be able to open it.

        Raises:
            ModelError: the given bundle cannot be opened either.
        """
        own = self._given = self.store.open(given)
        storage_key = str(given) if not Path(given).is_dir() else str(Path(given).absolute())
        self._add(own, storage_key=storage_key, source=GIVEN, job=None, report=None)
        bundle, why = own, "the server was started with it"
        for k, activation in enumerate(self._activations()):
            try:
                bundle = self.open(activation.bundle_id)
            except DawnChorusError as error:
                LOG.error("the last active model %s cannot be opened and is skipped: %s", activation.bundle_id, error)
                why = "the one after it cannot be opened any more"
                continue
            if not k:
                self._last_activation = activation.id
                return bundle
            break
        rows = self._activations()
        self._last_activation = rows[0].id if rows and not is_alone else self._write_activation(bundle.id, why)
        return bundle

    def _add(
        self, bundle: Bundle, *, storage_key: str, source: str, job: str | None, report: dict[str, Any] | None
    ) -> None:
        with self._database.write(lock_key=f"model {bundle.id}") as session:
            known = session.get(Model, bundle.id)
            if known is not None:
                if known.source == source:
                    known.storage_key = storage_key
                return
            session.add(
                Model(
                    bundle_id=bundle.id,
                    name=bundle.info.name,
                    family=bundle.info.family,
                    n_classes=len(bundle.labels),
                    storage_key=storage_key,
                    source=source,
                    job=job,
                    report=report,
                )
            )

    def add_retrained(self, bundle: Bundle, *, job: str, report: dict[str, Any]) -> None:
        """Store the bundle of a retraining job for all servers.

        Raises:
            OutputError: no space.
        """
        verify_bundle(bundle)
        packed = self._scratch / f"{bundle.id}-{uuid.uuid4().hex}.zip"
        try:
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
                for path in sorted(bundle.folder.iterdir()):
                    archive.write(path, path.name)
            sha256 = self._files.put(packed)
        except OSError as error:
            raise cannot_write(self._scratch, error) from error
        finally:
            packed.unlink(missing_ok=True)
        self._add(bundle, storage_key=sha256, source=RETRAINED, job=job, report=report)

    # ------------------------------------------------------------------ queries

    def models(self) -> list[Model]:
        """Return all models, the latest first."""
        with self._database.read() as session:
            return list(session.scalars(select(Model).order_by(Model.added_at.desc(), Model.bundle_id)))

    def model(self, bundle_id: str) -> Model:
        """Return a model.

        Raises:
            NotFoundError: there is none.
        """
        with self._database.read() as session:
            model = session.get(Model, bundle_id)
        if model is None:
            known = ", ".join(each.bundle_id for each in self.models())
            raise NotFoundError(f"there is no model {bundle_id[:64]!r}; expected one of {known}.")
        return model

    def open(self, bundle_id: str) -> Bundle:
        """Return a model's bundle, verified against its hash and unpacked if necessary.

        Raises:
            NotFoundError: there is no such model.
            ModelError: the bundle is damaged or missing.
        """
        model = self.model(bundle_id)
        if self._given is not None and self._given.id == bundle_id:
            return self._given
        bundle = self.store.open(model.storage_key) if model.source == GIVEN else self._unpack(model)
        verify_bundle(bundle)
        if bundle.id != bundle_id:
            raise ModelError(f"{bundle.folder}: expected the model {bundle_id}, found {bundle.id}. It was replaced.")
        return bundle

    def _unpack(self, model: Model) -> Bundle:
        folder = self._folder / model.bundle_id
        if folder.is_dir():
            try:
                bundle = read_bundle(folder)
                verify_bundle(bundle)
            except ModelError as error:
                LOG.warning("%s is unpacked again: %s", folder, error)
                shutil.rmtree(folder)
            else:
                return bundle
        building = self._scratch / f"{model.bundle_id}-{uuid.uuid4().hex}"
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            with zipfile.ZipFile(self._files.local(model.storage_key)) as archive:  # trusted: written by add_retrained
                archive.extractall(building)
            with suppress(OSError):  # another server of this folder has unpacked it
                building.rename(folder)
        except (zipfile.BadZipFile, zlib.error, NotFoundError, OSError) as error:
            raise ModelError(f"the bundle {model.bundle_id} cannot be unpacked ({error}).") from error
        finally:
            shutil.rmtree(building, ignore_errors=True)
        return read_bundle(folder)

    def active_bundle(self) -> Bundle:
        """Return the bundle that scores new uploads on this server."""
        return self._get_pool().bundle

    def list_activations(self) -> list[tuple[ModelActivation, Model]]:
        """Return the activations with their models, the latest first."""
        with self._database.read() as session:
            query = select(ModelActivation, Model).join(Model, Model.bundle_id == ModelActivation.bundle_id)
            return [(a, m) for a, m in session.execute(query.order_by(ModelActivation.id.desc()).limit(100))]

    def _activations(self) -> list[ModelActivation]:
        return [activation for activation, _ in self.list_activations()]

    # ------------------------------------------------------------------ activation

    def activate(self, bundle_id: str, why: str) -> None:
        """Activate a model: on this server at once, on others within a second.

        Raises:
            NotFoundError: there is no such model.
            ModelError: it cannot be run; nothing changes.
        """
        bundle = self.open(bundle_id)
        with self._switching:
            switch = self._get_pool().load(bundle)
            self._last_activation = self._write_activation(bundle_id, why)
            switch()

    def _get_pool(self) -> InferencePool:
        if self.pool is None:
            raise ModelError("the server has not started yet.")
        return self.pool

    def previous(self) -> str:
        """Return the id of the previously active model.

        Raises:
            InputError: there was none.
        """
        rows = self._activations()
        for row in rows[1:]:
            if row.bundle_id != rows[0].bundle_id:
                return row.bundle_id
        raise InputError("no other model was active before, so there is nothing to roll back to.")

    def has_previous(self) -> bool:
        """Return True if another model was active before."""
        return len({row.bundle_id for row in self._activations()}) > 1

    def roll_back(self) -> str:
        """Activate the previously active model again, and return its id.

        Raises:
            InputError: there was none.
            ModelError: it cannot be run any more; nothing changes.
        """
        bundle_id = self.previous()
        self.activate(bundle_id, "rolled back")
        return bundle_id

    def follow(self) -> None:
        """Apply an activation by another server."""
        with self._switching:
            rows = self._activations()
            if not rows or rows[0].id <= self._last_activation:
                return
            if rows[0].bundle_id != self._get_pool().bundle.id:
                self._get_pool().activate(self.open(rows[0].bundle_id))
            self._last_activation = rows[0].id

    def _write_activation(self, bundle_id: str, why: str) -> int:
        with self._database.write() as session:
            row = ModelActivation(bundle_id=bundle_id, why=why)
            session.add(row)
            session.flush()
            return row.id
