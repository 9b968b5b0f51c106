"""A person's way through the pages, in a real browser: identify, correct, teach, retrain, promote, roll back."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Page, expect
from tests.fixtures.long_recordings import store_long_recording, write_long_recording
from tests.fixtures.server import running, running_service

from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore
from dawnchorus.server.settings import Settings

pytestmark = pytest.mark.ops

REFUSED = "the server responded with a status of 422"
"""Chromium's word for an upload that is refused, which pages show in their own words."""

BUSY = "the server responded with a status of 503"
"""Chromium's word for a tile that is asked for again, while a busy machine computes a whole recording."""

SCREENSHOTS = os.environ.get("DAWNCHORUS_SCREENSHOTS")
"""A folder: pictures of every page are put there, for the documentation."""


@pytest.fixture(scope="module")
def server(birdnet: Bundle, store: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    del birdnet  # it is made
    with running(Settings(data=tmp_path_factory.mktemp("server"), models_folder=store.folder)) as client:
        yield str(client.base_url).rstrip("/")


@pytest.fixture
def page(browser: Browser, server: str) -> Iterator[Page]:
    """A page on which no script fails and nothing is blocked."""
    context = browser.new_context(
        base_url=server, viewport={"width": 1280, "height": 900}, color_scheme="dark", timezone_id="Asia/Kolkata"
    )
    new_page = context.new_page()
    new_page.set_default_timeout(60_000)
    wrong: list[str] = []
    new_page.on("pageerror", lambda error: wrong.append(str(error)))
    new_page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    yield new_page
    wrong = [text for text in wrong if REFUSED not in text and BUSY not in text]
    context.close()
    assert not wrong


def test_from_a_recording_to_a_better_model_and_back(  # noqa: PLR0915 - one way, step by step
    page: Page, dawn: Path, labeled_files: list[Path]
) -> None:
    page.goto("/")
    page.set_input_files("#audio", dawn)
    page.get_by_role("button", name="Identify", exact=True).click()
    page.wait_for_url("**/recordings/*")
    expect(page.get_by_role("heading", level=1)).to_have_text(dawn.name)
    for species in ("Common Cuckoo", "Great Tit", "Willow Tit", "Boreal Owl"):
        expect(page.get_by_role("rowheader").filter(has_text=species).first).to_be_visible()

    # look closer, play the best detection in a loop
    page.get_by_role("button", name="Zoom in").click()
    page.wait_for_url("**zoom=10.00**")
    page.get_by_role("button", name="Loop").click()
    expect(page.locator("[data-audio]")).to_have_js_property("paused", value=False)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("[data-audio]")).to_have_js_property("paused", value=True)

    # correct one, say that another is right
    selected = page.get_by_role("region", name="Selected detection")
    page.locator("#detections").get_by_role("row").filter(has_text="Willow Tit").first.get_by_role("link").click()
    expect(selected).to_contain_text("Willow Tit")
    selected.get_by_role("combobox").fill("Marsh Tit")
    selected.get_by_role("button", name="Other species").click()
    expect(selected.get_by_text("saved")).to_be_visible()
    expect(selected).to_contain_text("Marsh Tit (model: Willow Tit)")
    page.locator("#detections").get_by_role("row").filter(has_text="Common Cuckoo").first.get_by_role("link").click()
    expect(selected).to_contain_text("Common Cuckoo")
    selected.get_by_role("button", name="Correct", exact=True).click()
    expect(selected.get_by_role("button", name="Correct", exact=True)).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(page.locator("#detections").get_by_role("row").filter(has_text="Willow Tit").first).to_contain_text(
        "another species"
    )

    # the review queue, by keys
    page.goto("/review")
    left = page.locator("[data-left]")
    before = int(left.inner_text())
    page.keyboard.press("y")
    expect(page.get_by_text(", saved")).to_be_visible()
    page.reload()
    expect(left).to_have_text(str(before - 1))

    # teach, species by species
    page.goto("/training")
    for folder in sorted({path.parent for path in labeled_files}):
        page.get_by_label("Species", exact=True).fill(folder.name)
        page.set_input_files("#recordings", sorted(folder.iterdir()))
        if folder.name == "noise":
            with page.expect_navigation():
                page.get_by_role("button", name="Upload", exact=True).click()
            continue
        page.get_by_role("button", name="Upload", exact=True).click()
        questions = page.get_by_role("group", name="Unknown names")
        expect(questions.get_by_role("listitem")).to_have_count(1, timeout=60_000)
        questions.get_by_label("This is a new class").check()
        with page.expect_navigation():
            questions.get_by_role("button", name="Upload these again").click()
        expect(page.get_by_role("heading", name="Training data")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="Synthetic Bird 001")).to_contain_text("8")

    # retrain, and see it go on
    page.get_by_label("Minimum epochs").fill("40")
    page.get_by_label("Require my approval").check()
    page.get_by_role("button", name="Train new model").click()
    expect(page.locator("[data-stage]")).to_contain_text(re.compile(r"epoch \d+ of \d+"), timeout=400_000)
    expect(page.get_by_role("img", name="Training loss by epoch")).to_be_visible()
    expect(page.get_by_role("heading", name="New model and current model")).to_be_visible(timeout=400_000)
    expect(page.get_by_text("The new model is not in use: too few held-out recordings")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="Synthetic Bird 001").nth(1)).to_contain_text("not in this model")

    # promote it, and identify again
    page.get_by_role("button", name="Use this model", exact=True).click()
    expect(page.get_by_role("button", name="Go back to")).to_be_visible()
    page.goto("/")
    page.set_input_files("#audio", next(path for path in labeled_files if "ficta001" in path.name))
    page.get_by_role("button", name="Identify", exact=True).click()
    page.wait_for_url("**/recordings/*")
    expect(page.get_by_role("rowheader").first).to_contain_text("Synthetic Bird 001")

    # and back
    page.goto("/models")
    page.get_by_role("button", name="Go back to").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text("rolled back")
    expect(page.locator("footer")).to_contain_text("birdnet 2.4")
    page.goto("/")
    page.set_input_files("#audio", next(path for path in labeled_files if "ficta001" in path.name))
    page.get_by_role("button", name="Identify", exact=True).click()
    page.wait_for_url("**/recordings/*")
    expect(page.locator("main")).not_to_contain_text("Synthetic Bird")

    # a training that is cancelled has no results
    page.goto("/training")
    heading = page.get_by_role("heading", name="New model and current model")
    expect(heading).to_be_visible()
    page.get_by_role("button", name="Train new model").click()
    expect(heading).to_be_hidden()
    page.get_by_role("button", name="Cancel training").click()
    expect(page.locator("[data-stage]")).to_contain_text("cancelled")
    expect(heading).to_be_hidden()
    page.go_back()

    # remove it, when all of it is there: pictures of what is gone are not found
    page.wait_for_load_state("networkidle")
    page.get_by_role("button", name="Delete recording").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(re.compile(r"Delete “.+”, \d+ detections? and 0 answers\? This cannot"))
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Delete recording")).to_be_focused()
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Delete").click()
    page.wait_for_url("**/recordings")
    expect(page.locator("main")).not_to_contain_text("Avis_ficta")


