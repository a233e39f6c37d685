"""Files that lmms-eval and VLMEvalKit write themselves, read by this package: install, run, import, compare.

    python benchmarks/engines.py [--work build/engines] [--lmms-eval ENV] [--vlmevalkit CLONE] [--only lmms_eval]

lmms-eval is installed from the package index into an environment of its own and run with --log_samples on a tiny
checkpoint and its merged adapter, over a local task that needs no download. VLMEvalKit is on no package index: where a
clone is named (or lies in WORK/VLMEvalKit), its own code evaluates a table of replies and writes the tables. Then both
are imported and compared here. Prints one line per step; exit code 1 if a step failed, 2 if one could not be tried.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ITEMS = 48

TASK = """task: tiny_letters
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: generate_until
doc_to_visual: !function letters.visual
doc_to_text: !function letters.text
doc_to_target: answer
generation_kwargs:
  max_new_tokens: 12
  temperature: 0
  do_sample: false
process_results: !function letters.results
metric_list:
  - metric: has_letter
    aggregation: mean
    higher_is_better: true
metadata:
  - version: 1.0
"""

FUNCTIONS = '''"""A task that random weights can do now and then: is a letter in the reply?"""

from PIL import Image


def visual(doc):
    return [Image.open(doc["picture"]).convert("RGB")]


def text(doc, lmms_eval_specific_kwargs=None):
    return doc["question"]


def results(doc, replies):
    told = {"question_id": doc["id"], "category": doc["kind"], "score": float(doc["answer"] in replies[0])}
    return {"has_letter": told["score"], "detail": told}
'''

WRITE = """
import json, sys
import pandas as pd
from vlmeval.smp import dump
dump(pd.DataFrame(json.load(open(sys.argv[1]))), sys.argv[2])
"""

KIT = """
import sys
import pandas as pd
from vlmeval.dataset.utils.yorn import YOrN_Extraction
from vlmeval.smp import dump, load
folder, model = sys.argv[1:]
data = load(f"{folder}/{model}_MME.xlsx")
data["extracted"] = [YOrN_Extraction(str(one)) for one in data["prediction"]]
data["score"] = data["answer"] == data["extracted"]
dump(data, f"{folder}/{model}_MME_auxmatch.xlsx")
"""


def main() -> None:
    """Try both engines and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--work", type=Path, default=Path("build/engines"))
    parser.add_argument("--lmms-eval", type=Path, help="an environment that has it; made below WORK if left out")
    parser.add_argument("--vlmevalkit", type=Path, help="a clone with an environment .venv in it")
    parser.add_argument("--only", choices=("lmms_eval", "vlmevalkit"))
    asked = parser.parse_args()
    work = asked.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    codes = [
        step(name, run)
        for name, run in (
            ("lmms_eval", lambda: lmms_eval(work, asked.lmms_eval)),
            ("vlmevalkit", lambda: vlmevalkit(work, asked.vlmevalkit)),
        )
        if asked.only in (None, name)
    ]
    sys.exit(max(codes, key=lambda code: (code == 1, code)))


def step(name: str, run: Callable[[], str]) -> int:
    """Run one engine; 0 where all held, 1 where something failed, 2 where it could not be tried."""
    try:
        print(f"pass  {name}: {run()}", flush=True)
    except NotImplementedError as missing:
        print(f"skip  {name}: {missing}", flush=True)
        return 2
    except (subprocess.CalledProcessError, AssertionError) as failed:
        tail = (getattr(failed, "stderr", "") or "").strip().splitlines()[-5:]
        print(f"MISS  {name}: {failed}", *tail, sep="\n      ", flush=True)
        return 1
    return 0


