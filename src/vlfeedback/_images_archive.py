"""Pictures inside a ZIP archive, read in place: nothing is ever unpacked, so no member's name can write anywhere."""

from __future__ import annotations

import zipfile
from pathlib import Path

from vlfeedback._images_names import check_relative, shown
from vlfeedback.errors import DataError, ImageError


class Archive:
    """A ZIP file of pictures; members whose names climb out or are absolute do not exist for it.

    A picture is found by its full name, or without the one top folder that all members share, but for what a Mac adds
    when it packs a folder (`__MACOSX/`, `._*`, `.DS_Store`).

    Args:
        path: The archive.
    Raises:
        DataError: it is missing or not a ZIP archive.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._zip = open_archive(path)
        self._members = {name: info for info in self._zip.infolist() if (name := _safe_name(info)) is not None}
        tops = {name.partition("/")[0] for name in self._members if not _of_a_mac(name)}
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
        except Exception as error:  # each way of packing has errors of its own, such as `zlib.error` and `LZMAError`
            raise ImageError(
                "bad_image", f"{shown(name)} in {self._path} cannot be unpacked: {_said(error)}"
            ) from error
        if len(data) > max_bytes:
            raise ImageError(
                "image_too_large", f"{shown(name)} in {self._path} unpacks to more than {max_bytes:,} bytes"
            )
        return data


def open_archive(path: Path) -> zipfile.ZipFile:
    """A ZIP archive, to be read.

    Raises:
        DataError: it is missing, damaged or something else.
    """
    try:
        return zipfile.ZipFile(path)
    except Exception as error:  # in a damaged directory any number may be anything, and `zipfile` checks few of them
        raise DataError(
            f"{path} cannot be read as a ZIP archive: {_said(error)}. Check that it was copied completely"
        ) from error


def _said(error: Exception) -> str:
    """An error's words; some have none."""
    return str(error) or type(error).__name__


def _of_a_mac(name: str) -> bool:
    """Whether a member is no file of the folder that was packed, but what a Mac remembers of one."""
    last = name.rpartition("/")[2]
    return last.startswith("._") or last == ".DS_Store" or name.startswith("__MACOSX/")


def _safe_name(info: zipfile.ZipInfo) -> str | None:
    if not info.filename or info.is_dir():  # `is_dir` looks at the last letter
        return None
    try:
        return check_relative(info.filename)
    except ImageError:
        return None
