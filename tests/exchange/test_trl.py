"""TRL's preference format: every shape in, a folder out, and the way round."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exchange import released as r

from vlfeedback import groups, tables
from vlfeedback.commands.export import export
from vlfeedback.commands.import_ import ImportSummary, import_data
from vlfeedback.errors import ConfigError, DataError
from vlfeedback.exchange import _shards, trl
from vlfeedback.pair import all_pairs, pairs
from vlfeedback.records import Dropped, Instruction, PreferencePair, Response


def bring_in(path: Path, out: Path, **settings: Any) -> ImportSummary:
    return import_data("trl", path, out=out, **settings)


def message(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def judged_run(tmp_path: Path, rows: list[dict[str, Any]], eval_share: float = 0.005) -> Path:
    """A run folder with pictures and pairs by the paper's rule."""
    images = tmp_path / "pictures"
    images.mkdir(exist_ok=True)
    for number, row in enumerate(rows):
        (images / f"{row['id']}.jpg").write_bytes(r.picture(size=(10 + number, 9)))
    run = tmp_path / "run"
    r.bring_in(r.write(tmp_path / "a.jsonl", rows), run, images=images, eval_share=eval_share)
    made = [one for one in pairs(groups.load(run), all_pairs.load()) if isinstance(one, PreferencePair)]
    tables.write(run / "pairs.parquet", PreferencePair, made, room="pair")
    return run


def spoken(run: Path) -> set[tuple[str, str, str, float | None]]:
    """Pairs of a run folder by what they say."""
    texts = {one.id: one.text for one in tables.read(run / "responses.parquet", Response)}
    prompts = {one.id: one.prompt for one in tables.read(run / "instructions.parquet", Instruction)}
    return {
        (prompts[one.instruction_id], texts[one.chosen_id], texts[one.rejected_id], one.margin)
        for one in tables.read(run / "pairs.parquet", PreferencePair)
    }


@pytest.mark.parametrize(("row", "expected"), trl.EXAMPLES)
def test_examples_of_the_format(row: dict[str, Any], expected: tuple[str, str, str]) -> None:
    found = trl.read_texts(row)
    assert (found.prompt, found.chosen, found.rejected) == expected


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        ("How many? Three cups", "How many? Four", ("How many?", "Three cups", "Four")),
        ("How many?  Three", "How many?  Four", ("How many? ", "Three", "Four")),  # one blank is the joint, as in TRL
        ("How many?\nThree", "How many?\nFour", ("How many?\n", "Three", "Four")),
        ("How many? The red", "How many? The blue", ("How many? The", "red", "blue")),
        ("How many? Three", "How many? Twelve", ("How many? T", "hree", "welve")),  # by letters, as in TRL
        ("How many? a", "How many?b", ("How many?", " a", "b")),  # here the blank is what they differ by
        ("Yes", "No", ("", "Yes", "No")),
    ],
)
def test_plain_texts_without_a_prompt_share_their_start(
    chosen: str, rejected: str, expected: tuple[str, str, str]
) -> None:
    assert trl.read_texts({"chosen": chosen, "rejected": rejected})[:3] == expected


