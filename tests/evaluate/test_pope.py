"""POPE's files, parser and figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from vlfeedback.errors import ConfigError, DataError
from vlfeedback.evaluate._pope_files import Asked, read_split
from vlfeedback.evaluate._pope_result import STRICT, official, score_files, score_splits


def rows(answers: dict[str, list[str | None]], *, per_image: int = 6) -> list[dict[str, Any]]:
    """Rows with ids from 1, by label."""
    listed = [(label, text) for label, texts in answers.items() for text in texts]
    return [
        {"question_id": n + 1, "image": f"{n // per_image}.jpg", "text": "Is there?", "label": label, "answer": text}
        for n, (label, text) in enumerate(listed)
    ]


def write(path: Path, listed: list[dict[str, Any]], *, end: str = "\n", mark: bytes = b"") -> Path:
    path.write_bytes(mark + end.join(json.dumps(row) for row in listed).encode())
    return path


def simple(first: str = "Yes", second: str = "No") -> list[dict[str, Any]]:
    return rows({"yes": [first] * 1500, "no": [second] * 1500})


# ── the parser ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("No", "no"), ("no", "no"), ("not", "no"), ("NO", "yes"), ("Not", "yes"), ("No.", "no"), ("No, it is.", "no"),
        ("no,", "no"), ("No!", "yes"), ("No\n", "yes"), ("\nNo", "yes"), ("There is\nno cat", "yes"), ("", "yes"),
        ("There is no cat", "no"), ("Yes. There is no dog", "yes"), (".No", "yes"), ("I cannot say", "yes"),
        ("It is not, I think", "no"), ("Yes, no", "no"), ("None", "yes"), ("n,o", "no"), ("No\u00a0cat", "yes"),
        ("No\tcat", "yes"), ("*No*", "yes"), ("Nothing", "yes"), ("  no", "no"), ("Mr. No", "yes"),
    ],
)  # fmt: skip
def test_awkward_answers_are_read_as_the_official_script_reads_them(text: str, reading: str) -> None:
    assert official(text) == reading


@given(st.text())
def test_the_parser_is_total_and_blind_to_what_follows_the_first_full_stop(text: str) -> None:
    assert official(text) in ("yes", "no")
    assert official(text.replace(".", "") + ". no not No") == official(text.replace(".", ""))


# ── the figures ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_yes_is_the_positive_class_and_the_yes_ratio_is_of_the_predictions(tmp_path: Path) -> None:
    listed = rows({"yes": ["Yes"] * 6 + ["No"] * 2, "no": ["Yes"] * 3 + ["No"] * 1})
    found = score_files([write(tmp_path / "coco_pope_random.json", listed)])
    one = found.splits["coco_pope_random"]
    assert (one.tp, one.fn, one.fp, one.tn) == (6, 2, 3, 1)
    assert (one.accuracy, one.precision, one.recall, one.yes_ratio, one.n) == (7 / 12, 6 / 9, 6 / 8, 9 / 12, 12)
    assert one.f1 == pytest.approx(12 / 17) and found.mean_f1 == one.f1
    assert not found.complete and found.warnings[0].startswith("INCOMPLETE: 12 of 9000")


def test_three_full_splits_are_complete_and_pooled_over_answers(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{name}.json", simple()) for name in ("random", "popular")]
    files.append(write(tmp_path / "adversarial.json", simple("Yes", "Yes")))
    found = score_files(files)
    assert found.complete and (found.n_expected, found.n_present) == (9000, 9000)
    assert found.pooled.accuracy == 7500 / 9000 and found.mean_f1 == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert any("every answer is read as yes" in text for text in found.warnings)
    again = found.to_json()
    assert set(again["splits"]) == {"random", "popular", "adversarial"}
    assert {"accuracy", "precision", "recall", "f1", "yes_ratio", "n"} <= set(again["splits"]["random"])
    assert again["se"] == again["pooled"]["se"]
    json.dumps(again, allow_nan=False)


def test_pictures_are_the_units_across_splits_and_folders(tmp_path: Path) -> None:
    """Two rights and a wrong of one picture, thrice: a picture's questions stand or fall together."""
    splits = {
        name: [
            Asked(f"{n}", f"{n // 6}", "yes", "Yes" if (n // 6) % 2 else "No") for n in range(240)
        ]
        for name in ("a", "b", "c")
    }  # fmt: skip
    found = score_splits(splits)
    # 40 pictures, all right or all wrong: SE² = Σ (Σ ±½)² / n² · 40/39, not the ¼/720 of independent answers.
    assert found.pooled.se == pytest.approx((0.25 / 40 * 40 / 39) ** 0.5)
    first = write(tmp_path / "a.json", [{**row, "image": f"val2014/{row['image']}"} for row in rows({"yes": ["Yes"]})])
    second = write(
        tmp_path / "b.json", [{**row, "image": f"d:\\coco\\{row['image']}"} for row in rows({"yes": ["No"]})]
    )
    assert read_split(first)[0].image == read_split(second)[0].image == "0.jpg"


def test_the_older_random_split_is_known_and_others_are_not(tmp_path: Path) -> None:
    old = simple()[:2910]
    files = [write(tmp_path / "coco_pope_random.json", old), write(tmp_path / "coco_pope_popular.json", simple())]
    found = score_files([*files, write(tmp_path / "coco_pope_adversarial.json", simple())])
    assert found.complete and found.n_expected == 8910 and found.versions["coco_pope_random"] == "2910"
    assert any("older random split" in text for text in found.warnings)
    short = score_files([write(tmp_path / "coco_pope_adversarial.json", old)])
    assert not short.complete and short.versions == {"coco_pope_adversarial": "other"}


def test_a_row_without_an_answer_is_never_scored_and_an_empty_answer_is_a_yes(tmp_path: Path) -> None:
    listed = rows({"yes": ["Yes", "", None], "no": ["No", None]})
    del listed[-1]["answer"]
    found = score_files([write(tmp_path / "a.json", listed)])
    assert (found.n_present, found.n_failed, found.n_unparsable) == (3, 2, 1)
    assert found.pooled.n == 3 and found.pooled.accuracy == 1 and found.readable.n == 2
    assert found.differs == 1 / 3 and not found.complete


def test_the_strict_parser_takes_an_undecided_answer_for_wrong(tmp_path: Path) -> None:
    listed = rows({"yes": ["Yes", "Perhaps"], "no": ["NO", "It is hard to say"]})
    path = write(tmp_path / "a.json", listed)
    lax, strict = score_files([path]), score_files([path], parser=STRICT)
    assert (lax.protocol, strict.protocol) == ("pope/official", "pope/strict")
    assert lax.pooled.accuracy == 0.5 and strict.pooled.accuracy == 0.5
    assert (lax.pooled.yes_ratio, strict.pooled.yes_ratio) == (1.0, 0.25)
    assert (strict.pooled.precision, strict.pooled.recall, strict.pooled.fn) == (1.0, 0.5, 1)
    assert lax.n_unparsable == strict.n_unparsable == 2 and lax.differs == 0.75


def test_no_prediction_of_yes_leaves_precision_undefined(tmp_path: Path) -> None:
    found = score_files([write(tmp_path / "a.json", rows({"yes": ["No"] * 2, "no": ["No"] * 2}))])
    assert (found.pooled.precision, found.pooled.recall, found.pooled.f1) == (None, 0, 0)
    json.dumps(found.to_json(), allow_nan=False)


# ── the files ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_byte_order_mark_dos_line_ends_and_another_order_change_nothing(tmp_path: Path) -> None:
    plain = score_files([write(tmp_path / "a.json", simple())])
    (tmp_path / "b").mkdir()
    odd = write(tmp_path / "b" / "a.json", simple()[::-1], end="\r\n\r\n", mark=b"\xef\xbb\xbf")
    assert score_files([odd]).to_json() == plain.to_json()


def test_what_unicode_calls_a_line_end_stays_in_its_answer(tmp_path: Path) -> None:
    listed = rows({"yes": ["Yes\u2028sure", "No\x85"]})
    path = tmp_path / "a.json"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in listed), encoding="utf-8")
    assert [row.answer for row in read_split(path)] == ["Yes\u2028sure", "No\x85"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("not json", "line 1 is no JSON"),
        ("[1]", "entry 1 is no JSON object"),
        ('{"question_id": 1, "image": "a", "label": "maybe", "answer": "Yes"}', "label is 'maybe'"),
        ('{"question_id": 1, "label": "yes", "answer": "Yes"}', "names no image"),
        ('{"image": "a", "label": "yes", "answer": "Yes"}', "has no question_id"),
        ('{"question_id": 1, "image": "a", "label": "yes", "answer": true}', "answer is True"),
        ('{"question_id": 1, "question_id": 2, "image": "a", "label": "yes", "answer": "Yes"}', "'question_id' twice"),
        ('{"question_id": 1, "image": "a", "label": "yes"}', "no answer in any row"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_files_that_are_not_of_the_format_are_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=says):
        score_files([tmp_path / "a.json"])


def test_an_id_twice_a_name_twice_and_a_folder_are_refused(tmp_path: Path) -> None:
    listed = rows({"yes": ["Yes"]})
    with pytest.raises(DataError, match="question_id 1 twice"):
        score_files([write(tmp_path / "a.json", listed * 2)])
    with pytest.raises(ConfigError, match="a name of its own"):
        score_files([tmp_path / "a.json", tmp_path / "a.json"])
    with pytest.raises(DataError, match="is a folder"):
        read_split(tmp_path)
    (tmp_path / "b.json").write_bytes(b"\xff\xfe{\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        read_split(tmp_path / "b.json")


# ── answers in files of their own ───────────────────────────────────────────────────────────────────────────────────


def apart(folder: Path, split: str, listed: list[dict[str, Any]], field: str = "answer") -> tuple[Path, Path]:
    """Questions and answers of one split, in two files."""
    (folder / "q").mkdir(exist_ok=True)
    asked = [{name: value for name, value in row.items() if name != "answer"} for row in listed]
    said = [{"question_id": row["question_id"], field: row["answer"]} for row in listed]
    return write(folder / "q" / f"coco_pope_{split}.json", asked), write(folder / f"my_{split}.jsonl", said[::-1])


@pytest.mark.parametrize("field", ["answer", "text"])
def test_answers_are_joined_to_their_questions_by_id(tmp_path: Path, field: str) -> None:
    listed = rows({"yes": ["Yes", "No", "Yes"], "no": ["No", "Yes", "No", "No"]})
    pairs = [apart(tmp_path, split, listed, field) for split in ("random", "popular")]
    whole = score_files([write(tmp_path / "random.json", listed)]).pooled
    found = score_files([said for _, said in pairs], questions=[asked for asked, _ in pairs])
    assert list(found.splits) == ["my_random", "my_popular"] and found.splits["my_random"] == whole


def test_a_question_without_an_answer_shifts_no_other(tmp_path: Path) -> None:
    listed = rows({"yes": ["Yes"] * 3, "no": ["No"] * 3})
    asked, said = apart(tmp_path, "random", listed)
    write(said, [{"question_id": n, "answer": "Yes" if n < 4 else "No"} for n in (2, 3, 4, 5, 6)])
    found = score_files([said], questions=[asked])
    assert (found.n_present, found.n_failed, found.pooled.accuracy) == (5, 1, 1)


def test_answers_to_other_questions_or_to_nobody_knows_which_are_refused(tmp_path: Path) -> None:
    listed = rows({"yes": ["Yes"]})
    (asked, said), (other, _) = apart(tmp_path, "random", listed), apart(tmp_path, "popular", listed)
    write(said, [{"question_id": 9, "answer": "Yes"}])
    with pytest.raises(DataError, match="answers 9, which"):
        score_files([said], questions=[asked])
    write(said, [{"question": "is there a bird?", "answer": "yes"}])
    with pytest.raises(DataError, match="has no question_id"):
        score_files([said], questions=[asked])
    with pytest.raises(ConfigError, match=r"does mine\.json answer"):
        score_files([write(tmp_path / "mine.json", listed)], questions=[asked, other])
    with pytest.raises(DataError, match="--questions"):
        score_files([write(tmp_path / "b.json", [{"question_id": 1, "answer": "Yes"}])])
