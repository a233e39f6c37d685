"""The page of two runs, and the form of answers in the page of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vlfeedback import report
from vlfeedback.errors import DataError
from vlfeedback.report._comparison import comparison_headline, form_table
from vlfeedback.report._read import Artefacts

ROW: dict[str, Any] = {
    "benchmark": "mme", "metric": "perception", "base": "<b>old</b>", "other": "new", "base_value": 1440.5,
    "other_value": 1539.6, "difference": 99.1, "ci_low": 45.2, "ci_high": 153.0, "p": 0.0004, "p_holm": 0.0008,
    "headline": True, "mde": 77.0, "n": 2374, "says": "+99.1 on mme perception is beyond the noise.", "seeds": None,
}  # fmt: skip
FORM: dict[str, Any] = {
    "benchmark": "mme", "form": "other", "about": "neither yes nor no", "base": "<b>old</b>", "other": "new",
    "base_value": 0.01, "other_value": 0.05, "difference": 0.04, "ci_low": 0.03, "ci_high": 0.05, "n": 2374,
}  # fmt: skip


def found(**changes: Any) -> dict[str, Any]:
    told = {"headline": [ROW["says"]], "same": [], "refused": [], "notes": ["a note"]}
    whole: dict[str, Any] = {"first": "a", "second": ["b0", "b1"], "rows": [ROW], "drift": [FORM], **told}
    return whole | changes


def test_a_comparison_is_a_page_of_its_own(tmp_path: Path) -> None:
    page = report.write_comparison(found(), tmp_path / "c.html").read_text(encoding="utf-8")
    for text in (
        "is beyond the noise",
        "+99.1",
        "[45.2, 153.0]",
        "2,374",
        "neither yes nor no (%)",
        "a note",
        "b0, b1",
    ):
        assert text in page, text
    assert "<b>old</b>" not in page and "&lt;b&gt;old" in page
    seeds = {"n": 3, "difference": 90.0, "se": 9.0, "ci_low": 51.0, "ci_high": 129.0, "p": 0.01, "note": ""}
    page = report.write_comparison(found(rows=[{**ROW, "seeds": seeds}]), tmp_path / "c.html").read_text(
        encoding="utf-8"
    )
    assert "Over seeds" in page and "[51.0, 129.0]" in page


def test_a_refused_headline_is_none() -> None:
    said = comparison_headline(found(headline=None, refused=["pope: 900 of 3000 items have no reply"]))
    assert said.main.startswith("No headline") and "900 of 3000" in said.more
    assert comparison_headline(found(headline=[], same=["m"])).main.endswith("(m).")


def test_the_form_of_answers_is_read_from_the_evaluation(tmp_path: Path) -> None:
    assert Artefacts(tmp_path).drift() == ()
    (tmp_path / "evaluation.json").write_text(json.dumps({"conditions": [], "drift": [FORM]}), encoding="utf-8")
    (row,) = form_table(Artefacts(tmp_path).drift()).rows
    assert row[1:6] == ("neither yes nor no (%)", "1.0", "5.0", "+4.0", "[3.0, 5.0]")
    (tmp_path / "evaluation.json").write_text("[", encoding="utf-8")
    with pytest.raises(DataError, match="damaged"):
        Artefacts(tmp_path).drift()
