"""Recordings that belong together are known by their names, and no split separates them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.commands import Command

from dawnchorus.data.check import check_table
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, read_table, write_table
from dawnchorus.data.relations import RELATIONS, assign_groups, check_coverage, find_leaks, undecided_series
from dawnchorus.data.split import DEFAULT_RATIOS, SplitGap, leak_report, split_gaps, split_table


def row(name: str, **more: object) -> RecordingRow:
    fields = {"recording_id": name, "path": name, "scientific_name": "Avis magna", "duration_s": 3.0, **more}
    return RecordingRow(**fields)  # type: ignore[arg-type]


def groups(*paths: str, **more: object) -> list[set[str]]:
    rows = [row(path, **more) for path in paths]
    members: dict[int, set[str]] = defaultdict(set)
    for each, number in zip(rows, assign_groups(rows), strict=True):
        members[number].add(each.path)
    return sorted((group for group in members.values() if len(group) > 1), key=sorted)


def test_start_and_end_join_in_a_folder_whatever_the_name() -> None:
    assert groups("a/REC_0s-3s.wav", "a/REC_3s-6s.wav", "b/REC_3s-6s.wav") == [{"a/REC_0s-3s.wav", "a/REC_3s-6s.wav"}]
    assert groups("creek/0.0-3.0.wav", "creek/3.0-6.0.wav", "b/0.0-3.0.wav") == [
        {"creek/0.0-3.0.wav", "creek/3.0-6.0.wav"}
    ]
    assert groups("a/mere_0s-3s.wav", "b/mere_3s-6s.wav") != [], "segments, sorted by species"
    assert groups("Avis magna/Avis magna_0.0-3.0_forest.wav", "b/forest_6_9.wav") != [], "the class stands in front"
    assert groups("a/Avis magna part 1.wav", "a/Avis magna part 2.wav") == []


@pytest.mark.parametrize(
    ("names", "duration_s", "is_cut"),
    [
        (("marsh-[0-1]", "marsh-[1-2]", "marsh-[2-3]"), 3.0, True),
        (("marsh-[0-1]", "marsh-[1-2]", "marsh-[2-3]"), None, True),
        (("marsh_1_5", "marsh_2_6", "marsh_9_13"), 3.0, False),
        (("creek_0", "creek_3", "creek_6"), 3.0, True),
        (("creek_1", "creek_2", "creek_3"), 3.0, False),
        (("Avis magna_0", "Avis magna_3", "Avis magna_6"), 3.0, True),
        (("loch_a", "loch_b", "mere_a", "mere_b"), 3.0, True),
        (("nocall120a", "nocall120b", "nocall121a", "nocall121b"), None, True),
        (("loch_a", "loch_b"), 3.0, False),
        (("loch_a", "loch_b", "mere_0s-3s", "mere_3s-6s"), 3.0, True),
        (("loch_a", "loch_d", "mere_a", "mere_b", "mere_c"), 3.0, False),
        (("1 creek", "2 creek", "1 hill", "2 hill"), 3.0, True),
        (("part1_creek", "part2_creek"), None, False),
        (("site_1", "site_2", "plot_1", "plot_2"), 3.0, False),
        (("creek{1}", "creek{2}", "hill{1}", "hill{2}"), 3.0, True),
        (("Clip 000 364 459", "Clip 000 364 460"), 3.0, False),
    ],
)
def test_series_are_joined_or_not_known(names: tuple[str, ...], duration_s: float | None, is_cut: bool) -> None:
    rows = [row(f"a/{name}.wav", duration_s=duration_s) for name in names]
    first = [each for each, number in zip(rows, assign_groups(rows), strict=True) if number == assign_groups(rows)[0]]
    assert (len(first) > 1) == is_cut
    assert (rows[0] in {each for series in undecided_series(rows) for each in series}) != is_cut


@pytest.mark.parametrize(
    "names",
    [
        ("creek_0_ms", "creek_3000_ms", "creek_6000_ms"),
        ("creek_1_aug", "creek_2_aug"),
        ("creek-00h01m", "creek-00h02m"),
        ("creek (1) edited", "creek (2) edited"),
        ("creek_0ms_clip", "creek_3000ms_clip"),
    ],
)
def test_a_number_inside_names_is_reported_as_not_known(names: tuple[str, ...]) -> None:
    rows = [row(f"{name}.wav", duration_s=3.0) for name in names]

    assert [[each.path for each in series] for series in undecided_series(rows)] == [[f"{name}.wav" for name in names]]


def test_files_of_the_same_bytes_stay_together() -> None:
    rows = [row("a.wav", content_hash="1"), row("b.wav", content_hash="1"), row("c.wav", content_hash="2")]
    assert len(set(assign_groups(rows))) == 2
    apart = [replace(each, split=split) for each, split in zip(rows, ("train", "test", "train"), strict=True)]
    assert [leak.relation for leak in find_leaks(apart, lambda each: each.split)] == ["files of the same bytes"]


def test_days_are_no_running_numbers() -> None:
    rows = [row(f"a/marsh_2024-05-{day:02d}.wav") for day in (1, 2, 3)]
    assert len(set(assign_groups(rows))) == 3


def test_running_numbers_join_only_where_there_is_evidence() -> None:
    cut = ["a/creek_0.wav", "a/creek_1.wav", "a/hill_0.wav", "a/hill_1.wav"]
    assert groups(*cut) == [set(cut[:2]), set(cut[2:])], "numbers begin anew, and all have one length"
    assert groups("a/creek1-1.wav", "a/creek1-2.wav", "a/creek2-1.wav", "a/creek2-2.wav", duration_s=None) == [
        {"a/creek1-1.wav", "a/creek1-2.wav"},
        {"a/creek2-1.wav", "a/creek2-2.wav"},
    ], "recordings and clips have numbers"
    assert groups("a/DR0000_0123_0.wav", "a/DR0000_0123_1.wav") != []
    assert groups("a/r0.wav", "a/r1.wav", "a/r2.wav") == [], "the recordings of a folder, numbered"
    assert groups("a/Avis magna_1.wav", "a/Avis magna_2.wav", "a/song_1.wav", "a/song_2.wav") == []
    assert groups("a/Avis magna1.mp3", "a/Avis magna2.mp3", "b/Avis parva1.mp3", "b/Avis parva2.mp3") == []
    assert groups(*cut, duration_s=900.0) == [], "a recorder's schedule"
    series = [row(path) for path in ("a/r0.wav", "a/r1.wav", "a/r2.wav")]
    assert [[each.path for each in series_pair] for series_pair in undecided_series(series)] == [
        ["a/r0.wav", "a/r1.wav", "a/r2.wav"]
    ]


def test_clips_of_one_night_are_joined_by_station_and_microphone() -> None:
    """HaroldMills/Vesper#166: names have the time of the call, not the start of the night's recording."""
    evening = "a/Ithaca_21c 0_Old Bird Thrush Detector Redux 1.1_2020-03-04_21.36.23.456_Z_Call.WOTH.wav"
    morning = "b/Ithaca_21c 0_Old Bird Tseep Detector Redux 1.1_2020-03-05_01.36.23.457_Z_Call.wav"
    others = [evening.replace("03-04", "03-05"), evening.replace("Ithaca", "Ajo"), evening.replace("21c 0", "NFC 1")]
    assert groups(evening, morning, *others) == [{evening, morning}]
    assert groups(*(name.replace(".456", "").replace(".457", "") for name in (evening, morning))) == []


