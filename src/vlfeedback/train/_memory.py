"""Memory of a training run on a processor: keep what was freed, and ask for it in large pages.

A step frees and takes hundreds of megabytes. The C library gives large pieces back to the system, which has to clear
every page of the next ones; on a virtual machine that costs about a millisecond per megabyte. Both settings can be
decided from outside, by the variables named here, and are then left alone.
"""

from __future__ import annotations

import ctypes
import os
import sys

LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""Read by PyTorch when it first takes memory: pieces of two megabytes and more ask for large pages."""

_CHOSEN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""Somebody who sets these has chosen how memory is taken."""

# From <malloc.h> of the GNU C library.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_MOST = 2**31 - 1
_PIECE = 2**30


def keep_freed() -> bool:
    """Keep freed memory for the next step, where this is Linux with the GNU C library and nobody has said otherwise.

    Returns:
        Whether the C library took the settings.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _CHOSEN):
        return False
    os.environ.setdefault(LARGE_PAGES, "1")
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if set_option is None:
        return False
    return bool(set_option(_TRIM_THRESHOLD, _MOST)) and bool(set_option(_MMAP_THRESHOLD, _PIECE))
