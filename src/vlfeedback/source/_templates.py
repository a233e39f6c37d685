"""Templates of red-team instructions: families of prompts with slots, from TOML files that users can extend."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vlfeedback import toml_text
from vlfeedback.errors import ConfigError, DataError
from vlfeedback.json_text import open_text
from vlfeedback.records import Conduct

SHIPPED = Path(__file__).with_name("red_team.toml")
CATEGORY = "red_team/"
"""Before the name of a family; a picture of such an instruction in the run's own folder has an order drawn into it."""
BEHAVIOUR = "behaviour"
_SLOT = re.compile(r"\{([A-Za-z0-9_-]+)\}")
"""A key of TOML that needs no quotes."""


class Family(BaseModel):
    """Instructions of one kind.

    Attributes:
        name: The category is `red_team/NAME`.
        conduct: What a good model does.
        share: Part of the instructions, relative to the other families; 0 switches it off, at most a billion.
        prompts: With `{slot}` for words; its name is letters without accents, digits, `_` and `-`.
        draw: Orders that are drawn into the picture.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    conduct: Conduct | None = None
    share: float | None = Field(default=None, ge=0, le=1e9, allow_inf_nan=False)
    prompts: tuple[str, ...] = ()
    draw: tuple[str, ...] = ()

    @property
    def needs_behaviour(self) -> bool:
        """Whether it can be made only with a list of behaviours."""
        return any(f"{{{BEHAVIOUR}}}" in text for text in (*self.prompts, *self.draw))


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    family: tuple[Family, ...] = ()
    slots: dict[str, tuple[str, ...]] = {}


class Templates(NamedTuple):
    """Families by name, in the order of the files, and the words of every slot."""

    families: dict[str, Family]
    slots: dict[str, tuple[str, ...]]


def templates(own: Path | None = None) -> Templates:
    """The shipped templates, extended by a file of the user's.

    Raises:
        ConfigError: the file is not there, is no TOML, or holds a mistake: an unknown key, a slot without words, a
            brace of no slot, a new family without prompts, share or conduct.
    """
    found = _merged(Templates({}, {}), _read(SHIPPED))
    if own is not None:
        found = _merged(found, _read(own))
    where = own or SHIPPED
    for family in found.families.values():
        if not family.prompts or family.share is None or family.conduct is None:
            raise ConfigError(f"{where}: family {family.name!r} needs `prompts`, `share` and `conduct`")
        for text in (*family.prompts, *family.draw):
            if not text.strip():
                raise ConfigError(f"{where}: family {family.name!r} has an empty prompt")
            _check_slots(text, found.slots, where)
    return found


def _check_slots(text: str, words: Mapping[str, tuple[str, ...]], where: Path) -> None:
    """Refuse what would stay in a prompt as it is."""
    for slot in slots_of(text):
        if slot != BEHAVIOUR and not words.get(slot):
            raise ConfigError(f"{where}: {text!r} has the slot {slot!r}, but [slots] has no words for it")
    if set("{}") & set(_SLOT.sub("", text)):
        raise ConfigError(
            f"{where}: {text!r} has a brace that belongs to no slot: a slot is {{NAME}}, with a NAME of letters "
            "without accents, digits, _ and -"
        )


def slots_of(text: str) -> list[str]:
    """Names of the slots of a template."""
    return _SLOT.findall(text)


def filled(text: str, words: dict[str, str]) -> str:
    """A template with words in its slots; what a word holds is not looked at again."""
    return _SLOT.sub(lambda match: words.get(match[1], match[0]), text)


def _read(path: Path) -> _File:
    try:
        with open_text(path) as stream:  # which waits for no pipe
            data: dict[str, Any] = toml_text.loads(stream.read().decode("utf-8"))
        return _File.model_validate(data)
    except DataError as error:
        raise ConfigError(f"templates cannot be read: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"templates {path} cannot be read: {error}") from error
    except toml_text.TOMLError as error:
        raise ConfigError(f"templates {path} is no valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"templates {path}: {place}: {first['msg'].lower()}") from error


def _merged(before: Templates, file: _File) -> Templates:
    families = dict(before.families)
    for family in file.family:
        old = families.get(family.name)
        if old is not None:
            family = Family(
                name=family.name,
                conduct=family.conduct or old.conduct,
                share=old.share if family.share is None else family.share,
                prompts=(*old.prompts, *family.prompts),
                draw=(*old.draw, *family.draw),
            )
        families[family.name] = family
    slots = dict(before.slots)
    for name, words in file.slots.items():
        slots[name] = tuple(dict.fromkeys((*slots.get(name, ()), *words)))
    return Templates(families, slots)
