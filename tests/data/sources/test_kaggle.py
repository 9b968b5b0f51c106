"""Fetching from Kaggle: kagglehub's real client against a local server that answers as Kaggle's API does."""

from __future__ import annotations

import base64
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import kagglehub.clients
import pytest
import soundfile
from click.testing import CliRunner
from kagglesdk import kaggle_env
from tests.fixtures.sounds import tone

from dawnchorus.cli.fetch import command
from dawnchorus.data.recordings import read_table
from dawnchorus.data.sources.kaggle import KaggleSource, download, find_source, parse_url
from dawnchorus.errors import DownloadError, InputError

USER, KEY = "somebody", "a-secret-key"


NOTEBOOKS = {
    "one": {"datasetDataSources": ["owner/birds"], "kernelDataSources": ["other/notebook"]},
    "two": {"datasetDataSources": ["owner/birds"], "competitionDataSources": ["birdclef-2026"]},
    "none": {},
}


def birdclef_zip() -> bytes:
    """Return a competition in BirdCLEF's layout: two recordings of two species."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        lines = ["primary_label,secondary_labels,scientific_name,common_name,author,license,rating,url,filename"]
        for code, name in (("gretit1", "Parus major"), ("comcuc", "Cuculus canorus")):
            audio = io.BytesIO()
            soundfile.write(audio, tone(3000), 16_000, format="OGG")
            archive.writestr(f"train_audio/{code}/XC1.ogg", audio.getvalue())
            lines.append(f"{code},[],{name},{name},A. Uthor,cc-by-nc-sa 4.0,4.0,https://x.y,{code}/XC1.ogg")
        archive.writestr("train_metadata.csv", "\n".join(lines))
    return out.getvalue()


class Kaggle(BaseHTTPRequestHandler):
    """The calls that downloads make, and the one that asks for a notebook."""

    archive: bytes | None = None
    """Sent instead of the archive."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        expected = "Basic " + base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        service = self.path.rsplit("/", 1)[-1]
        if self.headers.get("Authorization") != expected:
            self._reply(401, b'{"message": "Unauthenticated"}')
        elif request.get("competitionName") not in (None, "birdclef-2026") or request.get("ownerSlug") == "nobody":
            self._reply(404, b'{"message": "Not found"}')
        elif service == "GetKernel":
            self._reply(200, json.dumps({"metadata": NOTEBOOKS[request["kernelSlug"]]}).encode())
        elif service == "GetDataset":
            self._reply(200, json.dumps({"ref": "owner/birds", "currentVersionNumber": 3}).encode())
        elif service in ("DownloadDataset", "DownloadDataFiles"):
            self._reply(200, Kaggle.archive or birdclef_zip(), "application/zip")
        else:
            self._reply(500, b"{}")

    def _reply(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if kind == "application/zip":
            self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Do nothing."""


@pytest.fixture(autouse=True)
def kaggle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Kaggle)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(kagglehub.clients, "get_user_agent", lambda: "kagglehub")  # it reads the whole stack's sources
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.QA, url)
    for name, value in (
        ("KAGGLE_API_ENVIRONMENT", "QA"),
        ("KAGGLEHUB_CACHE", str(tmp_path / "cache")),
        ("KAGGLE_USERNAME", USER),
        ("KAGGLE_KEY", KEY),
    ):
        monkeypatch.setenv(name, value)
    yield
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("handle", ["birdclef-2026", "owner/birds", "https://www.kaggle.com/code/owner/one/input"])
def test_a_download_becomes_a_recordings_table(handle: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["kaggle", handle, str(tmp_path / "set")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    rows = read_table(tmp_path / "set").rows
    assert {row.scientific_name for row in rows} == {"Parus major", "Cuculus canorus"}
    assert {row.license for row in rows} == {"CC-BY-NC-SA-4.0"}
    assert all(row.duration_s == pytest.approx(2.0, abs=0.1) and not row.problems for row in rows)


def test_a_refusal_says_how_to_get_a_key_and_keeps_it_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_KEY", "wrong-secret")
    with pytest.raises(DownloadError, match=r"birdclef-2026: .*401.*KAGGLE_API_TOKEN.*accept its rules") as refused:
        download(find_source("birdclef-2026"))
    assert "wrong-secret" not in str(refused.value)


@pytest.mark.parametrize("handle", ["birdclef-2026", "owner/birds"])
def test_what_is_no_archive_is_not_kept(handle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = birdclef_zip()
    mixed = whole[:200] + bytes(200) + whole[400:]  # as of two versions
    for damaged in (b"<!DOCTYPE html><html>Too many requests</html>", mixed, whole[: len(whole) // 2]):
        monkeypatch.setattr(Kaggle, "archive", damaged)
        with pytest.raises(DownloadError, match="what came is damaged"):
            download(find_source(handle))
    monkeypatch.setattr(Kaggle, "archive", None)
    assert len(list(download(find_source(handle)).rglob("*.ogg"))) == 2


def test_what_is_not_there_and_what_is_no_name() -> None:
    with pytest.raises(DownloadError, match="nobody/nothing: .*404.*Check the name"):
        download(find_source("nobody/nothing"))
    for handle in ("", "a/b/c/d", "../../etc"):
        with pytest.raises(InputError, match="expected OWNER/DATA-SET"):
            find_source(handle)


def test_a_server_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kagglehub.clients, "get_user_agent", lambda: "kagglehub")  # it reads the whole stack's sources
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.QA, "http://127.0.0.1:9")
    with pytest.raises(
        DownloadError,
        match=r"Kaggle, .*: 127\.0\.0\.1 cannot be reached \(Connection refused\)\. Check the name and the net",
    ):
        download(find_source("owner/birds"))


@pytest.mark.parametrize(
    ("url", "name", "kind"),
    [
        ("birdclef-2026", "birdclef-2026", "competition"),
        ("owner/birds", "owner/birds", "dataset"),
        ("owner/birds/versions/3", "owner/birds/versions/3", "dataset"),
        ("https://www.kaggle.com/owner/birds", "owner/birds", "dataset"),
        ("https://www.kaggle.com/datasets/owner/birds?select=a.csv", "owner/birds", "dataset"),
        ("kaggle.com/datasets/owner/birds/data#about", "owner/birds", "dataset"),
        ("https://www.kaggle.com/datasets/owner/birds/versions/3", "owner/birds/versions/3", "dataset"),
        ("http://kaggle.com/c/birdclef-2026/overview", "birdclef-2026", "competition"),
        (" https://www.kaggle.com/competitions/birdclef-2026/data?x=1#y ", "birdclef-2026", "competition"),
        ("https://www.kaggle.com/code/owner/a-notebook/input", "owner/a-notebook", "notebook"),
        ("https://www.kaggle.com/code/owner/a-notebook?scriptVersionId=1", "owner/a-notebook", "notebook"),
    ],
)
def test_every_url_of_a_page_is_parsed(url: str, name: str, kind: str) -> None:
    source = parse_url(url)
    assert (source.name, source.kind) == (name, kind)


def test_the_data_set_of_a_notebook_is_found() -> None:
    assert find_source("https://www.kaggle.com/code/owner/one/input") == KaggleSource("owner/birds", "dataset")
    with pytest.raises(InputError, match="this is a notebook, .* it uses owner/birds, birdclef-2026. Name one"):
        find_source("https://www.kaggle.com/code/owner/two")
    with pytest.raises(InputError, match="it uses none"):
        find_source("https://www.kaggle.com/code/owner/none")


def test_a_notebook_without_a_login_or_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_KEY", "wrong-secret")
    with pytest.raises(DownloadError, match="Make a token .* This is the URL of a notebook: open it") as refused:
        find_source("https://www.kaggle.com/code/owner/one/input")
    assert "wrong-secret" not in str(refused.value)
    monkeypatch.setattr(kagglehub.clients, "get_user_agent", lambda: "kagglehub")  # it reads the whole stack's sources
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.QA, "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match="choose its tab Input, and give the URL of the data set"):
        find_source("https://www.kaggle.com/code/owner/one/input")
