"""A recipe as settings of `transformers.Trainer`, and the frame of every forward."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import math
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainingArguments
from transformers.integrations.integration_utils import get_available_reporting_integrations
from transformers.utils import logging as hf_logging

from vlfeedback import progress
from vlfeedback.errors import ConfigError
from vlfeedback.train._plan import Plan
from vlfeedback.train._world import World

if TYPE_CHECKING:
    from vlfeedback.train import Recipe

# Log rows of a run: enough for a curve, few enough for a page.
_LOGGED = 500
# Where `accelerate launch` leaves the number format of its settings.
_PRECISION = "ACCELERATE_MIXED_PRECISION"
# Checkpoints of a run: a kill loses at most a tenth of it.
_SAVED = 10


def arguments(recipe: Recipe, plan: Plan, state: Path, here: World) -> TrainingArguments:
    """The recipe as settings of `transformers.Trainer`; one of its epochs is the whole plan.

    Args:
        recipe: What the caller asked for.
        plan: Batches of the whole run.
        state: Folder of the checkpoints for resuming.
        here: The processes that share the batches of a step.
    """
    _refuse_autocast(recipe, here)
    made = TrainingArguments(
        output_dir=str(state),
        num_train_epochs=1,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=plan.accumulation // here.size,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        # The first step of a warm-up has rate 0: a run of one step would train nothing.
        warmup_steps=min(math.ceil(recipe.warmup * plan.steps), plan.steps - 1),
        weight_decay=recipe.weight_decay,
        adam_beta2=recipe.adam_beta2,
        max_grad_norm=1.0,
        optim="adamw_torch_fused" if torch.cuda.is_available() else "adamw_torch",
        # Mixed precision is an autocast around our own forward, the same for policy and reference.
        bf16=False,
        use_cpu=here.size > 1 and not torch.cuda.is_available(),
        logging_steps=max(1, plan.steps // _LOGGED),
        logging_nan_inf_filter=False,
        save_steps=max(1, math.ceil(plan.steps / _SAVED)),
        save_total_limit=1,
        # A step of several processes without a picture trains nothing of the connector.
        ddp_find_unused_parameters=True if here.size > 1 else None,
        report_to=trackers(recipe.report_to) if here.first else [],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        seed=recipe.seed,
    )
    # One process, one device: DataParallel would cut our batches apart.
    made._n_gpu = min(made.n_gpu, 1)  # pyright: ignore[reportPrivateUsage]
    return made


def _refuse_autocast(recipe: Recipe, here: World) -> None:
    """Take back the number format that `accelerate launch` was told: it would hold for the policy's forward alone."""
    asked = os.environ.get(_PRECISION, "no")
    os.environ[_PRECISION] = "no"
    if asked.lower() != "no" and here.first:
        print(
            f"mixed_precision = {asked} of the launcher is not used: [train] dtype = {recipe.dtype} decides for policy "
            "and reference alike",
            file=sys.stderr,
            flush=True,
        )


def trackers(names: Sequence[str]) -> list[str]:
    """The trackers that were asked for.

    Raises:
        ConfigError: one is not installed here.
    """
    there = get_available_reporting_integrations()
    lacking = [name for name in names if name not in there]
    if lacking:
        raise ConfigError(
            f"[train] report_to: {', '.join(lacking)} cannot be used here; installed are {', '.join(there) or 'none'}"
        )
    return list(names)


def precision(recipe: Recipe, device: torch.device) -> AbstractContextManager[Any]:
    """The autocast of every forward of a run."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=recipe.dtype == "bf16")


@contextmanager
def quiet() -> Generator[None]:
    """Silence the loggers and bars of transformers for the length of a block: the run has one bar of its own."""
    level = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    try:
        with progress.quiet_transformers():
            yield
    finally:
        hf_logging.set_verbosity(level)
