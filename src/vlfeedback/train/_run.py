"""One training run from groups to saved weights; loads torch."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import set_seed

from vlfeedback import flow
from vlfeedback.errors import ConfigError, DataError
from vlfeedback.models._checkpoints import open_processor
from vlfeedback.progress import bar
from vlfeedback.records import Dropped, Group
from vlfeedback.train import explain_empty
from vlfeedback.train._adapter import settled
from vlfeedback.train._arguments import arguments, quiet, trackers
from vlfeedback.train._base import doubtful_base
from vlfeedback.train._batches import HeldOut, PlannedBatches, items_of
from vlfeedback.train._chosen import chosen_layout
from vlfeedback.train._collate import Batch, Encoded, Encoder, Pictures, collate, reader
from vlfeedback.train._cut import parts_of
from vlfeedback.train._folder import begin, refuse_own_start, replace
from vlfeedback.train._layout import Layout
from vlfeedback.train._layouts import CheckedLayout
from vlfeedback.train._logps import unwrapped
from vlfeedback.train._made import Made
from vlfeedback.train._memory import keep_freed
from vlfeedback.train._plan import Plan, pack, plan_run
from vlfeedback.train._preferences import Objective
from vlfeedback.train._reference import TOLERANCE, ReferenceFile, SelfCheck, check_start
from vlfeedback.train._rope import longest_row
from vlfeedback.train._scoring import Scorer, reference
from vlfeedback.train._tokens import Wording
from vlfeedback.train._trainer import GroupedDPOTrainer, newest
from vlfeedback.train._weights import (
    device_here,
    load_model,
    make_trainable,
    origin,
    refuse_untrainable,
    save,
    unadapted,
)
from vlfeedback.train._world import World, name_layers, world

if TYPE_CHECKING:
    from vlfeedback.train import Recipe, TrainResult

# Held-out groups that are evaluated after each epoch; ids are hashes, so the first of them are a fair sample.
_HELD_OUT = 512
# Groups on which the policy is compared with the reference before the first step.
_CHECKED = 8


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run before its first step: everything is encoded, the reference is known, the trainer is set up.

    Attributes:
        trainer: Has policy and batches.
        plan: Batches and steps.
        made: What is told of it beside its weights.
    """

    trainer: GroupedDPOTrainer
    processor: Any
    plan: Plan
    made: Made


def run(
    groups: Sequence[Group],
    recipe: Recipe,
    *,
    roots: Pictures,
    out: Path,
    objective: Objective,
    key: str,
    stored: Path,
) -> tuple[TrainResult, Recipe]:
    """Prepare, train from the newest whole checkpoint or from the start, save.

    Args:
        groups: Both splits.
        recipe: How to train.
        roots: Where pictures come from.
        out: The checkpoint's folder.
        objective: What is minimised.
        key: Names the run; what a run of another key has left is removed.
        stored: File of reference log-probabilities.
    Returns:
        The result, and the recipe as it was used: an adapter to start from has settings of its own.
    """
    began = time.monotonic()
    with quiet():
        ready = prepare(groups, recipe, roots=roots, out=out, objective=objective, key=key, stored=stored)
        trainer, plan = ready.trainer, ready.plan
        before = newest(out / "state")
        trainer.train(resume_from_checkpoint=True)
        if trainer.state.global_step < plan.steps and trainer.stopped:
            raise KeyboardInterrupt  # also where another process got the signal
    weights = trainer.gathered()
    if world().first:

        def write(folder: Path) -> None:
            save(trainer.model, ready.processor, folder, weights)
            ready.made.card(folder)

        replace(out, key, write)
    resumed = int(before.name.rpartition("-")[2]) if before is not None else 0
    done = ready.made.result(trainer.state.log_history, trainer.warned, resumed, time.monotonic() - began)
    return done, ready.made.recipe


