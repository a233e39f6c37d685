"""Reference log-probabilities: computed once, found again by content, never of another model."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_llava

from vlfeedback import flow
from vlfeedback.errors import StaleInput
from vlfeedback.records import Image
from vlfeedback.train import Recipe, train
from vlfeedback.train._collate import Batch, Encoded, Encoder, reader
from vlfeedback.train._layout import UnsharedRows
from vlfeedback.train._reference import ReferenceFile
from vlfeedback.train._scoring import reference
from vlfeedback.train._tokens import Wording
from vlfeedback.train._weights import load_model, make_trainable, origin
from vlfeedback.train._world import World
from vlfeedback.train.sigmoid import load as sigmoid

Make = Callable[..., Recipe]


@pytest.fixture
def encoded(processor: Any, colours: toy_llava.Colours) -> list[Encoded]:
    encoder = Encoder(Wording(processor, reader(colours, mean=None)), 128)
    made = [item for group in toy_llava.groups(colours, 3) for item in encoder.encode(group)]
    return [item for item in made if isinstance(item, Encoded)]


def test_what_is_known_is_not_computed_again_and_a_cut_line_is(tmp_path: Path, encoded: list[Encoded]) -> None:
    path = tmp_path / "reference.jsonl"
    first = ReferenceFile(path, "origin")
    assert first.missing(encoded) == [0, 1, 2]
    first.add(encoded[:2], [-1.0 / 3 - n for n in range(8)])
    text = path.read_text()
    path.write_text(text[:-9])  # killed while writing the last line
    again = ReferenceFile(path, "origin")
    assert again.missing(encoded) == [1, 2]
    again.add(encoded[1:], [-1.0 / 3 - 4 - n for n in range(len(encoded[1].responses) + len(encoded[2].responses))])
    found = ReferenceFile(path, "origin")
    assert found.missing(encoded) == []
    assert found.values(encoded)[encoded[1].group_id, encoded[1].response_ids[2]] == -1.0 / 3 - 6


def test_other_weights_words_or_pictures_are_other_keys(tmp_path: Path, encoded: list[Encoded]) -> None:
    file, other = (ReferenceFile(tmp_path / "r.jsonl", name) for name in ("a", "b"))
    group = encoded[0]
    keys = {
        file.key(group, 0),
        file.key(group, 1),
        other.key(group, 0),
        file.key(replace(group, images=()), 0),
        file.key(replace(group, prompt=group.prompt[:-1]), 0),
        file.key(replace(group, responses=(group.responses[1],)), 0),
    }
    assert len(keys) == 5  # the last is the second response under another index: the same content
    assert file.key(replace(group, response_ids=("other",)), 0) == file.key(group, 0)


def test_another_picture_under_a_name_that_was_never_hashed_is_another_reference(
    tmp_path: Path, processor: Any, colours: toy_llava.Colours
) -> None:
    file, image = ReferenceFile(tmp_path / "r.jsonl", "origin"), Image("uri:0123", "images:0.png", 0, 0)
    pictures = [colours.bytes[colours.picture((9, 9, shade)).sha256] for shade in (1, 1, 200)]
    keys: list[tuple[str, str]] = []
    for data in pictures:
        colours.bytes[image.sha256] = data
        encoder = Encoder(Wording(processor, reader(colours, mean=None)), 128)
        (made,) = encoder.encode(toy_llava.group("what ?", ["yes", "no"], (2, 1), [image]))
        assert isinstance(made, Encoded)
        twin = encoder.twin(made)
        assert twin is not None
        keys.append((file.key(made, 0), file.key(twin, 0)))
    assert keys[0] == keys[1] and len(set(keys[0] + keys[2])) == 4
    assert encoder._wording.read.content(colours.picture((9, 9, 1))) == "", "a hash says it all"


def test_origin_depends_on_weights_dtype_template_and_blindness(
    recipe: Make, model: Any, processor: Any, tmp_path: Path
) -> None:
    other = toy_llava.write_model(tmp_path / "other", seed=1)
    base = recipe()
    named = [origin(r, model, processor) for r in (
        base, recipe(model=str(other)), recipe(dtype="bf16"), recipe(image="blind"), recipe(init=str(other)),
    )]  # fmt: skip
    processor.chat_template += " "
    named.append(origin(base, model, processor))
    assert len(set(named)) == 6
    assert origin(recipe(learning_rate=5.0), model, processor) == named[-1]


def test_every_objective_and_rate_reuses_the_reference(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "checkpoint"
    groups = toy_llava.groups(colours, 4)
    train(groups, recipe(), roots=colours, out=out, objective=sigmoid())
    text = (out / "reference.jsonl").read_text()

    def never(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(ReferenceFile, "add", never)
    train(groups, recipe(learning_rate=2e-3), roots=colours, out=out, objective=sigmoid(beta=0.3))
    assert (out / "reference.jsonl").read_text() == text


def test_a_control_can_use_the_reference_of_what_it_controls(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups, shared = toy_llava.groups(colours, 4), tmp_path / "shared.jsonl"
    train(groups, recipe(), roots=colours, out=tmp_path / "a", objective=sigmoid(), reference=shared)
    lines = shared.read_text().splitlines()
    swapped = [
        replace(g, pairs=tuple(replace(p, chosen_id=p.rejected_id, rejected_id=p.chosen_id) for p in g.pairs))
        for g in groups
    ]
    train(swapped, recipe(), roots=colours, out=tmp_path / "b", objective=sigmoid(), reference=shared)
    assert shared.read_text().splitlines() == lines
    assert not (tmp_path / "b" / "reference.jsonl").exists()
    train(groups, recipe(image="blind"), roots=colours, out=tmp_path / "c", objective=sigmoid(), reference=shared)
    assert len(shared.read_text().splitlines()) == 2 * len(lines)


def test_policy_equals_reference_at_the_first_step_although_dropout_is_on(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path
) -> None:
    from vlfeedback.train import Lora

    settings = recipe(lora=Lora(r=4, dropout=0.5), epochs=1)
    train(toy_llava.groups(colours, 4), settings, roots=colours, out=tmp_path / "c", objective=sigmoid())
    check = json.loads((tmp_path / "c" / "selfcheck.json").read_text())
    assert check["largest"] < 1e-5
    assert check["responses"] > 0


def test_a_reference_of_another_model_is_refused(recipe: Make, colours: toy_llava.Colours, tmp_path: Path) -> None:
    out = tmp_path / "checkpoint"
    groups = toy_llava.groups(colours, 4)
    train(groups, recipe(), roots=colours, out=out, objective=sigmoid())
    path = out / "reference.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**row, "logp": row["logp"] - 0.01}) + "\n" for row in rows))
    with pytest.raises(StaleInput, match=r"differs .* before the first step.*delete it"):
        train(groups, recipe(learning_rate=2e-3), roots=colours, out=out, objective=sigmoid())


def test_lora_stands_on_the_language_model_only_and_starts_as_nothing(recipe: Make) -> None:
    from vlfeedback.train import Lora

    torch.manual_seed(0)
    settings = recipe(lora=Lora(r=2))
    policy = make_trainable(load_model(settings), settings)
    trained = [name for name, p in policy.named_parameters() if p.requires_grad]
    assert trained
    assert all("language_model" in name and "lora_" in name for name in trained)
    assert len([name for name in trained if "lora_A" in name]) == 2 * 7  # two layers, seven linears each
    assert all(not p.any() for name, p in policy.named_parameters() if "lora_B" in name)


def test_full_fine_tuning_leaves_the_vision_tower_alone(recipe: Make) -> None:
    policy = make_trainable(load_model(recipe()), recipe())
    frozen = {name.split(".")[1] for name, p in policy.named_parameters() if not p.requires_grad}
    trained = {name.split(".")[1] for name, p in policy.named_parameters() if p.requires_grad}
    assert frozen == {"vision_tower"}
    assert "language_model" in trained


def test_processes_share_what_all_of_them_see_missing(
    tmp_path: Path, encoded: list[Encoded], processor: Any, colours: toy_llava.Colours, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process looks late, when another would long have written its part: nothing may be left to nobody."""
    together = threading.Barrier(2)

    class Fellow(World):
        def wait(self) -> None:
            together.wait(20)

    class Late(ReferenceFile):
        def reload(self) -> None:
            time.sleep(0.4)
            super().reload()

    monkeypatch.setattr(flow, "stop_if_interrupted", lambda: None)
    encoder = Encoder(Wording(processor, reader(colours, mean=None)), 128)

    def scored(batch: Batch) -> list[float]:
        return [-1.0] * len(batch.rows.lengths)

    def compute(rank: int) -> dict[tuple[str, str], float]:
        file = (Late if rank else ReferenceFile)(tmp_path / "r.jsonl", "origin")
        return reference(
            encoded, file, layout=UnsharedRows(0), encoder=encoder, score=scored, budget=1, here=Fellow(rank, 2)
        )

    with ThreadPoolExecutor(2) as both:
        found = list(both.map(compute, (0, 1)))
    assert found[0] == found[1] and len(found[0]) == sum(len(group.responses) for group in encoded)
