"""The dataset card: `README.md` of the run folder, with the front matter that dataset hubs read."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from vlfeedback import __version__
from vlfeedback.report._headline import Headline
from vlfeedback.report._numbers import count, percent, plain
from vlfeedback.report._pairs import WORDS, Pairs
from vlfeedback.report._ratings import Ratings
from vlfeedback.report._read import Artefacts
from vlfeedback.report._sections_accounts import dropped_rows, source_rows

_LICENCES = {
    "pocket": "drawn by this package, Apache-2.0",
    "llava": "CC BY-NC 4.0, research use; made with GPT-4",
    "llava_med": "CC BY-NC 4.0 and Microsoft's research licence",
    "lrv": "BSD-3-Clause; pictures of Visual Genome",
    "vlfeedback": "CC BY-NC 4.0, research use; also bound by the terms of the models that wrote and judged it",
}
"""What is known of sources; everybody who publishes has to check it again."""

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def card(run: Artefacts, said: Headline, rated: Ratings | None, formed: Pairs | None) -> str:
    """Write the card.

    Everything that comes from data is escaped: pipes, backticks, angle brackets and line breaks cannot make markup.
    """
    infos = run.infos()
    held = [(f"{name}.parquet", count(one.rows), "yes" if one.complete else "no") for name, one in infos.items()]
    parts = [
        _front_matter(run),
        f"# {escaped(run.title)}",
        "Preference data for vision-language models: instructions with pictures, responses of a pool of models, "
        f"ratings with rationales by a judge, and preference pairs. Made with vlfeedback {__version__}.",
        escaped(said.main) + (f" {escaped(said.more)}" if said.more else ""),
        "The full account is in [report.html](report.html)." + _main_picture(run),
        "## What is in it",
        _table(("Table", "Rows", "Complete"), held),
        "## Sources",
        _sources(run),
        "## Pool",
        _pool(run),
        "## Judge and ratings",
        _judge(rated),
        "## Pairs",
        _pairs(formed),
        "## Dropped",
        _dropped(run),
        "## Licence",
        "The terms of each source, of its pictures and of every model that wrote or judged a response hold together; "
        "the strictest one decides. The column above is a hint: check the terms before you publish.",
        "## How to make it again",
        "```bash\nvlfeedback run run.toml --out DIR   # kept calls cost nothing\n"
        "vlfeedback report DIR               # this card, report.html and figures/ from the tables alone\n```",
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Text as plain words in Markdown, on one line, whatever stands in it."""
    flat = " ".join(text.split())
    marked = re.sub(r"([\\`*_{}\[\]#|~!])", r"\\\1", flat)
    return marked.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _front_matter(run: Artefacts) -> str:
    """YAML whose values are JSON strings, which YAML reads the same."""
    rows = {name: info.rows for name, info in run.infos().items()}
    dataset = rows.get("pairs", rows.get("instructions", 0))
    size = next((name for limit, name in _SIZES if dataset < limit), "n>1M")
    lines = [
        "---",
        f"pretty_name: {json.dumps(run.title, ensure_ascii=True)}",
        "license: other",
        "task_categories:",
        "- image-text-to-text",
        "tags:",
        *(f"- {tag}" for tag in ("preference", "dpo", "vision-language", "ai-feedback", "vlfeedback")),
        "size_categories:",
        f"- {json.dumps(size)}",
    ]
    shown = [name for name in ("pairs", "instructions", "responses", "annotations") if name in rows]
    if shown:
        lines.append("configs:")
        for name in shown:
            lines += [f"- config_name: {name}", f"  data_files: {name}.parquet"]
    return "\n".join([*lines, "---"])


def _main_picture(run: Artefacts) -> str:
    if not run.has("scores"):
        return ""
    return "\n\n![Base against aligned](figures/base_against_aligned.svg)"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "Nothing yet."
    lines = [f"| {' | '.join(columns)} |", f"|{'|'.join(' --- ' for _ in columns)}|"]
    return "\n".join(lines + [f"| {' | '.join(escaped(cell) for cell in row)} |" for row in rows])


def _sources(run: Artefacts) -> str:
    rows = [
        (name, count(number), count(train), count(held), _LICENCES.get(name.lower(), "unknown here: look it up"))
        for name, number, train, held, *_ in source_rows(run)
    ]
    return _table(("Source", "Instructions", "Train", "Eval", "Licence as far as known"), rows)


def _pool(run: Artefacts) -> str:
    responses = run.frame("responses", ["model"])
    if responses is None or responses.is_empty():
        return "Nothing yet."
    counts = sorted(responses["model"].value_counts().iter_rows(), key=lambda row: (-row[1], row[0]))
    total = sum(number for _, number in counts)
    return _table(("Model", "Responses", "Share"), [(name, count(n), percent(n / total)) for name, n in counts])


def _judge(rated: Ratings | None) -> str:
    if rated is None:
        return "Nothing yet."
    statuses = ", ".join(f"{count(number)} {status}" for status, number in rated.statuses.items())
    lines = [
        f"- Judge: {escaped(', '.join(rated.judges))}",
        f"- Rubric: {escaped(', '.join(rated.rubrics))}",
        f"- Annotations: {escaped(statuses)}",
    ]
    rows = [
        (spread.aspect, spread.subset, plain(spread.mean), count(spread.n), count(spread.missing))
        for spread in rated.spreads
    ]
    return "\n".join(lines) + "\n\n" + _table(("Aspect", "Subset", "Mean rating", "Ratings", "No verdict"), rows)


def _pairs(formed: Pairs | None) -> str:
    if formed is None:
        return "Nothing yet."
    strategies = ", ".join(f"{name} ({count(number)})" for name, number in formed.strategies.items()) or "none"
    rows = [
        (WORDS.get(reason, reason), count(number), percent(number / formed.possible if formed.possible else None))
        for reason, number in formed.outcomes.items()
    ]
    return f"Strategy: {escaped(strategies)}.\n\n" + _table(("Outcome", "Pairs", "Share"), rows)


def _dropped(run: Artefacts) -> str:
    dropped: Any = run.dropped()
    if dropped is None or dropped.is_empty():
        return "Nothing was dropped."
    rows = [(room, reason, count(number)) for room, reason, number, _ in dropped_rows(dropped)]
    return _table(("Room", "Reason", "Records"), rows)
