"""Groups to checkpoint: preference training on whole groups, one objective per file.

`train` is the stage. Importing this module loads no torch; calling it does.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vlfeedback.errors import BooksError, DataError
from vlfeedback.ids import hash_id
from vlfeedback.records import CUT_OFF, Dropped, Group, PreferencePair
from vlfeedback.train._disk import told_when_full
from vlfeedback.train._note import is_finished, read_note, write_note, write_result
from vlfeedback.train._preferences import LossInput, Objective, PairLosses, Preferences

if TYPE_CHECKING:
    from vlfeedback.train._collate import Pictures

__all__ = ["Lora", "LossInput", "Objective", "PairLosses", "Preferences", "Recipe", "TrainResult", "train"]


@dataclass(frozen=True, slots=True)
class Lora:
    """Low-rank adapters on the linear layers of the language model.

    Attributes:
        r: Rank.
        alpha: Scale; the adapter counts alpha / r.
        dropout: In training only; the reference never sees it.
        targets: Names of layers (`q_proj`, …), or None for all linear layers of the language model.
    """

    r: int = 64
    alpha: int = 16
    dropout: float = 0.05
    targets: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is trained; the defaults are the paper's.

    Attributes:
        model: Folder or hub name of the base weights and processor.
        epochs: Passes over all groups.
        learning_rate: Peak of a cosine schedule.
        pairs_per_step: Pairs per optimiser step, about: groups stay whole.
        warmup: Share of the steps in which the rate rises.
        weight_decay, adam_beta2: Of AdamW.
        max_length: Longest row, prompt and response, tokens; pairs with a longer one are dropped as `too_long`.
        dtype: `bf16` runs the forward in bf16 (full fine-tuning keeps fp32 weights), `fp32` everything in fp32.
        seed: Order of groups, initial adapters, dropout.
        lora: Adapters, or None for full fine-tuning with a frozen vision tower. An adapter to start from keeps its own
            settings: others are refused, and defaults are not used.
        image: `blind` shows policy and reference an even picture instead: a control that must gain nothing visual.
        gradient_checkpointing: Recompute activations in the backward pass: less memory, a third more time.
        init: Folder of weights or of an adapter to start from; it is the reference as well.
        tokens_per_batch: Padded tokens of one forward; more batches per step make up the rest. A larger group is cut
            into parts of its pairs; only a single pair may take more.
        report_to: Trackers of `transformers` that get every logged step too (`tensorboard`, `wandb`, …).
        quantization: `nf4` keeps the language model's frozen linears in 4 bits (QLoRA); needs bitsandbytes and `lora`.
    """

    model: str
    epochs: int = 3
    learning_rate: float = 1e-5
    pairs_per_step: int = 256
    warmup: float = 0.1
    weight_decay: float = 0.05
    adam_beta2: float = 0.98
    max_length: int = 2048
    dtype: Literal["bf16", "fp32"] = "bf16"
    seed: int = 0
    lora: Lora | None = Lora()
    image: Literal["seen", "blind"] = "seen"
    gradient_checkpointing: bool = False
    init: str | None = None
    tokens_per_batch: int = 8192
    report_to: tuple[str, ...] = ()
    quantization: Literal["none", "nf4"] = "none"


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training run made.

    Attributes:
        checkpoint: Folder with adapter or full weights, processor, `train_log.jsonl`, `reference.jsonl` and
            `selfcheck.json`.
        pairs: Pairs read; equal to `trained` plus the number of `dropped`.
        trained: Pairs trained on, each once per epoch.
        dropped: The others, by pair id.
        groups: Groups trained on.
        steps: Optimiser steps.
        resumed_from: Step of the checkpoint that this call went on from; 0 for a fresh start.
        metrics: Means of the last logged step, and of the held-out pictures with the prefix `eval_`.
        warnings: What was noticed on the way.
        seconds: Of this call.
    """

    checkpoint: Path
    pairs: int
    trained: int
    dropped: tuple[Dropped, ...]
    groups: int
    steps: int
    resumed_from: int
    metrics: Mapping[str, float]
    warnings: tuple[str, ...]
    seconds: float


def train(
    groups: Iterable[Group],
    settings: Recipe,
    *,
    roots: Pictures,
    out: Path,
    objective: Objective,
    reference: Path | None = None,
    made_as: str = "",
) -> TrainResult:
    """Train a vision-language model on groups and write a checkpoint; called again, it goes on where it stopped.

    Args:
        groups: Groups of both splits; those of held-out pictures are evaluated on and never trained on.
        settings: How to train.
        roots: Where the bytes of pictures come from.
        out: The checkpoint's folder. A finished run with equal data and settings is returned as it is.
        objective: What is minimised, from `load` of a file of this room.
        reference: File of reference log-probabilities, found by content, so that several runs can share it (a control
            and what it controls); `out/reference.jsonl` by default.
        made_as: What the caller knows these weights by; kept in the note, so that others are not taken for them.
    Returns:
        The checkpoint with its books: pairs = trained + dropped.
    Raises:
        ConfigError: model, adapter and processor do not fit together, or `out` is what training would start from.
        ModelUnavailable: the weights are not there.
        DataError: nothing is left to train on, the loss is not a number, or the disk is full.
        StaleInput: the stored reference is not of this model.
        BooksError: a pair got lost.
    """
    began = time.monotonic()
    listed = list(groups)
    pairs = sum(len(group.pairs) for group in listed)
    key = run_key(listed, settings, objective)
    from vlfeedback.train._world import world

    here = world()
    done = _finished(out, key)
    here.wait()  # all have looked before the first one begins to write
    if done is not None:
        if here.first:
            with told_when_full(out):
                _note_again(out, made_as)
        return done
    from vlfeedback.train._run import run

    stored = reference if reference is not None else out / "reference.jsonl"
    with told_when_full(out):
        done, used = run(listed, settings, roots=roots, out=out, objective=objective, key=key, stored=stored)
    if pairs != done.pairs:
        raise BooksError(f"train: {pairs} pairs read, {done.trained} trained, {len(done.dropped)} dropped")
    result = replace(done, seconds=time.monotonic() - began)
    if here.first:
        with told_when_full(out):
            write_result(out, key, used, objective, result, made_as)
    here.wait()  # a process that ends earlier takes the others with it
    return result


def run_key(groups: Iterable[Group], settings: Recipe, objective: Objective) -> str:
    """Hash of data, settings and objective: runs with equal keys are the same run.

    A local model counts by the sizes and times of its files, of weights and of what prepares words and pictures; the
    reference's own key has their content. What only decides how a step is computed, and not what it is, does not count:
    after running out of memory a training goes on in smaller batches.
    """
    # Those of other houses may read gaps without saying so.
    gaps = getattr(objective, "reads_gaps", not type(objective).__module__.startswith("vlfeedback."))
    read = [
        [
            group.instruction.id,
            group.instruction.split,
            [f"{one.id} cut" if one.finish in CUT_OFF else one.id for one in group.responses],
            [[pair.id, pair.weight, *(_margin(pair) if gaps else ())] for pair in group.pairs],
            [[rating.response_id, rating.aspect, rating.score] for rating in group.ratings],
        ]
        for group in groups
    ]
    stamps = [_stamps(name) for name in (settings.model, settings.init) if name is not None]
    silent = {"report_to"} if settings.quantization != "none" else {"report_to", "quantization"}
    decisive = {name: _AS_EVER.get(name, value) for name, value in asdict(settings).items() if name not in silent}
    return hash_id("train", read, decisive, repr(objective), stamps)


_AS_EVER: Mapping[str, object] = {"tokens_per_batch": 8192, "gradient_checkpointing": False}
"""Settings that change no step: which pairs are in it, and by what they are divided. They stand in every key with these
values, so that runs that had them keep theirs."""


def _margin(pair: PreferencePair) -> tuple[float, ...]:
    """Nothing where a pair has none, so that runs of such pairs keep the key that they had before margins counted."""
    return () if pair.margin is None else (float(pair.margin),)


def explain_empty(dropped: Iterable[Dropped]) -> DataError:
    """The error for a run in which no pair is left."""
    counts = Counter(one.reason for one in dropped)
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    hints = {
        "missing_image": "give the pictures' folder with --images (import, train --data), or [images] in run.toml",
        "too_long": "raise [train] max_length, and tokens_per_batch with it",
        "held_out": "lower eval_share",
    }
    hint = hints.get(counts.most_common(1)[0][0], "look at [pair]") if counts else "look at [pair]"
    return DataError(f"no pair is left to train on ({reasons or 'none came in'}): {hint}")


_DECISIVE = ("*.safetensors", "*.bin", "*config.json", "tokenizer*.json", "*.model", "*.jinja")
"""Files of a model that decide what is computed: weights, settings of model and processor, vocabulary, template."""


def _stamps(name: str) -> list[list[object]]:
    folder = Path(name)
    if not folder.is_dir():
        return []
    files = sorted(path for pattern in _DECISIVE for path in folder.glob(pattern))
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]


def __getattr__(name: str) -> Any:
    """`GroupedDPOTrainer`, which needs torch, is imported when it is asked for."""
    if name == "GroupedDPOTrainer":
        from vlfeedback.train._trainer import GroupedDPOTrainer

        return GroupedDPOTrainer
    raise AttributeError(name)


def _finished(out: Path, key: str) -> TrainResult | None:
    """The result of an equal run that was finished in this folder."""
    read = read_note(out)
    if read.get("key") != key or not is_finished(out):
        return None
    fields: dict[str, Any] = read["result"]
    fields["dropped"] = tuple(Dropped(**row) for row in fields["dropped"])
    fields["warnings"] = tuple(fields["warnings"])
    return TrainResult(checkpoint=out, **fields)


def _note_again(out: Path, made_as: str) -> None:
    """An equal training under another name of the caller's; a note that knows no name stays as it is.

    What starts from these weights is known by the bytes of the folder, note included.
    """
    note = read_note(out)
    if made_as and note.get("made_as", made_as) != made_as:
        write_note(out, {**note, "made_as": made_as})