def call(*command: object, **environment: str) -> str:
    """Run a command; its stdout."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", **environment}
    done = subprocess.run([str(part) for part in command], env=env, capture_output=True, text=True, check=True)
    return done.stdout


# ── lmms-eval ───────────────────────────────────────────────────────────────────────────────────────────────────────


def lmms_eval(work: Path, env: Path | None) -> str:
    """Install, run on base and merged adapter, import, compare."""
    env = env or work / "lmms-eval"
    python = env / "bin" / "python"
    if not python.exists():
        call(sys.executable, "-m", "venv", env)
        try:
            subprocess.run([python, "-m", "pip", "install", "--quiet", "lmms-eval==0.7.3", "decord"], check=True)
        except subprocess.CalledProcessError as error:
            raise NotImplementedError("pip cannot install lmms-eval==0.7.3 here") from error
    base, merged = checkpoints(work)
    tasks = local_task(work)
    for side, weights in (("base", base), ("aligned", merged)):
        if not list((work / "logs" / side).rglob("*samples_*.jsonl")):
            call(
                python, "-m", "lmms_eval", "--model", "llava_hf", "--tasks", "tiny_letters", "--include_path", tasks,
                "--model_args", f"pretrained={weights},device=cpu,device_map=cpu,dtype=float32", "--batch_size", "1",
                "--log_samples", "--output_path", work / "logs" / side,
            )  # fmt: skip
        wrote = list((work / "logs" / side).rglob("*samples_*.jsonl"))
        assert wrote, "it ended with 0 and wrote no samples: run its command by hand to see why"
    return compared(work / "logs" / "base", work / "logs" / "aligned", "lmms_eval", work, metric="has_letter")


def checkpoints(work: Path) -> tuple[Path, Path]:
    """A tiny base and an adapter of it, merged by `vlfeedback export merged`."""
    base, adapter, merged = work / "base", work / "adapter", work / "merged"
    if not merged.exists():
        import peft
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        sys.path.insert(0, str(HERE.parent / "tests"))
        from tiny_models import write_llava

        write_llava(base)
        torch.manual_seed(3)
        lora = peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
        peft.get_peft_model(AutoModelForImageTextToText.from_pretrained(base), lora).save_pretrained(str(adapter))
        AutoProcessor.from_pretrained(base).save_pretrained(adapter)  # as training leaves it
        call(sys.executable, "-m", "vlfeedback", "export", "merged", adapter, "--out", merged)
    return base, merged


def local_task(work: Path) -> Path:
    """A folder for --include_path: questions, pictures, and what is right."""
    from PIL import Image

    folder = work / "tasks" / "tiny_letters"
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for number in range(ITEMS):
        picture = folder / f"{number}.png"
        Image.new("RGB", (48, 48), (5 * number, 255 - 5 * number, 90)).save(picture)
        rows.append(
            {"id": f"i{number}", "kind": "even" if number % 2 == 0 else "odd", "picture": str(picture),
             "question": f"what is number {number} ?", "answer": "aeiou"[number % 5]}
        )  # fmt: skip
    data = folder / "data.json"
    data.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    (folder / "tiny_letters.yaml").write_text(TASK.format(data=data), encoding="utf-8")
    (folder / "letters.py").write_text(FUNCTIONS, encoding="utf-8")
    return work / "tasks"


# ── VLMEvalKit ──────────────────────────────────────────────────────────────────────────────────────────────────────


def vlmevalkit(work: Path, clone: Path | None) -> str:
    """Let its own code read, mark and write tables of replies; import, compare."""
    clone = clone or work / "VLMEvalKit"
    python = clone / ".venv" / "bin" / "python"
    if not python.exists():
        raise NotImplementedError(
            f"VLMEvalKit is on no package index; clone it to {clone} with an environment .venv in it, or name "
            "--vlmevalkit"
        )
    for side, shift in (("base", 0), ("aligned", 1)):
        folder = work / "tables" / side
        folder.mkdir(parents=True, exist_ok=True)
        said = ["Yes" if (n + shift * (n % 3 == 0)) % 2 == 0 else "No, it is not." for n in range(2 * ITEMS)]
        rows = [
            {"index": n, "question": f"Q{n}", "answer": "Yes" if n % 2 == 0 else "No", "category": "OCR",
             "image_path": f"{n // 2}.png", "prediction": reply}
            for n, reply in enumerate(said)
        ]  # fmt: skip
        given = folder / "rows.json"
        given.write_text(json.dumps(rows), encoding="utf-8")
        call(python, "-c", WRITE, given, folder / f"{side}_MME.xlsx", PYTHONPATH=str(clone))
        given.unlink()
        call(python, "-c", KIT, folder, side, PYTHONPATH=str(clone))
    return compared(work / "tables" / "base", work / "tables" / "aligned", "vlmevalkit", work, metric="perception")


def compared(old: Path, new: Path, format: str, work: Path, *, metric: str) -> str:
    """Import both sides, compare the files and the imports, and see that they agree."""
    direct = json.loads(call(sys.executable, "-m", "vlfeedback", "compare", old, new, "--json"))
    for side, folder in (("base", old), ("aligned", new)):
        out = work / "imported" / format / side
        call(sys.executable, "-m", "vlfeedback", "import", format, folder, "--out", out)
    folders = [work / "imported" / format / side for side in ("base", "aligned")]
    again = json.loads(call(sys.executable, "-m", "vlfeedback", "compare", *folders, "--json"))
    assert direct["rows"] == again["rows"], "files and imports compare differently"
    row = next(row for row in direct["rows"] if row["metric"] == metric)
    assert row["units"] == ITEMS, f"{row['units']} of {ITEMS} units were paired"
    return f"{row['says']} ({row['n']} items)"


if __name__ == "__main__":
    main()
