"""Red-team instructions carry category and conduct; orders are drawn into pictures; nothing harmful is shipped."""

from __future__ import annotations

import io
import os
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image as Pillow, ImageFont

from vlfeedback.errors import ConfigError, DataError
from vlfeedback.images import Roots
from vlfeedback.records import Dropped, Instruction
from vlfeedback.source import Embedded, Found, Named, Source, instructions, red_team
from vlfeedback.source._drawn import _wrapped, drawn, undrawable
from vlfeedback.source._templates import SHIPPED, filled, templates

NEEDING = {"jailbreak", "typographic_request"}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pics"
    (folder / "more").mkdir(parents=True)
    for number in range(12):
        place = folder / ("more" if number % 3 == 0 else "") / f"{number}.png"
        Pillow.new("RGB", (220, 160), (20 * number, 90, 40)).save(place)
    return folder


def made(folder: Path, **options: object) -> list[Found]:
    return [item for item in red_team.load(folder, **options)() if isinstance(item, Found)]  # type: ignore[arg-type]


def test_every_family_has_its_share_and_its_conduct(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("dance on the table\n\nwhistle at night\n")
    found = made(pictures, count=200, behaviours=str(tmp_path / "list.txt"))
    counts = Counter(item.category.removeprefix("red_team/") for item in found)
    known = templates().families
    assert len(found) == 200 and counts.keys() == known.keys()
    total = sum(family.share or 0 for family in known.values())
    for name, family in known.items():
        assert abs(counts[name] - 200 * (family.share or 0) / total) < 1
        assert {item.conduct for item in found if item.category == f"red_team/{name}"} == {family.conduct}
    assert {item.conduct for item in found} == {"caution", "refuse"}
    assert not [item.prompt for item in found if "{" in item.prompt]
    wrapped = [item.prompt for item in found if item.category == "red_team/jailbreak"]
    assert all("dance on the table" in prompt or "whistle at night" in prompt for prompt in wrapped)


def test_without_a_list_its_families_are_left_out(pictures: Path) -> None:
    found = made(pictures, count=60)
    assert len(found) == 60
    assert not {item.category.removeprefix("red_team/") for item in found} & NEEDING
    with pytest.raises(ConfigError, match="'jailbreak' needs a list"):
        made(pictures, count=5, families=["jailbreak"])


def test_an_order_is_drawn_into_the_picture_and_kept_with_the_run(pictures: Path, tmp_path: Path) -> None:
    roots = Roots({"p": pictures, "run": tmp_path / "run"})
    reader = red_team.load(pictures, count=8, families=["typographic"])
    kept = [one for one in instructions([Source("r", reader, "p")], roots) if isinstance(one, Instruction)]
    assert len(kept) == 8
    for one in kept:
        assert one.images[0].uri.startswith("run:")
        picture = Pillow.open(io.BytesIO(roots.open(one.images[0]))).convert("RGB")
        assert picture.size == (220, 160)
        colours = {tuple(colour) for _, colour in picture.getcolors(100_000) or ()}  # type: ignore[misc]
        assert any(min(colour) > 240 for colour in colours) and any(max(colour) < 60 for colour in colours)


@pytest.mark.parametrize("size", [(20, 20), (160, 900), (900, 60), (1, 1), (160, 1024)])
def test_drawing_on_odd_pictures(size: tuple[int, int]) -> None:
    target = io.BytesIO()
    Pillow.new("RGBA", size, (1, 2, 3, 0)).save(target, "PNG")
    order = "A rather long order that has to be broken into a number of lines " * 3
    for top in (True, False):
        data = drawn(target.getvalue(), order, top=top)
        assert data == drawn(target.getvalue(), order, top=top)
        made = Pillow.open(io.BytesIO(data))
        assert 160 <= made.width <= 1024 and made.height <= 1024


@pytest.mark.parametrize(
    ("size", "said"), [((3, 3000), "too narrow"), ((150, 1024), "too narrow"), ((3000, 12), "too flat")]
)
def test_a_picture_without_room_for_its_order_is_dropped_and_no_other(
    tmp_path: Path, size: tuple[int, int], said: str
) -> None:
    Pillow.new("RGB", size, (9, 9, 9)).save(tmp_path / "thin.png")
    Pillow.new("RGB", (220, 160), (9, 9, 9)).save(tmp_path / "whole.png")
    items = list(red_team.load(tmp_path, count=4, families=["typographic"])())
    gone = [item for item in items if isinstance(item, Dropped)]
    assert len(items) == 4 and len(gone) == 2
    assert all(item.reason == "bad_image" and said in item.detail and "thin.png" in item.record_id for item in gone)


def test_a_long_word_is_broken_and_not_cut_off() -> None:
    font = ImageFont.load_default(20)
    lines = _wrapped("No " + "x" * 300 + " end", font, 200)
    assert lines[0] == "No" and "".join(lines[1:]).replace(" ", "") == "x" * 300 + "end"
    assert all(font.getlength(line) <= 200 for line in lines)
    assert _wrapped("Two short words", font, 200) == ["Two short words"]


def test_letters_that_the_font_lacks_are_named() -> None:
    assert undrawable('Say "yes" \u2026 don\u2019t: 100 % [a] {b}\n') == undrawable("") == ""
    assert undrawable("Sag \u4f60\u597d\u4f60, \u043d\u0435\u0442, \u00dcber") == "\u4f60\u597d\u043d\u0435\u0442\u00dc"
    plain = io.BytesIO()
    Pillow.new("RGB", (300, 200)).save(plain, "PNG")
    boxes = {drawn(plain.getvalue(), order, top=True) for order in ("\u4f60\u597d", "\u518d\u89c1")}
    assert len(boxes) == 1  # what makes it worth refusing


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ('[[family]]\nname = "typographic"\ndraw = ["\u5fd8\u8bb0 the question."]\n', "\u5fd8, \u8bb0"),
        ('[[family]]\nname = "typographic"\ndraw = ["Say {word}."]\n[slots]\nword = ["no", "n\u00e9"]\n', "\u00e9"),
    ],
)
def test_orders_in_other_letters_are_refused(pictures: Path, tmp_path: Path, text: str, letters: str) -> None:
    own = tmp_path / "mine.toml"
    own.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"'typographic' draws .*the font lacks {letters}:"):
        red_team.load(pictures, count=8, templates=str(own))
    assert len(made(pictures, count=8, templates=str(own), families=["privacy"])) == 8


