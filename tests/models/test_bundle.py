"""Bundles: written whole, read strictly, run or refused with a reason."""

from __future__ import annotations

import json
import shutil
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from tests.fixtures.models import LEVEL_LABELS

from dawnchorus.errors import InvalidBundleError, ModelError, OutputError, OutputExistsError
from dawnchorus.models.bundle import Bundle, file_sha256, new_bundle, read_bundle, verify_bundle
from dawnchorus.models.runner import open_session


@pytest.fixture
def bundle(tmp_path: Path, level_bundle: Bundle) -> Path:
    """A bundle that a test may damage."""
    return Path(shutil.copytree(level_bundle.folder, tmp_path / "bundle"))


def change(bundle: Path, **fields: object) -> None:
    path = bundle / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_bundle_says_all_of_itself(level_bundle: Bundle) -> None:
    names = {path.name for path in level_bundle.folder.iterdir()}
    assert names == {"bundle.json", "model.onnx", "labels.csv", "MODEL_CARD.md"}
    assert level_bundle.labels == LEVEL_LABELS
    assert level_bundle.id == level_bundle.info.sha256[:12]
    verify_bundle(level_bundle)
    windows = np.full((3, 16_000), 0.25, np.float32)
    np.testing.assert_allclose(open_session(level_bundle).run(windows).logits, [[0.25, 0.75, 0.0]] * 3, atol=1e-6)


def test_a_run_stands_for_the_bundle_in_it(bundle: Path) -> None:
    assert read_bundle(bundle.parent).folder == bundle


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"sample_rate_hz": 1}, "sample_rate_hz"),
        ({"activation": "tanh"}, "activation"),
        ({"graph": "../../secret.onnx"}, "graph"),
        ({"sample_rate_hz": 3_999}, "sample_rate_hz: Input should be greater than or equal to 4000"),
        ({"sample_rate_hz": 500_001}, "sample_rate_hz: Input should be less than or equal to 500000"),
        ({"window_s": 0}, "window_s: Input should be greater than 0"),
        ({"window_s": 120.5}, "window_s: Input should be less than or equal to 120"),
        ({"embedding_dim": 0}, "embedding_dim: Input should be greater than or equal to 1"),
        ({"name": ""}, "name: String should have at least 1 character"),
        ({"sha256": "0" * 63}, "sha256: String should match"),
        ({"range_sha256": "g" * 64}, "range_sha256: String should match"),
        ({"calibration": {"scale": 1, "offset": 0, "n_recordings": 1, "x": 1}}, "calibration.x: Extra inputs"),
    ],
)
def test_an_invalid_description_is_refused(bundle: Path, fields: dict[str, object], message: str) -> None:
    change(bundle, **fields)
    with pytest.raises(InvalidBundleError, match=message):
        read_bundle(bundle)


@pytest.mark.parametrize(
    "fields",
    [
        {"sample_rate_hz": 4_000},
        {"sample_rate_hz": 500_000},
        {"window_s": 120},
        {"window_s": 0.001},
        {"embedding_dim": 1},
        {"name": "x"},
    ],
)
def test_description_at_its_limits_is_accepted(bundle: Path, fields: dict[str, object]) -> None:
    change(bundle, **fields)
    info = read_bundle(bundle).info
    assert {name: getattr(info, name) for name in fields} == fields


def test_description_leaves_out_what_is_usual(bundle: Path) -> None:
    made = read_bundle(bundle)
    info = made.info
    assert (info.schema_version, info.graph, info.embedding_dim, info.calibration) == (1, "model.onnx", None, None)
    assert (info.training, info.range_sha256, info.thresholds) == (None, None, {})
    assert (made.window_samples, made.graph_path, made.range_path) == (
        16_000,
        bundle / "model.onnx",
        bundle / "range.onnx",
    )
    assert made.class_by_scientific_name == {"Avis magna": 0, "Avis parva": 1, "Engine": 2}
    with pytest.raises(ValidationError, match="frozen"):
        info.name = "other"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        made.folder = bundle  # type: ignore[misc]
    change(bundle, window_s=0.33335)
    assert read_bundle(bundle).window_samples == 5334, "rounded to whole samples"


def test_range_model_is_verified_too(bundle: Path) -> None:
    (bundle / "range.onnx").write_bytes(b"a range model")
    verify_bundle(read_bundle(bundle))
    change(bundle, range_sha256=file_sha256(bundle / "range.onnx"))
    verify_bundle(read_bundle(bundle))
    (bundle / "range.onnx").write_bytes(b"another one")
    with pytest.raises(InvalidBundleError, match=r"range\.onnx: it is damaged or was replaced"):
        verify_bundle(read_bundle(bundle))
    (bundle / "range.onnx").unlink()
    with pytest.raises(InvalidBundleError, match=r"range\.onnx.*found no file"):
        verify_bundle(read_bundle(bundle))


def write_again(folder: Path, source: Bundle, *, card: str = "a card") -> Bundle:
    with new_bundle(folder) as draft:
        shutil.copy(source.graph_path, draft.folder / "model.onnx")
        draft.describe(source.info, source.labels)
        return draft.finish(card)


