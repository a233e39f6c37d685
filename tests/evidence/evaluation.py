"""Evidence of evaluation: `make evidence-evaluation`. All is measured in a fresh clone; a skip is a miss."""

from __future__ import annotations

import sys

from measuring import Item, ends_well, main, mutants_of, python, tests_pass

ALL = "-m 'slow or not slow'"
RUN = ".venv/bin/python benchmarks"

ITEMS = (
    Item("MME", python("tests/evaluate/test_mme.py"), "official rule", tests_pass),
    Item("POPE", python("tests/evaluate/test_pope.py"), "official rule", tests_pass),
    Item("MMHal-Bench", python("tests/evaluate/test_mmhal.py"), "official rule", tests_pass),
    Item("MM-Vet", python("tests/evaluate/test_mmvet.py"), "official rule", tests_pass),
    Item("LLaVA-Bench", python("tests/evaluate/test_llava_bench.py"), "official rule", tests_pass),
    Item("last digits", python("tests/evaluate/test_digits.py"), "as the scripts print", tests_pass),
    Item("caption metric", python("tests/evaluate/test_chair.py"), "pass", tests_pass),
    Item("judges that fail", python("tests/evaluate/test_judging.py"), "three states", tests_pass),
    Item("hostile files", python("tests/evaluate/test_hostile.py"), "figures or an error", tests_pass),
    Item("benchmarks as Parquet", python("tests/evaluate/test_parquet.py"), "same items", tests_pass),
    Item("sampled replies, several runs", python("tests/evaluate/test_sampled.py"), "pass", tests_pass),
    Item("score on the command line", python("tests/commands/test_score.py"), "keys as promised", tests_pass),
    Item("compare", python("tests/commands/test_compare.py"), "exit 0, 1, 2", tests_pass),
    Item("statistics", python(f"tests/test_stats.py {ALL}"), "pass", tests_pass),
    Item("coverage by simulation", f"{RUN}/coverage.py", "93 to 97 %", ends_well),
    Item(
        "generation, killed and resumed", python(f"tests/evaluate/test_generation.py {ALL}"), "same answers", tests_pass
    ),
    Item("one checkpoint, adapters on and off", python("tests/models/test_weights.py"), "bit for bit", tests_pass),
    Item(
        "results of other engines",
        python("tests/exchange -k scores"),
        "item by item",
        tests_pass,
    ),
    Item("files that lmms-eval wrote", f"{RUN}/engines.py --only lmms_eval", "imported, compared", ends_well),
    Item("files that VLMEvalKit wrote", f"{RUN}/engines.py --only vlmevalkit", "imported, compared", ends_well),
    Item("the pocket world", ".venv/bin/vlfeedback demo --quick --out runs/quick", "ends well", ends_well),
    Item(
        "mutants",
        mutants_of("evaluate", "stats.py", "_stats_units.py", "exchange", "commands"),
        "all caught",
        ends_well,
    ),
)

if __name__ == "__main__":
    sys.exit(main("evaluation", "scores exact, intervals honest", ITEMS, sys.argv[1:]))
