"""`vlfeedback compare`: which models meet, and what is said of them."""

from __future__ import annotations

import io
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from in_process import command
from rich.console import Console

from vlfeedback import tables
from vlfeedback.commands.compare import compare_runs, show
from vlfeedback.errors import ConfigError
from vlfeedback.evaluate import Conditions
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
    return list(dict.fromkeys((one.old_model, one.new_model) for one in rows))


def test_models_that_were_made_alike_meet(tmp_path: Path) -> None:
    a = write(tmp_path / "a", {"p": 0.3, "p+dpo": 0.6, "p+dpo:shuffled": 0.3, "strong": 0.9})
    b = write(tmp_path / "b", {"q": 0.4, "q+dpo": 0.9, "q+dpo:shuffled": 0.5, "strong": 0.9})
    assert meetings(a, b) == [("p", "q"), ("p+dpo", "q+dpo"), ("p+dpo:shuffled", "q+dpo:shuffled")]
    assert compare_runs(a, b).same == ("strong",)


def test_trained_models_meet_where_none_was_made_alike(tmp_path: Path) -> None:
    a = write(tmp_path / "a", {"p": 0.3, "p+dpo": 0.6, "p+dpo:blind": 0.3})
    b = write(tmp_path / "b", {"p": 0.3, "p+best_response": 0.9})
    found = compare_runs(a, b)
    assert {(one.old_model, one.new_model) for one in found.rows} == {("p+dpo", "p+best_response")}
    assert found.same == ("p",)


def test_one_folder_given_twice_compares_with_its_base(tmp_path: Path) -> None:
    a = write(tmp_path / "a", {"p": 0.3, "p+dpo": 0.6, "strong": 0.9})
    assert meetings(a, a) == [("p", "p+dpo"), ("p", "strong")]
    with pytest.raises(ConfigError, match="one model only"):
        compare_runs(write(tmp_path / "b", {"p": 0.3}), tmp_path / "b")


def test_headline_p_values_are_corrected_and_the_others_are_not(tmp_path: Path) -> None:
    a = write(tmp_path / "a", {"p": 0.3, "p+dpo": 0.6})
    recall, length = compare_runs(a, a).rows
    assert recall.metric == "recall" and recall.headline and recall.p_holm == pytest.approx(recall.difference.p)
    assert length.metric == "length" and length.p_holm is None and not length.headline
    entry = json.loads(json.dumps(compare_runs(a, a).to_json()))["rows"][0]
    assert entry["difference"] == pytest.approx(0.3) and "beyond the noise" in entry["says"]


def test_the_table_says_it_in_words(tmp_path: Path) -> None:
    a = write(tmp_path / "a", {"p": 0.3, "p+dpo": 0.6})
    out = io.StringIO()
    show(compare_runs(a, a), Console(file=out, width=140))
    assert "p  →  p+dpo" in out.getvalue() and "+0.3 on b recall (0.3 → 0.6) is beyond the noise" in out.getvalue()
    assert "words per answer: 1.0 → 1.0" in out.getvalue() and "not recorded" in out.getvalue()


def test_no_figure_is_cut_off_in_a_narrow_terminal(tmp_path: Path) -> None:
    a = write(tmp_path / "a", {"some/model-of-7B": 0.3, "some/model-of-7B+dpo": 0.65})
    out = io.StringIO()
    show(compare_runs(a, a), Console(file=out, width=80))
    assert "…" not in out.getvalue()
    for figure in ("0.3", "0.65", "+0.35", "detectable"):
        assert figure in out.getvalue()


def test_a_benchmark_that_one_side_lacks_is_named(tmp_path: Path) -> None:
    a, b = two_runs(tmp_path)
    rows = list(tables.read(a / "item_scores.parquet", ItemScore))
    more = [replace(one, answer=replace(one.answer, benchmark="c"), protocol="c/1") for one in rows]
    tables.write(a / "item_scores.parquet", ItemScore, [*rows, *more], room="evaluate")
    assert compare_runs(a, b).notes[-1] == "c: only on the first side, not compared"
    assert compare_runs(b, a).notes[-1] == "c: only on the second side, not compared"


def test_a_folder_without_scores_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="vlfeedback evaluate"):
        compare_runs(tmp_path, tmp_path)
    with pytest.raises(ConfigError, match="is empty"):
        compare_runs(write(tmp_path / "a", {}), tmp_path / "a")


# ── what is not alike is refused ────────────────────────────────────────────────────────────────────────────────────


