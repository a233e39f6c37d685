"""Files that cannot be scored: always what, where and what next, exit code 2, and never a trace."""

from __future__ import annotations

from pathlib import Path

import pytest
from in_process import command

BENCHMARKS = ("mme", "pope", "mmhal", "mmvet", "llava_bench")
FILES: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n\r\n",
    "nul": b"\0" * 50,
    "binary": bytes(range(256)),
    "utf-16": '{"question_id": 1}'.encode("utf-16"),
    "latin-1": '{"question_id": 1, "image": "é"}'.encode("latin-1"),
    "only a mark": b"\xef\xbb\xbf",
    "deep": b"[" * 200_000,
    "deep objects": b'{"a":' * 100_000,
    "a long number": b"[" + b"9" * 6000 + b"]",
    "a number of 400 digits": b'{"v1_0": {"score": [' + b"9" * 400 + b"]}}",
    "scalar": b"5",
    "null": b"null",
    "no rows": b"[]",
    "no keys": b"{}",
    "rows of nothing": b"[null]",
    "cut off": b'{"question_id": 1, "image": "a", "label": "yes", "answer": "n',
    "key twice": b'{"question_id": 1, "question_id": 2}',
    "id is a list": b'{"question_id": [1], "image": "a", "label": "yes", "answer": "no"}',
    "lists by line": b"[1, 2]\n[3]",
    "three columns": b"image\tquestion\tanswer\n",
    "a header": b"image\tquestion\tanswer\tresponse\n",
    "one question": b"a\tq\tYes\tyes\n",
    "three questions": b"a\tq\tYes\tyes\na\tr\tNo\tyes\na\ts\tNo\tyes\n",
}


def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], benchmark: str, *arguments: object
) -> str:
    assert command(monkeypatch, "score", benchmark, *arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and len(said.err) < 900
    return said.err


@pytest.mark.parametrize("benchmark", BENCHMARKS)
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_none_of_the_benchmark(
    benchmark: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "existence.txt"
    path.write_bytes(FILES[name])
    capabilities = tmp_path / "capabilities.json"
    capabilities.write_text('{"v1_0": ["ocr"]}')
    more = ("--capabilities", capabilities) if benchmark == "mmvet" else ()
    said = refused(monkeypatch, capsys, benchmark, tmp_path if benchmark == "mme" else path, *more)
    assert str(tmp_path) in said, "where"
    assert f"`score {benchmark}` reads " in said, "what next"


@pytest.mark.parametrize("benchmark", BENCHMARKS)
@pytest.mark.parametrize("kind", ["folder", "nothing", "long", "device"])
def test_a_path_that_is_no_file(
    benchmark: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "c.json").write_text('{"v1_0": ["ocr"]}')
    paths = {"folder": tmp_path / "folder", "long": tmp_path / ("a" * 300), "device": Path("/dev/zero")}
    more = ("--capabilities", tmp_path / "c.json") if benchmark == "mmvet" else ()
    path = paths.get(kind, tmp_path / "nothing")
    said = refused(monkeypatch, capsys, benchmark, path, *more)
    assert str(path)[: 40 if kind == "long" else None] in said, "which path; a long one is cut"


@pytest.mark.parametrize(
    ("benchmark", "option", "good"),
    [
        ("mmhal", "--template", b'[{"choices": [{"message": {"content": "Rating: 3"}}]}]'),
        ("mmvet", "--capabilities", b'{"v1_0": {"score": [0.5]}}'),
        ("pope", "--questions", b'{"question_id": 1, "answer": "yes"}'),
    ],
)
@pytest.mark.parametrize("name", [name for name in FILES if name != "key twice"])
def test_a_second_file_that_is_not_what_it_should_be(
    benchmark: str,
    option: str,
    good: bytes,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "good.json").write_bytes(good)
    (tmp_path / "bad.json").write_bytes(FILES[name])
    said = refused(monkeypatch, capsys, benchmark, tmp_path / "good.json", option, tmp_path / "bad.json")
    assert "bad.json" in said, "which of the two"


def test_old_line_ends_are_read_as_the_official_script_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for ends in ("\n", "\r\n", "\r"):
        (tmp_path / "existence.txt").write_bytes(f"a\tq\tYes\tyes{ends}a\tr\tNo\tNo, sir{ends}".encode())
        assert command(monkeypatch, "score", "mme", tmp_path, "--json") == 0
        assert '"perception": 200.0' in capsys.readouterr().out
