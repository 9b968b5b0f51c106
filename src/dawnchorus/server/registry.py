"""The models that a server knows: which one serves, which did before, and how they compare."""

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
from dawnchorus.server.scheduling import Lanes
from dawnchorus.server.state.blobs import FileStore
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.tables import Activation, Model
from dawnchorus.storage.files import cannot_write

LOG = logging.getLogger(__name__)

GIVEN, RETRAINED = "given", "retrained"


class Registry:
    """Models in the database, their bundles in the file store; each server unpacks those that it serves."""

    def __init__(self, database: Database, files: FileStore, store: ModelStore, folder: Path, *, scratch: Path) -> None:
        """Bundles are unpacked to `folder`; `scratch`, on the same drive, is for those that are not whole yet."""
        self._database, self._files, self._folder, self._scratch = database, files, folder, scratch
        self.store = store
        self._seen = 0
        """The last activation that was carried out here."""
        self._switching = threading.Lock()
        self.lanes: Lanes | None = None
        self._given: Bundle | None = None

    # ------------------------------------------------------------------ beginning

    def first(self, given: str | Path, *, is_alone: bool) -> Bundle:
        """Return the bundle to begin with: the one that served last, or else the given one.

        One that cannot be opened any more is passed over, for the one before it; where other servers share the
        database, they are not told, because they may be able to.

        Raises:
            ModelError: the given one cannot be opened either.
        """
        own = self._given = self.store.open(given)
        place = str(given) if not Path(given).is_dir() else str(Path(given).absolute())
        self._add(own, place=place, origin=GIVEN, job=None, report=None)
        bundle, why = own, "the server was started with it"
        for k, activation in enumerate(self._activations()):
            try:
                bundle = self.open(activation.bundle_id)
            except DawnChorusError as error:
                LOG.error("the model %s, which served last, is passed over: %s", activation.bundle_id, error)
                why = "the one after it cannot be opened any more"
                continue
            if not k:
                self._seen = activation.id
                return bundle
            break
        rows = self._activations()
        self._seen = rows[0].id if rows and not is_alone else self._write_activation(bundle.id, why)
        return bundle

    def _add(self, bundle: Bundle, *, place: str, origin: str, job: str | None, report: dict[str, Any] | None) -> None:
        with self._database.write(about=f"model {bundle.id}") as session:
            known = session.get(Model, bundle.id)
            if known is not None:
                if known.origin == origin:
                    known.place = place
                return
            session.add(
                Model(
                    bundle_id=bundle.id,
                    name=bundle.info.name,
                    family=bundle.info.family,
                    n_classes=len(bundle.labels),
                    place=place,
                    origin=origin,
                    job=job,
                    report=report,
                )
            )

    def add_retrained(self, bundle: Bundle, *, job: str, report: dict[str, Any]) -> None:
        """Keep a bundle that was made by a job, for all servers.

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
        self._add(bundle, place=sha256, origin=RETRAINED, job=job, report=report)

    # ------------------------------------------------------------------ looking

    def models(self) -> list[Model]:
        """All models, the latest first."""
        with self._database.read() as session:
            return list(session.scalars(select(Model).order_by(Model.added_at.desc(), Model.bundle_id)))

    def model(self, bundle_id: str) -> Model:
        """One of them.

        Raises:
            NotFoundError: there is none.
        """
        with self._database.read() as session:
            found = session.get(Model, bundle_id)
        if found is None:
            known = ", ".join(model.bundle_id for model in self.models())
            raise NotFoundError(f"there is no model {bundle_id[:64]!r}; expected one of {known}.")
        return found

    def open(self, bundle_id: str) -> Bundle:
        """Its bundle, checked against its hash; unpacked here, if it is not yet.

        Raises:
            NotFoundError: there is no such model.
            ModelError: it is damaged, or gone.
        """
        model = self.model(bundle_id)
        if self._given is not None and self._given.id == bundle_id:
            return self._given
        bundle = self.store.open(model.place) if model.origin == GIVEN else self._unpacked(model)
        verify_bundle(bundle)
        if bundle.id != bundle_id:
            raise ModelError(f"{bundle.folder}: expected the model {bundle_id}, found {bundle.id}. It was replaced.")
        return bundle

    def _unpacked(self, model: Model) -> Bundle:
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
            with zipfile.ZipFile(self._files.local(model.place)) as archive:  # of our own making, see add_retrained
                archive.extractall(building)
            with suppress(OSError):  # another server of this folder was first
                building.rename(folder)
        except (zipfile.BadZipFile, zlib.error, NotFoundError, OSError) as error:
            raise ModelError(f"the bundle {model.bundle_id} cannot be unpacked ({error}).") from error
        finally:
            shutil.rmtree(building, ignore_errors=True)
        return read_bundle(folder)

    def serving(self) -> Bundle:
        """Return the bundle that serves here."""
        return self._lanes().bundle

    def history(self) -> list[tuple[Activation, Model]]:
        """Return the models that served and their times, the latest first."""
        with self._database.read() as session:
            query = select(Activation, Model).join(Model, Model.bundle_id == Activation.bundle_id)
            return [(a, m) for a, m in session.execute(query.order_by(Activation.id.desc()).limit(100))]

    def _activations(self) -> list[Activation]:
        return [activation for activation, _ in self.history()]

    # ------------------------------------------------------------------ switching

    def activate(self, bundle_id: str, why: str) -> None:
        """Serve with another model from now on: here at once, on other servers within a second.

        Raises:
            NotFoundError: there is no such model.
            ModelError: it cannot be run; nothing changes.
        """
        bundle = self.open(bundle_id)
        with self._switching:
            use = self._lanes().prepared(bundle)
            self._seen = self._write_activation(bundle_id, why)
            use()

    def _lanes(self) -> Lanes:
        if self.lanes is None:
            raise ModelError("the server has not begun yet.")
        return self.lanes

    def previous(self) -> str:
        """Return the model that served before the present one.

        Raises:
            InputError: there was none.
        """
        rows = self._activations()
        for row in rows[1:]:
            if row.bundle_id != rows[0].bundle_id:
                return row.bundle_id
        raise InputError("no other model has served before, so there is nothing to roll back to.")

    def has_previous(self) -> bool:
        """Return True if there is a model to roll back to."""
        return len({row.bundle_id for row in self._activations()}) > 1

    def roll_back(self) -> str:
        """Serve again with the model that served before the present one, and give its id.

        Raises:
            InputError: there was none.
            ModelError: it cannot be run any more; nothing changes.
        """
        bundle_id = self.previous()
        self.activate(bundle_id, "rolled back")
        return bundle_id

    def follow(self) -> None:
        """Serve with what another server has activated meanwhile."""
        with self._switching:
            rows = self._activations()
            if not rows or rows[0].id <= self._seen:
                return
            if rows[0].bundle_id != self._lanes().bundle.id:
                self._lanes().activate(self.open(rows[0].bundle_id))
            self._seen = rows[0].id

    def _write_activation(self, bundle_id: str, why: str) -> int:
        with self._database.write() as session:
            row = Activation(bundle_id=bundle_id, why=why)
            session.add(row)
            session.flush()
            return row.id
