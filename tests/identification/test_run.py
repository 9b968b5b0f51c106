"""One predict path: scores per window, selection, events, range, tables, and the rules of going on with a run."""

from __future__ import annotations

import gc
import json
import pickle
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile
from tests.fixtures.commands import Command
from tests.fixtures.sounds import tone
from tests.fixtures.waiting import wait_for

from dawnchorus.audio.decode import read_mono
from dawnchorus.errors import BusyError, FormatError, InputError, JournalDamagedError, OutputExistsError
from dawnchorus.formats.detections import Detections
from dawnchorus.identification import Options, identify
from dawnchorus.identification.input_tables import read_recordings
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.runner import apply_activation, open_session
from dawnchorus.types import Progress, RecordingMetadata


@pytest.fixture
def levels(tmp_path: Path) -> Path:
    """A recording of four seconds; the level model gives them 0.1, 0.3, 0.5 and 0.2 of "loud"."""
    soundfile.write(tmp_path / "levels.wav", np.repeat([0.1, -0.3, 0.5, 0.2], 16_000), 16_000, subtype="FLOAT")
    return tmp_path / "levels.wav"


def scores(run: object, name: str) -> list[tuple[float, float]]:
    return [(d.start_s, round(d.score, 2)) for t in run.tables() for d in t.detections if d.common_name == name]  # type: ignore[attr-defined]


def test_each_window_gets_its_own_score(levels: Path, level_bundle: Bundle) -> None:
    run = identify(levels, Options(min_score=0.05), model=level_bundle.folder)
    assert scores(run, "Loud Bird") == [(0.0, 0.1), (1.0, 0.3), (2.0, 0.5), (3.0, 0.2)]
    assert scores(run, "Quiet Bird") == [(0.0, 0.9), (1.0, 0.7), (2.0, 0.5), (3.0, 0.8)]
    assert scores(run, "Engine") == []


def test_the_end_that_no_window_holds_is_said(levels: Path, level_bundle: Bundle) -> None:
    samples, rate_hz = soundfile.read(levels)
    soundfile.write(levels.with_name("rest.wav"), samples[:51_200], rate_hz)
    run = identify([levels, levels.with_name("rest.wav")], Options(), model=level_bundle.folder)
    (note,) = [note for note in run.notes if "not scored" in note]
    assert note.startswith(
        "0.20 s at the ends of 1 of 2 recordings are not scored, being less than a quarter of a window"
    )
    assert note.endswith("rest.wav: the last 0.20 of 3.20 s.")


def test_overlap_gives_windows_in_between(levels: Path, level_bundle: Bundle) -> None:
    run = identify(levels, Options(min_score=0.05, overlap_s=0.5), model=level_bundle.folder)
    assert scores(run, "Loud Bird") == [
        (0.0, 0.1), (0.5, 0.2), (1.0, 0.3), (1.5, 0.4), (2.0, 0.5), (2.5, 0.35), (3.0, 0.2)
    ]  # fmt: skip


def test_names_that_are_no_classes_are_noted(levels: Path, level_bundle: Bundle) -> None:
    def notes(**options: Any) -> list[str]:
        run = identify(levels, model=level_bundle.folder, **options)
        return [note for note in run.notes if "model" in note and "thresholds: none" not in note]

    message = "'Avis parvaa' is not a class of the model. Did you mean 'Avis parva'?"
    assert notes(species=("Avis magna", "Avis parvaa")) == [message]
    assert notes(thresholds={"Avis parvaa": 0.5}) == [message]
    *_, last = many = notes(species=("Avis magna", *(f"Avis {k}" for k in range(25))))
    assert (len(many), last) == (21, "not among the classes of the model: 5 other names, as 'Avis 24'.")