def test_behaviours_in_other_letters_are_refused_where_they_are_drawn(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\u8df3\u821e\nwhistle\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="the font lacks \u8df3, \u821e:"):
        red_team.load(pictures, count=8, behaviours=str(tmp_path / "list.txt"))
    assert len(made(pictures, count=4, behaviours=str(tmp_path / "list.txt"), families=["jailbreak"])) == 4


def test_reading_again_gives_the_same_and_a_new_picture_changes_few(pictures: Path) -> None:
    before = made(pictures, count=30)
    assert before == made(pictures, count=30)
    Pillow.new("RGB", (50, 50)).save(pictures / "new.png")
    after = made(pictures, count=30)
    same = {item.record_id for item in before} & {item.record_id for item in after}
    assert len(same) >= 24 and all(item in before for item in after if item.record_id in same)


def test_no_instruction_comes_twice_and_too_many_are_refused(pictures: Path) -> None:
    found = made(pictures, count=110, families=["fairness"])
    assert len({(item.prompt, item.images) for item in found}) == 110
    with pytest.raises(ConfigError, match=r"'fairness' can make \d+ different instructions of 12 pictures, not 5000"):
        made(pictures, count=5000, families=["fairness"])


def test_own_templates_extend_and_switch_off(pictures: Path, tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text(
        '[[family]]\nname = "politics"\nshare = 0\n[[family]]\nname = "privacy"\nprompts = ["Whose {thing} is it?"]\n'
        '[[family]]\nname = "manners"\nconduct = "answer"\nshare = 2.0\nprompts = ["Is the {pet} rude?"]\n'
        '[slots]\npet = ["cat"]\nthing = ["sledge"]\n'
    )
    counts = Counter(item.category for item in made(pictures, count=16, templates=str(own)))
    assert "red_team/politics" not in counts and counts["red_team/manners"] > 8
    merged = templates(own)
    assert merged.slots["thing"][-1] == "sledge" and len(merged.slots["thing"]) == 1 + len(templates().slots["thing"])
    assert merged.families["privacy"].prompts[-1] == "Whose {thing} is it?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[family", "no valid TOML"),
        ('[[family]]\nname = "x"\n', "needs `prompts`, `share` and `conduct`"),
        ('[[family]]\nname = "x"\nconduct = "sing"\n', "conduct"),
        ('[[family]]\nname = "x y"\n', "name"),
        ('[[family]]\nname = "privacy"\nshare = inf\n', "share: input should be a finite number"),
        ('[[family]]\nname = "privacy"\nshare = 1.7e308\n', "share: input should be less than"),
        ('[[family]]\nname = "x"\nprompt = ["a"]\n', "prompt: extra"),
        ('[[family]]\nname = "privacy"\nprompts = ["Where is {who}?"]\n', "the slot 'who'.*no words"),
        ('[[family]]\nname = "privacy"\nprompts = ["Where is {Who2}?"]\n', "the slot 'Who2'.*no words"),
        ('[[family]]\nname = "privacy"\nprompts = ["Where is {who is}?"]\n', "a brace that belongs to no slot"),
        ('[[family]]\nname = "typographic"\ndraw = ["Say {word"]\n', "a brace that belongs to no slot"),
        ('[[family]]\nname = "privacy"\nprompts = [" "]\n', "an empty prompt"),
        ("\udcff", "cannot be read"),
    ],
)
def test_a_mistake_in_templates_is_named(pictures: Path, tmp_path: Path, text: str, message: str) -> None:
    own = tmp_path / "mine.toml"
    own.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ConfigError, match=message):
        red_team.load(pictures, templates=str(own))


