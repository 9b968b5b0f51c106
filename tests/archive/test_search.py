"""Searches in an archive: hits, filters, and what a search reads."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fixtures.vectors import VectorArchive, write_vectors

from dawnchorus.archive import search
from dawnchorus.archive.archive import Archive, open_archive
from dawnchorus.archive.maintenance import compact_archive
from dawnchorus.archive.manifest import UnitSize
from dawnchorus.archive.search import count_bits, hamming
from dawnchorus.errors import InputError, NotFoundError
from dawnchorus.identification.archiving import archive_recordings
from dawnchorus.inference.model import load_model
from dawnchorus.models.bundle import Bundle

Rows = Callable[..., list[tuple[Any, ...]]]
LOW, HUM = "A_20260430_040000.wav", "B_20260501_040000.wav"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> VectorArchive:
    """An archive of 3,000 vectors of 64 numbers; tests may only search it."""
    return write_vectors(tmp_path_factory.mktemp("large") / "archive", n=3_000, dim=64, seed=5)


def names(hits: Any) -> list[str]:
    return [Path(name).name for name in hits["recording"].to_pylist()]


def test_a_window_finds_itself_and_its_kind_first(copied: Archive, sounds: Path, band_bundle: Bundle) -> None:
    vector = load_model(band_bundle.folder).embed(sounds / HUM)[1]
    hits = copied.search(vector, k=4)
    assert names(hits)[:3] == [HUM] * 3
    assert hits["rank"].to_pylist() == [1, 2, 3, 4]
    scores = hits["score"].to_pylist()
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(1, abs=1e-3)
    first = hits.slice(0, 1).to_pylist()[0]
    assert (first["site"], first["species"], first["human_voice"]) == ("B", "Avis murmurans", False)
    times = dict(zip(hits["start_s"].to_pylist()[:3], hits["start_time"].to_pylist()[:3], strict=True))
    assert times[2.0] == "2026-05-01T04:00:02.000"
    assert copied.search(vector, k=4, exact=True).drop_columns("score").equals(hits.drop_columns("score"))


def test_of_several_vectors_the_nearest_counts(copied: Archive, sounds: Path, band_bundle: Bundle) -> None:
    model = load_model(band_bundle.folder)
    vectors = np.concatenate([model.embed(sounds / name)[:1] for name in (LOW, HUM)])
    assert sorted(names(copied.search(vectors, k=6))) == [LOW] * 3 + [HUM] * 3


@pytest.mark.parametrize(
    ("selection", "n_expected", "expected"),
    [
        ({"sites": "A"}, 6, {"A"}),
        ({"sites": ["A", "B"]}, 12, {"A", "B"}),
        ({"since": "2026-05-01"}, 9, {"A", "B"}),
        ({"since": "2026-05-01T04:00:01", "until": "2026-05-01T04:00:02"}, 2, {"A", "B"}),
        ({"until": "2026-05-01", "sites": "B"}, 0, set()),
        ({"species": "Deep Bird"}, 3, {"A"}),
        ({"species": ["Avis gravis", "Avis murmurans"]}, 6, {"A", "B"}),
        ({"species": "Avis gravis", "since": "2026-04-30T04:00:01"}, 2, {"A"}),
    ],
)
def test_only_what_is_requested_is_found(
    kept: Path, selection: dict[str, Any], n_expected: int, expected: set[str]
) -> None:
    hits = open_archive(kept).search(np.ones(12), k=50, **selection)
    assert (len(hits), set(hits["site"].to_pylist())) == (n_expected, expected)


def test_wrong_requests_say_what_there_is(kept: Path, level_bundle: Bundle, sounds: Path, tmp_path: Path) -> None:
    archive = open_archive(kept)
    (run,) = archive.runs()
    with pytest.raises(InputError, match=rf"kept: bands \({run.run.bundle_id}, 12\); got one of 13 numbers"):
        archive.search(np.ones(13))
    with pytest.raises(InputError, match="got one of 12 numbers of the bundle 0123"):
        archive.search(np.ones(12), bundle_id="0123")
    with pytest.raises(InputError, match=r"vector: expected an array \[dim\], or .* got the shape \(2, 2, 3\)"):
        archive.search(np.ones((2, 2, 3)))
    with pytest.raises(InputError, match="vector: expected finite numbers"):
        archive.search(np.full(12, np.nan))
    with pytest.raises(InputError, match="k: expected a whole number, 1 or more, got 0"):
        archive.search(np.ones(12), k=0)
    with pytest.raises(InputError, match="species: 'Avis gravs' is no class"):
        archive.search(np.ones(12), species="Avis gravs")
    with pytest.raises(NotFoundError, match="run: the archive has"):
        archive.search(np.ones(12), runs="none")
    without = archive_recordings(sounds / LOW, tmp_path / "archive", model=level_bundle.folder, workers=1).archive
    with pytest.raises(NotFoundError, match="embeddings: none are kept"):
        without.search(np.ones(12))


def test_rows_that_do_not_count_are_not_found(copied: Archive, sounds: Path, band_bundle: Bundle) -> None:
    """Of a later run with embeddings each recording counts once; a run without embeddings replaces none."""
    before = copied.search(np.ones(12), k=50)
    archive_recordings(sounds / LOW, copied.location.root, model=band_bundle.folder, min_score=0.5, workers=1)
    assert copied.search(np.ones(12), k=50).equals(before)
    archive_recordings(
        sounds / LOW, copied.location.root, model=band_bundle.folder, overlap_s=0.5, keep=["embeddings"], workers=1
    )
    after = copied.search(np.ones(12), k=50)
    assert (names(before).count(LOW), names(after).count(LOW), len(after)) == (3, 5, 14)
    (first, *_) = copied.runs()
    assert len(copied.search(np.ones(12), k=50, runs=first.id)) == 12
    attempt = copied.table("recordings").read()["attempt"][0].as_py()
    copied.table("recordings").delete(f"attempt = '{attempt}'")
    assert len(copied.search(np.ones(12), k=50)) < len(after)


def test_the_best_by_signs_are_nearly_the_best_of_all(large: VectorArchive) -> None:
    random = np.random.default_rng(1)
    queries = large.vectors[random.choice(len(large.vectors), 5)] + random.normal(0, 0.2, (5, 64))
    found = 0
    for query in queries:
        best, all_hits = (large.archive.search(query, k=20, exact=exact) for exact in (False, True))
        found += len(set(best["start_s"].to_pylist()) & set(all_hits["start_s"].to_pylist()))
    assert found >= 0.95 * 5 * 20


def test_exact_hits_are_those_of_all_cosines(large: VectorArchive) -> None:
    query = large.vectors[7].astype(np.float64)
    stored = large.vectors.astype(np.float16).astype(np.float64)
    cosines = stored @ query / np.linalg.norm(stored, axis=1) / np.linalg.norm(query)
    hits = large.archive.search(query, k=10, exact=True)
    assert hits["start_s"].to_pylist() == np.argsort(-cosines)[:10].tolist()
    np.testing.assert_allclose(hits["score"].to_numpy(), np.sort(cosines)[::-1][:10], atol=1e-6)


def test_compaction_changes_no_hit(copied: Archive) -> None:
    before = copied.search(np.ones(12), k=50)
    list(compact_archive(copied))
    assert copied.search(np.ones(12), k=50).equals(before)


def test_a_shortlist_holds_the_nearest_whatever_the_order() -> None:
    random = np.random.default_rng(0)
    distances = random.integers(0, 65, 5_000).astype(np.uint16)
    shortlist = search._Shortlist(100, n_bits=64)
    for number, part in enumerate(np.split(distances, 50)):
        shortlist.add(search._Rows(number, np.arange(100), part))
    kept = shortlist.finish()
    cutoff = np.sort(distances)[99]
    assert (
        sorted(100 * part.block + row for part in kept for row in part.rows)
        == np.flatnonzero(distances <= cutoff).tolist()
    )


def test_bits_are_counted_with_every_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    words = np.random.default_rng(0).integers(0, 1 << 63, 100, np.uint64)
    expected = [int(word).bit_count() for word in words]
    assert count_bits(words).tolist() == expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert count_bits(words).tolist() == expected
    query = np.array([3, 1], np.uint64)
    assert hamming([words, words], query).tolist() == [
        (int(word) ^ 3).bit_count() + (int(word) ^ 1).bit_count() for word in words
    ]


def test_blocks_are_read_in_any_number(large: VectorArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = large.archive.search(large.vectors[3], k=30)
    monkeypatch.setattr(search, "BLOCKS_AT_A_TIME", 1)
    assert large.archive.search(large.vectors[3], k=30, workers=3).equals(expected)


def test_an_archive_of_no_recordings_has_no_hits(copied: Archive) -> None:
    shutil.rmtree(copied.location.root / "embeddings")
    assert len(copied.search(np.ones(12))) == 0


def test_units_of_any_size_give_the_same(copied: Archive, sounds: Path, band_bundle: Bundle, tmp_path: Path) -> None:
    one = archive_recordings(
        sounds,
        tmp_path / "one",
        model=band_bundle.folder,
        keep=["embeddings"],
        unit_size=UnitSize(max_recordings=1),
        workers=1,
    ).archive
    columns = ["score", "recording", "start_s", "species"]
    assert one.search(np.ones(12), k=5).select(columns).equals(copied.search(np.ones(12), k=5).select(columns))


def test_speech_near_a_window_is_said(copied: Archive) -> None:
    """Its sound is not played then; other sounds are no species."""
    rows = copied.table("detections").read()
    first = rows.filter(np.array(rows["start_s"].to_pylist()) == 0).slice(0, 1)
    for name, value in (("scientific_name", "Human vocal"), ("kind", "sound"), ("end_s", 0.5)):
        index = first.schema.get_field_index(name)
        first = first.set_column(index, first.schema.field(name), [[value]])
    copied.table("detections").append(first)
    (recording,) = first["recording"].to_pylist()
    hits = [row for row in copied.search(np.ones(12), k=50).to_pylist() if row["recording"] == recording]
    assert {row["start_s"]: row["human_voice"] for row in hits} == {0.0: True, 1.0: True, 2.0: False}
    assert not any("Human" in row["species"] for row in hits)
