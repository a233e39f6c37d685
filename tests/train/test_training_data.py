"""Several run folders as one training set: joined by id, filtered, each picture from its own run."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from in_process import command
from PIL import Image

from vlfeedback import ids, tables, training_data
from vlfeedback.commands.import_ import import_data
from vlfeedback.config import PairTable, Settings, TrainSettings
from vlfeedback.errors import ConfigError, ImageError, StaleInput
from vlfeedback.records import Dropped, Instruction, PreferencePair
from vlfeedback.run_folder import RunFolder

Row = dict[str, object]


def rows(numbers: range, category: str, good: str = "a red circle") -> list[Row]:
    """A pair on each of some pictures."""
    return [
        {"prompt": "what is there ?", "chosen": good, "rejected": "no", "images": [f"{n}.png"], "category": category}
        for n in numbers
    ]


def imported(folder: Path, name: str, pairs: list[Row], shade: int = 9, *, hashed: bool = True) -> Path:
    """A run folder made of a preference file with pictures of its own."""
    pictures = folder / f"{name}-pictures"
    pictures.mkdir()
    for number in range(8):
        Image.new("RGB", (24, 24), (30 * number, shade, 200)).save(pictures / f"{number}.png")
    data = folder / f"{name}.jsonl"
    data.write_text("\n".join(map(json.dumps, pairs)))
    import_data("trl", data, images=pictures, out=folder / name, hash_images=hashed)
    return folder / name


def second(folder: Path, *data: Path, where: str = "") -> RunFolder:
    """A run that trains on the pairs of others."""
    train = TrainSettings(model="m", data=tuple(map(str, data)), where=where)
    return RunFolder.create(folder / "second", Settings(train=train))


def test_groups_of_several_runs_are_joined_by_instruction(tmp_path: Path) -> None:
    one = imported(tmp_path, "one", rows(range(4), "helpful"))
    two = imported(tmp_path, "two", rows(range(2, 6), "helpful", good="yes"))
    joined = training_data.load(second(tmp_path, one, two)).groups
    assert len(joined) == 6
    sizes = sorted((len(group.responses), len(group.pairs)) for group in joined)
    assert sizes == [(2, 1)] * 4 + [(3, 2)] * 2, "two pictures are in both runs, and 'no' is one response"
    assert len({pair.id for group in joined for pair in group.pairs}) == 8


def restate(run: Path, strategy: str, **changes: object) -> None:
    """The pairs of a run as another strategy has them."""
    table = run / "pairs.parquet"
    pairs = list(tables.read(table, PreferencePair))
    named = [ids.pair_id(one.chosen_id, one.rejected_id, strategy) for one in pairs]
    made = [replace(one, id=name, strategy=strategy, **changes) for one, name in zip(pairs, named, strict=True)]
    tables.write(table, PreferencePair, made, room="pair")


def test_a_preference_of_two_strategies_counts_once(tmp_path: Path) -> None:
    one = imported(tmp_path, "one", rows(range(4), "helpful"))
    two = imported(tmp_path, "two", [*rows(range(2, 6), "helpful"), *rows(range(2, 3), "helpful", good="yes")])
    restate(one, "first", margin=1.0)
    restate(two, "second", margin=2.0)
    for order, kept in (((one, two), {1.0: 4, 2.0: 3}), ((two, one), {1.0: 2, 2.0: 5})):
        found = training_data.load(second(tmp_path, *order))
        margins = [pair.margin for group in found.groups for pair in group.pairs]
        assert {margin: margins.count(margin) for margin in (1.0, 2.0)} == kept, "the run that is named first"
        assert [(lost.room, lost.reason) for lost in found.filtered] == [("train", "duplicate")] * 2
        assert len({lost.record_id for lost in found.filtered} | {p.id for g in found.groups for p in g.pairs}) == 9
    restate(one, "first", margin=None)
    margins = [p.margin for g in training_data.load(second(tmp_path, one, two)).groups for p in g.pairs]
    assert margins.count(None) == 2 and margins.count(2.0) == 5, "one that has a margin comes first"


def test_opposite_preferences_both_count(tmp_path: Path) -> None:
    one, two = (imported(tmp_path, name, rows(range(2), "helpful")) for name in ("one", "two"))
    table = two / "pairs.parquet"
    turned = [replace(p, id=p.id[::-1], chosen_id=p.rejected_id, rejected_id=p.chosen_id)
              for p in tables.read(table, PreferencePair)]  # fmt: skip
    tables.write(table, PreferencePair, turned, room="pair")
    found = training_data.load(second(tmp_path, one, two))
    assert [len(group.pairs) for group in found.groups] == [2, 2] and not found.filtered


def test_the_same_run_twice_is_one_run(tmp_path: Path) -> None:
    one = imported(tmp_path, "one", rows(range(4), "helpful"))
    alone, doubled = (training_data.load(second(tmp_path, *data)).groups for data in ((one,), (one, one)))
    assert doubled == alone


def test_pictures_come_from_the_run_that_names_them(tmp_path: Path) -> None:
    one = imported(tmp_path, "one", rows(range(3), "helpful"), shade=9)
    two = imported(tmp_path, "two", rows(range(3), "helpful"), shade=77)
    data = training_data.load(second(tmp_path, one, two))
    named = [image for group in data.groups for image in group.instruction.images]
    assert len({image.uri for image in named}) == 3, "both runs call their pictures alike"
    assert len({data.pictures.open(image) for image in named}) == 6
    with pytest.raises(ImageError, match="none of the runs"):
        data.pictures.open(replace(named[0], uri="images:other.png"))
    (tmp_path / "two-pictures" / "0.png").unlink()
    gone = [image for image in named if image.uri.endswith(":0.png")]
    with pytest.raises(ImageError):
        [data.pictures.open(image) for image in gone]


def test_names_that_were_never_hashed_join_only_what_is_one_picture(tmp_path: Path) -> None:
    """Both runs call their pictures alike, and their ids are made of these names."""
    names = (("one", 9), ("copy", 9), ("other", 77))
    one, copy, other = (imported(tmp_path, n, rows(range(3), "helpful"), shade, hashed=False) for n, shade in names)
    assert len(training_data.load(second(tmp_path, one, copy)).groups) == 3
    assert len(training_data.load(second(tmp_path, one, one)).groups) == 3
    with pytest.raises(ConfigError, match=r"two runs speak of images:0.png without having hashed it"):
        training_data.load(second(tmp_path, one, other))
    shutil.rmtree(tmp_path / "copy-pictures")
    with pytest.raises(ConfigError, match="nothing here shows that it is one picture"):
        training_data.load(second(tmp_path, one, copy))


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("category = 'red_team'", 2),
        ("category == 'red_team' OR category = 'helpful'", 6),
        ("pairs > 1", 0),
        ("run = 'two' AND pictures = 1", 2),
        ("category LIKE 'red%'", 2),
        ("prompt LIKE 'what%' AND split = 'train'", 6),
    ],
)
def test_where_keeps_groups_and_counts_the_pairs_of_the_others(tmp_path: Path, where: str, kept: int) -> None:
    one = imported(tmp_path, "one", rows(range(4), "helpful"))
    two = imported(tmp_path, "two", rows(range(2), "red_team"), shade=77)
    run = second(tmp_path, one, two, where=where)
    if not kept:
        with pytest.raises(ConfigError, match="fits none of 6 groups"):
            training_data.load(run)
        return
    found = training_data.load(run)
    assert len(found.groups) == kept
    assert len(found.filtered) == 6 - kept
    assert {(one.room, one.reason) for one in found.filtered} <= {("train", "filtered")}


@pytest.mark.parametrize("turned", [False, True])
def test_where_by_run_keeps_that_runs_pairs_whoever_is_named_first(tmp_path: Path, turned: bool) -> None:
    one = imported(tmp_path, "one", rows(range(4), "helpful"))
    both = [*rows(range(2, 6), "helpful", good="yes"), *rows(range(2, 3), "helpful")]
    two = imported(tmp_path, "two", both)
    restate(two, "second", margin=2.0)
    data = (two, one) if turned else (one, two)
    own = {pair.id for pair in tables.read(two / "pairs.parquet", PreferencePair)}
    for where, wanted in (("run = 'two'", own), ("run != 'one'", own), ("run = 'two' AND pairs = 2", None)):
        found = training_data.load(second(tmp_path, *data, where=where))
        pairs = {pair.id for group in found.groups for pair in group.pairs}
        assert wanted is None or pairs == wanted
        assert pairs <= own and len(pairs) + len(found.filtered) == 9, "also where the other has the same preference"
        assert {lost.reason for lost in found.filtered} == {"filtered"}
    either = training_data.load(second(tmp_path, *data, where="run = 'two' OR run = 'one'"))
    assert either == training_data.load(second(tmp_path, *data))._replace(pictures=either.pictures)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("categry = 'x'", "categry"),
        ("category ==", "where"),
        ("pairs + 1", "where"),
        ("category = 'nothing'", "helpful"),
        ("__import__('os')", "where"),
    ],
)
def test_a_condition_that_cannot_be_read_says_so(tmp_path: Path, where: str, words: str) -> None:
    one = imported(tmp_path, "one", rows(range(4), "helpful"))
    with pytest.raises(ConfigError, match=words):
        training_data.load(second(tmp_path, one, where=where))


def test_what_one_run_holds_out_by_its_picture_none_trains_on(tmp_path: Path) -> None:
    one = imported(tmp_path, "one", rows(range(3), "helpful"))
    two = imported(tmp_path, "two", [{**row, "prompt": "and now ?"} for row in rows(range(3), "helpful")])
    table = one / "instructions.parquet"
    listed = list(tables.read(table, Instruction))
    held = [replace(asked, split="eval" if number == 0 else "train") for number, asked in enumerate(listed)]
    tables.write(table, Instruction, held, room="source")
    groups = training_data.load(second(tmp_path, one, two)).groups
    sides = {(group.instruction.images[0].sha256, group.instruction.split) for group in groups}
    assert len(groups) == 6
    assert len(sides) == 3, "a picture is on one side"
    assert sum(side == "eval" for _, side in sides) == 1


def hold_out(run: Path, *places: int) -> None:
    table = run / "instructions.parquet"
    listed = list(tables.read(table, Instruction))
    held = [replace(asked, split="eval" if number in places else "train") for number, asked in enumerate(listed)]
    tables.write(table, Instruction, held, room="source")


@pytest.mark.parametrize("turned", [False, True])
def test_an_instruction_that_one_run_holds_out_is_held_out_whichever_comes_first(tmp_path: Path, turned: bool) -> None:
    plain = [{"prompt": "who wrote it ?", "chosen": "nobody", "rejected": "no"}]  # no picture that could tell
    runs = [imported(tmp_path, name, [*rows(range(3), "helpful"), *plain]) for name in ("one", "two")]
    hold_out(runs[1], 0, 3)
    groups = training_data.load(second(tmp_path, *(runs[::-1] if turned else runs))).groups
    assert len(groups) == 4
    assert sum(group.instruction.split == "eval" for group in groups) == 2


def test_pictures_beside_one_that_is_held_out_are_held_out_too(tmp_path: Path) -> None:
    chain = [
        {"prompt": f"compare {n}", "chosen": "yes", "rejected": "no", "images": [f"{n}.png", f"{n + 1}.png"]}
        for n in (3, 2, 1, 0)
    ]
    one = imported(tmp_path, "one", [*chain, *rows(range(6, 8), "helpful")])
    hold_out(one, 3)
    groups = training_data.load(second(tmp_path, one)).groups
    assert [group.instruction.split for group in groups] == ["eval"] * 4 + ["train"] * 2


def test_the_digest_follows_the_pairs_and_not_the_place(tmp_path: Path) -> None:
    one = imported(tmp_path, "one", rows(range(4), "helpful"))
    before = training_data.digest(second(tmp_path, one))
    moved = tmp_path / "moved"
    one.rename(moved)
    assert training_data.digest(second(tmp_path, moved)) == before
    other = imported(tmp_path, "other", rows(range(5), "helpful"))
    assert training_data.digest(second(tmp_path, other)) != before


def test_a_folder_without_pairs_is_named(tmp_path: Path) -> None:
    empty = RunFolder.create(tmp_path / "empty", Settings()).path
    with pytest.raises(StaleInput, match="vlfeedback pair"):
        training_data.load(second(tmp_path, empty))
    with pytest.raises(ConfigError, match="is no run folder"):
        training_data.load(second(tmp_path, tmp_path / "nowhere"))


def test_second_stage_training_is_one_settings_file(
    tmp_path: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = imported(tmp_path, "helpful", rows(range(4), "helpful"))
    imported(tmp_path, "safety", rows(range(4), "red_team") + rows(range(4, 6), "helpful"), shade=77)
    common = ["--set", "train.dtype=fp32", "--set", "train.epochs=1", "--set", "train.lora.r=4"]
    assert command(monkeypatch, "train", one, "--set", f"train.model={model_path}", *common) == 0
    (tmp_path / "stage2.toml").write_text(
        f'[train]\nmodel = "{model_path}"\ndata = ["helpful", "safety"]\nwhere = "category = \'red_team\'"\n'
        'init = "helpful/checkpoint"\ndtype = "fp32"\nepochs = 1\n'
    )
    capsys.readouterr()
    out = tmp_path / "aligned"
    assert command(monkeypatch, "run", tmp_path / "stage2.toml", "--out", out, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert next((room["room"], room["kept"], room["dropped"]) for room in told["rooms"]) == ("train", 4, 6)
    assert [room["room"] for room in told["rooms"]] == ["train", "report"]
    gone = list(tables.read(out / "dropped" / "train.parquet", Dropped))
    assert [one.reason for one in gone] == ["filtered"] * 6
    check = json.loads((out / "checkpoint" / "selfcheck.json").read_text())
    assert check["layout"] == "shared"
    first = (one / "checkpoint" / "adapter_model.safetensors").read_bytes()
    assert (out / "checkpoint" / "adapter_model.safetensors").read_bytes() != first
    assert (out / "report.html").exists()


def test_pairs_without_ratings_cannot_be_paired_anew(tmp_path: Path) -> None:
    one = imported(tmp_path, "one", rows(range(3), "helpful"))
    run = second(tmp_path, one)
    with pytest.raises(ConfigError, match="pairs and no ratings"):
        training_data.load(run, PairTable(use="shuffled"))
