"""Importing as a command: pictures, damaged files, and that a failure changes nothing."""

from __future__ import annotations

import codecs
import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from exchange import released as r

from vlfeedback import config, json_text, tables
from vlfeedback.errors import ConfigError, DataError, RunLocked
from vlfeedback.exchange import _rows
from vlfeedback.images import RUN_ROOT, Roots, side
from vlfeedback.ledger import Ledger
from vlfeedback.records import Instruction, PreferencePair


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return r.write(tmp_path / "a.jsonl", [r.row("own-1", "one?"), r.row("own-2", "two?")])


def folder(tmp_path: Path, *names: str) -> Path:
    for name in names:
        place = tmp_path / "pictures" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(r.picture("red" if "1" in name else "blue"))
    return tmp_path / "pictures"


def archive(tmp_path: Path, *names: str) -> Path:
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, r.picture("red" if "1" in name else "blue"))
    return path


@pytest.mark.parametrize("place", [folder, archive])
@pytest.mark.parametrize("prefix", ["", "merged_images/"])
def test_pictures_are_hashed_wherever_they_lie(tmp_path: Path, data: Path, place: Any, prefix: str) -> None:
    images = place(tmp_path, f"{prefix}own-1.jpg", f"{prefix}own-2.jpg", f"{prefix}own-3.jpg")
    summary = r.bring_in(data, tmp_path / "run", images=images)
    assert summary.hashed and summary.dropped == {}
    first, second = r.instructions(tmp_path / "run")
    assert first.images[0].sha256 == hashlib.sha256(r.picture("red")).hexdigest()
    assert second.images[0].sha256 == hashlib.sha256(r.picture("blue")).hexdigest()
    assert (first.images[0].width, first.images[0].height) == (12, 8)


@pytest.mark.parametrize("place", [folder, archive])
@pytest.mark.parametrize("hashing", [True, False])
def test_later_rooms_find_the_pictures_through_run_toml(tmp_path: Path, data: Path, place: Any, hashing: bool) -> None:
    images = place(tmp_path, "merged_images/own-1.jpg", "merged_images/own-2.jpg", "note/x1.jpg")
    r.bring_in(data, tmp_path / "run", images=images, hash_images=hashing)
    named = config.load(tmp_path / "run" / "run.toml").images
    roots = Roots({name: Path(place) for name, place in named.items()})
    assert [roots.open(one.images[0]) for one in r.instructions(tmp_path / "run")] == [
        r.picture("red"),
        r.picture("blue"),
    ]


def test_a_missing_picture_drops_its_row_and_no_other(tmp_path: Path, data: Path) -> None:
    summary = r.bring_in(data, tmp_path / "run", images=folder(tmp_path, "own-1.jpg"))
    assert summary.dropped == {"missing_image": 1} and summary.books.instructions == 1


def test_names_alone_give_the_same_ids_with_and_without_the_pictures(tmp_path: Path, data: Path) -> None:
    r.bring_in(data, tmp_path / "without")
    images = folder(tmp_path, "merged_images/own-1.jpg", "merged_images/own-2.jpg")
    r.bring_in(data, tmp_path / "with", images=images, hash_images=False)
    ids = [[one.id for one in r.instructions(tmp_path / name)] for name in ("without", "with")]
    assert ids[0] == ids[1]


def test_an_id_that_climbs_is_refused_also_where_a_folder_would_bring_it_back(tmp_path: Path) -> None:
    path = r.write(tmp_path / "a.jsonl", [r.row("own-1", "one?"), r.row("../own-1", "two?")])
    images = folder(tmp_path, "own-1.jpg")  # merged_images/../own-1.jpg is this very file
    for hashing in (True, False):
        summary = r.bring_in(path, tmp_path / "run", images=images, hash_images=hashing)
        assert summary.dropped == {"refused_path": 1}


def test_a_picture_that_is_none_is_a_bad_image(tmp_path: Path, data: Path) -> None:
    images = folder(tmp_path, "own-1.jpg")
    (images / "own-2.jpg").write_bytes(b"no picture")
    assert r.bring_in(data, tmp_path / "run", images=images).dropped == {"bad_image": 1}


def test_a_member_that_climbs_out_of_its_archive_does_not_exist(tmp_path: Path, data: Path) -> None:
    images = archive(tmp_path, "own-1.jpg", "../own-2.jpg")
    summary = r.bring_in(data, tmp_path / "run", images=images)
    assert summary.dropped == {"missing_image": 1}
    assert not (tmp_path / "own-2.jpg").exists() and not list(tmp_path.rglob("own-2.jpg"))


