"""Recording of training steps with PyTorch's profiler, for viewers such as Perfetto."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

from dawnchorus.training.config import ProfilerConfig

TRACE_NAME, TABLE_NAME = "trace.json", "profile.txt"
N_ROWS = 40


class StepTracer(Callback):
    """Lightning callback that traces training steps of the first process.

    Args:
        config: which steps to trace, and what to record of them.
        folder: folder of the written files, created if missing: `trace.json`, the trace, and `profile.txt`, a table of
            the 40 slowest operators.
    """

    def __init__(self, config: ProfilerConfig, folder: Path) -> None:
        self._config, self._folder = config, folder
        self._profiler: torch.profiler.profile | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        del pl_module
        if not trainer.is_global_zero:
            return
        config = self._config
        self._folder.mkdir(parents=True, exist_ok=True)
        self._profiler = torch.profiler.profile(
            schedule=torch.profiler.schedule(wait=config.wait, warmup=config.warmup, active=config.active, repeat=1),
            on_trace_ready=self._write,
            record_shapes=config.record_shapes,
            profile_memory=config.profile_memory,
            with_stack=config.with_stack,
        )
        self._profiler.start()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        del trainer, pl_module, outputs, batch, batch_idx
        if self._profiler is not None:
            self._profiler.step()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        del trainer, pl_module
        self._stop()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        del trainer, pl_module, exception
        self._stop()

    def _stop(self) -> None:
        if self._profiler is not None:
            self._profiler.stop()
            self._profiler = None

    def _write(self, profiler: torch.profiler.profile) -> None:
        profiler.export_chrome_trace(str(self._folder / TRACE_NAME))
        key = "self_cuda_time_total" if torch.cuda.is_initialized() else "self_cpu_time_total"
        averages = profiler.key_averages(group_by_input_shape=self._config.record_shapes)
        table = averages.table(sort_by=key, row_limit=N_ROWS)
        (self._folder / TABLE_NAME).write_text(table, encoding="utf-8")
