"""Write docs/formats.md: every instruction format with what its reader made of real sample files.

    python docs/formats.py SAMPLES

SAMPLES is a folder of sample files as they stand in the repositories of the datasets (they are not part of this one).
Each row is one run of the stage on one file: read = kept + dropped, by reason.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, NamedTuple

from vlfeedback import registry
from vlfeedback.images import Roots
from vlfeedback.records import Dropped
from vlfeedback.source import Found, Source, instructions

DOCS = Path(__file__).resolve().parent


class Sample(NamedTuple):
    """A run: plug-in, file, folder of its pictures (empty: none is there), options."""

    use: str
    path: str
    images: str = ""
    options: Mapping[str, Any] = MappingProxyType({})


PCA = ("Autonomous Driving", "Domestic Robot", "Open-World Game")
SAMPLES = (
    Sample("llava", "povid/readme_sample.json"),
    Sample("llava", "prometheus_vision/sample_train_data.json"),
    Sample("llava", "llama_factory/mllm_demo.json", "llama_factory"),
    Sample("llava", "llama_factory/mllm_demo.json", "llama_factory", {"turns": "each"}),
    Sample("llava", "llama_factory/v1_multimodal_demo.jsonl", "llama_factory"),
    Sample("llava", "llava/qa90_questions.jsonl"),
    Sample("llava", "llava/coco2014_val_gpt4_qa_30x3.jsonl"),
    Sample("llavar", "llavar/qa50_questions.jsonl"),
    Sample("lrv", "lrv/evaluation_set.json"),
    *(Sample("pca_eval", f"pca_eval/{domain}/meta_data.json", "pca_eval") for domain in PCA),
    *(Sample("pca_eval", f"pca_eval/{domain}/end2end_prompts.json", "pca_eval") for domain in PCA),
    Sample("pca_eval", "pca_eval", "pca_eval"),
    Sample("figstep", "figstep/safebench.csv", "figstep"),
    Sample("figstep", "figstep/safebench.csv", "", {"asked": "text"}),
    Sample("jsonl", "owleval/questions.jsonl", "owleval/cases", {"prompt": "question", "record_id": "question_id"}),
    Sample("jsonl", "rlaif_v/detail_test_30_input.jsonl", "", {"prompt": "question", "image": "image_path"}),
    Sample("jsonl", "rlaif_v/RefoMB_dev.jsonl", "", {"prompt": "question", "image": "image_url", "category": "type"}),
    Sample("jsonl", "slake/test.json", "", {"prompt": "question", "image": "img_name", "reference": "answer"}),
    Sample("csv", "slake/test_open.csv", "", {"prompt": "question", "image": "img_name", "reference": "answer"}),
    Sample("csv", "slake/test_close.csv", "", {"prompt": "question", "image": "img_name", "reference": "answer"}),
    Sample("csv", "visit_bench/visit_fully_annotated_example.csv", "", {"prompt": "instruction", "image": "image_url"}),
    Sample("folder", "owleval/cases", "owleval/cases", {"prompts": "../../svit/questions.txt"}),
    Sample("folder", "rlaif_v/data_gen_example_imgs/imgs_detail", "rlaif_v/data_gen_example_imgs/imgs_detail"),
    Sample("red_team", "owleval/cases", "owleval/cases", {"count": 60}),
    Sample(
        "red_team",
        "owleval/cases",
        "owleval/cases",
        {"count": 40, "families": ["jailbreak"], "behaviours": "../../figstep/safebench.csv"},
    ),
)


def row(folder: Path, sample: Sample, run: Path) -> str:
    """One run of the stage as a row of the table."""
    plugin = registry.find("source", sample.use)
    roots = Roots({"pictures": folder / (sample.images or "."), "run": run})
    where = {"path": folder / sample.path, **sample.options}
    reader = registry.bind(plugin, where, sample.use, inject={"roots": roots})
    items = list(reader())
    # the stage refuses a source of which nothing can be used: one record of ours keeps it going, and is not counted
    ours = Source(sample.use, lambda: iter([*items, Found("ours", "Ours")]), "pictures")
    found = Counter(record.reason if isinstance(record, Dropped) else "kept" for record in instructions([ours], roots))
    kept = found.pop("kept") - 1
    understood = sum(isinstance(item, Found) for item in items)
    dropped = ", ".join(f"{number} {reason}" for reason, number in sorted(found.items())) or "none"
    options = ", ".join(f"{key} = {value!r}" for key, value in sample.options.items() if key != "prompts")
    said = f"`{sample.use}`" + (f" ({options})" if options else "")
    return f"| {said} | `{sample.path}` | {len(items)} | {understood} | {kept} | {dropped} |"


def page(folder: Path) -> str:
    """The page."""
    seen = registry.stated("source", "TESTED_ON")
    lines = [
        "# Instruction formats",
        "",
        "Made by `python docs/formats.py SAMPLES`; not edited by hand. *Tested on* are files of the origin that the",
        "reader was run on. **not seen** means that no file of the dataset was available: the layout comes from its",
        "documentation, public readers of it or general knowledge, and the examples in the plug-in are ours.",
        "A first run with `--limit 20` shows quickly whether it fits. `vlfeedback source --help` lists the same.",
        "",
        "| `use` | tested on |",
        "|---|---|",
    ]
    for name in registry.names("source"):
        lines.append(f"| `{name}` | {', '.join(seen.get(name, ())) or '**not seen**'} |")
    lines += [
        "",
        "## Read, kept and dropped on the sample files",
        "",
        "Records read = kept + dropped, by reason. *Understood* are those in which the reader found an instruction.",
        "Most samples come without their pictures, which is `missing_image`. `turns = 'each'` counts every turn.",
        "",
        "| reader | file | read | understood | kept | dropped |",
        "|---|---|---|---|---|---|",
    ]
    with TemporaryDirectory() as run:
        lines += [row(folder, sample, Path(run)) for sample in SAMPLES if sample.use in registry.names("source")]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("give the folder of the sample files")
    (DOCS / "formats.md").write_text(page(Path(sys.argv[1])), encoding="utf-8")
    print("wrote docs/formats.md")
