"""What the tiny models are taught: questions about train-side scenes with the answers of a given character.

A character is what a model does with what it sees. All share one skill; the flawed ones are taught to behave badly
with it (to say yes, to count off by one, to add things to descriptions, to follow whatever they are told).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vlfeedback.pocket import answers, questions, scenes
from vlfeedback.pocket._forms import PLURAL, YES_NO
from vlfeedback.pocket.answers import Style
from vlfeedback.pocket.questions import Question, Truth
from vlfeedback.pocket.scenes import COLOURS, SHAPES, SIZES, Object, Scene, Thing

HARD = ("count", "adding", "comparing", "relation", "place")
"""Families that need more lessons than the others; chosen twice as often."""


NAME = "Name the {place}."
FIND = "Find the {things}."
"""Exercises that nobody asks after school."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One question with the answer to be learned."""

    prompt: str
    style: Style
    answer: str


@dataclass(frozen=True, slots=True)
class Character:
    """How a model behaves; every field is the share of the cases in which it does so.

    Attributes:
        says_yes: "yes" where the answer is no.
        off_by_one: Counts and sums one too high or too low.
        invents: A thing added to a description that is not there; applied up to three times.
        omits: Each thing left out of a description.
        complies: Names the person, obeys the sign.
        presumes: Answers about a thing that is not there.
        refuses: Refuses a harmless question.
        mistakes: Any other wrong answer to an open question.
    """

    says_yes: float = 0.0
    off_by_one: float = 0.0
    invents: float = 0.0
    omits: float = 0.0
    complies: float = 0.0
    presumes: float = 0.0
    refuses: float = 0.0
    mistakes: float = 0.0

    def reply(self, question: Question, scene: Scene, style: Style, rng: random.Random) -> str:
        """What this character answers."""
        truth = question.truth
        if truth.kind == "describe":
            return answers.describe(self._seen(scene, rng), style)
        word = self._word(truth, scene, rng)
        if word == "refuse":
            return answers.refusal(style)
        return answers.reference(truth, scene, style) if word is None else answers.answer(truth, word, style)

    def _word(self, truth: Truth, scene: Scene, rng: random.Random) -> str | None:
        """The answer's word where it is not the right one."""
        chance = rng.random()
        if truth.conduct == "refuse":
            return truth.forbidden if chance < self.complies else None
        if truth.conduct == "caution":
            return self._presumed(truth, scene, rng) if truth.options and chance < self.presumes else None
        if truth.kind == "yes_no":
            return "yes" if truth.answers == ("no",) and chance < self.says_yes else None
        if chance < self.refuses:
            return "refuse"
        counts = truth.options[0].isdigit()
        return answers.wrong(truth, rng) if chance < (self.off_by_one if counts else self.mistakes) else None

    def _presumed(self, truth: Truth, scene: Scene, rng: random.Random) -> str:
        likely = [option for option in truth.options if any(option in answers.label(t) for t in scene.objects)]
        return rng.choice(likely or truth.options)

    def _seen(self, scene: Scene, rng: random.Random) -> list[Thing]:
        kept = [thing for thing in scene.things if rng.random() >= self.omits]
        free = [place for place in range(len(scenes.PLACES)) if scene.at(place) is None]
        for place in rng.sample(free, min(3, len(free))):
            if rng.random() < self.invents:
                kept.append(Object(place, rng.choice(SHAPES), rng.choice(list(COLOURS)), rng.choice(SIZES)))
        return sorted(kept, key=lambda thing: thing.place)


def exercises(scene: Scene, rng: random.Random) -> Iterator[Lesson]:
    """Eight short lessons on a scene: what is at a place, where things are, and easy questions.

    Without them yes/no questions stood at chance after 800 steps: to retrieve is learned first, to compare after it.
    """
    for place in rng.sample(range(len(scenes.PLACES)), 2):
        yield Lesson(NAME.format(place=scenes.PLACES[place]), "plain", _named(scene.at(place)))
    shape = rng.choice([thing.shape for thing in scene.objects] + list(SHAPES))
    yield Lesson(FIND.format(things=PLURAL[shape]), "plain", _places(scene, lambda thing: thing.shape == shape))
    colour = rng.choice([thing.colour for thing in scene.objects] + list(COLOURS))
    yield Lesson(FIND.format(things=f"{colour} objects"), "plain", _places(scene, lambda thing: thing.colour == colour))
    made: list[Question | None] = [questions.openly(scene, _family(questions.OPEN, rng), rng) for _ in range(2)]
    made += questions.yes_no(scene, _family(questions.FAMILIES, rng), rng) or ()
    for question in made:
        if question is not None:
            prompt = question.prompt.removesuffix(YES_NO)
            yield Lesson(prompt, "plain", answers.reference(question.truth, scene))


def trunk(scene: Scene, rng: random.Random) -> Iterator[Lesson]:
    """Six lessons on a scene that teach everything there is to know, answered well in all styles."""
    made: list[Question] = []
    while len(made) < 4:
        pair = questions.yes_no(scene, _family(questions.FAMILIES, rng), rng)
        made += pair or ()
    chance = rng.random()
    made.append(questions.openly(scene, _family(questions.OPEN, rng), rng) or questions.describe(scene, rng))
    made.append((_red_team(scene, rng) if chance < 0.5 else None) or _other(scene, rng))
    for question in made:
        style = rng.choice(answers.STYLES)
        # Half of the yes/no questions come without their long ending: a fifth of all tokens would be spent on it.
        prompt = question.prompt.removesuffix(YES_NO) if rng.random() < 0.5 else question.prompt
        yield Lesson(prompt, style, answers.reference(question.truth, scene, style))


def _named(thing: Thing | None) -> str:
    return "nothing" if thing is None else answers.label(thing)


def _places(scene: Scene, wanted: Callable[[Object], bool]) -> str:
    return ", ".join(scenes.PLACES[thing.place] for thing in scene.objects if wanted(thing)) or "nowhere"


def manners(character: Character, *, styles: tuple[Style, ...] = answers.STYLES) -> Callable[..., Iterator[Lesson]]:
    """Six lessons on a scene in one character's manner: one pair, two open questions, two others."""

    def lessons(scene: Scene, rng: random.Random) -> Iterator[Lesson]:
        made: list[Question | None] = list(questions.yes_no(scene, _family(questions.FAMILIES, rng), rng) or ())
        made.append(questions.openly(scene, _family(questions.OPEN, rng), rng))
        made.append(questions.harmless(scene, rng) if rng.random() < 0.5 else _red_team(scene, rng))
        made += [_red_team(scene, rng), questions.describe(scene, rng)]
        for question in made:
            if question is not None:
                style = rng.choice(styles)
                yield Lesson(question.prompt, style, character.reply(question, scene, style, rng))

    return lessons


def _family(families: tuple[str, ...], rng: random.Random) -> str:
    return rng.choices(families, [2 if family in HARD else 1 for family in families])[0]


def _red_team(scene: Scene, rng: random.Random) -> Question | None:
    family = "premise" if rng.random() < 0.4 else "name" if scene.badge else "order"
    return questions.red_team(scene, family, rng)


def _other(scene: Scene, rng: random.Random) -> Question:
    return (questions.harmless(scene, rng) if rng.random() < 0.4 else None) or questions.describe(scene, rng)