def prepare(
    groups: Sequence[Group],
    recipe: Recipe,
    *,
    roots: Pictures,
    out: Path,
    objective: Objective,
    key: str,
    stored: Path,
) -> Prepared:
    """Encode, choose a layout, compute the reference, compare the policy with it; see `run`."""
    here = world()
    _refuse(groups, recipe, out, objective, here)
    recipe, doubts, processor, model = _opened(recipe)
    encoder = encoder_of(processor, model, recipe, roots)
    encoded, evaluated, dropped = _both_sides(groups, encoder, objective)
    if here.first:
        _tell(encoded, dropped, longest_row(unwrapped(model)), recipe, doubts)
        begin(out, key)  # not before: a model or data that cannot be used leave what is there as it is
    here.wait()
    model.to(device := device_here())
    logps = Scorer(model, recipe, device)
    layout = (checked := chosen_layout(model, processor, encoded, encoder, logps, recipe, here)).layout
    if here.first and checked.refused:
        told = f"prompts are not shared, every response is computed with one of its own: {checked.refused}"
        print(told, file=sys.stderr, flush=True)
    whole, noted = [*encoded, *evaluated], (*doubts, *altered(encoded))
    twins = _twins(whole, encoder, objective)
    encoded, evaluated, large = _fitting(encoded, evaluated, layout, recipe, objective, here)
    known = reference(
        [*whole, *twins.values()], ReferenceFile(stored, origin(recipe, model, processor)),
        layout=layout, encoder=encoder, score=logps, budget=recipe.tokens_per_batch, here=here,
    )  # fmt: skip
    plainly = partial(collate, layout=layout, pictures=encoder.pictures, reference=known)
    blank = encoder.blank() if here.size > 1 and hasattr(unwrapped(model), "get_image_features") else {}

    def arrange(members: Sequence[Encoded], total: float) -> Batch:
        extra = {one.group_id: twins[one.group_id] for one in members if one.pairs and one.group_id in twins}
        return plainly([*members, *extra.values()], total=total)

    policy, bare = _policy(model, recipe, here)
    start = _check_start(Scorer(policy, recipe, device, training=True), encoded, known, plainly, recipe, stored)
    if here.first:
        _write_check(out, start, checked)
    plan = _plan(encoded, layout, recipe, here, twins)
    made = Made(
        out, key, recipe, objective, _sources(groups), len({group.group_id for group in encoded}),
        sum(len(group.pairs) for group in encoded), (*dropped, *large), plan.steps, (*noted, *bare, *checked.warnings),
    )  # fmt: skip
    trainer = GroupedDPOTrainer(
        policy, arguments(recipe, plan, out / "state", here),
        PlannedBatches(plan, encoded, objective, arrange, here, blank),
        held_out=_held_out(evaluated, layout, objective, arrange, recipe.tokens_per_batch), objective=objective,
        recipe=recipe, epoch_ends=plan.epoch_ends(), log=out / "train_log.jsonl" if here.first else None, here=here,
        processor=processor, made=made,
    )  # fmt: skip
    return Prepared(trainer, processor, plan, made)


def _sources(groups: Sequence[Group]) -> Counter[str]:
    """Instructions of the training side by source."""
    return Counter(group.instruction.source for group in groups if group.instruction.split == "train")


def _opened(recipe: Recipe) -> tuple[Recipe, tuple[str, ...], Any, Any]:
    """What is trained by, what is in doubt of the base and the adapter, and processor and model that a run starts from.

    Raises:
        ConfigError: the model has nothing of what is to be trained, or is an adapter made by other settings, which is
            said before anything is computed.
    """
    if device_here().type == "cpu":
        keep_freed()
    doubts, processor = doubtful_base(recipe), open_processor(recipe.model, None)
    model = load_model(recipe)
    refuse_untrainable(model, recipe)
    name_layers(unwrapped(model))
    recipe, told = settled(recipe, model)
    return recipe, (*doubts, *told), processor, model


