"""Labels of a data set are matched with the classes of a model before it is trained."""

from __future__ import annotations

import pytest

from dawnchorus.data.classes import label_names, with_known_classes
from dawnchorus.data.recordings import Annotation, RecordingRow
from dawnchorus.errors import UnknownClassError
from dawnchorus.taxonomy.labels import Label

LABELS = (Label("Parus major", "Great Tit"), Label("Cuculus canorus", "Common Cuckoo"))


def row(name: str, scientific: str | None, common: str | None = None, **more: object) -> RecordingRow:
    return RecordingRow(recording_id=name, path=name, scientific_name=scientific, common_name=common, **more)  # type: ignore[arg-type]


def test_labels_get_the_names_of_the_classes_that_they_mean() -> None:
    marked = Annotation(start_s=0, end_s=1, scientific_name="common cuckoo")
    rows = (
        row("a", "parus  MAJOR"),
        row("b", "great", "tit"),
        row("c", None, kind="background", absent=("Great Tit",)),
        row("d", None, annotations=(marked,)),
        row("e", "Parus ater", "Common Cuckoo", secondary=("great tit", "Nobody knows")),
    )
    labeled = with_known_classes(rows, LABELS, ())
    assert [each.scientific_name for each in labeled] == ["Parus major", "Parus major", None, None, "Cuculus canorus"]
    assert [each.common_name for each in labeled[:2]] == ["Great Tit", "Great Tit"]
    assert labeled[2].absent == ("Parus major",)
    assert labeled[3].annotations[0].scientific_name == "Cuculus canorus"
    assert labeled[4].secondary == ("Parus major", "Nobody knows")


def test_unknown_labels_are_reported_all_at_once() -> None:
    rows = [row(f"{k}", "Parus mjor") for k in range(3)] + [row("x", "Nova avis"), row("y", "nova  avis")]
    with pytest.raises(UnknownClassError) as error:
        with_known_classes([*rows, row("z", "Great Tit")], LABELS, ())
    assert str(error.value).splitlines() == [
        "expected labels that are classes of the model, got 2 that are not:",
        "    'Nova avis': no such class. Recordings: 2.",
        "    'Parus mjor': no such class. Did you mean Parus major (Great Tit)? Recordings: 3.",
        "Correct them, or repeat the command with --new-class NAME for each that is a new class.",
    ]
    with pytest.raises(UnknownClassError, match="got 1 that are not:\n    'Parus mjor'"):
        with_known_classes(rows, LABELS, ["Nova avis"])


def test_confirmed_labels_are_one_class_in_any_case_and_two_by_two_scientific_names() -> None:
    rows = (row("a", "new bird"), row("b", "Nova avis", "New Bird"), row("c", "NOVA avis"))
    labeled = with_known_classes(rows, LABELS, ["new bird", "nova Avis"])
    assert [each.scientific_name for each in labeled] == ["Nova avis"] * 3
    two = (row("b", "Nova avis", "New Bird"), row("d", "Alia avis", "New Bird"))
    assert with_known_classes(two, LABELS, label_names(two)) == two


def test_a_new_class_that_no_recording_has_is_named(caplog: pytest.LogCaptureFixture) -> None:
    rows = (row("a", "Nova avis", "New Bird"), row("b", "Great Tit"))
    with_known_classes(rows, LABELS, ["new bird", "Great Tit", "Nova avsi"])
    assert [record.getMessage() for record in caplog.records] == [
        "new class 'Nova avsi': no recording has this label, so no class is made of it. "
        "Did you mean 'Nova avis_New Bird'?"
    ]
