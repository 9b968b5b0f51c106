"""Catalog of the server's models: bundles, retraining reports, and the history of activations.

An *activation* makes a model the active one, which scores new uploads. The latest activation counts.
"""

from __future__ import annotations

import logging
import shutil
import uuid
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from dawnchorus.errors import DawnChorusError, ModelError, NotFoundError
from dawnchorus.models.bundle import Bundle, read_bundle, verify_bundle
from dawnchorus.models.store import ModelStore
from dawnchorus.server.state.blobs import BlobStore
from dawnchorus.server.state.database import Database, lock
from dawnchorus.server.state.tables import CatalogModel, ModelActivation
from dawnchorus.storage.files import cannot_write

LOG = logging.getLogger(__name__)

CONFIGURED, RETRAINED = "given", "retrained"
"""Sources of a model: given in the server's settings, or made by a retraining job."""

MAX_LISTED = 100
"""Maximum number of activations that `ModelCatalog.list_activations` returns."""


@dataclass(frozen=True)
class ActiveModel:
    """The bundle with which a server starts, and the id of the latest activation."""

    bundle: Bundle
    """Bundle of the latest activation; if it cannot be opened, of an earlier one, or else of the server's settings."""
    activation_id: int
    """Id of the latest activation in the history, even if `bundle` is that of an earlier one."""