def test_thresholds_top_and_species_list_select(levels: Path, level_bundle: Bundle) -> None:
    def loud(**options: object) -> list[float]:
        return [s for s, _ in scores(identify(levels, Options(**options), model=level_bundle.folder), "Loud Bird")]  # type: ignore[arg-type]

    assert loud() == [1.0, 2.0]
    assert loud(thresholds={"Avis magna": 0.4}) == [2.0]
    run = identify(levels, Options(thresholds={"Avis magna": 0.4}), model=level_bundle.folder)
    assert "thresholds: none for 1 of 3 classes of level (as Avis parva), which are reported from score 0.25" in str(
        run.notes
    )
    run = identify(levels, Options(thresholds={"Avis magna": 0.4}, species=("Avis magna",)), model=level_bundle.folder)
    assert "thresholds: none" not in str(run.notes)
    run = identify(levels, Options(thresholds={"Avis ignota": 0.4}), model=level_bundle.folder)
    assert "thresholds: none for 2 of 3 classes of level" in str(run.notes), "only for a class that the model lacks"
    options = Options(thresholds={"Avis magna": 0.4, "Avis parva": 0.4}, species=("Avis magna",))
    notes = str(identify(levels, options, model=level_bundle.folder).notes)
    assert "thresholds: 1 of 2 are of species that the species list leaves out (as Avis parva), and have no" in notes
    assert loud(min_score=0.4, thresholds={"Avis magna": 0.15}) == [1.0, 2.0, 3.0]
    assert loud(top=1) == [2.0], "0.5 of both: the first class wins"
    assert loud(species=("Avis magna",)) == [1.0, 2.0]
    assert loud(species=("Avis parva",)) == []
    with pytest.raises(InputError, match="species list: none of its 1 names is a class"):
        loud(species=("Turdus merula",))


def test_merging_joins_windows_that_touch(levels: Path, level_bundle: Bundle) -> None:
    run = identify(levels, Options(merge=True, thresholds={"Avis parva": 0.75}), model=level_bundle.folder)
    (table,) = run.tables()
    rows = [(d.common_name, d.start_s, d.end_s, round(d.score, 2)) for d in table.detections]
    assert rows == [("Quiet Bird", 0, 1, 0.9), ("Loud Bird", 1, 3, 0.5), ("Quiet Bird", 3, 4, 0.8)]


