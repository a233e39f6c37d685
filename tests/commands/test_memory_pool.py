"""Commands take Arrow's memory from the system, which gets it back; whoever sets another allocator keeps it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import sys
sys.argv = ["vlfeedback", "--version"]
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


@pytest.mark.parametrize("asked", ["", "mimalloc"])
def test_a_command_uses_the_systems_allocator_unless_another_is_asked_for(asked: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ARROW_DEFAULT_MEMORY_POOL"}
    environment |= {"ARROW_DEFAULT_MEMORY_POOL": asked} if asked else {}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == (asked or "system")
