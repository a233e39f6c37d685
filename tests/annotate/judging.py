"""A small world of instructions, responses and scripted judges for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vlfeedback.annotate import Answered
from vlfeedback.ids import instruction_id, response_id
from vlfeedback.records import Generation, Image, Instruction, Request, Response

PICTURE = Image("ab" * 32, "pictures:cup.png", 640, 480)


def answered(
    texts: Sequence[str], prompt: str = "What is on the table?", images: tuple[Image, ...] = (PICTURE,)
) -> Answered:
    """An instruction with one response per text, each of another model."""
    name = instruction_id(prompt, images)
    instruction = Instruction(name, prompt, images, "test")
    responses = tuple(
        Response(response_id(name, f"model-{number}", None, text), name, f"model-{number}", text, "stop")
        for number, text in enumerate(texts)
    )
    return Answered(instruction, responses)


@dataclass
class ScriptedJudge:
    """A model that answers with whatever a function makes of the request, and remembers what it was asked."""

    reply: Callable[[Request], Generation]
    identity: str = "judge/scripted"
    asked: list[Request] = field(default_factory=list)

    async def answer(self, request: Request) -> Generation:
        self.asked.append(request)
        return self.reply(request)


def four() -> Answered:
    """Four responses to a question on one picture."""
    return answered(["A red cup.", "A green cup and a spoon.", "Nothing at all.", "A cup, I think."])