def test_deletion_that_was_cancelled_and_repeated_is_confirmed_once(page: Page, dawn: Path) -> None:
    page.goto("/")
    page.set_input_files("#audio", {"name": "twice.wav", "mimeType": "audio/wav", "buffer": dawn.read_bytes() + b"2"})
    page.get_by_role("button", name="Identify", exact=True).click()
    page.wait_for_url("**/recordings/*")
    page.wait_for_load_state("networkidle")
    page.evaluate("""() => {  // faster than the dialog's event "close" of the first answer
        const button = document.querySelector("[data-delete]");
        const dialog = document.querySelector("dialog[data-question]");
        button.click();
        dialog.close("cancel");
        button.click();
    }""")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.wait_for_url("**/recordings")
    expect(page.locator("main")).not_to_contain_text("twice.wav")


def test_microphone_recording_is_identified(page: Page) -> None:
    page.context.grant_permissions(["microphone"])
    page.goto("/")
    page.get_by_role("button", name="Record from the microphone").click()
    expect(page.get_by_text("Recording…")).to_be_visible()
    page.wait_for_timeout(2_500)
    page.get_by_role("button", name="Stop and identify").click()
    page.wait_for_url("**/recordings/*")
    named = re.compile(r"microphone \d{4}(-\d\d){2}T\d\d(-\d\d){2}\+0530\.webm")
    expect(page.get_by_role("heading", level=1)).to_have_text(named)
    expect(page.locator("main")).to_contain_text("UTC+5:30")