def test_bundle_is_written_below_folders_that_are_not_there(tmp_path: Path, level_bundle: Bundle) -> None:
    folder = tmp_path / "a" / "b" / "bundle"
    written = write_again(folder, level_bundle)
    assert written == read_bundle(folder)
    assert (written.labels, written.info) == (level_bundle.labels, level_bundle.info)
    assert (folder / "MODEL_CARD.md").read_text() == "a card"
    assert folder.stat().st_mode & 0o777 == 0o755
    assert "null" not in (folder / "bundle.json").read_text(), "what is not known is left out"
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


def test_a_draft_is_a_bundle_with_the_checksums_of_its_files(tmp_path: Path, level_bundle: Bundle) -> None:
    with new_bundle(tmp_path / "bundle") as draft:
        shutil.copy(level_bundle.graph_path, draft.folder / "model.onnx")
        (draft.folder / "range.onnx").write_bytes(b"a range model")
        stale = level_bundle.info.model_copy(update={"sha256": "0" * 64, "range_sha256": "1" * 64})
        bundle = draft.describe(stale, LEVEL_LABELS)
        verify_bundle(bundle)
        assert bundle.id == level_bundle.id
        assert open_session(bundle).run(np.ones((1, 16_000), np.float32)).logits.tolist() == [[1, 0, 0]]
        assert not (tmp_path / "bundle").exists(), "nothing is there before it is finished"


def test_a_draft_that_is_not_finished_leaves_the_bundle_that_was_there(tmp_path: Path, level_bundle: Bundle) -> None:
    folder = tmp_path / "bundle"
    write_again(folder, level_bundle)
    with pytest.raises(ModelError, match="no"), new_bundle(folder) as draft:
        shutil.copy(level_bundle.graph_path, draft.folder / "model.onnx")
        draft.describe(level_bundle.info, level_bundle.labels)
        raise ModelError("no")
    with (
        pytest.raises(InvalidBundleError, match="expected model.onnx to be written first"),
        new_bundle(folder) as draft,
    ):
        draft.describe(level_bundle.info, level_bundle.labels)
    with pytest.raises(InvalidBundleError, match=r"there is no bundle\.json"), new_bundle(folder) as draft:
        draft.finish("a card of nothing")
    assert (folder / "MODEL_CARD.md").read_text() == "a card"
    write_again(folder, level_bundle, card="another card")
    assert (folder / "MODEL_CARD.md").read_text() == "another card"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_folder_that_is_no_bundle_is_not_replaced(tmp_path: Path, level_bundle: Bundle) -> None:
    (tmp_path / "thesis").mkdir()
    with pytest.raises(OutputExistsError, match="is there and is no bundle"):
        write_again(tmp_path / "thesis", level_bundle)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be made"):
        write_again(tmp_path / "file" / "bundle", level_bundle)


def test_labels_that_cannot_be_read_are_named(bundle: Path) -> None:
    (bundle / "labels.csv").write_text("nonsense\n")
    with pytest.raises(InvalidBundleError, match=r"labels\.csv.*make the bundle again"):
        read_bundle(bundle)
    labels = "scientific_name,common_name,kind\nParus major,Great Tit,species\nParus major,Great Tit (song),species\n"
    (bundle / "labels.csv").write_text(labels)
    with pytest.raises(InvalidBundleError, match=r"line 3: expected each class once, .* 'Parus major_Great"):
        read_bundle(bundle)
    (bundle / "labels.csv").write_text(
        "scientific_name,common_name,kind\nGreat Tit,Great Tit,species\nParus major,great tit,species\n"
    )
    with pytest.raises(InvalidBundleError, match=r"line 3: .* second 'Parus major_great tit' \(line 2: 'Great Tit'"):
        read_bundle(bundle)
    (bundle / "labels.csv").unlink()
    with pytest.raises(InvalidBundleError, match=r"labels\.csv is missing"):
        read_bundle(bundle)


def test_a_damaged_bundle_is_refused(bundle: Path) -> None:
    with (bundle / "model.onnx").open("ab") as graph:
        graph.write(b"more")
    with pytest.raises(InvalidBundleError, match="is damaged or was replaced"):
        verify_bundle(read_bundle(bundle))
    (bundle / "model.onnx").write_bytes(b"\x80\x04pickle")
    with pytest.raises(InvalidBundleError, match="cannot be loaded"):
        open_session(read_bundle(bundle))
    (bundle / "model.onnx").unlink()
    with pytest.raises(InvalidBundleError, match="model.onnx is missing"):
        read_bundle(bundle)
    with pytest.raises(InvalidBundleError, match="there is no bundle.json"):
        read_bundle(bundle.parent.parent)


def test_labels_and_window_must_fit_the_graph(bundle: Path) -> None:
    change(bundle, window_s=2.0)
    with pytest.raises(InvalidBundleError, match="the graph takes 16000 samples, bundle.json says 32000"):
        open_session(read_bundle(bundle))
    change(bundle, window_s=1.0)
    (bundle / "labels.csv").write_text("scientific_name,common_name,kind\nA a,A,species\n")
    with pytest.raises(InvalidBundleError, match="the graph has 3 classes, labels.csv has 1"):
        open_session(read_bundle(bundle))


def test_a_bundle_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), new_bundle(tmp_path / "new") as draft:
        (draft.folder / "model.onnx").write_bytes(b"half")
        raise RuntimeError("the converter stumbled")
    assert list(tmp_path.iterdir()) == []
