"""What a kill or a full disk leaves: a state that is whole, or one that is not used; never other bytes."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_llava
from safetensors.torch import load_file

from vlfeedback.errors import DataError, StaleInput
from vlfeedback.train import Lora, Recipe, _trainer, run_key, train
from vlfeedback.train._reference import ReferenceFile, check_start
from vlfeedback.train._world import World
from vlfeedback.train.mpo import load

Make = Callable[..., Recipe]


def settings(recipe: Make, **changes: Any) -> Recipe:
    return recipe(lora=Lora(r=4, dropout=0.3), epochs=2, tokens_per_batch=300, **changes)


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def same(left: Path, right: Path) -> bool:
    one, other = adapter(left), adapter(right)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, model_path: Path) -> Path:
    """A run that nothing disturbed."""
    colours, out = toy_llava.Colours(), tmp_path_factory.mktemp("straight") / "c"
    fields: dict[str, Any] = {"learning_rate": 1e-3, "pairs_per_step": 6, "dtype": "fp32"}
    train(
        toy_llava.groups(colours, 10), settings(lambda **more: Recipe(str(model_path), **fields, **more)),
        roots=colours, out=out, objective=load(),
    )  # fmt: skip
    return out


@pytest.mark.parametrize("left", ["", '{"key": "abc', "\xff"])
def test_a_note_that_a_kill_cut_off_begins_the_run_again(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, straight: Path, left: str
) -> None:
    out = tmp_path / "c"
    out.mkdir()
    (out / "train.json").write_bytes(left.encode("latin-1"))
    result = train(toy_llava.groups(colours, 10), settings(recipe), roots=colours, out=out, objective=load())
    assert result.resumed_from == 0 and same(out, straight)


def test_a_state_whose_last_file_is_cut_off_is_not_used(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, straight: Path
) -> None:
    out = tmp_path / "c"
    shutil.copytree(straight, out)
    note = json.loads((out / "train.json").read_text())
    (out / "train.json").write_text(json.dumps({"key": note["key"]}))
    (state,) = (out / "state").glob("checkpoint-*")
    text = (state / "trainer_state.json").read_text()
    (state / "trainer_state.json").write_text(text[: len(text) // 2])
    result = train(toy_llava.groups(colours, 10), settings(recipe), roots=colours, out=out, objective=load())
    assert result.resumed_from == 0 and same(out, straight)


def test_other_pictures_or_words_of_the_processor_make_another_run(recipe: Make, tmp_path: Path) -> None:
    """The same weights with another picture size or chat template: nothing finished is handed out, no state resumed."""
    folder = toy_llava.write_model(tmp_path / "model")
    given = settings(recipe, model=str(folder))
    keys = {run_key([], given, load())}
    for name in ("processor_config.json", "chat_template.jinja", "tokenizer.json"):
        with (folder / name).open("a") as file:
            file.write(" ")
        keys.add(run_key([], given, load()))
    assert len(keys) == 4
    (folder / "README.md").write_text("not read by anything")
    assert run_key([], given, load()) in keys


def test_every_process_has_saved_before_a_state_is_called_whole(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`trainer_state.json` says so; the random state of every process must be there by then."""
    seen: list[bool] = []

    def wait(self: World) -> None:
        states = list((tmp_path / "c" / "state").glob("checkpoint-*"))
        seen.extend((one / "rng_state.pth").exists() and not (one / "trainer_state.json").exists() for one in states)

    monkeypatch.setattr(World, "wait", wait)
    train(toy_llava.groups(colours, 4), settings(recipe), roots=colours, out=tmp_path / "c", objective=load())
    assert any(seen)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A disk of some kilobytes, and a larger one of the same content where asked again; only where one may mount."""
    place = tmp_path / "disk"

    def sized(kilobytes: int) -> Path:
        again = place.exists()
        place.mkdir(exist_ok=True)
        how = f"remount,size={kilobytes}k" if again else f"size={kilobytes}k"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", how, "tmpfs", str(place)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("mounting needs more rights than this process has")
        return place

    try:
        yield sized
    finally:
        subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)


@pytest.mark.parametrize("kilobytes", [8, 40, 120, 200])
def test_a_full_disk_is_said_and_the_run_goes_on_where_it_was(
    recipe: Make, colours: toy_llava.Colours, small_disk: Callable[[int], Path], straight: Path, kilobytes: int
) -> None:
    """Full while the note, the reference, a state's weights or its optimiser are written."""
    groups, given = toy_llava.groups(colours, 10), settings(recipe)
    out = small_disk(kilobytes) / "c"
    with pytest.raises(DataError, match=r"cannot be written: .*Free some space and run the same command again"):
        train(groups, given, roots=colours, out=out, objective=load())
    small_disk(20_000)
    train(groups, given, roots=colours, out=out, objective=load())
    assert same(out, straight)


def test_a_reference_that_is_no_number_is_neither_kept_nor_trained_on(tmp_path: Path) -> None:
    class One:
        group_id, images, contents, response_ids = "group-1", (), (), ("a", "b")
        prompt = torch.tensor([1, 2])
        responses = (torch.tensor([3]), torch.tensor([4]))

    groups: Any = [One()]
    file = ReferenceFile(tmp_path / "reference.jsonl", "origin")
    with pytest.raises(DataError, match=r"group-1 is not a finite number"):
        file.add(groups, [-1.0, math.nan])
    assert not (tmp_path / "reference.jsonl").exists()
    stored = {("group-1", "a"): -1.0, ("group-1", "b"): -2.0}
    for wrong in ([math.nan, -2.0], [-1.0, math.nan], [-1.0, math.inf]):
        with pytest.raises(StaleInput, match="differs"):
            check_start(
                groups, stored, lambda _, wrong=wrong: wrong, lambda members: members, tolerance=1e-4, path=tmp_path
            )


def test_the_bar_tells_pairs_and_tokens_per_second(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = toy_llava.groups(colours, 4)
    read: list[int] = []
    notes: list[str] = []
    plain: Any = _trainer.GroupedDPOTrainer._losses

    def losses(self: Any, model: Any, batch: Any) -> Any:
        inputs = batch.rows.inputs
        read.append(batch.tokens)
        assert batch.tokens <= inputs["input_ids"].numel()
        if batch.rows.inputs["input_ids"].shape[0] == 1:
            assert batch.tokens == inputs["input_ids"].numel(), "one row has no padding"
        return plain(self, model, batch)

    monkeypatch.setattr(_trainer.GroupedDPOTrainer, "_losses", losses)
    note = _trainer.GroupedDPOTrainer._note
    monkeypatch.setattr(_trainer.GroupedDPOTrainer, "_note", lambda self: notes.append(note(self)) or notes[-1])
    train(groups, settings(recipe), roots=colours, out=tmp_path / "c", objective=load())
    assert sum(read) > 100
    assert all(" pairs/s, " in one and one.endswith(" tokens/s") for one in notes) and notes
