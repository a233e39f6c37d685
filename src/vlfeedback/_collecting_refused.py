"""Questions that an endpoint refused (`bad_request`): said at the end of a command, and asked again on demand.

They are answers and are kept, because most say something of the question. Where they did not, because a setting of the
model was wrong, nothing else would ever ask again.
"""

from __future__ import annotations

from collections.abc import Mapping

from vlfeedback import parts
from vlfeedback.ledger import Ledger
from vlfeedback.records import Purpose
from vlfeedback.run_folder import RunFolder

TABLES: Mapping[Purpose, str] = {
    "decode": "responses", "annotate": "annotations", "evaluate": "answers", "grade": "judgements",
}  # fmt: skip
"""Which table was made of the calls for a purpose."""

AT_ONCE = 500
"""Rows of one transaction."""


def take_back(run: RunFolder, ledger: Ledger) -> int:
    """Let the questions that were refused be asked again, and forget the tables that are made of such answers.

    Returns:
        How many there are in the ledger.
    """
    keys: list[str] = []
    purposes: set[Purpose] = set()
    for call in ledger.calls():
        if call.state == "done" and call.generation is not None and call.generation.error == "bad_request":
            keys.append(call.key)
            purposes.add(call.purpose)
    for purpose in purposes & TABLES.keys():
        found = run.info(TABLES[purpose])
        if found is not None and found.room != "exchange":  # what was imported is made of no call of ours
            run.table(TABLES[purpose]).unlink()
        parts.forget(run.parts(TABLES[purpose]))
    for start in range(0, len(keys), AT_ONCE):
        ledger.withdraw(keys[start : start + AT_ONCE])
    return len(keys)


def lines(refused: Mapping[str, tuple[int, str]]) -> list[str]:
    """What to say of the questions that were refused.

    Args:
        refused: By model, how many were, and the endpoint's words about the first.
    """
    told = [
        f"{model} refused {count:,} {'question' if count == 1 else 'questions'}: {words}"
        for model, (count, words) in refused.items()
    ]
    if told:
        told.append(
            "Refusals by a model that has ever answered are kept as answers; `run DIR --ask-again` asks for them again."
        )
    return told