def test_the_loaders_own_path_is_read_as_a_place_in_the_release(tmp_path: Path) -> None:
    rows = [r.row("own-9", img_path="/home/somebody/.cache/downloads/abc/merged_images/own-1.jpg")]
    path = r.write(tmp_path / "a.jsonl", rows)
    for images in (folder(tmp_path, "merged_images/own-1.jpg"), tmp_path / "pictures" / "merged_images"):
        r.bring_in(path, tmp_path / images.name, images=images)
        assert (
            r.instructions(tmp_path / images.name)[0].images[0].sha256 == hashlib.sha256(r.picture("red")).hexdigest()
        )


def test_pictures_inside_the_file_are_kept_in_the_run_folder(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = r.row() | {"image": {"bytes": r.picture("green"), "path": "a.jpg"}}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    r.bring_in(tmp_path / "a.parquet", tmp_path / "run")
    (image,) = r.instructions(tmp_path / "run")[0].images
    assert Roots({RUN_ROOT: tmp_path / "run" / "images"}).open(image) == r.picture("green")


def test_the_split_follows_the_picture(tmp_path: Path) -> None:
    rows = [r.row(f"own-{n // 2}", f"question {n}") for n in range(200)]
    r.bring_in(r.write(tmp_path / "a.jsonl", rows), tmp_path / "run", eval_share=0.3)
    found = r.instructions(tmp_path / "run")
    by_picture: dict[str, set[str]] = {}
    for one in found:
        by_picture.setdefault(one.images[0].sha256, set()).add(one.split)
        assert one.split == side(one.prompt, one.images, 0.3)
    assert (
        all(len(sides) == 1 for sides in by_picture.values()) and 20 < sum(one.split == "eval" for one in found) < 110
    )


GOOD = json.dumps(r.row()).encode()


@pytest.mark.parametrize(
    "line",
    [
        b'{"id": "cut off", "prompt": ',
        b"[1, 2]",
        b'"text"',
        b"not json at all",
        b'{"id": "half", "prompt": "\\ud83d"}',
        b"[" * 100_000,
        b'{"id": "x", "n": ' + b"9" * 5000 + b"}",
        b'{"id": "nul", "prompt": "a\x00b"}',
    ],
    ids=["cut", "list", "text", "nonsense", "surrogate", "deep", "digits", "nul"],
)  # fmt: skip
def test_a_damaged_line_is_dropped_with_its_number(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD + b"\n\n" + line + b"\n" + GOOD.replace(b"desk", b"shelf"))
    summary = r.bring_in(path, tmp_path / "run")
    assert summary.books.instructions == 2 and summary.dropped == {"bad_record": 1}
    assert [one.record_id for one in r.dropped(tmp_path / "run")] == ["a.jsonl:3"]


def test_an_honest_surrogate_pair_is_a_character(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD.replace(b"desk", b"\\ud83d\\ude00"))
    r.bring_in(path, tmp_path / "run")
    assert "😀" in r.instructions(tmp_path / "run")[0].prompt


def test_an_id_of_many_digits_keeps_them(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(r.row(id=123456789012345678901234567890)))
    r.bring_in(path, tmp_path / "run")
    assert r.instructions(tmp_path / "run")[0].images[0].uri.endswith("123456789012345678901234567890.jpg")


def test_a_line_longer_than_the_limit_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rows, "LONGEST_LINE", 4000)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": "' + b"x" * 9000 + b'"}\n' + GOOD)
    summary = r.bring_in(path, tmp_path / "run")
    assert summary.dropped == {"bad_record": 1} and summary.books.instructions == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n  \n", "holds no row"),
        (b"[]", "holds no row"),
        (GOOD + b"\n" + GOOD.replace(b"desk", "Büro".encode("latin-1")), "line 2.*not UTF-8"),
        (codecs.BOM_UTF16_LE + GOOD.decode().encode("utf-16-le"), "UTF-16"),
        (GOOD.decode().encode("utf-16-be"), "UTF-16"),
        (b"[" + GOOD, "damaged JSON.*the file ends"),
        (b"[" + GOOD + b"," + GOOD[:-9] + b"]", "line 1, about byte.*damaged JSON"),
        (b"[" + GOOD + GOOD + b"]", "expected ','"),
        (b"PAR1 but nothing else", "cannot be read as Parquet"),
        (b'{"other": "format"}\n' * 3, "none of the 3 rows.*3 bad_record"),
    ],
)  # fmt: skip
def test_an_unusable_file_is_refused_and_changes_no_table(
    tmp_path: Path, data: Path, content: bytes, message: str
) -> None:
    r.bring_in(data, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.parquet")}
    path = tmp_path / "bad" / "a.jsonl"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        r.bring_in(path, tmp_path / "run")
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.parquet")} == before
    assert not list((tmp_path / "run").rglob("*.part"))


def test_mistakes_of_the_caller(tmp_path: Path, data: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        r.bring_in(tmp_path / "nowhere.jsonl", tmp_path / "run")
    with pytest.raises(DataError, match="does not exist"):
        r.bring_in(data, tmp_path / "run", images=tmp_path / "nowhere.zip")
    with pytest.raises(ConfigError, match="is a file"):
        r.bring_in(data, data)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no \.parquet"):
        r.bring_in(tmp_path / "empty", tmp_path / "run")
    assert not (tmp_path / "run" / "instructions.parquet").exists()


def test_a_run_folder_of_its_own_is_never_overwritten(tmp_path: Path, data: Path) -> None:
    table = tmp_path / "run" / "instructions.parquet"
    tables.write(table, Instruction, [], room="source")
    before = table.read_bytes()
    with pytest.raises(ConfigError, match="run folder of its own"):
        r.bring_in(data, tmp_path / "run")
    assert table.read_bytes() == before


@pytest.mark.parametrize("chunk", [1, 7, 64, 10_000])
def test_an_array_is_read_in_pieces_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(json_text, "CHUNK", chunk)
    values: list[Any] = [{"a": "ä😀]," * 9, "b": [1, {"c": "}"}]}, {"a": 12345.5}, {}, {"a": "\\u2028\n"}]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False), encoding="utf-8")
    assert [row.fields for row in _rows.rows(path) if isinstance(row, _rows.Row)] == values


