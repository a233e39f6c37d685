"""Files are streamed; a broken record is dropped, a broken file says where it is broken."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from vlfeedback import json_text
from vlfeedback.errors import ConfigError, DataError
from vlfeedback.records import Dropped
from vlfeedback.source import Found, csv, jsonl, parquet
from vlfeedback.source._rows import Row, json_map_rows, json_rows

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def write(folder: Path, content: str | bytes, name: str = "a.json") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def fields(path: Path) -> list[object]:
    return [row.fields if isinstance(row, Row) else row.record_id for row in json_rows(path)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    records=st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=4) | st.integers(), max_size=6),
    indent=st.none() | st.integers(0, 2),
    escaped=st.booleans(),
    chunk=st.integers(1, 40),
)
def test_a_list_read_in_pieces_is_what_the_standard_library_reads(
    tmp_path: Path, records: list[object], indent: int | None, escaped: bool, chunk: int
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(records, indent=indent, ensure_ascii=escaped), "utf-8", "surrogatepass")
    expected = [record if isinstance(record, dict) else f"record {number}" for number, record in enumerate(records, 1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_text, "CHUNK", chunk)
        assert fields(path) == expected


@pytest.mark.parametrize(
    "content",
    ['{"a": 1}\n\n{"a": 2}', '\ufeff{"a": 1}\r\n{"a": 2}\r\n', '[{"a": 1}, {"a": 2}]', '\ufeff [{"a":1},{"a":2}]\n'],
)
def test_lists_and_lines_are_told_apart_by_content(tmp_path: Path, content: str) -> None:
    for name in ("a.json", "a.jsonl", "a.txt"):
        assert fields(write(tmp_path, content, name)) == [{"a": 1}, {"a": 2}]


def test_a_name_that_stands_twice_in_an_object_is_counted(tmp_path: Path) -> None:
    path = write(tmp_path, '{"0": {"a": 1}, "1": {"a": 2}, "0": {"a": 3}, "0": {"a": 4, "a": 5}, "2": 7}')
    first, one, second, last, other = json_map_rows(path)
    assert (one, last) == (Row("1", {"a": 2}), Row("0", {"a": 5}))
    for found in (first, second, other):
        assert isinstance(found, Dropped) and found.reason == "bad_record"
    assert isinstance(first, Dropped) and "'0' stands more than once" in first.detail


def test_one_broken_line_does_not_stop_the_others(tmp_path: Path) -> None:
    deep = "[" * 100_000
    path = write(tmp_path, f'{{"a": 1}}\n{{"a": \n[1]\n{deep}\n{{"a": 2}}\n{{"a": {"9" * 5000}}}\n')
    rows = list(json_rows(path))
    assert [row.name for row in rows if isinstance(row, Row)] == ["line 1", "line 5"]
    dropped = [row for row in rows if isinstance(row, Dropped)]
    assert [row.record_id for row in dropped] == ["line 2", "line 3", "line 4", "line 6"]
    assert {row.reason for row in dropped} == {"bad_record"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.json is empty"),
        (b" \n\n", r"a\.json is empty"),
        ('[{"a": "é"}]'.encode("utf-16"), "UTF-16.*iconv"),
        ('{"a": "x"}\n{"a": "é"}\n'.encode("latin-1"), "line 2, byte 18: 0xe9 is not UTF-8.*Convert"),
        ('[{"a": 1},\n{"a": "é"}]'.encode("latin-1"), "line 2, byte 18: 0xe9 is not UTF-8.*Convert"),
        (b'[{"a": 1},\n{"a": 2}', "line 2, about byte 19: damaged JSON: expected ',', but the file ends.*copied"),
        (b'[{"a": 1},\n{"a": "cut of', "line 2.*damaged JSON.*the file ends"),
        (b'[{"a": 1},\n{"a" 2}, {"a": 3}]', "line 2, about byte 16: damaged JSON"),
        (b'[{"a": 1} {"a": 2}]', "line 1, about byte 10: damaged JSON: expected ','"),
        (b'[{"a": 1}] [', "more after the end"),
        (b'{\n  "a": 1\n}\n', "holds one JSON object; expected a list"),
    ],
)
def test_a_broken_file_says_where_and_what_to_do(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        list(json_rows(write(tmp_path, content)))
    assert "a.json" in str(caught.value)


@pytest.mark.parametrize("records", [b'[{"a": 1}]', b'{"a": 1}\n'])
def test_many_blanks_before_the_records_are_no_empty_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: bytes
) -> None:
    monkeypatch.setattr(json_text, "CHUNK", 7)
    (row,) = json_rows(write(tmp_path, b" \n" * 50 + records))
    assert isinstance(row, Row) and row.fields == {"a": 1}


@pytest.mark.parametrize("name", ["image", "picture"])
def test_what_is_nested_too_deeply_is_dropped_and_no_other(tmp_path: Path, name: str) -> None:
    deep = sys.getrecursionlimit() - 150
    for opened, closed in (("[", "]"), ('{"image":', "}")):
        line = f'{{"prompt": "x", "{name}": {opened * deep}"a.png"{closed * deep}}}'
        (tmp_path / "a.jsonl").write_text(f'{line}\n{{"prompt": "Who?", "{name}": "a.png"}}\n')
        *gone, kept = jsonl.load(tmp_path / "a.jsonl", image=name)()
        assert isinstance(kept, Found)
        assert not gone or isinstance(gone[0], Dropped)


def test_the_place_of_the_damage_is_right_in_a_later_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "CHUNK", 7)
    good = '[{"a": "é"},\n' + '{"a": 1},\n' * 40
    with pytest.raises(DataError, match=f"line 42, byte {len(good.encode()) + 7}: 0xff"):
        list(json_rows(write(tmp_path, good.encode() + b'{"a": "\xff"}]')))
    with pytest.raises(DataError, match=f"line 42, about byte {len(good.encode())}: damaged"):
        list(json_rows(write(tmp_path, good.encode() + b"oops]")))


def test_records_before_the_damage_are_read(tmp_path: Path) -> None:
    rows = json_rows(write(tmp_path, '[{"a": 1}, {"a" 2}]'))
    assert next(rows) == Row("record 1", {"a": 1})
    with pytest.raises(DataError):
        next(rows)


def test_a_record_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "LONGEST", 100)
    monkeypatch.setattr(json_text, "CHUNK", 16)
    for content in ('[{"a": "' + "x" * 500, '{"a": "' + "x" * 500 + "\n"):
        with pytest.raises(DataError, match="longer than 100"):
            list(json_rows(write(tmp_path, content)))


@pytest.mark.parametrize("load", [jsonl.load, csv.load, parquet.load])
def test_no_file_and_a_folder_are_named(tmp_path: Path, load: object) -> None:
    for path in (tmp_path / "no.x", tmp_path):
        with pytest.raises(DataError, match=r"cannot be opened.*path"):
            list(load(path)())


class TestTables:
    def test_csv_in_another_encoding(self, tmp_path: Path) -> None:
        path = write(tmp_path, "prompt\nfine\ncafé\n".encode("latin-1"), "a.csv")
        with pytest.raises(DataError, match="line 3, byte 15: 0xe9 is not UTF-8"):
            list(csv.load(path)())

    def test_csv_with_an_open_quote(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"line 3.*damaged CSV.*quote"):
            list(csv.load(write(tmp_path, 'prompt\nfine\n"open\n', "a.csv"))())

    def test_empty_csv_and_bad_delimiter(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="is empty"):
            list(csv.load(write(tmp_path, "", "a.csv"))())
        with pytest.raises(ConfigError, match="delimiter"):
            list(csv.load(write(tmp_path, "prompt\n", "a.csv"), delimiter="||")())

    @pytest.mark.parametrize("mark", [";", "\t", "|"])
    @pytest.mark.parametrize("quote", ["", '"'])
    @pytest.mark.parametrize("image", ["image", "a|b|c|d;e;f;g"])
    def test_another_delimiter_is_named(self, tmp_path: Path, mark: str, quote: str, image: str) -> None:
        names = ["prompt", image if image.isalpha() or quote else "picture", "id"]
        lines = [names, ["Why, then?", "a.png", "7"]]
        content = "\r\n".join(mark.join(quote + cell + quote for cell in line) for line in lines)
        path = write(tmp_path, "\ufeff" + content, "a.csv")
        with pytest.raises(ConfigError) as caught:
            list(csv.load(path)())
        said = re.search(r"a\.csv, line 1: .* is one column, .*Set `delimiter = (\"[^`]+\")`$", str(caught.value))
        assert said is not None and json.loads(said[1]) == mark
        (found,) = csv.load(path, delimiter=mark, image=names[1])()
        assert isinstance(found, Found) and (found.record_id, found.prompt) == ("7", "Why, then?")

    @pytest.mark.parametrize("line", ["sep=;\n", "SEP=;\r\n"])
    def test_a_file_may_tell_its_delimiter(self, tmp_path: Path, line: str) -> None:
        path = write(tmp_path, line + 'prompt;image\n"What; how?";1.png\nWhy?\n', "a.csv")
        found, dropped = csv.load(path)()
        assert (found.record_id, found.prompt) == ("line 3", "What; how?")
        assert (dropped.record_id, dropped.detail) == ("line 4", "line 4 has 1 cells, the header 2")

    def test_a_comma_is_named_where_another_delimiter_is_set(self, tmp_path: Path) -> None:
        path = write(tmp_path, "question,id\nWhy?,7\n", "a.csv")
        with pytest.raises(ConfigError, match=r'one column, \'question,id\'\. Set `delimiter = ","`'):
            list(csv.load(path, delimiter=";")())

    def test_a_column_that_is_asked_for_by_its_whole_name_stays_one(self, tmp_path: Path) -> None:
        path = write(tmp_path, "prompt; long|text\nWhy?\n", "a.csv")
        (found,) = csv.load(path, prompt="prompt; long|text")()
        assert isinstance(found, Found) and found.prompt == "Why?"

    def test_long_cells_are_read(self, tmp_path: Path) -> None:
        path = write(tmp_path, "prompt\n" + "x" * 200_000 + "\n", "a.csv")
        assert [item.prompt for item in csv.load(path)() if isinstance(item, Found)] == ["x" * 200_000]

    def test_a_file_that_is_not_parquet(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="Parquet"):
            list(parquet.load(write(tmp_path, b"PAR1 no", "a.parquet"))())
