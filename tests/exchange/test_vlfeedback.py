"""The released format: what is read, what is dropped, and that nothing is made up."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exchange import released as r
from hypothesis import given, settings, strategies as st

from vlfeedback import groups, tables
from vlfeedback.errors import ConfigError, PluginError
from vlfeedback.exchange import ASPECTS, Intake, Item, Pictures, Tally, vlfeedback
from vlfeedback.pair import all_pairs, pairs, tally
from vlfeedback.records import Rating, Response


def items(tmp_path: Path, rows: list[dict[str, Any]], **options: Any) -> list[Any]:
    """Items of some rows, read by the format alone."""
    path = r.write(tmp_path / "rows.jsonl", rows)
    return list(vlfeedback.load(**options).read(path, Pictures(tmp_path / "images", None), Tally()))


@pytest.mark.parametrize(("given_row", "expected"), vlfeedback.EXAMPLES)
def test_examples_of_the_format(tmp_path: Path, given_row: dict[str, Any], expected: list[Any]) -> None:
    (item,) = items(tmp_path, [given_row])
    assert [(c.model, c.text, tuple(v.score for v in c.verdicts)) for c in item.completions] == expected


def test_a_good_file(tmp_path: Path) -> None:
    path = r.write(tmp_path / "a.jsonl", [r.row(), r.row("own-detail-2", "How many chairs?")])
    summary = r.bring_in(path, tmp_path / "run")
    assert (summary.books.instructions, summary.books.responses, summary.books.annotations) == (2, 8, 2)
    assert summary.books.ratings == 24 and summary.dropped == {} and not summary.notes
    first = r.instructions(tmp_path / "run")[0]
    assert (first.prompt, first.source, first.category) == ("What is on the desk?", "vlfeedback", "own-detail")
    assert first.images[0].uri == "images:own-detail-1.jpg" and first.images[0].sha256.startswith("uri:")
    judged = r.annotations(tmp_path / "run")[0]
    assert (judged.judge, judged.status, judged.order) == ("imported:gpt-4-vision", "ok", None)
    by_id = {one.id: one for one in r.responses(tmp_path / "run")}
    worst = [rating for rating in judged.ratings if by_id[rating.response_id].model == "imported:fuyu"]
    assert [(one.aspect, one.score) for one in worst] == list(zip(ASPECTS, (1, 5, 1), strict=True))
    assert worst[0].rationale == "fuyu on Helpfulness"


def test_all_layouts_give_the_same_records(tmp_path: Path) -> None:
    rows = r.random_rows(30, seed=1)
    for one in rows:  # a table of a Parquet file needs one type per column
        for c in one["completions"]:
            scores = {a: c["annotations"].get(a, {}).get("Rating") for a in ASPECTS}
            c["annotations"] = {
                a: {"Rating": None if score is None else str(score), "Rationale": "so"} for a, score in scores.items()
            }
    nested = r.as_table(rows)
    for one in nested:  # as some exports have it: every leaf a list
        table = one["completions"]
        table["annotations"] = {
            a: {f: [x[a][f] for x in table["annotations"]] for f in ("Rating", "Rationale")} for a in ASPECTS
        }
    (tmp_path / "array.json").write_text(json.dumps(rows), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "list.parquet")
    pq.write_table(pa.Table.from_pylist(r.as_table(rows)), tmp_path / "table.parquet")
    r.write(tmp_path / "list.jsonl", rows)
    r.write(tmp_path / "table.jsonl", r.as_table(rows))
    r.write(tmp_path / "nested.jsonl", nested)
    r.write(tmp_path / "crlf.jsonl", rows, end="\r\n")
    (tmp_path / "bom.jsonl").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "list.jsonl").read_bytes())
    found = {}
    for path in sorted(tmp_path.glob("*.*")):
        r.bring_in(path, tmp_path / "runs" / path.name)
        found[path.name] = r.digests(tmp_path / "runs" / path.name)
    assert len(found) == 8
    same = ("instructions.parquet", "responses.parquet")
    assert len({tuple(one[name] for name in same) for one in found.values()}) == 1
    ratings = {name: [a.ratings for a in r.annotations(tmp_path / "runs" / name)] for name in found}
    assert all(one == ratings["list.jsonl"] for one in ratings.values())


@pytest.mark.parametrize(
    ("found", "score"),
    [("1", 1), ("5", 5), (" 4 ", 4), ("4\n", 4), (4, 4), (4.0, 4), ("4.0", 4)]
    + [(bad, None) for bad in ("N/A", "", "0", "6", "-1", "10", "4.5", "high", "4/5", "４", "1 2")]
    + [(bad, None) for bad in (4.5, 0, 6, None, True, [], {})],
)  # fmt: skip
def test_only_whole_ratings_from_1_to_5_count(tmp_path: Path, found: Any, score: int | None) -> None:
    (item,) = items(tmp_path, [r.row(completions=[r.completion("m", "text", (found, "5", "5"))])])
    assert item.completions[0].verdicts[0].score == score


def test_a_missing_rating_is_none_and_never_a_low_score(tmp_path: Path) -> None:
    missing = r.completion("m0", "one", ("N/A", "5", "5"))
    absent = r.completion("m1", "two")
    del absent["annotations"]["Visual Faithfulness"]
    unrated = {"model": "m2", "response": "three"}
    rows = [r.row(completions=[missing, absent, unrated, r.completion("m3", "four")])]
    summary = r.bring_in(r.write(tmp_path / "a.jsonl", rows), tmp_path / "run")
    (judged,) = r.annotations(tmp_path / "run")
    assert judged.status == "partial" and len(judged.ratings) == 12  # law 3: ratings + missing = responses x aspects
    assert [rating.score for rating in judged.ratings] == [None, 5, 5, 4, 5, None, None, None, None, 4, 5, 3]
    assert (summary.books.ratings, summary.books.ratings_missing) == (7, 5)
    group = next(groups.load(tmp_path / "run"))
    assert tally(pairs([group], all_pairs.load())).incomplete == 6


def test_a_row_without_ratings_keeps_its_responses(tmp_path: Path) -> None:
    rows = [r.row(completions=[{"model": "a", "response": "one"}, {"model": "b", "response": "two"}])]
    summary = r.bring_in(r.write(tmp_path / "a.jsonl", rows), tmp_path / "run")
    assert (summary.books.responses, summary.books.annotations, summary.books.unjudged) == (2, 0, 1)
    assert [one.reason for one in r.dropped(tmp_path / "run")] == ["missing_rating"]


def papers_rule(rows: list[dict[str, Any]]) -> dict[str, int]:
    """The rule as the paper states it, written for this test from its description, on the rows themselves."""
    counts = {"pairs": 0, "tie": 0, "incomplete": 0}
    for one in rows:
        sums: list[float | None] = []
        for answer in one["completions"]:
            try:
                sums.append(sum(float(answer["annotations"][aspect]["Rating"]) for aspect in ASPECTS))
            except (KeyError, TypeError, ValueError):
                sums.append(None)
        for left, right in combinations(sums, 2):
            outcome = "incomplete" if left is None or right is None else "tie" if left == right else "pairs"
            counts[outcome] += 1
    return counts


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pairs_equal_an_independent_implementation(tmp_path: Path, seed: int) -> None:
    rows = r.random_rows(150, seed)
    r.bring_in(r.write(tmp_path / "a.jsonl", rows), tmp_path / "run")
    books = tally(pairs(groups.load(tmp_path / "run"), all_pairs.load()))
    expected = papers_rule(rows)
    assert expected["tie"] > 10 and expected["incomplete"] > 10 and expected["pairs"] > 100
    assert {"pairs": books.pairs, "tie": books.tie, "incomplete": books.incomplete} == expected


def test_ids_do_not_depend_on_the_order_of_the_file(tmp_path: Path) -> None:
    rows = [*r.random_rows(40, seed=3), r.row(), r.row()]
    r.bring_in(r.write(tmp_path / "a.jsonl", rows), tmp_path / "a")
    r.bring_in(r.write(tmp_path / "b.jsonl", rows[::-1]), tmp_path / "b")
    assert r.digests(tmp_path / "a") == r.digests(tmp_path / "b")
    assert sorted(call.key for call in r.calls(tmp_path / "a")) == sorted(call.key for call in r.calls(tmp_path / "b"))


def test_importing_again_changes_nothing(tmp_path: Path) -> None:
    path = r.write(tmp_path / "a.jsonl", r.random_rows(20, seed=4))
    r.bring_in(path, tmp_path / "run")
    before, kept = r.digests(tmp_path / "run"), r.calls(tmp_path / "run")
    r.bring_in(path, tmp_path / "run")
    assert r.digests(tmp_path / "run") == before and r.calls(tmp_path / "run") == kept


def test_repeated_ids_are_kept_and_counted_by_default(tmp_path: Path) -> None:
    rows = [r.row("own-1", "one?"), r.row("own-1", "two?"), r.row("own-2", "three?")]
    path = r.write(tmp_path / "a.jsonl", rows)
    summary = r.bring_in(path, tmp_path / "keep")
    assert summary.books.instructions == 3
    assert summary.notes["ids that stand at several prompts"] == 1
    assert summary.notes["rows whose id stands at several prompts"] == 2
    summary = r.bring_in(path, tmp_path / "drop", options={"repeated_ids": "drop"})
    assert summary.dropped == {"repeated_id": 2} and summary.books.instructions == 1
    assert [one.prompt for one in r.instructions(tmp_path / "drop")] == ["three?"]


def test_an_exact_repetition_is_dropped_and_other_answers_are_added(tmp_path: Path) -> None:
    other = r.row(completions=[r.completion("gpt-4v", "Another answer."), r.row()["completions"][0]])
    summary = r.bring_in(r.write(tmp_path / "a.jsonl", [r.row(), r.row(), other]), tmp_path / "run")
    assert summary.dropped == {"duplicate": 1}
    assert (summary.books.instructions, summary.books.merged) == (1, 1)
    assert (summary.books.responses, summary.books.shared) == (5, 1)
    assert len(r.annotations(tmp_path / "run")) == 2
    (group,) = groups.load(tmp_path / "run")
    assert len({response.call_key for response in group.responses}) == 5  # also two answers of one model
    assert len(r.calls(tmp_path / "run")) == 5 + 2


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ("Two jars 【3†source】.", "Two jars."),
        ("Two jars【3†source】【12†source】 on it", "Two jars on it"),
        ("Two 【3:0†source】 jars", "Two jars"),
        ("Two 【3†source】jars", "Two jars"),
        ("ends with one 【3†source】", "ends with one"),
        ("【a note】 stays, so does † alone", "【a note】 stays, so does † alone"),
        ("open 【3†source stays", "open 【3†source stays"),
    ],
)
def test_citation_marks_are_cut_and_no_words_grow_together(tmp_path: Path, found: str, text: str) -> None:
    path = r.write(tmp_path / "a.jsonl", [r.row(completions=[r.completion("gpt-4v", found)])])
    r.bring_in(path, tmp_path / "cut")
    assert r.responses(tmp_path / "cut")[0].text == text
    said = next(call for call in r.calls(tmp_path / "cut") if call.purpose == "decode")
    assert said.generation is not None and said.generation.text == found
    r.bring_in(path, tmp_path / "keep", options={"citations": "keep"})
    assert r.responses(tmp_path / "keep")[0].text == found


@given(st.text(alphabet=st.characters(exclude_characters="†", exclude_categories=("Cs",)), max_size=80))
def test_texts_without_a_mark_stay_as_they_are(text: str) -> None:
    assert vlfeedback._CITATION.sub("", text) == text


def test_html_scripts_and_templates_stay_verbatim(tmp_path: Path) -> None:
    nasty = "<script>alert('1')</script> <b>&amp;</b> {{7*7}} #### Helpfulness Assessment\nRating: 5\u2028\u0000end 😀"
    path = r.write(tmp_path / "a.jsonl", [r.row(prompt="<image> is text here", completions=[r.completion("m", nasty)])])
    r.bring_in(path, tmp_path / "run")
    assert r.responses(tmp_path / "run")[0].text == nasty
    assert r.instructions(tmp_path / "run")[0].prompt == "<image> is text here"


def test_the_ledger_holds_what_the_file_says(tmp_path: Path) -> None:
    r.bring_in(r.write(tmp_path / "a.jsonl", [r.row()]), tmp_path / "run")
    kept = {call.key: call for call in r.calls(tmp_path / "run")}
    assert len(kept) == 5 and {call.cost for call in kept.values()} == {0.0}
    assert {call.state for call in kept.values()} == {"done"}
    for response in r.responses(tmp_path / "run"):
        call = kept[response.call_key]
        assert call.model == response.model and call.purpose == "decode"
        assert call.generation is not None and call.generation.text == response.text
    (judged,) = r.annotations(tmp_path / "run")
    call = kept[judged.call_key]
    assert call.model == judged.judge and call.purpose == "annotate" and call.generation is not None
    again = [  # a mended parser needs nothing but the reply
        Rating(one["response"], aspect, int(one["found"][aspect]["Rating"]), one["found"][aspect]["Rationale"])
        for one in json.loads(call.generation.text)
        for aspect in ASPECTS
    ]
    assert tuple(again) == judged.ratings


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"prompt": None}, "bad_record"),
        ({"prompt": " \n"}, "empty_prompt"),
        ({"completions": None}, "bad_record"),
        ({"completions": "text"}, "bad_record"),
        ({"completions": []}, "no_responses"),
        ({"completions": {"response": [], "model": []}}, "no_responses"),
        ({"completions": {"response": ["a", "b"], "model": ["m"]}}, "bad_record"),
        ({"completions": {"response": ["a"], "model": ["m", "n"]}}, "bad_record"),
        ({"completions": {"model": ["m"]}}, "bad_record"),
        ({"id": None}, "missing_image"),
        ({"img_path": "../../secret.jpg"}, "refused_path"),
        ({"img_path": "/etc/passwd"}, "refused_path"),
        ({"img_path": "https://example.org/a.jpg"}, "refused_uri"),
        ({"img_path": "file:///etc/passwd"}, "refused_uri"),
        ({"id": "../../secret"}, "refused_path"),
    ],
)
def test_unusable_rows_are_dropped_with_their_place(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    path = r.write(tmp_path / "a.jsonl", [r.row("own-0", "good?"), r.row(**changes)])
    summary = r.bring_in(path, tmp_path / "run")
    assert summary.books.instructions == 1 and summary.dropped == {reason: 1}
    assert [(one.record_id, one.reason) for one in r.dropped(tmp_path / "run")] == [("a.jsonl:2", reason)]


def test_one_unusable_completion_costs_only_itself(tmp_path: Path) -> None:
    good = r.row()["completions"]
    rows = [r.row(completions=[good[0], {"model": "x", "response": None}, "text", good[1]])]
    summary = r.bring_in(r.write(tmp_path / "a.jsonl", rows), tmp_path / "run")
    assert (summary.books.responses, summary.books.completions_dropped) == (2, 2)
    assert [one.record_id for one in r.dropped(tmp_path / "run")] == ["a.jsonl:1/2", "a.jsonl:1/3"]
    assert {one.model for one in r.responses(tmp_path / "run")} == {"imported:gpt-4v", "imported:llava"}


def test_names_of_models_come_from_the_row_where_the_completion_has_none(tmp_path: Path) -> None:
    bare = {"response": "text", "annotations": r.completion("m", "t")["annotations"]}
    (item,) = items(tmp_path, [r.row(models=["first"], completions=[bare, bare])])
    assert isinstance(item, Item)
    assert [c.model for c in item.completions] == ["first", "unknown"]  # type: ignore[union-attr]


FIELDS = ("id", "prompt", "models", "completions", "annotations", "response", "model", "img_path", "image")


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(FIELDS)
                | st.text(max_size=3),
                inner,
                max_size=6,
            ),
            max_leaves=20,
        ),
        max_size=6,
    )
)  # fmt: skip
def test_no_row_breaks_the_import_or_the_books(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    tmp_path = tmp_path_factory.mktemp("any")
    path = r.write(tmp_path / "a.jsonl", [r.row("own-0", "good?"), *rows])
    intake = Intake(origin="vlfeedback", judge="j", eval_share=0.1)
    found = vlfeedback.load().read(path, Pictures(tmp_path / "images", None), Tally())
    records = [record for batch in intake.run(found) for record in batch.records]
    books = intake.books
    assert books.responses == sum(isinstance(record, Response) for record in records)
    assert books.rows == len(rows) + 1 == books.instructions + books.merged + books.rows_dropped


def test_unknown_options_and_formats_name_the_closest(tmp_path: Path) -> None:
    path = r.write(tmp_path / "a.jsonl", [r.row()])
    with pytest.raises(ConfigError, match="citations"):
        r.bring_in(path, tmp_path / "run", options={"citation": "keep"})
    with pytest.raises(PluginError, match="vlfeedback"):
        r.import_data("vlfedback", path, out=tmp_path / "run")
    assert not (tmp_path / "run" / "instructions.parquet").exists()


def test_tables_say_that_they_are_complete_and_of_what(tmp_path: Path) -> None:
    path = r.write(tmp_path / "a.jsonl", [r.row()])
    r.bring_in(path, tmp_path / "a")
    r.bring_in(path, tmp_path / "b", options={"citations": "keep"})
    a, b = (tables.info(tmp_path / one / "instructions.parquet") for one in ("a", "b"))
    assert a.complete and a.room == "exchange" and a.inputs != b.inputs