def conditions(run: Path, **changes: str) -> Path:
    """Say under which conditions a run was evaluated."""
    known = Conditions("b", "b/1", "p", "i", "q", "temperature 0.0", "float32", recipe="original")
    rows = [replace(known, model=model, **changes).to_json() for model in ("p", "p+dpo")]
    (run / "evaluation.json").write_text(json.dumps({"conditions": rows}), encoding="utf-8")
    return run


def two_runs(tmp_path: Path) -> tuple[Path, Path]:
    a = write(tmp_path / "a", {"p": 0.3, "p+dpo": 0.6})
    b = write(tmp_path / "b", {"p": 0.3, "p+dpo": 0.9})
    return conditions(a), conditions(b)


def rewrite(run: Path, **changes: object) -> None:
    """Change every item score of a run."""
    path = run / "item_scores.parquet"
    rows = [replace(one, **changes) for one in tables.read(path, ItemScore)]  # type: ignore[arg-type]
    tables.write(path, ItemScore, rows, room="evaluate")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"prompts": "other"}, "other prompt"),
        ({"decoding": "temperature 0.7"}, "other decoding"),
        ({"dtype": "bfloat16"}, "other dtype"),
        ({"judge_prompt": "other"}, "other judge prompt"),
    ],
)
def test_runs_under_other_conditions_are_refused_unless_anyway(
    tmp_path: Path, changes: dict[str, str], what: str
) -> None:
    a, b = two_runs(tmp_path)
    assert compare_runs(a, b).notes == ()
    conditions(b, **changes)
    with pytest.raises(ConfigError, match=what) as refused:
        compare_runs(a, b)
    assert refused.value.exit_code == 2 and "--anyway" in str(refused.value)
    found = compare_runs(a, b, anyway=True)
    assert found.rows and any(what in note for note in found.notes)


def test_what_is_not_recorded_is_said_and_not_refused(tmp_path: Path) -> None:
    a, b = two_runs(tmp_path)
    conditions(b, dtype="not recorded")
    assert compare_runs(a, b).notes == ("b: dtype not recorded, taken to be alike",)


def test_another_judge_is_refused_and_so_is_another_protocol(tmp_path: Path) -> None:
    a, b = two_runs(tmp_path)
    rewrite(a, judge="gpt-4-0613")
    rewrite(b, judge="gpt-4o")
    with pytest.raises(ConfigError, match=r"other judge \(gpt-4-0613 \| gpt-4o\)"):
        compare_runs(a, b)
    (recall, *_) = compare_runs(a, b, anyway=True).rows
    assert recall.difference.value == pytest.approx(0.3)
    rewrite(a, judge=None)
    rewrite(b, judge=None, protocol="b/2")
    with pytest.raises(ConfigError, match="other protocol"):
        compare_runs(a, b)


def test_a_judge_that_changed_is_refused_even_if_every_answer_is_the_same(tmp_path: Path) -> None:
    a, b = (write(tmp_path / name, {"p": 0.3, "p+dpo": 0.6}) for name in "ab")
    rewrite(a, judge="one")
    rewrite(b, judge="two")
    with pytest.raises(ConfigError, match="other judge"):
        compare_runs(a, b)


def test_other_items_are_refused_unless_anyway_and_then_the_shared_ones_are_compared(tmp_path: Path) -> None:
    a = write(tmp_path / "a", {"p": 0.3, "p+dpo": 0.6})
    b = write(tmp_path / "b", {"p": 0.3, "p+dpo": 0.9}, items=100)
    with pytest.raises(ConfigError, match="other item set"):
        compare_runs(a, b)
    row = compare_runs(a, b, anyway=True).rows[0]
    assert row.difference.n == 100 and row.unshared == 20


def test_prompts_of_an_older_run_are_found_in_its_ledger(tmp_path: Path) -> None:
    from vlfeedback.ids import request_json
    from vlfeedback.ledger import Intent, Ledger
    from vlfeedback.records import Part, Request, Sampling

    folders: list[Path] = []
    for name, words in (("a", "Is it?"), ("b", "Is it? Think."), ("c", "Is it?")):
        run = write(tmp_path / name, {"p": 0.3, "p+dpo": 0.6 + 0.1 * len(folders)})
        rows = list(tables.read(run / "item_scores.parquet", ItemScore))
        ledger = Ledger.open(run / "ledger.sqlite")
        keys = {(one.answer.model, one.answer.item_id) for one in rows}
        asked = request_json(Request("", (Part(text=words),), Sampling(0.0, max_tokens=8 if name == "c" else 64)))
        ledger.intend([Intent(f"{model}:{item}", model, asked, "evaluate", 0.0) for model, item in sorted(keys)])
        ledger.close()
        rows = [replace(r, answer=replace(r.answer, call_key=f"{r.answer.model}:{r.answer.item_id}")) for r in rows]
        tables.write(run / "item_scores.parquet", ItemScore, rows, room="evaluate")
        folders.append(run)
    a, b, c = folders
    with pytest.raises(ConfigError, match="other prompt"):
        compare_runs(a, b)
    with pytest.raises(ConfigError, match=r"other decoding .*64 tokens.*8 tokens"):
        compare_runs(a, c)


