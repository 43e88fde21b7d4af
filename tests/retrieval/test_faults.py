"""Whatever befalls a gallery's files and disk: right answers or a sentence, and nothing is lost."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import retrieval.generations
from db import NewItem, Store
from retrieval import Gallery
from retrieval.ranking import exact_distances

MAIN = "from retrieval.cli import main; main()"
# An index file even for a gallery of a few photos.
INDEXED = "from retrieval import generations; generations._STALE_COUNT = 1; "
Damage = Callable[[Path, Path], None]
Gone = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_encoder: Path,
    draw_many: Callable[[Path, str, range], None],
) -> Path:
    """A folder with photos, galleries of them with an index file, and those of other photos."""
    folder = tmp_path_factory.mktemp("faults")
    for colour in ("red", "green", "blue"):
        draw_many(folder / "photos", colour, range(6))
    draw_many(folder / "others", "green", range(30, 48))
    draw_many(folder / "more", "red", range(50, 80))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval.generations, "_STALE_COUNT", 1)
        for photos, name in (("photos", "gallery"), ("others", "foreign")):
            with Gallery.create(folder / name, encoder=str(tiny_encoder)) as gallery:
                gallery.build(folder / photos)
            shutil.copytree(folder / name, folder / f"{name}-ivf")
            with Gallery.open(folder / f"{name}-ivf") as gallery:
                gallery.choose_index("ivf")
                assert gallery.compact().generation
                (name,) = recorded_files(gallery)
                assert name.endswith(".ivf")
    return folder


def recorded_files(gallery: Gallery) -> list[str]:
    with gallery._store.read() as tx:
        return [generation.file_name for generation in tx.generations()]


@pytest.fixture(scope="module")
def draw_many() -> Callable[[Path, str, range], None]:
    """Draw numbered pictures of a colour into the folder of that name."""

    def draw(folder: Path, colour: str, numbers: range) -> None:
        (folder / colour).mkdir(parents=True)
        for number in numbers:
            shade = {"red": (200, 30, 30), "green": (30, 170, 40), "blue": (40, 60, 220)}[colour]
            noise = np.random.default_rng(number).integers(-30, 30, (48, 48, 3))
            pixels = np.clip(np.array(shade) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / colour / f"{number}.png")

    return draw


@pytest.fixture
def path(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the gallery with an index file."""
    monkeypatch.setattr(retrieval.generations, "_STALE_COUNT", 1)
    return Path(shutil.copytree(made / "gallery", tmp_path / "gallery"))


def index_file(path: Path) -> Path:
    with Gallery.open(path) as gallery:
        (name,) = recorded_files(gallery)
    return path / "index" / name


def stored(gallery: Path) -> dict[str, str]:
    """Return the content of each item by its path."""
    store = Store.open(gallery / "gallery.db")
    with store.read() as tx:
        found = {item.path: item.content_hash for item in tx.items()}
    store.close()
    return found


def assert_right(gallery: Gallery) -> None:
    """Compare answers with brute force over what the store holds."""
    rng = np.random.default_rng(7)
    with gallery._store.read() as tx:
        parts = list(tx.vectors())
    ids = np.concatenate([part.item_ids for part in parts])
    data = np.concatenate([part.data for part in parts])
    queries = data[::5].astype(np.float32) + rng.normal(0, 0.02, data[::5].shape)
    queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    for query, found in zip(queries, gallery.nearest(queries, 4), strict=True):
        distances = exact_distances(query, data)
        order = np.lexsort((ids, distances))[:4]
        assert [one.id for one in found] == ids[order].tolist()
        assert [one.distance for one in found] == distances[order].tolist()


# Index files


def flip(place: float) -> Damage:
    def change(path: Path, _foreign: Path) -> None:
        data = bytearray(path.read_bytes())
        data[int(place * (len(data) - 1))] ^= 1
        path.write_bytes(data)

    return change