def test_rows_without_a_prompt_are_said_and_those_that_end_in_each_other_dropped(tmp_path: Path) -> None:
    texts = [("How many? Three", "How many? Four"), ("How many? Three", "How many? Three cups"), ("Same.", "Same.")]
    rows = [{"chosen": chosen, "rejected": rejected} for chosen, rejected in texts]
    summary = bring_in(r.write(tmp_path / "a.jsonl", [{"prompt": "q", "chosen": "a", "rejected": "b"}, *rows]),
                       tmp_path / "run")  # fmt: skip
    assert summary.dropped == {"bad_record": 1, "identical": 1} and summary.books.pairs == 2
    assert summary.notes["rows without a prompt: what both texts begin with is taken for it"] == 2
    said = {one.text for one in tables.read(tmp_path / "run" / "responses.parquet", Response)}
    assert said >= {"Three", "Four"}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a"},
        {"prompt": "a", "chosen": "b"},
        {"prompt": "a", "chosen": "b", "rejected": ["c"]},
        {"prompt": [], "chosen": "b", "rejected": "c"},
        {"prompt": [message("system", "s"), message("user", "a")], "chosen": "b", "rejected": "c"},
        {"prompt": [message("user", None)], "chosen": "b", "rejected": "c"},
        {"prompt": [message("user", [{"type": "video"}])], "chosen": "b", "rejected": "c"},
        {"chosen": [message("assistant", "b")], "rejected": [message("assistant", "c")]},
        {"chosen": [], "rejected": []},
        {"prompt": "a", "chosen": [message("user", "b")], "rejected": [message("assistant", "c")]},
        {"prompt": "a", "chosen": "b", "rejected": "c", "images": [3]},
    ],
)  # fmt: skip
def test_what_an_instruction_cannot_hold_is_dropped(tmp_path: Path, row: dict[str, Any]) -> None:
    path = r.write(tmp_path / "a.jsonl", [{"prompt": "good?", "chosen": "yes", "rejected": "no"}, row])
    summary = bring_in(path, tmp_path / "run")
    assert summary.dropped == {"bad_record": 1} and summary.books.pairs == 1


def test_rows_of_one_prompt_become_one_instruction(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "chosen": "best", "rejected": "middle"},
        {"prompt": "q", "chosen": "middle", "rejected": "worst"},
        {"prompt": "q", "chosen": "best", "rejected": "middle"},
        {"prompt": "q", "chosen": "best", "rejected": "best"},
    ]
    summary = bring_in(r.write(tmp_path / "a.jsonl", rows), tmp_path / "run")
    assert (summary.books.instructions, summary.books.responses, summary.books.pairs) == (1, 3, 2)
    assert summary.dropped == {"duplicate": 1, "identical": 1}
    (group,) = groups.load(tmp_path / "run")
    assert len(group.pairs) == 2 and {pair.margin for pair in group.pairs} == {None}


def test_a_pair_counts_once_whatever_its_margin_and_opposites_are_said(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "chosen": "best", "rejected": "worst"},
        {"prompt": "q", "chosen": "best", "rejected": "worst", "margin": 2},
        {"prompt": "q", "chosen": "worst", "rejected": "best"},
        {"prompt": "q", "chosen": "best", "rejected": "other", "margin": True},
    ]
    summary = bring_in(r.write(tmp_path / "a.jsonl", rows), tmp_path / "run")
    assert summary.dropped == {"duplicate": 1, "bad_record": 1} and summary.books.pairs == 2
    assert summary.notes["pairs whose opposite is a pair as well; both are kept"] == 1
    assert len({one.id for one in tables.read(tmp_path / "run" / "pairs.parquet", PreferencePair)}) == 2


@pytest.mark.parametrize(
    ("fields", "count"), [({"images": None, "image": "a.jpg"}, 1), ({"images": [], "image": "a.jpg"}, 1), ({}, 0)]
)
def test_the_picture_may_be_in_either_column(tmp_path: Path, fields: dict[str, Any], count: int) -> None:
    bring_in(
        r.write(tmp_path / "a.jsonl", [{"prompt": "q", "chosen": "a", "rejected": "b", **fields}]), tmp_path / "run"
    )
    (found,) = tables.read(tmp_path / "run" / "instructions.parquet", Instruction)
    assert len(found.images) == count


def test_places_without_pictures_are_missing_images(tmp_path: Path) -> None:
    prompt = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "q"}]}]
    rows = [{"prompt": prompt, "chosen": "a", "rejected": "b"}, {"prompt": "<image> q", "chosen": "a", "rejected": "b"}]
    summary = bring_in(r.write(tmp_path / "a.jsonl", rows), tmp_path / "run")
    assert summary.dropped == {"missing_image": 1}
    assert [one.prompt for one in r.instructions(tmp_path / "run")] == ["<image> q"]  # in plain text it is a text


