"""Which layout a model takes, measured on made-up groups before anybody has data: for `vlfeedback doctor --model`."""

from __future__ import annotations

import hashlib
import sys
from io import BytesIO
from typing import TYPE_CHECKING

from vlfeedback.errors import ConfigError, ModelUnavailable
from vlfeedback.ids import instruction_id, response_id
from vlfeedback.models._checkpoints import open_processor
from vlfeedback.records import Dropped, Group, Image, Instruction, PreferencePair, Response
from vlfeedback.train._arguments import quiet
from vlfeedback.train._chosen import chosen_layout
from vlfeedback.train._layouts import CheckedLayout
from vlfeedback.train._run import encoder_of
from vlfeedback.train._scoring import Scorer
from vlfeedback.train._weights import device_here, load_model

if TYPE_CHECKING:
    from vlfeedback.train import Recipe
    from vlfeedback.train._collate import Encoded, Encoder

REPLIES = ("Yes.", "There is a red disc in the middle of the picture.", "No, nothing of that kind.", "A disc, red.")


class _Drawn:
    """One picture: a red disc."""

    def __init__(self) -> None:
        from PIL import Image as pillow, ImageDraw

        picture = pillow.new("RGB", (336, 252), (235, 235, 240))
        ImageDraw.Draw(picture).ellipse((120, 80, 220, 180), fill=(200, 30, 30))
        data = BytesIO()
        picture.save(data, "PNG")
        self._bytes = data.getvalue()
        self.image = Image(hashlib.sha256(self._bytes).hexdigest(), "probe:disc.png", 336, 252)

    def open(self, image: Image) -> bytes:
        """See `Pictures`."""
        del image
        return self._bytes


def probe(recipe: Recipe) -> CheckedLayout:
    """Compute a group with a picture and one of words alone in the layouts that the model may take, as a run does.

    One row without a picture is enough for a run to lose a layout, so both are looked at.

    Args:
        recipe: Names the model and the precision.
    Raises:
        ModelUnavailable: the model cannot be loaded.
        ConfigError: its processor and it do not fit together, or its responses see their own future.
    """
    drawn = _Drawn()
    with quiet():
        processor = open_processor(recipe.model, None)
        model = load_model(recipe)
        encoder = encoder_of(processor, model, recipe, drawn)
        made = list(encoder.encode(_group(drawn.image)))
        groups = [one for one in made if not isinstance(one, Dropped)]
        if not groups:
            raise ConfigError(f"{recipe.model}: a prompt with a picture cannot be encoded: {made}")
        groups += _told(encoder)
        device = device_here()
        return chosen_layout(model, processor, groups, encoder, Scorer(model.to(device), recipe, device), recipe)


def fitting(model: str) -> Recipe:
    """The recipe that training takes where nothing else is said: what is found out is what a run will do."""
    from vlfeedback.train import Recipe

    return Recipe(model=model)


def _told(encoder: Encoder) -> list[Encoded]:
    """A group of words alone; nothing where a model has no such prompts."""
    try:
        return [one for one in encoder.encode(_group()) if not isinstance(one, Dropped)]
    except ModelUnavailable as error:
        print(f"a prompt without a picture cannot be encoded and is not looked at: {error}", file=sys.stderr)
        return []


def _group(*images: Image) -> Group:
    prompt = "What do you see in the middle?"
    name = instruction_id(prompt, images)
    said = [Response(response_id(name, "probe", None, text), name, "probe", text, "stop") for text in REPLIES]
    pairs = tuple(
        PreferencePair(f"probe-{n}", name, said[0].id, one.id, 1.0, "probe") for n, one in enumerate(said[1:])
    )
    return Group(Instruction(name, prompt, images, "probe"), tuple(said), (), pairs)
