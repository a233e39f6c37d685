"""What kind of file system a path lies on: a ledger on a network file system is lost sooner or later."""

from __future__ import annotations

import re
from pathlib import Path

from vlfeedback.errors import ConfigError

MOUNTS = Path("/proc/self/mountinfo")
NETWORK = frozenset(
    {
        "nfs", "nfs3", "nfs4", "cifs", "smbfs", "smb2", "smb3", "afs", "ceph", "glusterfs", "lustre", "gpfs", "beegfs",
        "pvfs2", "orangefs", "ncpfs", "davfs", "sshfs", "s3fs", "gcsfuse", "acfs", "wekafs", "panfs", "fhgfs", "coda",
        "ocfs2", "gfs2", "9p", "virtiofs", "vboxsf", "vmhgfs", "prl_fs", "drvfs",
    }
)  # fmt: skip
"""Of several machines over a wire or a shared disk, and what a virtual machine sees of its host's folders."""
LOCAL_FUSE = frozenset({"fuseblk", "fusectl", "fuse.lxcfs", "fuse.portal", "fuse.snapfuse", "fuse.squashfuse"})


def file_system(path: Path, mounts: str | None = None) -> str:
    """Type of the file system that holds a path, which need not exist yet; empty where the system does not tell.

    Args:
        mounts: Text of /proc/self/mountinfo, for tests.
    """
    if mounts is None:
        try:
            mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return ""
    place = path.resolve()
    found, depth = "", -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        root = Path(re.sub(r"\\([0-7]{3})", lambda digits: chr(int(digits[1], 8)), fields[4]))
        # Of two mounts on one place the later one covers the other.
        if (root == place or root in place.parents) and len(root.parts) >= depth:
            found, depth = after.split(" ")[0], len(root.parts)
    return found


def over_a_network(kind: str) -> bool:
    """Whether a type of file system keeps its files elsewhere; FUSE counts, unless it is known to be local."""
    return kind in NETWORK or (kind.startswith("fuse") and kind not in LOCAL_FUSE)


def require_local(path: Path) -> None:
    """Refuse a ledger where locks and the write-ahead log are not to be relied on.

    Raises:
        ConfigError: the path lies on a network file system.
    """
    kind = file_system(path)
    if over_a_network(kind):
        raise ConfigError(
            f"ledger {path} lies on {kind}, a network file system or another machine's folder: SQLite loses data "
            "there. Name a file on a disk of this machine: [ledger] path in run.toml, or --set ledger.path=…; tables "
            "and pictures may stay."
        )
