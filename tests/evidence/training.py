"""Evidence of training: `make evidence-training`. All is measured in this run, in a fresh clone; a skip is a miss.

What is wanted and not there has a line too, and is a miss.
"""

from __future__ import annotations

import sys

from measuring import Item, ends_well, main, mutants_of, python, tests_pass

BENCH = ".venv/bin/python benchmarks/train_vs_trl.py"
ALL = "-m 'slow or not slow'"
WITH_PEERS = "-m 'peers or not peers'"

ITEMS = (
    Item("families, every cell", python(f"tests/train/test_families.py {ALL}"), "≤ 5e-6 a token", tests_pass),
    Item("packed rows, plain rows", python("tests/train/test_logps.py"), "values and gradients", tests_pass),
    Item("head in slices and blocks", python("tests/train/test_head.py"), "values, gradients, bytes", tests_pass),
    Item("attention in tiles", python(f"tests/train/test_attention.py {ALL}"), "values and gradients", tests_pass),
    Item("models that keep all logits", python("tests/train/test_kept_logits.py"), "right places", tests_pass),
    Item("reference cache", python("tests/train/test_reference.py"), "pass", tests_pass),
    Item("objectives", python("tests/train/test_objectives.py"), "worked arithmetic", tests_pass),
    Item("trainer, SIGKILL and resume", python("tests/train/test_stage.py"), "equal bytes", tests_pass),
    Item("runs cut off, full disk", python("tests/train/test_interrupted.py"), "an error or equal", tests_pass),
    Item("checklist of silent failures", python("tests/train/test_checklist.py"), "a test each", tests_pass),
    Item("hostile data", python("tests/train/test_hostile_data.py"), "counted by reason", tests_pass),
    Item("metrics", python("tests/train/test_metrics.py"), "worked by hand", tests_pass),
    Item("nothing silent", python("tests/train/test_collate.py tests/train/test_tokens.py"), "pass", tests_pass),
    Item("day-one command", python("tests/train/test_command.py"), "pass", tests_pass),
    Item("doctor --model", python("tests/commands/test_doctor.py"), "pass", tests_pass),
    Item("merged export", python("tests/train/test_merge.py"), "answers as both", tests_pass),
    Item("losses and gradient of TRL", python("-m peers tests/train/test_peers.py"), "1e-5, 1e-4", tests_pass),
    Item("4-bit weights", python(f"tests/train/test_qlora.py {WITH_PEERS}"), "unpacked gradient", tests_pass),
    Item("several runs, a second stage", python("tests/train/test_training_data.py"), "pass", tests_pass),
    Item("from Python", python("tests/train/test_from_python.py"), "ten lines", tests_pass),
    Item("model card", python("tests/train/test_model_card.py"), "data, settings, scores", tests_pass),
    Item("beside TRL", BENCH, "runs", ends_well),
    Item("speed at 32,000 words", f"{BENCH} --check 32,000", "≥ 15 times", ends_well),
    Item("speed at 2,000 words", f"{BENCH} --check 2,000", "≥ 5 times", ends_well),
    Item("memory", f"{BENCH} --check memory", "≤ 1/3, ≤ 1", ends_well),
    Item("gradient", f"{BENCH} --check exactness", "≤ 1e-4", ends_well),
    Item("TRL on one pair of six", f"{BENCH} --check extremes", "≥ 2 times", ends_well),
    Item("share of the arithmetic", f"{BENCH} --check bound", "≥ 80 %", ends_well),
    Item(
        "mutants",
        mutants_of("train", "learning.py", "training_data.py", "_learning_benchmarks.py", "_images_room.py"),
        "all caught",
        ends_well,
    ),
    Item("two processes", python(f"tests/train/test_two_processes.py {ALL}"), "1e-5 relative", tests_pass),
    Item("FSDP2, ZeRO-2, ZeRO-3", python(f"tests/train/test_sharded.py {WITH_PEERS}"), "1e-5", tests_pass),
    Item("image-conditional branch", python("tests/train/test_image_branch.py"), "worked arithmetic", tests_pass),
    Item("exact on a GPU", python("-m gpu tests/train"), "all pass", tests_pass),
    Item("speed on a GPU", f"{BENCH} --size 2b --check 2b", "≥ 8 times", ends_well),
)

if __name__ == "__main__":
    sys.exit(main("training", "training is exact and fast", ITEMS, sys.argv[1:]))