def test_a_name_that_every_folder_has_joins_only_in_its_own() -> None:
    assert groups("a/1_0.0s_3.0s.wav", "a/1_3.0s_6.0s.wav", "b/1_0.0s_3.0s.wav") == [
        {"a/1_0.0s_3.0s.wav", "a/1_3.0s_6.0s.wav"}
    ]
    assert groups("a/20240501_060000.wav", "b/20240501_060000.wav") == [], "two sites that record at the same time"
    assert groups("a/20240501_060000_0.wav", "b/20240501_060000_1.wav") != [], "segments, sorted by species"
    assert groups("a/creek.wav", "b/creek_0.0s_5.0s.wav") != [], "the recording itself"
    assert groups("a/XC7/0.wav", "b/XC7/1.wav") != [], "a folder for each recording"
    assert groups("a\\XC7_1.wav", "b/xc7_2.wav") != []


@pytest.mark.parametrize("name", ["{species}_{k:04d}.wav", "{code}_{k:02d}.wav"])
def test_recordings_that_are_named_by_their_class_and_a_number_stay_apart_on_a_server(name: str) -> None:
    rows = [
        row(
            f"{code}{k}",
            path=f"/store/{code}{k:040x}",
            locality=name.format(species=species.replace(" ", "_"), code=code, k=k),
            scientific_name=species,
            duration_s=3.0,
        )
        for code, species in (("grt", "Avis ficta001"), ("blt", "Avis ficta002"))
        for k in range(4)
    ]
    assert len(set(assign_groups(rows))) == len(rows)