def seen(*parts: str) -> list[dict[str, Any]]:
    """A user's message: a text for each part, and a picture's place for each `#`."""
    content = [{"type": "image"} if part == "#" else {"type": "text", "text": part} for part in parts]
    return [message("user", content)]


def test_parts_of_a_message_are_one_text_and_a_picture_between_them_parts_it(tmp_path: Path) -> None:
    """Chat templates, and so TRL, write parts one behind the other."""
    answer = [message("assistant", [{"type": "text", "text": part} for part in ("Yes", ", it is.", "\nRed.")])]
    asked = {"prompt": seen("#", "Is it", " red?"), "chosen": answer, "rejected": [message("assistant", "b")]}
    found = trl.read_texts(asked)
    assert (found.prompt, found.chosen, found.late) == ("Is it red?", "Yes, it is.\nRed.", False)
    apart = trl.read_texts({**asked, "prompt": seen("first", "#", "", "#", "second", "#", " differ?", "")})
    assert (apart.prompt, apart.late, apart.places) == ("first\nsecond\n differ?", True, 3)


SAID = {
    "rows with pictures amid or after the text: they are shown before it": [
        {"prompt": seen("first", "#", "second", "#", "differ?"), "images": ["a.jpg", "b.jpg"]},
        {"prompt": seen("what is it?", "#"), "images": ["a.jpg"]},
    ],
    "rows with more pictures than places for them: all are shown": [
        {"prompt": seen("#", "q"), "images": ["a.jpg", "b.jpg"]},
        {"prompt": seen("q"), "images": ["a.jpg"]},
    ],
    "rows with a picture's place in an answer: the answer is read without it": [
        {"prompt": "q", "chosen": [message("assistant", [{"type": "image"}, {"type": "text", "text": "a"}])],
         "rejected": [message("assistant", "b")], "images": ["a.jpg"]},
    ],
    "rows with images and another image: the column image is not read": [
        {"prompt": "q", "images": ["a.jpg"], "image": "b.jpg"},
    ],
}  # fmt: skip


@pytest.mark.parametrize("words", SAID)
def test_what_is_read_otherwise_than_it_stands_is_counted(tmp_path: Path, words: str) -> None:
    rows: list[dict[str, Any]] = [{"chosen": "a", "rejected": "b"} | row for row in SAID[words]]
    silent = [
        {"prompt": seen("#", "p"), "chosen": "a", "rejected": "b", "images": ["a.jpg"]},
        {"prompt": seen(" ", "#", "r"), "chosen": "a", "rejected": "b", "images": ["a.jpg"], "image": "a.jpg"},
        {"prompt": "s", "chosen": "a", "rejected": "b", "images": ["a.jpg"], "videos": [], "tools": None},
    ]
    summary = bring_in(r.write(tmp_path / "a.jsonl", [*rows, *silent]), tmp_path / "run")
    assert summary.notes == {words: len(rows)} and not summary.dropped
    if "answer" in words:
        assert {one.text for one in r.responses(tmp_path / "run")} == {"a", "b"}


@pytest.mark.parametrize("column", ["videos", "video", "audios", "audio", "tools"])
def test_a_row_about_more_than_text_and_pictures_is_dropped(tmp_path: Path, column: str) -> None:
    plain = {"prompt": "<video> q", "chosen": "a", "rejected": "b"}
    rows = [{**plain, column: ["a.mp4"]}, {**plain, column: "[]"}, {**plain, "prompt": "r", column: []}]
    summary = bring_in(r.write(tmp_path / "a.jsonl", rows), tmp_path / "run")
    assert summary.dropped == {"bad_record": 1} and summary.books.pairs == 2
    (gone,) = tables.read(tmp_path / "run" / "dropped" / "exchange.parquet", Dropped)
    assert gone.detail == f"the row has {column}, and an instruction is only text and pictures"


