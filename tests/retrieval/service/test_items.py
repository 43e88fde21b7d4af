"""`/v1/items`: looked at, added, relabelled, removed and restored."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image
from starlette.testclient import TestClient

from retrieval import Gallery

_GPS = "Somewhere only we know"
_JSON = {"Content-Type": "application/json"}


def add(client: TestClient, *photos: tuple[str, bytes], label: str | None = None) -> Any:
    files = [("images", one) for one in photos]
    return client.post("/v1/items", files=files, data={} if label is None else {"label": label})


def test_items_come_in_pages(client: TestClient) -> None:
    seen, after, pages = [], 0, 0
    while after is not None:
        page = client.get("/v1/items", params={"limit": 8, "after": after}).json()
        assert page["total"] == 21
        seen += [one["id"] for one in page["items"]]
        after, pages = page["next"], pages + 1
    assert (seen, pages) == (list(range(1, 22)), 3)


def test_items_are_those_of_the_command_line(client: TestClient, gallery_path: Path) -> None:
    from retrieval.json_text import to_plain

    with Gallery.open(gallery_path) as gallery:
        expected = [to_plain(one) for one in gallery.items()]
    assert client.get("/v1/items").json()["items"] == expected
    assert client.get("/v1/items/5").json() == expected[4]


@pytest.mark.parametrize(
    ("params", "count"),
    [
        ({"q": "RED"}, 7),
        ({"q": "3.png"}, 3),
        ({"q": "%"}, 0),
        ({"q": "reference"}, 0),
        ({"label": "blue"}, 7),
        ({"label": "blue", "q": "3.png"}, 1),
        ({"label": "Blue"}, 0),
        ({"where": ["label=blue|red", "path~=*/3.png"]}, 2),
    ],
)
def test_items_are_searched_by_label_and_name(
    client: TestClient, params: dict[str, str], count: int
) -> None:
    found = client.get("/v1/items", params=params).json()
    assert found["total"] == len(found["items"]) == count


def test_an_added_photo_is_found(client: TestClient, photo: Callable[..., bytes]) -> None:
    answer = add(client, ("é shelf.png", photo("red", 55)), label="  new ")
    assert answer.status_code == 201
    (item,) = answer.json()["items"]
    assert (item["label"], item["metadata"]) == ("new", {"name": "é shelf.png"})
    assert client.get("/v1/items", params={"q": "é shelf"}).json()["items"] == [item]
    asked = client.post("/v1/identify", files={"images": photo("red", 55)}).json()
    assert asked["identifications"][0]["items"][0]["id"] == item["id"]


def test_several_are_added_at_once(client: TestClient, photo: Callable[..., bytes]) -> None:
    photos = [(f"{number}.png", photo("green", 50 + number)) for number in range(3)]
    done = add(client, *photos, ("x.txt", b"no"), photos[0]).json()
    assert done["added"] == 3
    assert [one["metadata"]["name"] for one in done["items"]] == ["0.png", "1.png", "2.png"]
    assert {one["label"] for one in done["items"]} == {None}
    assert [one["path"] for one in done["failed"]] == ["x.txt"]
    twice = {"path": "0.png", "item_id": done["items"][0]["id"]}
    assert done["duplicates"] == [twice]
    assert client.get("/v1/gallery").json()["items"] == 24


def test_what_is_there_already_is_told(
    client: TestClient, photo: Callable[..., bytes], reference: Path
) -> None:
    first = add(client, ("a.png", photo()), label="one").json()["items"][0]
    again = add(client, ("b.png", photo()), label="two")
    assert again.status_code == 200
    assert again.json()["duplicates"] == [{"path": "b.png", "item_id": first["id"]}]
    assert client.get(f"/v1/items/{first['id']}").json()["label"] == "one"
    known = (reference / "photos" / "blue" / "0.png").read_bytes()
    assert add(client, ("c.png", known)).json()["duplicates"] == [{"path": "c.png", "item_id": 1}]


def test_nothing_of_a_file_is_kept_but_its_pixels(
    client: TestClient, photo: Callable[..., bytes], gallery_path: Path
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.ImageDescription] = _GPS
    data = photo("red", 60, "JPEG", exif=exif, comment=_GPS.encode()) + b"<script>evil()</script>"
    assert _GPS.encode() in data
    (item,) = add(client, ("../../../home/me/.ssh/id_rsa", data)).json()["items"]
    assert item["metadata"] == {"name": "id_rsa"}
    kept = Path(item["path"])
    assert kept.parent == gallery_path / "uploads"
    assert re.fullmatch(r"[0-9a-f]{64}\.jpg", kept.name)
    assert [one.name for one in kept.parent.iterdir()] == [kept.name]
    assert _GPS.encode() not in kept.read_bytes()
    assert b"script" not in kept.read_bytes()
    with Image.open(kept) as image:
        assert image.size == (72, 96)
        assert not image.getexif()


@pytest.mark.parametrize(
    ("kind", "suffix"), [("PNG", "png"), ("GIF", "png"), ("BMP", "png"), ("WEBP", "jpg")]
)
def test_a_format_that_loses_nothing_stays_so(
    client: TestClient, photo: Callable[..., bytes], kind: str, suffix: str
) -> None:
    (item,) = add(client, ("a", photo("blue", 60, kind))).json()["items"]
    assert item["path"].endswith(suffix)


def test_the_kept_photo_can_be_embedded_anew(
    client: TestClient, photo: Callable[..., bytes], gallery_path: Path, second_encoder: Path
) -> None:
    add(client, ("a.jpg", photo("red", 60, "JPEG")), label="new")
    with Gallery.open(gallery_path) as gallery:
        assert gallery.reembed(str(second_encoder)).embedded == 22
        assert gallery.check().clean
    asked = client.post("/v1/identify", files={"images": photo("red", 60, "JPEG")}).json()
    assert asked["identifications"][0]["items"][0]["label"] == "new"


def test_where_none_can_be_read_nothing_is_added(client: TestClient, gallery_path: Path) -> None:
    answer = add(client, ("a.png", b"nothing"))
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("a.png can't be added: not an image")
    assert list((gallery_path / "uploads").iterdir()) == []
    assert client.get("/v1/gallery").json()["items"] == 21


def test_an_item_gets_another_label_and_none(client: TestClient) -> None:
    answer = client.patch("/v1/items/3", json={"label": "crimson"})
    assert (answer.status_code, answer.json()["label"]) == (200, "crimson")
    assert client.patch("/v1/items/3", json={"label": None}).json()["label"] is None
    assert client.get("/v1/labels").json() == {
        "labels": [
            {"label": "blue", "items": 6},
            {"label": "green", "items": 7},
            {"label": "red", "items": 7},
        ],
        "unlabelled": 1,
    }


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"label": ""},
        {"label": "  "},
        {"label": "a\0b"},
        {"label": "\ud800"},
        {"label": 5},
        {"label": "a", "path": "/etc"},
    ],
)
def test_a_label_that_is_none_is_refused(client: TestClient, body: dict[str, Any]) -> None:
    content = json.dumps(body)  # what is no text at all can be written as JSON
    answer = client.patch("/v1/items/3", content=content, headers=_JSON)
    assert answer.status_code == 422
    assert client.get("/v1/items/3").json()["label"] == "blue"


def test_a_removed_item_is_gone_and_comes_back_as_it_was(
    client: TestClient, photo: Callable[..., bytes], gallery_path: Path
) -> None:
    (item,) = add(client, ("a.png", photo()), label="new").json()["items"]
    url = f"/v1/items/{item['id']}"
    before = client.post("/v1/identify", files={"images": photo()}).json()
    assert client.delete(url).json() == item
    assert client.get(url).status_code == client.delete(url).status_code == 404
    (without,) = client.post("/v1/identify", files={"images": photo()}).json()["identifications"]
    assert item["id"] not in [one["id"] for one in without["items"]]
    restored = client.post(f"{url}/restore")
    assert (restored.status_code, restored.json()) == (200, item)
    assert client.post("/v1/identify", files={"images": photo()}).json() == before
    with Gallery.open(gallery_path) as gallery:
        assert gallery.check().clean


def test_what_cannot_be_restored_says_why(client: TestClient, photo: Callable[..., bytes]) -> None:
    never = client.post("/v1/items/3/restore")
    assert never.status_code == 409
    assert never.json()["detail"].startswith("There is no removed item 3 to restore")
    (item,) = add(client, ("a.png", photo())).json()["items"]
    client.delete(f"/v1/items/{item['id']}")
    (again,) = add(client, ("a.png", photo())).json()["items"]
    assert again["id"] != item["id"]
    refused = client.post(f"/v1/items/{item['id']}/restore")
    assert refused.status_code == 409
    assert f"added again as item {again['id']}" in refused.json()["detail"]


@pytest.mark.parametrize("method", ["get", "delete"])
@pytest.mark.parametrize("name", ["99", str(2**63 - 1)])
def test_an_item_that_is_not_there(client: TestClient, method: str, name: str) -> None:
    answer = getattr(client, method)(f"/v1/items/{name}")
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith(f"There is no item {name}")


def test_a_thumbnail_is_small_bare_and_kept_by_the_browser(client: TestClient) -> None:
    answer = client.get("/v1/items/3/thumbnail", params={"side": 160})
    assert answer.headers["content-type"] == "image/jpeg"
    with Image.open(BytesIO(answer.content)) as image:
        assert image.size == (96, 72)
        assert not image.getexif()
    tag = {"If-None-Match": answer.headers["etag"]}
    again = client.get("/v1/items/3/thumbnail", params={"side": 160}, headers=tag)
    assert (again.status_code, again.content) == (304, b"")
    other = client.get("/v1/items/3/thumbnail", headers=tag)
    assert other.status_code == 200


def test_a_large_photo_becomes_small(client: TestClient) -> None:
    data = BytesIO()
    Image.new("RGB", (1000, 400), "teal").save(data, "PNG")
    (item,) = add(client, ("a.png", data.getvalue())).json()["items"]
    url = f"/v1/items/{item['id']}/thumbnail"
    for side, size in ((160, (160, 64)), (640, (640, 256)), (1280, (1000, 400))):
        with Image.open(BytesIO(client.get(url, params={"side": side}).content)) as image:
            assert image.size == size


def test_a_photo_that_is_not_what_it_was_is_not_shown(
    client: TestClient, photo: Callable[..., bytes]
) -> None:
    (item,) = add(client, ("a.png", photo())).json()["items"]
    path = Path(item["path"])
    path.write_bytes(photo("blue"))
    changed = client.get(f"/v1/items/{item['id']}/thumbnail")
    assert changed.status_code == 404
    assert "changed since it was added" in changed.json()["detail"]
    path.unlink()
    gone = client.get(f"/v1/items/{item['id']}/thumbnail")
    assert gone.status_code == 404
    assert str(path.parent) not in gone.text
