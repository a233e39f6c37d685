"""Pictures inside a ZIP archive, read in place: nothing is ever unpacked, so no member's name can write anywhere."""

from __future__ import annotations

import zipfile
from pathlib import Path

from vlfeedback._images_names import check_relative, shown
from vlfeedback.errors import DataError, ImageError


class Archive:
    """A ZIP file of pictures; members whose names climb out or are absolute do not exist for it.

    A picture is found by its full name, or without the one top folder that all members share.

    Args:
        path: The archive.
    Raises:
        DataError: it is missing or not a ZIP archive.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path} cannot be read as a ZIP archive: {error}. Check that it was copied completely"
            ) from error
        self._members = {name: info for info in self._zip.infolist() if (name := _safe_name(info)) is not None}
        tops = {name.partition("/")[0] for name in self._members}
        self._top = f"{tops.pop()}/" if len(tops) == 1 else ""

    def read(self, name: str, max_bytes: int) -> bytes:
        """Bytes of one member.

        Args:
            name: Checked relative name.
            max_bytes: Largest size after unpacking.
        Raises:
            ImageError: `missing_image`, `image_too_large` or `bad_image`.
        """
        info = self._members.get(name) or self._members.get(self._top + name)
        if info is None:
            raise ImageError("missing_image", f"{self._path} has no member {shown(name)}")
        if info.file_size > max_bytes:
            raise ImageError("image_too_large", f"{shown(name)} in {self._path} unpacks to {info.file_size:,} bytes")
        try:
            with self._zip.open(info) as member:
                data = member.read(max_bytes + 1)
        except (OSError, EOFError, RuntimeError, NotImplementedError, ValueError, zipfile.BadZipFile) as error:
            raise ImageError("bad_image", f"{shown(name)} in {self._path} cannot be unpacked: {error}") from error
        if len(data) > max_bytes:
            raise ImageError(
                "image_too_large", f"{shown(name)} in {self._path} unpacks to more than {max_bytes:,} bytes"
            )
        return data


def _safe_name(info: zipfile.ZipInfo) -> str | None:
    if info.is_dir():
        return None
    try:
        return check_relative(info.filename)
    except ImageError:
        return None
