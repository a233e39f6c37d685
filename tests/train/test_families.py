"""Shared rows against plain forwards on many families; the slow test writes what it measures into docs/families.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import families
import pytest
import torch
import transformers
from families import FAMILIES, Album, Family

from vlfeedback.errors import ConfigError
from vlfeedback.train import Lora, Recipe
from vlfeedback.train._collate import Encoded, collate
from vlfeedback.train._layout import UnsharedRows
from vlfeedback.train._layouts import layouts, refuse_foresight, why_not
from vlfeedback.train._logps import forward_logps, grouped_logps, unwrapped
from vlfeedback.train._shared import SharedRows
from vlfeedback.train._weights import make_trainable, vision_tower
from vlfeedback.train.sigmoid import dpo_loss

PAGE = Path(__file__).resolve().parents[2] / "docs" / "families.md"
TOKENIZER = SimpleNamespace(pad_token_id=0, eos_token_id=3)
PER_TOKEN, PER_RESPONSE, GRADIENT = 5e-6, 1e-6, 1e-4
"""What is allowed: nats per token, nats per response over its tokens, relative error of the adapters' gradient."""
NOT_SHARING = ("PaliGemma 2", "Qwen3.5")


@dataclass(frozen=True, slots=True)
class Measured:
    """A row of the page; differences are the largest ones.

    Attributes:
        layout: The fastest that the model takes.
        two, eight: Nats per token, groups of two and of eight responses with a picture.
        pictures, none: The same with two pictures and with none, alone and beside a group that has one.
        left: The same with the padding on the left.
        response: Nats of a whole response divided by its tokens.
        gradient, recomputed: Relative error of the adapters' gradient, without and with gradient checkpointing.
        tokens: What the language model reads of a group of P prompt tokens, four responses of R tokens in all.
        passes: Pictures that pass the tower, of one in the group.
    """

    layout: str
    two: float
    eight: float
    pictures: float
    none: float
    left: float
    response: float
    gradient: float
    recomputed: float
    tokens: str
    passes: int


class Bench:
    """A family's model with an album, and its layouts."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.model = families.build(family)
        self.album = Album(family, self.model)
        self.best = layouts(self.model, TOKENIZER)[0]

    def plain(self, groups: Sequence[Encoded]) -> torch.Tensor:
        said = int(self.family.both_ways)
        return torch.cat(
            [families.plain_logps(self.model, group, self.album.pictures(group), said=said) for group in groups]
        )

    def arranged(self, groups: Sequence[Encoded], **changes: Any) -> Any:
        layout: Any = replace(self.best.layout, **changes)  # pyright: ignore[reportArgumentType, reportCallIssue]
        return collate(groups, layout=layout, pictures=self.album.pictures).rows

    def off(self, groups: Sequence[Encoded], **changes: Any) -> float:
        """Largest difference of a token's log p in one batch of these groups."""
        with torch.no_grad():
            found, truth = forward_logps(self.model, self.arranged(groups, **changes)), self.plain(groups)
        return float((found - truth).abs().max())


def sizes(bench: Bench, responses: int, pictures: int = 1) -> list[Encoded]:
    """Two groups of different lengths, so that one of them is padded."""
    return [
        bench.album.group(seed, pictures=pictures, responses=responses, words=words)
        for seed, words in ((10 * responses + pictures, 5), (11 * responses + pictures + 100, 14))
    ]


def mixed(bench: Bench) -> list[Encoded]:
    """One group with a picture and one without, the shorter of the two."""
    return [*sizes(bench, 3)[1:], *sizes(bench, 3, pictures=0)[:1]]


def by_response(bench: Bench) -> float:
    groups = sizes(bench, 4)
    with torch.no_grad():
        rows = bench.arranged(groups)
        logps = grouped_logps(bench.model, rows)
        truth = torch.zeros_like(logps.total).index_add(0, rows.owner, bench.plain(groups).double())
    return float(((logps.total - truth).abs() / logps.lengths).max())


def adapters(bench: Bench) -> Any:
    """The model with adapters that do something, in training mode."""
    model = make_trainable(bench.model, Recipe(model="", lora=Lora(r=4, dropout=0.0)))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.2)
    return model.train()


def gradient_off(bench: Bench, model: Any) -> float:
    """Relative error of the gradient of the DPO loss of two groups, all adapters as one vector."""
    groups = sizes(bench, 4)
    rows = bench.arranged(groups)
    pairs = torch.tensor([(4 * n + a, 4 * n + b) for n in range(2) for a, b in groups[n].pairs])
    found: list[torch.Tensor] = []
    ways: tuple[Callable[[], torch.Tensor], ...] = (
        lambda: grouped_logps(model, rows).total,
        lambda: torch.zeros(8, dtype=torch.float64).index_add(0, rows.owner, bench.plain(groups).double()),
    )
    reference = ways[0]().detach() + torch.linspace(-3, 3, 8, dtype=torch.float64)
    for way in ways:
        model.zero_grad()
        dpo_loss(way(), reference, pairs, 0.1).losses.mean().backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert float(found[1].norm()) > 1e-3
    return float((found[0] - found[1]).norm() / found[1].norm())


