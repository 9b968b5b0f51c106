"""The pages, as they are without scripts: a recording in, its birds out; names are text, and errors help."""

from __future__ import annotations

import html as html_module
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import httpx2 as httpx
from fastapi.routing import APIRoute
from sqlalchemy import update
from starlette.routing import BaseRoute, Match
from tests.fixtures.long_recordings import store_long_recording
from tests.fixtures.server import Serve, running_service

from dawnchorus.models.bundle import Bundle
from dawnchorus.models.store import ModelStore
from dawnchorus.server.http.app import create_app
from dawnchorus.server.http.auth import find_role
from dawnchorus.server.settings import Role, Settings
from dawnchorus.server.state.tables import CatalogModel, DetectionRow, Identification, Job, ModelActivation

PAGES = ("/", "/recordings", "/detections", "/review", "/training", "/models", "/overview", "/system", "/docs")


def test_recording_page_has_spectrograms_audio_and_table(
    dawn: Path, birdnet: Bundle, store: ModelStore, serve: Serve
) -> None:
    del birdnet  # it is made
    client = serve(models_folder=store.folder)
    home = client.get("/")
    assert "Identify birds in recordings" in home.text
    assert "default-src 'self'" in home.headers["content-security-policy"]
    assert "unsafe" not in home.headers["content-security-policy"]
    name = f'"my" <script>.wav {dawn.name}'
    reply = client.post("/", files={"audio": (name, dawn.read_bytes())}, follow_redirects=True)
    assert reply.status_code == 200, reply.text[:2000]
    assert "Common Cuckoo" in reply.text
    assert '<i lang="la">Cuculus canorus</i>' in reply.text
    assert f'{dawn.name}.selections.txt">Raven table</a>' in reply.text, "Raven opens it"
    assert "1 May 2026, 03:45" in reply.text
    for page in (reply.text, client.get("/recordings").text, client.get("/detections").text, client.get("/").text):
        assert "<script>." not in page
        assert "&lt;script&gt;.wav" in page
    plots = re.findall(r'src="(/api/v1/[^"]+/spectrogram[^"]*)"', reply.text)
    recordings = re.findall(r'src="(/api/v1/[^"]+/audio)"', reply.text)
    assert (len(plots), len(recordings)) == (2, 1), "the first minute, the best detection, the file"
    assert all(client.get(path.replace("&amp;", "&")).content.startswith(b"\x89PNG") for path in plots)
    assert all(client.get(path).headers["content-type"] in ("audio/mpeg", "audio/wav") for path in recordings)
    rows = client.post("/api/v1/identify?merge=true", content=dawn.read_bytes()).json()["detections"]
    assert reply.text.count("data-detection=") == min(len(rows), 50)
    for page in PAGES:
        assert client.get(page).status_code == 200, page
    review = client.get("/review").text
    assert "Common Cuckoo" in review
    link = r'href="/recordings/\w{64}\?d=\d+&amp;t=\d+\.\d{3}"><bdi>[^<]*&lt;script&gt;'
    assert re.search(link, review), "the clip in its recording"
    assert "1 May 2026, 03:45" in review
    assert "Common Cuckoo" in client.get("/overview").text
    assert "Common Cuckoo" not in client.get("/detections?species=tit&min_score=0.5").text
    assert (
        "Great Tit" in client.get("/detections?species=tit&min_score=0.5&recorded_from=2026-05-01&reviewed=false").text
    )
    assert "match these filters" in client.get("/detections?reviewed=true").text
    assert "Great Tit</a>" in client.get("/detections?species=Great Titt").text, "the nearest name"
    assert client.get("/history").headers["location"] == "/detections"


