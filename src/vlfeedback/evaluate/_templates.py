"""Judge prompts from the user's own copy of a benchmark: a text file, or the script that holds the text.

Scripts are read, never run: the text is a string constant that is assigned to a name.
"""

from __future__ import annotations

import ast
import string
from pathlib import Path

from vlfeedback.errors import ConfigError
from vlfeedback.evaluate._read import text_of


def prompt_text(path: Path, name: str) -> str:
    """The prompt text of a file, every byte of it; line ends are line feeds, as Python reads text.

    Args:
        path: A text file; or a Python file in which a string is assigned to `name`.
        name: Of the variable in the official script.
    Raises:
        ConfigError: it is not there, no Python, or has no such string.
        DataError: it is not UTF-8.
    """
    if not path.is_file():
        raise ConfigError(
            f"judge_prompt: {path} is no file. Give the official template from your copy of the benchmark."
        )
    text = text_of(path).replace("\r\n", "\n").replace("\r", "\n")
    if path.suffix != ".py":
        return text
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ConfigError(f"judge_prompt: {path} is no Python file ({error}).") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets):
            value = node.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                return value.value
    raise ConfigError(f"judge_prompt: {path} assigns no text to {name!r}; copy the prompt into a text file instead.")


def check_fields(text: str, count: int, path: Path) -> str:
    """Refuse a template that has not just so many empty fields `{}`.

    Raises:
        ConfigError: it has more, fewer, or named ones.
    """
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(text) if field is not None]
    except ValueError as error:
        raise ConfigError(f"judge_prompt: {path} is no template ({error}); double every brace that is text.") from error
    if fields != [""] * count:
        raise ConfigError(
            f"judge_prompt: {path} has the fields {fields}; the official template has {count} empty ones {{}}."
        )
    return text


def positive(value: int, option: str) -> int:
    """Refuse a count below 1.

    Raises:
        ConfigError: it is.
    """
    if value < 1:
        raise ConfigError(f"{option} must be at least 1, not {value}.")
    return value