def test_the_command_and_the_function_give_the_numbers_of_the_bare_model(
    dawn: Path, birdnet: Bundle, command: Command
) -> None:
    """The golden test of the one predict path."""
    samples, _ = read_mono(dawn)
    windows = samples[: len(samples) // 144_000 * 144_000].reshape(-1, 144_000)
    expected = apply_activation(open_session(birdnet).run(windows).logits, "sigmoid")
    run = identify(dawn, Options(min_score=0.1))
    (table,) = run.tables()
    scores = np.zeros_like(expected)
    for d in table.detections:
        scores[round(d.start_s / 3), birdnet.class_by_scientific_name[d.scientific_name]] = d.score
    np.testing.assert_allclose(scores, np.where(expected >= 0.1, expected, 0), atol=1e-4)
    done = command("identify", dawn, "--min-score", "0.1", "--json", "-q")
    printed = json.loads(done.stdout)
    assert printed["schema"] == 1
    assert [(d["start_s"], d["scientific_name"], d["score"]) for d in printed["detections"]] == [
        (d.start_s, d.scientific_name, round(d.score, 4)) for d in table.detections
    ]


def test_any_number_of_workers_gives_the_same_table(tmp_path: Path, dawn: Path, band_bundle: Bundle) -> None:
    samples, rate_hz = read_mono(dawn)
    for k, seconds in enumerate((1, 3, 4, 10, 31)):
        soundfile.write(tmp_path / f"{k}.wav", samples[: seconds * rate_hz], rate_hz)
    options = Options(min_score=0.0)
    tables = [list(identify(tmp_path, options, model=band_bundle.folder, workers=n).tables()) for n in (1, 2, 5)]
    assert [t.detections for t in tables[0]] != [()] * 5
    for other in tables[1:]:
        for a, b in zip(tables[0], other, strict=True):
            # Another batch may change a score's last bits, and with them the order within a window.
            ours, theirs = (sorted(t.detections, key=lambda d: (d.start_s, d.scientific_name)) for t in (a, b))
            assert [(d.start_s, d.scientific_name) for d in ours] == [(d.start_s, d.scientific_name) for d in theirs]
            np.testing.assert_allclose([d.score for d in ours], [d.score for d in theirs], atol=1e-5)


def test_location_and_week_flag_what_is_out_of_range(dawn: Path) -> None:
    """A cuckoo in Sweden in May, and the same one in New Zealand."""
    name = "Cuculus canorus"

    def cuckoo(**options: object) -> list[bool | None]:
        (table,) = identify(dawn, Options(**options)).tables()  # type: ignore[arg-type]
        return list({d.in_range for d in table.detections if d.scientific_name == name})

    assert cuckoo() == [None]
    assert cuckoo(latitude=62.0, longitude=15.0) == [True]
    assert cuckoo(latitude=-41.0, longitude=174.0) == [False]
    assert cuckoo(latitude=-41.0, longitude=174.0, drop_out_of_range=True) == []
    assert cuckoo(latitude=62.0, longitude=15.0, week=1) == [False]


def test_the_week_comes_from_the_recording(dawn: Path) -> None:
    (table,) = identify(dawn, Options(latitude=62.0, longitude=15.0)).tables()
    assert table.week == 17  # the first of May
    assert str(table.clock_time(3.0)) == "2026-05-01 03:45:03"


# ---------------------------------------------------------------------- going on with a run


def test_a_finished_run_is_kept_added_to_or_replaced(tmp_path: Path, level_bundle: Bundle) -> None:
    audio_folder, out = tmp_path / "sounds", tmp_path / "all.csv"
    audio_folder.mkdir()
    soundfile.write(audio_folder / "a.wav", tone(), 16_000)
    model = level_bundle.folder
    identify(audio_folder, model=model, out=out)
    before = out.read_bytes()
    with pytest.raises(OutputExistsError, match="holds a finished run. Add new recordings to it with --resume"):
        identify(audio_folder, model=model, out=out)
    soundfile.write(audio_folder / "b.wav", tone(), 16_000)
    run = identify(audio_folder, model=model, out=out, resume=True)
    assert (run.counts.n_resumed, run.counts.n_done) == (1, 1)
    assert out.read_bytes().startswith(before)
    assert len(out.read_bytes().splitlines()) == 9
    soundfile.write(audio_folder / "a.wav", tone(seconds=3), 16_000)
    run = identify(audio_folder, model=model, out=out, resume=True)
    assert (run.counts.n_resumed, run.counts.n_done) == (1, 1), "a changed recording is scored again"
    with pytest.raises(InputError, match=r"started with other settings \(min_score changed\)"):
        identify(audio_folder, Options(min_score=0.4), model=model, out=out, resume=True)
    assert out.exists()
    run = identify(audio_folder, Options(min_score=0.4), model=model, out=out, overwrite=True)
    assert run.counts.n_done == 2


def test_resume_refuses_a_bundle_of_the_same_graph_with_another_activation(
    tmp_path: Path, level_bundle: Bundle
) -> None:
    soundfile.write(tmp_path / "a.wav", tone(), 16_000)
    model = tmp_path / "model"
    shutil.copytree(level_bundle.folder, model)
    identify(tmp_path / "a.wav", model=model, out=tmp_path / "x.csv")
    description = json.loads((model / "bundle.json").read_text())
    (model / "bundle.json").write_text(json.dumps({**description, "activation": "softmax"}))
    with pytest.raises(InputError, match=r"started with other settings \(activation changed\)"):
        identify(tmp_path / "a.wav", model=model, out=tmp_path / "x.csv", resume=True)


def test_a_file_of_someone_else_is_not_replaced(tmp_path: Path, level_bundle: Bundle) -> None:
    soundfile.write(tmp_path / "a.wav", tone(), 16_000)
    (tmp_path / "thesis.csv").write_text("years of work")
    with pytest.raises(OutputExistsError, match="exists already"):
        identify(tmp_path, model=level_bundle.folder, out=tmp_path / "thesis.csv")
    assert (tmp_path / "thesis.csv").read_text() == "years of work"


def test_how_scores_are_shown_may_change_without_scoring_again(levels: Path, level_bundle: Bundle) -> None:
    out = levels.with_name("all.csv")
    identify(levels, model=level_bundle.folder, out=out)
    run = identify(levels, Options(merge=True), model=level_bundle.folder, out=out, resume=True)
    assert run.counts.n_done == 0
    assert len(out.read_text().splitlines()) == 3


def test_two_runs_cannot_write_to_one_path(tmp_path: Path, level_bundle: Bundle) -> None:
    soundfile.write(tmp_path / "a.wav", tone(), 16_000)
    errors: list[Exception] = []

    def second(_progress: object) -> None:
        if not errors:
            try:
                identify(tmp_path, model=level_bundle.folder, out=tmp_path / "all.csv")
            except BusyError as error:
                errors.append(error)

    identify(tmp_path, model=level_bundle.folder, out=tmp_path / "all.csv", report=second)
    assert "another dawnchorus process is writing here" in str(errors[0])


@pytest.mark.usefixtures("own_decoders")
def test_no_thread_or_process_stays(tmp_path: Path, level_bundle: Bundle) -> None:
    soundfile.write(tmp_path / "a.wav", tone(), 16_000)

    def children() -> set[int]:
        return {child.pid for child in psutil.Process().children(recursive=True)}

    before = threading.active_count(), children()
    for _ in range(3):
        identify(tmp_path, model=level_bundle.folder)
    wait_for(lambda: threading.active_count() <= before[0])
    wait_for(lambda: children() <= before[1])


# ---------------------------------------------------------------------- output paths


def test_a_folder_gets_one_table_for_each_recording_at_its_own_path(tmp_path: Path, level_bundle: Bundle) -> None:
    for relative in ("site1/a.wav", "site2/a.wav"):
        path = tmp_path / "in" / relative
        path.parent.mkdir(parents=True)
        soundfile.write(path, tone(), 16_000)
    out = tmp_path / "out"
    identify(tmp_path / "in", model=level_bundle.folder, out=out, formats=["csv", "raven"])
    written = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file() and not p.name.startswith("."))
    assert written == [
        "run.params.json",
        "site1/a.wav.csv",
        "site1/a.wav.selections.txt",
        "site2/a.wav.csv",
        "site2/a.wav.selections.txt",
    ]
    parameters = json.loads((out / "run.params.json").read_text())
    assert parameters["bundle_id"] == level_bundle.id
    assert parameters["parameters"]["min_score"] == 0.25


