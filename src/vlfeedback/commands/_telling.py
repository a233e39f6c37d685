"""How a command says things: results on stdout, the rest on stderr, what is left undone last and by its exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import typer

from vlfeedback.errors import too_long
from vlfeedback.locks import follower


def tell(text: str) -> None:
    """A line on stderr, from one process of a launch."""
    if follower():
        return
    print(text, file=sys.stderr, flush=True)


def emit(found: Any, as_json: bool, show: Callable[[Any, Any], None]) -> None:
    """A result as one JSON object, or shown to people."""
    if follower():
        return
    if as_json:
        escaped = not (sys.stdout.encoding or "").lower().startswith("utf")  # JSON has its own way to say all letters
        print(json.dumps(found if isinstance(found, dict) else found.to_json(), default=str, ensure_ascii=escaped))
        return
    from rich.console import Console

    show(found, Console())


def leave(left: str) -> None:
    """End with 1 where a part of the work could not be done, and say last what is left."""
    if left:
        tell(left)
        raise typer.Exit(1)


def mistake(error: Exception) -> int:
    """Exit code of typer's own exceptions, and of a name that no file can have; all else is a fault of the program.

    Raises:
        Exception: the error itself, so that it shows its trace.
    """
    long = too_long(error)
    if long is not None:
        tell(f"error: {long}")
        return long.exit_code
    message: Any = getattr(error, "format_message", None)
    if message is None:
        raise error
    context: Any = getattr(error, "ctx", None)
    named = context.command_path if context is not None and context.info_name != "vlfeedback" else "vlfeedback"
    tell(f"error: {message()}\nTry `{named} --help`.")
    return 2
