"""The cost of a run, from headers and from recordings that are scored for a moment."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.archives import BROKEN, write_sounds
from tests.fixtures.sounds import tone

from dawnchorus.errors import InputError
from dawnchorus.identification import Options
from dawnchorus.identification.dry_run import MeasuredSpeed, RunCost, SourceSize, _fit, estimate_cost
from dawnchorus.identification.run import build_run_plan
from dawnchorus.inference.model import Model, load_model
from dawnchorus.models.bundle import Bundle
from dawnchorus.types import ChannelOption


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return sorted(write_sounds(tmp_path_factory.mktemp("dry") / "sounds").iterdir())


@pytest.fixture(scope="module")
def model(band_bundle: Bundle) -> Model:
    return load_model(band_bundle.folder)


def estimated(paths: Sequence[Path], model: Model, *, channel: ChannelOption = "mean", **more: object) -> RunCost:
    sized = [(path, path.stat().st_size if path.exists() else None) for path in paths]
    plan = build_run_plan(model, Options(min_score=0.25, channel=channel), ())
    options: dict[str, object] = {"n_workers": 1, "clock": time.perf_counter, **more}
    return estimate_cost(sized, model.loaded, plan, **options)  # type: ignore[arg-type]


def test_small_run_is_scored_as_a_whole(sounds: list[Path], model: Model) -> None:
    """Four recordings of three seconds, and a broken one."""
    cost = estimated([*sounds, sounds[0].with_name("gone.wav")], model)
    source, speed = cost.source, cost.speed
    assert (source.n_files, source.n_probed, source.n_unreadable) == (6, 5, 1)
    assert (source.duration_s, source.n_windows) == (12.0, 12)
    assert source.n_bytes == sum(path.stat().st_size for path in sounds)
    assert (speed.n_workers, speed.n_failed) == (1, 2)
    assert cost.n_detections == 6
    assert cost.table_bytes == round(6 * (54 + source.path_length))
    assert source.path_length == pytest.approx(len(str(sounds[0])), abs=5)
    assert speed.windows_per_s > 0


def test_lengths_that_are_not_read_follow_from_sizes(sounds: list[Path], model: Model) -> None:
    """By this clock, one header takes longer than all may."""
    clock = count(0, 30)
    readable = [path for path in sounds if path.name != BROKEN]
    cost = estimated(readable, model, clock=lambda: next(clock))
    assert cost.source.n_probed == 1
    assert (cost.source.duration_s, cost.source.n_windows) == (12.0, 12)


def test_channels_that_are_scored_by_themselves_are_read_once_each(model: Model, tmp_path: Path) -> None:
    stereo = tmp_path / "stereo.wav"
    soundfile.write(stereo, np.stack([tone(), tone(400)], axis=1), 16_000)
    mixed, each = estimated([stereo], model), estimated([stereo], model, channel="each")
    assert each.source.n_bytes == 2 * mixed.source.n_bytes
    assert each.source.duration_s == 2 * mixed.source.duration_s
    assert each.source.n_windows == 2 * mixed.source.n_windows


def test_nothing_is_left_to_do(model: Model) -> None:
    cost = estimated([], model)
    assert (cost.source.duration_s, cost.wall_s(2), cost.n_detections, cost.x_real_time) == (0.0, 0.0, 0, 0.0)


def test_recordings_of_which_none_can_be_scored_are_refused(sounds: list[Path], model: Model) -> None:
    with pytest.raises(InputError, match=f"none of 1 recordings could be scored.*{BROKEN}"):
        estimated([sounds[0].with_name(BROKEN)], model)


def test_start_is_distinguished_from_speed() -> None:
    """Two seconds until ten windows a second come; what is there in the first second is not measured."""
    marks = [(2.0 + k / 10, k) for k in range(1, 60)]
    elapsed_s, start_s, windows_per_s = _fit(marks)
    assert (round(elapsed_s, 6), round(start_s, 6), round(windows_per_s, 6)) == (4.8, 2.0, 10.0)
    assert _fit([(0.5, 20)]) == (0.5, 0.0, 40.0)


def test_cost_grows_with_recordings_and_falls_with_workers() -> None:
    source = SourceSize(
        n_files=100, n_bytes=10**9, duration_s=3000.0, n_windows=1000, n_probed=100, n_unreadable=0, path_length=20.0
    )
    speed = MeasuredSpeed(n_workers=2, elapsed_s=10.0, start_s=1.0, windows_per_s=20.0, hits_per_window=0.5, n_failed=0)
    cost = RunCost(source, speed)
    assert (cost.x_real_time, cost.scoring_core_s, cost.n_detections) == (60.0, 100.0, 500)
    assert (cost.wall_s(2), cost.wall_s(4), cost.wall_s(2, share=0.1)) == (51.0, 26.0, 6.0)
    assert (cost.core_s(2), cost.core_s(2, n_processes=10)) == (102.0, 120.0)
    assert cost.embeddings_bytes(1000, n_units=10) == 1_700_000 + 100_000
    assert cost.archive_bytes(n_units=10, n_classes=100) == 30_000 + 2_200 + 200_000 + 11_000 + 11_000
