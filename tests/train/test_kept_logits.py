"""Models that compute all logits whatever they are asked for, and numbers that are none."""

from __future__ import annotations

import math
from functools import wraps
from typing import Any

import pytest
import torch
import toy_llava

from vlfeedback.train._collate import Batch, Encoded, Encoder, collate, reader
from vlfeedback.train._layouts import checked_layout, layouts
from vlfeedback.train._logps import forward_logps, grouped_logps
from vlfeedback.train._tokens import Wording


@pytest.mark.parametrize("count", [1, 3])
def test_a_model_that_takes_no_notice_of_logits_to_keep_gives_the_same_numbers(
    model: Any, processor: Any, colours: toy_llava.Colours, count: int
) -> None:
    """VideoLLaMA 3 and MiniCPM-V swallow it among other words: log p would be read off the wrong places."""
    encoder = Encoder(Wording(processor, reader(colours, mean=None)), 200)
    groups = toy_llava.groups(colours, count)
    made = [item for group in groups for item in encoder.encode(group) if isinstance(item, Encoded)]
    ways = layouts(model, processor)
    batches = [collate(made, layout=way.layout, pictures=encoder.pictures) for way in ways]
    with torch.no_grad():
        truth = [grouped_logps(model, batch.rows).total for batch in batches]
        plain = model.forward

        @wraps(plain)
        def deaf(*given: Any, logits_to_keep: Any = 0, **named: Any) -> Any:
            del logits_to_keep
            return plain(*given, **named)

        model.forward = deaf
        found = [grouped_logps(model, batch.rows).total for batch in batches]
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(found, truth, strict=True))


@pytest.mark.parametrize("place", [0, 2])
def test_a_layout_that_gives_no_number_for_one_response_is_not_used(
    model: Any, processor: Any, colours: toy_llava.Colours, place: int
) -> None:
    encoder = Encoder(Wording(processor, reader(colours, mean=None)), 200)
    made = [item for item in encoder.encode(toy_llava.groups(colours, 1)[0]) if isinstance(item, Encoded)]

    def score(batch: Batch) -> list[float]:
        with torch.no_grad():
            found = forward_logps(model, batch.rows).tolist()
        if batch.rows.inputs["attention_mask"].dim() == 4:
            found[place] = math.nan
        return found

    assert checked_layout(layouts(model, processor), made, encoder, score, "fp32").name == "features once"
