"""`dawnchorus archive search`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from tests.fixtures.archives import write_sounds
from tests.fixtures.commands import Command

from dawnchorus.cli.archive_search import embed_clip
from dawnchorus.errors import AudioError, InputError
from dawnchorus.inference.model import Model, load_model
from dawnchorus.models.bundle import Bundle

HUM = "B_20260501_040000.wav"


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sounds(tmp_path_factory.mktemp("archived") / "sounds")


@pytest.fixture(scope="module")
def kept(sounds: Path, band_bundle: Bundle, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept") / "archive"
    done = command("identify", sounds, "--archive", folder, "--model", band_bundle.folder, "--keep", "embeddings", "-q")
    assert done.returncode == 3, done.stderr
    return folder


@pytest.fixture(scope="module")
def model(band_bundle: Bundle) -> Model:
    return load_model(band_bundle.folder)


def test_hits_are_printed_written_and_shown(
    kept: Path, sounds: Path, band_bundle: Bundle, command: Command, tmp_path: Path
) -> None:
    search = ("archive", "search", kept, sounds / HUM, "--model", band_bundle.folder)
    done = command(*search, "-k", "4", "--start-s", "1", "--end-s", "2")
    assert done.returncode == 0, done.stderr
    header, *lines = done.stdout.decode().splitlines()
    assert header.split() == ["rank", "score", "recording", "start", "clock", "site", "species"]
    assert len(lines) == 4
    assert all(HUM in line and "Avis murmurans" in line for line in lines[:3])
    done = command(*search, "--site", "A", "--since", "2026-05-01", "--out", tmp_path / "hits.parquet")
    assert b"hits.parquet: 3 rows" in done.stdout
    assert set(pq.read_table(tmp_path / "hits.parquet")["site"].to_pylist()) == {"A"}
    out, page = tmp_path / "hits.csv", tmp_path / "pages" / "hits.html"
    done = command(*search, "--species", "Deep Bird", "--exact", "--out", out, "--report", page)
    assert done.returncode == 0, done.stderr
    assert out.read_text().splitlines()[0].startswith('"rank","score","recording","channel","start_s"')
    assert page.read_text().count("<audio") == 3


def test_wrong_requests_say_what_to_do(kept: Path, sounds: Path, level_bundle: Bundle, command: Command) -> None:
    done = command("archive", "search", kept, sounds / HUM, "--model", level_bundle.folder)
    assert (done.returncode, b"this model has no embeddings. Use one that has" in done.stderr) == (5, True)
    done = command("archive", "search", kept, sounds / "none.wav", "--model", level_bundle.folder)
    assert done.returncode in (3, 5)


def test_a_short_sound_is_in_the_middle_of_a_window(model: Model, tmp_path: Path) -> None:
    """A clip is compared with what the model was trained on, a window of sound, not of zeros."""
    samples = np.random.default_rng(0).normal(0, 0.1, 80_000).astype(np.float32)
    path = tmp_path / "clip.wav"
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    for (start_s, end_s), first in {(2.25, 2.75): 32_000, (0.0, 0.5): 0, (4.75, 5.0): 64_000}.items():
        expected = model.embed(samples[first : first + 16_000], 16_000)
        np.testing.assert_allclose(embed_clip(model, path, start_s=start_s, end_s=end_s), expected, atol=1e-4)
    long = embed_clip(model, path, start_s=0.5, end_s=3.0)
    expected = np.concatenate([model.embed(samples[k : k + 16_000], 16_000) for k in (8_000, 20_000, 32_000)])
    np.testing.assert_allclose(long, expected, atol=1e-4)
    assert embed_clip(model, path, start_s=0.0, end_s=None).shape == (5, 12)


def test_sounds_that_cannot_be_searched_are_refused(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.full(20 * 16_000, 0.1), 16_000)
    with pytest.raises(InputError, match="expected a sound of at most 16 s. Give --start-s and --end-s"):
        embed_clip(model, path, start_s=0, end_s=None)
    with pytest.raises(InputError, match=r"--end-s: expected more than --start-s \(2\), got 1"):
        embed_clip(model, path, start_s=2, end_s=1)
    with pytest.raises((InputError, AudioError)):
        embed_clip(model, path, start_s=25, end_s=None)
    short = tmp_path / "short.wav"
    soundfile.write(short, np.repeat([0.1, 0.0], 8_000), 16_000)
    assert embed_clip(model, short, start_s=0, end_s=None).shape == (1, 12)
    with pytest.raises(InputError, match="the sound is silent"):
        embed_clip(model, short, start_s=0.6, end_s=None)
