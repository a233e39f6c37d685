from __future__ import annotations

import json
import re
import shutil
import statistics
from collections import Counter, defaultdict
from pathlib import Path

import polars as pl
import pytest
from report.made_run import ASPECTS, POLICY, Made, make
from report.page_text import PageText

from vlfeedback import report, tables
from vlfeedback.errors import DataError
from vlfeedback.records import (
    Annotation,
    Dropped,
    Instruction,
    ItemScore,
    PreferencePair,
    Response,
    Score,
)
from vlfeedback.report import FIGURES
from vlfeedback.report._ratings import clustered_means
from vlfeedback.stats import FEW_UNITS

SECTIONS = {
    "base-against-aligned": "Base against aligned",
    "beside-the-paper": "Beside the paper",
    "cases": "Cases",
    "controls": "Controls",
    "ratings-per-aspect": "Ratings per aspect",
    "mean-rating-per-model-and-aspect": "Mean rating per model and aspect",
    "rating-by-position": "Rating by position",
    "examples-of-feedback": "Examples of feedback",
    "pairs-kept-tied-and-incomplete": "Pairs kept, tied and incomplete",
    "length-of-chosen-against-rejected": "Length of chosen against rejected",
    "training-curves": "Training curves",
    "cost-and-calls": "Cost and calls",
    "instructions": "Instructions",
    "dropped-records": "Dropped records",
    "tables-and-settings": "Tables and settings",
}


@pytest.fixture(scope="module")
def page(html: str) -> PageText:
    return PageText(html)


def test_every_section_stands_there_by_name(page: PageText) -> None:
    assert {key: text.split("\n")[1] for key, text in page.texts.items()} == SECTIONS
    assert not any("makes it (DIR is this folder)" in text for text in page.texts.values())


