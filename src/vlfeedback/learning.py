"""Rooms 5 and 6 of a run: the policy and its controls are trained, then everything is asked the same questions."""

from __future__ import annotations

from vlfeedback.pipeline import Outcome
from vlfeedback.run_folder import RunFolder
from vlfeedback.run_models import Access


def train(run: RunFolder, reach: Access) -> list[Outcome]:
    return []


def evaluate(run: RunFolder, reach: Access) -> list[Outcome]:
    return []