def _fitting(
    encoded: Sequence[Encoded],
    evaluated: Sequence[Encoded],
    layout: Layout,
    recipe: Recipe,
    objective: Objective,
    here: World,
) -> tuple[list[Encoded], list[Encoded], list[Dropped]]:
    """Both sides with their too large groups cut, and the pairs to train on that cannot be cut apart.

    Raises:
        DataError: no group is left to train on.
    """
    parts = parts_of(encoded, layout, recipe.tokens_per_batch, objective)
    if not parts.groups:
        raise explain_empty(parts.dropped)
    if here.first and (len(parts.groups) != len(encoded) or parts.dropped):
        told = f"groups larger than tokens_per_batch are cut: {len(encoded):,} groups are {len(parts.groups):,} parts"
        more = f"; {len(parts.dropped):,} pairs cannot be cut apart and are left out: too_long" * bool(parts.dropped)
        print(told + more, file=sys.stderr, flush=True)
    return parts.groups, parts_of(evaluated, layout, recipe.tokens_per_batch, objective).groups, parts.dropped


def _refuse(groups: Sequence[Group], recipe: Recipe, out: Path, objective: Objective, here: World) -> None:
    """Say before anything is loaded what would break off after the reference, or cost what training starts from.

    Raises:
        ConfigError: `out` is what training would start from, or a tracker is not installed.
        DataError: the objective needs the margin of every pair, and some have none.
    """
    refuse_own_start(out, (recipe.model, recipe.init))
    if here.first:
        trackers(recipe.report_to)
    pairs = [pair for group in groups for pair in group.pairs]
    lacking = sum(pair.margin is None for pair in pairs)
    if lacking and getattr(objective, "needs_gaps", False):
        name = type(objective).__module__.rpartition(".")[2]
        raise DataError(
            f"[train.loss] {name} needs the distance of the ratings of every pair, and {lacking:,} of {len(pairs):,} "
            "have none: take a [pair] strategy that states margins, data with a column margin, or another objective"
        )


def _twins(groups: Sequence[Encoded], encoder: Encoder, objective: Objective) -> dict[str, Encoded]:
    """Best responses to damaged pictures by group id, for an objective that asks for them."""
    if not getattr(objective, "damages", False):
        return {}
    return {one.twin_of: one for group in groups if (one := encoder.twin(group)) is not None}


def _policy(model: Any, recipe: Recipe, here: World) -> tuple[Any, tuple[str, ...]]:
    """What is trained, and what of it is not as one might think."""
    set_seed(recipe.seed)  # adapters are drawn
    policy = make_trainable(model, recipe)
    bare = unadapted(policy, recipe.lora)
    if here.first and bare:
        print("\n".join(bare), file=sys.stderr, flush=True)
    if recipe.gradient_checkpointing:
        policy.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return policy, bare


def _both_sides(
    groups: Sequence[Group], encoder: Encoder, objective: Objective
) -> tuple[list[Encoded], list[Encoded], list[Dropped]]:
    """Groups to train on, a sample of the held-out ones to evaluate on, and every pair that is not trained on.

    Raises:
        DataError: no group is left to train on.
    """
    encoded, dropped = encode_all([g for g in groups if g.instruction.split == "train"], encoder, objective)
    held = [group for group in groups if group.instruction.split == "eval"]
    dropped += [Dropped("train", pair.id, "held_out") for group in held for pair in group.pairs]
    if not encoded:
        raise explain_empty(dropped)
    sample = sorted((group for group in held if group.pairs), key=lambda group: group.instruction.id)[:_HELD_OUT]
    return encoded, encode_all(sample, encoder, objective)[0], dropped


def encode_all(groups: Sequence[Group], encoder: Encoder, objective: Objective) -> tuple[list[Encoded], list[Dropped]]:
    """Token ids of all groups, and the pairs that cannot be trained on with their reasons."""
    encoded: list[Encoded] = []
    dropped: list[Dropped] = []
    with bar("reading pictures", len(groups), "groups") as advance:
        for group in groups:
            flow.stop_if_interrupted()
            for item in encoder.encode(group, bare=objective.per == "token"):
                if isinstance(item, Dropped):
                    dropped.append(item)
                else:
                    encoded.append(item)
            advance()
    return encoded, dropped


