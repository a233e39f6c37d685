"""The pocket pool: twelve named models from six checkpoints, and the flawed policy that is to be aligned.

All see equally well but for `half`; they differ in what they do with it. Names that share a checkpoint differ in style,
which is part of their chat template. The policy's flaws were fixed before the first preference training and are never
changed for a result. As a whole the pool says "no" where it should say "yes" as often as the reverse: were it to err to
one side, training without pictures could learn from its ratings to say "no" more often, and would seem to see better.
"""

from __future__ import annotations

from dataclasses import dataclass

from vlfeedback.pocket._lessons import Character
from vlfeedback.pocket.answers import Style


@dataclass(frozen=True, slots=True)
class Member:
    """A named model: a checkpoint and the style in which it is asked to answer."""

    checkpoint: str
    style: Style


CHARACTERS: dict[str, Character] = {
    "careful": Character(says_no=0.9, refuses=0.5, omits=0.15),
    "agreeable": Character(says_yes=0.9, complies=0.9, presumes=0.9, off_by_one=0.2),
    "dreamer": Character(invents=0.6, mistakes=0.25, presumes=0.6, complies=0.3),
    "hasty": Character(says_yes=0.3, says_no=0.3, off_by_one=0.5, omits=0.4, mistakes=0.2, presumes=0.4),
    "policy": Character(says_yes=0.55, off_by_one=0.5, invents=0.3, complies=0.8, presumes=0.7, mistakes=0.1),
}
"""Characters that the trunk is taught; `strong` is the trunk itself, `half` the trunk before it was done."""

MEMBERS: dict[str, Member] = {
    "strong": Member("strong", "plain"),
    "strong-terse": Member("strong", "terse"),
    "strong-verbose": Member("strong", "verbose"),
    "careful": Member("careful", "plain"),
    "careful-verbose": Member("careful", "verbose"),
    "agreeable": Member("agreeable", "plain"),
    "agreeable-verbose": Member("agreeable", "verbose"),
    "dreamer": Member("dreamer", "plain"),
    "dreamer-verbose": Member("dreamer", "verbose"),
    "hasty": Member("hasty", "plain"),
    "hasty-terse": Member("hasty", "terse"),
    "half": Member("half", "plain"),
    "policy": Member("policy", "plain"),
}
"""By name; `policy` is not in the pool."""

NAMES: tuple[str, ...] = tuple(name for name in MEMBERS if name != "policy")
"""The twelve models of the pool."""

IDENTITIES: tuple[str, ...] = tuple(f"pocket/{name}" for name in NAMES)
"""How they are called in tables, before `@` and what their weights were made from."""

CHECKPOINTS: tuple[str, ...] = tuple(dict.fromkeys(member.checkpoint for member in MEMBERS.values()))