def test_every_figure_is_a_file_and_in_the_page(made: Made, html: str) -> None:
    for name in FIGURES:
        svg = (made.path / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        assert svg.startswith("<svg ") and svg.rstrip().endswith("</svg>")
        assert f'id="figure-{name}"' in html


def test_base_against_aligned_has_the_scores_and_paired_intervals(made: Made, page: PageText, html: str) -> None:
    scores = {(one.model, one.metric): one for one in tables.read(made.path / "scores.parquet", Score)}
    base, aligned = scores[POLICY, "perception"], scores[f"{POLICY}+dpo", "perception"]
    strong = scores["pocket/strong", "perception"]
    rows = json.loads((made.path / "comparisons.json").read_text())
    row = next(one for one in rows if one["metric"] == "perception" and one["other"] == f"{POLICY}+dpo")
    cells = page.rows("base-against-aligned")["Perception (points)"]
    assert cells[0] == f"{base.value:.1f}\n[{base.ci_low:.1f}, {base.ci_high:.1f}]"
    assert cells[1].startswith(f"{aligned.value:.1f}\n[")
    assert cells[2] == f"+{aligned.value - base.value:.1f}"
    assert cells[3] == f"[{row['ci_low']:.1f}, {row['ci_high']:.1f}]".replace("-", "−")
    assert cells[6] == str(row["n"])
    gap = (aligned.value - base.value) / (strong.value - base.value)
    assert cells[8] == f"{100 * gap:.0f} %"
    assert f"<h1>Perception rose by {row['difference']:.1f} points [{row['ci_low']:.1f}, {row['ci_high']:.1f}]" in html


def test_shares_are_printed_in_per_cent(made: Made, page: PageText) -> None:
    values = [
        one.value
        for one in tables.read(made.path / "item_scores.parquet", ItemScore)
        if one.metric == "hallucination" and one.answer.model == POLICY and one.value is not None
    ]
    assert page.rows("base-against-aligned")["Hallucinated objects (%)"][0].split("\n")[0] == (
        f"{100 * sum(values) / len(values):.1f}"
    )


def test_the_papers_gains_stand_beside_ours(page: PageText) -> None:
    rows = page.rows("beside-the-paper")
    assert rows["Perception"][-3:] == ["1,440.5", "1,539.6", "+6.9 %"]
    assert rows["Cognition"][-3:] == ["362.5", "397.1", "+9.5 %"]
    ours = [float(rows["Perception"][place]) for place in (0, 1)]
    assert rows["Perception"][2] == f"+{100 * (ours[1] / ours[0] - 1):.1f} %"


def test_every_control_is_named_with_its_difference(made: Made, page: PageText) -> None:
    rows = page.rows("controls")
    words = ["aligned", "DPO, image-blind", "DPO, longest as best", "DPO, ratings shuffled", "SFT on the best response"]
    assert next(iter(rows)) == "aligned" and sorted(rows, key=str.lower) == words
    found = json.loads((made.path / "comparisons.json").read_text())
    row = next(one for one in found if one["metric"] == "perception" and one["other"] == f"{POLICY}+sft:best")
    assert rows["SFT on the best response"][0].startswith(f"{row['difference']:+.1f}\n[")


def test_cases_show_three_gains_and_three_losses_with_pictures(made: Made, page: PageText) -> None:
    text = page.texts["cases"]
    assert text.count("Gain: ") == 3 and 1 <= text.count("Loss: ") <= 3
    assert text.count("Please answer yes or no.") >= 3
    assert sum(tag == "img" and "pixelated" in (attrs.get("class") or "") for tag, attrs in page.tags) >= 6
    assert "aligned · right" in text and "Perception" not in page.rows("cases")
    better = worse = 0
    value = {
        (one.answer.model, one.answer.item_id): one.value
        for one in tables.read(made.path / "item_scores.parquet", ItemScore)
        if one.metric == "hallucination"
    }
    for (model, item), number in value.items():
        other = value[f"{POLICY}+dpo", item]
        if model == POLICY and number is not None and other is not None:
            better, worse = better + (other < number), worse + (other > number)
    assert page.rows("cases")["Hallucinated objects"][:2] == [str(better), str(worse)]


def test_histograms_count_every_rating_of_all_and_of_the_red_team(made: Made, page: PageText) -> None:
    hostile = {one.id for one in tables.read(made.path / "instructions.parquet", Instruction) if one.conduct}
    scores: dict[tuple[str, str], list[int | None]] = defaultdict(list)
    for note in tables.read(made.path / "annotations.parquet", Annotation):
        for rating in note.ratings:
            scores["all", rating.aspect].append(rating.score)
            if note.instruction_id in hostile:
                scores["red-team", rating.aspect].append(rating.score)
    table = page.tables["ratings-per-aspect"][0][1:]
    assert len(table) == len(scores) == 2 * len(ASPECTS)
    for aspect, subset, *cells in table:
        known = [score for score in scores[subset, aspect] if score is not None]
        shares = Counter(known)
        assert cells[:5] == [f"{100 * shares[score] / len(known):.1f} %" for score in range(1, 6)]
        assert cells[5:] == [
            str(len(known)),
            str(len(scores[subset, aspect]) - len(known)),
            f"{statistics.mean(known):.2f}",
        ]


def test_means_per_model_and_per_position(made: Made, page: PageText) -> None:
    models = {one.id: one.model for one in tables.read(made.path / "responses.parquet", Response)}
    by_model: dict[str, list[int]] = defaultdict(list)
    by_place: dict[int, list[int]] = defaultdict(list)
    for note in tables.read(made.path / "annotations.parquet", Annotation):
        for rating in note.ratings:
            if rating.aspect == "Helpfulness" and rating.score is not None and note.order is not None:
                by_model[models[rating.response_id]].append(rating.score)
                by_place[note.order.index(rating.response_id) + 1].append(rating.score)
    rows = page.rows("mean-rating-per-model-and-aspect")
    assert {name: (row[0], row[2]) for name, row in rows.items()} == {
        name: (f"{statistics.mean(values):.2f}", str(len(values))) for name, values in by_model.items()
    }
    places = [row for row in page.tables["rating-by-position"][0] if row[0] == "Helpfulness"]
    for _, place, mean, interval, n in places:
        values = by_place[int(place)]
        assert (mean, n) == (f"{statistics.mean(values):.2f}", str(len(values)))
        if len(values) < FEW_UNITS:
            assert interval == "[too few]"
            continue
        half = 1.96 * statistics.stdev(values) / len(values) ** 0.5  # one response per instruction and place
        low, high = (float(end) for end in interval.strip("[]").split(","))
        assert high - low == pytest.approx(2 * half, abs=0.02)


def test_pairs_and_lengths(made: Made, page: PageText) -> None:
    pairs = list(tables.read(made.path / "pairs.parquet", PreferencePair))
    lost = Counter(one.reason for one in tables.read(made.path / "dropped" / "pair.parquet", Dropped))
    rows = page.rows("pairs-kept-tied-and-incomplete")
    assert {name: row[0] for name, row in rows.items()} == {
        "kept": str(len(pairs)), "tied": str(lost["tie"]), "incomplete": str(lost["incomplete"]), "identical": "0",
        "filtered": "0", "all": str(len(pairs) + lost.total()),
    }  # fmt: skip
    texts = {one.id: one.text for one in tables.read(made.path / "responses.parquet", Response)}
    sizes = [(len(texts[one.chosen_id]), len(texts[one.rejected_id])) for one in pairs]
    longer = sum(a > b for a, b in sizes)
    share = 100 * longer / sum(a != b for a, b in sizes)
    assert f"The longer response wins {share:.1f} % [" in page.texts["length-of-chosen-against-rejected"]
    words = page.rows("length-of-chosen-against-rejected")["words"]
    assert words[0] == f"{statistics.mean(len(texts[one.chosen_id].split()) for one in pairs):.1f}"
    assert words[2] == f"{statistics.mean(len(texts[one.rejected_id].split()) for one in pairs):.1f}"
    assert words[4] == str(len(pairs))


def test_training_shows_both_log_ratios(made: Made, page: PageText) -> None:
    lines = (made.path / "checkpoint" / "train_log.jsonl").read_text().splitlines()[:-1]
    last = json.loads(lines[-1])
    row = page.rows("training-curves")["aligned"]
    expected = [last["loss"], last["logratios/chosen"], last["logratios/rejected"], last["rewards/margins"]]
    assert [row[0], *row[2:6]] == ["40", *(f"{value:.3f}".replace("-", "−") for value in expected)]
    assert {"DPO, image-blind", "DPO, ratings shuffled", "SFT on the best response"} < set(page.rows("training-curves"))


def test_cost_is_the_ledgers(made: Made, page: PageText) -> None:
    total = page.tables["cost-and-calls"][0][-1]
    assert total[0] == "all" and total[2] == f"{len(made.calls):,}"
    assert total[-1] == f"{sum(call.cost for call in made.calls):.4f}"
    kept = int(page.rows("pairs-kept-tied-and-incomplete")["kept"][0])
    collecting = sum(call.cost for call in made.calls if call.purpose in ("decode", "annotate"))
    assert f"collecting cost {collecting / kept:.5f} per kept pair" in page.texts["cost-and-calls"]


def test_dropped_records_are_counted_by_room_and_reason(page: PageText) -> None:
    rows = {(row[0], row[1]): (row[2], row[3]) for row in page.tables["dropped-records"][0][1:]}
    assert rows["source", "duplicate"] == ("7", "the same prompt and picture as row 3")
    assert rows["source", "missing_image"] == ("1", "images/90.png is not there")


def test_the_page_needs_nothing_from_outside(page: PageText, html: str) -> None:
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'") and "script-src" not in policy
    for tag, attrs in page.tags:
        assert tag not in ("script", "iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "xlink:href"):
            assert (attrs.get(name) or "#").startswith(("#", "data:")), (tag, attrs)
    assert "@import" not in html and not re.search(r"url\((?!#)", html)
    identifiers = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
    assert len(identifiers) == len(set(identifiers))


def test_equal_folders_give_equal_files(made: Made, tmp_path: Path) -> None:
    copy = tmp_path / made.path.name
    shutil.copytree(made.path, copy)
    for name in ("report.html", "README.md", "figures/controls.svg"):
        (copy / name).unlink()
    report.write(copy)
    for name in ("report.html", "README.md", *(f"figures/{figure}.svg" for figure in FIGURES)):
        assert (copy / name).read_bytes() == (made.path / name).read_bytes(), name


def test_an_empty_folder_says_what_to_do(bare: Path) -> None:
    page = PageText(report.write(bare).read_text(encoding="utf-8"))
    assert list(page.texts) == list(SECTIONS)
    for key, command in (
        ("base-against-aligned", "evaluate"), ("ratings-per-aspect", "annotate"), ("training-curves", "train"),
        ("pairs-kept-tied-and-incomplete", "pair"), ("instructions", "source"), ("cost-and-calls", "decode"),
    ):  # fmt: skip
        assert f"vlfeedback {command} DIR" in page.texts[key]
    assert not list((bare / "figures").glob("*")) if (bare / "figures").exists() else True


@pytest.mark.parametrize("stages", [1, 2])
def test_a_run_that_only_collected_has_a_report(tmp_path: Path, stages: int) -> None:
    run = make(tmp_path / "run", instructions=8, stages=stages)
    html = report.write(run.path).read_text(encoding="utf-8")
    page = PageText(html)
    assert "vlfeedback evaluate DIR" in page.texts["base-against-aligned"]
    assert ("vlfeedback pair DIR" in page.texts["pairs-kept-tied-and-incomplete"]) == (stages == 1)
    assert ("preference pairs (" in html) == (stages == 2)
    assert "Helpfulness" in page.texts["ratings-per-aspect"]


def test_without_comparisons_nothing_is_claimed(made: Made, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(made.path, copy)
    (copy / "comparisons.json").unlink()
    html = report.write(copy).read_text(encoding="utf-8")
    assert "<h1>Perception went from " in html and "rose by" not in html
    assert "comparisons.json is missing" in html
    assert not (copy / "figures" / "controls.svg").exists()


def test_an_interrupted_table_is_named(tmp_path: Path) -> None:
    run = make(tmp_path / "run", instructions=4, stages=1)
    notes = list(tables.read(run.path / "annotations.parquet", Annotation))
    tables.write(run.path / "annotations.parquet", Annotation, notes[:2], room="annotate", complete=False)
    assert "not complete: annotations." in report.write(run.path).read_text(encoding="utf-8")


def test_one_annotation_and_no_order(tmp_path: Path) -> None:
    run = make(tmp_path / "run", instructions=1, stages=2)
    note = next(iter(tables.read(run.path / "annotations.parquet", Annotation)))
    bare = Annotation(note.id, note.instruction_id, note.judge, note.rubric, None, note.status, note.ratings, "")
    tables.write(run.path / "annotations.parquet", Annotation, [bare], room="exchange")
    page = PageText(report.write(run.path).read_text(encoding="utf-8"))
    assert "is not known (an import)" in page.texts["rating-by-position"]
    assert "[too few]" in page.texts["mean-rating-per-model-and-aspect"]


@pytest.mark.parametrize("units", [2, FEW_UNITS - 1, FEW_UNITS])
def test_a_mean_of_few_units_has_no_interval(units: int) -> None:
    rows = [{"model": "m", "instruction_id": f"{n // 2}", "score": 1 + n % 5} for n in range(2 * units)]
    ((_, found),) = clustered_means(pl.DataFrame(rows), ["model"], "score")
    assert (found.n, found.low is None) == (2 * units, units < FEW_UNITS), "units are instructions, not ratings"


def test_bad_folders_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="vlfeedback run"):
        report.write(tmp_path / "nowhere")
    (tmp_path / "run.toml").write_text("title = [")
    with pytest.raises(DataError, match=r"run\.toml"):
        report.write(tmp_path)
    (tmp_path / "run.toml").unlink()
    (tmp_path / "pairs.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(DataError, match=r"pairs\.parquet"):
        report.write(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_machine_paths_stay_out(tmp_path: Path) -> None:
    run = make(tmp_path / "run", instructions=2, stages=1)
    (run.path / "run.toml").write_text(f'[images]\ncoco = "{tmp_path}/secret-place/coco"\n', encoding="utf-8")
    html = report.write(run.path).read_text(encoding="utf-8")
    assert "…/coco" in html and "secret-place" not in html