def test_pictures_by_path_stay_inside_their_folder(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(r.picture())
    rows = [
        {"prompt": "q", "chosen": "a", "rejected": "b", "images": ["a.jpg"]},
        {"prompt": "q", "chosen": "a", "rejected": "b", "images": ["../a.jsonl"]},
        {"prompt": "q", "chosen": "a", "rejected": "b", "image": {"path": "https://example.org/a.jpg"}},
    ]
    summary = bring_in(r.write(tmp_path / "a.jsonl", rows), tmp_path / "run", images=tmp_path / "pictures")
    assert summary.dropped == {"refused_path": 1, "refused_uri": 1} and summary.books.pairs == 1


def test_an_absolute_path_that_leads_into_the_pictures_is_one_of_them(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.jpg").write_bytes(r.picture())
    (tmp_path / "b.jpg").write_bytes(r.picture())
    (tmp_path / "pictures").symlink_to(tmp_path / "real")
    inside = [str(tmp_path / place / "a.jpg") for place in ("pictures", "real")]
    outside = [str(tmp_path / "b.jpg"), str(tmp_path / "pictures" / ".." / "b.jpg")]
    rows = [
        {"prompt": str(n), "chosen": "a", "rejected": "b", "images": [name]} for n, name in enumerate(inside + outside)
    ]
    summary = bring_in(path := r.write(tmp_path / "a.jsonl", rows), tmp_path / "run", images=tmp_path / "pictures")
    assert summary.dropped == {"refused_path": 2} and summary.hashed
    assert {one.images[0].uri for one in r.instructions(tmp_path / "run")} == {"images:a.jpg"}
    dropped = tables.read(tmp_path / "run" / "dropped" / "exchange.parquet", Dropped)
    assert "give a folder that holds it" in next(one.detail for one in dropped if one.record_id == "a.jsonl:3")
    with pytest.raises(DataError, match=r"4 refused_path.*no folder of pictures was given.*\(--images\)"):
        bring_in(path, tmp_path / "none")


def test_a_margin_of_any_length_costs_its_row_alone(tmp_path: Path) -> None:
    plain = json.dumps({"prompt": "q", "chosen": "a", "rejected": "b", "margin": 1})
    texts = [plain.replace("1", margin) for margin in ("1", "1" + "0" * 400, "-1" + "0" * 400, "1e400")]
    (tmp_path / "a.jsonl").write_text("\n".join(texts))
    summary = bring_in(tmp_path / "a.jsonl", tmp_path / "run")
    assert summary.dropped == {"bad_record": 3} and summary.books.pairs == 1


def test_only_pictures_that_were_not_opened_are_said_to_be(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{"prompt": "q", "chosen": "a", "rejected": "b", "images": [r.picture()]}])
    pq.write_table(table, tmp_path / "a.parquet")
    assert bring_in(tmp_path / "a.parquet", tmp_path / "inside").hashed
    named = r.write(tmp_path / "a.jsonl", [{"prompt": "q", "chosen": "a", "rejected": "b", "images": ["a.jpg"]}])
    assert not bring_in(named, tmp_path / "named").hashed


def test_what_goes_out_comes_back(tmp_path: Path) -> None:
    rows = [r.row(f"own-{n}", f"question {n} <b>?") for n in range(6)]
    run = judged_run(tmp_path, rows, eval_share=0.4)
    summary = export("trl", run, tmp_path / "out")
    assert summary.rows["train"] and summary.rows["test"] and summary.left_out == {}
    assert sum(summary.rows.values()) == 30  # five of six: one tie in every row
    bring_in(tmp_path / "out", tmp_path / "again", eval_share=0.0)  # the sides are those of the files
    assert spoken(tmp_path / "again") == spoken(run)
    sides = [{one.id: one.split for one in r.instructions(folder)} for folder in (run, tmp_path / "again")]
    assert sides[0] == sides[1]  # the ids too: same prompts, same pictures
    models = [{one.model for one in r.responses(folder)} for folder in (run, tmp_path / "again")]
    assert models[0] == models[1]


def test_rows_say_what_trl_needs_and_where_they_come_from(tmp_path: Path) -> None:
    run = judged_run(tmp_path, [r.row()], eval_share=0.0)
    export("trl", run, tmp_path / "out")
    (path,) = (tmp_path / "out" / "data").iterdir()
    assert path.name == "train-00000-of-00001.parquet"
    table = pq.read_table(path)
    marks = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert marks["images"] == [{"_type": "Image"}] and set(marks) == set(table.column_names)
    row = table.to_pylist()[0]
    assert row["images"] == [{"bytes": r.picture(size=(10, 9)), "path": "own-detail-1.jpg"}]
    assert row["prompt"] == [
        {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "What is on the desk?"}]}
    ]
    assert [message["role"] for message in row["chosen"] + row["rejected"]] == ["assistant", "assistant"]
    assert row["strategy"] == "all_pairs" and row["margin"] > 0
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "path: data/train-*.parquet" in card and "test-*" not in card


