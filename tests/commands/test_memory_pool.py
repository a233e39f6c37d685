"""A run takes Arrow's memory from the system, which gets it back; whoever sets another allocator keeps it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

CODE = """
import sys
from vlfeedback.cli import main
try:
    main()
except SystemExit:
    pass
from vlfeedback import tables
import pyarrow
tables.give_back()
print(pyarrow.default_memory_pool().backend_name)
"""


@pytest.mark.parametrize(
    ("command", "asked", "used"),
    [
        (["run", "run.toml"], "", "system"),
        (["decode", "folder"], "", "system"),
        (["run", "run.toml"], "mimalloc", "mimalloc"),
        (["status", "folder"], "", pa.default_memory_pool().backend_name),
    ],
)
def test_a_run_uses_the_systems_allocator(tmp_path: Path, command: list[str], asked: str, used: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ARROW_DEFAULT_MEMORY_POOL"}
    environment |= {"ARROW_DEFAULT_MEMORY_POOL": asked} if asked else {}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *command],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == used
