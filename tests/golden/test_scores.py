"""The same recordings have the same scores on the command line, in Python, over HTTP and in a job of the server.

The model is `level_bundle`: "loud" is the mean level of a window of one second, "quiet" is one minus it, "engine" is 0.
Every recording is steady for whole seconds, so the scores can be computed in the head.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx2 as httpx
import numpy as np
import pytest
import soundfile
from tests.fixtures.commands import Command
from tests.fixtures.server import running
from tests.fixtures.waiting import wait_for

from dawnchorus.identification import Options, identify
from dawnchorus.inference.model import load_model
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.settings import Settings


@dataclass(frozen=True)
class Signal:
    """A recording and its scores of "loud"."""

    rate_hz: int
    subtype: str
    levels: tuple[tuple[float, ...], ...]
    """Level of every second, by channel."""
    loud: tuple[float, ...]
    """Scores of the mean of the channels, in windows that follow each other."""
    overlapping: tuple[tuple[float, ...], ...]
    """Scores of each channel, in windows that start every half second."""
    seconds: float | None = None
    """Length; None: as many seconds as levels."""
    is_cut: bool = False
    """True if the last second is missing from the file, though the header promises it."""

    @property
    def duration_s(self) -> float:
        """Length of the sound that is in the file."""
        return (self.seconds or len(self.levels[0])) - self.is_cut

    def write(self, path: Path) -> None:
        """Write the file."""
        n_samples = round((self.seconds or len(self.levels[0])) * self.rate_hz)
        samples = np.repeat(np.array(self.levels, float), self.rate_hz, axis=1)[:, :n_samples].T
        soundfile.write(path, samples, self.rate_hz, subtype=self.subtype)
        if self.is_cut:
            content = path.read_bytes()
            path.write_bytes(content[: len(content) - samples[: self.rate_hz].astype(np.float32).nbytes])


def steady(rate_hz: int) -> Signal:
    """Return three seconds of a quarter."""
    return Signal(rate_hz, "FLOAT", ((0.25,) * 3,), (0.25,) * 3, ((0.25,) * 5,))


LONG = tuple(k / 200 for k in range(130))
"""Levels of a recording with more windows than any batch or slice of them."""

SIGNALS = {
    **{f"{rate_hz}.wav": steady(rate_hz) for rate_hz in (8_000, 22_050, 48_000, 96_000, 192_000, 250_000)},
    "steps.wav": Signal(44_100, "FLOAT", ((0.25, 0.5, 0.75),), (0.25, 0.5, 0.75), ((0.25, 0.375, 0.5, 0.625, 0.75),)),
    "stereo.flac": Signal(
        16_000, "PCM_24", ((0.5, 0.5), (0.25, 0.75)), (0.375, 0.625), ((0.5,) * 3, (0.25, 0.5, 0.75))
    ),
    "opposite.wav": Signal(32_000, "PCM_16", ((0.5, 0.25), (-0.5, -0.25)), (0, 0), ((0.5, 0.375, 0.25),) * 2),
    "half a window.wav": Signal(16_000, "PCM_24", ((0.5,),), (0.25,), ((0.25,),), seconds=0.5),
    "just under a quarter left.wav": Signal(16_000, "PCM_U8", ((0.5, 0.5),), (0.5,), ((0.5,),), seconds=1.2499375),
    "a quarter left.wav": Signal(16_000, "FLOAT", ((0.5, 0.5),), (0.5, 0.125), ((0.5, 0.375),), seconds=1.25),
    "one sample.wav": Signal(16_000, "FLOAT", ((0.5,),), (0,), ((0,),), seconds=1 / 16_000),
    "silence.flac": Signal(16_000, "PCM_24", ((0, 0),), (0, 0), ((0, 0, 0),)),
    "above full scale.wav": Signal(16_000, "DOUBLE", ((1.5,),), (1.5,), ((1.5,),)),
    "cut.wav": Signal(16_000, "FLOAT", ((0.25, 0.5, 0.75),), (0.25, 0.5), ((0.25, 0.375, 0.5),), is_cut=True),
    "long.wav": Signal(8_000, "PCM_16", (LONG,), LONG, (tuple(k / 400 for k in range(259)),)),
}

FOLLOWING = Options(min_score=0, top=3)
OVERLAPPING = Options(min_score=0, top=3, overlap_s=0.5, channel="each")


class Row(NamedTuple):
    """The fields that are compared of a detection."""

    channel: int | None
    start_s: float
    scientific_name: str
    end_s: float
    score: float


Interface = Callable[[list[Path], Options], dict[str, list[Row]]]


def expected_rows(signal: Signal, options: Options) -> list[Row]:
    """Return the rows of all classes, in order."""
    is_each = options.channel == "each"
    channels = enumerate(signal.overlapping, start=1) if is_each else [(None, signal.loud)]
    hop_s = 1 - options.overlap_s
    return [
        Row(channel, k * hop_s, name, min(k * hop_s + 1, signal.duration_s), score)
        for channel, scores in channels
        for k, loud in enumerate(scores)
        for name, score in (("Avis magna", loud), ("Avis parva", 1 - loud), ("Engine", 0.0))
        if score >= 0
    ]


def json_row(fields: dict[str, Any]) -> Row:
    """Return the row of a detection in JSON."""
    return Row(fields.get("channel"), *(fields[name] for name in Row._fields[1:]))


def query(options: Options) -> dict[str, Any]:
    """Return the options as parameters of a request."""
    return {"min_score": 0, "top": 3, "overlap": options.overlap_s, "channel": options.channel}


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One file of each signal."""
    folder = tmp_path_factory.mktemp("golden")
    for name, signal in SIGNALS.items():
        signal.write(folder / name)
    return [folder / name for name in SIGNALS]


