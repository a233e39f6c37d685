"""Files whose bytes were changed: whatever reads them gives records or one of our own errors, and nothing else."""

from __future__ import annotations

import importlib
import inspect
import io
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vlfeedback.source
from vlfeedback import config, prices, tables, toml_text
from vlfeedback.errors import ConfigError, DataError, VLFeedbackError
from vlfeedback.images import Roots
from vlfeedback.records import Dropped, Image, Instruction
from vlfeedback.source import Example, Found, hugging_face, red_team

NASTY = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"[[[[" * 5000, b'{"a":' * 3000, b"1e999", b"NaN", b'"\\ud800"', b"9" * 5000,
    b"\r", b"\n\n", b'"', b",", b"}", b"]", b"null", b"{}", b"../../x", b"<image>", b"\xe2\x80\xa8",
)  # fmt: skip
SOURCES = Path(vlfeedback.source.__file__).parent
READERS = sorted(file.stem for file in SOURCES.glob("[!_]*.py") if file.stem != "pocket")
ROUNDS = 60


def changed(rng: random.Random, content: bytes) -> bytes:
    """Bytes with one to three of them flipped, cut out, put in, or cut off."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        place = rng.randrange(len(found) + 1)
        match rng.randrange(5):
            case 0:
                del found[place : place + rng.choice((1, 2, 10, 100))]
            case 1:
                found[place : place + 1] = bytes([rng.randrange(256)])
            case 2:
                found[place:place] = rng.choice(NASTY)
            case 3:
                found[place : place + 8] = rng.choice(NASTY)
            case _:
                found = found[:place] if rng.random() < 0.3 else found + found[place:]
    return bytes(found)


def laid_out(folder: Path, example: Example, rng: random.Random) -> None:
    """An example's files, one of them changed."""
    hit = rng.choice(list(example.files))
    for name, content in example.files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        whole = content.encode() if isinstance(content, str) else content
        target.write_bytes(changed(rng, whole) if name == hit else whole)


@pytest.mark.parametrize("name", READERS)
def test_readers_of_sources(name: str, tmp_path: Path) -> None:
    module = importlib.import_module(f"vlfeedback.source.{name}")
    rng = random.Random(name)
    good = 0
    for number in range(ROUNDS):
        example = rng.choice(module.EXAMPLES)
        folder = tmp_path / str(number)
        laid_out(folder, example, rng)
        offered = {"path": folder / example.path, "roots": Roots({"run": folder / "run"})}
        given = {key: value for key, value in offered.items() if key in inspect.signature(module.load).parameters}
        try:
            items = list(module.load(**given, **example.options)())
        except VLFeedbackError as error:
            assert str(error)
            continue
        finally:
            shutil.rmtree(folder)
        assert all(isinstance(item, Found | Dropped) for item in items)
        assert all(item.record_id for item in items)
        good += 1
    assert good  # the changes are small enough to be met behind the door


@pytest.mark.parametrize("text", ["a = " + "[" * 9000, "a = " + "9" * 5000, "a = 'b", "a = 1\na = 2"])
def test_toml_is_named_as_what_is_wrong(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(toml_text.TOMLError):
        toml_text.loads(text)
    with pytest.raises(ConfigError, match="no valid TOML"):
        config.load(path)
    with pytest.raises(ConfigError, match="no valid TOML"):
        prices.read(path)
    (tmp_path / "pics").mkdir()
    with pytest.raises(ConfigError, match="no valid TOML"):
        red_team.load(tmp_path / "pics", templates="../a.toml")


def test_the_mark_of_utf8_before_toml_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('title = "mine"\n', encoding="utf-8-sig")
    assert config.load(path).title == "mine"
    path.write_text('[models."m"]\ninput = 1\noutput = 1\n', encoding="utf-8-sig")
    prices.read(path)


def parquet(table: Any) -> bytes:
    target = io.BytesIO()
    pq.write_table(table, target)
    return target.getvalue()


def twice() -> bytes:
    return parquet(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["prompt", "prompt"]))


def not_utf8() -> bytes:
    binary = pa.array([b"\xf4a"], type=pa.binary())
    return parquet(pa.Table.from_arrays([pa.Array.from_buffers(pa.string(), 1, binary.buffers())], names=["prompt"]))


def deep() -> bytes:
    return parquet(pa.table({"prompt": ["a"]}).replace_schema_metadata({"huggingface": "[" * 9000}))


def test_tables_of_others(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    for content in (twice(), not_utf8()):
        path.write_bytes(content)
        with pytest.raises(DataError, match="copied completely"):
            list(hugging_face.load(path)())
    path.write_bytes(deep())  # only the names of its classes are lost
    assert [item.prompt for item in hugging_face.load(path)() if isinstance(item, Found)] == ["a"]


def test_a_saved_dataset_that_lists_what_is_no_name(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_text("[" * 9000)
    with pytest.raises(DataError, match="copied completely"):
        list(hugging_face.load(tmp_path)())
    state.write_text(json.dumps({"_data_files": [{"filename": "a\0b.arrow"}]}))
    with pytest.raises(DataError, match="null byte"):
        list(hugging_face.load(tmp_path)())


def instruction(number: int) -> Instruction:
    picture = Image(f"{number:064x}", f"images:{number}.png", 4, 4)
    return Instruction(f"i{number}", f"What is {number}?", (picture,), "own", conduct="refuse")


def test_our_tables(tmp_path: Path) -> None:
    path, rng = tmp_path / "instructions.parquet", random.Random(4)
    tables.write(path, Instruction, [instruction(number) for number in range(20)], room="source")
    whole = path.read_bytes()
    refused = 0
    for _ in range(1500):
        content = bytearray(whole)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        for reading in (lambda: list(tables.read(path, Instruction)), lambda: tables.frame(path, ["id", "prompt"])):
            try:
                reading()
            except DataError as error:
                assert str(path) in str(error)
                refused += 1
    assert refused > 1000
