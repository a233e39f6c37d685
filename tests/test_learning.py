"""Room 6 of a run: a judged benchmark from the settings to its tables and official files, bought once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from evaluate import copies

from vlfeedback import config, learning, tables
from vlfeedback.commands.evaluate import prompt_changes
from vlfeedback.errors import ConfigError, DataError
from vlfeedback.evaluate._mmhal_result import score_file
from vlfeedback.models import scripted
from vlfeedback.records import Generation, ItemScore, Judgement, Request, Score
from vlfeedback.run_folder import RunFolder
from vlfeedback.run_models import Access, access


def run_of(folder: Path, **evaluate: Any) -> RunFolder:
    copies.mmhal(folder / "data")
    given = {"path": str(folder / "data"), "images": "pictures", "judge": {"use": "judge:load"}, **evaluate}
    settings = config.parse(
        {"images": {"pictures": str(folder / "data/pictures")}, "evaluate": {"mmhal": given}}, "here"
    )
    return RunFolder.create(folder / "run", settings)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[RunFolder, list[Request]]]:
    """Evaluate a run whose base and aligned policies and whose judge are scripted; what the judge was asked."""
    asked: list[Request] = []

    def models(_: RunFolder, reach: Access) -> Iterable[learning.Asked]:
        for name in ("base", "base+dpo"):
            model = scripted.load(model=name, replies=[f"{name} answers"])
            yield learning.Asked(name, reach.ledgered(model))

    def evaluated(
        folder: Path, judge: Callable[[str], str | Generation], **options: Any
    ) -> tuple[RunFolder, list[Request]]:
        def reply(request: Request) -> str | Generation:
            asked.append(request)
            return judge(request.parts[-1].text or "")

        monkeypatch.setattr(learning, "_asked", models)
        monkeypatch.setattr(learning, "_write_cards", lambda *_: None)  # nothing was trained
        monkeypatch.setattr(Access, "bare", lambda *_: scripted.load(model="grader", replies=reply))
        run = run_of(folder, **options)
        with access(run) as reach:
            learning.evaluate(run, reach)
        return run, asked

    return evaluated


Play = Callable[..., tuple[RunFolder, list[Request]]]


def test_answers_judgements_and_scores_are_tables_and_official_files(
    play: Play, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, asked = play(tmp_path, lambda text: "Rating: 5" if "dpo" in text else "Rating: 2")
    assert "INCOMPLETE: mmhal has 16 of its 96 questions" in capsys.readouterr().err
    said = list(tables.read(run.table("judgements"), Judgement))
    assert len(said) == len(asked) == 32 and {one.judge for one in said} == {"scripted:grader"}
    scores = {(one.model, one.metric): one for one in tables.read(run.table("scores"), Score)}
    assert scores["base", "rating"].value == 2 and scores["base+dpo", "rating"].value == 5
    assert (
        scores["base+dpo", "hallucination_rate"].value == 0
        and scores["base", "rating"].protocol == "mmhal/own-1-strict"
    )
    assert scores["base", "rating"].judge == "scripted:grader" and (scores["base", "rating"].time or 0) > 1.7e9
    official = run.path / "official" / "mmhal" / "base+dpo"
    assert score_file(official / "reviews_run1.json").average == 5
    assert json.loads((official / "responses.json").read_text())[3]["model_answer"] == "base+dpo answers"
    (row, _) = (one for one in json.loads((run.path / "comparisons.json").read_text()))
    assert (row["difference"], row["judge"]) == (3, "scripted:grader")


def test_what_was_judged_is_not_bought_again_and_keeps_its_date(play: Play, tmp_path: Path) -> None:
    run, asked = play(tmp_path, lambda _: "Rating: 4")
    first = list(tables.read(run.table("judgements"), Judgement))
    for name in ("scores", "judgements", "item_scores", "answers"):
        run.table(name).unlink()
    again, _ = play(tmp_path, lambda _: "Rating: 0")
    assert len(asked) == 32 and list(tables.read(again.table("judgements"), Judgement)) == first


def test_a_failing_judge_leaves_no_headline_and_no_zero(play: Play, tmp_path: Path) -> None:
    def judge(text: str) -> str | Generation:
        lost = "What is 3?" in text and "dpo" in text
        return Generation("", "error", error="server") if lost else "Rating: 6"

    with pytest.raises(DataError, match=r"1 of 16 items of 'rating' have no reply from base\+dpo.*no headline"):
        play(tmp_path, judge)
    assert not tables.info(tmp_path / "run/scores.parquet").complete
    assert {one.model for one in tables.read(tmp_path / "run/scores.parquet", Score)} == {"base"}
    found = [one for one in tables.read(tmp_path / "run/item_scores.parquet", ItemScore) if one.metric == "rating"]
    assert {one.value for one in found} == {6.0, None} and sum(one.state == "failed" for one in found) == 1


def test_the_users_template_reaches_the_judge_whenever_it_changes(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies.mmhal(tmp_path / "data")
    _, asked = play(tmp_path, lambda _: "Rating: 6", judge_prompt=str(tmp_path / "data/eval_gpt4.py"))
    assert asked[0].parts[0].text == "Judge.\n{literal}\nCat, Tree\nWhat is 0?\nIt is 0.\nbase answers\n"
    play(tmp_path, lambda _: "Rating: 6", judge_prompt=str(tmp_path / "data/eval_gpt4.py"))
    assert len(asked) == 32  # nothing changed, nothing asked
    text = copies.MMHAL_TEMPLATE.replace("Judge.", "Judge well.")
    monkeypatch.setattr(copies, "MMHAL_TEMPLATE", text)  # the same name, another prompt
    play(tmp_path, lambda _: "Rating: 6", judge_prompt=str(tmp_path / "data/eval_gpt4.py"))
    assert len(asked) == 64


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"mmhal": {"judge": None}}, r"mmhal needs a judge: add \[evaluate.mmhal.judge\]"),
        ({"pocket": {"judge": {"use": "x"}}}, "pocket is scored without a judge"),
    ],
)
def test_a_judge_is_named_where_one_is_needed_and_nowhere_else(
    tmp_path: Path, table: dict[str, Any], says: str
) -> None:
    copies.mmhal(tmp_path / "data")
    if "mmhal" in table:
        table["mmhal"] |= {"path": str(tmp_path / "data"), "images": "pictures"}
    run = RunFolder.create(tmp_path / "run", config.parse({"evaluate": table}, "here"))
    with access(run) as reach, pytest.raises(ConfigError, match=says):
        learning.evaluate(run, reach)


def test_a_judge_prompt_on_the_command_line_finds_its_benchmark(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    file = tmp_path / "data" / "eval_gpt4.py"
    want = [f'evaluate.mmhal.judge_prompt="{file}"']
    assert prompt_changes(run.path, [str(file)]) == prompt_changes(run.path, [f"mmhal={file}"]) == want
    changed = config.changed(run.settings, dict(map(config.assignment, want)))
    assert changed.evaluate["mmhal"].options["judge_prompt"] == str(file)
    assert prompt_changes(tmp_path / "nowhere", []) == []
    for given, says in (
        (f"mmhall={file}", "did you mean"),
        ("nowhere.py", "is no file"),
        ("pope=x", "no judged benchmark"),
    ):
        with pytest.raises(ConfigError, match=says):
            prompt_changes(run.path, [given])


def test_relative_judge_prompts_are_relative_to_the_settings(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('[evaluate.mmhal]\njudge_prompt = "t.txt"\n[evaluate.mmhal.judge]\nuse = "x"\n')
    assert config.load(tmp_path / "run.toml").evaluate["mmhal"].options["judge_prompt"] == str(tmp_path / "t.txt")
