"""The estimate of a run, with a clock and headers of the test's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from dawnchorus.audio.windows import WindowPlan
from dawnchorus.errors import AudioError
from dawnchorus.identification import estimate
from dawnchorus.identification.estimate import Estimate, estimate_run
from dawnchorus.models.bundle import Bundle

HALF_OVER = WindowPlan.from_seconds(rate_hz=16_000, window_s=1.0, overlap_s=0.5)
"""Two windows in a second."""


class Headers:
    """Stands in for `DecoderProcess`: files named for the seconds that their headers promise."""

    def __init__(self) -> None:
        self.probed: list[str] = []
        self.is_closed = False

    def probe(self, path: Path) -> SimpleNamespace:
        self.probed.append(path.name)
        if path.name == "broken":
            raise AudioError("broken", subject="x.wav")
        return SimpleNamespace(info=SimpleNamespace(duration_s=None if path.name == "unknown" else float(path.name)))

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def headers(monkeypatch: pytest.MonkeyPatch) -> Headers:
    headers = Headers()
    monkeypatch.setattr(estimate, "DecoderProcess", lambda: headers)
    return headers


def estimated(names: Sequence[str], bundle: Bundle, *, n_workers: int = 1, **more: int) -> Estimate:
    times = iter([3.0, 7.0])  # four seconds for a batch of eight windows
    paths = [Path(name) for name in names]
    return estimate_run(paths, bundle, HALF_OVER, n_workers=n_workers, clock=lambda: next(times), **more)


def test_estimate_of_a_few_recordings(headers: Headers, level_bundle: Bundle) -> None:
    estimate = estimated(["3", "10", "7"], level_bundle)
    assert estimate == Estimate(n_files=3, duration_s=20.0, estimated_s=20.0, output_bytes=40 * 110)
    assert headers.probed == ["3", "10", "7"]
    assert headers.is_closed
    assert estimated(["3", "10", "7"], level_bundle, n_workers=4).estimated_s == 5.0
    with pytest.raises(AttributeError):
        estimate.n_files = 4  # type: ignore[misc]


@pytest.mark.usefixtures("headers")
def test_estimate_of_one_recording_and_of_none(level_bundle: Bundle) -> None:
    assert estimated(["3"], level_bundle) == Estimate(1, 3.0, 3.0, 660)
    assert estimated([], level_bundle) == Estimate(0, 0.0, 0.0, 0)


@pytest.mark.usefixtures("headers")
def test_estimate_takes_what_is_unknown_for_nothing(level_bundle: Bundle) -> None:
    assert estimated(["4", "broken", "unknown", "6"], level_bundle).duration_s == 10.0


def test_estimate_opens_a_part_of_very_many_files(headers: Headers, level_bundle: Bundle) -> None:
    assert estimated(["1", "2"] * 399 + ["1"], level_bundle).duration_s == 1198.0
    assert len(headers.probed) == 799
    headers.probed.clear()
    assert estimated(["1", "2"] * 400, level_bundle).duration_s == 800.0, "every second file, and twice as much"
    assert headers.probed == ["1"] * 400


@pytest.mark.usefixtures("headers")
@pytest.mark.parametrize(("given", "tta_shifts"), [({}, 1), ({"tta_shifts": 3}, 3)])
def test_estimate_uses_tta_shifts(
    level_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, given: dict[str, int], tta_shifts: int
) -> None:
    opened: list[int] = []
    shapes: list[tuple[int, ...]] = []

    def open_session(_bundle: Bundle, *, tta_shifts: int) -> SimpleNamespace:
        opened.append(tta_shifts)
        return SimpleNamespace(run=lambda windows: shapes.append(windows.shape))

    monkeypatch.setattr(estimate, "open_session", open_session)
    estimated(["1"], level_bundle, **given)
    assert opened == [tta_shifts]
    assert shapes == [(8, 16_000)] * 2, "a first batch warms the session up"
