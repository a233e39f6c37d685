"""What a killed run has settled, taken over: its instructions are neither asked nor read from the ledger again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from vlfeedback import _collecting_streamed as streamed, groups, tables
from vlfeedback._tables_ids import places, sorted_numbers
from vlfeedback.annotate import Answered
from vlfeedback.parts import Part, Parts, Settled
from vlfeedback.records import Annotation, Dropped, Instruction, Response
from vlfeedback.run_folder import RunFolder, Sink, inputs_digest
from vlfeedback.run_models import Access


def _ids(run: RunFolder, name: str) -> set[str]:
    """Of all instructions of the run, where there may be parts of a table that settle some."""
    if not run.parts(name).exists():
        return set()
    return {one for batch in tables.batches(run.table("instructions"), ["id"]) for one in batch["id"].to_pylist()}


def responses(run: RunFolder, reach: Access, inputs: str) -> Sink[Response]:
    """The sink of decode, with what earlier runs with the same inputs and settings have finished.

    Its parts hold the instructions too, so that those that are still to be judged need not be looked for.
    """
    parts = Parts(run.parts("responses"), inputs, Response, Instruction, room="decode")
    sink: Sink[Response] = Sink(run, "responses", "decode", parts)
    reach.counters.reuse(sink.take_over(_ids(run, "responses")))
    return sink


class Judging:
    """The sink of annotate, and which responses are still to be judged.

    Args:
        decoding: The sink of decode where that is at work too.
        decoded: Inputs of decode.
        who: Judges, rubric and settings, as JSON values.
        each: Judgements of an instruction.

    Attributes:
        unsettled: Instructions that may have other responses in the next run.
    """

    def __init__(
        self, run: RunFolder, reach: Access, decoding: Sink[Response] | None, decoded: str, who: Any, each: int
    ) -> None:
        self._run, self.each, self.unsettled = run, each, set[str]()
        source = decoded if decoding is not None else self._source()
        stamp = inputs_digest("annotate", source, who) if source else ""
        parts = Parts(run.parts("annotations"), stamp, Annotation, Settled, room="annotate") if stamp else None
        self.sink: Sink[Annotation] = Sink(run, "annotations", "annotate", parts, decoding)
        known = None

        def fits(annotations: tables.Loaded) -> bool:
            """Whether all responses that are rated are there; an id hashes the text, so they are the same ones."""
            nonlocal known
            known = sorted_numbers(self._responses(decoding)) if known is None else known
            shown = sorted_numbers([annotations.rows["order"].combine_chunks().flatten()])
            return bool((places(shown, known) >= 0).all())

        reach.counters.reuse(self.sink.take_over(_ids(run, "annotations"), fits))

    def _source(self) -> str:
        """What decides which responses there are; empty where some are still to come."""
        found = self._run.need("responses", "decode")
        return (found.inputs if found.room == "decode" else found.digest) if found.complete else ""

    def _responses(self, decoding: Sink[Response] | None) -> Iterator[Any]:
        """Ids of the responses that are there."""
        paths = [part.rows for part in _parts(decoding)] if decoding is not None else [self._run.table("responses")]
        for path in paths:
            for batch in tables.batches(path, ["id"]):
                yield batch["id"]

    def waiting(self, decoding: Sink[Response]) -> Iterator[Answered]:
        """What was answered in an earlier run and not judged, a part at a time."""
        for part in list(_parts(decoding)):
            instructions = tables.read(part.settled, Instruction, but=tables.But("id", self.sink.done))
            yield from self._joined(list(instructions), part.rows)

    def answered(self) -> Iterator[Answered]:
        """The same of a run whose responses are all there."""
        return streamed.answered(self._run.table("instructions"), self._run.table("responses"), self.sink.done)

    def _joined(self, instructions: Iterable[Instruction], path: Any) -> Iterator[Answered]:
        answers = tables.read(path, Response, but=tables.But("instruction_id", self.sink.done))
        for group in groups.join(instructions, answers):
            yield Answered(group.instruction, group.responses)

    def file(self, stream: Iterable[Annotation | Dropped]) -> None:
        """Put records into the sink, all of one instruction together."""
        begun: dict[str, list[Annotation | Dropped]] = {}
        try:
            for record in stream:
                name = record.record_id.partition("/")[0] if isinstance(record, Dropped) else record.instruction_id
                mine = begun.setdefault(name, [])
                mine.append(record)
                if len(mine) == self.each:
                    final = name not in self.unsettled
                    self.sink.settle(Settled(name), begun.pop(name), final=final)
                    self.unsettled.discard(name)
        finally:
            for rest in begun.values():
                self.sink.extend(rest)


def _parts(sink: Sink[Any]) -> list[Part]:
    return list(sink.parts.kept) if sink.parts is not None else []
