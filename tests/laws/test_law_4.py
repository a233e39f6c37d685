"""Law 4: rooms are generators; flow is the only place that starts a thread or an event loop."""

from __future__ import annotations

import ast
import inspect
import time
from collections.abc import Iterator
from pathlib import Path

import vlfeedback
from vlfeedback import annotate, decode, evaluate, flow, pair, source
from vlfeedback.ids import instruction_id
from vlfeedback.models import scripted
from vlfeedback.records import Instruction, Response, Sampling

SRC = Path(vlfeedback.__file__).parent
STARTERS = {
    "Thread", "Timer", "ThreadPoolExecutor", "ProcessPoolExecutor", "new_event_loop", "run_until_complete",
    "start_new_thread",
}  # fmt: skip


def starters(path: Path) -> list[str]:
    """Calls in a file that start a thread or an event loop."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        whole = ast.unparse(node.func)
        if name in STARTERS or whole == "asyncio.run":
            found.append(f"{path.relative_to(SRC)}:{node.lineno} {whole}")
    return found


def test_law_4_only_flow_starts_threads_and_loops() -> None:
    # The oracle is a server of its own, in a process or thread of its own: it is the world, not a room.
    others = [path for path in SRC.rglob("*.py") if path.name != "flow.py" and "oracle" not in path.name]
    assert [place for path in others for place in starters(path)] == []
    assert starters(SRC / "flow.py")


def test_law_4_rooms_are_generators() -> None:
    rooms = (source.instructions, decode.answered, annotate.annotations, pair.pairs, evaluate.answers)
    assert [
        room.__name__ for room in rooms if not str(inspect.signature(room).return_annotation).startswith("Iterator[")
    ] == []


def instructions(count: int) -> list[Instruction]:
    return [Instruction(instruction_id(f"{n}", ()), f"{n}", (), "list") for n in range(count)]


def pool(size: int = 5) -> list[decode.PoolModel]:
    return [decode.PoolModel(scripted.load(model=f"m{n}", replies=["one", "two"])) for n in range(size)]


def test_law_4_a_list_is_a_full_substitute_for_the_disk() -> None:
    done = list(decode.answered(instructions(7), pool(), k=3, sampling=Sampling()))
    assert len(done) == 7
    assert all(isinstance(one, Response) for group in done for one in group.responses)
    assert all(len(group.responses) + len(group.dropped) == 3 for group in done)


def test_law_4_input_is_pulled_no_further_than_the_window() -> None:
    pulled = 0

    def endless() -> Iterator[int]:
        nonlocal pulled
        while pulled < 10_000:  # without a window this has to fail, and not to fill the memory
            pulled += 1
            yield pulled

    async def same(number: int) -> int:
        return number

    results = flow.each(endless(), same, in_flight=4)
    assert sorted(next(results) for _ in range(3)) != []
    time.sleep(0.3)  # long enough for a feeder without a bound to run far ahead
    results.close()  # type: ignore[attr-defined]
    assert pulled <= 3 + 2 * 4 + 1
