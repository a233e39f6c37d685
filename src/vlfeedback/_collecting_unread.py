"""Calls that were not made because a picture cannot be read any more: no fault of the endpoint that was to be asked.

A room drops them as `call_failed`, like any call that is asked again; what stood in their way is in the detail.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from vlfeedback.records import Dropped

_MARK = "connection: a picture cannot be read: "


@dataclass
class Unread:
    """What some records say of such calls.

    Attributes:
        calls: By the model that was to be asked.
        pictures: What is wrong with which picture, in words, in the order in which it was noticed.
    """

    calls: Counter[str] = field(default_factory=Counter[str])
    pictures: dict[str, None] = field(default_factory=dict[str, None])

    def add(self, record: Dropped) -> None:
        """Count a record if it is of such a call."""
        model, found, why = record.detail.partition(_MARK)
        if record.reason != "call_failed" or not found:
            return
        # decode says whom it asked in the detail, annotate in the name: INSTRUCTION/JUDGE/ORDER
        asked = model.removesuffix(": ") or record.record_id.partition("/")[2].rpartition("/")[0]
        self.calls[asked] += 1
        self.pictures[why] = None
