"""How records get their ids: a hash of what they are, equal on every machine.

An id is the first 32 hexadecimal digits of a SHA-256 and says of what: equal content gives an equal id.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from json.encoder import encode_basestring

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
    return hash_id("response", instruction, model, sampling_fields(sampling), text)


def annotation_id(call_key: str, rubric: str, parser: str) -> str:
    """Id of an annotation: a mended parser gives a new annotation of the same call."""
    return hash_id("annotation", call_key, rubric, parser)


def pair_id(chosen: str, rejected: str, strategy: str) -> str:
    """Id of a preference pair."""
    return hash_id("pair", chosen, rejected, strategy)


def request_json(request: Request) -> str:
    """The question as canonical JSON: what decides the reply and nothing else, pictures by hash."""
    # Put together by hand, to the last letter what the canonical encoder writes of the whole: rubric and schema are the
    # same in all questions of a run and are encoded once.
    parts = ",".join(
        f'["text",{encode_basestring(part.text or "")}]'
        if part.image is None
        else f'["image",{encode_basestring(part.image.sha256)}]'
        for part in request.parts
    )
    recipe = encode_basestring(request.recipe) if request.images else "null"
    sampling = _canonical(sampling_fields(request.sampling))
    rest = _shared_json(request.schema, request.system, request.top_logprobs)
    return f'{{"parts":[{parts}],"recipe":{recipe},"sampling":{sampling},{rest}'


@lru_cache(maxsize=256, typed=True)
def _shared_json(schema: str | None, system: str, top_logprobs: int | None) -> str:
    """The end of a question. No sampling here: 0 and 0.0 are equal, and yet not the same question."""
    return _canonical({"schema": schema, "system": system, "top_logprobs": top_logprobs})[1:]


def call_key(model: str, request: Request) -> str:
    """Key of a call, known before it is made.

    Endpoint, port, price, concurrency and purpose are no part of it: moving an endpoint buys nothing again.
    """
    return question_key(model, request_json(request))


def question_key(model: str, question: str) -> str:
    """The same, of a question that is canonical JSON already."""
    return hash_id("call", model, question)
