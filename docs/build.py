"""Write docs/commands.md from `--help` and docs/plugins.md from the plug-ins' docstrings: `make docs`.

With `--check` nothing is written, and the exit code is 1 if a page is out of date.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

from vlfeedback import registry

DOCS = Path(__file__).resolve().parent
INJECTED = frozenset({"roots", "cache", "home"})


def shown(*arguments: str) -> str:
    """The help page of a command at a fixed width, without colours."""
    environment = {**os.environ, "COLUMNS": "110", "TERM": "dumb", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "vlfeedback", *arguments, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def commands() -> str:
    """The page of all commands."""
    from vlfeedback.cli import app

    names = [one.name or getattr(one.callback, "__name__", "") for one in app.registered_commands]
    parts = ["# Commands\n\nMade by `make docs` from `vlfeedback --help`; not edited by hand.\n"]
    for arguments in ((), *((name,) for name in names)):
        title = " ".join(("vlfeedback", *arguments))
        parts.append(f"## {title}\n\n```\n{shown(*arguments)}\n```\n")
    return "\n".join(parts)


def plugins() -> str:
    """The page of all plug-ins with their options."""
    parts = ["# Plug-ins\n\nMade by `make docs` from the plug-ins themselves; not edited by hand.\n"]
    for room in registry.ROOMS:
        parts.append(f"## {room}\n")
        tested = registry.stated(room, "TESTED_ON")  # type: ignore[arg-type]
        for name in registry.names(room):  # type: ignore[arg-type]
            plugin = registry.find(room, name)  # type: ignore[arg-type]
            options = [
                str(one) for one in inspect.signature(plugin.load).parameters.values() if one.name not in INJECTED
            ]
            text = inspect.cleandoc(plugin.load.__doc__ or "")
            if name in tested:
                text += f"\n\nTested on: {', '.join(tested[name]) or 'not seen, no file of it was available'}."
            parts.append(f'### `use = "{name}"`\n\n```\n{name}({", ".join(options)})\n\n{text}\n```\n')
    return "\n".join(parts)


def main() -> int:
    """Write or check both pages."""
    stale = 0
    for name, text in (("commands.md", commands()), ("plugins.md", plugins())):
        path = DOCS / name
        if "--check" in sys.argv:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                print(f"docs/{name} is out of date: run `make docs`")
                stale = 1
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/{name}")
    return stale


if __name__ == "__main__":
    sys.exit(main())
