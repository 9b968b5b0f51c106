"""The folder of a retraining: what is there already is lost only on request."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawnchorus.data.recordings import RecordingRow, RecordingsTable, write_table
from dawnchorus.errors import OutputExistsError
from dawnchorus.training.retraining_folder import copy_table, write_report


def test_a_finished_retraining_is_replaced_on_request_and_never_its_own_model(tmp_path: Path) -> None:
    folder = tmp_path / "retrained"
    bundle = folder / "bundle"
    row = RecordingRow(recording_id="a", path="a.wav", scientific_name="Avis magna", kind="focal")
    source = RecordingsTable(tmp_path, (row,))
    write_table(copy_table(source, folder))
    copy_table(source, folder)  # an interrupted one is resumed
    bundle.mkdir()
    write_report(folder, {})
    with pytest.raises(OutputExistsError, match=r"finished retraining. Replace it with --overwrite .*overwrite=True"):
        copy_table(source, folder)
    with pytest.raises(OutputExistsError, match=r"the model that this retraining is based on \(bundle\)"):
        copy_table(source, folder, overwrite=True, in_use=[tmp_path / "other", bundle])
    assert bundle.is_dir()
    (table_row,) = copy_table(source, folder, overwrite=True, in_use=[tmp_path / "other"]).rows
    assert table_row.path == str(tmp_path / "a.wav")
    assert not bundle.exists()
