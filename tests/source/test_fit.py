"""A field map that does not fit its file is a mistake that is told, not a dataset without pictures."""

from __future__ import annotations

import base64
import io
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pillow

from vlfeedback.errors import ConfigError
from vlfeedback.images import Roots
from vlfeedback.records import Dropped
from vlfeedback.source import (
    Embedded,
    Found,
    Named,
    Reader,
    Source,
    _opening,
    csv,
    hugging_face,
    instructions,
    jsonl,
    llava,
    m3it,
    parquet,
)

ROWS: list[dict[str, Any]] = [{"prompt": f"What is {number}?", "image": f"{number}.png"} for number in range(4)]
LOADS = [jsonl.load, csv.load, parquet.load, hugging_face.load]


def file(folder: Path, load: Callable[..., Reader], rows: list[dict[str, Any]]) -> Path:
    path = folder / {jsonl.load: "a.jsonl", csv.load: "a.csv"}.get(load, "a.parquet")
    if load is jsonl.load:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif load is csv.load:
        path.write_text("\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("load", LOADS)
class TestPictures:
    def test_a_field_that_no_record_has_is_refused(self, tmp_path: Path, load: Callable[..., Reader]) -> None:
        path = file(tmp_path, load, ROWS)
        with pytest.raises(ConfigError, match=r"'pics', which `image` names.*there are 'prompt', 'image'; pictures"):
            list(load(path, image="pics")())

    @pytest.mark.parametrize("name", ["images", "img", "img_name"])
    def test_pictures_in_another_field_are_not_passed_over(
        self, tmp_path: Path, load: Callable[..., Reader], name: str
    ) -> None:
        path = file(tmp_path, load, [{"prompt": row["prompt"], name: row["image"]} for row in ROWS])
        with pytest.raises(ConfigError, match=f"pictures seem to lie in '{name}'. Set `image = '{name}'`"):
            list(load(path)())
        assert len(list(load(path, image=name)())) == len(list(load(path, image="")())) == 4

    def test_text_alone_is_read(self, tmp_path: Path, load: Callable[..., Reader]) -> None:
        rows = [{"prompt": "Why?", "id": "a.png", "source": "b", "answer": "See c.png"}]
        (found,) = load(file(tmp_path, load, rows))()
        assert found == Found("a.png", "Why?")

    def test_one_record_with_a_picture_is_enough(self, tmp_path: Path, load: Callable[..., Reader]) -> None:
        rows = [{"prompt": row["prompt"], "pics": ""} for row in ROWS] + [{"prompt": "Who?", "pics": "x.png"}]
        *_, found = load(file(tmp_path, load, rows), image="pics")()
        assert isinstance(found, Found) and found.images == (Named("x.png"),)


@pytest.mark.parametrize("load", LOADS[:2])
def test_files_of_pictures_are_known_under_any_name(tmp_path: Path, load: Callable[..., Reader]) -> None:
    path = file(tmp_path, load, [{"prompt": row["prompt"], "shot": row["image"]} for row in ROWS])
    with pytest.raises(ConfigError, match="pictures seem to lie in 'shot'"):
        list(load(path)())


@pytest.mark.parametrize("image", ["image", ""])
def test_an_object_around_the_records_is_told(tmp_path: Path, image: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"version": 1, "data": ROWS}))
    with pytest.raises(
        ConfigError, match="one object with the records in a list, 'data': give a file that is this list"
    ):
        list(jsonl.load(path, image=image)())


def test_a_column_of_bytes_is_a_column_of_pictures(tmp_path: Path) -> None:
    for name, value in (("shots", [{"bytes": b"GIF89a", "path": None}]), ("data", b"GIF89a")):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.Table.from_pylist([{"prompt": "Who?", name: value}]), path)
        for load in (hugging_face.load, parquet.load):
            with pytest.raises(ConfigError, match=f"pictures seem to lie in '{name}'"):
                list(load(path)())


def test_a_column_of_any_shard_counts(tmp_path: Path) -> None:
    for number, name in enumerate(("other", "image"), 1):
        pq.write_table(pa.table({"prompt": ["Who?"], name: ["a.png"]}), tmp_path / f"part_{number}.parquet")
    assert len(list(hugging_face.load(tmp_path)())) == 2


