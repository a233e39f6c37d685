"""Prices: never zero by accident, and pictures counted from their pixels."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from vlfeedback import prices
from vlfeedback.errors import ConfigError
from vlfeedback.prices import ImageRule, image_tokens
from vlfeedback.records import Image, Part, Request, Sampling, Usage

SHIPPED = Path(prices.__file__).with_name("prices.toml")
TILES = ImageRule(kind="tiles", base=85, tile=170)
QWEN = ImageRule(kind="patches", side=28, least=4, most=16_384)


@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    [
        (1024, 768, 765),  # 2 × 2 tiles
        (1920, 1080, 1105),  # shrunk to 1365 × 768: 3 × 2
        (512, 512, 255),  # one tile; small pictures are not enlarged
        (300, 200, 255),
        (2048, 4096, 1105),  # fitted to 1024 × 2048, then to 768 × 1536: 2 × 3
        (10_000, 10_000, 765),
        (8000, 80, 85 + 4 * 170),
        (0, 0, 85 + 8 * 170),  # unknown size: the most there is
    ],
)
def test_tiles(width: int, height: int, tokens: int) -> None:
    assert image_tokens(TILES, width, height) == tokens
    assert image_tokens(TILES, width, height, detail="low") == 85


@given(st.integers(1, 30_000), st.integers(1, 30_000))
def test_an_unknown_size_is_the_upper_bound(width: int, height: int) -> None:
    assert 0 < image_tokens(TILES, width, height) <= image_tokens(TILES, 0, 0)
    assert image_tokens(TILES, width, height) == image_tokens(TILES, height, width)


@pytest.mark.parametrize(("width", "height", "tokens"), [(280, 280, 100), (48, 48, 4), (10, 10, 4), (0, 0, 16_384)])
def test_patches(width: int, height: int, tokens: int) -> None:
    assert image_tokens(QWEN, width, height) == tokens


@pytest.mark.parametrize(
    ("family", "patch", "least", "most"),  # the pixels are those of the checkpoints' preprocessor_config.json
    [("*Qwen2-VL*", 14, 3136, 12_845_056), ("*Qwen2.5-VL*", 14, 3136, 12_845_056), ("*Qwen3-VL*", 16, 65_536, 2**24)],
)
def test_patches_are_those_of_the_image_processor(family: str, patch: int, least: int, most: int) -> None:
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    size = {"shortest_edge": least, "longest_edge": most}
    processor = transformers.Qwen2VLImageProcessorPil(patch_size=patch, merge_size=2, size=size)
    rule = prices.read().families[family]
    sizes = [(10, 10), (48, 48), (200, 100), (256, 256), (640, 480), (1920, 1080), (4000, 300), (33, 57), (1023, 769)]
    for width, height in [*sizes, (10, 1500), (6000, 5000)]:
        assert image_tokens(rule, width, height) == processor.get_number_of_image_patches(height, width) // 4


GRID = ImageRule(kind="grid", side=32, most=1536, factor=1.62)


@pytest.mark.parametrize(
    ("width", "height", "patches"),
    [(1024, 1024, 1024), (1800, 2400, 1452), (2400, 1800, 1452), (4000, 1474, 63 * 23), (10, 10, 1), (0, 0, 1536)],
)
def test_patches_that_cover_the_picture(width: int, height: int, patches: int) -> None:
    # the examples of OpenAI's guide, and 2348 of its calculator for 4000 × 1474, for which a user was billed 2488
    assert image_tokens(GRID, width, height) == math.ceil(1.62 * patches)


@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    [(384, 384, 258), (960, 540, 6 * 258), (1024, 1024, 1032), (1920, 1080, 6 * 258), (4000, 3000, 24 * 258)],
)
def test_crops(width: int, height: int, tokens: int) -> None:
    assert image_tokens(ImageRule(kind="crops", base=258, tile=258), width, height) == tokens


@pytest.mark.parametrize(("width", "height", "tokens"), [(1000, 1000, 1334), (200, 200, 54), (4000, 4000, 1600)])
def test_area(width: int, height: int, tokens: int) -> None:
    assert image_tokens(ImageRule(kind="area", side=750, box=1568, most=1600), width, height) == tokens


@given(
    st.sampled_from(["claude", "gemini", "qwen-32", "openai-patches-mini"]), st.integers(1, 9999), st.integers(1, 9999)
)
def test_every_rule_is_bounded_by_that_of_an_unknown_size(name: str, width: int, height: int) -> None:
    rule = prices._parse(SHIPPED.read_text(encoding="utf-8"), "").images[name]
    assert 0 < image_tokens(rule, width, height) <= image_tokens(rule, 0, 0)


@pytest.mark.parametrize(
    ("name", "tokens"),
    [("gpt-4.1-mini-2025-04-14", 1659), ("gpt-4o-mini", 25_501), ("gpt-5", 630), ("Qwen/Qwen2.5-VL-7B-Instruct", 1369)],
)
def test_a_known_family_needs_no_image_rule_in_its_entry(tmp_path: Path, name: str, tokens: int) -> None:
    own = prices.read(table(tmp_path, f'[models."{name}"]\ninput = 1\noutput = 2'))
    assert own.find(f"openai:{name}").picture(1024, 1024) == tokens
    assert own.find(name, local=True).picture(1024, 1024) == tokens


def test_a_batched_call_costs_its_share_and_an_unknown_discount_is_refused(tmp_path: Path) -> None:
    half = prices.read().find("gpt-4o").batched()
    assert half.cost(Usage(input=1_000_000, output=100_000)) == pytest.approx(1.75)
    own = prices.read(table(tmp_path, '[models."x"]\ninput = 1\noutput = 2'))
    with pytest.raises(ConfigError, match=r"batch = 0\.5"):
        own.find("x").batched()


def test_fixed() -> None:
    assert image_tokens(ImageRule(kind="fixed", tokens=576), 1, 9_999) == 576


def test_the_papers_judging_costs_what_the_notes_say() -> None:
    judge = prices.read().find("gpt-4o")
    once = judge.cost(Usage(input=1_150 + 765 + 650, output=800))
    assert 80_000 * once == pytest.approx(513 + 640, rel=0.002)


@pytest.mark.parametrize(
    "name", ["gpt-4o", "openai:gpt-4o", "openai:gpt-4o-2024-11-20", "openai:gpt-4o-2024-11-20@eu;detail=low"]
)
def test_a_model_is_found_by_identity_name_and_date(name: str) -> None:
    assert prices.price(name, Usage(input=1_000_000, output=100_000)) == pytest.approx(3.5)


def test_a_dated_name_may_have_a_price_of_its_own(tmp_path: Path) -> None:
    used = Usage(input=1_000_000, output=100_000)
    for name in ("gpt-4o-2024-05-13", "openai:gpt-4o-2024-05-13", "openai:gpt-4o-2024-05-13@eu;detail=low"):
        assert prices.price(name, used) == pytest.approx(6.5)
        assert prices.read().find(name).picture(1024, 768) == 765
    assert prices.read().find("gpt-4o-2024-05-13").batched().cost(used) == pytest.approx(3.25)
    assert prices.price("gpt-4o-2024-08-06", used) == prices.price("gpt-4o", used)
    own = prices.read(table(tmp_path, '[models."gpt-4o"]\ninput = 1\noutput = 2'))
    assert own.find("openai:gpt-4o-2024-05-13").cost(used) == pytest.approx(1.2)


@pytest.mark.parametrize("name", ["gpt-4o-mini", "openai:gpt-5", "my-judge", "", "openai:Qwen/Qwen2.5-VL-7B-Instruct"])
def test_an_unknown_price_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"no price for .*\[prices\] path"):
        prices.price(name, Usage(input=1))
    with pytest.raises(ConfigError):
        prices.reserve(name, Request("", (Part(text="x"),), Sampling()))


@pytest.mark.parametrize(
    "name", ["transformers:llava@0123", "scripted:x", "imported:gpt-4v", "pocket/strong", "pocket:a"]
)
def test_what_runs_here_is_free(name: str) -> None:
    assert prices.price(name, Usage(input=10**9, output=10**9)) == 0


def test_local_is_what_the_user_says_unless_there_is_a_price() -> None:
    usage = Usage(input=1_000_000)
    assert prices.price("openai:my/model", usage, local=True) == 0
    assert prices.price("openai:gpt-4o", usage, local=True) == 2.5

    class Opened:
        identity, name, local = "my-judge", "gpt-4o", True

    assert prices.read().of(Opened()).input == 2.5


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / f"prices{len(list(tmp_path.iterdir()))}.toml"
    path.write_text(text)
    return path


def test_the_users_table_comes_first_and_extends_the_shipped_one(tmp_path: Path) -> None:
    own = prices.read(
        table(tmp_path, '[models."Qwen/*"]\ninput = 1\noutput = 2\ncached = 0.5\nimages = "qwen-28"\n'
                        '[models."gpt-4o"]\ninput = 9\noutput = 9')
    )  # fmt: skip
    qwen = own.find("openai:Qwen/Qwen2.5-VL-7B-Instruct")
    assert qwen.cost(Usage(input=1_000_000, cached=400_000, output=500_000)) == pytest.approx(0.6 + 0.2 + 1.0)
    assert qwen.picture(280, 280) == 100
    assert own.find("gpt-4o").input == 9
    assert own.find("transformers:x").local


def test_cached_input_without_a_price_is_not_free() -> None:
    gpt = prices.read().find("gpt-4o")
    assert gpt.cost(Usage(input=1_000_000, cached=1_000_000)) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[families]\n"x*" = "nope"', "nope"),
        ('[models."x"]\ninput = 1', "input and output"),
        ('[models."x"]\ninput = 1\noutput = 2\nimages = "nope"', "nope"),
        ('[models."x"]\nlocal = true\ninput = 3', "contradict"),
        ('[models."x"]\ninputs = 3', "inputs"),
        ('[models."x"]\ninput = -3\noutput = 1', "greater than"),
        ("not toml", "no valid TOML"),
    ],
)
def test_half_a_price_is_a_mistake(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        prices.read(table(tmp_path, text))


def test_two_currencies_are_not_added_up(tmp_path: Path) -> None:
    own = prices.read(table(tmp_path, 'currency = "EUR"\n[models."x"]\ninput = 1\noutput = 2'))
    assert own.find("x").currency == "EUR"
    with pytest.raises(ConfigError):
        own.find("gpt-4o")
    with pytest.raises(ConfigError):
        prices.read(tmp_path / "missing.toml")


@given(st.text(max_size=200), st.text(max_size=200), st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 500))
def test_the_reserve_is_an_upper_bound(system: str, text: str, width: int, height: int, out: int) -> None:
    picture = Image("0" * 64, "r:x.png", width, height)
    request = Request(system, (Part(image=picture), Part(text=text or "x")), Sampling(max_tokens=out))
    gpt = prices.read().find("gpt-4o")
    tokens = len(system.encode()) + len(text.encode()) + image_tokens(TILES, width, height)
    assert gpt.reserve(request) >= gpt.cost(Usage(input=tokens, output=out))


def test_the_reserve_knows_the_recipe_and_refuses_uncounted_pictures(tmp_path: Path) -> None:
    picture = Image("0" * 64, "r:x.png", 4000, 3000)
    parts = (Part(image=picture), Part(text="x"))
    gpt = prices.read().find("gpt-4o")
    full, small = (gpt.reserve(Request("", parts, Sampling(), recipe=recipe)) for recipe in ("original", "fit-512-png"))
    assert full - small == pytest.approx((765 - 255) * 2.5 / 1e6)
    blind = prices.read(table(tmp_path, '[models."x"]\ninput = 1\noutput = 2')).find("x")
    assert blind.reserve(Request("", parts[1:], Sampling())) > 0
    with pytest.raises(ConfigError, match="how many tokens a picture is"):
        blind.reserve(Request("", parts, Sampling()))
