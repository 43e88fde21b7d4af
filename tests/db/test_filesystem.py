"""Network file systems are told from others by what the kernel says of mounts."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from db import Store, StoreError, filesystem, require_local
from db.filesystem import Mount, mount_of

# A laptop with a few shares, a bind mount of one of them, and an automounter.
LAPTOP = r"""
22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
23 22 0:21 / /proc rw,nosuid shared:12 - proc proc rw
30 22 0:26 / /tmp rw shared:14 - tmpfs tmpfs rw,size=8g
40 22 0:45 / /home/kim/share rw shared:20 - nfs4 box:/export rw,vers=4.2
41 22 0:46 / /mnt/My\040Box\134x rw - cifs //box/docs rw,vers=3.1.1
42 22 0:45 /photos /srv/photos rw shared:20 - nfs4 box:/export/photos rw,vers=4.2
43 22 0:47 / /home/kim/remote rw - fuse.sshfs kim@box:/data rw,user_id=1000
44 22 0:48 / /home/kim/vault rw - fuse.gocryptfs /home/kim/.vault rw,user_id=1000
45 22 259:3 / /mnt/usb rw - fuseblk /dev/sdb1 rw
46 22 0:49 / /net rw - autofs systemd-1 rw,fd=31
47 46 0:50 / /net/box rw - nfs box:/ rw,vers=3
48 22 0:51 / /auto rw - autofs systemd-1 rw,fd=32
49 48 0:52 / /auto rw - nfs4 box:/auto rw
50 40 259:4 / /home/kim/share/disk rw - xfs /dev/sdc1 rw
51 22 0:53 / /var/odd rw - fuse odd://bucket rw
52 22 0:54 / /var/even rw - fuse even rw
53 22 0:55 / /data rw master:7 propagate_from:2 - ceph 10.0.0.1:6789,10.0.0.2:6789:/ rw
"""

CONTAINER = r"""
700 650 0:80 / / rw,relatime - overlay overlay rw,lowerdir=/l/A:/l/B,upperdir=/u,workdir=/w
701 700 0:81 / /proc rw - proc proc rw
720 700 0:45 /galleries /galleries rw - nfs4 box:/export rw
721 700 259:2 /var/lib/x/hosts /etc/hosts rw - ext4 /dev/nvme0n1p2 rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "shared"),
    [
        ("/home/kim/galleries", "ext4", False),
        ("/", "ext4", False),
        ("/tmp/gallery", "tmpfs", False),
        ("/home/kim/share", "nfs4", True),
        ("/home/kim/share/a/b", "nfs4", True),
        ("/home/kim/shared", "ext4", False),
        ("/mnt/My Box\\x/gallery", "cifs", True),
        ("/srv/photos/gallery", "nfs4", True),
        ("/home/kim/remote/gallery", "fuse.sshfs", True),
        ("/home/kim/vault/gallery", "fuse.gocryptfs", False),
        ("/mnt/usb/gallery", "fuseblk", False),
        ("/net", "autofs", False),
        ("/net/box/gallery", "nfs", True),
        ("/auto/gallery", "nfs4", True),
        ("/home/kim/share/disk/gallery", "xfs", False),
        ("/var/odd/gallery", "fuse", True),
        ("/var/even/gallery", "fuse", False),
        ("/data/gallery", "ceph", True),
    ],
)
def test_a_laptop_with_shares(path: str, kind: str, shared: bool) -> None:
    mount = mount_of(PurePosixPath(path), LAPTOP)
    assert mount is not None
    assert (mount.kind, mount.is_shared) == (kind, shared)


def test_a_container_with_a_share_bound_into_it() -> None:
    found = {
        path: mount_of(PurePosixPath(path), CONTAINER)
        for path in ("/root/gallery", "/galleries/tea", "/etc/hosts")
    }
    assert [mount and mount.kind for mount in found.values()] == ["overlay", "nfs4", "ext4"]
    assert found["/galleries/tea"] == Mount("/galleries", "nfs4", "box:/export")


