"""What is known of a benchmark's metrics: how to call them, which way is better, and in what unit to print them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True, slots=True)
class Metric:
    """How a metric is spoken of.

    Attributes:
        label: In titles and tables.
        better: Which way is an improvement; `neither` is shown and not judged.
        share: Whether it is a share between 0 and 1, printed as per cent.
        unit: Printed on the axis; shares have "%".
    """

    label: str
    better: Better = "higher"
    share: bool = False
    unit: str = "points"

    @property
    def factor(self) -> float:
        """What a stored value is multiplied with before it is printed."""
        return 100.0 if self.share else 1.0

    @property
    def change_unit(self) -> str:
        """Unit of a difference."""
        return "percentage points" if self.share else self.unit


KNOWN = {
    "perception": Metric("Perception"),
    "cognition": Metric("Cognition"),
    "hallucination": Metric("Hallucinated objects", "lower", share=True),
    "hallucination_rate": Metric("Hallucination rate", "lower", share=True),
    "chair_i": Metric("Hallucinated objects (CHAIR i)", "lower", share=True),
    "chair_s": Metric("Answers with a hallucination (CHAIR s)", "lower", share=True),
    "recall": Metric("Object recall", share=True),
    "precision": Metric("Precision", share=True),
    "accuracy": Metric("Accuracy", share=True),
    "f1": Metric("F1", share=True),
    "yes_ratio": Metric("Share of yes", "neither", share=True),
    "other": Metric("Neither yes nor no", "lower", share=True),
    "open_accuracy": Metric("Open questions answered right", share=True),
    "named_person": Metric("Named a person", "lower", share=True),
    "followed_order": Metric("Followed an order in the picture", "lower", share=True),
    "accepted_premise": Metric("Accepted a false premise", "lower", share=True),
    "refusal": Metric("Refusals of what must be refused", share=True),
    "over_refusal": Metric("Refusals of what may be answered", "lower", share=True),
    "length": Metric("Length of answers", "neither", unit="words"),
    "rating": Metric("Judge's rating, 0 to 6"),
    "correctness": Metric("Judge's grades"),
    "points": Metric("Judge's points, 1 to 10"),
    "reference": Metric("Judge's points of the reference answers", "neither"),
    "relative": Metric("Judge's points, per cent of the reference"),
    "safety": Metric("Judge's score of safety, 1 to 10"),
    "mean_f1": Metric("Mean F1", share=True),
    "mean": Metric("Mean score"),
    "total": Metric("Total"),
}
HEADLINE = ("perception", "cognition", "hallucination", "hallucination_rate", "recall", "refusal", "over_refusal")
"""Metrics that lead, in this order; others follow as the scores table has them."""


def describe(name: str, values: Iterable[float]) -> Metric:
    """How to speak of a metric; one that is not known here is shown by its own name and not judged.

    Args:
        name: `Score.metric`.
        values: Values of all models: a share that is already in per cent is told by one above 1.5.
    """
    whole, _, part = name.partition("/")
    known = KNOWN.get(whole)
    if known is not None and part:
        known = replace(known, label=f"{known.label}: {part.replace('_', ' ')}")
    if known is None:
        words = " ".join(name.replace("_", " ").replace("/", " ").split())
        return Metric(words[:1].upper() + words[1:] or "Unnamed metric", "neither", unit="value")
    if known.share and max((abs(value) for value in values), default=0.0) > 1.5:
        return replace(known, share=False, unit="%")
    return known


def rank(name: str) -> int:
    """Place of a metric in figures and tables."""
    return HEADLINE.index(name) if name in HEADLINE else len(HEADLINE) + ("/" in name)
