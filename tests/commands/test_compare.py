"""`vlfeedback compare`: which models meet, and what is said of them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from vlfeedback import tables
from vlfeedback.commands.compare import compare_runs, show
from vlfeedback.errors import ConfigError
from vlfeedback.records import Answer, ItemScore


def write(run: Path, models: dict[str, float], items: int = 120) -> Path:
    """Item scores of models that are right on a share of the items, the first ones."""
    rows: list[ItemScore] = []
    for model, share in models.items():
        for number in range(items):
            right = number < share * items
            answer = Answer("b", f"i{number}", f"c{number}", "s", model, "yes" if right else "no", "stop")
            rows.append(ItemScore(answer, "b/1", "recall", float(right), "scored"))
            rows.append(ItemScore(answer, "b/1", "length", 1.0 + number % 3 * right, "scored"))
    run.mkdir(exist_ok=True)
    tables.write(run / "item_scores.parquet", ItemScore, rows, room="evaluate")
    return run


def meetings(first: Path, second: Path) -> list[tuple[str, str]]:
    rows = compare_runs(first, second).rows
    return list(dict.fromkeys((one.row.old_model, one.row.new_model) for one in rows))


def test_models_that_were_made_alike_meet(tmp_path: Path) -> None:
    a = write(tmp_path / "a", {"p": 0.3, "p+dpo": 0.6, "p+dpo:shuffled": 0.3, "strong": 0.9})
    b = write(tmp_path / "b", {"q": 0.4, "q+dpo": 0.9, "q+dpo:shuffled": 0.5, "strong": 0.9})
    assert meetings(a, b) == [("p", "q"), ("p+dpo", "q+dpo"), ("p+dpo:shuffled", "q+dpo:shuffled")]
    assert compare_runs(a, b).same == ("strong",)


def test_trained_models_meet_where_none_was_made_alike(tmp_path: Path) -> None:
    a = write(tmp_path / "a", {"p": 0.3, "p+dpo": 0.6, "p+dpo:blind": 0.3})
    b = write(tmp_path / "b", {"p": 0.3, "p+best_response": 0.9})
    found = compare_runs(a, b)
    assert {(one.row.old_model, one.row.new_model) for one in found.rows} == {("p+dpo", "p+best_response")}
    assert found.same == ("p",)


def test_one_folder_given_twice_compares_with_its_base(tmp_path: Path) -> None:
    a = write(tmp_path / "a", {"p": 0.3, "p+dpo": 0.6, "strong": 0.9})
    assert meetings(a, a) == [("p", "p+dpo"), ("p", "strong")]
    with pytest.raises(ConfigError, match="one model only"):
        compare_runs(write(tmp_path / "b", {"p": 0.3}), tmp_path / "b")


def test_headline_p_values_are_corrected_and_the_others_are_not(tmp_path: Path) -> None:
    a = write(tmp_path / "a", {"p": 0.3, "p+dpo": 0.6})
    recall, length = compare_runs(a, a).rows
    assert recall.row.metric == "recall" and recall.p_holm == pytest.approx(recall.row.difference.p)
    assert length.row.metric == "length" and length.p_holm is None
    entry = json.loads(json.dumps(compare_runs(a, a).to_json()))["rows"][0]
    assert entry["difference"] == pytest.approx(0.3) and "beyond noise" in entry["says"]


def test_the_table_says_it_in_words(tmp_path: Path) -> None:
    a = write(tmp_path / "a", {"p": 0.3, "p+dpo": 0.6})
    out = io.StringIO()
    show(compare_runs(a, a), Console(file=out, width=140))
    assert "p  →  p+dpo" in out.getvalue() and "recall: 0.3 → 0.6 (+0.3)" in out.getvalue()


def test_a_folder_without_scores_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="vlfeedback evaluate"):
        compare_runs(tmp_path, tmp_path)
    with pytest.raises(ConfigError, match="is empty"):
        compare_runs(write(tmp_path / "a", {}), tmp_path / "a")
