"""What commands show: names are no markup, commands can be typed, narrow terminals cut nothing off."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from vlfeedback import config, tables
from vlfeedback.commands import export, finished, status
from vlfeedback.ledger import Total
from vlfeedback.pipeline import Finished
from vlfeedback.records import PreferencePair, Usage
from vlfeedback.run_folder import RunFolder

ODD = "my [run] #2"
"""Of a folder: with a blank, and with what rich takes for markup."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path(ODD)
    RunFolder.create(path, config.Settings())
    (path / ".lock").touch()
    return path


def lines(show: object, found: object, width: int = 200) -> list[str]:
    out = io.StringIO()
    show(found, Console(file=out, width=width))  # type: ignore[operator]
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_the_next_command_can_be_typed(run: Path) -> None:
    found = status.status(run)
    assert shlex.split(found.next) == ["vlfeedback", "run", str(run)]
    shown = lines(status.show, found)
    assert shown[0] == f"run {run}"
    assert shown[-1] == f"next: {found.next}"
    done = lines(lambda one, console: finished.show(run, one, console), Finished((), 0, 0, 0, 0.0, False))
    assert (done[0], done[-1]) == (f"run {run}", f"next: {found.next}")


def test_names_are_no_markup(tmp_path: Path) -> None:
    summary = export.ExportSummary("trl", tmp_path / ODD, {"train": 1}, {"pairs of [bold]a[/b]": 2})
    assert lines(export.show, summary) == [
        f"trl: 1 train rows in {tmp_path / ODD}",
        "left out: 2 pairs of [bold]a[/b]",
    ]


@pytest.mark.parametrize("width", [30, 40, 60, 80, 200])
def test_calls_of_any_model_are_whole_at_any_width(width: int, run: Path) -> None:
    usage = Usage(312_345_678, 45_678_123)
    totals = (Total("openai:judge[/b]", "annotate", "done", 80_258, 80_300, 12, usage, 1234.5678, 0.5),)
    found = status.Status(run, {}, {}, totals, 1235.0, "vlfeedback run DIR")
    text = "\n".join(lines(status.show, found, width))
    assert "judge[/b]" in text or width == 80  # there it is folded
    assert all(figure in text for figure in ("80,258", "12", "312,345,678", "45,678,123", "1,234.5678"))


BYTES = os.fsdecode(b"b\xfccher")
"""A name of another encoding than the system's."""


def vlfeedback(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "vlfeedback", *arguments], cwd=folder, env={**os.environ, **environment},
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_of_any_encoding_is_written_to(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "\u65e5"
    RunFolder.create(path, config.Settings(title="\u65e5"))
    tables.write(path / "pairs.parquet", PreferencePair, [], room="pair")
    for arguments in (["--help"], ["digest", path.name], ["status", path.name]):
        done = vlfeedback(tmp_path, *arguments, PYTHONIOENCODING=encoding)
        assert (done.returncode, done.stderr) == (0, b"")
    done = vlfeedback(tmp_path, "status", path.name, "--json", PYTHONIOENCODING=encoding)
    assert json.loads(done.stdout.decode(encoding))["run"] == path.name


@pytest.mark.parametrize("command", [["status", BYTES], ["run", BYTES], ["run", f"{BYTES}/run.toml", "--out", "run"]])
def test_a_folder_whose_name_is_not_utf_8_does_not_pass_for_a_damaged_one(command: list[str], tmp_path: Path) -> None:
    path = tmp_path / BYTES
    RunFolder.create(tmp_path / "made", config.Settings())
    tables.write(tmp_path / "made" / "pairs.parquet", PreferencePair, [], room="pair")
    (tmp_path / "made").rename(path)
    done = vlfeedback(tmp_path, *command)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"b\\udcfccher" in done.stderr and b"this name is not UTF-8. Rename the folder" in done.stderr
