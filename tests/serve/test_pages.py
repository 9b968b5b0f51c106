"""The pages: a recording in, its birds out, without scripts; names are text, and errors are shown where they help."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from tests.serve.conftest import Serve

from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore


def test_a_recording_becomes_pictures_sounds_and_a_table(
    dawn: Path, birdnet: Bundle, store: ModelStore, serve: Serve
) -> None:
    del birdnet  # it is made
    client = serve(models_folder=store.folder)
    home = client.get("/")
    assert "Which bird was that?" in home.text
    assert "default-src 'self'" in home.headers["content-security-policy"]
    assert "unsafe" not in home.headers["content-security-policy"]
    reply = client.post("/", files={"audio": ('my "dawn" <script>.wav', dawn.read_bytes())})
    assert reply.status_code == 200, reply.text[:2000]
    assert "Common Cuckoo" in reply.text
    assert "<i>Cuculus canorus</i>" in reply.text
    assert "<script>." not in reply.text
    assert "&lt;script&gt;.wav" in reply.text
    pictures = re.findall(r"data:image/png;base64,([\w+/=]+)", reply.text)
    sounds = re.findall(r"data:audio/mpeg;base64,([\w+/=]+)", reply.text)
    assert len(pictures) == len(sounds) + 1 >= 5
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    assert all(len(base64.b64decode(sound)) > 5_000 for sound in sounds)
    rows = client.post("/api/v1/identify?merge=true", content=dawn.read_bytes()).json()["detections"]
    assert reply.text.count("<tr><td>") == len(rows)


def test_what_does_not_work_is_said_on_the_page(level_bundle: Bundle, serve: Serve, tmp_path: Path) -> None:
    client = serve(model=level_bundle.folder)
    for files, status, message in (
        ({"audio": ("x.wav", b"nothing")}, 422, "x.wav: not a sound file"),
        ({"other": ("x.wav", b"nothing")}, 400, "expected a file in the field"),
        ({"audio": ("x.wav", b"")}, 400, "got nothing"),
    ):
        reply = client.post("/", files=files)
        assert reply.status_code == status
        assert 'role="alert"' in reply.text
        assert message in reply.text
        assert str(tmp_path) not in reply.text
    assert client.get("/static/style.css").headers["content-type"].startswith("text/css")
    assert client.get("/static/page.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/static/..%2fapp.py").status_code == 404
    assert client.get("/static/app.py").status_code == 404
