"""Switches of the active model: on request to this server, and to follow a switch by another server."""

from __future__ import annotations

import threading

from dawnchorus.errors import InputError
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.model_catalog import ModelCatalog
from dawnchorus.server.scheduling import InferencePool


class ModelSwitcher:
    """Switcher of the active model: loads the model of the catalog's latest activation into the inference pool.

    Args:
        catalog: models and the history of activations.
        pool: inference pool, which has loaded the active model.
        activation_id: id of the latest activation when the pool was opened; `follow` acts on later activations only.
    """

    def __init__(self, catalog: ModelCatalog, pool: InferencePool, *, activation_id: int) -> None:
        self._catalog, self._pool = catalog, pool
        self._activation_id = activation_id
        self._switching = threading.Lock()

    @property
    def active(self) -> Bundle:
        """Bundle of the model that scores new uploads on this server."""
        return self._pool.bundle

    def activate(self, bundle_id: str, reason: str) -> None:
        """Activate a model: at once on this server, within about a second on other servers of the database.

        Args:
            bundle_id: id of the model's bundle.
            reason: reason for the activation, which the models page shows.

        Raises:
            NotFoundError: there is no model with this bundle id.
            ModelError: the model cannot be opened or run; the active model does not change.
        """
        bundle = self._catalog.open(bundle_id)
        with self._switching:
            model = self._pool.load(bundle)
            self._activation_id = self._catalog.add_activation(bundle_id, reason)
            self._pool.switch_to(model)

    def roll_back(self) -> str:
        """Activate the model that was active before the active one, and return its bundle id.

        The roll-back is itself an activation, so a second call activates the model that the first one replaced.

        Raises:
            InputError: no other model was active before.
            ModelError: the earlier model cannot be opened or run any more; the active model does not change.
        """
        bundle_id = self._catalog.previous_id()
        if bundle_id is None:
            raise InputError("no other model was active before, so there is nothing to roll back to.")
        self.activate(bundle_id, "rolled back")
        return bundle_id

    def follow(self) -> None:
        """Switch to the model of the catalog's latest activation if another server added the activation.

        Each server calls this method about every second.

        Raises:
            NotFoundError, ModelError: the model cannot be opened or run; the next call tries again.
        """
        with self._switching:
            latest = self._catalog.latest_activation()
            if latest is None or latest.id <= self._activation_id:
                return
            if latest.bundle_id != self._pool.bundle.id:
                self._pool.activate(self._catalog.open(latest.bundle_id))
            self._activation_id = latest.id