def test_a_recordings_table_gives_time_and_location(levels: Path, level_bundle: Bundle) -> None:
    table = levels.with_name("recordings.csv")
    table.write_text("file,lat,lon,time\nlevels.wav,62,15,2026-05-01T04:00:00+02:00\n")
    origins = read_recordings(table).values
    assert list(origins) == [levels]
    run = identify(levels, model=level_bundle.folder, recordings=origins)
    (identified,) = run.tables()
    assert (identified.metadata.latitude, identified.metadata.longitude, identified.week) == (62, 15, 17)
    table.write_text("file,lat,lon\nlevels.wav,620,15\n")
    with pytest.raises(FormatError, match="line 2: expected a latitude from -90 to 90"):
        read_recordings(table)
    table.write_text("file,lat,lon,time\nlevels.wav,,,yesterday\n")
    with pytest.raises(FormatError, match="expected a time like 2026-05-01"):
        read_recordings(table)


# ---------------------------------------------------------------------- what a second run must not lose


def test_resuming_with_other_recordings_keeps_the_earlier_ones(tmp_path: Path, level_bundle: Bundle) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "x.wav", tone(), 16_000)
    model, out = level_bundle.folder, tmp_path / "all.csv"
    identify(tmp_path / "a", model=model, out=out)
    identify(tmp_path / "b", model=model, out=out, resume=True)
    resumed = out.read_bytes()
    identify([tmp_path / "a", tmp_path / "b"], model=model, out=out, overwrite=True)
    assert out.read_bytes() == resumed


def test_a_drive_that_is_away_takes_nothing_with_it(tmp_path: Path, level_bundle: Bundle) -> None:
    drive = tmp_path / "drive"
    drive.mkdir()
    paths = [drive / "a.wav", tmp_path / "b.wav"]
    for path in paths:
        soundfile.write(path, tone(), 16_000)
    out = tmp_path / "all.csv"
    identify(paths, model=level_bundle.folder, out=out)
    before = out.read_bytes()
    drive.rename(tmp_path / "unplugged")
    run = identify(paths, model=level_bundle.folder, out=out, resume=True)
    assert out.read_bytes() == before
    assert [(w.recording, "the detections of an earlier run are kept" in w.reason) for w in run.warnings] == [
        (str(paths[0]), True)
    ]


