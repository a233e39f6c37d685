"""distilabel at its best: pictures read from disk by the task, replicas, a generator batch larger than the task's.

python benchmarks/throughput/distilabel_peer.py PORT PICTURES CALLS BATCH REPLICAS
"""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OPENAI_API_KEY", "none")

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts, StepResources
from distilabel.steps.tasks import Task
from world import Meter, texts


class Judge(Task):
    """A judge's question with a picture; the file is read when the question is made."""

    @property
    def inputs(self) -> list[str]:
        return ["path", "number"]

    @property
    def outputs(self) -> list[str]:
        return ["generation"]

    def format_input(self, input: dict[str, Any]) -> Any:
        prompt, answers = texts(input["number"])
        url = "data:image/jpeg;base64," + base64.b64encode(Path(input["path"]).read_bytes()).decode()
        content = [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": prompt + "\n".join(answers)},
        ]
        system = "Rate each text from 1 to 5 and say why. " * 125
        return [{"role": "system", "content": system}, {"role": "user", "content": content}]

    def format_output(self, output: str | None, input: dict[str, Any] | None = None) -> dict[str, Any]:
        return {"generation": output}


def main() -> None:
    """Run the pipeline and print what it took; its processes are children, whose time counts too."""
    import resource

    port, folder, calls, batch, replicas = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:6])
    paths = sorted(folder.glob("*.jpg"))
    rows = [{"path": str(paths[number % len(paths)]), "number": number} for number in range(calls)]
    with Pipeline(name="throughput") as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=batch * replicas * 4)
        llm = OpenAILLM(model="m", base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=300)
        task = Judge(
            llm=llm,
            input_batch_size=batch,
            resources=StepResources(replicas=replicas),
            add_raw_input=False,  # its column cannot hold a system message beside pictures
            add_raw_output=False,
        )
        load >> task
    meter = Meter()
    found = pipeline.run(use_cache=False)
    done = sum(row["generation"] is not None for row in found["default"]["train"])
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    meter.say(calls, whole=done, children_cpu=spent.ru_utime + spent.ru_stime)


if __name__ == "__main__":
    main()