def test_names_run_no_scripts(page: Page, dawn: Path) -> None:
    page.goto("/")
    name = '<img src=x onerror="document.title=1">.wav'
    page.set_input_files("#audio", {"name": name, "mimeType": "audio/wav", "buffer": dawn.read_bytes() + b"1"})
    page.get_by_role("button", name="Identify", exact=True).click()
    page.wait_for_url("**/recordings/*")
    expect(page.locator("main")).to_contain_text("onerror")
    script = "<script>document.title=1</script>"
    card = page.get_by_role("region", name="Selected detection")
    review = f"/api/v1/detections/{card.locator('[data-review]').get_attribute('data-review')}/review"
    said = {"verdict": "relabeled", "species": script, "new_class": True}
    assert page.request.put(review, data=said).ok
    card.get_by_role("combobox").fill(script)
    card.get_by_role("button", name="Other species").click()
    expect(page.get_by_text("saved")).to_be_visible()
    for path in ("/", "/recordings", "/detections", "/training", "/review"):
        page.goto(path)
        assert "Dawn Chorus" in page.title()


@pytest.fixture(scope="module")
def long_recording(level_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the page of a recording of two hours with 1,000 detections."""
    folder = tmp_path_factory.mktemp("long")
    path = folder / "two hours.flac"
    write_long_recording(path, duration_s=7200)
    with running_service(Settings(model=level_bundle.folder, data=folder / "server")) as (client, service):
        sha256 = store_long_recording(service, path, duration_s=7200, n_detections=1000)
        yield f"{str(client.base_url).rstrip('/')}/recordings/{sha256}"


def test_long_recording_stays_small_and_every_detection_can_be_reached(page: Page, long_recording: str) -> None:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(long_recording)
    page.wait_for_load_state("networkidle")
    tiles = [url for url in requests if "/spectrogram/" in url]
    assert 2 <= len(tiles) <= 8, "what is in view, and a little ahead"
    assert not [url for url in requests if url.endswith(("/audio", "/detections"))]
    page.wait_for_function(IS_DRAWN)
    # the last ones by keys, all by pages of the table
    page.goto(f"{long_recording}?t=7185")
    selected = page.get_by_role("region", name="Selected detection").get_by_role("status").first
    while "05:59:57 to 06:00:00" not in (before := selected.inner_text()):
        page.keyboard.press("j")
        expect(selected).not_to_have_text(before)
    page.wait_for_url("**t=7190.00**")
    ids: set[str] = set()
    while True:
        ids |= set(page.locator("[data-detection]").evaluate_all("links => links.map(link => link.dataset.detection)"))
        following = page.get_by_role("link", name="Next 50")
        if not following.count():
            break
        with page.expect_navigation():
            following.click()
    assert len(ids) == 1000
    assert page.evaluate("document.querySelectorAll('*').length") < 1500
    assert "t=7190.0" in page.url, "the table's pages keep what is shown"


def test_viewer_follows_keys_pointer_and_url(page: Page, long_recording: str) -> None:
    page.goto(f"{long_recording}?t=3600&zoom=40")
    page.wait_for_function(IS_DRAWN)
    for key, path in (
        ("+", "t=3600.00&zoom=20.00"),
        ("ArrowRight", "t=3605.00"),
        ("Shift+ArrowLeft", "t=3585.00"),
        ("Home", "t=10.00"),
        ("End", "t=7190.00"),
        ("f", "t=3600.00&zoom=7200.00"),
    ):
        page.keyboard.press(key)
        page.wait_for_url(f"**{path}**")
    expect(page.get_by_text("1,000 detections in view: zoom in to see single detections")).to_be_visible()
    page.wait_for_function(IS_DRAWN)
    page.goto(f"{long_recording}?t=3600&zoom=40")
    selected = page.get_by_role("region", name="Selected detection")
    page.keyboard.press("j")
    expect(selected.get_by_role("status").first).not_to_have_text("none")
    first = selected.get_by_role("status").first.inner_text()
    page.keyboard.press("j")
    expect(selected.get_by_role("status").first).not_to_have_text(first)
    page.get_by_role("button", name="Previous").click()
    expect(selected.get_by_role("status").first).to_have_text(first)
    page.keyboard.press("y")  # keys survive the click
    expect(selected).to_contain_text(", correct")
    page.keyboard.press("y")  # keys set an answer, clicks also delete it
    expect(selected.get_by_text("saved")).to_be_visible()
    expect(selected).to_contain_text(", correct")
    selected.get_by_role("button", name="Correct", exact=True).click()
    expect(selected).to_contain_text("unreviewed")
    page.keyboard.press("s")
    assert page.locator("[data-audio]").evaluate("audio => audio.playbackRate") == 0.5
    page.keyboard.press("l")
    expect(page.locator("[data-audio]")).to_have_js_property("paused", value=False)
    page.keyboard.press(" ")
    expect(page.locator("[data-audio]")).to_have_js_property("paused", value=True)
    page.keyboard.press("/")
    page.keyboard.type("number 3")
    expect(page.get_by_text("No results found")).to_be_visible()  # suggestions that come later open the list again
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")  # the first one ends the name, the second one sends the form
    page.wait_for_url("**species=number+3**")
    assert "t=3600.00&zoom=40.00" in page.url
    for name in page.get_by_role("list", name="Species in view").get_by_role("listitem").all_inner_texts():
        assert name.startswith("Bird Number 3")
    page.goto(f"{long_recording}?t=3600&zoom=40")
    box = page.locator("[data-stage]").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 50, steps=3)
    page.mouse.up()
    page.wait_for_url("**t=3610.0*")


def test_viewer_works_without_detections_and_without_single_keys(page: Page, long_recording: str) -> None:
    page.goto(f"{long_recording}?species=nobody")
    page.wait_for_function(IS_DRAWN)
    page.keyboard.press("j")
    page.keyboard.press("y")
    expect(page.get_by_role("region", name="Selected detection").get_by_role("status")).to_have_text("none")
    page.keyboard.press(" ")
    page.wait_for_function("() => document.querySelector('[data-audio]').played.length")
    assert page.locator("[data-audio]").evaluate("audio => audio.played.start(0)") < 1, "it plays what is in view"
    page.keyboard.press(" ")
    page.goto(f"{long_recording}?t=3600&zoom=40")
    page.keyboard.press("?")
    page.get_by_label("Single-key shortcuts").uncheck()
    page.keyboard.press("f")
    page.keyboard.press("Home")
    page.get_by_role("slider", name="Part in view").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**t=3610.00&zoom=40.00**")


IS_DRAWN = """() => {
    const canvas = document.querySelector("[data-picture]");
    const { data } = canvas.getContext("2d").getImageData(0, canvas.height / 2, canvas.width, 1);
    return new Set(new Uint32Array(data.buffer)).size > 20 && !document.querySelector("[data-progress]").textContent;
}"""
"""The spectrogram in view is complete."""


def test_the_page_system_keeps_current_unless_it_is_paused(
    browser: Browser, level_bundle: Bundle, tmp_path: Path
) -> None:
    with running(Settings(model=level_bundle.folder, data=tmp_path / "server")) as client:
        page = browser.new_page(base_url=str(client.base_url))
        page.goto("/system")
        client.post("/api/predict", content=_steady_tone(0.25)).raise_for_status()
        n_identified = page.locator("#facts dd").nth(2)
        expect(n_identified).to_have_text("1", timeout=20_000)
        page.get_by_role("button", name="Pause").click()
        client.post("/api/predict", content=_steady_tone(0.75)).raise_for_status()
        with page.expect_response("**/system"):
            page.get_by_role("button", name="Pause").click()
        expect(n_identified).to_have_text("2")
        page.context.close()


def test_flat_files_are_labeled_by_their_names(browser: Browser, level_bundle: Bundle, tmp_path: Path) -> None:
    with running(Settings(model=level_bundle.folder, data=tmp_path / "server")) as client:
        page = browser.new_page(base_url=str(client.base_url))
        page.goto("/training")
        names = ("Loud Bird1.wav", "New Recording 3.wav")
        uploads = [
            {"name": name, "mimeType": "audio/wav", "buffer": _steady_tone(0.1 + 0.1 * k)}
            for k, name in enumerate(names)
        ]
        page.set_input_files("#recordings", uploads)  # type: ignore[arg-type]
        page.get_by_role("button", name="Upload", exact=True).click()
        expect(page.get_by_text("1 added, 1 rejected")).to_be_visible()
        expect(page.get_by_role("listitem").filter(has_text="Loud Bird1.wav")).to_contain_text("added, Loud Bird")
        expect(page.get_by_role("listitem").filter(has_text="New Recording")).to_contain_text("names its species")
        # a name that no class has is asked about, although nothing was taken
        page.get_by_label("Species", exact=True).fill("Lod Bird")
        page.set_input_files("#recordings", uploads[1:])  # type: ignore[arg-type]
        page.get_by_role("button", name="Upload", exact=True).click()
        questions = page.get_by_role("group", name="Unknown names")
        expect(questions.get_by_role("listitem")).to_contain_text("Did you mean")
        # of a zip, each rejected file has its reason
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for k in range(3):
                archive.writestr(f"Loud Bird/{k}.wav", _steady_tone(0.5 + 0.1 * k))
            archive.writestr("Loud Bird/empty.wav", b"")
            archive.writestr("Loud Bird/notes.txt", b"mine")
        page.get_by_label("Species", exact=True).fill("")
        zipped = {"name": "birds.zip", "mimeType": "application/zip", "buffer": packed.getvalue()}
        page.set_input_files("#recordings", [zipped])  # type: ignore[list-item]
        page.get_by_role("button", name="Upload", exact=True).click()
        expect(page.get_by_text("3 of 5 added")).to_be_visible()
        for name, reason in (("empty.wav", "empty"), ("notes.txt", "no recordings")):
            expect(page.get_by_role("listitem").filter(has_text=name).last).to_contain_text(reason)
        page.get_by_role("link", name="Show the training data").click()
        expect(page.get_by_role("row").filter(has_text="Loud Bird")).to_contain_text("4")
        page.context.close()


def _steady_tone(level: float) -> bytes:
    """Return a second at a level, at 16 kHz."""
    out = io.BytesIO()
    soundfile.write(out, np.full(16_000, level, np.float32), 16_000, format="WAV")
    return out.getvalue()


def test_files_that_failed_are_sent_again_with_other_settings(browser: Browser, server: str) -> None:
    page = browser.new_page(base_url=server)
    page.goto("/")
    files = [{"name": f"{k}.wav", "mimeType": "audio/wav", "buffer": _steady_tone(0.1 * k)} for k in (1, 2)]
    page.set_input_files("#audio", files)  # type: ignore[arg-type]
    identify = page.get_by_role("button", name="Identify", exact=True)
    page.get_by_label("Latitude").fill("91")
    page.get_by_label("Longitude").fill("13")
    identify.click()
    message = page.get_by_label("Latitude").evaluate("field => field.validationMessage")
    assert message == "Give degrees from -90 to 90."
    expect(page.get_by_text("2 files: 0 done, 2 waiting")).to_be_visible()
    page.get_by_label("Latitude").fill("48,5")
    page.get_by_text("More options").click()
    page.get_by_label("Overlap").fill("3")
    identify.click()
    expect(page.get_by_text("All 2 files are finished: 0 done, 2 failed.")).to_be_visible()
    page.get_by_label("Overlap").fill("0")
    identify.click()
    expect(page.get_by_text("All 2 files are finished: 2 done, 0 failed.")).to_be_visible()
    identify.click()
    expect(page.get_by_text("All files are done. Choose others.")).to_be_visible()
    page.context.close()


def test_what_fails_is_said_and_nothing_is_lost(browser: Browser, server: str) -> None:
    page = browser.new_page(base_url=server)
    page.goto("/")
    page.set_input_files("#audio", {"name": "x.wav", "mimeType": "audio/wav", "buffer": b"no sound"})
    page.get_by_role("button", name="Identify", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="not a sound file")).to_be_visible()
    page.goto("/training")
    page.get_by_label("Species", exact=True).fill("Parus major")
    page.set_input_files("#recordings", {"name": "y.wav", "mimeType": "audio/wav", "buffer": b"no sound"})
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.get_by_text("0 added, 1 rejected")).to_be_visible()
    page.context.set_offline(True)
    alert = page.get_by_role("alert").filter(has_text="Cannot reach the server")
    expect(alert).to_be_visible()
    page.context.set_offline(False)
    expect(alert).to_be_hidden()
    page.context.close()
