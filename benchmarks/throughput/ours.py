"""The annotate room, whole: pictures from disk, every call kept in a ledger, ratings read.

python benchmarks/throughput/ours.py PORT PICTURES CALLS IN_FLIGHT BYTES_IN_FLIGHT
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path

from world import Meter, texts


def main() -> None:
    """Judge that many instructions and print what it took."""
    from vlfeedback import flow
    from vlfeedback.annotate import Answered, Judge, annotations
    from vlfeedback.annotate.vlfeedback import load as rubric
    from vlfeedback.ids import instruction_id, response_id
    from vlfeedback.images import Roots
    from vlfeedback.ledger import Ledger
    from vlfeedback.models._ledgered import LedgerBook, Ledgered
    from vlfeedback.models.openai import load
    from vlfeedback.records import Annotation, Instruction, Response

    # The bare client's clock starts when its library is loaded and its bodies are there; so does ours with its records.
    importlib.import_module("aiohttp")
    port, folder, calls, in_flight, bytes_in_flight = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:6])
    roots = Roots({"p": folder})
    pictures = [roots.find("p", path.name) for path in sorted(folder.glob("*.jpg"))]

    def answered(number: int) -> Answered:
        prompt, answers = texts(number)
        images = (pictures[number % len(pictures)],)
        name = instruction_id(prompt, images)
        given = tuple(Response(response_id(name, f"m{place}", None, text), name, f"m{place}", text, "stop")
                      for place, text in enumerate(answers))  # fmt: skip
        return Answered(Instruction(name, prompt, images, "benchmark"), given)

    records = [answered(number) for number in range(calls)]

    model = load(model="m", roots=roots, base_url=f"http://127.0.0.1:{port}/v1", in_flight=in_flight, timeout=120)
    with tempfile.TemporaryDirectory() as place, Ledger.open(Path(place) / "ledger.sqlite") as ledger:
        judge = Ledgered(model, LedgerBook(ledger), price=lambda usage: 0.0, reserve=lambda request: 0.0)
        meter = Meter()
        # The endpoint gets `in_flight` at a time and no more; the room has a quarter more under way, whose intents or
        # replies are on their way to the disk.
        room = in_flight * 5 // 4
        found = annotations(records, [Judge(judge)], rubric(), in_flight=room, bytes_in_flight=bytes_in_flight)
        whole = sum(isinstance(one, Annotation) and one.status == "ok" for one in found)
        flow.run(model.aclose())
        meter.say(calls, whole=whole)


if __name__ == "__main__":
    main()