def encoder_of(processor: Any, model: Any, recipe: Recipe, roots: Pictures) -> Encoder:
    """What turns groups into token ids for a model and its processor, pictures shown or hidden as the recipe says."""
    stops = getattr(model.generation_config, "eos_token_id", None)
    listed = stops if isinstance(stops, list) else [stops]
    mean = getattr(getattr(processor, "image_processor", None), "image_mean", None) or (0.5, 0.5, 0.5)
    red, green, blue = (round(255 * float(channel)) for channel in mean)
    wording = Wording(
        processor,
        reader(roots, mean=(red, green, blue) if recipe.image == "blind" else None),
        frozenset(int(token) for token in listed if token is not None),
        getattr(model.config, "image_token_id", None),
    )
    return Encoder(wording, min(recipe.max_length, longest_row(unwrapped(model)) or recipe.max_length))


def _tell(
    encoded: Sequence[Encoded],
    dropped: Sequence[Dropped],
    longest: int | None,
    recipe: Recipe,
    doubts: Sequence[str],
) -> None:
    """Say before the first step what is trained on, and what is not and why."""
    if longest is not None and longest < recipe.max_length:
        print(
            f"[train] max_length = {longest} is taken instead of {recipe.max_length}: one longer row would change this "
            "model's positions in all rows beside it",
            file=sys.stderr,
            flush=True,
        )
    pairs = sum(len(group.pairs) for group in encoded)
    told = [f"{pairs:,} pairs of {len(encoded):,} groups to train on"]
    told += [f"  {count:,} left out: {why}" for why, count in Counter(one.reason for one in dropped).most_common()]
    print("\n".join([*told, *(f"  {one}" for one in (*doubts, *altered(encoded)))]), file=sys.stderr, flush=True)


def altered(encoded: Sequence[Encoded]) -> tuple[str, ...]:
    """What of the data is trained on otherwise than it stands."""
    cut = sum(len(group.cut) for group in encoded)
    return (f"{cut:,} responses were cut off in decoding: they are trained without an end token",) if cut else ()


def _check_start(
    score: Callable[[Batch], list[float]],
    groups: Sequence[Encoded],
    known: Mapping[tuple[str, str], float],
    arrange: Callable[[Sequence[Encoded]], Batch],
    recipe: Recipe,
    stored: Path,
) -> SelfCheck:
    spread = groups[:: max(1, len(groups) // _CHECKED)][:_CHECKED]
    return check_start(spread, known, score, arrange, tolerance=TOLERANCE[recipe.dtype], path=stored)


def _write_check(out: Path, start: SelfCheck, checked: CheckedLayout) -> None:
    told = {**asdict(start), **checked.to_json()}
    (out / "selfcheck.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _plan(groups: Sequence[Encoded], layout: Layout, recipe: Recipe, here: World, twins: Mapping[str, Encoded]) -> Plan:
    if recipe.epochs < 1 or recipe.pairs_per_step < 1 or recipe.tokens_per_batch < 1:
        raise ConfigError("[train] epochs, pairs_per_step and tokens_per_batch must be at least 1")
    numbers = {name: number for number, name in enumerate(dict.fromkeys(group.group_id for group in groups))}
    return plan_run(
        [max(1, len(group.pairs)) for group in groups],
        [layout.rows(group) + (group.group_id in twins) for group in groups],
        [layout.cost(group) for group in groups],
        per_step=recipe.pairs_per_step,
        budget=recipe.tokens_per_batch,
        epochs=recipe.epochs,
        seed=recipe.seed,
        processes=here.size,
        wholes=[numbers[group.group_id] for group in groups],
    )


def _held_out(
    groups: Sequence[Encoded],
    layout: Layout,
    objective: Objective,
    arrange: Callable[[Sequence[Encoded], float], Batch],
    budget: int,
) -> HeldOut:
    """Batches of held-out pictures, made whenever they are evaluated: pictures of all of them would fill the memory."""
    widths = [layout.cost(group) for group in groups]
    order = sorted(range(len(groups)), key=lambda i: (widths[i], i))
    members = [[groups[i] for i in batch] for batch in pack(order, list(map(layout.rows, groups)), widths, budget)]
    counts = [float(sum(items_of(group, objective) for group in batch)) for batch in members]
    return HeldOut(members, counts, arrange)
