"""The card beside the weights: data, settings, and scores once there are any."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlfeedback.train import Lora, Recipe
from vlfeedback.train._model_card import ScoreRow, add_scores, merged_card, write_card
from vlfeedback.train.sigmoid import load as sigmoid


@pytest.fixture
def card(tmp_path: Path) -> Path:
    (tmp_path / "secret-place" / "base").mkdir(parents=True)
    recipe = Recipe(model=str(tmp_path / "secret-place" / "base"), lora=Lora(r=8), init="org/start")
    counts = {"groups": 3, "pairs": 12, "steps": 5}
    write_card(tmp_path, recipe, sigmoid(), **counts, sources={"llava": 2, "a|b": 1})
    return tmp_path / "README.md"


def test_data_and_settings_are_there_and_no_place_of_this_machine(card: Path, tmp_path: Path) -> None:
    text = card.read_text()
    assert "| llava | 2 |" in text and "| a\\|b | 1 |" in text
    assert "| lora.r | 8 |" in text and "| learning_rate | 1e-05 |" in text
    assert "| model | base |" in text and "| init | org/start |" in text
    assert str(tmp_path) not in text and "Not evaluated yet." in text


def test_scores_are_put_in_and_replaced(card: Path) -> None:
    row = ScoreRow("mme/official", "perception", 1440.5, 1539.6, 99.1, 40.0, 158.25, 2114)
    add_scores(card.parent, [row])
    text = card.read_text()
    assert "| mme/official | perception | 1440 | 1540 | +99.1 [+40, +158.2] | 2,114 |  |" in text
    assert "Not evaluated yet." not in text and text.count("## Scores") == 1 and "## Settings" in text
    judged = ScoreRow("mmhal/own", "average", 2.89, 3.02, 0.13, None, None, 96, "gpt-4")
    add_scores(card.parent, [judged])
    text = card.read_text()
    assert "perception" not in text and "| 2.89 | 3.02 | +0.13 | 96 | gpt-4 |" in text
    assert text.count("## Data") == text.count("## Settings") == 1


def test_a_card_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    add_scores(tmp_path, [])
    assert not (tmp_path / "README.md").exists()
    (tmp_path / "README.md").write_text("# mine\n")
    add_scores(tmp_path, [ScoreRow("a", "b", 1, 2, 1, None, None, 3)])
    assert (tmp_path / "README.md").read_text() == "# mine\n"


def test_a_card_of_merged_weights_says_so_and_takes_scores(card: Path) -> None:
    card.write_text(merged_card(card.read_text()))
    add_scores(card.parent, [ScoreRow("mme/official", "perception", 1440.5, 1539.6, 99.1, 40.0, 158.25, 2114)])
    text = card.read_text()
    assert text.startswith("---\nlibrary_name: transformers\n") and "\nA LoRA adapter" not in text
    assert "folded in, of rank 8, trained with" in text and "+99.1" in text


@pytest.mark.parametrize("text", ["# mine\n", "", "---\nlicense: mit\n---\nA text on library_name: peft\n"])
def test_what_somebody_else_wrote_of_an_adapter_stays(text: str) -> None:
    assert merged_card(text) == text
