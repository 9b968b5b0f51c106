"""The driver of a run on a Ray cluster, which assigns units to one actor on each node.

A unit is a batch of recordings that are committed together. Only the archive records which units are committed, so
nodes may come and go, a unit that was assigned twice is committed once, and a killed driver can be started again.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dawnchorus.archive.manifest import Entry
from dawnchorus.archive.writer import UnitWriter
from dawnchorus.errors import DawnChorusError, ModelError
from dawnchorus.identification.ray_node import NodeReport, NodeTask, NodeWork, RayNode
from dawnchorus.identification.result import RecordingFailure, RunCounts
from dawnchorus.identification.unit_queue import UnitQueue
from dawnchorus.identification.unit_run import UnitRun

LOG = logging.getLogger(__name__)

WAIT_S = 1.0
"""Maximum number of seconds to wait for a report."""

LOOK_S = 5.0
"""Seconds between checks of the cluster's nodes."""

CLOSING_S = 5.0
"""Maximum number of seconds for actors to delete their heartbeat files."""

MAX_STARTS = 3
"""Maximum number of times in a row that an actor may end while it starts on a node."""


@dataclass(eq=False)
class _Node:
    """A node of the cluster with its actor.

    Attributes:
        id: id of the node.
        host: name of the node's machine.
        actor: handle of the actor.
        opening: reference that is ready when the actor has started; None after that.
        reports: generator of references to reports; None if the actor has no work.
        adding: reference that is ready when the actor has received the units added last; None after that.
        held: units assigned to the node and not committed, with their recordings.
        n_wanted: number of recordings that the node requests.
        report: last report of the node; None before the first.
    """

    id: str
    host: str
    actor: Any
    opening: Any = None
    reports: Any = None
    adding: Any = None
    held: dict[str, Sequence[Entry]] = field(default_factory=dict)
    n_wanted: int = 1
    report: NodeReport | None = None

    @property
    def references(self) -> list[Any]:
        """References to wait for."""
        return [each for each in (self.opening, self.reports, self.adding) if each is not None]


