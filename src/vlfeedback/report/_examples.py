"""A few instructions with their responses, ratings and rationales, drawn by hash and not chosen."""

from __future__ import annotations

from typing import Any

from vlfeedback.report._cases import clipped
from vlfeedback.report._numbers import plain
from vlfeedback.report._pictures import Album
from vlfeedback.report._read import Artefacts
from vlfeedback.report._section import Case, Reply, Section, waiting

HOW_MANY = 3


def examples_section(run: Artefacts, album: Album) -> Section:
    """Feedback as it was given."""
    key, title = "examples-of-feedback", "Examples of feedback"
    if not run.has("annotations") or not run.has("instructions") or not run.has("responses"):
        return waiting(run, key, title, "annotations")
    chosen = _drawn(run)
    if not chosen:
        return waiting(run, key, title, "annotations")
    instructions = {row["id"]: row for row in _rows(run, "instructions", "id", chosen)}
    responses = _rows(run, "responses", "instruction_id", chosen)
    notes = _rows(run, "annotations", "instruction_id", chosen)
    album.learn(image["sha256"] for row in instructions.values() for image in row["images"])
    cases = [_case(instructions[one], responses, notes, album) for one in chosen if one in instructions]
    return Section(key, title, "Instructions drawn by hash, best-rated response first.", cases=tuple(cases))


def _drawn(run: Artefacts) -> list[str]:
    """Ids of annotated instructions from the front of their order, that of hashes; those with pictures first."""
    import polars as pl

    noted = run.frame("annotations", ["instruction_id"])
    instructions = run.frame("instructions", ["id", "images.list.element.sha256"])
    if noted is None or instructions is None:
        return []
    known = instructions.filter(pl.col("id").is_in(noted["instruction_id"].unique().implode()))
    ordered = known.select("id", bare=pl.col("images").list.len() == 0).sort("bare", "id")
    return ordered["id"].head(HOW_MANY).to_list()


def _rows(run: Artefacts, table: str, column: str, ids: list[str]) -> list[dict[str, Any]]:
    """Rows of a few instructions, without reading the whole table into memory."""
    import polars as pl

    found: Any = pl.scan_parquet(run.path / f"{table}.parquet").filter(pl.col(column).is_in(ids)).collect()
    return found.to_dicts()


def _case(
    instruction: dict[str, Any], responses: list[dict[str, Any]], notes: list[dict[str, Any]], album: Album
) -> Case:
    ratings: dict[str, list[dict[str, Any]]] = {}
    for note in notes:
        for rating in note["ratings"] if note["instruction_id"] == instruction["id"] else ():
            ratings.setdefault(rating["response_id"], []).append(rating)
    mine = [row for row in responses if row["instruction_id"] == instruction["id"]]
    mine.sort(key=lambda row: (-(_mean(ratings.get(row["id"], [])) or 0.0), row["id"]))
    category = f", {instruction['category']}" if instruction["category"] else ""
    return Case(
        f"From {instruction['source']}{category}",
        clipped(instruction["prompt"]),
        tuple(album.picture(image["sha256"], "Picture of the instruction") for image in instruction["images"]),
        tuple(_reply(row, ratings.get(row["id"], [])) for row in mine),
    )


def _mean(ratings: list[dict[str, Any]]) -> float | None:
    scores = [rating["score"] for rating in ratings if rating["score"] is not None]
    return sum(scores) / len(scores) if scores else None


def _reply(row: dict[str, Any], ratings: list[dict[str, Any]]) -> Reply:
    parts = [f"{one['aspect']} {one['score'] if one['score'] is not None else 'no verdict'}" for one in ratings]
    note = f"mean {plain(_mean(ratings))} ({', '.join(parts)})" if parts else "not rated"
    details = tuple(f"{one['aspect']}: {clipped(one['rationale'], 600)}" for one in ratings if one["rationale"])
    return Reply(row["model"], clipped(row["text"]), note, None, details)