def test_tables_in_a_folder_are_left_alone_where_nothing_changed(tmp_path: Path, level_bundle: Bundle) -> None:
    audio_folder, out, model = tmp_path / "sounds", tmp_path / "out", level_bundle.folder
    audio_folder.mkdir()
    for name in ("a.wav", "b.wav"):
        soundfile.write(audio_folder / name, tone(), 16_000)
    out.mkdir()
    (out / "a.wav.csv").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"a\.wav\.csv: it exists already"):
        identify(audio_folder, model=model, out=out)
    (out / "a.wav.csv").unlink()
    identify(audio_folder, model=model, out=out)
    soundfile.write(audio_folder / "b.wav", tone(seconds=3), 16_000)
    run = identify(audio_folder, model=model, out=out, resume=True)
    assert run.written.paths == (out / "b.wav.csv",)
    assert len((out / "b.wav.csv").read_text().splitlines()) == 7
    identify(audio_folder, Options(merge=True), model=model, out=out, resume=True)
    assert len((out / "a.wav.csv").read_text().splitlines()) == 3, "another presentation writes all of them again"
    with pytest.raises(InputError, match="is elsewhere"):
        soundfile.write(tmp_path / "c.wav", tone(), 16_000)
        identify(tmp_path / "c.wav", Options(merge=True), model=model, out=out, resume=True)


def test_a_table_that_was_deleted_is_written_again(tmp_path: Path, level_bundle: Bundle) -> None:
    soundfile.write(tmp_path / "a.wav", tone(), 16_000)
    out = tmp_path / "all.csv"
    identify(tmp_path / "a.wav", model=level_bundle.folder, out=out)
    before = out.read_bytes()
    out.unlink()
    assert identify(tmp_path / "a.wav", model=level_bundle.folder, out=out).counts.n_done == 0
    assert out.read_bytes() == before


def test_a_run_that_is_given_up_leaves_no_thread(tmp_path: Path, level_bundle: Bundle) -> None:
    for k in range(20):
        soundfile.write(tmp_path / f"{k}.wav", tone(seconds=5), 16_000)

    def stop(progress: Progress) -> None:
        if threading.current_thread() is threading.main_thread() and progress.done:
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        identify(tmp_path, model=level_bundle.folder, workers=2, report=stop)
    wait_for(lambda: threading.active_count() <= before)