def test_a_picture_is_stored_once_for_all_its_pairs(tmp_path: Path) -> None:
    run = judged_run(tmp_path, [r.row()], eval_share=0.0)
    noise = (tmp_path / "pictures" / "own-detail-1.jpg").read_bytes() + bytes(range(256)) * 800  # 200 KB behind the end
    (tmp_path / "pictures" / "own-detail-1.jpg").write_bytes(noise)
    r.bring_in(tmp_path / "a.jsonl", run, images=tmp_path / "pictures", eval_share=0.0)
    made = [one for one in pairs(groups.load(run), all_pairs.load()) if isinstance(one, PreferencePair)]
    tables.write(run / "pairs.parquet", PreferencePair, made, room="pair")
    assert export("trl", run, tmp_path / "out").rows["train"] == 5
    size = next((tmp_path / "out" / "data").iterdir()).stat().st_size
    assert len(noise) < size < 1.2 * len(noise)


def test_shards_are_numbered_and_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shards, "SHARD_BYTES", 3000)
    monkeypatch.setattr(_shards, "ROWS_AT_ONCE", 2)
    run = judged_run(tmp_path, [r.row(f"own-{n}", f"question {n}") for n in range(4)], eval_share=0.0)
    export("trl", run, tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out" / "data").iterdir())
    assert len(names) > 1 and names[-1] == f"train-{len(names) - 1:05d}-of-{len(names):05d}.parquet"
    assert sum(pq.read_table(tmp_path / "out" / "data" / name).num_rows for name in names) == 20


def test_shards_of_words_alone_are_closed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shards, "SHARD_BYTES", 20_000)
    monkeypatch.setattr(_shards, "ROWS_AT_ONCE", 2)
    shards = _shards.Shards(tmp_path, "train")
    said = [_shards.Message("user", [_shards.Part("text", "word " * 400)])]
    for number in range(20):
        shards.add(_shards.Pair(said, said, said, "a", "b", 1.0, "", "i", str(number), "", ""), ())
    assert shards.close() == 20
    read = [pq.read_table(path)["pair_id"].to_pylist() for path in sorted(tmp_path.iterdir())]
    assert [len(some) for some in read] == [4] * 5
    assert [one for some in read for one in some] == [str(number) for number in range(20)]


