"""Plug-ins of other packages that cannot be loaded or fail: they are named, and cost nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fixtures.examples import install
from tests.fixtures.logs import logged
from tests.fixtures.sounds import tone

from dawnchorus.audio.sample_analyses import build_table
from dawnchorus.audio.write import write_recording
from dawnchorus.data import importing, layout_detection
from dawnchorus.data.importing import import_recordings
from dawnchorus.data.layouts import registry as sources
from dawnchorus.errors import InputError, PlugInError
from dawnchorus.formats import registry as formats
from dawnchorus.formats.files import write_detections
from dawnchorus.identification import identify, output, result, run
from dawnchorus.identification.analysis_tables import build_tables
from dawnchorus.inference.analyses import registry as analyses
from dawnchorus.inference.analyses.base import AnalyzedRecording
from dawnchorus.models.bundle import Bundle
from dawnchorus.models.engines import registry as engines
from dawnchorus.plug_ins import PlugIn
from dawnchorus.registry import Registry
from dawnchorus.types import RecordingMetadata

MODULE = "tests.fixtures.failing_plug_ins"
PACKAGE = "of the package bad-birds 0.3"

ENTRY_POINTS = {
    "dawnchorus.formats": {"failing": f"{MODULE}:FORMAT", "closing": f"{MODULE}:CLOSING"},
    "dawnchorus.sources": {"failing": f"{MODULE}:SOURCE"},
    "dawnchorus.engines": {"failing": f"{MODULE}:ENGINE"},
    "dawnchorus.analyses": {
        "ending": f"{MODULE}:ENDING",
        "failing-at-end": f"{MODULE}:AT_END",
        "failing-summary": f"{MODULE}:SUMMARY",
        "no-table": f"{MODULE}:NO_TABLE",
        "outside": f"{MODULE}:OUTSIDE",
    },
}

USERS: dict[str, tuple[Any, ...]] = {
    "FORMATS": (formats, output),
    "SOURCES": (sources, importing, layout_detection),
    "ENGINES": (engines,),
    "ANALYSES": (analyses, output, result, run),
}
"""Modules that use each registry."""


@pytest.fixture
def bad_birds(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package whose plug-ins fail, installed."""
    folder = tmp_path_factory.mktemp("bad-birds")
    install(folder, "bad-birds", "0.3", ENTRY_POINTS)
    entries = {name: tuple(getattr(modules[0], name).values()) for name, modules in USERS.items()}  # without these
    monkeypatch.syspath_prepend(folder)
    for name, modules in USERS.items():
        own = getattr(modules[0], name)
        options = {"noun": own.noun, "group": own.group, "guard": own._guard}
        renewed = Registry(own._kind, entries[name], **options)
        for module in modules:
            monkeypatch.setattr(module, name, renewed)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings."""
    folder = tmp_path_factory.mktemp("sounds")
    for name in ("A.wav", "B.wav"):
        write_recording(folder / name, tone(500.0, seconds=2.0), rate_hz=16_000)
    return folder


@pytest.mark.usefixtures("bad_birds")
def test_a_format_that_fails_costs_its_own_tables(level_bundle: Bundle, sounds: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(PlugInError) as error:
        identify(sounds, model=level_bundle.folder, out=out, formats=["failing", "csv"])
    text = str(error.value)
    assert text.startswith(f"format 'failing' {PACKAGE} ({MODULE}:FORMAT) failed; all other tables are written")
    assert text.endswith("Cause: LookupError: no column of that name")
    assert isinstance(error.value.__cause__, LookupError)
    assert sorted(path.name for path in out.glob("*.wav.*")) == ["A.wav.csv", "B.wav.csv"]
    again = identify(sounds, model=level_bundle.folder, out=out, formats=["csv"])
    assert (again.counts.n_resumed, again.counts.n_done, again.written.paths) == (2, 0, ())
    assert (out / "A.wav.csv").read_text().count("\n") == 5


@pytest.mark.usefixtures("bad_birds")
def test_a_reader_that_yields_something_else_is_named(tmp_path: Path) -> None:
    table = tmp_path / "a.failing"
    table.touch()
    detections = formats.choose_reader(table)(table)
    assert next(detections)[1].common_name == "Loud Bird"
    with pytest.raises(PlugInError, match=rf"'failing' {PACKAGE}.*TypeError: expected pairs .* got str"):
        next(detections)


@pytest.mark.usefixtures("bad_birds")
def test_a_source_that_fails_stops_no_import_of_others(tmp_path: Path) -> None:
    folder = tmp_path / "failing"
    (folder / "Parus major").mkdir(parents=True)
    write_recording(folder / "Parus major" / "A.wav", tone(500.0), rate_hz=16_000)
    with logged() as sentences:
        table = import_recordings(folder, tmp_path, n_workers=1)
    assert [row.scientific_name for row in table.rows] == ["Parus major"]
    (named,) = (line for line in sentences if "bad-birds" in line)
    assert named.startswith(f"warning: source 'failing' {PACKAGE} ({MODULE}:SOURCE) failed.")
    description = tmp_path / "set.failing"
    description.touch()
    with pytest.raises(PlugInError, match=rf"source 'failing' {PACKAGE}.*expected a RecordingRow .* got dict"):
        import_recordings(description, tmp_path, n_workers=1)


@pytest.mark.usefixtures("bad_birds")
def test_an_engine_that_fails_is_named(level_bundle: Bundle) -> None:
    graph = engines.open_graph(level_bundle.graph_path, engine="failing")
    (port,) = graph.inputs
    with pytest.raises(PlugInError, match=rf"engine 'failing' {PACKAGE}.*LookupError: no such operator"):
        graph.run({port.name: np.zeros((1, 16_000), np.float32)}, [graph.outputs[0].name])


@pytest.mark.usefixtures("bad_birds")
def test_analyses_that_fail_are_named_and_cost_their_own_tables(
    level_bundle: Bundle, sounds: Path, tmp_path: Path
) -> None:
    out, names = tmp_path / "out.csv", ("failing-at-end", "failing-summary", "health")
    with pytest.raises(PlugInError, match=rf"'failing-summary' {PACKAGE}.*Cause: LookupError: no recorder of A.wav"):
        identify(sounds, model=level_bundle.folder, out=out, analyses=names)
    assert out.read_text().count("\n") == 9
    assert (tmp_path / "out.health.csv").is_file()
    made = identify(sounds, model=level_bundle.folder, analyses=("failing-at-end",))
    assert [warning.reason for warning in made.warnings] == [
        f"analysis 'failing-at-end' {PACKAGE} ({MODULE}:AT_END) failed on it (KeyError: 'level'), and has no rows"
    ] * 2
    made = identify(sounds, model=level_bundle.folder, analyses=("ending", "health"))
    assert made.summary().n_detections == 8
    assert [warning.reason for warning in made.warnings] == [
        f"the decoder crashed with analysis 'ending' {PACKAGE} ({MODULE}:ENDING) and not without, so it has no rows"
    ] * 2
    assert len(made.analysis_tables("health")[""]) == 2
    one = AnalyzedRecording("A.wav", 2.0, RecordingMetadata(), build_table({"n": [1]}))
    with pytest.raises(PlugInError, match=rf"'no-table' {PACKAGE}.*TypeError: expected a table as build_table"):
        list(build_tables(analyses.ANALYSES["no-table"], [one]))
    with pytest.raises(PlugInError, match=rf"'outside' {PACKAGE}.*TypeError: expected tables by .* '\.\./evil'"):
        list(build_tables(analyses.ANALYSES["outside"], [one]))
    with pytest.raises(PlugInError, match=rf"'no-table' {PACKAGE}.*TypeError: expected a table"):
        identify(sounds, model=level_bundle.folder, out=tmp_path / "scored.csv", analyses=("no-table",))
    assert (tmp_path / "scored.csv").read_text().count("\n") == 9, "it is not asked before recordings are scored"


def test_ends_of_tables_that_are_no_names_of_files_are_refused() -> None:
    entry = replace(analyses.ANALYSES["health"], tables=("", "../evil"))
    plug_in = PlugIn("analysis", "outside", "bad-birds 0.3", f"{MODULE}:OUTSIDE")
    with pytest.raises(InputError, match=r"tables: expected ends of files' names, .*, got '\.\./evil'"):
        analyses.guard_analysis(entry, plug_in)


@pytest.mark.usefixtures("bad_birds")
def test_a_format_that_closes_its_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlugInError, match=rf"'closing' {PACKAGE}.*ValueError: expected a writer that leaves .* open"):
        write_detections([], tmp_path / "a.closing")
    assert not list(tmp_path.iterdir())


SCRIPT = """
import sys
from dawnchorus.cli.main import cli
from dawnchorus.errors import PlugInError