def test_original_names_stored_by_a_server_are_known() -> None:
    rows = [row(f"{k}", path=f"/store/{k:064x}", locality=name) for k, name in enumerate(("XC7_1.wav", "xc7_2.mp3"))]
    rows += [row(f"{k}", path=f"/store/{k:064x}", locality=f"creek.wav {3 * k}.0 s") for k in (5, 6)]
    rows.append(row("9", path=f"/store/{9:064x}", locality="Parus, XC7"))
    assert len(set(assign_groups(rows))) == 3


CLIP_NAMES: dict[str, Callable[[int, int], tuple[str, dict[str, object]]]] = {
    "xeno-canto": lambda r, k: (f"s{k % 2}/{('XC', 'xc-', 'Xc_00')[k % 3]}{7000 + r}_{k}.mp3", {}),
    "again": lambda r, k: (f"XC{8000 + r}#{k + 1}", {"path": f"{r}-{k}x.wav"}),
    "macaulay": lambda r, k: (f"ML{700_000 + r} ({k}).wav", {}),
    "freesound": lambda r, k: (f"1-{90_000 + r}-{'ABCDEFGH'[k]}-0.wav", {}),
    "page": lambda r, k: (f"p{r}-{k}y.wav", {"url": f"https://xeno-canto.org/{9000 + r}"}),
    "recorder": lambda r, k: (f"s{k % 3}/SITE_202405{r + 1:02d}_060000{('', '_1', '_part2')[k % 3]}.wav", {}),
    "segments": lambda r, k: (f"s{k % 2}/0.{91 + k}_{k}_202406{r + 1:02d}_060000_{3 * k}.0s_{3 * k + 3}.0s.wav", {}),
    "number, recorder": lambda r, k: (f"s{k % 2}/{k}_S4A0{r}_20240701_060000.wav", {}),
    "class, recorder": lambda r, k: (f"s{k % 2}/Avis_{'ab'[k % 2]}_{k}_R{r}_20240702_060000.wav", {}),
    "clip of recorder": lambda r, k: (f"clip{k}_of_S4A01_202408{r + 1:02d}_060000.wav", {}),
    "of, in German": lambda r, k: (f"s{k % 2}/Eichwald{r} {k + 1} von 8.wav", {}),
    "offset and length": lambda r, k: (f"s{k % 2}/Heide{r}y_offset_{3 * k}_dur_3.wav", {}),
    "opensoundscape": lambda r, k: (f"creek{r}water_{5 * k}.0s_{5 * k + 5}.0s.wav", {}),
    "two times": lambda r, k: (f"lake{r}shore_{3 * k}_{3 * k + 3}.wav", {}),
    "selections": lambda r, k: (f"s{k % 2}/river{r}bank.wav-{k + 1}.wav", {}),
    "seconds": lambda r, k: (f"seconds/REC{r}_{3 * k}s-{3 * k + 3}s.wav", {}),
    "in front": lambda r, k: (f"s{k % 2}/{3 * k:04d}-{3 * k + 3:04d} forest{r}.wav", {}),
    "in brackets": lambda r, k: (f"brackets/marsh{r}y-[{k}-{k + 1}].wav", {}),
    "front, whole": lambda r, k: (f"s{k % 2}/{3 * k}_{3 * k + 3}_cliff{r}y.wav", {}),
    "points": lambda r, k: (f"s{k % 2}/dune{r}y.{3 * k:04.1f}-{3 * k + 3:04.1f}.wav", {}),
    "words": lambda r, k: (f"s{k % 2}/mere{r}y_start={3 * k}_end={3 * k + 3}.wav", {}),
    "letters": lambda r, k: (f"letters/loch{r}_{'abcdef'[k]}.wav", {}),
    "hours": lambda r, k: (f"s{k % 2}/tarn{r}y_00-00-{3 * k:02d}.wav", {}),
    "middle": lambda r, k: (f"s{k % 2}/fen{r}west_{3 * k}-{3 * k + 3}_{('song', 'call')[k % 2]}.wav", {}),
    "in front, numbered": lambda r, k: (f"front/{k}) brook{r}y.wav", {}),
    "numbered": lambda r, k: (f"numbered/hill{r}-{k}.wav", {}),
    "group": lambda r, k: (f"g{r}-{k}z.wav", {"given_group": f"{r}"}),
    "recordist": lambda r, k: (f"d{r}-{k}w.wav", {"recordist": "A. B.", "date": f"2026-05-{r + 1:02d}"}),
    "sound": lambda r, k: (f"e{r}-{k}v.wav", {"audio_hash": f"{r}"}),
    "copies": lambda r, k: (f"c{r}-{k}u.wav", {"duplicate_of": f"c{r}-0u.wav" if k else None}),
}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_planted_relation_of_any_kind_is_ever_on_two_sides(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(sorted(CLIP_NAMES)), min_size=1, max_size=6, unique=True))
    planted: dict[tuple[str, int], list[RecordingRow]] = {}
    for kind in kinds:
        sizes = data.draw(st.lists(st.integers(2, 6), min_size=2, max_size=6))
        for r, n_clips in enumerate(sizes):
            for k in range(n_clips):
                name, more = CLIP_NAMES[kind](r, k)
                species = f"Avis {'ab'[(r + k) % 2]}"
                planted.setdefault((kind, r), []).append(row(name, **{"scientific_name": species, **more}))
    rows = [each for members in planted.values() for each in members]
    rows = data.draw(st.permutations(rows))
    table = split_table(RecordingsTable(Path(), tuple(rows)), DEFAULT_RATIOS, seed=data.draw(st.integers(0, 3)))
    split = {each.recording_id: each.split for each in table.rows}
    for recording, members in planted.items():
        assert len({split[each.recording_id] for each in members}) == 1, recording
    assert list(find_leaks(table.rows, lambda each: each.split)) == []
    n_groups = len(set(assign_groups(rows)))
    assert n_groups == len(planted), "nothing else is joined"