def test_large_pictures_make_small_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shards, "BYTES_AT_ONCE", 1000)
    shards = _shards.Shards(tmp_path, "train")
    said = [_shards.Message("user", [_shards.Part("text", "word")])]
    for number in range(10):
        picture = _shards.Picture(bytes([number]) * 600, "a.jpg")
        shards.add(_shards.Pair(said, said, said, "a", "b", 1.0, "", "i", str(number), "", ""), [picture])
    assert shards.close() == 10
    read = pq.ParquetFile(tmp_path / "train-00000-of-00001.parquet")
    assert [read.metadata.row_group(place).num_rows for place in range(read.num_row_groups)] == [2] * 5


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    tied = r.row("own-2", "tied?", completions=[r.completion(m, f"text {m}", ("4", "4", "4")) for m in "abcd"])
    run = judged_run(tmp_path, [r.row(), tied, r.row("own-3", "gone?")], eval_share=0.0)
    (tmp_path / "pictures" / "own-3.jpg").unlink()
    summary = export("trl", run, tmp_path / "out")
    assert summary.rows["train"] == 5
    assert summary.left_out == {"instructions without a pair": 1, "pairs, picture is missing_image": 5}


def test_mistakes_of_the_caller(tmp_path: Path) -> None:
    run = judged_run(tmp_path, [r.row()])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ConfigError, match="not empty"):
        export("trl", run, tmp_path / "full")
    with pytest.raises(ConfigError, match="can only be imported"):
        export("vlfeedback", run, tmp_path / "out")
    with pytest.raises(ConfigError, match="no run folder"):
        export("trl", tmp_path / "nowhere", tmp_path / "out")
    (run / "pairs.parquet").unlink()
    with pytest.raises(DataError, match="nothing to export"):
        export("trl", run, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*part"))


def test_importing_pairs_writes_no_table_of_annotations(tmp_path: Path) -> None:
    path = r.write(tmp_path / "a.jsonl", [{"prompt": "q", "chosen": "a", "rejected": "b", "margin": 1.5}])
    bring_in(path, tmp_path / "run", options={"chosen_model": "good", "rejected_model": "bad"})
    assert not (tmp_path / "run" / "annotations.parquet").exists()
    (pair,) = tables.read(tmp_path / "run" / "pairs.parquet", PreferencePair)
    assert pair.margin == 1.5 and pair.strategy == "imported:trl"
    assert {one.model for one in r.responses(tmp_path / "run")} == {"imported:good", "imported:bad"}
    assert list(tables.read(tmp_path / "run" / "dropped" / "exchange.parquet", Dropped)) == []


@pytest.mark.peers
def test_datasets_loads_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    run = judged_run(tmp_path, [r.row(f"own-{n}", f"question {n}") for n in range(6)], eval_share=0.4)
    export("trl", run, tmp_path / "out")
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train", "test"} and sum(part.num_rows for part in loaded.values()) == 30
    assert loaded["train"][0]["images"][0].size[1] == 9
    loaded["train"].save_to_disk(str(tmp_path / "saved"))
    summary = bring_in(tmp_path / "saved", tmp_path / "again")
    assert summary.books.pairs == loaded["train"].num_rows and summary.dropped == {}


@pytest.mark.peers
def test_trl_trains_on_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets, peer = pytest.importorskip("datasets"), pytest.importorskip("trl")
    from tiny_models import write_llava
    from transformers import AutoModelForImageTextToText, AutoProcessor

    write_llava(tmp_path / "model")
    run = judged_run(tmp_path, [r.row(f"own-{n}", f"question {n}") for n in range(2)], eval_share=0.0)
    export("trl", run, tmp_path / "out")
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"), split="train")
    settings = peer.DPOConfig(
        output_dir=str(tmp_path / "trained"), max_steps=2, per_device_train_batch_size=2, use_cpu=True, bf16=False,
        report_to="none", max_length=None, logging_steps=1, save_strategy="no",
    )  # fmt: skip
    trainer = peer.DPOTrainer(
        model=AutoModelForImageTextToText.from_pretrained(tmp_path / "model"), args=settings, train_dataset=loaded,
        processing_class=AutoProcessor.from_pretrained(tmp_path / "model"),
    )  # fmt: skip
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2 and abs(losses[0] - 0.6931) < 0.01  # ln 2: the policy still equals its reference
