"""Tables that are older than what they were made of: commands say which, and what to run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from in_process import command

from vlfeedback import config
from vlfeedback.commands.status import status

RATED = "\n".join(
    f"#### {aspect} Assessment\n##### Output for Text 1\nRating: 5\nRationale: a.\n##### Output for Text 2\n"
    "Rating: 1\nRationale: b.\n"
    for aspect in ("Helpfulness", "Ethical Considerations", "Visual Faithfulness")
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run with pairs and a report."""
    rows = [json.dumps({"prompt": f"Why {number}?"}) for number in range(3)]
    (tmp_path / "instructions.jsonl").write_text("\n".join(rows), encoding="utf-8")
    settings = config.parse(
        {
            "source": [{"use": "jsonl", "path": str(tmp_path / "instructions.jsonl")}],
            "pool": [{"use": "scripted", "model": name, "replies": [name]} for name in ("a", "b")],
            "decode": {"k": 2},
            "judge": [{"use": "scripted", "model": "judge", "replies": [RATED]}],
            "eval_share": 0.0,
        },
        "test",
    )
    (tmp_path / "run.toml").write_text(config.to_toml(settings), encoding="utf-8")
    assert command(monkeypatch, "run", tmp_path / "run.toml", "--out", tmp_path / "run") == 0
    return tmp_path / "run"


def test_a_finished_run_is_up_to_date(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (status(run).stale, status(run).next) == ((), f"open {run / 'report.html'}")
    assert command(monkeypatch, "export", "trl", run, "--out", run / "trl") == 0


def test_pairs_of_other_responses_are_named(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "run", run, "--to", "annotate", "--set", "decode.temperature=0.1") == 0
    found = status(run)
    assert [one.name for one in found.stale] == ["pairs"]
    assert found.next == f"vlfeedback run {run} --from pair"
    capsys.readouterr()
    assert command(monkeypatch, "status", run) == 0
    assert "pairs is out of date: [pair], the annotations or the responses changed since" in capsys.readouterr().out
    assert command(monkeypatch, "status", run, "--json") == 0
    assert list(json.loads(capsys.readouterr().out)["stale"]) == ["pairs"]
    assert command(monkeypatch, "report", run) == 0
    assert "pairs.parquet is out of date: [pair], the annotations or the responses changed" in capsys.readouterr().err
    assert command(monkeypatch, "export", "trl", run, "--out", run / "trl") == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {run / 'pairs.parquet'} is out of date")
    assert f"`vlfeedback run {run} --from pair --to pair` brings it up to date" in said
    assert command(monkeypatch, *found.next.split()[1:], "--to", "pair") == 0
    assert status(run).stale == ()
    assert command(monkeypatch, "export", "trl", run, "--out", run / "trl") == 0


def test_what_was_asked_under_other_settings_is_named(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (run / "run.toml").read_text(encoding="utf-8")
    (run / "run.toml").write_text(text.replace("temperature = 0.7", "temperature = 0.1"), encoding="utf-8")
    assert [one.name for one in status(run).stale] == ["responses"]
    assert status(run).next == f"vlfeedback run {run} --from decode"
    assert command(monkeypatch, "export", "trl", run, "--out", run / "trl") == 0
    assert "responses.parquet is out of date" in capsys.readouterr().err


def test_a_report_of_older_tables_is_made_anew(run: Path) -> None:
    later = (run / "report.html").stat().st_mtime_ns + 1_000_000
    os.utime(run / "pairs.parquet", ns=(later, later))
    assert status(run).next == f"vlfeedback report {run}"


def test_what_is_not_here_is_not_out_of_date(run: Path) -> None:
    (run.parent / "instructions.jsonl").unlink()
    assert status(run).stale == ()