@pytest.fixture(scope="session")
def client(level_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of one server for all tests here."""
    with running(Settings(data=tmp_path_factory.mktemp("server"), model=level_bundle.folder)) as client:
        yield client


@pytest.fixture
def command_line(command: Command, level_bundle: Bundle) -> Interface:
    """`dawnchorus identify`."""

    def run(paths: list[Path], options: Options) -> dict[str, list[Row]]:
        given = [text for name, value in query(options).items() for text in (f"--{name.replace('_', '-')}", str(value))]
        done = command("identify", *paths, "--model", level_bundle.folder, "--json", "-q", *given)
        assert done.returncode == 0, done.stderr
        rows: dict[str, list[Row]] = {path.name: [] for path in paths}
        for fields in json.loads(done.stdout)["detections"]:
            rows[Path(fields["recording"]).name].append(json_row(fields))
        return rows

    return run


@pytest.fixture
def python(level_bundle: Bundle) -> Interface:
    """`dawnchorus.identification.identify`."""

    def run(paths: list[Path], options: Options) -> dict[str, list[Row]]:
        is_each = options.channel == "each"
        return {
            Path(table.recording).name: [
                Row(row.channel if is_each else None, row.start_s, row.scientific_name, row.end_s, row.score)
                for row in table.detections
            ]
            for table in identify(paths, options, model=level_bundle.folder).tables()
        }

    return run


@pytest.fixture
def http(client: httpx.Client) -> Interface:
    """A request for each recording."""

    def run(paths: list[Path], options: Options) -> dict[str, list[Row]]:
        rows = {}
        for path in paths:
            reply = client.post("/api/v1/identify", params=query(options), content=path.read_bytes())
            assert reply.status_code == 200, f"{path.name}: {reply.text}"
            rows[path.name] = [json_row(fields) for fields in reply.json()["detections"]]
        return rows

    return run


@pytest.fixture
def job(client: httpx.Client) -> Interface:
    """A job for each recording, and what is stored of it."""

    def stored(path: str) -> list[Row]:
        wait_for(lambda: client.get(path).json()["status"] != "waiting")
        done = wait_for(lambda: (fields := client.get(path).json())["status"] == "done" and fields)
        return client.get(f"/api/v1/recordings/{done['result']['recording']}/detections").json()["detections"]

    def run(paths: list[Path], options: Options) -> dict[str, list[Row]]:
        jobs = {}
        for path in paths:
            given = {**query(options), "background": True}
            reply = client.post("/api/v1/identify", params=given, content=path.read_bytes())
            assert reply.status_code == 202, f"{path.name}: {reply.text}"
            jobs[path.name] = reply.headers["location"]
        return {name: [json_row(fields) for fields in stored(place)] for name, place in jobs.items()}

    return run


@pytest.mark.parametrize("options", [FOLLOWING, OVERLAPPING], ids=["following", "overlapping"])
@pytest.mark.parametrize("interface", ["command_line", "python", "http", "job"])
def test_every_interface_gives_the_scores_that_are_computed_in_the_head(
    request: pytest.FixtureRequest, recordings: list[Path], interface: str, options: Options
) -> None:
    run: Interface = request.getfixturevalue(interface)
    rows = run(recordings, options)
    assert list(rows) == list(SIGNALS)
    for name, signal in SIGNALS.items():
        expected, actual = expected_rows(signal, options), sorted(rows[name], key=lambda row: (row.channel or 0, row))
        assert [row[:1] + row[2:3] for row in actual] == [row[:1] + row[2:3] for row in expected], name
        for field, tolerance in (("start_s", 1e-3), ("end_s", 1e-3), ("score", 1e-4)):
            values = [getattr(row, field) for row in expected]
            assert [getattr(row, field) for row in actual] == pytest.approx(values, abs=tolerance), (name, field)


@pytest.mark.parametrize("name", SIGNALS)
def test_a_model_gives_these_scores_for_files_and_for_samples(
    name: str, recordings: list[Path], level_bundle: Bundle
) -> None:
    signal, path = SIGNALS[name], next(path for path in recordings if path.name == name)
    model = load_model(level_bundle.folder)
    samples, rate_hz = soundfile.read(path, dtype="float32")
    for audio in (path, (samples, rate_hz)):
        assert model.predict(audio)[:, 0] == pytest.approx(signal.loud, abs=1e-4)
        for number, scores in enumerate(signal.overlapping, start=1):
            assert model.predict(audio, overlap_s=0.5, channel=number)[:, 0] == pytest.approx(scores, abs=1e-4)