def run(*arguments):
    try:
        cli.main([*arguments], prog_name="dawnchorus", standalone_mode=False)
    except PlugInError as error:
        print(error.exit_code, error)

sounds, model, out = sys.argv[1:]
for command in ("identify", "models wrap", "data import"):
    run(*command.split(), "--help")
run("identify", sounds, "--model", model, "--out", f"{out}/all.ctm", "-q")
run("identify", sounds, "--model", model, "--out", f"{out}/all.csv", "-q")
for name in ("absent", "ending", "number"):
    run("identify", sounds, "--format", name)
run("data", "import", sounds, out, "--layout", "absent")
run("identify", sounds, "--analyses", "absent")
options = "--labels l --sample-rate 1 --window 1 --activation sigmoid --engine absent"
run("models", "wrap", "x.onnx", out, *options.split())
"""


def test_broken_packages_stop_no_command(
    installed_examples: Path, level_bundle: Bundle, sounds: Path, tmp_path: Path
) -> None:
    (tmp_path / "ending.py").write_text("raise SystemExit('enough')\n")
    broken = {"absent": "no_such_module:X", "ending": "ending:X", "number": f"{MODULE}:NUMBER"}
    groups = [f"dawnchorus.{name}" for name in ("formats", "sources", "engines", "analyses")]
    install(tmp_path, "bad-birds", "0.3", dict.fromkeys(groups, broken))
    install(tmp_path, "second-csv", "2", {"dawnchorus.formats": {"csv": f"{MODULE}:DOUBLE"}})
    folders = [str(installed_examples), str(tmp_path), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "COLUMNS": "200"}
    arguments = [sys.executable, "-c", SCRIPT, sounds, level_bundle.folder, tmp_path]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "opensoundscape, ctm." in text
    assert "any of health, indices, crossings" in text
    assert "[onnxruntime|litert|onnx-reference]" in text
    assert "xeno-canto, voices, audiofolder, annotations" in text
    assert (tmp_path / "all.ctm").read_text().count("\n") == 8
    assert (tmp_path / "all.csv").read_text().count("\n") == 9
    for noun in ("format", "source", "analysis", "engine"):
        assert f"5 {noun} 'absent' {PACKAGE} (no_such_module:X) cannot be used. Update or uninstall" in text
    assert "Cause: ModuleNotFoundError: No module named 'no_such_module'" in text
    assert f"5 format 'ending' {PACKAGE} (ending:X) cannot be used." in text
    assert "Cause: SystemExit: enough" in text
    assert "Cause: format: expected an object of type TableFormat, got one of int." in text
    assert done.stderr.count("bad-birds") == 0, "nobody asked for these"
    assert done.stderr.count("format 'csv' of the package second-csv 2") <= 1
