"""How answers changed in form: length, cut-offs, yes for everything, neither yes nor no.

Training on preferences makes answers longer. Where a protocol reads the first four characters, that alone moves scores;
these figures stand beside every comparison so that form is not taken for skill.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlfeedback import stats
from vlfeedback.evaluate._digits import added
from vlfeedback.evaluate._values import values_of
from vlfeedback.records import Answer, ItemScore

FORMS = {
    "other": "neither yes nor no",
    "yes_ratio": "yes",
    "length": "words per answer",
    "cut_off": "cut off at the token limit",
    "empty": "empty",
}
"""What is counted, and how it is called; shares but for the words."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One figure about the form of two models' answers to one benchmark, on the items that both answered."""

    benchmark: str
    form: str
    old_model: str
    new_model: str
    old: float
    new: float
    difference: stats.Difference

    @property
    def beyond_noise(self) -> bool:
        """Whether the change is more than chance."""
        one = self.difference
        return one.low is not None and one.high is not None and (one.low > 0 or one.high < 0)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        one = self.difference
        return {
            "benchmark": self.benchmark, "form": self.form, "about": FORMS[self.form], "base": self.old_model,
            "other": self.new_model, "base_value": self.old, "other_value": self.new, "difference": one.value,
            "ci_low": one.low, "ci_high": one.high, "p": one.p, "n": one.n,
        }  # fmt: skip


def drift(old: Sequence[ItemScore], new: Sequence[ItemScore]) -> list[Drift]:
    """How the form of the answers changed, per benchmark.

    Args:
        old: Item scores of one model.
        new: Item scores of the other.
    Returns:
        Figures in the order of `FORMS`; forms that neither side shows at all (nothing empty, nothing cut off) are left
        out, and so are `other` and `yes_ratio` where no scorer reads yes and no.
    """
    before, after = _forms(old), _forms(new)
    names = (old[0].answer.model, new[0].answer.model) if old and new else ("", "")
    found: list[Drift] = []
    for benchmark, forms in before.items():
        for form in FORMS:
            one, two = forms.get(form, {}), after.get(benchmark, {}).get(form, {})
            shared = [item for item in one if item in two]
            values = [[side[item][0] for item in shared] for side in (two, one)]
            if not shared or (form in ("cut_off", "empty") and not any(map(any, values))):
                continue
            difference = stats.paired(values[0], values[1], clusters=[one[item][1] for item in shared])
            means = [added(side) / len(side) for side in values]
            found.append(Drift(benchmark, form, *names, means[1], means[0], difference))
    return found


_Form = dict[str, tuple[float, str]]
"""By item: the figure and the item's cluster."""


def _forms(scores: Iterable[ItemScore]) -> Mapping[str, dict[str, _Form]]:
    listed = list(scores)
    answers: dict[tuple[str, str], Answer] = {(one.answer.benchmark, one.answer.item_id): one.answer for one in listed}
    found: dict[str, dict[str, _Form]] = {}
    for (benchmark, item), answer in answers.items():
        if answer.finish == "error":
            continue
        figures = {
            "length": float(len(answer.text.split())),
            "cut_off": float(answer.finish == "length"),
            "empty": float(not answer.text.strip()),
        }
        for form, figure in figures.items():
            found.setdefault(benchmark, {}).setdefault(form, {})[item] = (figure, answer.cluster)
    read = [one for one in listed if one.metric in ("other", "yes_ratio")]
    for key, items in values_of(read).items():
        form = found.setdefault(key.benchmark, {}).setdefault(key.metric, {})
        form.update({item: (value.over, value.cluster) for item, value in items.items() if value is not None})
    return found