def counted(bench: Bench) -> tuple[int, int, Encoded]:
    """Tokens the language model reads and pictures the tower sees in one forward of one group."""
    inner = unwrapped(bench.model)
    group = bench.album.group(7, pictures=1, responses=4)
    read: list[int] = []
    seen: list[int] = []
    hooks = [
        inner.get_decoder().register_forward_pre_hook(
            lambda _, __, given: read.append(given["inputs_embeds"].shape[:2].numel()), with_kwargs=True
        ),
        vision_tower(inner).register_forward_pre_hook(lambda *_: seen.append(1), with_kwargs=True),
    ]
    with torch.no_grad():
        grouped_logps(bench.model, bench.arranged([group]))
    for hook in hooks:
        hook.remove()
    return sum(read), sum(seen), group


def measured(family: Family) -> Measured:
    bench = Bench(family)
    tokens, passes, group = counted(bench)
    prompt, said = len(group.prompt), sum(map(len, group.responses))
    # The last token of every response is predicted and is no input.
    once = prompt + said - len(group.responses)
    row: dict[str, Any] = {
        "layout": bench.best.name,
        "two": bench.off(sizes(bench, 2)),
        "eight": bench.off(sizes(bench, 8)),
        "pictures": bench.off(sizes(bench, 3, pictures=2)),
        "none": max(bench.off(sizes(bench, 3, pictures=0)), bench.off(mixed(bench))),
        "left": bench.off(sizes(bench, 4), side="left"),
        "response": by_response(bench),
        "tokens": "P + R − 4" if tokens == once else f"{tokens} of {once}",
        "passes": passes,
    }
    model = adapters(bench)
    row["gradient"] = gradient_off(bench, model)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    row["recomputed"] = gradient_off(bench, model)
    return Measured(**row)


def check(family: Family, found: Measured) -> None:
    assert max(found.two, found.eight, found.pictures, found.none, found.left) <= PER_TOKEN
    assert found.response <= PER_RESPONSE
    assert max(found.gradient, found.recomputed) <= GRADIENT
    assert found.passes == 1
    shares = family.name not in NOT_SHARING
    assert (found.layout == "shared") == shares
    assert not shares or found.tokens == "P + R − 4"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda one: one.name)
def test_a_family_gives_the_numbers_of_plain_forwards(family: Family) -> None:
    check(family, measured(family))


@pytest.mark.slow
def test_write_the_page() -> None:
    found = {family: measured(family) for family in FAMILIES}
    for family, row in found.items():
        check(family, row)
    PAGE.write_text(page(found), encoding="utf-8")


