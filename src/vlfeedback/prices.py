"""What calls cost: a price table that people can read and edit, and the tokens that a picture is.

A model without a price is refused. Other tools count it as free, and every picture as 85 tokens; a budget is worth
nothing then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vlfeedback import toml_text
from vlfeedback._prices_images import ImageRule, image_tokens
from vlfeedback.errors import ConfigError
from vlfeedback.records import Request, Usage

__all__ = ["FREE", "ImageRule", "Price", "Prices", "image_tokens", "price", "read", "reserve", "sent_size"]

T = TypeVar("T")

_DATED = re.compile(r"(.+)-\d{4}-\d{2}-\d{2}")
_FIT = re.compile(r"fit-(\d+)-")
MESSAGE_OVERHEAD = 64
"""Tokens that a chat format adds around the texts of a request, generously."""


class _Entry(BaseModel):
    """[models.NAME]: prices per million tokens.

    Attributes:
        batch: What a call of a provider batch costs, as a share of a live one.
        letters: Letters per token of its tokenizer, for plans.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    input: float | None = Field(default=None, ge=0)
    output: float | None = Field(default=None, ge=0)
    cached: float | None = Field(default=None, ge=0)
    images: str = ""
    batch: float | None = Field(default=None, gt=0, le=1)
    letters: float | None = Field(default=None, gt=0)
    local: bool = False
    date: str = ""
    source: str = ""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    currency: str = "USD"
    models: dict[str, _Entry] = {}
    images: dict[str, ImageRule] = {}
    families: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Price:
    """What one model costs, per million tokens, in the table's currency.

    Attributes:
        name: Entry of the table.
        cached: For input that the endpoint had in its cache.
        images: How it counts pictures; None if the entry does not say.
        local: Runs on the user's own machines: all prices are 0.
        date: When the price was true, as the table says.
        batch: Share of these prices that a call of a provider batch costs; None where the entry does not say.
        letters: Letters per token, where the entry says so.
    """

    name: str
    currency: str
    input: float
    output: float
    cached: float
    images: ImageRule | None
    local: bool
    date: str = ""
    batch: float | None = None
    letters: float | None = None

    def batched(self) -> Price:
        """The price of calls in provider batches.

        Raises:
            ConfigError: the entry does not say what they cost.
        """
        if self.local:
            return self
        if self.batch is None:
            raise ConfigError(
                f"the price of {self.name!r} does not say what a batched call costs; add `batch = 0.5` (half the "
                "price) to its entry in your price table, or leave `batch = true` away"
            )
        less = self.batch
        return replace(self, input=self.input * less, output=self.output * less, cached=self.cached * less)

    def cost(self, usage: Usage) -> float:
        """Cost of a call from the tokens that its endpoint counted; reasoning is in the output already."""
        plain = max(0, usage.input - usage.cached)
        return (plain * self.input + usage.cached * self.cached + usage.output * self.output) / 1e6

    def reserve(self, request: Request) -> float:
        """Upper bound of the cost of a request: a byte of text is at most a token, and the reply as long as allowed.

        Raises:
            ConfigError: the request has pictures and the entry does not say how many tokens they are.
        """
        if self.local:
            return 0.0
        text = len(request.system.encode("utf-8", "surrogatepass")) + len((request.schema or "").encode())
        text += sum(len(part.text.encode("utf-8", "surrogatepass")) for part in request.parts if part.text)
        pictures = sum(self.picture(*sent_size(image.width, image.height, request.recipe)) for image in request.images)
        entered = text + MESSAGE_OVERHEAD + pictures
        return (entered * self.input + request.sampling.max_tokens * self.output) / 1e6

    def picture(self, width: int, height: int, *, detail: str = "high") -> int:
        """Tokens of a picture.

        Raises:
            ConfigError: the entry does not say how they are counted.
        """
        if self.local and self.images is None:
            return 0
        if self.images is None:
            raise ConfigError(
                f'the price of {self.name!r} does not say how many tokens a picture is; add `images = "RULE"` to '
                "its entry in your price table"
            )
        return image_tokens(self.images, width, height, detail=detail)


def sent_size(width: int, height: int, recipe: str) -> tuple[int, int]:
    """Pixels of a picture after a preparation recipe (see `images.prepare`)."""
    fit = _FIT.match(recipe)
    if fit is None or max(width, height) <= int(fit.group(1)):
        return width, height
    scale = int(fit.group(1)) / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


FREE = Price("local", "", 0.0, 0.0, 0.0, None, local=True)
"""The price of what runs on the user's own machines."""


