"""Pictures by URL, only where the user has allowed it by name."""

from __future__ import annotations

from vlfeedback._images_names import shown
from vlfeedback.errors import ImageError

TIMEOUT = 30.0
"""Seconds without a byte after which a server is given up."""

_SCHEMES = ("http://", "https://", "data:")


def fetchable(uri: str) -> bool:
    """Whether this is a URL that could be fetched: http, https or data."""
    return uri.lower().startswith(_SCHEMES)


def fetch(uri: str, max_bytes: int) -> bytes:
    """Download a picture, or decode a data URL.

    Args:
        uri: `fetchable`; a redirection stays on http, https or ftp.
        max_bytes: Largest size that is read.
    Raises:
        ImageError: `missing_image` or `image_too_large`.
    """
    import http.client  # here, because these two take longer to load than all else that images need
    import urllib.request

    request = urllib.request.Request(uri, headers={"User-Agent": "vlfeedback"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
            data: bytes = reply.read(max_bytes + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ImageError("missing_image", f"{shown(uri)} cannot be fetched: {error}") from error
    if len(data) > max_bytes:
        raise ImageError("image_too_large", f"{shown(uri)} is larger than {max_bytes:,} bytes")
    return data