# ── no headline where too much failed ───────────────────────────────────────────────────────────────────────────────


def fail(run: Path, every: int) -> None:
    path = run / "item_scores.parquet"
    rows = [
        replace(one, value=None, state="failed", answer=replace(one.answer, text="", finish="error"))
        if int(one.answer.item_id[1:]) % every == 0
        else one
        for one in tables.read(path, ItemScore)
    ]
    tables.write(path, ItemScore, rows, room="evaluate")


def test_too_many_failed_items_leave_no_headline(tmp_path: Path) -> None:
    a, b = two_runs(tmp_path)
    fail(b, 3)
    found = compare_runs(a, b)
    assert found.headline is None and found.to_json()["headline"] is None and found.rows == ()
    assert "b: 40 of 120 items of 'recall' have no reply from p+dpo" in found.refused
    out = io.StringIO()
    show(found, Console(file=out, width=140))
    assert "no headline" in out.getvalue() and "is beyond" not in out.getvalue()
    allowed = compare_runs(a, b, max_failed=0.4)
    assert allowed.headline and {row.unshared for row in allowed.rows} == {40}


def lose_all(run: Path, **changes: object) -> None:
    """Take every reply away."""
    path = run / "item_scores.parquet"
    rows = list(tables.read(path, ItemScore))
    gone = [replace(one.answer, text="", finish="error") for one in rows]
    lost = [
        replace(one, answer=answer, value=None, state="failed", **changes)  # type: ignore[arg-type]
        for one, answer in zip(rows, gone, strict=True)
    ]
    tables.write(path, ItemScore, lost, room="evaluate")


@pytest.mark.parametrize("judge", [None, "gpt-4o"])
@pytest.mark.parametrize("more", [[], ["--max-failed", "1"], ["--anyway"]])
@pytest.mark.parametrize("sides", ["a", "b", "ab"])
def test_where_every_item_failed_there_is_no_headline_and_the_exit_code_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sides: str, judge: str | None, more: list[str]
) -> None:
    runs = dict(zip("ab", two_runs(tmp_path), strict=True))
    for name, run in runs.items():
        rewrite(run, judge=judge)
        if name in sides:
            lose_all(run, judge=None)  # no answer was judged, so the scores name no judge
    assert command(monkeypatch, "compare", *runs.values(), "--json", *more) == 1
    assert compare_runs(*runs.values()).headline is None
    assert command(monkeypatch, "compare", runs[sides[0]]) == 1


def test_the_command_line_says_it_with_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = two_runs(tmp_path)
    page = tmp_path / "compared.html"

    def run(*arguments: object) -> int:
        import sys

        from vlfeedback import cli

        sys.argv = ["vlfeedback", "compare", *map(str, arguments)]
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    assert run(a, b, "--json", "--html", page) == 0
    assert json.loads(capsys.readouterr().out)["headline"]
    assert "beyond the noise" in page.read_text(encoding="utf-8")
    assert run("--a", a, "--a", a, "--b", b, "--b", b) == 0
    assert run(a) == 0 and run() == 2 and run("--a", a, "--b", b, "--b", b) == 2
    conditions(b, dtype="bfloat16")
    assert run(a, b) == 2 and run(a, b, "--anyway") == 0
    fail(b, 2)
    assert run(a, b, "--anyway") == 1
    assert "no headline" in capsys.readouterr().out


# ── seeds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def seeded(tmp_path: Path, name: str, share: float, seeds: int) -> list[Path]:
    return [write(tmp_path / f"{name}{seed}", {"p": share + 0.05 * seed}) for seed in range(seeds)]


def test_seeds_are_paired_first_with_first_over_items_and_over_seeds(tmp_path: Path) -> None:
    olds, news = seeded(tmp_path, "a", 0.3, 3), seeded(tmp_path, "b", 0.5, 3)
    rewritten = write(news[1], {"p": 0.45})
    assert rewritten == news[1]
    found = compare_runs(olds, news)
    row = found.rows[0]
    assert (
        row.metric == "recall" and row.old == pytest.approx(0.35) and row.new == pytest.approx((0.5 + 0.45 + 0.6) / 3)
    )
    assert row.seeds is not None and row.seeds.n == 3 and row.seeds.value == pytest.approx(row.difference.value)
    assert row.seeds.value == pytest.approx((0.2 + 0.1 + 0.2) / 3)
    assert row.seeds.se == pytest.approx(0.1 / 3)  # of 0.2, 0.1, 0.2: deviation 0.0577, over three seeds
    assert "Over 3 seeds" in (found.headline or [""])[0]
    assert found.to_json()["rows"][0]["seeds"]["n"] == 3
    with pytest.raises(ConfigError, match="3 folders on one side, 2"):
        compare_runs(olds, news[:2])


