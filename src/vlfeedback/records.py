"""The records that flow from room to room; how each gets its id stands in `ids`.

Every record is frozen and typed, holds no free dictionary, and never holds the bytes of a picture.
"""

from __future__ import annotations

from dataclasses import dataclass

from vlfeedback._records_words import (
    ANSWERED as ANSWERED,
    ASKED_AGAIN as ASKED_AGAIN,
    CUT_OFF as CUT_OFF,
    REASONS as REASONS,
    AnnotationStatus as AnnotationStatus,
    CallState as CallState,
    Choice as Choice,
    Conduct as Conduct,
    ErrorClass as ErrorClass,
    Finish as Finish,
    ItemState as ItemState,
    Purpose as Purpose,
    Reason as Reason,
    Room as Room,
    Split as Split,
)


@dataclass(frozen=True, slots=True)
class Image:
    """A picture by its content; its bytes stay on disk.

    Attributes:
        sha256: 64 hexadecimal digits of the file's bytes, or `uri:` + 32 digits where hashing was declined on import.
        uri: `root:relative/path`, the root being a name of `[images]` in run.toml.
        width: Pixels after the EXIF orientation is applied; 0 where the file was not opened.
        height: Pixels, likewise.
    """

    sha256: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Instruction:
    """A prompt and its pictures, from one source.

    Attributes:
        id: `instruction_id(prompt, images)`.
        source: Name of the source it was first read from.
        category: The source's own word for its kind, empty if none.
        conduct: What a good model does with it, where that is known.
        split: Side of the picture (law 6).
        reference: A known good answer, where the source has one; never shown to the pool.
    """

    id: str
    prompt: str
    images: tuple[Image, ...]
    source: str
    category: str = ""
    conduct: Conduct | None = None
    split: Split = "train"
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a model is asked to choose its words.

    Attributes:
        temperature: ≥ 0; 0 is greedy.
        top_p: Nucleus, in (0, 1].
        max_tokens: Upper bound of the reply, tokens.
        seed: Sent to backends that take one; None leaves it out.
        sample_index: Distinguishes repeated questions; 0 for the first.
    """

    temperature: float = 0.7
    top_p: float = 1.0
    max_tokens: int = 1024
    seed: int | None = None
    sample_index: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a user message: exactly one of text and picture."""

    text: str | None = None
    image: Image | None = None

    def __post_init__(self) -> None:
        if (self.text is None) == (self.image is None):
            raise ValueError("a part is a text or an image, and never both")