def test_the_report_states_what_it_could_look_for() -> None:
    rows = [row(f"XC{k // 3}_{k}.wav", split="test" if k % 3 else "train") for k in range(9)]
    report = leak_report(rows, seed=1)
    known = {each.relation.name: each.n_known for each in report.coverage}
    assert list(known) == [relation.name for relation in RELATIONS]
    assert known["the same number of an archive"] == 9
    assert known["the same recordist, location and day"] == known["nearly the same sound"] == 0
    assert {leak.relation for leak in report.leaks} == {"the same number of an archive"}
    assert sum(each.n_known for each in check_coverage([])) == 0


def test_species_that_relations_keep_out_of_a_part_are_stated() -> None:
    rows = [row(f"XC7_{k}.wav", scientific_name="Avis parva", split="train") for k in range(3)]
    rows += [row(f"XC{k}.wav", split=("train", "test")[k % 2]) for k in range(100, 104)]
    assert leak_report(rows, seed=1).narrow == (("Avis parva", 3, 1),)


def test_a_part_without_recordings_is_stated_with_its_share(command: Command, tmp_path: Path) -> None:
    rows = [row(f"x{k}y.wav") for k in range(4)] + [row(f"XC7_{k}.wav", scientific_name="Avis parva") for k in range(6)]
    few = split_table(RecordingsTable(tmp_path, tuple(rows[:4])), DEFAULT_RATIOS, seed=1)
    assert list(split_gaps(few.rows, list(DEFAULT_RATIOS))) == [SplitGap("test", 1, 1, "Avis magna", 4, 4)]
    both = split_table(RecordingsTable(tmp_path, tuple(rows)), DEFAULT_RATIOS, seed=1)
    gaps = {gap.split: (gap.n_missing, gap.label, gap.n_groups) for gap in split_gaps(both.rows, list(DEFAULT_RATIOS))}
    assert gaps["validation"] == (1, "Avis parva", 1)
    assert gaps["test"] == (2, "Avis magna", 4)
    write_table(RecordingsTable(tmp_path, tuple(rows[:4])))
    said = command("data", "split", tmp_path).stdout.decode()
    empty = (
        "test: no recordings; the other splits have all recordings of Avis magna "
        "(4 recordings in 4 groups that must stay together)"
    )
    assert empty in said
    assert empty in command("data", "split", tmp_path, "--counts", "4,0,2").stdout.decode()
    assert "no recordings" not in command("data", "split", tmp_path, "--counts", "2,0,2").stdout.decode()


