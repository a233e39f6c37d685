"""`GroupedDPOTrainer`: optimiser, schedule, checkpoints and devices of `transformers.Trainer` around pure functions."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, SequentialSampler
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments

from vlfeedback import flow, progress
from vlfeedback.errors import DataError
from vlfeedback.train._arguments import precision, quiet
from vlfeedback.train._batches import PlannedBatches
from vlfeedback.train._collate import Batch
from vlfeedback.train._disk import told_when_full
from vlfeedback.train._folder import replace as replace_files
from vlfeedback.train._log import TrainLog, falling
from vlfeedback.train._logps import grouped_logps
from vlfeedback.train._made import Made
from vlfeedback.train._metrics import RunningMean, means_of, pair_sums
from vlfeedback.train._note import write_result
from vlfeedback.train._preferences import Objective
from vlfeedback.train._still import hold_still
from vlfeedback.train._weights import save_processor
from vlfeedback.train._world import World

if TYPE_CHECKING:
    from vlfeedback.train import Recipe

# Logged rows whose mean decides on a warning.
_RECENT = 5
# The running mean of log-ratios beside the optimiser's state.
_LEVEL = "running_mean.json"


class GroupedDPOTrainer(Trainer):
    """Trains on whole groups: each response forwarded once, all its pairs formed from that.

    The loss of a step is the sum over its items divided by their count in the whole step, so that neither the number of
    batches nor how groups fell into them changes the gradient.

    Args:
        model: The policy; its trainable parameters are trained.
        settings: Made by `arguments`.
        batches: The run.
        held_out: Batches of held-out pictures, evaluated after each epoch.
        objective: What is minimised.
        recipe: For precision.
        epoch_ends: Steps after which an epoch ends.
        log: File of the logged steps; None in all processes but the first.
        here: The processes that train together.
        processor: Saved beside the weights by `save_model`.
        made: What is told there of the training.
    """

    def __init__(
        self,
        model: Any,
        settings: TrainingArguments,
        batches: PlannedBatches,
        *,
        held_out: Sequence[Batch],
        objective: Objective,
        recipe: Recipe,
        epoch_ends: Sequence[int],
        log: Path | None,
        here: World,
        processor: Any,
        made: Made,
    ) -> None:
        self._began, self._pairs, self._tokens = time.monotonic(), 0, 0
        self._here, self._processor, self._made, self._resumed_from = here, processor, made, 0
        own = {name: value for name, value in vars(model.config).items() if name == "use_cache"}
        super().__init__(model=model, args=settings, train_dataset=batches, data_collator=_only)
        # The base class turns it off, and whoever loads the weights would generate without; our forwards ask for none.
        vars(model.config).pop("use_cache", None)
        vars(model.config).update(own)
        for callback in (PrinterCallback, ProgressCallback):
            self.remove_callback(callback)
        self._watch = _Watch(epoch_ends if held_out else (), self._note, self._added)
        self.add_callback(self._watch)
        # With both set, the base class leaves the loss as it is: it is already divided by the step's items.
        self.model_accepts_loss_kwargs = True
        self._held_out, self._objective, self._recipe = held_out, objective, recipe
        self._epoch_ends, self._log_file = epoch_ends, log
        self._log: TrainLog | None = None
        self._steps = batches.steps
        self._recent: deque[Mapping[str, float]] = deque(maxlen=_RECENT)
        self._sums: dict[str, torch.Tensor] = {}
        self._level = RunningMean(added=self._added)
        self.warned: list[str] = []

    def train(self, resume_from_checkpoint: str | bool | None = None, *given: Any, **options: Any) -> Any:
        """Train with one progress bar; see the base class.

        Args:
            resume_from_checkpoint: A folder of `state/` to go on from, or True for the newest whole one, if any.
        """
        folder = (
            newest(Path(str(self.args.output_dir)))
            if resume_from_checkpoint is True
            else resume_from_checkpoint or None
        )
        done = self._resumed_from = int(Path(folder).name.rpartition("-")[2]) if folder is not None else 0
        self._log = TrainLog(self._log_file, after=done) if self._log_file is not None else None
        self._began = time.monotonic()
        with (
            told_when_full(Path(str(self.args.output_dir))),
            quiet(),
            progress.bar("training", self._steps, "steps") as advance,
        ):
            advance(done)
            self._watch.advance = advance
            return super().train(None if folder is None else str(folder), *given, **options)

    @property
    def stopped(self) -> bool:
        """Whether one of the processes was asked to stop and all have."""
        return self._watch.stopped

    def get_train_dataloader(self) -> DataLoader[Batch]:
        """The plan in its order: shuffling is the plan's."""
        batches: Any = self.train_dataset
        return DataLoader(batches, sampler=SequentialSampler(batches), collate_fn=_only)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], int]:
        """The batches of one step and the number of items that their losses are divided by."""
        batches = list(islice(epoch_iterator, num_batches))
        return batches, int(batches[0].total) if batches else 0

    def _prepare_inputs(self, inputs: Batch) -> Batch:  # type: ignore[override]
        return inputs.to(self.args.device)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load the weights of a checkpoint, every one of them.

        The base class reads full weights under the names in the file; `save_pretrained` renames those of many
        vision-language models, and what is not found is skipped: the run would go on from the base weights.
        """
        target: Any = self.model if model is None else model
        if hasattr(target, "peft_config") or self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        saved: Any = type(target).from_pretrained(resume_from_checkpoint, dtype=target.dtype)
        target.load_state_dict(saved.state_dict())

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write adapter or weights, and beside them what `from_pretrained` needs to use them and the model card.

        In the training's own folder the note lists them, and after the last step it says that the training has ended.
        """
        folder = Path(str(output_dir or self.args.output_dir))

        def write(place: Path) -> None:
            super(GroupedDPOTrainer, self).save_model(str(place), _internal_call)
            if self._here.first and not _internal_call:
                save_processor(self._processor, place)
                self._made.card(place)

        if _internal_call or not self._here.first or not self._made.is_at(folder):
            write(folder)
            return
        with told_when_full(folder):
            replace_files(folder, self._made.key, write)
            if self.state.global_step >= self._made.steps:
                since = time.monotonic() - self._began
                result = self._made.result(self.state.log_history, self.warned, self._resumed_from, since)
                write_result(folder, self._made.key, self._made.recipe, self._made.objective, result)

    def gathered(self) -> dict[str, torch.Tensor] | None:
        """Whole weights by name where each process holds a part of them (FSDP, ZeRO-3), else None; all must call it."""
        if not (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            return None
        whole: Any = self.accelerator.get_state_dict(self.model_wrapped)
        return whole

    def floating_point_ops(self, inputs: Any) -> int:
        """Not estimated: the base class would look for fields that a batch of groups does not have."""
        return 0

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Loss of one batch as its share of the step's mean.

        Raises:
            DataError: the loss is not a finite number; the message names instructions and pairs.
        """
        hold_still(model)  # the base class has just called `train()`
        loss, sums = self._losses(model, inputs)
        if not bool(torch.isfinite(loss)):
            where = f"instructions {', '.join(inputs.rows.group_ids)}; pairs {', '.join(inputs.pair_ids)}"
            raise DataError(
                f"the loss of step {self.state.global_step + 1} is {loss.item()}: {where}. Training stopped"
            )
        for name, value in sums.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value
        self._pairs += len(inputs.pair_ids)
        self._tokens += inputs.tokens
        ratios = sums["logratios/chosen"] + sums["logratios/rejected"]
        self._level.add(float(ratios), 2 * float(sums["pairs"]), step=self.state.global_step)
        return loss * self._here.size  # gradients are averaged over processes, and the items are those of all

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        self._here.wait()  # the file that says that a checkpoint is whole comes next, and is the first process's

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        told = json.dumps(self._level.to_json(self.state.global_step))
        if self._here.first:
            (Path(output_dir) / _LEVEL).write_text(told)

    def _added(self, values: Sequence[float]) -> list[float]:
        return self._here.added(values, self.args.device)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and (kept := Path(checkpoint) / _LEVEL).exists():
            self._level = RunningMean(**json.loads(kept.read_text()), added=self._added)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Means over the pairs of held-out pictures, logged with the prefix `eval_`."""
        model: Any = self.model
        model.eval()
        totals: dict[str, torch.Tensor] = {}
        count = 0.0
        with torch.no_grad():
            for batch in self._held_out:
                loss, sums = self._losses(model, batch.to(self.args.device))
                for name, value in {**sums, "loss": loss.detach() * batch.total}.items():
                    totals[name] = totals.get(name, torch.zeros_like(value)) + value
                count += batch.total
        means = means_of({name: value for name, value in totals.items() if name != "loss"})
        if count:
            means["loss"] = float(totals["loss"]) / count
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in means.items()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means since the last logged step, write the line, and warn once when both sides fall."""
        if not any(name == "loss" or name.startswith("eval_") for name in logs):
            return  # the base class's own speed figures, which count batches as samples
        training = "loss" in logs
        row = {**means_of(self._summed()), **logs} if training else dict(logs)
        if training:
            self._sums = {}
        step = self.state.global_step
        if self._log is not None:
            self._log.write({"step": step, "epoch": self._epoch(step), **row})
        self.state.log_history.append({**row, "step": step})
        if training and not self.warned:
            self._recent.append(row)
            self._warn(step)
        self.control = self.callback_handler.on_log(self.args, self.state, self.control, row)

    def _summed(self) -> dict[str, torch.Tensor]:
        """The sums of all processes."""
        names = sorted(self._sums)
        values = self._added([float(self._sums[name]) for name in names])
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in zip(names, values, strict=True)}

    def _warn(self, step: int) -> None:
        """Say once that both sides fall, by the mean of the latest rows: single steps are noisy."""
        names = ("logratios/chosen", "logratios/rejected", "lengths/chosen")
        full = len(self._recent) == _RECENT and all(name in row for row in self._recent for name in names)
        warning = falling({n: sum(row[n] for row in self._recent) / _RECENT for n in names}) if full else None
        if warning is not None:
            self.warned.append(f"step {step}: {warning}")
            if self._here.first:
                print(self.warned[-1], file=sys.stderr, flush=True)

    def _note(self) -> str:
        """Speed since the start of all processes together, taken to be as fast as this one."""
        per = self._here.size / max(time.monotonic() - self._began, 1e-9)
        return f"{self._pairs * per:,.3g} pairs/s, {self._tokens * per:,.0f} tokens/s"

    def _losses(self, model: Any, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        with precision(self._recipe, self.args.device):
            logps = grouped_logps(model, batch.rows)
        preferences = replace(batch.preferences, baseline=self._level.mean(self.state.global_step))
        out = self._objective(logps.total, batch.reference, logps.lengths, preferences)
        # No item in a batch that only fills up: the sum of nothing would carry no graph to differentiate.
        loss = out.losses.sum() / batch.total if out.losses.numel() else logps.total.sum() * 0.0
        return loss.float(), pair_sums(out, logps.total.detach(), batch)

    def _epoch(self, step: int) -> float:
        """Epochs done after a step."""
        begun = 0
        for number, end in enumerate(self._epoch_ends):
            if step <= end:
                return number + (step - begun) / (end - begun)
            begun = end
        return float(len(self._epoch_ends))


class _Watch(TrainerCallback):
    """Stops on broken gradients and, saved, on Ctrl-C; asks for evaluation after each epoch; moves the bar."""

    advance: Callable[..., None] = staticmethod(lambda *_: None)
    """Moves the progress bar: `advance(steps, note)`."""

    def __init__(
        self, epoch_ends: Sequence[int], note: Callable[[], str], added: Callable[[Sequence[float]], list[float]]
    ) -> None:
        self._epoch_ends, self._note, self._added = frozenset(epoch_ends), note, added
        self.stopped = False

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        grads = [p.grad.sum() for p in kwargs["model"].parameters() if p.grad is not None]
        if grads and not bool(torch.isfinite(torch.stack(grads)).all()):
            raise DataError(f"a gradient of step {state.global_step + 1} is not finite: lower the learning rate")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.advance(1, self._note())
        control.should_evaluate = state.global_step in self._epoch_ends
        # A signal reaches one process a step before the others, or one alone: all stop after the same step.
        self.stopped = self._added([float(flow.interrupted())])[0] > 0
        if self.stopped:
            control.should_save = control.should_training_stop = True


def newest(state: Path) -> Path | None:
    """The last checkpoint whose last file is whole; a kill or a full disk leaves others, which are not used."""
    whole = [folder for folder in state.glob("checkpoint-*") if _is_json(folder / "trainer_state.json")]
    return max(whole, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _only(items: Any) -> Any:
    return items[0]
