"""How records get their ids: a hash of what they are, equal on every machine.

An id is the first 32 hexadecimal digits of a SHA-256 and says of what: equal content gives an equal id.
"""

from __future__ import annotations

import hashlib
import json

from vlfeedback.compact import compact
from vlfeedback.records import Image, Request, Sampling

_canonical = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode
_ALIKE = frozenset({str, type(None)})
"""What the fast encoder writes to the last byte as the canonical one does; numbers are not among it."""


def hash_id(kind: str, *parts: object) -> str:
    """Hash a list of JSON values into an id.

    Args:
        kind: What is hashed, so that equal parts of two kinds of record never share an id.
        parts: JSON values: text, numbers, booleans, None, and lists or tuples of them.
    Returns:
        32 hexadecimal digits (128 bits).
    """
    if _ALIKE.issuperset(map(type, parts)):
        return hashlib.sha256(compact([kind, *parts])).hexdigest()[:32]
    text = _canonical([kind, *parts])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def instruction_id(prompt: str, images: tuple[Image, ...]) -> str:
    """Id of an instruction: its prompt and the ordered hashes of its pictures, wherever they lie."""
    return hash_id("instruction", prompt, [image.sha256 for image in images])


def sampling_fields(sampling: Sampling | None) -> list[object] | None:
    """Sampling as a list of JSON values in a fixed order, for hashing."""
    if sampling is None:
        return None
    return [sampling.temperature, sampling.top_p, sampling.max_tokens, sampling.seed, sampling.sample_index]


def response_id(instruction: str, model: str, sampling: Sampling | None, text: str) -> str:
    """Id of a response; the text is part of it, so that a rating can never land on another text."""
    if sampling is None:
        return hash_id("response", instruction, model, None, text)
    before, after = compact(["response", instruction, model]), compact(text)
    whole = b"%b,%b,%b]" % (before[:-1], _sampling_json(sampling).encode(), after)
    return hashlib.sha256(whole).hexdigest()[:32]  # what `hash_id` gives, without its slower encoder


def annotation_id(call_key: str, rubric: str, parser: str) -> str:
    """Id of an annotation: a mended parser gives a new annotation of the same call."""
    return hash_id("annotation", call_key, rubric, parser)


def pair_id(chosen: str, rejected: str, strategy: str) -> str:
    """Id of a preference pair."""
    return hash_id("pair", chosen, rejected, strategy)


def request_json(request: Request) -> str:
    """The question as canonical JSON: what decides the reply and nothing else, pictures by hash."""
    parts = [["image", part.image.sha256] if part.image else ["text", part.text] for part in request.parts]
    texts = [parts, request.recipe if request.images else None, request.schema, request.system]
    top = request.top_logprobs
    said, recipe, schema, system = (compact(one).decode("utf-8", "surrogatepass") for one in texts)
    return (  # keys in their order, as the canonical encoder has them
        f'{{"parts":{said},"recipe":{recipe},"sampling":{_sampling_json(request.sampling)},"schema":{schema},'
        f'"system":{system},"top_logprobs":{"null" if top is None else _canonical(top)}}}'
    )


class _Last:
    """The sampling that was written last: nearly all questions of a run share one object."""

    written: tuple[Sampling, str] | None = None


def _sampling_json(sampling: Sampling) -> str:
    last = _Last.written
    if last is None or last[0] is not sampling:  # an equal one may have 1 for 1.0, which is another text
        last = _Last.written = (sampling, _canonical(sampling_fields(sampling)))
    return last[1]


def call_key(model: str, request: Request) -> str:
    """Key of a call, known before it is made.

    Endpoint, port, price, concurrency and purpose are no part of it: moving an endpoint buys nothing again.
    """
    return question_key(model, request_json(request))


def question_key(model: str, question: str) -> str:
    """The same, of a question that is canonical JSON already."""
    return hash_id("call", model, question)
