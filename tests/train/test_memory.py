"""Memory settings of a training on a processor; each case in a process of its own, since they stay."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

TOLD = """
import os, resource
from vlfeedback.train._memory import LARGE_PAGES, keep_freed
kept = keep_freed()
def faults():
    bytearray(100_000_000)                    # freed at once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        bytearray(100_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(int(kept), os.environ.get(LARGE_PAGES), faults())
"""


def told(**variables: str) -> tuple[bool, str, int]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "THP_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", TOLD], env={**mine, **variables}, capture_output=True, text=True, check=True
    )
    kept, pages, faults = done.stdout.split()
    return kept == "1", pages, int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="settings of Linux")
def test_freed_memory_is_not_taken_from_the_system_again() -> None:
    """100 MB five times, 122,000 small pages: fewer are new than a single piece has.

    Not seen through tensors: where they take large pages, a piece that is taken anew has few of them.
    """
    kept, pages, faults = told()
    if not kept:
        assert not hasattr(__import__("ctypes").CDLL(None), "mallopt"), "the GNU C library takes the settings"
        return
    assert pages == "1" and faults < 20_000


def test_what_somebody_has_chosen_is_left_alone() -> None:
    kept, pages, _ = told(MALLOC_TRIM_THRESHOLD_="131072")
    assert (kept, pages) == (False, "None")
    kept, pages, _ = told(THP_MEM_ALLOC_ENABLE="0")
    assert pages == "0"
