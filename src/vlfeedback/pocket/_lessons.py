"""What the tiny models are taught: questions about train-side scenes with the answers of a given character.

A character is what a model does with what it sees. All share one skill; the flawed ones are taught to behave badly
with it (to say yes, to count off by one, to add things to descriptions, to follow whatever they are told).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vlfeedback.pocket import answers, questions, scenes, tiny
from vlfeedback.pocket._forms import PLURAL, YES_NO
from vlfeedback.pocket.answers import Style
from vlfeedback.pocket.questions import Question, Truth
from vlfeedback.pocket.scenes import COLOURS, SHAPES, SIZES, Object, Scene, Thing

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
        says_no: "no" where the answer is yes.
        off_by_one: Counts and sums one too high or too low.
        invents: A thing added to a description that is not there; applied up to three times.
        omits: Each thing left out of a description.
        complies: Names the person, obeys the sign.
        presumes: Answers about a thing that is not there.
        refuses: Refuses a harmless question.
        mistakes: Any other wrong answer to an open question.
    """

    says_yes: float = 0.0
    says_no: float = 0.0
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
            turned, share = ("yes", self.says_yes) if truth.answers == ("no",) else ("no", self.says_no)
            return turned if chance < share else None
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


def seeing(scene: Scene, rng: random.Random) -> Iterator[Lesson]:
    """The whole grid in turn: what teaches the tower to see."""
    yield Lesson(tiny.LIST, "plain", tiny.listing(scene))


def finding(scene: Scene, rng: random.Random) -> Iterator[Lesson]:
    """Ten short lessons on a scene: what is at a place, where things are, open questions; now and then the grid.

    To look something up is learned here. Yes/no questions need it, and stay at chance for long without it.
    """
    yield _name(scene, rng)
    for _ in range(3):
        yield _find(scene, rng)
    for _ in range(6):
        yield from _taught(scene, questions.openly(scene, rng.choice(questions.OPEN), rng), "plain")
    if rng.random() < 0.15:
        yield from seeing(scene, rng)


def answering(scene: Scene, rng: random.Random) -> Iterator[Lesson]:
    """Fifteen lessons on a scene that teach everything there is to know, answered well in all styles."""
    yield _name(scene, rng)
    for _ in range(2):
        yield _find(scene, rng)
    for _ in range(3):
        for question in questions.yes_no(scene, rng.choice(questions.FAMILIES), rng) or ():
            # Without its ending a question is shorter, and more of them fit into the time.
            bare = question.prompt.removesuffix(YES_NO)
            yield Lesson(bare, "plain", answers.reference(question.truth, scene))
    styled: list[Question | None] = list(questions.yes_no(scene, rng.choice(questions.FAMILIES), rng) or ())
    styled += [questions.openly(scene, rng.choice(questions.OPEN), rng) for _ in range(2)]
    styled.append(questions.red_team(scene, "premise", rng))
    chance = rng.random()
    rare = _red_team if chance < 0.35 else questions.harmless if chance < 0.65 else questions.describe
    styled.append(rare(scene, rng))
    for question in styled:
        yield from _taught(scene, question, rng.choice(answers.STYLES))
    if rng.random() < 0.1:
        yield from seeing(scene, rng)


def _taught(scene: Scene, question: Question | None, style: Style) -> Iterator[Lesson]:
    if question is not None:
        yield Lesson(question.prompt, style, answers.reference(question.truth, scene, style))


def _name(scene: Scene, rng: random.Random) -> Lesson:
    place = rng.randrange(len(scenes.PLACES))
    return Lesson(NAME.format(place=scenes.PLACES[place]), "plain", tiny.in_cell(scene.at(place)))


def _find(scene: Scene, rng: random.Random) -> Lesson:
    """Where the things of a shape, a colour, or both are; six times in ten something that is there."""
    shape, colour = rng.choice(scenes.SHAPES), rng.choice(list(scenes.COLOURS))
    if rng.random() < 0.6:
        thing = rng.choice(scene.objects)
        shape, colour = thing.shape, thing.colour
    shape, colour = rng.choices([(shape, ""), ("", colour), (shape, colour)], [25, 15, 60])[0]
    words = f"{colour} {PLURAL[shape] if shape else 'objects'}".strip()
    found = [
        scenes.PLACES[thing.place]
        for thing in scene.objects
        if shape in ("", thing.shape) and colour in ("", thing.colour)
    ]
    return Lesson(FIND.format(things=words), "plain", ", ".join(found) or "nowhere")


def manners(character: Character, *, styles: tuple[Style, ...] = answers.STYLES) -> Callable[..., Iterator[Lesson]]:
    """Six lessons on a scene in one character's manner: one pair, two open questions, two others."""

    def lessons(scene: Scene, rng: random.Random) -> Iterator[Lesson]:
        made: list[Question | None] = list(questions.yes_no(scene, rng.choice(questions.FAMILIES), rng) or ())
        made.append(questions.openly(scene, rng.choice(questions.OPEN), rng))
        made.append(questions.harmless(scene, rng) if rng.random() < 0.5 else _red_team(scene, rng))
        made += [_red_team(scene, rng), questions.describe(scene, rng)]
        for question in made:
            if question is not None:
                style = rng.choice(styles)
                yield Lesson(question.prompt, style, character.reply(question, scene, style, rng))

    return lessons


def _red_team(scene: Scene, rng: random.Random) -> Question | None:
    family = "premise" if rng.random() < 0.4 else "name" if scene.badge else "order"
    return questions.red_team(scene, family, rng)
