"""Small files in the released format, with texts of our own."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from vlfeedback import tables
from vlfeedback.commands.import_ import ImportSummary, import_data
from vlfeedback.exchange import ASPECTS
from vlfeedback.ledger import Ledger
from vlfeedback.records import Annotation, Call, Dropped, Instruction, Response


def completion(model: str, text: str, scores: Sequence[Any] = ("4", "5", "3")) -> dict[str, Any]:
    """One answer with its three ratings as the file has them."""
    given = {
        aspect: {"Rating": score, "Rationale": f"{model} on {aspect}"}
        for aspect, score in zip(ASPECTS, scores, strict=True)
    }
    return {"annotations": given, "model": model, "response": text}


def row(name: str = "own-detail-1", prompt: str = "What is on the desk?", **changes: Any) -> dict[str, Any]:
    """A good row; keyword arguments replace its fields."""
    completions = [
        completion("gpt-4v", f"A lamp and two books. ({prompt})", ("5", "5", "5")),
        completion("llava", f"A lamp. ({prompt})", ("3", "5", "4")),
        completion("fuyu", f"Two cats. ({prompt})", ("1", "5", "1")),
        completion("mmicl", f"Desk. ({prompt})", ("3", "5", "4")),
    ]
    return {
        "id": name,
        "prompt": prompt,
        "models": [c["model"] for c in completions],
        "completions": completions,
    } | changes


def random_rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Rows with every fault of the release that a row can have and still be a row."""
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for number in range(count):
        completions = [
            completion(
                f"m{index}",
                f"answer {index} to {number}",
                [rng.choice(["1", "2", "3", "4", "5", "5", "N/A"]) for _ in ASPECTS],
            )
            for index in range(rng.choice([4, 4, 4, 3, 1]))
        ]
        if rng.random() < 0.1:
            del completions[0]["annotations"][rng.choice(ASPECTS)]
        if rng.random() < 0.1:
            completions[-1]["annotations"][ASPECTS[0]]["Rating"] = rng.choice(["", None, "high", 4, "4.0"])
        rows.append(row(f"own-{rng.randrange(count)}", f"question {number}", completions=completions))
    return rows


def as_table(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rows as `datasets` gives them: completions as a dict of lists."""
    names = ("annotations", "model", "response")
    return [one | {"completions": {name: [c[name] for c in one["completions"]] for name in names}} for one in rows]


def write(path: Path, rows: Iterable[dict[str, Any]], end: str = "\n") -> Path:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + end for one in rows), encoding="utf-8", newline="")
    return path


def picture(colour: str = "red", size: tuple[int, int] = (12, 8)) -> bytes:
    """A small JPEG."""
    stream = io.BytesIO()
    Pillow.new("RGB", size, colour).save(stream, "JPEG")
    return stream.getvalue()


def bring_in(path: Path, out: Path, **settings: Any) -> ImportSummary:
    """Import in the released format, pictures only named unless asked otherwise."""
    return import_data("vlfeedback", path, out=out, **settings)


def instructions(out: Path) -> list[Instruction]:
    return list(tables.read(out / "instructions.parquet", Instruction))


def responses(out: Path) -> list[Response]:
    return list(tables.read(out / "responses.parquet", Response))


def annotations(out: Path) -> list[Annotation]:
    return list(tables.read(out / "annotations.parquet", Annotation))


def dropped(out: Path) -> list[Dropped]:
    return list(tables.read(out / "dropped" / "exchange.parquet", Dropped))


def calls(out: Path) -> list[Call]:
    with Ledger.open(out / "ledger.sqlite", write=False) as ledger:
        return list(ledger.calls())


def digests(out: Path) -> dict[str, str]:
    """Digest of every table of a folder."""
    return {path.name: tables.info(path).digest for path in sorted(out.glob("*.parquet"))}
