"""Evidence of collecting: `make evidence-collecting`. All is measured in this run, in a fresh clone; a skip is a miss.

Takes about two hours on a quiet machine: the benchmarks of throughput and memory are in it.
"""

from __future__ import annotations

import sys

from measuring import Item, ends_well, main, python, tests_pass

ALL = "-m 'slow or not slow'"
RUN = ".venv/bin/python benchmarks"
RAY = "test -d build/ray || .venv/bin/python -m pip install -q --target build/ray 'ray>=2.40'; PYTHONPATH=build/ray "
"""Ray beside the environment, for what needs it."""

ITEMS = (
    Item("readers and their examples", python("tests/source"), "pass", tests_pass),
    Item("mixer, likenesses, leaks", python("tests/integration/test_mixing.py"), "pass", tests_pass),
    Item("pool planner at 80,000", python(f"tests/decode {ALL}"), "2 %, 4 %, χ²", tests_pass),
    Item("endpoints, limits, retries", python("tests/models"), "pass", tests_pass),
    Item("judge's mean score", python("tests/annotate"), "pass", tests_pass),
    Item("calls that are made once", python("tests/integration/test_collect.py"), "by the server's log", tests_pass),
    Item("bad weather, fifty kills", python(f"tests/integration/test_survival.py {ALL}"), "equal digest", tests_pass),
    Item("budget, ten kills", python(f"tests/integration/test_budget.py {ALL}"), "≤ 1.01 × the budget", tests_pass),
    Item("full disk", python("tests/integration/test_full_disk.py"), "nothing lost", tests_pass),
    Item("provider batches", python("tests/integration/test_batch.py"), "pass", tests_pass),
    Item(
        "plan and pilot",
        python(f"tests/commands/test_plan.py tests/commands/test_pilot.py {ALL}"),
        "2 %, 10 %",
        tests_pass,
    ),
    Item("overlap of the rooms", f"{RUN}/collect_overlap.py", "≤ 1.15", ends_well),
    Item("ledger of 400,000 calls", f"{RUN}/ledger_scale.py", "≤ 10 s, ≤ 500 MB", ends_well),
    Item("throughput", f"{RUN}/annotate_throughput.py --repeat 5", "90 %, 85 %, 3 times", ends_well),
    Item("a cluster, a node killed", RAY + python("-m peers tests/scale"), "equal digest", tests_pass),
    Item("workers, parcels, network disks", python("tests/scale"), "pass", tests_pass),
    Item("a call through a worker", f"{RAY}{RUN}/ray_overhead.py", "measured", ends_well),
    Item("vLLM, engine and server", f"{RUN}/vllm_engine.py", "as transformers", tests_pass),
    Item("red-team builder", python("tests/source/test_red_team.py"), "pass", tests_pass),
    Item("changed bytes", python("tests/test_damage.py"), "records or an error", tests_pass),
    Item("mutants", "make mutants", "all caught", ends_well),
    Item("memory, 20,000 × 1 MB", f"{RUN}/collect_memory.py", "≤ 1.2 times", ends_well),
)

if __name__ == "__main__":
    sys.exit(main("collecting", "nothing paid for is lost", ITEMS, sys.argv[1:]))
