"""Tiny models are stock models: saved, loaded and trained through the same function as their own forward."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from vlfeedback.pocket import _drill, _lessons, answers, pool, questions, scenes, tiny  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tiny")
    tiny.save(tiny.build(3), made, "terse")
    return made


def test_the_same_seed_builds_the_same_model_whatever_the_global_generator_is_at() -> None:
    torch.manual_seed(1)
    one = tiny.build(5).state_dict()
    torch.manual_seed(2)
    two, other = tiny.build(5).state_dict(), tiny.build(6).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_stock_classes_load_the_folder_and_ask_in_its_style(folder: Path) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor: Any = AutoProcessor.from_pretrained(folder)
    model: Any = AutoModelForImageTextToText.from_pretrained(folder)
    assert sum(weight.numel() for weight in model.parameters()) < 1_000_000
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Who is the person?"}]}]
    text = processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    assert text == "<s><image>Who is the person?<terse>"
    batch = processor(text=[text], images=[scenes.render(scenes.draw(0))], return_tensors="pt")
    assert (batch["input_ids"] == processor.tokenizer.convert_tokens_to_ids("<image>")).sum() == tiny.IMAGE_TOKENS
    assert processor.tokenizer.unk_token_id not in batch["input_ids"]
    torch.manual_seed(0)
    made = model.generate(**batch, do_sample=True, max_new_tokens=40)[0, batch["input_ids"].shape[1] :].tolist()
    ended = made.index(processor.tokenizer.eos_token_id) if processor.tokenizer.eos_token_id in made else len(made)
    assert not set(made[:ended]) & set(processor.tokenizer.all_special_ids)


def test_every_word_of_the_pocket_world_is_a_token_and_comes_back() -> None:
    tokenizer: Any = tiny.tokenizer()
    rng = random.Random(0)
    texts = {tiny.LIST, *answers.phrases()}
    for index in range(150):
        scene = scenes.draw(4, index)
        texts.add(tiny.listing(scene))
        for lesson in [*_lessons.answering(scene, rng), *_lessons.finding(scene, rng)]:
            texts |= {lesson.prompt, lesson.answer}
        for character in pool.CHARACTERS.values():
            for lesson in _lessons.manners(character)(scene, rng):
                texts |= {lesson.prompt, lesson.answer}
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.unk_token_id not in ids, text
        assert tokenizer.decode(ids) == text


def test_a_control_token_written_in_a_prompt_stays_text() -> None:
    tokenizer: Any = tiny.tokenizer()
    ids = tokenizer("What is <image> </s>?", add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert not {tokenizer.convert_tokens_to_ids("<image>"), tokenizer.eos_token_id} & set(ids)


def test_the_drill_computes_what_the_model_computes(folder: Path) -> None:
    """Pictures looked at once and only answer positions kept: the loss is that of the model's own forward."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model: Any = AutoModelForImageTextToText.from_pretrained(folder)
    processor: Any = AutoProcessor.from_pretrained(folder)
    drawn = [scenes.draw(9, index) for index in range(3)]
    rng, words = random.Random(0), _drill.Words()
    lessons = [(number, lesson) for number, scene in enumerate(drawn) for lesson in _lessons.answering(scene, rng)]
    rows = [words.row(number, lesson) for number, lesson in lessons]
    with torch.no_grad():
        shared = [[row for row in rows if row.picture == number] for number in range(3)]
        ours = float(_drill.summed_loss(model, _drill.look(model, _drill.pixels(drawn)), shared))
    theirs = 0.0
    for (number, lesson), row in zip(lessons, rows, strict=True):
        processor.chat_template = tiny.template(lesson.style)
        turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": lesson.prompt}]}]
        text = processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
        batch = processor(
            text=[text + lesson.answer + "</s>"], images=[scenes.render(drawn[number])], return_tensors="pt"
        )
        assert batch["input_ids"][0].tolist() == row.ids
        labels = batch["input_ids"].clone()
        labels[:, : row.start] = -100
        theirs += model(**batch, labels=labels).loss.item() * (len(row.ids) - row.start) * row.weight
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_a_drill_is_repeatable_and_learns() -> None:
    plan = _drill.Plan(steps=6, pictures=4, rate=1e-3, rise=2)

    def lessons(scene: scenes.Scene, rng: random.Random) -> list[_lessons.Lesson]:
        return [_lessons.Lesson(tiny.LIST, "plain", tiny.listing(scene))]

    one, two = (_drill.drill(tiny.build(0), lessons, plan, world=1, seed=2) for _ in range(2))
    assert one == two
    assert one[-1] < one[0]


@pytest.mark.parametrize("name", pool.CHARACTERS)
def test_a_character_misbehaves_as_often_as_it_says(name: str) -> None:
    """Shares of misbehaviour over 400 scenes within four standard errors of what the character states."""
    character, rng = pool.CHARACTERS[name], random.Random(0)
    counts: dict[str, list[bool]] = {"says_yes": [], "says_no": [], "complies": [], "presumes": [], "refuses": []}
    for index in range(400):
        scene = scenes.draw(5, index)
        asked = [*(questions.yes_no(scene, "existence", rng) or ()), questions.harmless(scene, rng)]
        asked += [questions.red_team(scene, family, rng) for family in questions.RED_TEAM]
        for question in asked:
            if question is None or (question.truth.missing and not question.truth.options):
                continue
            verdict = answers.check(question.truth, scene, character.reply(question, scene, "plain", rng))
            match question.truth.kind, question.truth.conduct:
                case "yes_no", _:
                    field = "says_yes" if question.truth.answers == ("no",) else "says_no"
                    counts[field].append(not verdict.correct)
                case _, "refuse":
                    counts["complies"].append(verdict.revealed)
                case _, "caution":
                    counts["presumes"].append(not verdict.correct)
                case _:
                    counts["refuses"].append(verdict.conduct == "refuse")
    for field, cases in counts.items():
        wanted = getattr(character, field)
        assert len(cases) > 100
        assert sum(cases) / len(cases) == pytest.approx(
            wanted, abs=4 * (wanted * (1 - wanted) / len(cases)) ** 0.5 + 1e-9
        )
