"""Reference log-probabilities: computed once per response, kept in a file, reused by every objective and beta."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlfeedback.errors import DataError, StaleInput
from vlfeedback.ids import hash_id

if TYPE_CHECKING:
    from vlfeedback.train._collate import Batch, Encoded

# Nats per token by which two runs of one model may differ because batch shapes decide the order of summation. Measured
# on CPU with a model of 0.93 M parameters: 3e-7 in fp32, 1e-3 (fp32 weights) and 6e-3 (bf16 weights) in bf16.
TOLERANCE = {"fp32": 1e-4, "bf16": 5e-2}


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """How far the policy was from the stored reference before the first step.

    Attributes:
        largest: Largest difference of one response divided by its tokens, nats per token.
        tolerance: What was allowed.
        responses: How many were compared.
    """

    largest: float
    tolerance: float
    responses: int


class ReferenceFile:
    """Log-probabilities by content, one JSON line each; a line cut off by a kill is computed again.

    Args:
        path: The file; made when the first line is written.
        origin: Hash of everything beside the token ids that decides the numbers: weights, dtype, processor, template.
    """

    def __init__(self, path: Path, origin: str) -> None:
        self.path, self._origin = path, origin
        self._known: dict[str, float] = {}
        self.reload()

    def reload(self) -> None:
        """Take in what has been written to the file, by whomever."""
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                self._read(line)

    def key(self, group: Encoded, response: int) -> str:
        """Content address of one response's reference."""
        return hash_id(
            "reference",
            self._origin,
            [image.sha256 for image in group.images],
            group.prompt.tolist(),
            group.responses[response].tolist(),
            *group.contents,  # of pictures that only have a name: another file may lie there now
        )

    def missing(self, groups: Sequence[Encoded]) -> list[int]:
        """Indices of groups with a response that is not there yet."""
        return [
            n
            for n, group in enumerate(groups)
            if any(self.key(group, r) not in self._known for r in range(len(group.responses)))
        ]

    def values(self, groups: Iterable[Encoded]) -> dict[tuple[str, str], float]:
        """Log p by (group id, response id), nats."""
        return {
            (group.group_id, i): self._known[self.key(group, r)]
            for group in groups
            for r, i in enumerate(group.response_ids)
        }

    def add(self, groups: Sequence[Encoded], totals: Sequence[float]) -> None:
        """Append a batch's log-probabilities and flush them to the disk.

        Args:
            groups: The batch's groups in order.
            totals: One number per response, group by group.
        Raises:
            DataError: one of them is no number; it would be found again by every later run.
        """
        if not all(map(isfinite, totals)):
            named = ", ".join(group.group_id for group in groups)
            raise DataError(f"the reference log p of one of the instructions {named} is not a finite number")
        keys = [self.key(group, r) for group in groups for r in range(len(group.responses))]
        new = dict(zip(keys, totals, strict=True))
        self._append(new)
        self._known |= new

    def _append(self, new: Mapping[str, float]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torn = self.path.exists() and self.path.stat().st_size > 0 and self.path.read_bytes()[-1:] != b"\n"
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n" if torn else "")
            for key, total in new.items():
                file.write(json.dumps({"key": key, "logp": total}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def part(self, number: int) -> ReferenceFile:
        """A file beside this one, for another process that computes at the same time."""
        return ReferenceFile(self.path.with_name(f"{self.path.stem}.{number}{self.path.suffix}"), self._origin)

    def gather(self) -> None:
        """Append what other processes have written beside this file, also those of a run that was killed."""
        for path in sorted(self.path.parent.glob(f"{self.path.stem}.[0-9]*{self.path.suffix}")):
            before = set(self._known)
            for line in path.read_text(encoding="utf-8").splitlines():
                self._read(line)
            self._append({key: value for key, value in self._known.items() if key not in before})
            path.unlink()

    def _read(self, line: str) -> None:
        try:
            row: Any = json.loads(line)
            self._known[str(row["key"])] = float(row["logp"])
        except (ValueError, KeyError, TypeError):
            return  # the line of an interrupted write: its response is simply not known


def check_start(
    groups: Sequence[Encoded],
    stored: Mapping[tuple[str, str], float],
    compute: Callable[[Batch], Sequence[float]],
    arrange: Callable[[Sequence[Encoded]], Batch],
    *,
    tolerance: float,
    path: Path,
) -> SelfCheck:
    """Compare the policy before its first step with the stored reference.

    Args:
        groups: Those to compare, a sample of the run's.
        stored: Reference log p by (group id, response id).
        compute: Log p of a batch under the policy as it is trained, adapters' dropout off.
        arrange: Lays groups out as a batch.
        tolerance: Largest allowed difference, nats per token.
        path: The reference file, for the message.
    Raises:
        StaleInput: policy and reference differ by more.
    """
    found: list[float] = []
    for group in groups:
        for i, tokens, value in zip(group.response_ids, group.responses, compute(arrange([group])), strict=True):
            found.append(abs(value - stored[group.group_id, i]) / len(tokens))
    largest = nan if any(map(isnan, found)) else max(found, default=0.0)
    if not largest <= tolerance:
        raise StaleInput(
            f"the policy differs from the stored reference by {largest:.3g} nats per token before the first step, "
            f"{tolerance:.0e} are allowed: {path} was made by another model; delete it and train again. If it stays, "
            "this model computes something else in training: please report its name"
        )
    return SelfCheck(largest, tolerance, len(found))
