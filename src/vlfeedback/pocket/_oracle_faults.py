"""How the pocket judge can be made a worse one; keyed by the request, so that a resumed run sees the same replies."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from vlfeedback.pocket._oracle_wire import Question, Verdict

REFUSAL = "I'm sorry, but I can't help with that."


@dataclass(frozen=True, slots=True)
class Options:
    """What is wrong with the judge; the defaults are a careful one.

    Attributes:
        noise: Standard deviation added to every rating, rating points.
        flip: Share of ratings that are replaced by a random one, 0 to 1.
        position_bias: Rating points that the first text gains and the last one loses.
        length_bias: Rating points per doubling of a text's length against the median of its group.
        blind: Ignore the picture.
        latency: Seconds that a reply takes on average; a single one takes half to one and a half of it.
        rate_limit: Answer every n-th request with 429; 0 for never.
        retry_after: Seconds named in that 429.
        refusing: Share of requests that are declined in words, 0 to 1.
        malformed: Share of replies that break the grammar in one of several ways, 0 to 1.
        seed: Another seed is another judge with the same faults.
        model: Name under which it is served.
        key: API key that it wants; any if empty.
        log: File that gets a line per reply, for counting what was served; none if empty.
    """

    noise: float = 0.0
    flip: float = 0.0
    position_bias: float = 0.0
    length_bias: float = 0.0
    blind: bool = False
    latency: float = 0.0
    rate_limit: int = 0
    retry_after: float = 1.0
    refusing: float = 0.0
    malformed: float = 0.0
    seed: int = 0
    model: str = "pocket-oracle"
    key: str = ""
    log: str = ""


def draws(options: Options, body: bytes) -> random.Random:
    """The request's own random numbers."""
    digest = hashlib.sha256(b"%d:" % options.seed + body).digest()
    return random.Random(int.from_bytes(digest[:16], "big"))


def disturb(
    question: Question, verdicts: Sequence[dict[str, Verdict]], options: Options, chance: random.Random
) -> list[dict[str, Verdict]]:
    """Add noise and biases to ratings; a share of a point becomes a whole one by chance, so that no bias is lost."""
    lengths = [len(text.split()) or 1 for text in question.texts]
    middle = sorted(lengths)[len(lengths) // 2]
    disturbed: list[dict[str, Verdict]] = []
    for number, marks in enumerate(verdicts):
        place = 0.0 if len(verdicts) < 2 else 1 - 2 * number / (len(verdicts) - 1)
        shift = options.position_bias * place + options.length_bias * math.log2(lengths[number] / middle)
        moved: dict[str, Verdict] = {}
        for aspect in sorted(marks):
            score = marks[aspect].score + shift + options.noise * chance.gauss(0, 1)
            rounded = math.floor(score + chance.random()) if score != int(score) else int(score)
            if chance.random() < options.flip:
                rounded = chance.randint(1, 5)
            moved[aspect] = Verdict(min(5, max(1, rounded)), marks[aspect].why)
        disturbed.append(moved)
    return disturbed


def break_reply(text: str, chance: random.Random) -> str:
    """Break a reply's form: a judge that talks, gives halves, forgets a text, repeats one, or stops in the middle."""
    middle = len(text) // 2
    first = text.find("Rating: ")
    broken = [
        "All texts are good in their own way, the second one perhaps most of all.",
        text[:middle],
        text.replace("Rating: ", "Rating: N/A or ", 1) if first >= 0 else text.replace('"score": ', '"score": 0.', 1),
        text.replace("Rating: ", "Rating: 1", 1) if first >= 0 else text.replace('"score": ', '"score": 1', 1),
        text + "\n" + text if first >= 0 else text + text,
        text.replace("##### Output for Text 2", "##### Output for Text 7") if first >= 0 else text[1:],
    ]
    return chance.choice(broken)
