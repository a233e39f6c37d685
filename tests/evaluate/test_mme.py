"""MME's files, parser and formula, and each way in which other tools go wrong with them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from evaluate.asking import answer, say, tiny_mme
from hypothesis import given, strategies as st

from vlfeedback import evaluate
from vlfeedback.errors import BooksError, DataError
from vlfeedback.evaluate import mme
from vlfeedback.evaluate.mme import MME, Line, official, score_folder, score_lines, write_folder


def pair(image: str, first: str, second: str) -> list[Line]:
    return [Line(image, "Is it? Please answer yes or no.", "yes", first), Line(image, "Is it not?", "no", second)]


def full(first: str = "Yes", second: str = "No") -> dict[str, list[Line]]:
    return {
        name: [line for n in range(count) for line in pair(f"{n:04d}.png", first, second)]
        for name, count in (MME.perception | MME.cognition).items()  # type: ignore[operator]
    }


# ── the parser ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("response", "reading"),
    [
        ("Yes", "yes"), ("NO", "no"), ("no.", "no"), ("Yes, it is.", "yes"), ("", "other"), ("Sure", "other"),
        ("Know", "no"), ("None", "no"), ("Not yes", "no"), ("I no", "no"), ("eyes", "yes"), (" yes", "yes"),
        ("  yes", "other"), (" no", "no"), ("   no", "other"), ("yeah", "other"), ("noyes", "no"), ("yesno", "yes"),
        ("The answer is yes", "other"), ("\n\nno", "no"), ("N\no", "other"), ("**No**", "no"), ("**Yes**", "other"),
        ("ŸES", "other"), ("Y", "other"),
    ],
)  # fmt: skip
def test_the_first_four_characters_decide(response: str, reading: str) -> None:
    assert official(response) == reading


@given(st.text())
def test_the_parser_is_total_and_looks_at_four_characters_only(text: str) -> None:
    reading = official(text)
    assert reading in ("yes", "no", "other")
    assert official(text.lower()[:4] + "?") == reading or text.lower() in ("yes", "no")


@given(st.text(max_size=6), st.text(max_size=3))
def test_no_response_that_begins_with_yes_is_anything_else(text: str, more: str) -> None:
    assert official("yes" + text) == "yes"
    assert official("No" + more + text) in ("no", "yes")


# ── the formula ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_benchmark_has_1187_pictures_and_2374_questions() -> None:
    assert sum(MME.perception.values()) + sum(MME.cognition.values()) == 1187
    assert len(MME.perception) == 10 and len(MME.cognition) == 4


def test_all_right_is_2000_and_800() -> None:
    found = score_lines(full(), MME)
    assert found.perception is not None and found.cognition is not None
    assert (found.perception.value, found.cognition.value) == (2000, 800)
    assert found.complete and (found.n_present, found.n_expected) == (2374, 2374) and not found.warnings
    assert found.other == 0 and found.yes == 0.5


def test_totals_are_sums_of_subtasks_and_never_weighted_by_size() -> None:
    lines = full()
    lines["OCR"] = [line for n in range(20) for line in pair(f"{n:04d}.png", "No", "Yes")]
    found = score_lines(lines, MME)
    assert found.perception is not None and found.perception.value == 1800


def test_accuracy_counts_questions_and_accuracy_plus_counts_pictures() -> None:
    lines = {"count": pair("a", "Yes", "No") + pair("b", "Yes", "Yes") + pair("c", "No", "Yes") + pair("d", "Hm", "No")}
    (one,) = score_lines(lines, MME).subtasks
    assert (one.accuracy, one.accuracy_plus, one.score) == (0.5, 0.25, 75.0)
    assert one.other == 1 / 8 and one.yes == 4 / 8
    assert one.readable == (200 + 50 + 0) / 3


def test_an_unreadable_answer_is_wrong_and_counted() -> None:
    found = score_lines(full("It is, yes", "It is not"), MME)
    assert found.perception is not None and found.perception.value == 0 and found.other == 1.0
    assert found.perception.readable is None


def test_the_interval_is_over_pictures_within_subtasks() -> None:
    lines = full()
    lines["posters"] = [line for n in range(147) for line in pair(str(n), "Yes", "No" if n % 2 else "Yes")]
    found = score_lines(lines, MME).perception
    assert found is not None and found.low is not None and found.high is not None
    # 73 pictures have 200 points and 74 have 50; every other subtask is the same throughout.
    spread = 150 * (73 / 147 * 74 / 147 * 147 / 146) ** 0.5
    assert found.se == pytest.approx(spread / 147**0.5)
    assert found.low < found.value < found.high


def test_a_constant_answer_after_a_broken_conversion_is_named() -> None:
    lines = full()
    lines["color"] = [line for n in range(30) for line in pair(str(n), "Yes", "Yes")]
    found = score_lines(lines, MME)
    assert found.constant == ("color",) and any("One and the same answer" in text for text in found.warnings)
    assert next(one.score for one in found.subtasks if one.name == "color") == 50.0
    mixed = {"color": pair("a", "Yes", "Yes") + pair("b", "No", "No")}
    assert score_lines(mixed, MME).subtasks[0].score == 50.0 and score_lines(mixed, MME).constant == ()


# ── the files ───────────────────────────────────────────────────────────────────────────────────────────────────────

names = st.text(st.characters(exclude_characters="\t\n\r", exclude_categories=["Cs"]), min_size=1, max_size=8)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(
    st.dictionaries(names.filter(lambda n: not n.startswith("\ufeff")), st.tuples(words, words), min_size=1, max_size=5)
)
def test_what_is_written_is_read_and_scores_the_same(
    tmp_path_factory: pytest.TempPathFactory, said: dict[str, tuple[str, str]]
) -> None:
    lines = [line for image, (first, second) in said.items() for line in pair(image, first, second)]
    folder = tmp_path_factory.mktemp("mme")
    write_folder(folder, {"OCR": lines})
    read = mme.read_folder(folder, MME.subtasks)["OCR"]
    assert [(one.image, one.truth) for one in read] == [(one.image, one.truth) for one in lines]
    assert [official(one.response) for one in read] == [official(one.response) for one in lines]
    assert score_folder(folder).subtasks == score_lines({"OCR": lines}, MME).subtasks


def test_a_response_keeps_to_its_line(tmp_path: Path) -> None:
    write_folder(tmp_path, {"OCR": pair("a.png", "Yes.\nIt\tis.\r", "No\x0bat\u2028all")})
    assert (tmp_path / "OCR.txt").read_bytes().count(b"\n") == 2
    first, second = mme.read_file(tmp_path / "OCR.txt")
    assert first.response == "Yes. It is. " and second.response == "No\x0bat\u2028all"


def test_a_byte_order_mark_and_dos_line_ends_part_no_pair(tmp_path: Path) -> None:
    text = "a.png\tIs it?\tYes\tYes\r\na.png\tIs it not?\tNo\tNo\r\n\r\n"
    (tmp_path / "count.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert score_folder(tmp_path).subtasks[0].score == 200


def test_pictures_are_paired_by_name_and_not_by_position(tmp_path: Path) -> None:
    a, b = pair("a", "Yes", "No"), pair("b", "No", "Yes")
    write_folder(tmp_path, {"count": [a[0], b[0], a[1], b[1]]})
    found = score_folder(tmp_path)
    assert found.subtasks[0].score == 50 + 50 and any("pair others" in text for text in found.warnings)


def test_what_is_incomplete_is_scored_and_said_aloud(tmp_path: Path) -> None:
    write_folder(tmp_path, {"count": [*pair("a", "Yes", "No"), pair("b", "Yes", "No")[0]]})
    found = score_folder(tmp_path)
    assert not found.complete and found.cognition is None
    assert (found.n_present, found.n_expected) == (3, 2374)
    assert found.subtasks[0].unpaired == 1 and found.subtasks[0].score == 200
    assert len(found.missing) == 13 and found.warnings[0].startswith("INCOMPLETE: 3 of 2374")
    assert found.perception is not None and (found.perception.subtasks, found.perception.expected_subtasks) == (1, 10)


def test_a_complete_subtask_with_a_picture_too_many_is_not_complete() -> None:
    lines = full()
    lines["OCR"] += pair("more.png", "Yes", "No")
    assert not score_lines(lines, MME).complete


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a\tq\tYes\tYes\textra\n", "line 1 has 5 columns"),
        ("a\tq\tYes\n", "line 1 has 3 columns"),
        ("a\tq\tYes\tYes\n\na\tr\tNo\tNo\n", "line 2 has 1 columns"),
        ("a\tq\tPerhaps\tYes\n", "ground truth is 'Perhaps'"),
        ("a\tq\tYes\tYes\na\tq \tNo\tNo\n", "the same question twice"),
        ("a\tq\tYes\tYes\na\tr\tNo\tNo\na\ts\tNo\tNo\n", "3 lines for a"),
        ("a\tq\tYes\tYes\nb\tq\tYes\tYes\n", "no picture with two questions"),
    ],
)
def test_files_that_are_not_of_the_format_are_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "count.txt").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=says):
        score_folder(tmp_path)


def test_a_wrong_encoding_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds none of"):
        score_folder(tmp_path)
    with pytest.raises(DataError, match="is no folder"):
        score_folder(tmp_path / "nowhere")
    (tmp_path / "count.txt").write_bytes("a\tq\tYes\tNÃO".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        score_folder(tmp_path)


def test_questions_are_joined_on_collapsed_white_space() -> None:
    one = {"count": [Line("a", "Is it?  Please", "yes", "Yes"), Line("a", "Is it not?", "no", "No")]}
    two = {"count": [Line("a", "Is it not?", "no", "Yes"), Line("a", "Is it? Please", "yes", "Maybe")]}
    assert score_lines(one, MME).questions == score_lines(two, MME).questions
    other = {"count": [Line("a", "Is it? Please", "no", "Yes"), Line("a", "Is it not?", "no", "No")]}
    assert score_lines(one, MME).questions != score_lines(other, MME).questions


def test_the_result_is_plain_json() -> None:
    found = json.loads(json.dumps(score_lines(full(), MME).to_json(), allow_nan=False))
    assert (found["perception"], found["cognition"], found["se"]) == (2000, 800, {"perception": 0, "cognition": 0})
    assert (found["n_expected"], found["n_present"], found["complete"]) == (2374, 2374, True)
    ocr = found["subtasks"]["OCR"]
    assert len(found["subtasks"]) == 14
    shown = {name: ocr[name] for name in ("score", "accuracy", "accuracy_plus", "questions", "images", "other")}
    assert shown == {"score": 200, "accuracy": 1, "accuracy_plus": 1, "questions": 40, "images": 20, "other": 0}


def test_the_lenient_parser_is_labelled_and_its_share_of_differences_stands_beside_the_official_score() -> None:
    lines = {"count": pair("a", "The answer is yes", "Know") + pair("b", "Yes", "No")}
    official_, lenient = score_lines(lines, MME), score_lines(lines, MME, mme.LENIENT)
    assert (official_.protocol, lenient.protocol) == ("mme/official", "mme/lenient")
    assert official_.differs == lenient.differs == 0.5
    assert official_.subtasks[0].accuracy == 0.75 and official_.subtasks[0].other == 0.25
    assert lenient.subtasks[0].accuracy == 0.75 and lenient.to_json()["n_unparsable"] == 1
    shown = official_.to_json()["subtasks"]["count"]
    assert (shown["other"], shown["other_rate"], shown["questions"], shown["images"]) == (1, 0.25, 4, 2)


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("yes", "yes"), ("I see: YES!", "yes"), ("It is not.", "no"), ("Yes and no", "other"), ("Know", "other"),
        ("", "other"), ("No, there is not", "no"), ("eyes", "other"), ("**Yes**", "yes"), ("yes/no", "other"),
    ],
)  # fmt: skip
def test_whole_words_are_read_anywhere_and_both_kinds_are_no_answer(text: str, reading: str) -> None:
    assert mme.whole_words(text) == reading


# ── the benchmark on a folder of its data ───────────────────────────────────────────────────────────────────────────


def test_questions_come_unchanged_from_both_layouts(tmp_path: Path) -> None:
    roots = tiny_mme(tmp_path / "data")
    items = list(mme.load(path=tmp_path / "data", images="mme", roots=roots).items())
    assert len(items) == 12 and len({item.item_id for item in items}) == 12
    assert items[0].prompt == "Is it 0?  Please answer yes or no." and items[0].expected == "yes"
    assert {item.stratum for item in items} == {"color", "celebrity", "code_reasoning"}
    assert items[0].images[0].uri.startswith("mme:")


def test_the_stage_and_the_official_files_agree(tmp_path: Path) -> None:
    benchmark = mme.load(path=tmp_path / "data", images="mme", roots=tiny_mme(tmp_path / "data", pictures=40))
    items = list(benchmark.items())
    answers = say(
        items, lambda item: "maybe" if "7" in item.item_id else "Yes" if "3" in item.item_id else item.expected
    )
    scores = {one.metric: one for one in benchmark.summarise(evaluate.item_scores(benchmark, items, answers))}
    write_folder(tmp_path / "out", mme.answer_lines(items, answers))
    found = score_folder(tmp_path / "out")
    assert found.perception is not None and found.cognition is not None
    assert scores["perception"].value == pytest.approx(found.perception.value)
    assert scores["cognition"].value == pytest.approx(found.cognition.value)
    assert (scores["perception"].ci_low, scores["perception"].ci_high) == pytest.approx(
        (found.perception.low, found.perception.high)
    )
    assert scores["other"].value == pytest.approx(found.other) and scores["yes_ratio"].value == pytest.approx(found.yes)
    for one in found.subtasks:
        assert scores[f"{one.area}/{one.name}"].value == pytest.approx(one.score)
    assert scores["perception"].n_unparsable == sum(one.text == "maybe" for one in answers if "code" not in one.item_id)


def test_a_failed_call_shifts_no_line_of_the_official_files(tmp_path: Path) -> None:
    """The official script takes every two lines for a picture: a single one would pair what follows with strangers."""
    benchmark = mme.load(path=tmp_path / "data", images="mme", roots=tiny_mme(tmp_path / "data", pictures=80))
    items = list(benchmark.items())
    lost = next(item.item_id for item in items if item.stratum == "color")
    answers = [
        replace(one, text="", finish="error") if one.item_id == lost else one
        for one in say(items, lambda item: "Yes" if "3" in item.item_id else item.expected)
    ]
    scores = {one.metric: one for one in benchmark.summarise(evaluate.item_scores(benchmark, items, answers))}
    write_folder(tmp_path / "out", mme.answer_lines(items[::2] + items[1::2], answers))
    points = 0.0
    for subtask in ("color", "celebrity"):
        rows = [line.split("\t") for line in (tmp_path / f"out/{subtask}.txt").read_text("utf-8").splitlines()]
        assert all(one[0] == two[0] for one, two in zip(rows[::2], rows[1::2], strict=True))
        right = [row[3].lower() == row[2].lower() for row in rows]
        both = [one and two for one, two in zip(right[::2], right[1::2], strict=True)]
        points += 100 * sum(right) / len(right) + 100 * sum(both) / len(both)
    assert scores["perception"].value == pytest.approx(points) and not score_folder(tmp_path / "out").complete


def test_a_missing_question_is_noticed_before_anything_is_scored(tmp_path: Path) -> None:
    benchmark = mme.load(path=tmp_path / "data", images="mme", roots=tiny_mme(tmp_path / "data"))
    items = list(benchmark.items())
    with pytest.raises(BooksError, match="needs two"):
        list(benchmark.score(items[1:], [answer(item, "Yes") for item in items[1:]]))


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda home: (home / "color/0000.png").unlink(), "has no picture"),
        (lambda home: (home / "color/0000.png").write_bytes(b"no picture"), "Every picture of the benchmark"),
        (lambda home: (home / "color/0000.txt").write_text("Is it?\tYes\n"), "two lines"),
        (lambda home: (home / "color/0000.txt").write_text("Is it?\tYes\nIs  it?\tNo\n"), "same question"),
    ],
)
def test_a_damaged_copy_of_the_benchmark_is_refused(tmp_path: Path, break_it: object, says: str) -> None:
    roots = tiny_mme(tmp_path / "data")
    break_it(tmp_path / "data")  # type: ignore[operator]
    with pytest.raises(DataError, match=says):
        list(mme.load(path=tmp_path / "data", images="mme", roots=roots).items())


def test_a_folder_that_is_not_the_benchmark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unpacked MME"):
        list(mme.load(path=tmp_path, images="mme", roots=tiny_mme(tmp_path / "data")).items())
