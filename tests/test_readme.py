"""Every bash block of the README runs as it stands there, but for those that say what they need; the rest parses."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from vlfeedback import config

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MARKS = {"", "slow", "needs a key", "needs data"}


class Block(NamedTuple):
    """A fenced block with the mark before it."""

    mark: str
    language: str
    text: str


BLOCKS = [
    Block(mark or "", language, text)
    for mark, language, text in re.findall(r"(?:<!-- test: ([^>]*) -->\n)?```(\w+)\n(.*?)```", README, re.DOTALL)
]


def run(block: Block) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PATH": path}, check=False,
    )  # fmt: skip


def test_every_mark_is_known_and_every_command_exists() -> None:
    bash = [block for block in BLOCKS if block.language == "bash"]
    assert len(bash) >= 4 and {block.mark for block in bash} <= MARKS
    shown = subprocess.run([sys.executable, "-m", "vlfeedback", "--help"], capture_output=True, text=True, check=True)
    for name in re.findall(r"^vlfeedback (\w+)", "\n".join(block.text for block in bash), re.MULTILINE):
        assert re.search(rf"│ {name}\b", shown.stdout), (
            f"the README uses `vlfeedback {name}`, which --help does not have"
        )


@pytest.mark.parametrize("block", [one for one in BLOCKS if one.language == "bash" and not one.mark])
def test_a_block_runs(block: Block) -> None:
    done = run(block)
    assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("block", [one for one in BLOCKS if one.language == "bash" and one.mark == "slow"])
def test_a_slow_block_runs(block: Block) -> None:
    done = run(block)
    assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"


def test_the_run_toml_is_valid() -> None:
    (block,) = (one for one in BLOCKS if one.language == "toml")
    settings = config.parse(tomllib.loads(block.text), "README")
    assert settings.decode.k == 2 and len(settings.pool) == 2


def test_the_python_parses_and_its_names_exist() -> None:
    blocks = [one for one in BLOCKS if one.language == "python"]
    assert len(blocks) == 2
    for block in blocks:
        for node in ast.parse(block.text).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vlfeedback"):
                module = importlib.import_module(str(node.module))
                assert all(callable(getattr(module, alias.name)) for alias in node.names)
        assert len(block.text.strip().splitlines()) <= 10


def test_the_python_needs_nothing_that_is_not_installed() -> None:
    """What a block imports is the standard library's, ours, or a dependency of the package and its training."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stated = [*project["dependencies"], *project["optional-dependencies"]["train"]]
    there = {re.split(r"[\[><=; ]", one)[0] for one in stated} | sys.stdlib_module_names | {"vlfeedback"}
    for block in (one for one in BLOCKS if one.language == "python"):
        for node in ast.walk(ast.parse(block.text)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name.partition(".")[0] for name in names} <= there, block.text


def test_every_link_into_the_project_leads_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
