"""bespokelabs-curator at its best: pictures by path, its online processor with raised limits.

python benchmarks/throughput/curator_peer.py PORT PICTURES CALLS IN_FLIGHT
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENAI_API_KEY", "none")
os.environ.setdefault("TELEMETRY_ENABLED", "false")
os.environ.setdefault("CURATOR_DISABLE_RICH_DISPLAY", "1")

from world import Meter, texts


class _Counting:
    """Stands in for the tokenizer that curator fetches at its start, which no benchmark should wait for."""

    def encode(self, text: str, **_: Any) -> list[int]:
        return [0] * (len(text) // 4)


def main() -> None:
    """Run the judge and print what it took."""
    import tiktoken

    tiktoken.get_encoding = tiktoken.encoding_for_model = lambda *_, **__: _Counting()
    port, folder, calls, in_flight = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:5])
    os.environ["CURATOR_CACHE_DIR"] = tempfile.mkdtemp(prefix="curator-")
    from bespokelabs import curator
    from datasets import Dataset

    class Judge(curator.LLM):
        def prompt(self, input: dict[str, Any]) -> Any:
            prompt, answers = texts(input["number"])
            system = "Rate each text from 1 to 5 and say why. " * 125
            return system + prompt + "\n".join(answers), curator.types.Image(url=input["path"])

        def parse(self, input: dict[str, Any], response: str) -> dict[str, Any]:
            return {"number": input["number"], "generation": response}

    paths = sorted(folder.glob("*.jpg"))
    rows = [{"path": str(paths[number % len(paths)]), "number": number} for number in range(calls)]
    limits = {"max_requests_per_minute": 10**6, "max_tokens_per_minute": 10**9, "max_concurrent_requests": in_flight}
    judge = Judge(
        model_name="m",
        backend="openai",
        backend_params={"base_url": f"http://127.0.0.1:{port}/v1", "request_timeout": 300, **limits},
    )
    meter = Meter()
    found = judge(Dataset.from_list(rows))
    done = len(getattr(found, "dataset", found))
    meter.say(calls, whole=done)


if __name__ == "__main__":
    main()
