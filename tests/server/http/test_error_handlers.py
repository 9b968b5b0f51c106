"""Damaged recordings and faults: messages that name the upload and nothing inside."""

from __future__ import annotations

import asyncio
import io
import json
import re
import struct
import zipfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import psutil
import pytest
import soundfile
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from starlette.requests import Request
from tests.fixtures.commands import Command
from tests.fixtures.server import Serve
from tests.fixtures.waiting import wait_for

from dawnchorus.errors import AudioDecodeError, InvalidBundleError, PlugInError
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.history import DetectionStore
from dawnchorus.server.http.error_handlers import error_message, handle_known_error
from dawnchorus.server.scheduling import InferencePool
from dawnchorus.storage.files import cannot_write


def test_internal_errors_reveal_no_details(
    level_bundle: Bundle, serve: Serve, tone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty faults: of the database, of files, of code, of those who ask."""
    client = serve(model=level_bundle.folder)
    good = tone.read_bytes()
    secret = f"{tmp_path}/inner at 0x7f00deadbeef in module.py"
    kinds: list[Exception] = [
        *(RuntimeError(secret), KeyError(secret), MemoryError(secret), RecursionError(secret), TypeError(secret)),
        *(OSError(28, "No space left on device", f"{tmp_path}/x"), PermissionError(13, "denied", f"{tmp_path}/x")),
        *(SQLAlchemyError(secret), OperationalError(secret, {}, Exception(secret)), UnicodeError(secret)),
    ]
    replies = []
    for error in kinds:
        for owner, method, request_once in (
            (InferencePool, "submit", partial(client.post, "/api/predict", content=good)),
            (DetectionStore, "get_recording", partial(client.get, f"/api/v1/recordings/{'0' * 64}")),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(owner, method, Mock(side_effect=error))
                replies.append(request_once())
    assert len(replies) == 20
    assert {reply.status_code for reply in replies} <= {500, 503, 507}
    replies += [
        client.post("/api/v1/models/none/activate"),
        client.get("/api/v1/jobs/none"),
        client.post("/api/v1/retrain", content=b"{"),
        client.post("/api/v1/training-data", files={"audio": ("x.zip", b"PK\x03\x04" + bytes(100))}),
    ]
    for reply in replies:
        assert reply.status_code >= 400
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["id"]
        assert not re.search(rf"{re.escape(str(tmp_path))}|0x[0-9a-f]{{6}}|\.py|Traceback|sqlalchemy", reply.text)
    assert client.post("/api/predict", content=good).status_code == 200


RATE_HZ = 16_000


def written(kind: str, subtype: str | None = None, samples: np.ndarray | None = None, rate_hz: int = RATE_HZ) -> bytes:
    out = io.BytesIO()
    audio = np.sin(np.arange(5 * rate_hz) / 9) / 2 if samples is None else samples
    soundfile.write(out, audio, rate_hz, format=kind, subtype=subtype)
    return out.getvalue()


def header(*, rate_hz: int = RATE_HZ, n_channels: int = 1, n_bytes: int = 0, bits: int = 16, tag: int = 1) -> bytes:
    """Return a WAV header that says so."""
    block = max(n_channels * bits // 8, 0) & 0xFFFF
    form = struct.pack("<HHIIHH", tag, n_channels, rate_hz, min(rate_hz * block, 2**32 - 1), block, bits)
    return b"RIFF\xff\xff\xff\x7fWAVEfmt \x10\0\0\0" + form + b"data" + struct.pack("<I", n_bytes)


def flipped(data: bytes, n: int, *, keep: int = 0) -> bytes:
    rng, copy = np.random.default_rng(n), bytearray(data)
    for position in rng.integers(keep, len(data), n):
        copy[position] ^= 1 << int(rng.integers(8))
    return bytes(copy)


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x.wav", data)
    return out.getvalue()


def inf_wav() -> bytes:
    audio = np.zeros(RATE_HZ, np.float32)
    audio[10], audio[20] = np.inf, np.nan
    return written("WAV", "FLOAT", audio)


WAV, FLAC, MP3, OGG = written("WAV"), written("FLAC"), written("MP3", "MPEG_LAYER_III"), written("OGG", "VORBIS")

REFUSED = {
    "nothing but a header": header(),
    "one byte": b"R",
    "a page": b"<!DOCTYPE html><html><body>Not found</body></html>",
    "a zip": zipped(WAV),
    "noise": np.random.default_rng(1).bytes(100_000),
    "zeros": bytes(100_000),
    "text": b"Kuckuck, Kuckuck!" * 100,
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(1000),
    "a rate of 0": header(rate_hz=0, n_bytes=1000) + bytes(1000),
    "a rate of 1 Hz": header(rate_hz=1, n_bytes=1000) + bytes(1000),
    "a rate of 2 GHz": header(rate_hz=2**31 - 1, n_bytes=1000) + bytes(1000),
    "no channels": header(n_channels=0, n_bytes=1000) + bytes(1000),
    "1,024 channels": header(n_channels=1024, n_bytes=4096) + bytes(4096),
    "nine channels": written("WAV", samples=np.zeros((RATE_HZ, 9))),
    "a kind of samples that is none": header(tag=0x1234, n_bytes=1000) + bytes(1000),
    "samples of 0 bits": header(bits=0, n_bytes=1000) + bytes(1000),
    "no samples": written("WAV", samples=np.zeros(0)),
    "half a header": WAV[:20],
    "the start of a flac": FLAC[:60],
    "half an mp3 frame": MP3[:100],
    "a playlist": b"#EXTM3U\nhttp://127.0.0.1:9/x.ts\n",
    "an empty riff": b"RIFF\x04\0\0\0WAVE",
    "a riff in a riff": b"RIFF\xff\0\0\0WAVE" + WAV,
}
EITHER = {
    "a wav that promises 4 GB": WAV[:40] + b"\xff\xff\xff\xff" + WAV[44:],
    "half a wav": WAV[: len(WAV) // 2],
    "half a flac": FLAC[: len(FLAC) // 2],
    "half an mp3": MP3[: len(MP3) // 2],
    "half an ogg": OGG[: len(OGG) // 2],
    "no numbers": inf_wav(),
    "numbers that are too large": written("WAV", "FLOAT", np.full(RATE_HZ, 3e38, np.float32)),
    **{
        f"a {name} with {n} flipped bits": flipped(data, n)
        for name, data in (("wav", WAV), ("flac", FLAC), ("mp3", MP3), ("ogg", OGG))
        for n in (5, 50, 500)
    },
}

BROKEN = {
    "no samples": REFUSED["no samples"],
    "only NaN": written("WAV", "FLOAT", np.full(RATE_HZ, np.nan, np.float32)),
    "noise": REFUSED["noise"],
}


def says_nothing_inner(text: str, folder: Path) -> bool:
    """Check that a text has no path of this machine, no object, no module, no line of code."""
    return not re.search(rf"{re.escape(str(folder))}|/dev/shm|0x[0-9a-f]{{6,}}|Traceback|\.py\b|upload-\w", text)


def test_damaged_audio_is_rejected_or_identified_up_to_the_damage(
    level_bundle: Bundle, serve: Serve, tmp_path: Path
) -> None:
    assert len(REFUSED) + len(EITHER) > 30
    client = serve(model=level_bundle.folder)
    assert client.post("/api/predict", content=WAV).status_code == 200
    here = psutil.Process()
    before = here.memory_info().rss
    for name, body in {**REFUSED, **EITHER}.items():
        for path in ("/api/predict", "/api/v1/identify"):
            reply = client.post(path, files={"audio": (f"{name}.wav", body)})
            expected = (400, 413, 422) if name in REFUSED else (200, 400, 413, 422)
            assert reply.status_code in expected, f"{name}: {reply.status_code} {reply.text}"
            json.loads(reply.text, parse_constant=pytest.fail)  # NaN is no JSON
            if reply.status_code != 200:
                assert reply.headers["content-type"] == "application/problem+json", name
                assert says_nothing_inner(reply.text, tmp_path), f"{name}: {reply.text}"
    files = [("audio", (f"A_a/{name}.wav", body)) for name, body in {**REFUSED, **EITHER}.items()]
    uploaded = client.post("/api/v1/training-data", files=files, data={"new_class": "yes"})
    assert uploaded.status_code == 200, uploaded.text
    assert says_nothing_inner(uploaded.text, tmp_path), uploaded.text
    statuses = {
        file["name"].removeprefix("A_a/").removesuffix(".wav"): file["status"] for file in uploaded.json()["files"]
    }
    assert statuses.keys() == {**REFUSED, **EITHER}.keys()
    assert {name for name, status in statuses.items() if status == "rejected"} >= REFUSED.keys()
    assert here.memory_info().rss - before < 200e6
    assert client.post("/api/predict", content=WAV).status_code == 200


def test_no_page_job_or_event_names_a_folder(level_bundle: Bundle, serve: Serve, tmp_path: Path) -> None:
    client = serve(model=level_bundle.folder)
    for name, body in BROKEN.items():
        files = {"audio": (f"{name}.wav", body)}
        page = client.post("/", files=files)
        assert f"{name}.wav: " in page.text
        assert says_nothing_inner(re.sub(r"/static/\S+", "", page.text), tmp_path), page.text
        reply = client.post("/api/v1/identify?background=true", files=files)
        assert says_nothing_inner(reply.text, tmp_path), reply.text
        if reply.status_code == 202:
            url = f"/api/v1/jobs/{reply.json()['id']}"
            job = wait_for(lambda url=url: (row := client.get(url).json())["status"] == "failed" and row)
            assert job["error"].startswith(f"{name}.wav: "), job
            for text in (str(job), client.get(f"{url}/events").text, client.get("/api/v1/jobs").text):
                assert says_nothing_inner(text, tmp_path), text
            assert says_nothing_inner(
                re.sub(r"/static/\S+", "", client.get(url.removeprefix("/api/v1")).text), tmp_path
            )


def test_a_file_of_the_machine_is_not_named() -> None:
    request = Request({"type": "http", "state": {"upload_names": {Path("/spool/upload-1"): "night.wav"}}})
    full = cannot_write(Path("/spool"), OSError(28, "No space left on device", "/spool/x"))
    assert error_message(request, full).startswith("cannot be written (No space left on device).")
    damaged = InvalidBundleError("it is not complete: labels.csv is missing.", subject=Path("/models/x"))
    assert error_message(request, damaged) == "it is not complete: labels.csv is missing."
    broken = AudioDecodeError("the file is empty (0 bytes).", subject=Path("/spool/upload-1"))
    assert error_message(request, broken) == "night.wav: the file is empty (0 bytes)."


@pytest.mark.skipif(find_spec("torch") is None, reason="retraining needs dawnchorus[train]")
def test_a_retraining_that_fails_names_no_folder(level_bundle: Bundle, command: Command, tmp_path: Path) -> None:
    """The server copies the reason from the process's last line into the job."""
    (tmp_path / "recordings.parquet").write_bytes(b"no table")
    done = command("retrain", "--dataset", tmp_path, "--model", level_bundle.folder, "--json")
    line = json.loads(done.stdout.splitlines()[-1])
    assert line["stage"] == "failed", done
    assert says_nothing_inner(line["error"], tmp_path), line


def test_a_plug_in_that_fails_is_named_without_the_text_of_its_error(caplog: pytest.LogCaptureFixture) -> None:
    cause = LookupError("/srv/secret/table")
    error = PlugInError("format 'ctm' of the package ctm-tables 2.1 (ctm_tables:CTM)", "failed", detail=str(cause))
    error.__cause__ = cause
    request = Request({"type": "http", "method": "GET", "path": "/", "headers": []})
    reply = asyncio.run(handle_known_error(request, error))
    assert reply.status_code == 500
    fields = json.loads(bytes(reply.body))
    assert fields["detail"].startswith("format 'ctm' of the package ctm-tables 2.1 (ctm_tables:CTM) failed.")
    assert "secret" not in bytes(reply.body).decode()
    assert "/srv/secret/table" in caplog.text