@dataclass(frozen=True, slots=True)
class Request:
    """A question to a model.

    Attributes:
        system: System message, empty for none.
        parts: The user message, in the order the model shall see it.
        schema: JSON schema of the wanted reply as JSON text, or None for free text.
        top_logprobs: Ask for that many alternatives per token, 1 to 20.
        purpose: For accounts and displays; not part of the question.
        recipe: How pictures are prepared for sending (see `images.prepare`); part of the question.
    """

    system: str
    parts: tuple[Part, ...]
    sampling: Sampling
    schema: str | None = None
    top_logprobs: int | None = None
    purpose: Purpose = "decode"
    recipe: str = "original"

    @property
    def images(self) -> tuple[Image, ...]:
        """Pictures of the message, in order."""
        return tuple([part.image for part in self.parts if part.image is not None])


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call as the endpoint counted them; `cached`, `image` ⊆ `input`, `reasoning` ⊆ `output`."""

    input: int = 0
    output: int = 0
    cached: int = 0
    image: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """One token of a reply with its alternatives, natural logarithms."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """What a model call gave, before it is a record.

    Attributes:
        text: The reply, exactly as received.
        reasoning: Text the model marked as thinking, kept apart from the reply.
        finish: `error` if and only if there is no reply; then `error` and `detail` say why.
        detail: The endpoint's words about an error or a refusal.
        retry_after: Seconds the endpoint asked us to wait, if it did.
        provider_id: The endpoint's id of the call.
        latency: Seconds from sending to the last byte.
        raw: The endpoint's body as text, for the ledger; empty for local models.
        sent: How often the question was sent, retries included.
        unsure: How many of these may have been served and billed although no whole reply came (time-out, reset).
    """

    text: str
    finish: Finish
    reasoning: str | None = None
    error: ErrorClass | None = None
    detail: str = ""
    retry_after: float | None = None
    usage: Usage = Usage()
    logprobs: tuple[TokenLogprobs, ...] | None = None
    provider_id: str = ""
    latency: float = 0.0
    raw: str = ""
    sent: int = 1
    unsure: int = 0

    def __post_init__(self) -> None:
        if (self.finish == "error") != (self.error is not None):
            raise ValueError("finish is 'error' if and only if an error class is given")

    @property
    def answered(self) -> bool:
        """Whether this settles the question for good, so that the ledger never asks it again."""
        return self.error not in ASKED_AGAIN


@dataclass(frozen=True, slots=True)
class Call:
    """A row of the ledger.

    Attributes:
        key: `call_key(model, request)`.
        model: Declared identity.
        request: The question as canonical JSON, pictures by hash.
        generation: The reply; None while only the intent is known.
        cost: Price of the reply, or the reserved upper bound while `state` is `intent`; in the price table's currency.
        attempts: How often it was sent.
        created: Seconds since 1970 of the first intent.
        finished: Seconds since 1970 of the last reply, or None.
    """

    key: str
    model: str
    request: str
    purpose: Purpose
    generation: Generation | None
    cost: float
    state: CallState
    attempts: int
    created: float
    finished: float | None


@dataclass(frozen=True, slots=True)
class Response:
    """A recorded answer of a pool model. `sampling` is None where it is unknown (imports)."""

    id: str
    instruction_id: str
    model: str
    text: str
    finish: Finish
    sampling: Sampling | None = None
    call_key: str = ""


@dataclass(frozen=True, slots=True)
class Rating:
    """One aspect of one response.

    Attributes:
        score: On the rubric's scale, or None where the judge gave none.
        expected: Mean score under the judge's own token probabilities, where asked for.
    """

    response_id: str
    aspect: str
    score: int | None
    rationale: str = ""
    expected: float | None = None


@dataclass(frozen=True, slots=True)
class Annotation:
    """One judge reply on the responses of one instruction.

    Attributes:
        order: Response ids in the order in which the judge saw them; None where unknown (imports).
    """

    id: str
    instruction_id: str
    judge: str
    rubric: str
    order: tuple[str, ...] | None
    status: AnnotationStatus
    ratings: tuple[Rating, ...]
    call_key: str


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two responses to one instruction, the better one first.

    Attributes:
        margin: Difference of mean ratings in rating points; None where the origin has no ratings.
        weight: Factor of the pair's loss, ≥ 0.
    """

    id: str
    instruction_id: str
    chosen_id: str
    rejected_id: str
    margin: float | None
    strategy: str
    weight: float = 1.0
    annotation_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """An instruction with everything known of it; an all-tied group stays a group."""

    instruction: Instruction
    responses: tuple[Response, ...]
    ratings: tuple[Rating, ...]
    pairs: tuple[PreferencePair, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's reply to one benchmark item.

    Attributes:
        cluster: Items of one cluster are not independent (the questions on one picture).
        stratum: Part of the benchmark that is summed on its own (an MME subtask).
        text: Empty if `finish` is `error`: then there is no reply.
    """

    benchmark: str
    item_id: str
    cluster: str
    stratum: str
    model: str
    text: str
    finish: Finish
    call_key: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge said of one answer to a benchmark's item, before anything reads it.

    Attributes:
        run: 0 for the first judgement of an answer, 1 for its repetition, and so on.
        attempts: How often it was asked, because the replies before the last could not be read; ≥ 1.
        text: Empty if `finish` is `error`: then there is no reply.
        time: Seconds since 1970 of the reply; 0 if unknown.
    """

    answer: Answer
    protocol: str
    judge: str
    run: int
    attempts: int
    text: str
    finish: Finish
    call_key: str = ""
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class ItemScore:
    """One metric of one answer under a named protocol.

    Attributes:
        value: None where `state` is `failed`: a reply that does not exist is never scored. An unreadable reply has the
            value that the protocol gives it, or None.
        time: Of the judge's last reply, seconds since 1970.
    """

    answer: Answer
    protocol: str
    metric: str
    value: float | None
    state: ItemState
    judge: str | None = None
    time: float | None = None

    def __post_init__(self) -> None:
        if self.state == "failed" and self.value is not None:
            raise ValueError("a reply that does not exist is never scored")


@dataclass(frozen=True, slots=True)
class Score:
    """A benchmark result of one model with its 95 % interval; None where too few units allow one."""

    benchmark: str
    protocol: str
    metric: str
    value: float
    ci_low: float | None
    ci_high: float | None
    n: int
    n_unparsable: int
    n_failed: int
    model: str
    judge: str | None = None
    time: float | None = None


@dataclass(frozen=True, slots=True)
class Vote:
    """A person's choice between two responses shown without names."""

    instruction_id: str
    left_id: str
    right_id: str
    choice: Choice
    voter: str
    time: float


@dataclass(frozen=True, slots=True)
class Dropped:
    """A record that a room did not hand on: where, which, a reason from the closed list, and free detail."""

    room: Room
    record_id: str
    reason: Reason
    detail: str = ""

    def __post_init__(self) -> None:
        if self.reason not in REASONS:
            raise ValueError(f"{self.reason!r} is not a reason of the closed list in records.py")