def test_the_command_splits_clips_by_recording_and_states_what_was_not_looked_for(
    command: Command, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    for k in range(30):
        path = tmp_path / "raw" / f"Avis {'ab'[k % 2]}" / f"XC{100 + k // 5 * 2 + k % 2}_{k}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.normal(0, 0.1, 1600), 16_000)
    assert command("data", "import", tmp_path / "raw", tmp_path / "set").returncode == 0
    done = command("data", "split", tmp_path / "set")
    said = done.stdout.decode()
    assert "\n0 of " in said
    assert "a split at random would have 0.0" not in said
    assert "30 recordings in 12 groups that must stay together." in said
    assert "the same number of an archive (30)" in said
    assert "not looked for: the same recordist, location and day; no recording has a recordist and a date." in said
    sides = defaultdict(set)
    for each in read_table(tmp_path / "set").rows:
        sides[each.recording_id.partition("#")[0]].add(each.split)
    assert [name for name, splits in sides.items() if len(splits) > 1] == []


def test_two_excerpts_of_a_recording_are_matched_by_audio(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    time_s = np.arange(16_000 * 20) / 16_000
    tones = sum(np.sin(2 * np.pi * hz * time_s) * (rng.random(200) > 0.7).repeat(1600) for hz in range(500, 7000, 370))
    audio = 0.02 * tones + 0.001 * rng.normal(size=len(time_s))
    for name, samples in (("first", audio[16_000:80_000]), ("second", audio[160_000:240_000]), ("whole", audio)):
        soundfile.write(tmp_path / f"{name}x.wav", samples, 16_000)
    rows = [row(f"{name}x.wav", duration_s=None) for name in ("first", "second", "whole")]
    checked = check_table(RecordingsTable(tmp_path, tuple(rows)), n_workers=1)
    assert len(set(assign_groups(checked.rows))) == 1
