"""Processes of a training that torchrun or SLURM has started, on one node or on several.

The first one makes the run's folder, the clips and the bundle; the others wait for it, and only train.
"""

from __future__ import annotations

import atexit
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
from torch import distributed

from dawnchorus.errors import DawnChorusError, InputError, TrainingError
from dawnchorus.training.config import TrainerConfig
from dawnchorus.training.operators import declare_vision_operators

Result = TypeVar("Result")

WAIT = timedelta(days=7)
"""Longest time that processes wait for the first one to make clips or the bundle."""


@dataclass(frozen=True)
class Processes:
    """The processes that train together.

    Attributes:
        rank: number of this process, from 0.
        group: torch's process group for messages between the processes; None: torchrun or SLURM has started no other
            process, though this process may fork others for the training itself.
    """

    rank: int = 0
    group: Any = None

    @property
    def is_first(self) -> bool:
        """True in the process with rank 0, the only one that writes files."""
        return self.rank == 0

    def share(self, work: Callable[[], Result]) -> Result:
        """Call `work` in the first process only, and return its result, which is pickled, in all processes.

        Raises:
            DawnChorusError: the first process raised it.
            TrainingError: the first process failed in another way, or was lost.
        """
        if self.group is None:
            return work()
        result: Result
        if not self.is_first:
            result = self._receive()
            return result
        try:
            result = work()
        except BaseException as error:
            self._send((None, _shareable(error)))
            raise
        self._send((result, None))
        return result

    @contextmanager
    def first_in_turn(self) -> Iterator[None]:
        """Enter the block in the first process and, when that has left the block, in the others.

        Raises:
            DawnChorusError, TrainingError: see `share`.
        """
        if not self.is_first:
            self._receive()
        try:
            yield
        except BaseException as error:
            if self.is_first:
                self._send((None, _shareable(error)))
            raise
        if self.is_first:
            self._send((None, None))

    def _send(self, message: tuple[Any, DawnChorusError | None]) -> None:
        if self.group is not None:
            distributed.broadcast_object_list([message], src=0, group=self.group)

    def _receive(self) -> Any:
        message: list[Any] = [None]
        try:
            distributed.broadcast_object_list(message, src=0, group=self.group)
        except RuntimeError as error:
            raise lost_process(error) from error
        result, failure = message[0]
        if failure is not None:
            raise failure
        return result


ALONE = Processes()
"""This process and those that it forks."""


def join_processes(options: TrainerConfig) -> Processes:
    """Connect to the other processes of this training, if torchrun or SLURM has started several.

    In all but the first process, messages of this package are not shown from then on, only failures.

    Raises:
        InputError: the number of processes is not `trainer.nodes` times `trainer.devices`, or settings of SLURM's job
            cannot be used.
    """
    environment = _find_environment()
    _check_number(options, environment)
    if environment is None or options.n_processes == 1:
        return ALONE
    if not distributed.is_initialized():
        uses_gpu = options.accelerator != "cpu" and torch.cuda.is_available()
        distributed.init_process_group(
            "nccl" if uses_gpu else "gloo",
            init_method=f"tcp://{environment.main_address}:{environment.main_port}",
            rank=environment.global_rank(),
            world_size=environment.world_size(),
        )
        atexit.register(distributed.destroy_process_group)
    rank = distributed.get_rank()
    if rank:
        logging.getLogger("dawnchorus").setLevel(logging.ERROR)
    return Processes(rank, distributed.new_group(backend="gloo", timeout=WAIT))


def _find_environment() -> Any:
    """Return Lightning's view of the program that started this process; None if that is no launcher of several.

    Raises:
        InputError: SLURM's job has settings that cannot be used.
    """
    declare_vision_operators()  # Lightning looks for them when it is imported
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice to use srun, wherever it is installed
        try:
            for kind in (TorchElasticEnvironment, SLURMEnvironment):  # in the order in which Lightning's trainer looks
                if kind.detect():
                    return kind()
        except RuntimeError as error:
            raise InputError(f"SLURM: {error}") from error
    return None


def _check_number(options: TrainerConfig, environment: Any) -> None:
    """Check the number of processes that were started.

    Raises:
        InputError: it is another one than that of the configuration.
    """
    if environment is None and options.nodes == 1:  # processes are forked
        return
    n_started = 1 if environment is None else environment.world_size()
    if options.n_processes != n_started:
        raise InputError(
            f"trainer.nodes={options.nodes} and trainer.devices={options.devices}: expected {options.n_processes} "
            f"processes, started by torchrun or srun, got {n_started}. Start trainer.devices processes on each of "
            f"trainer.nodes nodes (docs/TRAINING.md)."
        )


def choose_strategy(options: TrainerConfig) -> Literal["auto", "ddp", "ddp_fork"]:
    """Return the name of Lightning's strategy for the processes.

    "auto" for one process, "ddp" for several that `join_processes` has connected, and "ddp_fork" to fork them.
    """
    if options.n_processes == 1:
        return "auto"
    # Forked, not started anew: clips stay mapped once, and there is one run.
    return "ddp" if distributed.is_initialized() else "ddp_fork"


def is_first_process() -> bool:
    """Return True in the process that writes and prints: the one with rank 0, or the only one."""
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0


def lost_process(error: RuntimeError) -> TrainingError:
    """Return the error of a training that has lost one of its processes; `error` is torch's error."""
    reason = str(error).strip().partition("\n")[0]
    return TrainingError(
        f"the connection to another process of the training was lost ({reason}). See the messages of the other "
        f"processes; start all of them again with --resume and the run's folder."
    )


def is_lost_process(error: RuntimeError) -> bool:
    """Return True if an error of torch is that of a connection between processes."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)


def _shareable(error: BaseException) -> DawnChorusError:
    """Return an error that other processes can raise, too."""
    if isinstance(error, DawnChorusError):
        return error
    return TrainingError(f"the first process of the training failed ({type(error).__name__}: {error}).")
