"""A ledger is never put on a network file system."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlfeedback.errors import ConfigError
from vlfeedback.scale import _mounts

MOUNTS = r"""
22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:30 / /home rw - nfs4 server:/home rw
31 30 0:31 / /home/me/scratch rw shared:7 master:2 - xfs /dev/sdb1 rw
32 22 0:32 / /mnt/with\040space rw - fuse.sshfs host:/ rw
33 22 0:33 / /over rw - ext4 /dev/sdc rw
34 33 0:34 / /over rw - cifs //server/share rw
35 22 0:35 / /mnt/disk rw - fuseblk /dev/sdd1 rw
broken line
36 22 0:36 / /nothing
"""


@pytest.mark.parametrize(
    ("path", "kind", "refused"),
    [
        ("/var/run.sqlite", "ext4", False),
        ("/home/me/ledger.sqlite", "nfs4", True),
        ("/home/me/scratch/deep/er/ledger.sqlite", "xfs", False),
        ("/home/me/scratchy/ledger.sqlite", "nfs4", True),
        ("/mnt/with space/x", "fuse.sshfs", True),
        ("/over/x", "cifs", True),
        ("/mnt/disk/x", "fuseblk", False),
    ],
)
def test_the_nearest_mount_decides(path: str, kind: str, refused: bool) -> None:
    assert _mounts.file_system(Path(path), MOUNTS) == kind
    assert _mounts.over_a_network(kind) == refused


@pytest.mark.parametrize("kind", ["9p", "virtiofs", "vboxsf", "vmhgfs", "prl_fs", "ocfs2", "gfs2", "drvfs", "coda"])
def test_a_folder_of_the_host_or_a_shared_disk_is_not_local(kind: str) -> None:
    assert _mounts.over_a_network(kind)


def test_a_system_that_does_not_tell_is_not_refused() -> None:
    assert _mounts.file_system(Path("/x"), "") == ""
    assert not _mounts.over_a_network("")


def test_a_ledger_on_nfs_is_refused_with_advice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text("30 22 0:30 / / rw - nfs4 server:/ rw\n", encoding="utf-8")
    monkeypatch.setattr(_mounts, "MOUNTS", table)
    with pytest.raises(ConfigError, match=r"nfs4.*\[ledger\] path"):
        _mounts.require_local(tmp_path / "run" / "ledger.sqlite")