def test_the_page_has_a_number_in_every_cell() -> None:
    rows = [line.split("|")[1:-1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    table = [row for row in rows if row[0].strip() in {family.name for family in FAMILIES}]
    assert len(table) == len(FAMILIES) >= 10
    assert all(cell.strip() for row in table for cell in row)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda one: one.name)
def test_pictures_and_words_matter_to_these_models(family: Family) -> None:
    """Otherwise equal numbers would say nothing: another picture, prompt or order of tokens gives other ones."""
    bench = Bench(family)
    group = bench.album.group(1, pictures=1, responses=2)
    with torch.no_grad():
        truth = bench.plain([group])
        others = [
            torch.cat([families.plain_logps(bench.model, changed, shown, said=int(family.both_ways))])
            for changed, shown in variants(bench, group)
        ]
    assert all(float((other - truth).abs().max()) > 100 * PER_TOKEN for other in others)


def variants(bench: Bench, group: Encoded) -> Iterator[tuple[Encoded, families.Fields]]:
    shown = bench.album.pictures(group)
    yield group, {name: value.flip(-1) if name == "pixel_values" else value for name, value in shown.items()}
    word = group.prompt.copy()
    word[-9] += 1
    yield replace(group, prompt=word), shown


def test_a_mask_that_forgets_the_window_is_caught() -> None:
    """The sliding layers of Gemma 3 reach back 12 places, not the whole prompt and not 12 columns of the row."""
    bench = Bench(next(one for one in FAMILIES if one.name == "Gemma 3"))
    assert isinstance(bench.best.layout, SharedRows)
    kinds = bench.best.layout.kinds
    assert dict(kinds) == {"full_attention": None, "sliding_attention": 12}
    wide = tuple((kind, None) for kind, _ in kinds)
    assert bench.off(sizes(bench, 4), kinds=wide) > 100 * PER_TOKEN
    assert bench.off(sizes(bench, 4), blocks="none") > 100 * PER_TOKEN


def test_a_response_of_paligemma_does_not_see_its_own_future() -> None:
    """Its `token_type_ids` of 0 mean "all of this sees each other": a response marked so would know what comes."""
    bench = Bench(next(one for one in FAMILIES if one.name == "PaliGemma"))
    plain = layouts(bench.model, TOKENIZER)[-1].layout
    assert isinstance(plain, UnsharedRows)
    group = bench.album.group(3, pictures=1, responses=2)
    other = group.responses[0].copy()
    other[-1] = (other[-1] + 1) % families.VOCABULARY
    changed = replace(group, responses=(other, group.responses[1]))
    for layout in (plain, bench.best.layout):
        with torch.no_grad():
            found = [
                forward_logps(bench.model, collate([one], layout=layout, pictures=bench.album.pictures).rows)
                for one in (group, changed)
            ]
        before = len(other) - 1
        assert torch.equal(found[0][:before], found[1][:before])


def test_a_model_that_knows_the_future_is_refused() -> None:
    """PaliGemma with responses marked as prompts, as a trainer would do that knows no better."""
    bench = Bench(next(one for one in FAMILIES if one.name == "PaliGemma"))
    plain: Any = layouts(bench.model, TOKENIZER)[-1].layout
    groups = [bench.album.group(3, pictures=1, responses=2)]

    def tokens(batch: Any) -> list[float]:
        with torch.no_grad():
            return forward_logps(bench.model, batch.rows).tolist()

    refuse_foresight(plain, groups, cast("Any", bench.album), tokens, 1e-3)
    with pytest.raises(ConfigError, match="see their own future"):
        refuse_foresight(replace(plain, said=0), groups, cast("Any", bench.album), tokens, 1e-3)


def test_layers_with_a_memory_are_refused_by_name() -> None:
    bench = Bench(next(one for one in FAMILIES if one.name == "Qwen3.5"))
    assert why_not(bench.model) == "some layers are linear_attention"
    assert bench.best.name == "features once"


def page(found: dict[Family, Measured]) -> str:
    """The table as Markdown."""
    heads = (
        "family", "class in transformers", "layout", "2 responses", "8 responses", "2 pictures", "no picture",
        "padded left", "response", "gradient", "recomputed", "tokens read", "tower passes",
    )  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for family, row in found.items():
        cells = [shown(getattr(row, field.name)) for field in fields(row)]
        lines.append(f"| {family.name} | `{family.model}` | {' | '.join(cells)} |")
    table = "\n".join(lines)
    token, response, gradient = (f"{limit:.0e}" for limit in (PER_TOKEN, PER_RESPONSE, GRADIENT))
    versions = f"transformers {transformers.__version__}, torch {torch.__version__.partition('+')[0]}"
    return f"""# Families of models

Written by `tests/train/test_families.py` (`pytest -m slow tests/train/test_families.py`); {versions},
fp32 on a processor. Every model is tiny and random, built from its configuration: what is measured is masks, positions
and features, which do not depend on the size.

Each cell is the largest difference to plain forwards of one response each, in which the model makes its own masks and
positions. *2 responses* to *padded left*: nats per token, at most {token} is allowed; *no picture* is of words alone,
by themselves and beside a group with a picture, encoded as a run encodes them. *response*: nats of a whole
response divided by its tokens, at most {response}. *gradient*, and *recomputed* with gradient checkpointing:
relative error of the adapters' gradient of the DPO loss, at most {gradient}. *tokens read* by the language model of a
group of P prompt tokens and four responses of R tokens in all (the last token of each is predicted and read by nobody),
and passes of its one picture through the vision tower.

{table}

Families that share read the prompt once. The others read it once per response, with the features of its pictures
computed once:

{"".join(f"- {family.name}: {why}.{chr(10)}" for family, why in reasons(found))}
Other families work too if their class is one of transformers': every run computes some of its groups in the fast layout
and with each response in a forward of its own, and falls back with a warning where they differ (`selfcheck.json` of the
checkpoint). `vlfeedback doctor --model NAME_OR_PATH` does the same for any model before a run. A model whose responses
see their own future is refused, and so is one that no layout gives the numbers of single forwards.
"""


def reasons(found: dict[Family, Measured]) -> Iterator[tuple[Family, str]]:
    for family, row in found.items():
        if row.layout != "shared":
            yield family, why_not(families.build(family))


def shown(value: float | int | str) -> str:
    if isinstance(value, float):
        assert math.isfinite(value)
        return f"{value:.0e}"
    return str(value)


@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_a_blank_picture_changes_nothing_and_trains_what_a_picture_does(family: Family) -> None:
    bench = Bench(family)
    policy = make_trainable(bench.model, Recipe(model="", lora=None)).train()
    shown, told = (bench.album.group(7 + count, pictures=count, responses=2) for count in (1, 0))
    rows = bench.arranged([told])
    ways = [bench.arranged([shown]), replace(rows, unseen=bench.album.pictures(shown))]
    trained: list[set[str]] = []
    for way in ways:
        policy.zero_grad()
        grouped_logps(policy, way).total.sum().backward()
        trained.append({name for name, one in policy.named_parameters() if one.grad is not None})
    assert trained[0] == trained[1]
    policy.eval()
    with torch.no_grad():
        assert torch.equal(forward_logps(policy, ways[1]), forward_logps(policy, rows))
