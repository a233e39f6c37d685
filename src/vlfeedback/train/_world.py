"""Several processes that train together (torchrun, accelerate launch): who computes what, and sums over all of them."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import atexit
import gc
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlfeedback.errors import ConfigError

if TYPE_CHECKING:
    import torch

# Where accelerate looks for the names of layers that are spread one by one.
_LAYERS = "FSDP_TRANSFORMER_CLS_TO_WRAP"

BREATH = 0.1
"""Seconds that gloo's threads get at the end of a process."""


@dataclass(frozen=True, slots=True)
class World:
    """This process among its fellows.

    Attributes:
        rank: Its number, from 0; the first one writes what all of them share.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all have come here."""
        if self.size > 1:
            import torch.distributed as distributed

            distributed.barrier()

    def added(self, values: Sequence[float], device: torch.device | None = None) -> list[float]:
        """Sums over all processes, value by value; all must call it with as many values."""
        if self.size == 1:
            return list(values)
        import torch
        import torch.distributed as distributed

        wide = torch.float32 if device is not None and device.type == "mps" else torch.float64
        summed = torch.tensor(list(values), dtype=wide, device=device)
        distributed.all_reduce(summed)
        return summed.tolist()


def world() -> World:
    """The processes that the launcher has started, connected.

    Raises:
        ConfigError: they cannot be connected.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    import torch
    from accelerate import PartialState

    try:
        state = PartialState(cpu=not torch.cuda.is_available())
    except ValueError as error:  # the launcher's other variables are not there
        raise ConfigError(
            f"WORLD_SIZE={size} says that several processes train together, and they cannot be connected ({error}): "
            "start them with torchrun or accelerate launch, or unset WORLD_SIZE"
        ) from error
    if state.num_processes != size:
        raise ConfigError(f"the launcher started {size} processes, and {state.num_processes} are connected")
    atexit.register(_leave)
    return World(state.process_index, size)


def _leave() -> None:
    """Let go of the other processes while the interpreter is whole.

    Gloo's threads drop what they have sent after those who wait for it have gone on. One that needs the interpreter for
    that while it is being taken down ends the process with SIGABRT (https://github.com/pytorch/pytorch/issues/190489).
    Only gloo: after an error, NCCL would wait here for processes that are waiting for this one.
    """
    import torch.distributed as distributed

    if distributed.is_initialized() and distributed.get_backend() == "gloo":
        gc.collect()  # models that were trained hold on to the group, in circles, and it to its threads
        distributed.destroy_process_group()
        time.sleep(BREATH)  # FSDP2 keeps the group: its threads get the interpreter once more


def name_layers(model: Any) -> None:
    """Tell FSDP which layers to spread one by one: those that this model really has.

    A vision-language model lists the layers of every tower that its family could have, and accelerate refuses to go on
    where one of them is missing. What the user names in the launcher's settings stays.
    """
    asked = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    if not asked or os.environ.get(_LAYERS):
        return
    there = {type(module).__name__ for module in model.modules()}
    os.environ[_LAYERS] = ",".join(sorted(there & set(getattr(model, "_no_split_modules", None) or ())))
