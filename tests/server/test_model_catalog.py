"""The model that is served, after any calls."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.fixtures.databases import new_database
from tests.fixtures.models import LEVEL, LEVEL_LABELS, level_graph

from dawnchorus.errors import InputError, NotFoundError
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.graphs.wrapping import wrap_model
from dawnchorus.models.store import ModelStore
from dawnchorus.server.model_catalog import MAX_LISTED, ModelCatalog
from dawnchorus.server.model_switcher import ModelSwitcher
from dawnchorus.server.scheduling import InferencePool
from dawnchorus.server.state.blobs import BlobStore

FEW = settings(max_examples=12, stateful_step_count=20, deadline=None)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    """Four models."""
    folder = tmp_path_factory.mktemp("bundles")
    made = []
    for k in range(4):
        graph = level_graph(folder / f"{k}.onnx", window_samples=4_000 * (k + 1))
        metadata = replace(LEVEL, name=f"model-{k}", window_s=0.25 * (k + 1))
        made.append(wrap_model(graph, folder / f"{k}", labels=LEVEL_LABELS, description=metadata))
    return made


def test_registry_serves_what_was_activated_last(bundles: list[Bundle], store: ModelStore) -> None:
    class Models(RuleBasedStateMachine):
        """Two servers that add, activate and roll back models, and follow each other."""

        @initialize()
        def start(self) -> None:
            self._scratch = tempfile.TemporaryDirectory()
            folder = Path(self._scratch.name)
            self.database = new_database(folder)
            files = BlobStore(self.database, folder / "files", cache=folder / "cache", scratch=folder)
            self.pools: list[InferencePool] = []
            self.servers: list[tuple[ModelCatalog, ModelSwitcher]] = []
            for k in range(2):
                catalog = ModelCatalog(
                    self.database, files, store, given=bundles[0].folder, folder=folder / f"models{k}", scratch=folder
                )
                first = catalog.open_active(is_only_server=False)
                pool = InferencePool(first.bundle, store=store, n_inference_threads=1)
                self.pools.append(pool)
                self.servers.append((catalog, ModelSwitcher(catalog, pool, activation_id=first.activation_id)))
            self.known = {bundles[0].id}
            self.served = [bundles[0].id]

        def teardown(self) -> None:
            for pool in self.pools:
                pool.close()
            self.database.close()
            self._scratch.cleanup()

        @rule(k=st.integers(1, 3), server=st.integers(0, 1))
        def add(self, k: int, server: int) -> None:
            self.servers[server][0].add(bundles[k], job="0" * 32, report={})
            self.known.add(bundles[k].id)

        @rule(k=st.integers(0, 3), server=st.integers(0, 1))
        def activate(self, k: int, server: int) -> None:
            bundle_id = bundles[k].id
            if bundle_id not in self.known:
                with pytest.raises(NotFoundError):
                    self.servers[server][1].activate(bundle_id, "because")
                return
            self.servers[server][1].activate(bundle_id, "because")
            self.served.append(bundle_id)

        @rule(server=st.integers(0, 1))
        def roll_back(self, server: int) -> None:
            before = next((name for name in reversed(self.served) if name != self.served[-1]), None)
            assert self.servers[server][0].previous_id() == before
            if before is None:
                with pytest.raises(InputError, match="nothing to roll back"):
                    self.servers[server][1].roll_back()
                return
            assert self.servers[server][1].roll_back() == before
            self.served.append(before)

        @invariant()
        def all_serve_the_last_one(self) -> None:
            if not hasattr(self, "served"):
                return
            for catalog, switcher in self.servers:
                switcher.follow()
                assert switcher.active.id == self.served[-1]
                assert {model.bundle_id for model in catalog.list_models()} == self.known
                activations = catalog.list_activations()
                assert [row.bundle_id for row, _ in activations] == self.served[: -MAX_LISTED - 1 : -1]

    run_state_machine_as_test(Models, settings=settings(FEW, max_examples=6))