def test_what_does_not_work_is_said_on_the_page(level_bundle: Bundle, serve: Serve, tmp_path: Path) -> None:
    client = serve(model=level_bundle.folder)
    for files, status, message in (
        ({"audio": ("x.wav", b"nothing")}, 422, "x.wav: not a sound file"),
        ({"other": ("x.wav", b"nothing")}, 400, "expected a file in the field"),
        ({"audio": ("x.wav", b"")}, 422, "x.wav: the file is empty (0 bytes)"),
    ):
        reply = client.post("/", files=files)
        assert reply.status_code == status
        assert 'role="alert"' in reply.text
        assert message in reply.text
        assert str(tmp_path) not in reply.text
    for page in PAGES:
        assert client.get(page).status_code == 200, page
    assert client.get("/static/style.css").headers["content-type"].startswith("text/css")
    script = client.get("/static/page.js")
    assert "javascript" in script.headers["content-type"]
    tag = {"If-None-Match": script.headers["etag"]}
    assert client.get("/static/page.js", headers=tag).status_code == 304
    assert client.get("/static/charts.js", headers=tag).status_code == 200
    assert client.get("/static/..%2fapp.py").status_code == 404
    assert client.get("/static/app.py").status_code == 404


def test_login_grants_the_role_of_its_token(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    tokens = {"the-operators-one": Role.ADMIN, "one-for-identifying": Role.IDENTIFY}
    client = serve(model=level_bundle.folder, tokens=tokens)
    client.headers["Accept"] = "text/html"
    assert client.get("/").headers["location"] == "/login"
    assert client.get("/login").status_code == 200
    assert client.post("/login", data={"token": "a-wrong-one"}).status_code == 401
    reply = client.post("/login", data={"token": "one-for-identifying"})
    assert reply.headers["location"] == "/"
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "one-for" not in cookie
    csrf = re.search(r'data-csrf="(\w+)"', client.get("/").text)
    assert csrf is not None
    again = client.post("/login", data={"token": "one-for-identifying"})
    assert again.status_code == 303, "from a page that was loaded before"
    csrf = re.search(r'data-csrf="(\w+)"', client.get("/").text)
    assert csrf is not None
    audio = {"audio": (tone.name, tone.read_bytes())}
    assert client.post("/", files=audio).status_code == 403, "without the form's own field"
    assert client.post("/", files=audio, data={"csrf": "wrong"}).status_code == 403
    assert client.post("/", files=audio, data={"csrf": csrf[1]}).status_code == 303
    assert client.post("/api/predict", files=audio).status_code == 403
    assert client.post("/api/predict", files=audio, headers={"X-CSRF-Token": csrf[1]}).status_code == 200
    refused = client.post("/api/v1/retrain", headers={"X-CSRF-Token": csrf[1]})
    assert refused.status_code == 403
    assert "role 'train'" in refused.json()["detail"]
    assert client.post("/logout", data={"csrf": csrf[1]}).headers["location"] == "/login"
    assert client.get("/").headers["location"] == "/login"


def test_login_leads_to_the_page_that_was_asked_for(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder, tokens={"the-operators-one": Role.ADMIN})
    client.headers["Accept"] = "text/html"
    location = client.get("/recordings?name=a%26b").headers["location"]
    assert location == "/login?next=%2Frecordings%3Fname%3Da%2526b"
    (asked,) = re.findall(r'name="next" value="([^"]+)"', client.get(location).text)
    wrong = client.post("/login", data={"token": "a-wrong-one", "next": asked})
    assert f'name="next" value="{asked}"' in wrong.text
    reply = client.post("/login", data={"token": " the-operators-one\n", "next": asked})
    assert reply.headers["location"] == "/recordings?name=a%26b"
    for other in ("//example.org", "/\\example.org", "https://example.org", "/\t/example.org", ""):
        reply = client.post("/login", data={"token": "the-operators-one", "next": other})
        assert reply.headers["location"] == "/", other
        assert "example.org" not in client.get("/login", params={"next": other}).text


def test_repeated_wrong_tokens_are_rate_limited(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder, tokens={"the-operators-one": Role.ADMIN})
    replies = [client.get("/api/health", headers={"Authorization": f"Bearer guess-{k}"}) for k in range(100)]
    assert [reply.status_code for reply in replies[:20]] == [401] * 20
    statuses = [reply.status_code for reply in replies[20:]]
    assert set(statuses) <= {401, 429}
    assert statuses.count(429) > 40, "a guess is listened to every three seconds"
    waits = [int(reply.headers["retry-after"]) for reply in replies if reply.status_code == 429]
    assert set(waits) <= {1, 2, 3}
    cookie = {"Cookie": f"dawnchorus_session={'0' * 64}"}
    assert 429 in {client.get("/api/health", headers=cookie).status_code for _ in range(5)}, "by the cookie either"
    assert client.get("/api/health", headers={"Authorization": "Bearer the-operators-one"}).status_code == 200
    assert client.get("/api/v1/health/live").status_code == 200


def cross_site(client: httpx.Client, headers: dict[str, str], tone: Path) -> int:
    return client.post("/api/predict", content=tone.read_bytes(), headers=headers).status_code


def test_a_page_of_another_origin_is_refused_whatever_it_says(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    own = str(client.base_url).rstrip("/")
    assert cross_site(client, {"Origin": own}, tone) == 200
    assert cross_site(client, {"Origin": "https://evil.example.org"}, tone) == 403
    assert cross_site(client, {"Origin": "null"}, tone) == 403
    assert cross_site(client, {"Origin": "https://evil.example.org", "Sec-Fetch-Site": "same-origin"}, tone) == 403


def test_recording_page_has_as_many_elements_for_any_length(level_bundle: Bundle, tmp_path: Path, dawn: Path) -> None:
    sizes = []
    with running_service(Settings(model=level_bundle.folder, data=tmp_path / "server")) as (client, service):
        for k, (duration_s, n) in enumerate(((90, 60), (86_400, 300))):
            path = tmp_path / f"{k} {dawn.name}"
            path.write_bytes(dawn.read_bytes() + bytes([k]))
            page = f"/recordings/{store_long_recording(service, path, duration_s=duration_s, n_detections=n)}"
            sizes.append(len(re.findall(r"<\w", client.get(page).text)))
        assert max(sizes) < min(sizes[0] * 1.2, 1500)
        # every detection is in one page of the table, and links lead to it
        seen: list[str] = []
        following: str | None = ""
        while following is not None:
            text = client.get(f"{page}?order=score&{following}").text
            seen += re.findall(r'data-detection="(\d+)"', text)
            match = re.search(r'href="\?([^"]+)#detections">Next 50', text)
            following = match and match[1].replace("&amp;", "&").replace("order=score&", "")
        assert len(seen) == len(set(seen)) == n
        later = re.search(r'href="(\?[^"]+)">Later minute', client.get(page).text)
        assert later is not None
        plain = client.get(page + later[1].replace("&amp;", "&")).text
        assert "start_s=60.0&amp;end_s=120.0" in plain
        assert "Earlier minute" in plain
        shown = client.get(f"{page}?t=43200&species=number+3&min_score=0.5").text
        assert re.search(r"data-selected>Bird Number 3\d?, 16:00:", shown) or "data-selected>none" in shown
        assert 'data-t="43200.0"' in shown
        selected = client.get(f"{page}?d={seen[-1]}").text
        assert f'data-d="{seen[-1]}"' in selected
        assert "d: there is no detection 999999" in client.get(f"{page}?d=999999").text
        assert "t: Input should be a valid number" in client.get(f"{page}?t=later").text
        assert "Clear filters" in client.get(f"{page}?species=nobody").text
        assert client.get(f"{page}?order=score&after={seen[-1]}").status_code == 200, "there is no page behind the last"


NOT_FOR_READERS = re.compile(
    r"\b\w+_(s|hz|db)\b|\+json|/api/|sha256|=true|\b[0-9a-f]{12,}\b"
    r"|\b(Retrain|Activate|Roll back|Card|lanes|serves|heard)\b"
)
"""Words of the API, ids, and words of earlier pages."""


def test_pages_show_zone_location_and_unexpected_species(level_bundle: Bundle, tmp_path: Path, tone: Path) -> None:
    with running_service(Settings(model=level_bundle.folder, data=tmp_path / "server")) as (client, service):
        audio = {"audio": ("SITE7_20260512T040000+0200.wav", tone.read_bytes())}
        client.post("/api/v1/identify?store=true&min_score=0.05&merge=true", files=audio).raise_for_status()
        client.post("/api/v1/identify?store=true", files={"audio": ("failed.wav", b"no sound")})
        with service.database.write() as session:
            session.execute(update(DetectionRow).where(DetectionRow.common_name == "Loud Bird").values(in_range=False))
            session.execute(update(Identification).values(latitude=60.169856, longitude=24.938379))
        recording = f"/recordings/{client.get('/api/v1/detections').json()['detections'][0]['recording']}"
        text = client.get(recording).text
        assert "12 May 2026, 04:00 UTC+2" in text
        assert "60.17° N, 24.94° E · week 18 · level 1" in text
        assert '<a href="#species-table">1 species unexpected here</a>' in text
        badge = '<span class="badge">unexpected here</span>'
        assert f"Avis magna</i> {badge}" in text, "in the table of species"
        assert f"Avis magna</i></span> {badge}" in text, "in that of detections"
        assert "Delete “SITE7_20260512T040000+0200.wav”, 2 detections and 0 answers? This cannot be undone." in text
        for path in ("/", "/recordings", "/detections"):
            assert client.get(path).text.count("unexpected here") == 1, path
        number = client.get("/api/v1/detections?species=Loud").json()["detections"][0]["id"]
        assert f"<span data-unexpected> {badge}</span>" in client.get(f"/review?d={number}").text
        for path in (recording, *PAGES):
            html = client.get(path).text
            assert "<meter" not in html
            if path not in ("/docs", "/models"):  # the API's own page, and models whose ids are in tables
                words = html_module.unescape(re.sub(r"<(noscript|script).*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL))
                assert not NOT_FOR_READERS.search(words), f"{path}: {NOT_FOR_READERS.search(words)}"
        job = client.post(f"/api/v1{recording}/identify").json()["id"]
        assert "SITE7_20260512T040000+0200.wav" in client.get(f"/jobs/{job}").text
        assert job[:8] not in re.sub("<[^>]+>", "", client.get("/system").text)


def test_a_new_model_is_compared_and_chosen_in_plain_words(level_bundle: Bundle, tmp_path: Path) -> None:
    precision = {"common_name": "New Bird", "active_average_precision": None, "new_average_precision": 0.9}
    predictions = {"active_prediction": None, "new_prediction": {"species": "New Bird", "score": 0.9}}
    recording = {"name": "a.wav", "scientific_name": "Avis nova", "active_is_correct": False, "new_is_correct": True}
    report = {
        "n_held_out": 8,
        "n_training_overlap": 0,
        "average_precision": {"new": 0.9, "active": 0.8},
        "species": [precision | {"n_train_recordings": 6, "n_held_out": 2}],
        "recordings": [recording | predictions],
    }
    result = {"report": report, "is_promoted": False, "meets_promotion_rule": False, "reasons": ["too few recordings"]}
    new = {"bundle_id": "0" * 12, "name": "level with New Bird", "family": "head", "n_classes": 4, "report": result}
    with running_service(Settings(model=level_bundle.folder, data=tmp_path / "server")) as (client, service):
        with service.database.write() as session:
            session.add(CatalogModel(**new, storage_key="x", source="retrained"))
            session.flush()
            session.add_all(ModelActivation(bundle_id=each, reason="by hand") for each in ("0" * 12, level_bundle.id))
            job = {"id": "1" * 32, "kind": "retrain", "status": "done", "parameters": {}}
            session.add(Job(**job, result=result | {"bundle_id": "0" * 12}))
        training, models = client.get("/training").text, client.get("/models").text
    assert "<strong>The new model is not in use:</strong> too few recordings." in training
    assert "<td>not in this model</td><td>0.900</td>" in training
    for text in (training, models):
        assert "Use this model" in text
        assert "Go back to level with New Bird (previous model)" in text
    assert "Average precision on 8 recordings held out for testing: 0.900; of the model before it: 0.800." in models
    for words in ('<strong class="badge">in use</strong>', "· installed ", "· trained here ", "Model card"):
        assert words in models, words


ACTIONS = {
    "data-cancel": ("POST", f"/api/v1/jobs/{'1' * 32}/cancel"),
    "data-retrain": ("POST", "/api/v1/retrain"),
    "data-training-data": ("POST", "/api/v1/training-data"),
    'data-action="delete"': ("POST", "/api/v1/recordings/delete"),
    'data-action="identify"': ("POST", f"/api/v1/recordings/{'0' * 64}/identify"),
}
"""Requests of buttons and forms whose addresses are in scripts."""


def actions(html: str) -> set[tuple[str, str]]:
    """Return method and path of the requests that the buttons and forms of a page send."""
    sent = {request for mark, request in ACTIONS.items() if mark in html}
    sent |= {("POST", path) for path in re.findall(r'data-post="([^"]+)"', html)}
    sent |= {("DELETE", path) for path in re.findall(r'data-delete="([^"]+)"', html)}
    return sent | {("POST", path) for path in re.findall(r'method="post" action="([^"]+)"', html)}


def api_routes(routes: Iterable[BaseRoute]) -> Iterator[APIRoute]:
    for route in routes:
        yield from api_routes(getattr(getattr(route, "original_router", None), "routes", ()))
        if isinstance(route, APIRoute):
            yield route


def role_of(routes: Iterable[APIRoute], method: str, path: str) -> Role:
    """Return the role that a request needs."""
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    role = find_role(next(each for each in routes if each.matches(scope)[0] is Match.FULL))
    assert role is not None
    return role.role


def test_pages_have_the_buttons_of_a_role_and_no_others(level_bundle: Bundle, tmp_path: Path, dawn: Path) -> None:
    tokens = {f"the-token-of-{role.name.lower()}": role for role in (Role.IDENTIFY, Role.TRAIN, Role.ADMIN)}
    settings = Settings(model=level_bundle.folder, data=tmp_path / "server", tokens=tokens)
    path = tmp_path / "x.wav"
    path.write_bytes(dawn.read_bytes())
    with running_service(settings) as (client, service):
        sha256 = store_long_recording(service, path, duration_s=30, n_detections=3)
        new = {"bundle_id": "0" * 12, "name": "another", "family": "head", "n_classes": 4, "storage_key": "x"}
        with service.database.write() as session:
            session.add(CatalogModel(**new, source="retrained"))
            session.flush()
            session.add_all(ModelActivation(bundle_id=each, reason="by hand") for each in ("0" * 12, level_bundle.id))
            ended = {"kind": "retrain", "parameters": {}, "status": "cancelled"}
            session.add_all([Job(id="1" * 32, **ended), Job(id="2" * 32, **ended | {"status": "running"})])
        pages = *PAGES[:-1], f"/recordings/{sha256}", f"/jobs/{'1' * 32}", f"/jobs/{'2' * 32}"
        seen: dict[Role, dict[str, set[tuple[str, str]]]] = {}
        for token, role in tokens.items():
            headers = {"Authorization": f"Bearer {token}"}
            texts = {page: client.get(page, headers=headers).raise_for_status().text for page in pages}
            seen[role] = {page: actions(text) for page, text in texts.items()}
        routes = list(api_routes(create_app(service).routes))
    for role, by_page in seen.items():
        for page, sent in by_page.items():
            allowed = {each for each in seen[Role.ADMIN][page] if role_of(routes, *each) <= role}
            assert sent == allowed, f"{page} for {role.name}"
    everything = set.union(*seen[Role.ADMIN].values())
    assert {("POST", "/review"), ("POST", "/review/undo"), ("DELETE", f"/api/v1/recordings/{sha256}")} < everything
    assert set(ACTIONS.values()) < everything
