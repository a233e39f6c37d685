"""Every format says what it was tested on; datasets in several files are read in order, and damage is told."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pillow

from vlfeedback import images, registry
from vlfeedback.errors import ConfigError, DataError
from vlfeedback.records import Dropped
from vlfeedback.source import (
    Found,
    Named,
    Reader,
    _files,
    _table_rows,
    csv,
    figstep,
    folder,
    hugging_face,
    jsonl,
    llava,
    mm_safetybench,
    parquet,
    pca_eval,
    pmc_vqa,
    rtvlm,
)
from vlfeedback.source._conversations import asked
from vlfeedback.source._fields import embedded, pictures
from vlfeedback.source._rows import BadRecord

ROOT = Path(__file__).resolve().parents[2]


def arrow(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)


def saved(folder: Path, shards: list[list[dict[str, object]]]) -> Path:
    names = [f"data-{number:05}-of-{len(shards):05}.arrow" for number in range(len(shards))]
    for name, rows in zip(names, shards, strict=True):
        arrow(folder / name, rows)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    return folder


class TestTestedOn:
    def test_every_plugin_states_it(self) -> None:
        assert set(registry.stated("source", "TESTED_ON")) == {
            name for name in registry.names("source") if (ROOT / f"src/vlfeedback/source/{name}.py").is_file()
        }

    def test_it_stands_in_the_help_and_in_the_docs(self) -> None:
        command = [sys.executable, "-m", "vlfeedback", "source", "--help"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
        for name, files in registry.stated("source", "TESTED_ON").items():
            line = next(line for line in shown.splitlines() if line.split()[:1] == [name])
            said = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
            for file in files or ("not seen",):
                assert file in line and file in said


class TestHuggingFace:
    def test_shards_come_in_the_order_of_the_listing_and_rows_are_named(self, tmp_path: Path) -> None:
        folder = saved(tmp_path / "d", [[{"prompt": "One?"}], [{"prompt": "Two?"}]])
        found = list(hugging_face.load(folder)())
        assert [(item.record_id, item.prompt) for item in found if isinstance(item, Found)] == [
            ("shard 1 row 1", "One?"),
            ("shard 2 row 1", "Two?"),
        ]

    def test_only_the_mapped_columns_are_read(self, tmp_path: Path) -> None:
        path = tmp_path / "a.parquet"
        table = pa.table({"prompt": ["One?"], "huge": [b"x" * 1000]})
        pq.write_table(table, path, compression="none", use_dictionary=False)
        data = bytearray(path.read_bytes())
        at = data.index(b"x" * 1000)
        data[at - 12 : at] = b"\xff" * 12  # the page's head
        path.write_bytes(bytes(data))
        with pytest.raises(DataError):
            list(hugging_face.load(path, category="huge")())
        assert [item.prompt for item in hugging_face.load(path, image="")() if isinstance(item, Found)] == ["One?"]

    def test_several_splits_need_a_name(self, tmp_path: Path) -> None:
        (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
        for split in ("train", "test"):
            saved(tmp_path / split, [[{"prompt": f"{split}?"}]])
        with pytest.raises(ConfigError, match=r"'train', 'test'.*split"):
            list(hugging_face.load(tmp_path)())
        with pytest.raises(ConfigError, match="not 'dev'"):
            list(hugging_face.load(tmp_path, split="dev")())
        assert [item.prompt for item in hugging_face.load(tmp_path, split="test")() if isinstance(item, Found)] == [
            "test?"
        ]

    @pytest.mark.parametrize(
        "names",
        [
            ["train.parquet", "test.parquet"],
            ["train_0.parquet", "train_1.parquet", "test_0.parquet"],
            ["data/train/0000.parquet", "data/test/0000.parquet"],
            ["train-00000-of-00001.parquet", "test-00000-of-00001.parquet"],
        ],
    )
    def test_splits_in_files_are_not_read_together(self, tmp_path: Path, names: list[str]) -> None:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table({"prompt": [f"{name}?"]}), tmp_path / name)
        with pytest.raises(ConfigError, match=r"the splits 'test', 'train': name one with `split`"):
            list(hugging_face.load(tmp_path)())
        found = [item.prompt for item in hugging_face.load(tmp_path, split="train")() if isinstance(item, Found)]
        assert found == [f"{name}?" for name in names if "train" in name]
        assert len(list(hugging_face.load(tmp_path, split="all")())) == len(names)

    @pytest.mark.parametrize(
        "names", [["0000", "0001"], ["part_0_7", "part_1_7"], ["train-0", "train-1"], ["a/x", "b/x"]]
    )
    def test_files_of_one_split_are_read_together(self, tmp_path: Path, names: list[str]) -> None:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table({"prompt": [f"{name}?"]}), tmp_path / f"{name}.parquet")
        assert len(list(hugging_face.load(tmp_path)())) == 2

    @pytest.mark.parametrize("name", ["../secret.arrow", "/etc/hostname", "..", 7, None])
    def test_a_listing_cannot_lead_out_of_its_folder(self, tmp_path: Path, name: object) -> None:
        (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
        with pytest.raises(DataError, match="no file of this folder"):
            list(hugging_face.load(tmp_path)())

    @pytest.mark.parametrize("name", [".", "..", "", "../o", "/"])
    def test_a_split_is_a_folder_of_this_one(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": [name]}))
        with pytest.raises(DataError, match=r"dataset_dict\.json lists the split '.*', which is no folder of this one"):
            list(hugging_face.load(tmp_path)())

    def test_the_folder_itself_is_no_split(self, tmp_path: Path) -> None:
        (tmp_path / "dataset_dict.json").write_text('{"splits": ["train"]}')
        saved(tmp_path / "train", [[{"prompt": "One?"}]])
        with pytest.raises(ConfigError, match=r"has the splits 'train', not '\.'"):
            list(hugging_face.load(tmp_path, split=".")())

    def test_damage_is_told(self, tmp_path: Path) -> None:
        folder = saved(tmp_path / "d", [[{"prompt": "One?"}] * 300])
        empty = tmp_path / "empty"
        empty.mkdir()
        shard = folder / "data-00000-of-00001.arrow"
        shard.write_bytes(shard.read_bytes()[:-400])
        with pytest.raises(DataError, match=r"cannot be read as Arrow.*copied completely"):
            list(hugging_face.load(folder)())
        shard.unlink()
        with pytest.raises(DataError, match="cannot be opened"):
            list(hugging_face.load(folder)())
        (folder / "state.json").write_text("{")
        with pytest.raises(DataError, match="copied completely"):
            list(hugging_face.load(folder)())
        with pytest.raises(DataError, match=r"no file that ends in \.arrow or \.parquet"):
            list(hugging_face.load(empty)())


class TestRedTeamSets:
    def test_a_folder_of_nothing_is_told(self, tmp_path: Path) -> None:
        for load in (rtvlm.load, mm_safetybench.load):
            with pytest.raises(DataError, match="holds no file"):
                list(load(tmp_path)())

    def test_words_are_checked_before_reading(self) -> None:
        for call in (
            lambda: rtvlm.load(Path("no"), conduct="sing"),
            lambda: figstep.load(Path("no"), asked="loudly"),
            lambda: mm_safetybench.load(Path("no"), kind="sd"),
        ):
            with pytest.raises(ConfigError, match="use one of"):
                call()

    def test_pictures_without_a_path_are_refused_before_reading(self) -> None:
        with pytest.raises(ConfigError, match="image_files names no path"):
            figstep.load(Path("no"), image_files=[])
        figstep.load(Path("no"), image_files=[], asked="text")

    @pytest.mark.parametrize("content", ['{"0": {"Question": "x"', "", b"\xff\xfe{\0".decode("latin-1"), "7"])
    def test_a_damaged_map(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "01-X.json").write_bytes(content.encode("latin-1"))
        items: list[object] = []
        try:
            items = list(mm_safetybench.load(tmp_path)())
        except DataError as error:
            assert "01-X.json" in str(error)
        assert not items


class TestSeveralFiles:
    @pytest.mark.parametrize(
        ("load", "files", "names"),
        [
            (
                rtvlm.load,
                {"A/x.jsonl": "{broken\n", "B/x.jsonl": '{"image": "a.png"}\n'},
                ["A/x/line 1", "B/x/line 1"],
            ),
            (mm_safetybench.load, {"01-X.json": '{"1": {}}', "02-Y.json": '{"1": {}}'}, ["01-X/1", "02-Y/1"]),
            (
                pca_eval.load,
                {"A/meta_data.json": "[{}]", "B/meta_data.json": "[{}]"},
                ["A/meta_data/record 1", "B/meta_data/record 1"],
            ),
        ],
    )
    def test_what_is_dropped_says_of_which_file(
        self, tmp_path: Path, load: Callable[[Path], Reader], files: dict[str, str], names: list[str]
    ) -> None:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        dropped = [one for one in load(tmp_path)() if isinstance(one, Dropped)]
        assert [one.record_id for one in dropped] == names
        assert all(one.detail.startswith(f"{name}, ") for one, name in zip(dropped, files, strict=True))

    def test_a_packed_file_in_a_folder_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "x.jsonl").write_text('{"question": "Why?", "image": "a.png"}\n')
        (tmp_path / "x.jsonl.gz").write_bytes(b"\x1f\x8b")
        assert len(list(rtvlm.load(tmp_path)())) == 1
        (tmp_path / "y.jsonl.gz").write_bytes(b"\x1f\x8b")
        with pytest.raises(DataError, match=r"y\.jsonl\.gz is packed.*unpack it there"):
            list(rtvlm.load(tmp_path)())


class TestParts:
    def test_texts_and_pictures_in_parts_are_taken_apart(self) -> None:
        turns = [
            {"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "Who?"}]},
            {"role": "assistant", "content": [{"type": "text", "value": "You."}]},
        ]
        (question,) = asked(turns)
        assert question.prompt == "Who?" and question.reply == "You." and len(question.pictures) == 1

    @pytest.mark.parametrize(
        "parts", [[], [{"type": "audio"}], [{"text": "x"}], ["x"], [{"type": "image", "image": 7}]]
    )
    def test_parts_that_cannot_be_read(self, parts: list[object]) -> None:
        with pytest.raises(BadRecord):
            asked([{"role": "user", "content": parts}])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8b\x08\0packed", "packed with gzip.*unpack"),
        (b"PK\x03\x04zip", "a ZIP archive.*unpack"),
        (b"BZh91AY&SY\0", "packed with bzip2.*unpack"),
        (b"PAR1\x15\x04\xff", 'a file of Parquet.*`use = "parquet"` or `"hugging_face"`'),
        (b"ARROW1\0\0", 'a file of Arrow.*`use = "hugging_face"`'),
        (b"\xff\xff\xff\xff\x10", 'a file of Arrow.*`use = "hugging_face"`'),
        ('[{"a": 1}]'.encode("utf-16-le"), "zero byte at byte 1: UTF-16"),
    ],
)
def test_files_that_are_no_text_say_what_they_are(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    for load in (jsonl.load, csv.load, llava.load):
        with pytest.raises(DataError, match=message):
            list(load(tmp_path / "a.jsonl")())


def test_line_ends_of_old_macs_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"prompt,image\rWhy?,a.png\r")
    with pytest.raises(DataError, match=r"line 1: a carriage return stands by itself.*tr '\\r' '\\n'"):
        list(csv.load(tmp_path / "a.csv")())


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,image,prompt\nx,y,z\n")
    with pytest.raises(DataError, match="'prompt' names more than one column"):
        list(csv.load(tmp_path / "a.csv")())


def test_what_is_no_number_is_no_text_either(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"prompt": NaN, "id": "a"}\n{"prompt": 1e400}\n{"prompt": -Infinity}\n'
        '{"prompt": 7.5, "category": NaN, "id": NaN, "image": NaN, "reference": NaN}\n'
    )
    *gone, kept = jsonl.load(path)()
    assert [one.detail for one in gone if isinstance(one, Dropped)] == [
        "line 1: it has no field 'prompt'; it has id",
        "line 2: field 'prompt' is infinite, not text",
        "line 3: field 'prompt' is infinite, not text",
    ]
    assert kept == Found("line 4", "7.5")


@pytest.mark.parametrize("name", ["Question", "Question ", " Question"])
def test_blanks_around_the_name_of_a_column_do_not_count(tmp_path: Path, name: str) -> None:
    sheet, table = tmp_path / "a.csv", tmp_path / "a.parquet"
    sheet.write_text("Figure_path, Question \nf.jpg,Why?\n", encoding="utf-8-sig")
    pq.write_table(pa.table({"Figure_path": ["f.jpg"], "Question ": ["Why?"], "other": [1]}), table)
    mapped = {"prompt": name, "image": "Figure_path "}
    readers = [csv.load(sheet, **mapped), parquet.load(table, **mapped), hugging_face.load(table, **mapped)]
    for reader in [*readers, pmc_vqa.load(sheet)]:
        (found,) = reader()
        assert isinstance(found, Found) and found.prompt == "Why?" and found.images == (Named("f.jpg"),)


def test_names_that_differ_in_blanks_alone_are_one_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,prompt \na,b\n")
    pq.write_table(pa.table({"prompt": ["a"], "prompt ": ["b"]}), tmp_path / "a.parquet")
    for load, name in ((csv.load, "a.csv"), (parquet.load, "a.parquet")):
        with pytest.raises(DataError, match="more than one column"):
            list(load(tmp_path / name)())


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ("A: Hepatitis B: chronic form", "Hepatitis B: chronic form"),
        ("Vitamin D: deficiency", "Vitamin D: deficiency"),
        ("MRSA : no", "MRSA : no"),
        ("B: cells", "B: cells"),
        (" A :Skin ", "Skin"),
    ],
)
def test_a_letter_inside_a_choice_is_its_text(tmp_path: Path, choice: str, text: str) -> None:
    sheet = tmp_path / "d.csv"
    sheet.write_text(f"Figure_path,Question,Choice A,Choice B,Answer\na.png,Which?,{choice},Bone,A\n")
    (found,) = pmc_vqa.load(sheet)()
    assert isinstance(found, Found)
    assert (found.prompt, found.reference) == (f"Which?\nA: {text}\nB: Bone", f"A: {text}")


def test_lines_of_prompts_end_where_lines_do(tmp_path: Path) -> None:
    text = "one\x0cstill one\u2028and\x85so on\r\n\r two\rthree\n\x0b\nfour\n"
    (tmp_path / "a.txt").write_bytes(text.encode("utf-8-sig"))
    assert _files.lines_of(tmp_path / "a.txt") == ["one\x0cstill one\u2028and\x85so on", "two", "three", "four"]


@pytest.mark.parametrize("load", [jsonl.load, csv.load, parquet.load, hugging_face.load, llava.load])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, load: Callable[[Path], Reader]) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="no regular file but a pipe"):
        list(load(tmp_path / "pipe")())


def test_several_kinds_are_one_category(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "x", "category": ["a", "b"]}\n{"prompt": "x", "category": [1]}\n')
    first, second = jsonl.load(tmp_path / "a.jsonl")()
    assert isinstance(first, Found) and first.category == "a+b"
    assert isinstance(second, Dropped) and second.reason == "bad_record"


def test_lines_and_files_without_end_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_table_rows, "LONGEST_LINE", 100)
    monkeypatch.setattr(_files, "MOST", 100)
    (tmp_path / "a.csv").write_text("prompt\n" + "x" * 200)
    with pytest.raises(DataError, match="line 2, byte 7: longer than 100"):
        list(csv.load(tmp_path / "a.csv")())
    (tmp_path / "prompts").write_text("x\n" * 100)
    with pytest.raises(DataError, match="larger than 100"):
        folder.load(tmp_path, prompts="prompts")


@pytest.mark.parametrize("member", ["path", "url", "file_name", "image"])
@pytest.mark.parametrize("several", [False, True])
def test_an_object_that_names_a_picture_is_one(member: str, several: bool) -> None:
    entry: dict[str, object] = {"bytes": None, "width": 64, member: "a.png"}
    assert pictures([entry] if several else entry, "image") == (Named("a.png"),)


@pytest.mark.parametrize("entry", [{}, {"bytes": None, "path": None}, {"url": ""}, [None, {}], float("nan"), []])
def test_an_empty_object_names_no_picture(entry: object) -> None:
    assert pictures(entry, "image") == ()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"s3_key": "a.png", "path": None}, "an object of s3_key, of which none"),
        ([{"size": 3}], "an object of size,"),
        (5, "is a number"),
        ([datetime(2020, 1, 1)], "is a point in time"),
        ([("path", "a.png")], "is a list"),
    ],
)
def test_what_is_there_and_no_picture_drops_the_record(value: object, said: str) -> None:
    with pytest.raises(BadRecord, match=said):
        pictures(value, "image")


@pytest.mark.parametrize(
    ("kind", "value", "name"),
    [
        (pa.timestamp("ms"), 0, "1970-01-01 00:00:00.000"),
        (pa.timestamp("ns"), 1, "1970-01-01 00:00:00.000000001"),
        (pa.timestamp("ms", "Mars/Phobos"), 60_000, "1970-01-01 00:01:00.000"),
        (pa.timestamp("us"), 2**62, "<value out of range: 4611686018427387904>"),
        (pa.duration("s"), 2**62, "4611686018427387904"),
        (pa.date64(), 86_400_000, "1970-01-02"),
    ],
)
@pytest.mark.parametrize("use", [parquet, hugging_face])
def test_a_time_is_its_text(tmp_path: Path, kind: pa.DataType, value: int, name: str, use: object) -> None:
    path = tmp_path / ("a.parquet" if use is parquet else "a.arrow")
    table = pa.table({"prompt": ["Why?"], "id": pa.array([value], pa.int64()).cast(kind), "image": [None]})
    if use is parquet:
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    assert list(use.load(path)()) == [Found(name, "Why?")]  # type: ignore[attr-defined]


def test_a_time_deep_in_a_table_is_damage_and_no_breakdown(tmp_path: Path) -> None:
    deep = pa.array([[2**62]], pa.list_(pa.int64())).cast(pa.list_(pa.timestamp("ms")))
    pq.write_table(pa.table({"prompt": ["Why?"], "image": deep}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        list(parquet.load(tmp_path / "a.parquet")())


def test_names_of_a_stranger_are_written_out_and_not_all_told(tmp_path: Path) -> None:
    record: dict[str, object] = {"\x1b[31mred": 1, **{f"key {number}": 1 for number in range(20_000)}}
    (tmp_path / "a.jsonl").write_text(json.dumps(record))
    (dropped,) = jsonl.load(tmp_path / "a.jsonl", image="")()
    assert isinstance(dropped, Dropped) and "\\x1b[31mred, key 0" in dropped.detail
    assert "\x1b" not in dropped.detail and dropped.detail.endswith("key 18, …")


def test_base64_with_the_head_of_a_data_url() -> None:
    assert embedded("data:image/gif;base64,R0lG ODlh") == embedded("R0lGODlh")


@pytest.mark.parametrize("load", [jsonl.load, llava.load, csv.load, pmc_vqa.load, parquet.load, mm_safetybench.load])
def test_a_pointer_of_git_lfs_is_no_dataset(tmp_path: Path, load: Callable[[Path], Reader]) -> None:
    pointer = tmp_path / "data"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:84f7\nsize 20176754\n")
    with pytest.raises(DataError, match=r"pointer of Git LFS.*git lfs pull"):
        list(load(pointer)())


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    target = io.BytesIO()
    Pillow.new("RGB", (4, 4)).save(target, "PNG")
    monkeypatch.setattr(images, "write_atomically", full)
    with pytest.raises(DataError, match=r"No space left.*Free some disk space"):
        images.Roots({"run": tmp_path}).add(target.getvalue())
