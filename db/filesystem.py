"""Which file system a store lies on, and which ones it may not lie on.

SQLite's write-ahead log is shared through memory: every process must run on the same machine, and
locks must hold. Network file systems promise neither, and what goes wrong there is found out late.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from db.errors import StoreError

TRUST = "LOOKALIKE_TRUST_FILE_SYSTEM"
"""The environment variable that lets a store lie anywhere, whatever is known of the place."""

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = {
    *("nfs", "nfs4", "cifs", "smbfs", "smb2", "smb3", "ncp", "ncpfs", "afs", "coda", "ceph"),
    *("glusterfs", "lustre", "gpfs", "beegfs", "orangefs", "pvfs2", "panfs", "gfs2", "ocfs2"),
}
# Folders of a host, shown to a virtual machine or a container.
_SHARED = {"9p", "virtiofs", "fakeowner", "vboxsf", "vmhgfs", "prl_fs"}
# What follows "fuse." in the name of a FUSE file system.
_FUSE = {
    *("sshfs", "rclone", "davfs", "davfs2", "curlftpfs", "smbnetfs", "afp_fuse", "gvfsd-fuse"),
    *("s3fs", "mount-s3", "goofys", "geesefs", "gcsfuse", "blobfuse", "blobfuse2", "juicefs"),
    *("glusterfs", "ceph-fuse", "mfs", "moosefs", "lizardfs", "seaweedfs"),
    *("vmhgfs-fuse", "prl_fs", "grpcfuse", "osxfs"),
}
# host:/path, user@host:path, //host/share, scheme://…
_NAMES_A_HOST = re.compile(r"//[^/]|[a-z][a-z0-9+.-]*://|[^/:\s]+:(/|~|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Mount:
    """A mounted file system.

    Attributes:
        place: The folder it is seen at.
        kind: Its type, as the kernel calls it: `ext4`, `nfs4`, `fuse.sshfs`.
        source: What is mounted: a device, `host:/path`, or a word of no meaning.
    """

    place: str
    kind: str
    source: str

    @property
    def is_shared(self) -> bool:
        """Whether other machines may see the same files."""
        kind = self.kind.lower()
        if kind in _NETWORK:
            return True
        if kind in _SHARED:
            # A guest or a container has the root that it started from for itself.
            return self.place != "/"
        name, _, subtype = kind.partition(".")
        if name != "fuse":
            return False
        return subtype in _FUSE or _NAMES_A_HOST.match(self.source) is not None


def mount_of(path: PurePosixPath, mounts: str) -> Mount | None:
    """Find the mount that a path lies on.

    Goes the way the kernel goes: a mount hides what was mounted below its place before.

    Args:
        path: Absolute, without links.
        mounts: The text of `/proc/self/mountinfo`; its format is in the manual page proc(5).

    Returns:
        The mount, or `None` where the text names none.
    """
    rows = [row for line in mounts.splitlines() if (row := _row(line)) is not None]
    ids = {row[0] for row in rows}
    above = [row for row in rows if path.is_relative_to(row[2].place)]
    found = None
    # What the first ones hang on is not seen from here.
    following = [row for row in above if row[1] not in ids or row[1] == row[0]]
    seen: set[str] = set()
    while following:
        number, _, found = min(following, key=lambda row: len(row[2].place))
        seen.add(number)
        following = [row for row in above if row[1] == number and row[0] not in seen]
    return found


def require_local(path: Path) -> None:
    """Make sure that a store may lie at a place.

    Only Linux says what a place is on; elsewhere every one passes.

    Args:
        path: Need not exist yet.

    Raises:
        StoreError: It is on a network file system, and `LOOKALIKE_TRUST_FILE_SYSTEM` is not set.
    """
    if os.environ.get(TRUST, "0") not in ("", "0"):
        return
    try:
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return
    mount = mount_of(PurePosixPath(path.resolve()), mounts)
    if mount is not None and mount.is_shared:
        raise StoreError(
            f"{path} is on a network file system ({mount.kind} at {mount.place}), where SQLite's "
            f"locks can't be trusted: choose a local disk, or set {TRUST}=1 if no other machine "
            "ever opens what lies there."
        )


def _row(line: str) -> tuple[str, str, Mount] | None:
    """Return a mount with its number and that of the mount it hangs on."""
    left, separator, right = line.partition(" - ")
    fields, described = left.split(" "), right.split(" ")
    if not separator or len(fields) < 5 or len(described) < 2:
        return None
    return fields[0], fields[1], Mount(_plain(fields[4]), described[0], _plain(described[1]))


def _plain(text: str) -> str:
    """Undo the kernel's octal escapes of spaces and the like."""
    return re.sub(r"\\([0-7]{3})", lambda escape: chr(int(escape[1], 8)), text)