def test_locations_of_a_table_are_found_whatever_way_the_recording_is_named(
    levels: Path, level_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = levels.with_name("recordings.csv")
    table.write_text("file,lat,lon\nlevels.wav,62,15\n")
    (levels.parent / "here").mkdir()
    monkeypatch.chdir(levels.parent / "here")
    (identified,) = identify(
        "../levels.wav", model=level_bundle.folder, recordings=read_recordings(Path("../recordings.csv")).values
    ).tables()
    assert identified.metadata.latitude == 62


def test_modules_in_the_current_folder_are_not_run(
    levels: Path, level_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    (levels.parent / "soundfile.py").write_text("raise SystemExit('this code came with the data')")
    monkeypatch.chdir(levels.parent)
    assert identify("levels.wav", model=level_bundle.folder).failures == ()


def test_tta_averages_logits_of_shifted_windows(dawn: Path, birdnet: Bundle, command: Command, tmp_path: Path) -> None:
    samples, _ = read_mono(dawn)
    windows = samples[: 4 * 144_000].reshape(-1, 144_000)
    session = open_session(birdnet)
    turned = [session.run(np.roll(windows, -k * 48_000, axis=1)).logits for k in range(3)]
    expected = apply_activation(np.mean(turned, axis=0), "sigmoid")
    soundfile.write(tmp_path / "four.wav", windows.reshape(-1), 48_000, subtype="FLOAT")
    done = command("identify", tmp_path / "four.wav", "--tta", "3", "--min-score", "0.1", "--json", "-q")
    assert "tta_shifts" not in Options().scoring(), "journals of older versions are gone on with"
    rows = json.loads(done.stdout)["detections"]
    assert len(rows) == (expected >= 0.1).sum() > 0
    for row in rows:
        column = birdnet.class_by_scientific_name[row["scientific_name"]]
        assert row["score"] == pytest.approx(expected[round(row["start_s"] / 3), column], abs=1e-4)
    with pytest.raises(InputError, match="tta_shifts"):
        Options(tta_shifts=0)


def damage(journal: Path) -> None:
    gc.collect()  # the run before, with its journal
    content = bytearray(journal.read_bytes())
    content[:100] = bytes(100)
    journal.write_bytes(content)


def test_damaged_journal_is_set_aside_and_the_run_starts_again(tmp_path: Path, level_bundle: Bundle) -> None:
    audio_folder, out, journal = tmp_path / "sounds", tmp_path / "all.csv", tmp_path / ".all.csv.journal"
    audio_folder.mkdir()
    soundfile.write(audio_folder / "a.wav", tone(), 16_000)
    identify(audio_folder, model=level_bundle.folder, out=out)
    before = out.read_bytes()
    for k in (1, 2):
        damage(journal)
        broken = journal.read_bytes()
        with pytest.raises(OutputExistsError, match="exists already"):
            identify(audio_folder, model=level_bundle.folder, out=out)
        with pytest.raises(JournalDamagedError, match=r"all\.csv\.journal.*is damaged.*--overwrite"):
            identify(audio_folder, model=level_bundle.folder, out=out, resume=True)
        assert journal.read_bytes() == broken, "it is touched only where it is replaced"
        warnings = identify(audio_folder, model=level_bundle.folder, out=out, overwrite=True).warnings
        kept = tmp_path / f".all.csv.journal.damaged-{k}"
        assert [warning.recording for warning in warnings] == [str(kept)]
        assert kept.read_bytes() == broken
        assert out.read_bytes() == before
    out.unlink()
    damage(journal)
    run = identify(audio_folder, model=level_bundle.folder, out=out)
    assert (run.counts.n_done, len(run.warnings)) == (1, 1)
    assert identify(audio_folder, model=level_bundle.folder, out=out, resume=True).counts.n_resumed == 1


def test_run_without_output_leaves_no_file(
    levels: Path, level_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    run = identify(levels, model=level_bundle.folder)
    assert not list(scratch.iterdir())
    assert len(list(run.tables())) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"options": {"min_score": 0.5}}, "options: expected Options, got dict. Give options by name"),
        *(({"workers": n}, "workers: expected a whole number, 1 or more, got") for n in (-1, 0, 1.5, "2", True)),
        ({"formats": "raven"}, "out: expected a file or a folder, since formats, combined or resume is given"),
        ({"analyses": "helth"}, "Did you mean 'health'"),
        (
            {"recordings": {"levels.wav": (52.5, 13.4)}},
            "recordings: expected a RecordingMetadata by path, .* got tuple",
        ),
        ({"recordings": [RecordingMetadata()]}, "recordings: expected a RecordingMetadata by path, .* got list"),
        ({"thresholds": {0: 0.5}}, "thresholds: expected 0 to 1, got"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_by_name(
    levels: Path, level_bundle: Bundle, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        identify(levels, model=level_bundle.folder, **arguments)


def test_one_name_may_stand_for_several_and_paths_may_be_relative(
    levels: Path, level_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(levels.parent)
    locations = {"levels.wav": RecordingMetadata(latitude=62, longitude=15)}
    run = identify("levels.wav", model=level_bundle.folder, out="out", formats="raven", recordings=locations)  # type: ignore[arg-type]
    assert next(run.tables()).metadata.latitude == 62
    assert Path("out/levels.wav.selections.txt").is_file()


def test_a_run_says_what_to_give_another_process_instead(levels: Path, level_bundle: Bundle) -> None:
    run = identify(levels, model=level_bundle.folder)
    with pytest.raises(TypeError, match=r"a Run cannot be pickled: .*Detections\(run\.tables\(\), run\.provenance\)"):
        pickle.dumps(run)
    instead = pickle.loads(pickle.dumps(Detections(run.tables(), run.provenance)))  # noqa: S301 - our own
    assert instead.to_arrow().equals(run.to_arrow())


def test_a_run_keeps_its_recordings_when_the_current_folder_changes(
    levels: Path, level_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(levels.parent)
    locations = {Path("levels.wav"): RecordingMetadata(latitude=62, longitude=15)}
    run = identify("levels.wav", model=level_bundle.folder, recordings=locations)
    before = run.to_arrow()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert before.num_rows > 0
    assert run.to_arrow().equals(before)
    assert run.table(Path("levels.wav")) is not None


def test_a_sound_in_memory_is_not_added_to_a_run(level_bundle: Bundle, tmp_path: Path) -> None:
    sound = np.zeros(16_000, np.float32), 16_000
    identify(sound, model=level_bundle.folder, out=tmp_path / "x.csv")
    with pytest.raises(InputError, match="resume: expected paths of recordings, got a sound in memory"):
        identify(sound, model=level_bundle.folder, out=tmp_path / "x.csv", resume=True)
