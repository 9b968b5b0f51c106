"""One suite over every source of recordings, those of other packages included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.examples import MAX_LINES, count_lines

from dawnchorus.audio.write import write_recording
from dawnchorus.data import importing, layout_detection
from dawnchorus.data.importing import import_recordings
from dawnchorus.data.layout_detection import detect_layout
from dawnchorus.data.layouts import registry as layouts_registry
from dawnchorus.data.layouts.base import Source
from dawnchorus.data.layouts.registry import SOURCES
from dawnchorus.data.layouts.search_results import XENO_CANTO
from dawnchorus.data.layouts.voices import VOICES
from dawnchorus.errors import FormatError, InputError
from dawnchorus.registry import Registry

RATE_HZ = 8000


def make_audio(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_recording(path, np.zeros(RATE_HZ // 8, np.float32), rate_hz=RATE_HZ)


def make_xeno_canto(folder: Path) -> Path:
    recordings = [{"id": str(k), "gen": "Parus", "sp": "major", "also": [""]} for k in (1, 2)]
    for fields in recordings:
        make_audio(folder / f"XC{fields['id']}.wav")
    (folder / "xc.json").write_text(json.dumps({"recordings": recordings}))
    return folder / "xc.json"


def make_voices(folder: Path) -> Path:
    for k in (1, 2):
        make_audio(folder / "Great Tit_sound" / f"Great Tit{k}.wav")
    (folder / "Birds Voice.csv").write_text("common_name,scientific_name\nGreat Tit,Parus major\n")
    return folder / "Birds Voice.csv"


def make_audiofolder(folder: Path) -> Path:
    lines = [{"file_name": f"train/{k}.wav", "label": "Parus major", "split": "train"} for k in (1, 2)]
    for fields in lines:
        make_audio(folder / fields["file_name"])
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder / "metadata.jsonl"


MAKERS: dict[str, Callable[[Path], Path]] = {"xeno-canto": make_xeno_canto, "voices": make_voices}
"""Makers of two recordings of the Great Tit, which return the file that describes them."""


def check(source: Source, make: Callable[[Path], Path], folder: Path) -> None:
    """Hold a source to the protocol."""
    assert source.name == source.name.lower()
    assert not source.expected.endswith(".")
    (folder / "other").mkdir(parents=True)
    make_audio(folder / "other" / "a.wav")
    for other in (folder / "other", folder / "other" / "a.wav", folder / "nothing"):
        assert source.find(other) is None
    with pytest.raises(InputError, match="other: expected .*, found none"):
        import_recordings(folder / "other", folder, layout=source.name, n_workers=1)
    made = folder / "made"
    description = make(made)
    assert source.find(made) == source.find(description) == description
    files = sorted(made.rglob("*.wav"))
    rows = list(source.read(description, made, files))
    assert sorted(Path(row.path) for row in rows) == files
    assert len({row.recording_id for row in rows}) == 2
    assert detect_layout(made) == source.name
    table = import_recordings(made, folder, n_workers=1)
    assert [(row.scientific_name, row.kind, row.problems) for row in table.rows] == [("Parus major", "focal", ())] * 2
    for content in (b"[", b"\xff\x00" * 9):
        description.write_bytes(content)
        with pytest.raises(FormatError, match=description.name):
            list(source.read(description, made, files))


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_keeps_to_the_protocol(name: str, tmp_path: Path) -> None:
    check(SOURCES[name], MAKERS[name], tmp_path)


SCRIPT = """
import sys
from dawnchorus.cli.main import cli

for arguments in (["--help"], sys.argv[1:]):
    cli.main(["data", "import", *arguments], prog_name="dawnchorus", standalone_mode=False)
"""


def test_a_package_adds_a_source_without_a_change_here(
    installed_examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert count_lines("dawnchorus-audiofolder") <= MAX_LINES
    make_audiofolder(tmp_path / "set")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed_examples), *sys.path]), "COLUMNS": "200"}
    arguments = [sys.executable, "-c", SCRIPT, tmp_path / "set", tmp_path / "out"]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "xeno-canto, voices, audiofolder" in " ".join(done.stdout.split())
    assert "layout: audiofolder, by metadata.jsonl." in " ".join(done.stderr.split())
    monkeypatch.syspath_prepend(installed_examples)
    sources = Registry(
        Source, (XENO_CANTO, VOICES), noun="source", group="dawnchorus.sources", guard=layouts_registry.guard_source
    )
    for module in (importing, layout_detection, layouts_registry):
        monkeypatch.setattr(module, "SOURCES", sources)
    check(sources["audiofolder"], make_audiofolder, tmp_path / "check")
