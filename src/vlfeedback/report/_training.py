"""The trainings of a run: the main one and its controls."""

from __future__ import annotations

from dataclasses import dataclass

from vlfeedback.report._read import Artefacts, TrainLog
from vlfeedback.report._scores import variant_word


@dataclass(frozen=True, slots=True)
class Training:
    """Logs of a run's trainings.

    Attributes:
        main: The aligned model's.
        others: The controls', by name.
        name: Suffix of the aligned model's identity.
    """

    main: TrainLog
    others: tuple[TrainLog, ...]
    name: str

    def word(self, log: TrainLog) -> str:
        """What a training is called in figures and tables."""
        if log is self.main:
            return "aligned"
        return variant_word(log.name.rpartition("/")[2].replace("dpo-", "dpo:").replace("sft-", "sft:"))


def training(run: Artefacts) -> Training | None:
    """Read every log; None where nothing was trained."""
    logs = run.train_logs()
    if not logs:
        return None
    name = run.trained_name
    main = next((log for log in logs if log.name in ("", name)), logs[0])
    return Training(main, tuple(log for log in logs if log is not main), name)


def last(log: TrainLog, field: str) -> float | None:
    """The field's value at the last step that has it."""
    return next((row[field] for row in reversed(log.rows) if field in row), None)


def first(log: TrainLog, field: str) -> float | None:
    """The field's value at the first step that has it."""
    return next((row[field] for row in log.rows if field in row), None)
