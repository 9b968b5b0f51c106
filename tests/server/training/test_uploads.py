"""Uploads of training data: labels, tables and folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.server import Serve
from tests.fixtures.uploads import make_audio, packed, upload

from dawnchorus.models.bundle import Bundle
from dawnchorus.server.training.labels import NO_SPECIES


def test_labels_come_from_the_form_the_folder_a_zip_or_a_table(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder)
    assert upload(client, ("a.wav", make_audio(0.1)), ("b.wav", make_audio(0.2)), species="loud bird") == {
        "a.wav": ("accepted", "Loud Bird"),
        "b.wav": ("accepted", "Loud Bird"),
    }
    assert upload(client, ("birds/Avis parva_Quiet Bird/c.wav", make_audio(0.3))) == {
        "birds/Avis parva_Quiet Bird/c.wav": ("accepted", "Quiet Bird")
    }
    assert upload(client, ("noise/n.wav", make_audio(0.01))) == {"noise/n.wav": ("accepted", "no species")}
    bundle = packed(
        {
            "set/Avis nova_New Bird/d.wav": make_audio(0.4),
            "set/noise/e.wav": make_audio(0.5),
            "set/readme.txt": b"hello",
        }
    )
    assert upload(client, ("set.zip", bundle), new_class="yes") == {
        "set/Avis nova_New Bird/d.wav": ("accepted", "New Bird"),
        "set/noise/e.wav": ("accepted", "no species"),
        "set/readme.txt": ("rejected", None),
    }
    table = b"filename,primary_label,scientific_name,common_name\nf.wav,x,Avis magna,Loud Bird\n"
    assert upload(client, ("f.wav", make_audio(0.6)), ("labels.csv", table)) == {"f.wav": ("accepted", "Loud Bird")}
    balance = {row["common_name"]: row["n_recordings"] for row in client.get("/api/v1/training-data").json()["species"]}
    assert balance == {"Loud Bird": 3, "Quiet Bird": 1, "New Bird": 1, "no species, or unknown": 2}


def test_a_csv_in_a_zip_and_nested_folders_are_read_and_the_rest_is_said(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder)
    table = b"filename,scientific_name,wind\na.wav,Avis magna,3\nset/more/b.wav,Avis parva\nc.wav,Avis magna\n"
    files_by_name = {
        "set/a.wav": make_audio(0.1),
        "set/more/b.wav": make_audio(0.2),
        "set/more/deep/d.wav": make_audio(0.3),
    }
    reply = client.post(
        "/api/v1/training-data",
        files={"audio": ("set.zip", packed({**files_by_name, "set/labels.csv": table, "set/x.zip": b"PK"}))},
    )
    outcomes = {each["name"]: each for each in reply.json()["files"]}
    assert {name: (each["status"], each["species"]) for name, each in outcomes.items()} == {
        "set/a.wav": ("accepted", "Loud Bird"),
        "set/more/b.wav": ("accepted", "Quiet Bird"),
        "set/c.wav": ("rejected", None),
        "set/more/deep/d.wav": ("rejected", None),
        "set/x.zip": ("rejected", None),
    }
    assert outcomes["set/more/deep/d.wav"]["reason"] == "the csv does not name it"
    unread, untimed = reply.json()["notes"]
    assert unread == "the csv: columns that are not read: wind (as '3')."
    assert untimed.startswith("no time found for 2 of 2 recordings, as set/a.wav: ")
    assert outcomes["set/x.zip"]["reason"].startswith("a zip in a zip is not unpacked")
    nested = {
        "2024/site/Loud Bird/e.wav": make_audio(0.4),
        "2024/Quiet Bird/f.wav": make_audio(0.5),
        "notes.csv": b"day,rain\n1,2\n",
        "readme.txt": b"x",
        "2024/g.wav.part": b"x",
        "2024/._e.wav": b"x",
        ".DS_Store": b"x",
    }
    assert upload(client, ("nested.zip", packed(nested))) == {
        "2024/site/Loud Bird/e.wav": ("accepted", "Loud Bird"),
        "2024/Quiet Bird/f.wav": ("accepted", "Quiet Bird"),
        "notes.csv": ("rejected", None),
        "readme.txt": ("rejected", None),
        "2024/g.wav.part": ("rejected", None),
        "2024/._e.wav": ("rejected", None),
    }
    other = packed(
        {"Quiet Bird/o.wav": make_audio(0.55), "labels.csv": b"filename,species\nQuiet Bird/o.wav,Avis magna\n"}
    )
    reply = client.post("/api/v1/training-data", files={"audio": ("other.zip", other)}).json()
    assert "in a folder of another species than the table names: 1 (Quiet Bird/o.wav as Avis magna)" in str(
        reply["notes"]
    )
    reviewed = {"Quiet Bird/Positive/g.wav": make_audio(0.6), "Quiet Bird/Negative/h.wav": make_audio(0.7)}
    reviewed |= {"rejected/Quiet Bird7.wav": make_audio(0.8), "Quiet Bird/unsure/Quiet Bird8.wav": make_audio(0.9)}
    reply = client.post("/api/v1/training-data", files={"audio": ("reviewed.zip", packed(reviewed))}).json()["files"]
    assert [(each["species"], each["reason"]) for each in sorted(reply, key=lambda each: each["name"])][:3] == [
        ("no species", "it is without Quiet Bird"),
        ("Quiet Bird", None),
        (None, NO_SPECIES),
    ]
    assert [each["reason"] for each in reply if each["name"].startswith("rejected")] == ["it is without Quiet Bird"]


def test_upload_rejects_one_recording_with_two_species(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder)
    members = {
        "Loud Bird/a.wav": make_audio(0.1),
        "Quiet Bird/b.wav": make_audio(0.1),
        "Quiet Bird/c.wav": make_audio(0.2),
    }
    members |= {"Avis magna/d.wav": make_audio(0.3), "Loud Bird/d.wav": make_audio(0.3)}
    reply = client.post("/api/v1/training-data", files={"audio": ("x.zip", packed(members))}).json()["files"]
    assert sorted((each["name"], each["status"]) for each in reply) == [
        *(("Avis magna/d.wav", "accepted"), ("Loud Bird/a.wav", "rejected"), ("Loud Bird/d.wav", "duplicate")),
        *(("Quiet Bird/b.wav", "rejected"), ("Quiet Bird/c.wav", "accepted")),
    ]
    said = "the same audio has several labels: Loud Bird/a.wav as Loud Bird, Quiet Bird/b.wav as Quiet Bird."
    assert all(each["reason"].startswith(said) for each in reply if each["status"] == "rejected")


def test_a_flat_file_is_labeled_by_a_known_species_and_a_number_in_its_name(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder)
    names = ("Loud Bird1.wav", "quiet_bird_12.WAV", "Avis magna (3).wav", "recording7.wav", "Lod Bird2.wav")
    outcome = upload(client, *((name, make_audio(0.1 + 0.01 * k)) for k, name in enumerate(names)))
    expected = dict(zip(names, ("Loud Bird", "Quiet Bird", "Loud Bird", None, None), strict=True))
    assert {name: species for name, (_, species) in outcome.items()} == expected
    reply = client.post("/api/v1/training-data", files={"files": ("recording7.wav", make_audio(0.2))})
    assert reply.status_code == 422
    assert "names its species" in reply.json()["detail"]
    # a folder that names no class, as when a whole folder is sent, and a zip of flat files
    assert upload(client, ("retrain_data/Loud Bird4.wav", make_audio(0.21))) == {
        "retrain_data/Loud Bird4.wav": ("accepted", "Loud Bird")
    }
    members = {
        "Loud Bird5.wav": make_audio(0.22),
        "retrain_data/Quiet Bird6.wav": make_audio(0.23),
        "some.wav": make_audio(0.24),
    }
    for consent, level in (({}, 0.0), ({"new_class": "yes"}, 0.1)):
        members = {name: make_audio(0.22 + level + 0.01 * k) for k, name in enumerate(members)}
        assert upload(client, ("flat.zip", packed(members)), **consent) == {
            "Loud Bird5.wav": ("accepted", "Loud Bird"),
            "retrain_data/Quiet Bird6.wav": ("accepted", "retrain data" if consent else "Quiet Bird"),
            "some.wav": ("rejected", None),
        }
    # what is said of a file counts more than its name
    assert (
        upload(client, ("Loud Bird7.wav", make_audio(0.4)), species="Quiet Bird")["Loud Bird7.wav"][1] == "Quiet Bird"
    )
    assert (
        upload(client, ("Loud Bird8.wav", make_audio(0.41)), species="Unheard Bird")["Loud Bird8.wav"][0] == "rejected"
    )
    nobody = {"files": {"audio": ("Loud Bird8.wav", make_audio(0.41))}, "data": {"species": "Unknown Bird"}}
    assert client.post("/api/v1/training-data", **nobody).status_code == 400
    assert upload(client, ("noise/Loud Bird9.wav", make_audio(0.42)))["noise/Loud Bird9.wav"] == (
        "accepted",
        "no species",
    )
    assert upload(client, ("Quiet Bird/Loud Bird9.wav", make_audio(0.43)))["Quiet Bird/Loud Bird9.wav"] == (
        "accepted",
        "Quiet Bird",
    )


def test_contradicting_labels_are_counted_and_named(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder)

    def note(*names: str, species: str = "", table: bytes = b"") -> list[str]:
        files = [(name, make_audio(0.1 + 0.01 * k)) for k, name in enumerate(names)]
        files += [("labels.csv", table)] if table else []
        sent = [("audio", file) for file in files]
        notes = client.post("/api/v1/training-data", files=sent, data={"species": species}).json()["notes"]
        return [note for note in notes if "contradicting" in note]

    assert note("Quiet Bird12.wav", "a.wav", "x/Loud Bird1.wav", species="Loud Bird") == [
        "1 of 3 files have contradicting labels: Quiet Bird12.wav is labeled Loud Bird, and its name says Quiet Bird. "
        "Check them."
    ]
    assert "is labeled Loud Bird, and its folder says Quiet Bird" in note("Quiet Bird/a.wav", species="Loud Bird")[0]
    table = b"filename,scientific_name\na.wav,Avis magna\nb.wav,Avis parva\n"
    (other,) = note("a.wav", "b.wav", species="Avis magna_Loud Bird", table=table)
    assert other.startswith(
        "1 of 2 files have contradicting labels: b.wav is labeled Avis parva, and the field species"
    )
    assert note("noise/a.wav", "Quiet Bird/Quiet Bird1.wav") == note("a.wav", species="noise") == []
    table = b"filename,scientific_name\na.wav,nocall\n"
    assert note("a.wav", species="noise", table=table) == []


def test_upload_rejects_unusable_files_and_accepts_the_rest(level_bundle: Bundle, serve: Serve, tmp_path: Path) -> None:
    client = serve(model=level_bundle.folder)
    outcome = upload(client, ("bad.wav", b"RIFF no"), ("good.wav", make_audio()), species="Loud Bird")
    assert outcome == {"bad.wav": ("rejected", None), "good.wav": ("accepted", "Loud Bird")}
    outcome = upload(
        client,
        ("x.txt", b"hello"),
        ("nobody.wav", make_audio(0.7)),
        ("loud bird/s.wav", make_audio(0.71)),
        ("Avis parva/s.wav", make_audio(0.72)),
    )
    assert outcome == {
        "x.txt": ("rejected", None),
        "nobody.wav": ("rejected", None),
        "loud bird/s.wav": ("accepted", "Loud Bird"),
        "Avis parva/s.wav": ("accepted", "Quiet Bird"),
    }
    assert client.get("/api/v1/training-data").json()["total"] == 3, "two files of one name are two lessons"
    negative = upload(
        client, ("-Avis magna_Loud Bird/n.wav", make_audio(0.73)), ("Avis magna,Avis parva/two.wav", make_audio(0.74))
    )
    assert negative == {
        "-Avis magna_Loud Bird/n.wav": ("accepted", "no species"),
        "Avis magna,Avis parva/two.wav": ("rejected", None),
    }
    for files, status, message in (
        ([], 400, "multipart/form-data"),
        ([("audio", ("x.zip", b"PK no zip"))], 400, "expected a zip of recordings"),
        ([("species", ("", b"x"))], 400, "got none"),
    ):
        reply = client.post("/api/v1/training-data", files=files)
        assert reply.status_code == status, reply.text
        assert message in reply.json()["detail"]
        assert str(tmp_path) not in reply.text
    reply = client.post(
        "/api/v1/training-data", files={"audio": ("x.wav", make_audio(0.9))}, data={"species": "x" * 1000}
    )
    assert reply.status_code == 400
    reply = client.post("/api/upload_bulk", files={"audio": ("bad.wav", b"no")})
    assert (reply.status_code, reply.json()["failed"], reply.json()["skipped_count"]) == (422, 1, 1)
    assert reply.json()["error"].startswith("no file was accepted: bad.wav: ")
    (spool,) = (tmp_path / "server").glob("spool-*/")
    assert not list(spool.iterdir())


def test_upload_returns_unknown_names_and_accepts_the_rest(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder)

    def send(**texts: str) -> dict[str, Any]:
        members = {"Loud Bird/a.wav": 0.1, "Avis mgna/b.wav": 0.2, "-Quiet Brd/c.wav": 0.3, "Xy/d.wav": 0.4}
        files = [("audio", (name, make_audio(level))) for name, level in members.items()]
        reply = client.post("/api/v1/training-data", files=files, data=texts)
        assert reply.status_code == 200, reply.text
        return {each["name"].rpartition("/")[2]: each for each in reply.json()["files"]}

    answer = send()
    assert {name: each["status"] for name, each in answer.items()} == {
        "a.wav": "accepted",
        "b.wav": "rejected",
        "c.wav": "rejected",
        "d.wav": "rejected",
    }
    assert {name: each["suggestions"] for name, each in answer.items()} == {
        "a.wav": None,
        "b.wav": ["Avis magna_Loud Bird"],
        "c.wav": ["Avis parva_Quiet Bird"],
        "d.wav": [],
    }
    assert "'Avis mgna': no such class. Did you mean Avis magna (Loud Bird)?" in answer["b.wav"]["reason"]
    assert client.get("/api/v1/training-data").json()["total"] == 1
    bulk = client.post("/api/upload_bulk", files={"audio": ("Avis mgna/b.wav", make_audio(0.2))}).json()
    assert (bulk["uploaded"], bulk["failed"]) == (0, 1)
    assert bulk["files"][0]["suggestions"] == ["Avis magna_Loud Bird"]
    again = send(new_class="yes")
    assert {name: each["species"] for name, each in again.items()} == {
        "a.wav": "Loud Bird",
        "b.wav": "Avis mgna",
        "c.wav": "no species",
        "d.wav": "Xy",
    }
    # what was taught once is known from then on
    assert upload(client, ("e.wav", make_audio(0.5)), species="xY") == {"e.wav": ("accepted", "Xy")}
    wrong = client.post(
        "/api/v1/training-data", files={"audio": ("x.wav", make_audio())}, data={"new_class": "perhaps"}
    )
    assert wrong.status_code == 400
    assert "new_class: expected yes or no, got 'perhaps'" in wrong.json()["detail"]


@pytest.mark.parametrize(
    "table",
    [
        "nothing,of,use\n1,2,3\n",
        f"path,species\n{'x' * 300}.wav,A_a\n",
        "path,species,secondary_labels\nx.wav,A_a,[{[]: 1}]\n",
        f"path,species,secondary_labels\nx.wav,A_a,[{'-' * 100_000}1]\n",
        "path,species\nx.wav,\ud800\n",
        "\0\0\0",
    ],
)
def test_a_table_that_is_none_is_no_fault_of_ours(table: str, level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    files = [("audio", ("t.csv", table.encode("utf-8", "surrogatepass"))), ("audio", ("x.wav", tone.read_bytes()))]
    reply = client.post("/api/v1/training-data", files=files)
    assert reply.status_code in (200, 400, 422), reply.text
    assert "/tmp" not in reply.text


def test_a_species_that_cannot_be_written_is_refused(level_bundle: Bundle, serve: Serve, tone: Path) -> None:
    client = serve(model=level_bundle.folder)
    part = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n%s\r\n%s\r\n'
    body = part % (b"species", b"Content-Type: text/plain; charset=utf-7\r\n", b"+2AA-")
    body += part % (b'audio"; filename="x.wav', b"", tone.read_bytes()) + b"--b--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=b; charset=utf-7"}
    assert client.post("/api/v1/training-data", content=body, headers=kind).status_code in (200, 400, 422)


def test_a_table_reads_nothing_but_what_was_sent_with_it(level_bundle: Bundle, serve: Serve, tmp_path: Path) -> None:
    client = serve(model=level_bundle.folder)
    secret = tmp_path / "secret.wav"
    secret.write_bytes(make_audio(0.3))
    for name in (str(secret), "../../../secret.wav", "/etc/passwd", "x.m3u8", "ok.wav"):
        table = f"path,species\n{name},Avis magna\n".encode()
        outcome = upload(client, ("ok.wav", make_audio(0.4)), ("labels.csv", table))
        expected = ("accepted", "Loud Bird") if name == "ok.wav" else ("rejected", None)
        assert set(outcome.values()) == {expected}, name
    reply = client.post("/api/v1/training-data", files=[("audio", ("x.csv", "p\u00e9th".encode("latin-1")))])
    assert reply.status_code == 400
    assert client.get("/api/v1/training-data").json()["total"] == 1


def test_folders_of_a_review_are_noted(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder)
    reviewed = {"Quiet Bird/faux positifs/g.wav": make_audio(0.6), "Quiet Bird_maybe/h.wav": make_audio(0.7)}
    reply = client.post("/api/v1/training-data", files={"audio": ("reviewed.zip", packed(reviewed))}).json()
    assert {each["name"]: each["species"] for each in reply["files"]} == {
        "Quiet Bird/faux positifs/g.wav": "no species",
        "Quiet Bird_maybe/h.wav": None,
    }
    assert any("folders of a review, faux positifs (1): the species is known not" in note for note in reply["notes"])


def test_a_field_is_one_label_and_not_a_folder_or_a_list(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder)
    for species, reason in (
        ("Corvus corone/cornix", "'Corvus corone/cornix': no such class"),
        ("Loud Bird, adult", "'Loud Bird, adult': no such class. Did you mean Avis magna (Loud Bird)?"),
        ("Avis magna, Avis parva", "species: expected the name of one species, got several: 'Avis magna, Avis parva'"),
        ("Avis parva/Loud Bird", "'Avis parva/Loud Bird': no such class"),
    ):
        given = {"files": {"audio": ("a.wav", make_audio(0.1))}, "data": {"species": species}}
        (refused,) = client.post("/api/v1/training-data", **given).json()["files"]
        assert (refused["status"], refused["species"]) == ("rejected", None)
        assert refused["reason"].startswith(reason)
    assert client.get("/api/v1/training-data").json()["total"] == 0


def test_a_new_class_has_the_whole_name_of_the_field(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder)
    given = {"species": "Loud Bird, adult", "new_class": "yes"}
    assert upload(client, ("a.wav", make_audio(0.1)), **given) == {"a.wav": ("accepted", "Loud Bird, adult")}
    refused = upload(client, ("b.wav", make_audio(0.2)), species="Corvus corone/cornix", new_class="yes")
    assert refused == {"b.wav": ("rejected", None)}, "nobody can tell which of the two it is"
    refused = upload(client, ("c.wav", make_audio(0.3)), species="Avis magna; Avis parva", new_class="yes")
    assert refused == {"c.wav": ("rejected", None)}
    assert [row["common_name"] for row in client.get("/api/v1/training-data").json()["species"]] == ["Loud Bird, adult"]


def test_a_field_says_what_is_there_and_a_folder_also_what_is_not(level_bundle: Bundle, serve: Serve) -> None:
    client = serve(model=level_bundle.folder)
    reply = client.post(
        "/api/v1/training-data", files={"audio": ("a.wav", make_audio())}, data={"species": "-Avis magna"}
    )
    assert reply.status_code == 400
    assert "species: expected the species that is there, got '-Avis magna'" in reply.json()["detail"]
    assert upload(client, ("-Avis magna/a.wav", make_audio())) == {"-Avis magna/a.wav": ("accepted", "no species")}


def test_uploaded_files_keep_folder_names_next_to_a_field(level_bundle: Bundle, serve: Serve) -> None:
    """Two files of one name are two recordings, and a name without an ending is one of a recording."""
    client = serve(model=level_bundle.folder)
    sent = [
        ("x/a.wav", make_audio(0.1)),
        ("y/a.wav", make_audio(0.2)),
        ("y/a.wav", make_audio(0.3)),
        ("z~1 b", make_audio(0.4)),
    ]
    reply = client.post(
        "/api/v1/training-data", files=[("audio", each) for each in sent], data={"species": "Loud Bird"}
    )
    assert [(each["name"], each["species"]) for each in reply.json()["files"]] == [
        ("x/a.wav", "Loud Bird"),
        *2 * [("y/a.wav", "Loud Bird")],
        ("z~1 b.wav", "Loud Bird"),
    ]