@dataclass(frozen=True, slots=True)
class Prices:
    """A price table; `read` makes it.

    Attributes:
        currency: Of all prices.
        models: Prices by name or pattern, in order of search.
        where: What to name in errors.
        families: How models count pictures, by name or pattern, where their entry does not say.
    """

    currency: str
    models: Mapping[str, Price]
    where: str
    families: Mapping[str, ImageRule]

    def find(self, *names: str, local: bool = False) -> Price:
        """The price of a model.

        Args:
            names: Its declared identity, and other names it may be listed under.
            local: The user says that it runs on their own machine: free, unless the table has a price for it.
        Raises:
            ConfigError: there is no price; never taken as zero.
        """
        known = [form for name in names if name for form in _forms(name)]
        found = _listed(self.models, known) or (FREE if local else None)
        if found is not None:
            return found if found.images else replace(found, images=_listed(self.families, known))
        shown = next(iter(names), "")
        raise ConfigError(
            f'no price for {shown!r} in {self.where}. Write one: [models."{known[-1] if known else shown}"] with '
            "input = … and output = … per million tokens (or local = true if it runs on your own machines), in a file "
            "named by [prices] path"
        )

    def of(self, model: Any) -> Price:
        """The price of an opened model, by its identity, its endpoint's name for it, and whether it is local."""
        return self.find(model.identity, getattr(model, "name", ""), local=bool(getattr(model, "local", False)))


def _listed(table: Mapping[str, T], known: list[str]) -> T | None:
    """The entry of a model: by name, the fullest form first, then by the first pattern that fits."""
    for form in known:
        if form in table:
            return table[form]
    for pattern, found in table.items():
        if "*" in pattern and any(fnmatchcase(form, pattern) for form in known):
            return found
    return None


def _forms(name: str) -> list[str]:
    """Forms under which a model may be listed, the fullest first: without options, revision, backend, date."""
    forms = [name, name.split(";")[0]]
    forms.append(forms[-1].split("@")[0])
    forms.append(forms[-1].partition(":")[2] or forms[-1])
    dated = _DATED.fullmatch(forms[-1])
    if dated:
        forms.append(dated.group(1))
    return list(dict.fromkeys(forms))


@lru_cache(maxsize=8)
def read(path: str | Path = "") -> Prices:
    """Read a price table; its entries come before those of the shipped one.

    Args:
        path: The user's table; empty for the shipped one alone.
    Raises:
        ConfigError: the file is missing, no TOML, has an unknown key or half a price, or is in another currency.
    """
    shipped = _parse(
        resources.files("vlfeedback").joinpath("prices.toml").read_text("utf-8"), "the shipped prices.toml"
    )
    if not str(path):
        models = _prices(shipped, shipped.images, "the shipped table")
        return Prices(shipped.currency, models, "the shipped price table", _families(shipped, shipped.images, ""))
    try:
        own = _parse(Path(path).read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"cannot read the price table {path}: {problem}") from problem
    rules = shipped.images | own.images
    prices = _prices(own, rules, str(path))
    others = _prices(shipped, shipped.images, "the shipped table")
    if own.currency != shipped.currency:  # two currencies cannot be added up: only what is free is kept
        others = {name: price for name, price in others.items() if price.local}
    known = _families(own, rules, str(path))
    families = known | {name: rule for name, rule in _families(shipped, rules, "").items() if name not in known}
    # What the user says of a name holds for its dated ones too, as it would without the shipped table.
    both = prices | {name: others[name] for name in others if prices.keys().isdisjoint(_forms(name))}
    return Prices(own.currency, both, str(path), families)


def _families(file: _File, rules: Mapping[str, ImageRule], where: str) -> dict[str, ImageRule]:
    for name, rule in file.families.items():
        if rule not in rules:
            raise ConfigError(f"{where}: families.{name}: no such image rule {rule!r}; known: {', '.join(rules)}")
    return {name: rules[rule] for name, rule in file.families.items()}


def price(model: str, usage: Usage, *, table: Prices | None = None, local: bool = False) -> float:
    """Cost of a call of a model; see `Prices.find` and `Price.cost`."""
    return (table or read()).find(model, local=local).cost(usage)


def reserve(model: str, request: Request, *, table: Prices | None = None, local: bool = False) -> float:
    """Upper bound of the cost of a request to a model; see `Prices.find` and `Price.reserve`."""
    return (table or read()).find(model, local=local).reserve(request)


def _parse(text: str, where: str) -> _File:
    try:
        return _File.model_validate(toml_text.loads(text))
    except toml_text.TOMLError as problem:
        raise ConfigError(f"{where} is no valid TOML: {problem}") from problem
    except ValidationError as problem:
        first = problem.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where}: {place}: {first['msg'].lower()}") from problem


def _prices(file: _File, rules: Mapping[str, ImageRule], where: str) -> dict[str, Price]:
    prices: dict[str, Price] = {}
    for name, entry in file.models.items():
        if entry.images and entry.images not in rules:
            raise ConfigError(f"{where}: models.{name}: no such image rule {entry.images!r}; known: {', '.join(rules)}")
        rule = rules[entry.images] if entry.images else None
        if entry.local:
            if entry.input or entry.output or entry.cached:
                raise ConfigError(f"{where}: models.{name}: local = true and a price contradict each other")
            prices[name] = Price(name, file.currency, 0.0, 0.0, 0.0, rule, True, entry.date, None, entry.letters)
            continue
        if entry.input is None or entry.output is None:
            raise ConfigError(f"{where}: models.{name}: needs both input and output (per million tokens)")
        # without a stated price, cached input costs what other input does: too much, never too little
        cached = entry.input if entry.cached is None else entry.cached
        prices[name] = Price(
            name, file.currency, entry.input, entry.output, cached, rule, False, entry.date, entry.batch, entry.letters
        )
    return prices
