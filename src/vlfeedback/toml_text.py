"""TOML of others, with one kind of error for whatever is wrong with it."""

from __future__ import annotations

import tomllib
from typing import Any

TOMLError = tomllib.TOMLDecodeError


def loads(text: str) -> dict[str, Any]:
    """Parse a TOML document; the mark that some editors put before UTF-8 is none of it.

    Raises:
        TOMLError: it is no TOML, nested too deeply, or holds a number of thousands of digits; the standard library's
            parser has other errors for the last two.
    """
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except RecursionError as error:
        raise TOMLError("nested too deeply") from error
    except TOMLError:
        raise
    except ValueError as error:
        raise TOMLError(str(error)) from error
