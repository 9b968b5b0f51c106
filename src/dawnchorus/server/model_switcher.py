"""Switches of the active model, on this server and after other servers."""

from __future__ import annotations

import threading

from dawnchorus.errors import InputError
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.model_catalog import ModelCatalog
from dawnchorus.server.scheduling import InferencePool


class ModelSwitcher:
    """The model that scores new uploads: the last activation of the catalog, loaded in the pool."""

    def __init__(self, catalog: ModelCatalog, pool: InferencePool, *, activation_id: int) -> None:
        """Follow the catalog from the activation `activation_id`, whose bundle the pool has loaded."""
        self._catalog, self._pool = catalog, pool
        self._activation_id = activation_id
        self._switching = threading.Lock()

    @property
    def active(self) -> Bundle:
        """Bundle that scores new uploads on this server."""
        return self._pool.bundle

    def activate(self, bundle_id: str, reason: str) -> None:
        """Activate a model: on this server at once, on others within a second.

        Raises:
            NotFoundError: there is no such model.
            ModelError: it cannot be run; nothing changes.
        """
        bundle = self._catalog.open(bundle_id)
        with self._switching:
            model = self._pool.load(bundle)
            self._activation_id = self._catalog.add_activation(bundle_id, reason)
            self._pool.switch_to(model)

    def roll_back(self) -> str:
        """Activate the previously active model again, and return its id.

        Raises:
            InputError: there was none.
            ModelError: it cannot be run any more; nothing changes.
        """
        bundle_id = self._catalog.previous_id()
        if bundle_id is None:
            raise InputError("no other model was active before, so there is nothing to roll back to.")
        self.activate(bundle_id, "rolled back")
        return bundle_id

    def follow(self) -> None:
        """Apply an activation by another server.

        Raises:
            NotFoundError, ModelError: its model cannot be opened or run; the next call tries again.
        """
        with self._switching:
            latest = self._catalog.latest_activation()
            if latest is None or latest.id <= self._activation_id:
                return
            if latest.bundle_id != self._pool.bundle.id:
                self._pool.activate(self._catalog.open(latest.bundle_id))
            self._activation_id = latest.id
