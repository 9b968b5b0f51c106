"""Detections of a recording by range, and their numbers by column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.fixtures.server import Serve
from tests.fixtures.uploads import store_samples

from dawnchorus.models.bundle import Bundle


def test_every_detection_is_in_one_page_of_either_order_and_counted(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder)
    levels = np.repeat(np.linspace(0.05, 0.9, 10), 3 * 8_000)
    base = store_samples(client, levels, 8_000)
    every = client.get(f"{base}/detections").json()["detections"]
    for order in ("start", "score"):
        seen: list[dict[str, Any]] = []
        has_more = True
        while has_more:
            after = f"&after={seen[-1]['id']}" if seen else ""
            page = client.get(f"{base}/timeline?limit=3&order={order}{after}").json()
            seen += page["detections"]
            has_more = page["has_more"]
        assert sorted(each["id"] for each in seen) == sorted(each["id"] for each in every)
        assert seen == sorted(seen, key=lambda each: each["start_s"] if order == "start" else -each["score"])
        before = client.get(f"{base}/timeline?limit=2&order={order}&before={seen[5]['id']}").json()
        assert before == {"detections": seen[3:5], "has_more": True}
    inside = client.get(f"{base}/timeline?start_s=6.5&end_s=9.5").json()["detections"]
    assert [each["id"] for each in inside] == [
        each["id"] for each in every if each["end_s"] > 6.5 and each["start_s"] < 9.5
    ]
    path = f"/api/v1/detections/{seen[0]['id']}/review"
    assert client.put(path, json={"verdict": "relabeled", "species": seen[0]["scientific_name"]}).status_code == 200
    (reviewed,) = client.get(f"{base}/timeline?reviewed=true").json()["detections"]
    assert (reviewed["id"], reviewed["review"]["verdict"]) == (seen[0]["id"], "correct"), "its own name is no other one"
    assert len(client.get(f"{base}/timeline?reviewed=false").json()["detections"]) == len(every) - 1
    assert len(client.get(f"{base}/timeline?reviewed=&after=").json()["detections"]) == len(every), "no filter"
    assert client.get(f"{base}/activity?reviewed=").json()["n_detections"] == len(every)
    assert client.get(f"{base}/timeline?reviewed=unsure").json()["detections"] == []
    assert client.get(f"{base}/timeline?reviewed=maybe").status_code == 422
    assert client.get(f"{base}/timeline?min_score=0.999&species=loud").json()["detections"] == []
    assert client.get(f"{base}/timeline?after=1&before=2").status_code == 400
    assert client.get(f"{base}/timeline?after=999").status_code == 404
    assert client.get(base.replace(base[-64:], "f" * 64) + "/timeline").status_code == 404
    activity = client.get(f"{base}/activity?columns=5").json()
    assert (activity["start_s"], activity["end_s"], activity["n_detections"]) == (0, 30, len(every))
    for species in activity["species"]:
        mine = [each for each in every if each["scientific_name"] == species["scientific_name"]]
        assert species["n_detections"] == len(mine)
        for column, n, best in species["columns"]:
            start_s = 6 * column
            scores = [each["score"] for each in mine if each["start_s"] < start_s + 6 and each["end_s"] > start_s]
            assert (n, best) == (len(scores), pytest.approx(max(scores), abs=1e-3))
    assert client.get(f"{base}/activity?start_s=40").status_code == 400
    # from its start to its end, also where columns are shorter than a detection, which is counted once
    (species,) = client.get(f"{base}/activity?end_s=1&columns=4&species=loud").json()["species"]
    assert [(column, n) for column, n, _ in species["columns"]] == [(0, 1), (1, 1), (2, 1), (3, 1)]
    assert species["n_detections"] == 1
