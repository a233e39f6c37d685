"""The image-conditional branch: damaged pictures, their responses in the batch, and what a run makes of them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_llava
from PIL import Image as pillow
from test_logps import naive

from vlfeedback.train import Lora, Recipe, train
from vlfeedback.train._collate import DAMAGED_SHARE, Encoded, Encoder, collate, reader
from vlfeedback.train._layout import UnsharedRows
from vlfeedback.train._layouts import layouts
from vlfeedback.train._logps import grouped_logps
from vlfeedback.train._tokens import Wording
from vlfeedback.train.mdpo import load

Make = Callable[..., Recipe]


def gradual(colours: toy_llava.Colours, width: int = 40, height: int = 30) -> Any:
    """A picture that is different at every place."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    data = io.BytesIO()
    pillow.fromarray(np.stack([across, down, 255 - across], -1).astype(np.uint8)).save(data, "PNG")
    made = colours.picture((1, 2, 3), (width, height))
    colours.bytes[made.sha256] = data.getvalue()
    return made


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(pillow.open(io.BytesIO(data)).convert("RGB")).astype(float)


def test_a_damaged_picture_is_a_part_of_the_same_size_and_always_the_same_one(colours: toy_llava.Colours) -> None:
    image = gradual(colours)
    reads = [reader(colours, mean=None) for _ in range(2)]
    whole, part = (pixels(reads[0](one, "original")) for one in (image, reads[0].damaged(image)))
    assert part.shape == whole.shape
    assert np.array_equal(part, pixels(reads[1](reads[1].damaged(image), "original")))
    shown = (np.ptp(part[..., 0]) + 1) * (np.ptp(part[..., 1]) + 1) / 256**2  # as much of the gradient as of the area
    assert shown == pytest.approx(DAMAGED_SHARE, rel=0.25)
    assert reads[0].damaged(image).sha256 not in (image.sha256, reads[0].damaged(gradual(colours, 41)).sha256)


def encoded(groups: list[Any], processor: Any, colours: toy_llava.Colours) -> tuple[Encoder, list[Encoded]]:
    encoder = Encoder(Wording(processor, reader(colours, mean=None)), 200)
    return encoder, [item for group in groups for item in encoder.encode(group) if isinstance(item, Encoded)]


def test_the_best_response_is_forwarded_once_more_and_found_by_every_pair(
    model: Any, processor: Any, colours: toy_llava.Colours
) -> None:
    groups = [
        toy_llava.group("what is there ?", ["a red circle", "no", "yes"], (3, 2, 1), [gradual(colours)]),
        toy_llava.group("is it red ?", ["no", "yes , a dog"], (1, 2)),
    ]
    encoder, made = encoded(groups, processor, colours)
    twins = [encoder.twin(one) for one in made]
    assert twins[1] is None, "no picture, no branch"
    assert twins[0] is not None and twins[0].pairs == () and twins[0].response_ids == (made[0].response_ids[0],)
    shown = [*made, twins[0]]
    for layout in (layouts(model, processor)[0].layout, UnsharedRows(pad=0)):
        batch = collate(shown, layout=layout, pictures=encoder.pictures)
        assert batch.preferences.damaged_of_pair is not None
        assert batch.preferences.damaged_of_pair.tolist() == [5, 5, 5, -1]
        with torch.no_grad():
            found = grouped_logps(model, batch.rows).total
        damaged = {image.sha256: encoder._wording.read(image, "original") for image in twins[0].images}
        colours.bytes |= damaged
        instruction = replace(groups[0].instruction, images=twins[0].images)
        with torch.no_grad():
            alone = toy_llava.naive_logp(
                model, processor, colours, replace(groups[0], instruction=instruction), "a red circle"
            )
            expected = naive(model, processor, colours, groups[:1], made[:1])
        assert float((found[:3] - expected).abs().max()) < 1e-5
        assert float(found[5]) == pytest.approx(float(alone), abs=1e-5)
        assert abs(float(found[5] - found[0])) > 1e-3, "the picture matters to this model"


def test_without_twins_there_is_nothing_to_point_to(processor: Any, colours: toy_llava.Colours) -> None:
    encoder, made = encoded(toy_llava.groups(colours, 2), processor, colours)
    batch = collate(made, layout=UnsharedRows(pad=0), pictures=encoder.pictures)
    assert batch.preferences.damaged_of_pair is None


def test_a_run_trains_on_both_pictures(recipe: Make, colours: toy_llava.Colours, tmp_path: Path) -> None:
    """The response's dependence on its picture grows, and the reference has both."""
    groups = [
        toy_llava.group(f"what is there {word} ?", ["a red circle", "no"], (2, 1), [gradual(colours, 40 + n)])
        for n, word in enumerate(("red", "green", "blue", "big", "small", "dog"))
    ]
    settings = recipe(lora=Lora(r=4, dropout=0.0), learning_rate=0.02, epochs=6, pairs_per_step=3)
    found = train(
        groups, settings, roots=colours, out=tmp_path / "mdpo", objective=load(picture=4.0, anchor=0.0, beta=0.5)
    )
    assert found.trained == 6
    kept = (tmp_path / "mdpo" / "reference.jsonl").read_text().splitlines()
    assert len(kept) == 6 * 3
    losses = [row["loss"] for row in map(json.loads, (tmp_path / "mdpo" / "train_log.jsonl").open()) if "loss" in row]
    start = 5 * float(np.log(2))  # one pair and four times the picture
    assert losses[0] == pytest.approx(start, abs=1e-4)
    assert losses[-1] < 0.8 * start