class ModelCatalog:
    """Models in the database, and their bundles in the file store. Each server unpacks the bundles that it opens.

    On construction, the model of the server's settings is added to the catalog.

    Args:
        database: database with the catalog's tables.
        files: file store with the zipped bundles of retrained models.
        store: store of the built-in models.
        given: name or folder of the model in the server's settings.
        folder: folder for unpacked bundles.
        scratch: temporary folder on the same drive as `folder`.

    Raises:
        ModelError: the bundle `given` cannot be opened.
        OutputError: a built-in model is not in `store` yet, and `store` cannot be written.
    """

    def __init__(
        self,
        database: Database,
        files: BlobStore,
        store: ModelStore,
        *,
        given: str | Path,
        folder: Path,
        scratch: Path,
    ) -> None:
        self._database, self._files, self._folder, self._scratch = database, files, folder, scratch
        self.store = store
        self._given = store.open(given)
        storage_key = str(given) if not Path(given).is_dir() else str(Path(given).absolute())
        with database.write() as session:
            _add(session, self._given, storage_key=storage_key, source=CONFIGURED)

    # ------------------------------------------------------------------ models

    def add(self, bundle: Bundle, *, job: str, report: dict[str, Any]) -> None:
        """Add a retrained model to the catalog, and store its bundle for all servers of the database.

        If the model is in the catalog already, at most the location of its bundle is updated. The active model does not
        change.

        Args:
            bundle: bundle of the model.
            job: id of the retraining job.
            report: comparison with the model that was active: `meets_promotion_rule`, `reasons` and `report` of
                `retraining_messages.RetrainOutcome`.

        Raises:
            ModelError: a file of the bundle is missing or damaged.
            OutputError: the zipped bundle cannot be stored: no space, or no permission.
        """
        verify_bundle(bundle)
        packed = self._scratch / f"{bundle.id}-{uuid.uuid4().hex}.zip"
        try:
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
                for path in sorted(bundle.folder.iterdir()):
                    archive.write(path, path.name)
            with self._files.keep(packed) as (session, sha256):
                _add(session, bundle, storage_key=sha256, source=RETRAINED, job=job, report=report)
        except OSError as error:
            raise cannot_write(self._scratch, error) from error
        finally:
            packed.unlink(missing_ok=True)

    def list_models(self) -> list[CatalogModel]:
        """Return all models, the latest addition first."""
        with self._database.read() as session:
            return list(
                session.scalars(select(CatalogModel).order_by(CatalogModel.added_at.desc(), CatalogModel.bundle_id))
            )

    def get(self, bundle_id: str) -> CatalogModel:
        """Return the database row of a model.

        Raises:
            NotFoundError: there is no model with this bundle id.
        """
        with self._database.read() as session:
            model = session.get(CatalogModel, bundle_id)
        if model is None:
            known = ", ".join(each.bundle_id for each in self.list_models())
            raise NotFoundError(f"there is no model {bundle_id[:64]!r}; expected one of {known}.")
        return model

    def open(self, bundle_id: str) -> Bundle:
        """Return a model's bundle after verification of its checksums; unpack the bundle if necessary.

        The model of the server's settings was opened with the catalog, and is not verified again.

        Raises:
            NotFoundError: there is no model with this bundle id.
            ModelError: the bundle is damaged, missing, or was replaced by another one.
        """
        model = self.get(bundle_id)
        if self._given.id == bundle_id:
            return self._given
        bundle = self.store.open(model.storage_key) if model.source == CONFIGURED else self._unpack(model)
        verify_bundle(bundle)
        if bundle.id != bundle_id:
            raise ModelError(
                f"expected the model {bundle_id}, found {bundle.id}. It was replaced.", subject=bundle.folder
            )
        return bundle

    def _unpack(self, model: CatalogModel) -> Bundle:
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
            with zipfile.ZipFile(self._files.local(model.storage_key)) as archive:  # trusted: written by `add`
                archive.extractall(building)
            with suppress(OSError):  # another server of this folder has unpacked it
                building.rename(folder)
        except (zipfile.BadZipFile, zlib.error, NotFoundError, OSError) as error:
            raise ModelError(f"the bundle {model.bundle_id} cannot be unpacked ({error}).") from error
        finally:
            shutil.rmtree(building, ignore_errors=True)
        return read_bundle(folder)

    # ------------------------------------------------------------------ history

    def list_activations(self) -> list[tuple[ModelActivation, CatalogModel]]:
        """Return the latest `MAX_LISTED` activations with their models, the latest first."""
        query = select(ModelActivation, CatalogModel).join(
            CatalogModel, CatalogModel.bundle_id == ModelActivation.bundle_id
        )
        with self._database.read() as session:
            rows = session.execute(query.order_by(ModelActivation.id.desc()).limit(MAX_LISTED))
            return [(activation, model) for activation, model in rows]

    def latest_activation(self) -> ModelActivation | None:
        """Return the latest activation, which is that of the active model; None if no model was activated yet."""
        with self._database.read() as session:
            return session.scalar(select(ModelActivation).order_by(ModelActivation.id.desc()).limit(1))

    def previous_id(self) -> str | None:
        """Return the bundle id of the latest model that was active before the active model; None if there was none.

        Repeated activations of the active model itself are skipped.
        """
        latest_first = ModelActivation.id.desc()
        active = select(ModelActivation.bundle_id).order_by(latest_first).limit(1).scalar_subquery()
        previous = select(ModelActivation.bundle_id).where(ModelActivation.bundle_id != active)
        with self._database.read() as session:
            return session.scalar(previous.order_by(latest_first).limit(1))

    def add_activation(self, bundle_id: str, reason: str) -> int:
        """Add an activation to the history, without loading the model, and return the activation's id.

        Args:
            bundle_id: id of the model's bundle, which must be in the catalog.
            reason: reason for the activation, which the models page shows.
        """
        with self._database.write() as session:
            row = ModelActivation(bundle_id=bundle_id, reason=reason)
            session.add(row)
            session.flush()
            return row.id

    def open_active(self, *, is_only_server: bool) -> ActiveModel:
        """Open the active model at the start of the server: the model of the latest activation.

        If no model was activated yet, the model of the server's settings is activated. A model whose bundle cannot be
        opened is logged and skipped, and the model that was active before it is used; if none of the latest
        `MAX_LISTED` activations can be opened, the model of the settings is used.

        Args:
            is_only_server: True if no other server shares the database. The use of an earlier model is then added to
                the history; otherwise it is not, since other servers may be able to open the latest model.
        """
        activations = [activation for activation, _ in self.list_activations()]
        bundle, reason = self._given, "the server was started with it"
        for activation in activations:
            try:
                bundle = self.open(activation.bundle_id)
            except DawnChorusError as error:
                LOG.error("the last active model %s cannot be opened and is skipped: %s", activation.bundle_id, error)
                reason = "the one after it cannot be opened any more"
                continue
            if activation is activations[0]:
                return ActiveModel(bundle, activation.id)
            break
        if activations and not is_only_server:
            return ActiveModel(bundle, activations[0].id)
        return ActiveModel(bundle, self.add_activation(bundle.id, reason))


def _add(
    session: Session,
    bundle: Bundle,
    *,
    storage_key: str,
    source: str,
    job: str | None = None,
    report: dict[str, Any] | None = None,
) -> None:
    """Add the row of a model; if the model has a row with the same source, update the location of its bundle."""
    lock(session, f"model {bundle.id}")
    known = session.get(CatalogModel, bundle.id)
    if known is None:
        session.add(
            CatalogModel(
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
    elif known.source == source:
        known.storage_key = storage_key
