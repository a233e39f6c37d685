"""Law 1: imports point down, rooms never import each other, and the package is light to import."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import vlfeedback

SRC = Path(vlfeedback.__file__).parent
LAYERS = (
    ("records", "ids", "errors", "compact", "json_text", "toml_text", "table_files", "split_files"),
    (
        "config",
        "images",
        "ledger",
        "locks",
        "tables",
        "parts",
        "groups",
        "flow",
        "stats",
        "prices",
        "registry",
        "progress",
    ),
    ("models", "pocket"),
    ("source", "decode", "annotate", "pair", "train", "evaluate", "report", "exchange"),
    (
        "preflight",
        "recorder",
        "run_folder",
        "run_models",
        "training_data",
        "rows",
        "learning",
        "recipes",
        "collecting",
        "sourcing",
        "pipeline",
        "commands",
        "scale",
        "view",
        "api",
    ),
    ("cli", "__main__"),
)  # fmt: skip
ROOMS = LAYERS[3]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def own(path: Path) -> str:
    """The part of the package a file belongs to; `_images_pixels.py` belongs to `images`."""
    first = path.relative_to(SRC).parts[0].removesuffix(".py")
    return first.lstrip("_").split("_")[0] if first.startswith("_") and not first.startswith("__") else first


def imported(path: Path) -> set[str]:
    """Parts of the package that a file imports: relative, plain and inside functions too."""
    package = ("vlfeedback", *path.relative_to(SRC).parts[:-1])
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join((*above, *((node.module or "").split(".") if node.module else ())))
            names = [f"{stem}.{alias.name}" for alias in node.names]
        else:
            continue
        parts = [name.split(".") for name in names]
        found |= {part[1] for part in parts if len(part) > 1 and part[0] == "vlfeedback" and part[1] in LEVEL}
    return found


def violations() -> list[str]:
    found: list[str] = []
    for path in sorted(SRC.rglob("*.py")):
        me = own(path)
        if path == SRC / "__init__.py":
            continue
        assert me in LEVEL, f"{path} is in no layer: add it to DESIGN and to this test"
        for other in sorted(imported(path)):
            if me in ROOMS and other in ROOMS and other != me:
                found.append(f"room {me} imports room {other} in {path.name}")
            elif LEVEL[other] > LEVEL[me]:
                found.append(f"{path.name} imports {other}, which lies above it")
    return found


def test_law_1_imports_point_down_and_rooms_do_not_know_each_other() -> None:
    assert violations() == []


def loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    return set(json.loads(out.splitlines()[-1]))


def test_law_1_data_rooms_load_neither_torch_nor_transformers() -> None:
    rooms = ("source", "decode", "annotate", "pair", "evaluate", "report", "exchange", "train", "models")
    code = "import vlfeedback\n" + "\n".join(f"import vlfeedback.{room}" for room in rooms)
    code += "\nfrom vlfeedback import registry\n"
    code += "for room in ('source', 'annotate', 'pair', 'exchange'):\n"
    code += "    for name in registry.names(room): registry.find(room, name)\n"
    assert not loaded_by(code) & {"torch", "transformers", "peft", "accelerate"}


def test_law_1_help_loads_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "polars", "pyarrow", "openai", "matplotlib", "scipy", "numpy", "pydantic"}
    code = "import sys\nsys.argv = ['vlfeedback', '--help']\nfrom vlfeedback.cli import main\n"
    code += "try:\n    main()\nexcept SystemExit as done:\n    assert done.code == 0, done.code"
    assert not loaded_by(code) & heavy


def test_law_1_planning_loads_nothing_that_takes_longer_than_planning() -> None:
    code = "from vlfeedback.decode import plans\n"
    code += "list(plans((str(n) for n in range(200)), [str(n) for n in range(12)], [None] * 12, 4))"
    assert {"scipy.special", "scipy.stats"} & loaded_by(code) == {"scipy.special"}