@pytest.mark.parametrize("kind", ["stream", "file"])
def test_arrow_files_of_both_kinds_are_read_and_damage_is_told(tmp_path: Path, kind: str) -> None:
    import pyarrow as pa

    values = [{"a": number, "b": ["x" * number]} for number in range(150)]
    table, path = pa.Table.from_pylist(values), tmp_path / "a.arrow"
    opened = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
    with opened(str(path), table.schema) as writer:
        writer.write_table(table)
    read = [row for row in _rows.rows(path) if isinstance(row, _rows.Row)]
    assert [row.fields for row in read] == values
    assert read[-1].where == "a.arrow:150"
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(DataError, match="cannot be read as Arrow"):
        list(_rows.rows(path))


def test_numbers_of_an_array_are_not_cut_at_a_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "CHUNK", 3)
    path = tmp_path / "a.json"
    path.write_text("[123456789, 42]")
    assert [one.detail for one in _rows.rows(path) if not isinstance(one, _rows.Row)] == [
        "an object was expected, found int"
    ] * 2


def test_pairs_of_other_responses_do_not_survive_an_import(tmp_path: Path, data: Path) -> None:
    pair = PreferencePair("p", "i", "c", "r", 1.0, "all_pairs")
    r.bring_in(data, tmp_path / "run")
    tables.write(tmp_path / "run" / "pairs.parquet", PreferencePair, [pair], room="pair")
    r.bring_in(data, tmp_path / "run")
    assert (tmp_path / "run" / "pairs.parquet").exists()  # nothing changed, so they are as good as before
    r.bring_in(r.write(tmp_path / "b.jsonl", [r.row("own-9", "nine?")]), tmp_path / "run")
    assert not (tmp_path / "run" / "pairs.parquet").exists()


def test_settings_of_the_folder_survive_an_import(tmp_path: Path, data: Path) -> None:
    r.bring_in(data, tmp_path / "run")
    path = tmp_path / "run" / "run.toml"
    path.write_text(path.read_text().replace('use = "all_pairs"', 'use = "best_worst"'))
    r.bring_in(data, tmp_path / "run", images=folder(tmp_path, "own-1.jpg"))
    settings = config.load(path)
    assert settings.pair.use == "best_worst" and settings.images == {"images": str(tmp_path / "pictures")}


def test_a_second_writer_refuses(tmp_path: Path, data: Path) -> None:
    with Ledger.open(tmp_path / "run" / "ledger.sqlite"), pytest.raises(RunLocked):
        r.bring_in(data, tmp_path / "run")
    assert not (tmp_path / "run" / "instructions.parquet").exists()


def test_a_full_disk_leaves_the_old_tables(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    r.bring_in(data, tmp_path / "run")
    before = r.digests(tmp_path / "run")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_table", full)
    with pytest.raises(DataError, match="disk space"):
        r.bring_in(r.write(tmp_path / "b.jsonl", [r.row("own-9", "nine?")]), tmp_path / "run")
    assert r.digests(tmp_path / "run") == before and not list((tmp_path / "run").rglob("*.part"))
