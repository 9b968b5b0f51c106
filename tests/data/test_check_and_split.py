"""Issues of recordings are detected, and related recordings stay in one split."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.commands import Command

from dawnchorus.audio.decode import read_mono
from dawnchorus.audio.fingerprint import RATE_HZ, fingerprint, near_pairs
from dawnchorus.data.check import ModelScores, check_table
from dawnchorus.data.recordings import (
    Annotation,
    RecordingRow,
    RecordingsTable,
    blocking_problems,
    read_table,
    usable,
    write_table,
)
from dawnchorus.data.relations import assign_groups, find_leaks, same_recordist_and_day
from dawnchorus.data.split import DEFAULT_RATIOS, fold_ratios, leak_report, split_table
from dawnchorus.data.synthesis.datasets import invented_song
from dawnchorus.data.synthesis.scenes import Singer, compose_scene
from dawnchorus.errors import InputError
from dawnchorus.models.bundle import Bundle
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label
from dawnchorus.types import Detection

FloatArray = np.ndarray


@cache
def song(number: int, seed: int, seconds: float = 8.0, rate_hz: int = 32_000) -> FloatArray:
    """Return three phrases that nobody else sings, whatever the seed."""
    rng = np.random.default_rng([number, seed])
    singers = [Singer(invented_song(number, rng=rng), at_s, -12) for at_s in (0.3, 2.5, 5.0)]
    return compose_scene(singers, duration_s=seconds, rate_hz=rate_hz, rng=rng).samples


@pytest.fixture
def recordings(tmp_path: Path) -> RecordingsTable:
    """Two songs of each of four species; a copy in another container, a faint shorter MP3, and things gone wrong."""
    rows = []

    def add(name: str, samples: FloatArray | None, rate_hz: int = 32_000, species: str | None = "A a") -> None:
        if samples is not None:
            soundfile.write(tmp_path / name, samples, rate_hz)
        rows.append(RecordingRow(recording_id=name, path=name, scientific_name=species, license="CC0-1.0"))

    for number in (3, 4, 5, 7):
        for seed in (1, 2):
            add(f"{number}-{seed}.wav", song(number, seed), species=f"A {number}")
    soundfile.write(tmp_path / "copy.flac", *soundfile.read(tmp_path / "3-1.wav", dtype="int16"))
    add("copy.flac", None)
    add("near.mp3", 0.3 * song(4, 2)[24_000:])
    add("silent.wav", np.zeros(32_000))
    add("constant.wav", np.full(32_000, 0.25))
    add("clipped.wav", np.clip(3 * song(3, 9) / np.abs(song(3, 9)).max(), -1, 1))
    add("short.wav", song(3, 10)[:8000])
    add("gone.wav", None)
    (tmp_path / "broken.wav").write_text("no sound")
    add("broken.wav", None)
    add("nameless.wav", song(5, 11), species=None)
    whole = (tmp_path / "7-1.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 3])
    add("cut.wav", None)
    return RecordingsTable(tmp_path, tuple(rows))


def test_every_problem_is_found_where_it_is(recordings: RecordingsTable) -> None:
    checked = {row.recording_id: row for row in check_table(recordings, n_workers=2).rows}
    problems = {name: row.problems for name, row in checked.items() if row.problems}
    assert problems == {
        "copy.flac": ("duplicate",),
        "near.mp3": ("near_duplicate",),
        "silent.wav": ("silent",),
        "constant.wav": ("silent",),
        "clipped.wav": ("clipped",),
        "short.wav": ("short",),
        "gone.wav": ("missing",),
        "broken.wav": ("unreadable",),
        "nameless.wav": ("unlabelled",),
        "cut.wav": ("damaged", "near_duplicate"),
    }
    assert checked["copy.flac"].duplicate_of == "3-1.wav"
    assert checked["near.mp3"].duplicate_of == "4-2.wav"
    assert checked["cut.wav"].duplicate_of == "7-1.wav"
    assert checked["copy.flac"].audio_hash == checked["3-1.wav"].audio_hash
    assert checked["cut.wav"].duration_s == pytest.approx(8 / 3, abs=0.01)


def test_checking_again_changes_nothing(recordings: RecordingsTable) -> None:
    once = check_table(recordings, n_workers=2)
    assert check_table(once, n_workers=1) == once


def test_labels_that_a_model_does_not_detect_are_doubtful(recordings: RecordingsTable) -> None:
    best = {"3-1.wav": {"B b": 0.9}, "3-2.wav": {"A 3": 0.2, "B b": 0.9}, "4-1.wav": {"B b": 0.3}, "4-2.wav": {}}
    checked = check_table(recordings, n_workers=2, scores=model_scores(["A 3", "A 4", "B b"], best))
    assert [row.recording_id for row in checked.rows if "doubtful_label" in row.problems] == ["3-1.wav"]
    assert detected(checked, "3-1.wav") == ("checked", "B b", 0.9, 3.0, 6.0)
    assert detected(checked, "3-2.wav") == ("checked", None, None, None, None)


def model_scores(names: list[str], best: dict[str, dict[str, float]], kind: str = "species") -> ModelScores:
    """Return the result of a model with classes of these names, each score in the clip from 3 to 6 s."""
    detections = {
        recording: {name: Detection(3.0, 6.0, name, name, kind, score) for name, score in scores.items()}
        for recording, scores in best.items()
    }
    return ModelScores(KnownClasses(Label(name, name) for name in names), detections)


def detected(table: RecordingsTable, recording: str) -> tuple[object, ...]:
    (row_of_recording,) = (row for row in table.rows if row.recording_id == recording)
    return (
        row_of_recording.label_check,
        row_of_recording.detected_species,
        row_of_recording.detected_score,
        row_of_recording.detected_start_s,
        row_of_recording.detected_end_s,
    )


def test_other_species_under_a_label_that_the_model_does_not_know_is_reported(recordings: RecordingsTable) -> None:
    recordings = recordings.with_rows(
        replace(row, scientific_name="B  B") if row.recording_id == "7-1.wav" else row for row in recordings.rows
    )
    names = {row.recording_id for row in recordings.rows} - {"gone.wav"}
    best: dict[str, dict[str, float]] = {name: {} for name in names}
    best |= {"3-1.wav": {"B b": 0.7}, "3-2.wav": {"B b": 0.85, "C c": 0.9}, "7-1.wav": {"B b": 0.9}}
    checked = check_table(recordings, n_workers=2, scores=model_scores(["B b", "C c"], best))
    assert {row.recording_id for row in checked.rows if "other_species" in row.problems} == {"3-2.wav"}
    assert detected(checked, "3-2.wav") == ("unknown_label", "C c", 0.9, 3.0, 6.0)
    assert detected(checked, "3-1.wav")[:2] == ("unknown_label", None), "it may be a relative of what it sounds like"
    assert detected(checked, "7-1.wav")[:2] == ("checked", None), "a name in another spelling is known"
    assert detected(checked, "gone.wav")[:2] == ("failed", None)
    assert detected(checked, "nameless.wav")[:2] == ("unlabelled", None)
    secondary = checked.with_rows(replace(row, secondary=("C c",)) for row in checked.rows)
    again = check_table(secondary, n_workers=2, scores=model_scores(["B b", "C c"], best))
    assert detected(again, "3-2.wav")[1] == "B b", "a species that is known to be in the background is not reported"
    noise = check_table(recordings, n_workers=2, scores=model_scores(["B b", "C c"], best, kind="sound"))
    assert detected(noise, "3-2.wav")[1] is None
    assert detected(check_table(checked, n_workers=2), "3-2.wav") == (None,) * 5, "of the last check only"


def test_detected_species_are_stored_and_older_tables_are_read(recordings: RecordingsTable, tmp_path: Path) -> None:
    row = replace(recordings.rows[0], label_check="unknown_label", detected_species="C c", detected_score=0.9)
    row = replace(row, audio_hash="of decoded samples")
    path = write_table(recordings.with_rows([replace(row, detected_start_s=3.0, detected_end_s=6.0)]))
    assert detected(read_table(tmp_path), row.recording_id) == ("unknown_label", "C c", 0.9, 3.0, 6.0)
    older = pq.read_table(path)
    names = [name.replace("detected_", "heard_").replace("audio_", "sound_") for name in older.column_names]
    pq.write_table(older.rename_columns(names).replace_schema_metadata(older.schema.metadata), path)
    assert read_table(tmp_path).rows[0].audio_hash == "of decoded samples"
    assert detected(read_table(tmp_path), row.recording_id) == ("unknown_label", "C c", 0.9, 3.0, 6.0)
    new = [name for name in older.column_names if name.startswith(("label_check", "detected_"))]
    assert len(new) == 5
    pq.write_table(older.drop_columns(new), path)
    assert detected(read_table(tmp_path), row.recording_id) == (None,) * 5


def test_the_command_says_of_each_label_whether_it_was_checked(
    level_bundle: Bundle, command: Command, tmp_path: Path
) -> None:
    levels = {"Avis magna_Loud Bird": 0.8, "Quiet Bird": 0.96, "Avis mgna": 0.9, "Nova avis": 0.6, "noise": 0.5}
    for name, level in levels.items():
        (tmp_path / "birds" / name).mkdir(parents=True)
        soundfile.write(tmp_path / "birds" / name / "x.wav", np.full(16_000, level, np.float32), 16_000)
    (tmp_path / "birds" / "Nova avis" / "broken.wav").write_bytes(b"no sound")
    assert command("data", "import", "birds", "set", cwd=tmp_path).returncode == 0
    done = command("data", "check", "set", "--check-labels", "--model", level_bundle.folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = done.stdout.decode()
    assert (
        "labels of 6 recordings: 2 checked, 2 with a label that the model does not know, 1 not labelled, "
        "1 that could not be scored\n"
    ) in said
    assert "    'Avis mgna': no such class. Did you mean Avis magna (Loud Bird)? (1 recording)\n" in said
    assert "    'Nova avis': no such class. (1 recording)\n" in said
    assert "Avis mgna/x.wav: labeled Avis mgna, detected Avis magna (0.90 at 0.0-1.0 s)\n" in said
    assert "Quiet Bird/x.wav: labeled Quiet Bird, detected Avis magna (0.96 at 0.0-1.0 s)\n" in said
    assert "Nova avis/x.wav: labelled" not in said
    rows = {row.recording_id: row.label_check for row in read_table(tmp_path / "set").rows}
    assert rows["Nova avis/broken.wav"] == "failed"
    again = command("data", "check", "set", cwd=tmp_path)
    assert b"labels of 6 recordings" not in again.stdout


def test_a_data_set_without_labels_has_nothing_to_compare(
    level_bundle: Bundle, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "birds" / "noise").mkdir(parents=True)
    soundfile.write(tmp_path / "birds" / "noise" / "x.wav", np.full(16_000, 0.5, np.float32), 16_000)
    assert command("data", "import", "birds", "set", cwd=tmp_path).returncode == 0
    done = command("data", "check", "set", "--check-labels", "--model", level_bundle.folder, cwd=tmp_path)
    assert (done.returncode, b"labels of 1 recording: 1 not labelled" in done.stdout) == (0, True), done.stderr


@pytest.mark.ops
def test_copies_of_real_recordings_are_distinguished_from_others(shared_audio: Path, tmp_path: Path) -> None:
    paths = sorted(p for p in (shared_audio / "focal" / "Vireo_griseus").iterdir() if p.suffix != ".txt")[::2]
    paths += sorted((shared_audio / "focal_longtail").rglob("*.mp3"))[::6]
    prints = [fingerprint(read_mono(path, rate_hz=RATE_HZ)[0]) for path in paths]
    assert near_pairs(prints) == [], "recordings of one species are no copies"
    for k, path in enumerate(paths):
        samples, rate_hz = read_mono(path)
        copy = tmp_path / f"{k}.{('ogg', 'mp3')[k % 2]}"
        soundfile.write(copy, (0.3 + 0.1 * (k % 7)) * samples[rate_hz * (k % 5) // 4 :], rate_hz)
        prints.append(fingerprint(read_mono(copy, rate_hz=RATE_HZ)[0]))
    assert [(a, b) for a, b, _ in near_pairs(prints)] == [(k, len(paths) + k) for k in range(len(paths))]


def row(name: str, **more: object) -> RecordingRow:
    return RecordingRow(recording_id=name, path=name, **{"scientific_name": "A a", **more})  # type: ignore[arg-type]


def test_related_recordings_are_one_group_also_over_others() -> None:
    rows = [
        row("a", recordist="X", date="2026-05-01", locality="wood"),
        row("b", recordist="x", date="2026-05-01", locality="wood", audio_hash="1"),
        row("c", audio_hash="1"),
        row("d", duplicate_of="c"),
        row("e", recordist="X", date="2026-05-02", locality="wood"),
        row("f", recordist="X", date="2026"),
        row("g", given_group="s"),
        row("h", given_group="s"),
    ]
    groups = assign_groups(rows)
    assert len({*groups[:4]}) == 1
    assert groups[6] == groups[7]
    assert len(set(groups)) == 4


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12)), min_size=1, max_size=60), st.integers(0, 3))
def test_no_group_is_ever_on_two_sides(made: list[tuple[int, int]], seed: int) -> None:
    rows = tuple(row(str(k), scientific_name=f"A {s}", given_group=str(g)) for k, (s, g) in enumerate(made))
    table = split_table(RecordingsTable(Path(), rows), {"train": 0.7, "validation": 0.15, "test": 0.15}, seed=seed)
    assert list(find_leaks(table.rows, lambda r: r.split)) == []
    assert all(r.split for r in table.rows)
    assert leak_report(table.rows, seed=1).n_leaking == 0


def test_each_species_has_its_share_of_every_part() -> None:
    rows = [row(f"{s}-{k}", scientific_name=f"A {s}") for s, n in enumerate((100, 20, 10)) for k in range(n)]
    table = split_table(RecordingsTable(Path(), tuple(rows)), {"train": 0.7, "validation": 0.1, "test": 0.2}, seed=1)
    for s, n in enumerate((100, 20, 10)):
        counts = [sum(r.split == part and r.scientific_name == f"A {s}" for r in table.rows)
                  for part in ("train", "validation", "test")]  # fmt: skip
        assert counts == [round(0.7 * n), round(0.1 * n), round(0.2 * n)]


def test_the_same_seed_splits_the_same_way_and_another_one_does_not() -> None:
    table = RecordingsTable(Path(), tuple(row(str(k)) for k in range(50)))
    parts = {"train": 0.5, "test": 0.5}
    assert split_table(table, parts, seed=1) == split_table(table, parts, seed=1)
    assert split_table(table, parts, seed=1) != split_table(table, parts, seed=2)


def test_planted_leaks_are_found(recordings: RecordingsTable) -> None:
    table = check_table(recordings, n_workers=2)
    usable = [r for r in table.rows if not {"missing", "unreadable", "silent"} & set(r.problems)]
    sides = {"copy.flac": "test", "near.mp3": "test", "5-1.wav": "test"}
    together = {"5-1.wav", "5-2.wav"}
    planted = [
        replace(
            r,
            split=sides.get(r.recording_id, "train"),
            recordist="R" if r.recording_id in together else None,
            date="2026-05-01" if r.recording_id in together else None,
        )
        for r in usable
    ]
    report = leak_report(planted, seed=1)
    leaks = {(leak.relation, frozenset((leak.first.recording_id, leak.second.recording_id))) for leak in report.leaks}
    assert ("the same sound", frozenset(("3-1.wav", "copy.flac"))) in leaks
    assert ("nearly the same sound", frozenset(("4-2.wav", "near.mp3"))) in leaks
    assert ("the same recordist, location and day", frozenset(together)) in leaks
    assert (report.n_tested, report.n_leaking) == (3, 3)
    assert report.n_leaking_at_random < 3
    clean = split_table(table.with_rows(planted), {"train": 0.7, "test": 0.3}, seed=1)
    assert leak_report(clean.rows, seed=1).n_leaking == 0


def test_what_cannot_be_used_is_not_split(recordings: RecordingsTable) -> None:
    table = split_table(check_table(recordings, n_workers=2), {"train": 0.7, "test": 0.3}, seed=1)
    without = {r.recording_id for r in table.rows if r.split is None}
    assert without == {"silent.wav", "constant.wav", "gone.wav", "broken.wav"}
    with pytest.raises(InputError, match="no usable recordings"):
        split_table(table.with_rows([r for r in table.rows if r.split is None]), {"train": 1.0}, seed=1)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"recordist": "Ann", "date": "2026-05-01"}, "ann|2026-05-01|"),
        ({"recordist": "ANN", "date": "2026-05-01", "locality": "wood"}, "ann|2026-05-01|wood"),
        (
            {"recordist": "A", "date": "2026-05-01", "latitude": 1.234, "longitude": -5.0, "locality": "wood"},
            "a|2026-05-01|1.23,-5.00",
        ),
        ({"recordist": "A", "date": "2026-05-01", "latitude": 1.0, "locality": "wood"}, "a|2026-05-01|wood"),
        ({"recordist": "A", "date": "2026-05-01", "longitude": 1.0, "locality": "wood"}, "a|2026-05-01|wood"),
        ({"recordist": "A", "date": "2026-05"}, None),
        ({"recordist": "A"}, None),
        ({"date": "2026-05-01"}, None),
        ({"recordist": "", "date": "2026-05-01"}, None),
    ],
)
def test_recordist_location_and_day(fields: dict[str, object], expected: str | None) -> None:
    assert same_recordist_and_day(row("a", **fields)) == expected


def build_table(*rows: RecordingRow) -> RecordingsTable:
    return RecordingsTable(Path(), rows)


SPLIT_GOLDEN = {
    "train": "a0 a1 a2 a3 a8 a9 a10 a11 b0 b1 b4 b5 c0 c1 noise",
    "validation": "a4 a5 b2",
    "test": "a6 a7 b3",
}
LEAKING_AT_RANDOM = 2.1


def test_split_of_a_fixed_table_stays_what_it_was() -> None:
    """Three species of 12, 6 and 2 recordings, some in pairs; from a run of this code that was read through."""
    rows = [row(f"a{k}", scientific_name="A a", given_group=f"a{k // 2}") for k in range(12)]
    rows += [row(f"b{k}", scientific_name="B b") for k in range(6)] + [
        row(f"c{k}", scientific_name="C c") for k in (0, 1)
    ]
    rows.append(row("noise", scientific_name=None, kind="background"))
    done = split_table(build_table(*rows), DEFAULT_RATIOS, seed=3)
    parts = {name: " ".join(r.recording_id for r in done.rows if r.split == name) for name in DEFAULT_RATIOS}
    assert parts == SPLIT_GOLDEN
    assert [r.group for r in done.rows[:4]] == ["g0", "g0", "g2", "g2"]


def test_default_parts_are_shares_of_a_whole() -> None:
    assert DEFAULT_RATIOS == {"train": 0.7, "validation": 0.15, "test": 0.15}


def test_unusable_recordings_get_no_split_and_others_keep_theirs() -> None:
    rows = [row(f"x{k}", problems=(problem,)) for k, problem in enumerate(("missing", "unreadable", "silent"))]
    rows += [row("y", problems=("clipped",), split="test"), row("z", split="elsewhere")]
    done = {r.recording_id: r for r in split_table(build_table(*rows), {"train": 1, "test": 1}, seed=1, keep=True).rows}
    assert [done[f"x{k}"].split for k in range(3)] == [None] * 3
    assert [done[f"x{k}"].group for k in range(3)] == [None] * 3
    assert done["y"].split == "test"
    assert done["z"].split in ("train", "test"), "a part that is none of these is not kept"
    again = {r.recording_id: r for r in split_table(build_table(*rows), {"train": 1, "test": 1e-9}, seed=1).rows}
    assert again["y"].split == "train", "without keep it is split anew"


def test_kept_parts_pull_their_group_into_the_smallest() -> None:
    rows = [
        row("a", given_group="g", split="train"),
        row("b", given_group="g", split="test"),
        row("c", given_group="g"),
    ]
    done = split_table(build_table(*rows), {"train": 0.8, "test": 0.2}, seed=1, keep=True)
    assert [r.split for r in done.rows] == ["train", "test", "test"]


@pytest.mark.parametrize("parts", [{}, {"train": 0.0}, {"train": 0.5, "test": -0.5}])
def test_parts_that_are_not_positive_are_refused(parts: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected positive ratios"):
        split_table(build_table(row("a")), parts, seed=1)


def test_folds_are_equal_parts_of_two_or_more() -> None:
    assert fold_ratios(2) == {"fold0": 1.0, "fold1": 1.0}
    with pytest.raises(InputError, match="expected 2 or more, got 1"):
        fold_ratios(1)
    done = split_table(build_table(*(row(str(k)) for k in range(9))), fold_ratios(3), seed=1)
    assert Counter(r.split for r in done.rows) == {"fold0": 3, "fold1": 3, "fold2": 3}


def test_species_of_annotations_have_their_share_of_every_part() -> None:
    def soundscape(k: int) -> RecordingRow:
        marks = (Annotation(start_s=0, end_s=1, scientific_name="Rara avis" if k < 2 else "A a"),)
        return row(str(k), scientific_name=None, kind="soundscape", annotations=marks)

    done = split_table(build_table(*map(soundscape, range(10))), {"train": 0.5, "test": 0.5}, seed=1)
    assert {r.split for r in done.rows[:2]} == {"train", "test"}
    assert Counter(r.split for r in done.rows) == {"train": 5, "test": 5}


def test_leak_report_counts_recordings_outside_the_largest_part() -> None:
    rows = [row(f"{k}", given_group=f"g{k // 2}", split="train" if k < 6 else "test") for k in range(10)]
    report = leak_report(rows, seed=1)
    assert (report.n_tested, report.n_leaking, report.leaks) == (4, 0, ())
    assert report.n_leaking_at_random == pytest.approx(LEAKING_AT_RANDOM)
    leaking = [replace(r, split="test") if r.recording_id in ("0", "2") else r for r in rows]
    report = leak_report(leaking, seed=1)
    assert (report.n_tested, report.n_leaking) == (4, 2)
    pairs = {(leak.first.recording_id, leak.second.recording_id) for leak in report.leaks}
    assert pairs == {("0", "1"), ("2", "3")}
    with pytest.raises(InputError, match="There is no split yet"):
        leak_report([row("a")], seed=1)
    alone = [row("a", given_group="g", split="train"), row("b", given_group="g")]
    assert leak_report(alone, seed=1).leaks == (), "what is in no part leaks nothing"


def test_rows_of_one_file_stay_together(tmp_path: Path) -> None:
    rows = [RecordingRow(recording_id=f"{k}", path=f"{k % 8}.wav", scientific_name=f"A {k // 8}") for k in range(16)]
    split = split_table(RecordingsTable(tmp_path, tuple(rows)), DEFAULT_RATIOS, seed=1)
    parts = {(row.path, row.split) for row in split.rows}
    assert len(parts) == 8, "a file is in one part, whatever its rows say"


def test_unusable_recordings_and_copies_are_separated() -> None:
    problems = ("missing", "unreadable", "silent", "duplicate", "near_duplicate", "clipped", "short")
    rows = [RecordingRow(recording_id=problem, path=f"{problem}.wav", problems=(problem,)) for problem in problems]
    assert [row.recording_id for row in usable(rows, copies=True)] == [*problems[3:]]
    assert [row.recording_id for row in usable(rows, copies=False)] == ["clipped", "short"]
    silent_copy = replace(rows[0], problems=("near_duplicate", "short", "silent"))
    assert blocking_problems(silent_copy, copies=False) == ["silent", "near_duplicate"]
    assert blocking_problems(silent_copy, copies=True) == ["silent"]