class RayRun(UnitRun):
    """Scoring of units on the nodes of the cluster that this process is connected to.

    Args:
        writer: writer of the archive and worker of this process, which commits no units.
        work: scoring that the nodes do.
        n_workers: number of cores to use on each node; None for all cores of the node.
    """

    def __init__(self, writer: UnitWriter, work: NodeWork, *, n_workers: int | None) -> None:
        super().__init__(writer)
        self._n_workers = n_workers
        self._task = ray.put(NodeTask(str(writer.archive.location.root), writer.worker.run, work))
        self._nodes: dict[str, _Node] = {}
        self._refused: dict[str, Exception] = {}
        """Errors of nodes on which no actor can start, by node id."""
        self._starts: Counter[str] = Counter()
        self._is_noted = False
        self._next_look_s = -math.inf
        self._before = self.counts
        """Counts of units that were committed before, and of nodes that are gone."""
        self._queue = UnitQueue({})
        self._entries: dict[str, Sequence[Entry]] = {}

    def score(self, units: Iterable[Sequence[Entry]]) -> Generator[RunCounts, None, None]:
        """Score and commit units on the nodes, and yield the counts: at the start, and then every few seconds.

        Waits for a node as long as the cluster has none.

        Raises:
            ModelError: no node can run the model, or a node with the same model and software failed to run it.
            OutputError: the archive cannot be written.
        """
        self._before = self.counts
        self._entries = {entries[0].unit: entries for entries in units}
        self._queue = UnitQueue({unit: len(entries) for unit, entries in self._entries.items()})
        yield self.counts
        try:
            while self._queue.n_left:
                self._look_at_nodes()
                for node in self._nodes.values():
                    self._give(node)
                for node, reference in self._wait():
                    self._take(node, reference)
                self._count()
                self.worker.beat(())
                yield self.counts
        finally:
            self._close()

    def _count(self) -> None:
        """Set the counts to those of all nodes and of units that were committed before."""
        reports = [node.report for node in self._nodes.values() if node.report is not None]
        self.counts = reduce(_add, (report.counts for report in reports), self._before)
        self.n_failed_before = max(self.counts.n_failed - len(self.failures), 0)

    # ------------------------------------------------------------------ nodes

    def _look_at_nodes(self) -> None:
        """Start actors on new nodes.

        Raises:
            ModelError: no actor can start on any node.
        """
        if time.monotonic() < self._next_look_s:
            return
        self._next_look_s = time.monotonic() + LOOK_S
        alive = {each["NodeID"]: each for each in ray.nodes() if each["Alive"]}  # type: ignore[no-untyped-call]
        usable = {node_id: each for node_id, each in alive.items() if each["Resources"].get("CPU", 0) >= 1}
        for node_id in usable.keys() - self._nodes.keys() - self._refused.keys():
            self._start(node_id, usable[node_id])
        if self._nodes:
            self._is_noted = False
        elif usable:
            raise next(iter(self._refused.values()))
        elif not self._is_noted:
            self._is_noted = True
            LOG.warning("the Ray cluster has no node with a core to use; waiting for one")

    def _start(self, node_id: str, node: Mapping[str, Any]) -> None:
        n_cores = int(node["Resources"]["CPU"])
        n_workers = n_cores if self._n_workers is None else min(self._n_workers, n_cores)
        actor_class: Any = ray.remote(RayNode)
        actor = actor_class.options(
            num_cpus=n_workers,
            max_restarts=0,
            max_concurrency=2,  # `score`, and the others meanwhile
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
        ).remote(self._task, n_workers)
        self._starts[node_id] += 1
        host = str(node["NodeManagerHostname"])
        self._nodes[node_id] = _Node(node_id, host, actor, opening=actor.open.remote())

    def _give(self, node: _Node) -> None:
        """Assign units to a node that is idle or requests more."""
        if node.opening is not None or node.adding is not None or not self._queue.n_waiting:
            return
        names = self._queue.take(node.n_wanted, n_workers=len(self._nodes), held=node.held)
        if not names:
            return
        units = [self._entries[name] for name in names]
        node.held |= dict(zip(names, units, strict=True))
        node.n_wanted = 0  # until the next report
        if node.reports is None:
            node.reports = node.actor.score.options(num_returns="streaming").remote(units)
        else:
            node.adding = node.actor.add.remote(units)

    # ------------------------------------------------------------------ reports

    def _wait(self) -> list[tuple[_Node, Any]]:
        """Wait for references, and return those that are ready, with their nodes."""
        waiting = {reference: node for node in self._nodes.values() for reference in node.references}
        if not waiting:
            time.sleep(WAIT_S)
            return []
        if not ray.wait([*waiting], timeout=WAIT_S)[0]:
            return []
        ready, _ = ray.wait([*waiting], num_returns=len(waiting), timeout=0)
        return [(waiting[reference], reference) for reference in ready]

    def _take(self, node: _Node, reference: Any) -> None:
        """Process the result of a node's reference.

        Raises:
            DawnChorusError: the node ended with this error.
        """
        if self._nodes.get(node.id) is not node:  # it was lost by another of its references
            return
        try:
            if reference is node.reports:
                self._take_report(node)
            elif reference is node.opening:
                ray.get(reference)
                node.opening, self._starts[node.id] = None, 0
            else:
                ray.get(reference)
                node.adding = None
        except RayTaskError as error:
            self._fail(node, error)
        except RayError as error:
            self._lose(node, error)

    def _take_report(self, node: _Node) -> None:
        try:
            reports: list[NodeReport] = ray.get([next(node.reports)])
        except StopIteration:
            # Units that it got at the very end were not begun.
            node.reports = node.adding = None
            node.n_wanted = 1
            self._queue.put_back(node.held)
            node.held.clear()
            return
        (report,) = reports
        node.report = report
        if node.adding is None:
            node.n_wanted = report.n_wanted
        committed = [unit for unit in report.committed_units if node.held.pop(unit, None) is not None]
        self._queue.finish(committed)
        for unit in committed:
            del self._entries[unit]
        self.n_ended += len(committed)
        self.failures += report.failures

    def _fail(self, node: _Node, error: RayTaskError) -> None:
        """Raise the error of a node that was working; exclude a node that cannot start.

        Raises:
            DawnChorusError: the node was working.
        """
        cause = error.cause if isinstance(error.cause, DawnChorusError) else error
        if node.opening is None:
            raise cause
        self._refuse(node, cause)

    def _refuse(self, node: _Node, error: Exception) -> None:
        LOG.warning("%s: no work for this node of the Ray cluster: %s", node.host, error)
        self._refused[node.id] = error
        self._remove(node)

    def _lose(self, node: _Node, error: RayError) -> None:
        """Assign the units of a node whose actor has ended to other nodes."""
        if node.opening is not None and isinstance(error, RayActorError) and self._starts[node.id] >= MAX_STARTS:
            reason = f"the actor ended {MAX_STARTS} times while it started: {error}"
            self._refuse(node, ModelError(reason, subject=node.host))
            return
        LOG.warning("%s: lost; its %d units are given to others", node.host, len(node.held))
        self._remove(node)
        for unit in self._queue.requeue_lost(node.held):
            entries = self._entries.pop(unit)
            reason = f"its unit {unit} was not finished, since processes ended at it; start again to try it again"
            self.failures += [RecordingFailure(entry.file.name, reason) for entry in entries]
            self._before = replace(self._before, n_failed=self._before.n_failed + len(entries))

    def _remove(self, node: _Node) -> None:
        """Remove a node, except for the counts of its committed units."""
        del self._nodes[node.id]
        ray.kill(node.actor)
        self._next_look_s = -math.inf
        if node.report is not None:
            done, all_counts = node.report.committed_counts, node.report.counts
            # What others had ended stays as well, and the sound was scored.
            kept = replace(done, n_resumed=all_counts.n_resumed, scored_s=all_counts.scored_s)
            self._before = _add(self._before, kept)

    def _close(self) -> None:
        """End the actors."""
        closing = [node.actor.close.remote() for node in self._nodes.values() if node.opening is None]
        if closing:
            ray.wait(closing, num_returns=len(closing), timeout=CLOSING_S)
        for node in self._nodes.values():
            ray.kill(node.actor)


def _add(first: RunCounts, second: RunCounts) -> RunCounts:
    """Return the sum of all counts, except the number of files."""
    return replace(
        first,
        n_resumed=first.n_resumed + second.n_resumed,
        n_done=first.n_done + second.n_done,
        n_failed=first.n_failed + second.n_failed,
        n_detections=first.n_detections + second.n_detections,
        scored_s=first.scored_s + second.scored_s,
    )