def test_a_mount_hides_what_was_mounted_below_its_place_before() -> None:
    hidden = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:9 / /a/b rw - nfs box:/ rw\n"
    over = hidden + "3 1 8:2 / /a rw - xfs /dev/b rw\n"
    path = PurePosixPath("/a/b/gallery")
    assert mount_of(path, hidden) == Mount("/a/b", "nfs", "box:/")
    assert mount_of(path, over) == Mount("/a", "xfs", "/dev/b")
    # The last of several at one place is the one seen, in whatever order they are listed.
    twice = "9 3 0:8 / /a rw - cifs //box/x rw\n" + over
    assert mount_of(path, twice) == Mount("/a", "cifs", "//box/x")


def test_a_root_that_is_shown_by_the_host_is_the_guests_own() -> None:
    guest = "1 0 0:1 / / rw - 9p none rw\n2 1 0:2 / /mnt/c rw - 9p C:\\134 rw\n"
    own, hosts = (mount_of(PurePosixPath(path), guest) for path in ("/gallery", "/mnt/c/gallery"))
    assert own is not None
    assert not own.is_shared
    assert hosts is not None
    assert hosts.is_shared
    assert Mount("/", "nfs", "box:/root").is_shared


@pytest.mark.parametrize(
    "kind",
    ["nfs", "smb3", "cifs", "9p", "lustre", "gpfs", "afs", "glusterfs", "fuse.rclone", "virtiofs"],
)
def test_kinds_that_other_machines_may_see(kind: str) -> None:
    assert Mount("/mnt/x", kind, "x").is_shared


@pytest.mark.parametrize("mounts", ["", "\n", "nonsense", "1 0 8:1 / /else rw - ext4 /dev/a rw"])
def test_where_no_mount_is_named_none_is_found(mounts: str) -> None:
    assert mount_of(PurePosixPath("/gallery"), mounts) is None


@pytest.fixture
def on_a_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the kernel says is on a share."""
    folder = tmp_path / "a share"
    folder.mkdir()
    mounts = tmp_path / "mountinfo"
    place = str(folder.resolve()).replace(" ", r"\040")
    mounts.write_text(f"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:9 / {place} rw - nfs4 box:/ rw\n")
    monkeypatch.setattr(filesystem, "_MOUNTS", mounts)
    return folder


def create(path: Path) -> Store:
    return Store.create(path, fingerprint="f", encoder_name="e", dim=8, settings={})


def test_a_store_on_a_share_is_refused(
    on_a_share: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError, match=r"is on a network file system \(nfs4 at ") as refused:
        create(on_a_share / "gallery.db")
    assert str(on_a_share) in str(refused.value)
    assert list(on_a_share.iterdir()) == []
    create(tmp_path / "gallery.db").close()
    (tmp_path / "gallery.db").rename(on_a_share / "gallery.db")
    (tmp_path / "link").symlink_to(on_a_share)
    for folder in (on_a_share, tmp_path / "link"):
        with pytest.raises(StoreError, match="LOOKALIKE_TRUST_FILE_SYSTEM=1"):
            Store.open(folder / "gallery.db")
    monkeypatch.setenv("LOOKALIKE_TRUST_FILE_SYSTEM", "1")
    Store.open(on_a_share / "gallery.db").close()


def test_a_share_is_refused_before_there_is_a_folder(
    on_a_share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError, match="network file system"):
        require_local(on_a_share / "new" / "gallery")
    monkeypatch.setenv("LOOKALIKE_TRUST_FILE_SYSTEM", "0")
    with pytest.raises(StoreError, match="network file system"):
        require_local(on_a_share)


def test_where_the_kernel_tells_nothing_every_folder_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem, "_MOUNTS", tmp_path / "none")
    require_local(tmp_path)