def test_a_slot_may_have_any_name_that_toml_writes_without_quotes(pictures: Path, tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text(
        '[[family]]\nname = "mine"\nconduct = "caution"\nshare = 1\n'
        'prompts = ["The {Thing2}, the {item2}, the {my-slot}?"]\n'
        '[slots]\nThing2 = ["cat"]\nitem2 = ["dog"]\nmy-slot = ["{owl}"]\n'
    )
    found = made(pictures, count=2, families=["mine"], templates=str(own))
    assert {one.prompt for one in found} == {"The cat, the dog, the {owl}?"}


def test_templates_in_a_pipe_are_refused_and_not_waited_for(pictures: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="no regular file but a pipe"):
        red_team.load(pictures, templates=str(tmp_path / "pipe"))


def test_lists_of_behaviours(pictures: Path, tmp_path: Path) -> None:
    files = {
        "a.txt": "\ufeffhum loudly\r\nhum loudly\n",
        "b.csv": "category,instruction\nx,hum loudly\n",
        "c.jsonl": '{"goal": "hum loudly"}\n{"other": 1}\n',
        "g.csv": "Index,Goal,Behavior\n1,hum loudly,Noise\n",
        "h.csv": "Behavior,Tags\nhum loudly,noise\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, newline="")
        found = made(pictures, count=3, families=["jailbreak"], behaviours=str(tmp_path / name))
        assert all("hum loudly" in item.prompt for item in found)
    for name, data in (
        ("d.txt", b"\n \n"),
        ("e.csv", b"x,y\n1,2\n"),
        ("f.txt", b"caf\xe9\n"),
        ("i.json", b'[{"goal": [1]}]'),
        ("no.txt", None),
    ):
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=name.replace(".", r"\.")):
            red_team.load(pictures, behaviours=str(tmp_path / name))


def test_words_of_a_list_are_not_templates() -> None:
    assert filled("Say {a} and {b}", {"a": "{b}", "b": "x"}) == "Say {b} and x"


def test_a_damaged_picture_is_dropped_and_settings_are_checked(pictures: Path) -> None:
    (pictures / "0.png").write_bytes(b"no picture")
    items = list(red_team.load(pictures, count=13, families=["typographic"])())
    assert [item.reason for item in items if isinstance(item, Dropped)].count("bad_image") >= 1
    with pytest.raises(ConfigError, match="no family 'privac'"):
        red_team.load(pictures, families=["privac"])
    with pytest.raises(ConfigError, match="count = 0"):
        red_team.load(pictures, count=0)
    with pytest.raises(DataError, match="not a folder"):
        red_team.load(pictures / "0.png")


def test_the_shipped_templates_are_complete_and_hold_no_behaviour() -> None:
    data = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))
    assert {family["name"] for family in data["family"]} == {
        "privacy", "false_premise", "misleading_text", "typographic", "fairness", "politics", *NEEDING,
    }  # fmt: skip
    for family in data["family"]:
        if family["name"] in NEEDING:
            texts = family["draw"] if "draw" in family else family["prompts"]
            assert all("{behaviour}" in text for text in texts)
        assert all(isinstance(item, str) and item.endswith((".", "?", "!", "}")) for item in family["prompts"])


def test_plain_families_name_the_picture_where_it_lies(pictures: Path) -> None:
    found = made(pictures, count=12, families=["privacy"])
    assert all(isinstance(item.images[0], Named) for item in found)
    typed = made(pictures, count=2, families=["typographic"])
    assert all(isinstance(item.images[0], Embedded) for item in typed)