def test_a_table_without_the_prompt_lists_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"question": ["Who?"], "image": ["a.png"]}), tmp_path / "a.parquet")
    for load in (hugging_face.load, parquet.load):
        with pytest.raises(ConfigError, match="no column 'prompt'; it has 'question', 'image'"):
            list(load(tmp_path / "a.parquet")())


def test_a_root_without_a_picture_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    sources = [
        Source("mine", lambda: iter([Found("1", "Who?")]), "p"),
        Source("bare", lambda: iter([Found("2", "I?")])),
    ]
    list(instructions(sources, Roots({"p": tmp_path}), tell=told.append))
    assert len(told) == 1 and "0 of 1 instructions have a picture, although `images = 'p'` is given" in told[0]


def png(size: int = 9) -> bytes:
    target = io.BytesIO()
    Pillow.effect_noise((size, size), 90).save(target, "PNG")
    return target.getvalue()


class TestBase64:
    """Pictures written as text are pictures, and never a name that fills the books."""

    DATA = png()
    TEXT = base64.b64encode(DATA).decode()

    def test_readers_of_tables_and_lines_know_it(self, tmp_path: Path) -> None:
        for text in (self.TEXT, f"data:image/png;base64,{self.TEXT}", base64.encodebytes(self.DATA).decode()):
            rows = [{"prompt": "Who?", "image": text}]
            for load in (jsonl.load, parquet.load, hugging_face.load):
                assert [*load(file(tmp_path, load, rows))()] == [
                    Found("line 1" if load is jsonl.load else "row 1", "Who?", (Embedded(self.DATA),))
                ]
        talk = {"id": "7", "image": [self.TEXT], "conversations": [{"from": "human", "value": "<image>Who?"}]}
        (tmp_path / "a.json").write_text(json.dumps([talk]))
        assert [*llava.load(tmp_path / "a.json")()] == [Found("7", "Who?", (Embedded(self.DATA),))]

    @pytest.mark.parametrize("path", ["images/train/a.png", f"Qk1{'a' * 60}/b.jpg", "b" * 60, "iVBORw0KGgo"])
    def test_a_path_stays_one(self, tmp_path: Path, path: str) -> None:
        (found,) = jsonl.load(file(tmp_path, jsonl.load, [{"prompt": "Who?", "image": path}]))()
        assert isinstance(found, Found) and found.images == (Named(path),)

    def test_m3it_in_parquet(self, tmp_path: Path) -> None:
        row = {"instruction": "Caption it.", "inputs": "", "outputs": "A cat.", "image_base64_str": [self.TEXT]}
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
        expected = Found("row 1", "Caption it.", (Embedded(self.DATA),), reference="A cat.")
        assert [*m3it.load(tmp_path / "a.parquet")()] == [expected]

    @pytest.mark.parametrize("place", ["folder", "pics.zip"])
    def test_a_name_of_half_a_megabyte_is_told_in_a_line(self, tmp_path: Path, place: str) -> None:
        (tmp_path / "folder").mkdir()
        with ZipFile(tmp_path / "pics.zip", "w") as archive:
            archive.writestr("a.png", self.DATA)
        roots = Roots({"p": tmp_path / place, "run": tmp_path / "run"})
        for name in ("x" * 500_000, "x/" * 250_000, "data:" + "x" * 500_000, "/" + "x" * 500_000):
            pictures = (Named(name), Named(name, or_else=(name,)))
            items = [Found(str(number), "Who?", (picture,)) for number, picture in enumerate(pictures)]
            source = Source("mine", lambda items=items: iter([*items, Found("2", "I?")]), "p")
            details = [one.detail for one in instructions([source], roots) if isinstance(one, Dropped)]
            assert len(details) == 2 and all(0 < len(detail) < 500 for detail in details)

    def test_such_names_are_not_held(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_opening, "BYTES", 500_000)

        def read() -> Iterator[Found]:
            yield Found("0", "I?")
            for number in range(200):
                yield Found(str(number), "Who?", (Named(f"/{number}" + "x" * 100_000),))

        tracemalloc.start()
        try:
            for _ in instructions([Source("mine", read, "p")], Roots({"p": tmp_path})):
                pass
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 6_000_000  # of 20 MB of names