def test_items_are_paired_by_id_whatever_their_order(tmp_path: Path) -> None:
    a, b = two_runs(tmp_path)
    before = compare_runs(a, b).to_json()["rows"]
    path = b / "item_scores.parquet"
    rows = list(tables.read(path, ItemScore))
    random.Random(1).shuffle(rows)
    tables.write(path, ItemScore, rows, room="evaluate")
    after = compare_runs(a, b).to_json()["rows"]
    assert sorted(map(str, before)) == sorted(map(str, after))


# ── form ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_answers_that_grew_longer_or_stopped_saying_yes_are_shown(tmp_path: Path) -> None:
    def run(name: str, words: int, yes: float) -> Path:
        rows: list[ItemScore] = []
        for number in range(100):
            text = " ".join(["Well"] * (words + number % 3))
            answer = Answer("b", f"i{number}", f"c{number}", "s", "p", text, "length" if number < words else "stop")
            for metric, value in (("accuracy", 1), ("other", words > 5), ("yes_ratio", number < 100 * yes)):
                rows.append(ItemScore(answer, "b/1", metric, float(value), "scored"))
        (tmp_path / name).mkdir()
        tables.write(tmp_path / name / "item_scores.parquet", ItemScore, rows, room="evaluate")
        return tmp_path / name

    found = {one.form: one for one in compare_runs(run("a", 2, 0.5), run("b", 30, 0.9)).drift}
    assert found["length"].new - found["length"].old == pytest.approx(28) and "empty" not in found
    assert found["yes_ratio"].difference.value == pytest.approx(0.4) and found["yes_ratio"].beyond_noise
    assert (found["other"].old, found["other"].new) == (0, 1)
    assert found["cut_off"].difference.value == pytest.approx(0.28)


def test_f1_of_pope_is_put_together_from_its_items(tmp_path: Path) -> None:
    rng = random.Random(3)

    def run(name: str, right: float) -> tuple[Path, float]:
        rows: list[ItemScore] = []
        hits = said = true = 0
        for number in range(600):
            truth, correct = number % 2 == 0, rng.random() < right
            yes = truth == correct
            hits, said, true = hits + (truth and yes), said + yes, true + truth
            answer = Answer("pope", f"i{number}", f"c{number // 6}", "random", "p", "Yes" if yes else "No", "stop")
            rows.append(ItemScore(answer, "pope/official", "accuracy", float(correct), "scored"))
            rows.append(ItemScore(answer, "pope/official", "yes_ratio", float(yes), "scored"))
        (tmp_path / name).mkdir()
        tables.write(tmp_path / name / "item_scores.parquet", ItemScore, rows, room="evaluate")
        return tmp_path / name, 2 * hits / (said + true)

    (a, before), (b, after) = run("a", 0.7), run("b", 0.8)
    row = next(one for one in compare_runs(a, b).rows if one.metric == "f1")
    assert (row.old, row.new) == pytest.approx((before, after)) and row.headline
    assert row.difference.value == pytest.approx(after - before) and row.difference.units == 100


def test_llava_bench_is_compared_by_the_ratio_of_sums(tmp_path: Path) -> None:
    def run(name: str, more: float) -> Path:
        rows: list[ItemScore] = []
        for number in range(60):
            answer = Answer("llava_bench", f"i{number}", f"c{number}", "conv", "p", "text", "stop")
            values = (("points", 4.0 + number % 4 + more * (number % 3)), ("reference", 8.0 + number % 2))
            rows += [ItemScore(answer, "llava_bench/1", metric, value, "scored", "j") for metric, value in values]
        (tmp_path / name).mkdir()
        tables.write(tmp_path / name / "item_scores.parquet", ItemScore, rows, room="evaluate")
        return tmp_path / name

    row = next(one for one in compare_runs(run("a", 0), run("b", 0.5)).rows if one.metric == "relative")
    assert row.old == pytest.approx(100 * 5.5 / 8.5) and row.new == pytest.approx(100 * 6.0 / 8.5) and row.headline
    assert row.difference.value == pytest.approx(100 * 0.5 / 8.5) and row.difference.low is not None
