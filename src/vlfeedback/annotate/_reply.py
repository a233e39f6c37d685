"""From a judge's reply to an annotation: the counting that no rubric may forget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from vlfeedback.annotate._contract import Parsed, Rubric, rubric_name
from vlfeedback.annotate._expected import expected_scores
from vlfeedback.annotate._refusal import declines
from vlfeedback.errors import PluginError
from vlfeedback.ids import annotation_id, call_key
from vlfeedback.records import Annotation, AnnotationStatus, Generation, Rating, Request


def read_reply(
    rubric: Rubric,
    instruction_id: str,
    judge: str,
    request: Request,
    order: Sequence[str],
    generation: Generation,
    key: str | None = None,
) -> Annotation | None:
    """Turn a reply into an annotation; pure, so that a mended parser re-reads the ledger without a call.

    Args:
        rubric: The rubric that made the request.
        instruction_id: Whose responses were judged.
        judge: Identity of the model.
        request: The question exactly as sent.
        order: Response ids as shown.
        generation: The reply.
        key: Of the call, where it is known already.
    Returns:
        An annotation with one rating for every response and aspect (`score=None` where there is none), or None if
        there was no reply.
    Raises:
        PluginError: the rubric gives a rating of something that was not shown, twice, or outside its scale.
    """
    if generation.finish == "error":
        return None
    cut = generation.finish != "stop"
    parsed = rubric.parse(generation.text, order)
    aspects, scale = rubric.aspects, rubric.scale
    cells = list(product(order, aspects))
    found = _checked(rubric, parsed, cells, scale)
    if cut and parsed.unfinished is not None:
        # The last block of a reply that was cut off may be missing its second digit, or its second thoughts.
        found.pop(parsed.unfinished, None)
    if generation.logprobs:
        for cell, mean in expected_scores(rubric, generation, order, scale).items():
            if cell in found and found[cell].score is not None:
                found[cell] = replace(found[cell], expected=mean)
    ratings = tuple([found.get(cell) or Rating(*cell, None) for cell in cells])
    key = call_key(judge, request) if key is None else key
    name = rubric_name(rubric)
    status = _status(generation, ratings)
    identity = annotation_id(key, name, f"{rubric.name}@{rubric.parser}")
    return Annotation(identity, instruction_id, judge, name, tuple(order), status, ratings, key)


def _checked(
    rubric: Rubric, parsed: Parsed, cells: Sequence[tuple[str, str]], scale: tuple[int, int]
) -> dict[tuple[str, str], Rating]:
    """Ratings by cell, once it is sure that they are of what was asked."""
    low, high = scale
    wanted = set(cells)
    found: dict[tuple[str, str], Rating] = {}
    for rating in parsed.ratings:
        cell, score = (rating.response_id, rating.aspect), rating.score
        if cell not in wanted or cell in found or (score is not None and not low <= score <= high):
            raise PluginError(
                f"rubric {rubric.name}: its parser gives {rating.aspect} = {rating.score} for response "
                f"{rating.response_id}, which was not asked for, is there twice, or is outside {low} to {high}; mend "
                "the parser, the reply is in the ledger"
            )
        found[cell] = rating
    return found


def _status(generation: Generation, ratings: Sequence[Rating]) -> AnnotationStatus:
    scored = len(ratings) - [rating.score for rating in ratings].count(None)
    if generation.finish in ("refused", "content_filter"):
        return "refused"
    if generation.finish == "length":
        return "truncated"
    if scored == len(ratings):
        return "ok"
    if scored:
        return "partial"
    return "refused" if declines(generation.text) else "unparsed"