def cut(share: float) -> Damage:
    def change(path: Path, _foreign: Path) -> None:
        os.truncate(path, int(share * path.stat().st_size))

    return change


def tear(path: Path, _foreign: Path) -> None:
    """What a power cut leaves of a file whose length came to the disk before its end."""
    size = path.stat().st_size
    os.truncate(path, size * 2 // 3)
    os.truncate(path, size)


def lengthen(path: Path, _foreign: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def replace_by_foreign(path: Path, foreign: Path) -> None:
    shutil.copyfile(foreign, path)


def replace_by_noise(path: Path, _foreign: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))


def replace_by_folder(path: Path, _foreign: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_link_to_nowhere(path: Path, _foreign: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


def remove(path: Path, _foreign: Path) -> None:
    path.unlink()


def remove_all(path: Path, _foreign: Path) -> None:
    shutil.rmtree(path.parent)


DAMAGES = {
    "flipped at its beginning": flip(0),
    "flipped in its midst": flip(0.5),
    "flipped at its end": flip(1),
    "cut to nothing": cut(0),
    "cut in half": cut(0.5),
    "a byte short": cut(0.9999),
    "torn": tear,
    "longer": lengthen,
    "foreign": replace_by_foreign,
    "noise": replace_by_noise,
    "a folder": replace_by_folder,
    "a link to nowhere": replace_by_link_to_nowhere,
    "missing": remove,
    "missing with its folder": remove_all,
}


@pytest.mark.parametrize("kind", ["gallery", "gallery-ivf"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_index_file_costs_no_answer_and_is_mended(
    damage: Damage, kind: str, path: Path, made: Path
) -> None:
    shutil.rmtree(path)
    shutil.copytree(made / kind, path)
    before = stored(path)
    file = index_file(path)
    damage(file, index_file(made / kind.replace("gallery", "foreign")))
    with Gallery.open(path) as gallery:
        assert_right(gallery)
        report = gallery.check()
        (told,) = report.problems + report.notes
        assert told.startswith(f"{file} ")
        assert "answers are right without it" in told
        # What check says mends it.
        if file.is_dir():
            file.rmdir()
        file.unlink(missing_ok=True)
        gallery.build(made / "photos")
        assert_right(gallery)
        report = gallery.check()
        assert (report.problems, report.notes, report.items) == ((), (), 18)
    assert index_file(path).stat().st_size
    assert stored(path) == before


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        *(("gallery", damage) for damage in (cut(0), cut(0.5), tear, replace_by_foreign)),
        # Such a file is mapped into memory: taken away or replaced, but never changed in place.
        *(("gallery-ivf", damage) for damage in (remove, remove_all, replace_by_folder)),
    ],
)
def test_an_open_gallery_survives_what_happens_to_its_index_file(
    kind: str, damage: Damage, path: Path, made: Path
) -> None:
    shutil.rmtree(path)
    shutil.copytree(made / kind, path)
    file, foreign = index_file(path), index_file(made / kind.replace("gallery", "foreign"))
    with Gallery.open(path) as gallery:
        assert_right(gallery)
        damage(file, foreign)
        assert_right(gallery)
        gallery.remove([3, 5])
        assert_right(gallery)
        assert gallery.add([made / "more"]).added == 30
        assert_right(gallery)
        with Gallery.open(path) as another:
            assert_right(another)


def test_a_torn_end_of_the_log_costs_nothing_that_was_committed(path: Path, tmp_path: Path) -> None:
    with Gallery.open(path) as gallery:
        gallery.relabel([1], "kept")
        left = Path(shutil.copytree(path, tmp_path / "left"))
    log = left / "gallery.db-wal"
    whole = log.read_bytes()
    expected = stored(path)
    for end in (b"\0" * 5000, whole[32:3000], np.random.default_rng(0).bytes(20_000)):
        log.write_bytes(whole + end)
        (left / "gallery.db-shm").unlink(missing_ok=True)
        with Gallery.open(left) as gallery:
            assert gallery.find(label="kept") == [1]
            assert gallery.check().clean
            assert_right(gallery)
        assert stored(left) == expected


# A full disk


def tmpfs(place: Path, size: int) -> Gone:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(place)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def can_mount() -> bool:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    with tempfile.TemporaryDirectory() as place:
        if tmpfs(Path(place), 64).returncode != 0:
            return False
        subprocess.run(["umount", place], check=True)
        return True


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = tmpfs(place, 8192)
    assert mounted.returncode == 0, mounted.stderr
    yield place
    subprocess.run(["umount", str(place)], check=True)


def lookalike(*arguments: object, prelude: str = "", before: list[str] | None = None) -> Gone:
    """Run the command in a process of its own; it succeeds, finds problems, or says a sentence."""
    done = subprocess.run(
        [*(before or []), sys.executable, "-c", prelude + MAIN, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 1:
        assert done.stdout.endswith((" problem\n", " problems\n")), done.stderr
    elif done.returncode != 0:
        assert done.returncode == 2, done.stderr
        assert re.search(r"^Error: .+\.\n\Z", done.stderr, re.MULTILINE), done.stderr
        assert "Traceback" not in done.stderr
    return done


def assert_nothing_lost(path: Path, before: dict[str, str], made: Path) -> None:
    """What was there is there; what was under way ends when it is begun again."""
    assert stored(path).items() >= before.items()
    with Gallery.open(path) as gallery:
        assert gallery.check().problems == ()
        assert_right(gallery)
        gallery.add([made / "more"])
        assert len(gallery.items()) == 48
        assert gallery.check().problems == ()
        assert_right(gallery)


@pytest.mark.parametrize("limit", [2_000, 60_000, 130_000, 250_000])
def test_a_quota_that_ends_halfway(limit: int, path: Path, made: Path) -> None:
    before = stored(path)
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
    done = lookalike("add", made / "more", "-g", path, prelude=limited + INDEXED)
    assert done.returncode == 2 or len(stored(path)) == 48
    assert_nothing_lost(path, before, made)


@pytest.mark.parametrize("limit", [2_000, 300_000])
@pytest.mark.parametrize("encoder", ["copied", "made"])
def test_a_gallery_that_there_is_no_room_for(
    limit: int, encoder: str, made: Path, tiny_encoder: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
    new = tmp_path / "new"
    network = ("--encoder", "timm:test_efficientnet", "--weights", tiny_checkpoint)
    chosen = network if encoder == "made" else ("--encoder", tiny_encoder)
    done = lookalike("build-index", made / "photos", "-g", new, *chosen, prelude=limited)
    assert done.returncode == 2
    assert f"{tmp_path}/" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert lookalike("build-index", made / "photos", "-g", new, *chosen).returncode == 0


def test_an_index_file_that_there_is_no_room_for(path: Path, made: Path) -> None:
    with Gallery.open(path) as gallery:
        vectors = np.random.default_rng(0).standard_normal((4000, 256)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        with gallery._store.write() as tx:
            items = [
                NewItem(
                    path=f"/made/up/{number}",
                    content_hash=hashlib.sha256(bytes(vector)).hexdigest(),
                    width=1,
                    height=1,
                    file_size=1,
                    mtime_ns=1,
                )
                for number, vector in enumerate(vectors)
            ]
            tx.add_items(items, vectors)
    before = stored(path)
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000)); "
    lookalike("add", made / "more", "-g", path, prelude=limited + INDEXED)
    # The store had room for the photos: they stay, whatever became of the index.
    assert len(stored(path)) == len(before) + 30
    with Gallery.open(path) as gallery:
        assert gallery.check().problems == ()
        assert_right(gallery)


# Where no disk can be mounted, a quota has to do.
if can_mount():

    @pytest.mark.parametrize("room", [0, 40, 180, 220])
    def test_a_disk_that_fills_up_halfway(room: int, path: Path, disk: Path, made: Path) -> None:
        gallery = Path(shutil.copytree(path, disk / "gallery"))
        before = stored(gallery)
        filler = disk / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(disk).free - room * 1024))
        done = lookalike("add", made / "more", "-g", gallery, prelude=INDEXED)
        assert done.returncode == 2 or len(stored(gallery)) == 48
        asked = lookalike("query", made / "photos/red/0.png", "-g", gallery)
        if asked.returncode == 0:
            assert "red" in asked.stdout
        else:
            assert str(gallery / "gallery.db") in asked.stderr
        filler.unlink()
        assert_nothing_lost(gallery, before, made)

    def test_a_network_that_there_is_no_room_for(
        disk: Path, made: Path, tiny_checkpoint: Path
    ) -> None:
        # Enough for the weights, and for half of what is made of them.
        (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - 600 * 1024))
        done = lookalike(
            *("build-index", made / "photos", "-g", disk / "new"),
            *("--encoder", "timm:test_efficientnet", "--weights", tiny_checkpoint),
        )
        assert done.returncode == 2
        assert "float32.xml can't be written: see whether its disk is full" in done.stderr
        assert [one.name for one in disk.iterdir()] == ["filler"]


# A folder that can't be written to


@pytest.fixture
def closed(path: Path) -> Iterator[Path]:
    """The gallery, where nothing may be written."""
    for one in [path, *path.rglob("*")]:
        one.chmod(0o555 if one.is_dir() else 0o444)
    yield path
    for one in [path, *path.rglob("*")]:
        one.chmod(0o755 if one.is_dir() else 0o644)


def bytes_of(folder: Path) -> dict[Path, bytes]:
    return {one: one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def test_a_gallery_that_may_only_be_read_answers(
    closed: Path, made: Path, without_privileges: list[str]
) -> None:
    photo, before = made / "photos/red/0.png", bytes_of(closed)
    expected = lookalike("query", photo, "-g", made / "gallery", "--json").stdout
    for command in (("query", photo, "--json"), ("info",), ("list",), ("check",), ("eval",)):
        done = lookalike(*command, "-g", closed, before=without_privileges)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        if command[0] == "query":
            assert done.stdout == expected
    assert bytes_of(closed) == before


def test_a_gallery_that_may_only_be_read_says_so_to_changes(
    closed: Path, made: Path, without_privileges: list[str]
) -> None:
    before = bytes_of(closed)
    for command in (
        ("add", made / "more"),
        ("remove", "1", "--yes"),
        ("relabel", "1", "--to", "x"),
    ):
        done = lookalike(*command, "-g", closed, before=without_privileges)
        assert done.returncode == 2
        assert done.stderr == (
            f"Error: {closed / 'gallery.db'} can't be written to: check the permissions of it and "
            "its folder.\n"
        )
    assert bytes_of(closed) == before


def test_a_gallery_cannot_be_made_where_nothing_may_be_written(
    closed: Path, made: Path, tiny_encoder: Path, without_privileges: list[str]
) -> None:
    new = closed / "new"
    done = lookalike(
        *("build-index", made / "photos", "-g", new, "--encoder", tiny_encoder),
        before=without_privileges,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: {new} can't be made (Permission denied): ")


@pytest.mark.parametrize("unreadable", ["gallery.db", "index", "encoder"])
def test_parts_that_may_not_be_read(
    unreadable: str, path: Path, made: Path, without_privileges: list[str]
) -> None:
    (path / unreadable).chmod(0)
    photo = made / "photos/red/0.png"
    for command in (("query", photo), ("check",)):
        done = lookalike(*command, "-g", path, before=without_privileges)
        if unreadable == "index" and command[0] == "query":
            assert done.returncode == 0
        else:
            assert str(path / unreadable) in done.stdout + done.stderr
    (path / unreadable).chmod(0o755)
    with Gallery.open(path) as gallery:
        assert gallery.check().clean
