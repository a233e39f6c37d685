"""The pocket judge: an endpoint that speaks the OpenAI chat-completions protocol and knows the truth of every scene.

It receives what a judge of GPT-4V's class would receive, a rubric, a picture as a data URL, an instruction and several
texts, finds the scene from the pixels, rates each text and answers in the grammar that was asked for. Start one with
`serve`, or `python -m vlfeedback.pocket.oracle --port 8700 --noise 0.5`.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vlfeedback.errors import ModelUnavailable
from vlfeedback.pocket._oracle_faults import REFUSAL, Options, break_reply, disturb, draws
from vlfeedback.pocket._oracle_ratings import blind, rate
from vlfeedback.pocket._oracle_wire import BadQuestion, Question, Verdict, open_picture, read_question, write_reply
from vlfeedback.pocket.scenes import Scene, read

__all__ = ["Options", "Reply", "app", "judge", "serve"]

STARTS_WITHIN = 60.0
"""Seconds that a judge in a process of its own may take to come up."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the judge says to one request.

    Attributes:
        text: The content of the message.
        refusal: Whether it is a refusal, flagged as such.
        finish: `stop`, or `length` where the request allows no more tokens.
        tokens: Of question and reply, estimated.
    """

    text: str
    refusal: bool
    finish: str
    tokens: tuple[int, int]


def judge(body: bytes, options: Options | None = None) -> Reply:
    """Judge one request; a pure function of its body and the options.

    Args:
        body: JSON of a chat-completions request.
        options: What is wrong with the judge; nothing if left out.
    Raises:
        BadQuestion: the request cannot be judged.
    """
    chosen = options or Options()
    try:
        asked: Any = json.loads(body)
    except ValueError as error:
        raise BadQuestion(f"the body is no JSON: {error}") from error
    if not isinstance(asked, dict):
        raise BadQuestion("the body is no JSON object")
    request = cast("dict[str, Any]", asked)
    question = read_question(request)
    chance = draws(chosen, body)
    if chance.random() < chosen.refusing:
        return Reply(REFUSAL, chance.random() < 0.5, "stop", (question.tokens, 10))
    text = write_reply(question, disturb(question, _verdicts(question, chosen), chosen, chance))
    if chance.random() < chosen.malformed:
        text = break_reply(text, chance)
    most = request.get("max_tokens") or request.get("max_completion_tokens")
    finish = "stop"
    if isinstance(most, int) and len(text) > 4 * most:
        text, finish = text[: 4 * most], "length"
    return Reply(text, False, finish, (question.tokens, len(text) // 4 + 1))


def _verdicts(question: Question, options: Options) -> list[dict[str, Verdict]]:
    scene = None if options.blind or question.picture is None else _scene(question.picture)
    verdicts: list[dict[str, Verdict]] = []
    for text in question.texts:
        marks = blind(question.instruction, text) if scene is None else rate(question.instruction, scene, text)
        verdicts.append({aspect: Verdict(*marks.on(aspect)) for aspect in question.aspects})
    return verdicts


@lru_cache(maxsize=4096)
def _scene(picture: bytes) -> Scene:
    return read(open_picture(picture))


def app(options: Options | None = None) -> Starlette:
    """The judge as an ASGI application."""
    chosen = options or Options()
    asked = 0

    async def models(_request: HttpRequest) -> Response:
        entry = {"id": chosen.model, "object": "model", "created": 0, "owned_by": "vlfeedback"}
        return JSONResponse({"object": "list", "data": [entry]})

    async def completions(request: HttpRequest) -> Response:
        nonlocal asked
        asked += 1
        body = await request.body()
        if chosen.key and request.headers.get("authorization") != f"Bearer {chosen.key}":
            return _error(401, "the API key is wrong", "invalid_api_key")
        if chosen.rate_limit and asked % chosen.rate_limit == 0:
            headers = {"retry-after": f"{chosen.retry_after:g}"}
            return _error(429, "too many requests", "rate_limit_exceeded", headers)
        if chosen.latency:
            await asyncio.sleep(chosen.latency * (0.5 + draws(chosen, body).random()))
        try:
            reply = judge(body, chosen)
        except BadQuestion as error:
            return _error(400, str(error), "invalid_request_error")
        if chosen.log:
            with Path(chosen.log).open("a", encoding="utf-8") as log:
                log.write(f"{hashlib.sha256(body).hexdigest()}\n")
        return JSONResponse(_completion(body, reply, chosen))

    return Starlette(
        routes=[
            Route("/v1/models", models),
            Route("/v1/chat/completions", completions, methods=["POST"]),
        ]
    )


def _completion(body: bytes, reply: Reply, options: Options) -> dict[str, Any]:
    message = {
        "role": "assistant",
        "content": None if reply.refusal else reply.text,
        "refusal": reply.text if reply.refusal else None,
    }
    entered, left = reply.tokens
    return {
        "id": f"chatcmpl-{hashlib.sha256(body).hexdigest()[:24]}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": options.model,
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish, "logprobs": None}],
        "usage": {"prompt_tokens": entered, "completion_tokens": left, "total_tokens": entered + left},
    }


def _error(status: int, words: str, code: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"message": words, "type": code, "code": code}}, status, headers)


@contextmanager
def serve(port: int = 0, options: Options | None = None, *, own_process: bool = True) -> Generator[str, None, None]:
    """Serve the judge on loopback for the length of a block.

    Args:
        port: 0 for any that is free.
        options: What is wrong with the judge.
        own_process: Run it beside this process, so that it has a core to itself; it ends with this process, however
            that ends. Otherwise it runs in a thread, which starts faster.
    Yields:
        The base URL, up to and with `/v1`.
    Raises:
        ModelUnavailable: it did not come up.
    """
    chosen = options or Options()
    with _process(port, chosen) if own_process else _thread(port, chosen) as url:
        yield url


@contextmanager
def _process(port: int, options: Options) -> Generator[str, None, None]:
    command = [sys.executable, "-m", "vlfeedback.pocket.oracle", "--port", str(port), "--until-stdin-ends"]
    child = subprocess.Popen([*command, *_flags(options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stop = threading.Timer(STARTS_WITHIN, child.kill)
    stop.start()
    try:
        assert child.stdout is not None
        url = child.stdout.readline().strip()
        stop.cancel()
        if not url:
            raise ModelUnavailable(f"the pocket judge did not come up on port {port}; is another one running there?")
        yield url
    finally:
        stop.cancel()
        child.terminate()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()
        child.wait(10)


@contextmanager
def _thread(port: int, options: Options) -> Generator[str, None, None]:
    listening = _listen(port)
    server = _server(options)
    thread = threading.Thread(target=server.run, args=([listening],), name="vlfeedback-oracle", daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + STARTS_WITHIN
        while not server.started:
            if time.monotonic() > deadline or not thread.is_alive():
                raise ModelUnavailable("the pocket judge did not come up")
            time.sleep(0.01)
        yield _url(listening)
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


def _listen(port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        listening.close()
        raise ModelUnavailable(f"the pocket judge cannot listen on port {port}: {error}; choose another") from error
    listening.listen(2048)
    return listening


def _url(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}/v1"


def _server(options: Options) -> Any:
    import uvicorn

    config = uvicorn.Config(app(options), log_level="error", access_log=False, lifespan="off", timeout_keep_alive=60)
    return uvicorn.Server(config)


def _flags(options: Options) -> list[str]:
    flags: list[str] = []
    for field in fields(Options):
        value = getattr(options, field.name)
        if value != field.default:
            flags += [f"--{field.name.replace('_', '-')}", *([] if field.type == "bool" else [str(value)])]
    return flags


def _options(arguments: argparse.Namespace) -> Options:
    return Options(**{field.name: getattr(arguments, field.name) for field in fields(Options)})


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the judge until interrupted; the first line on stdout is its base URL."""
    parser = argparse.ArgumentParser(prog="python -m vlfeedback.pocket.oracle", description="The pocket judge.")
    parser.add_argument("--port", type=int, default=8700)
    parser.add_argument("--until-stdin-ends", action="store_true", help="end when whoever started it does")
    kinds = {"float": float, "int": int, "str": str}
    for field in fields(Options):
        flag = f"--{field.name.replace('_', '-')}"
        if field.type == "bool":
            parser.add_argument(flag, action="store_true")
        else:
            assert field.default is not MISSING
            parser.add_argument(flag, type=kinds[str(field.type)], default=field.default)
    given = parser.parse_args(arguments)
    listening = _listen(given.port)
    server = _server(_options(given))
    if given.until_stdin_ends:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    print(_url(listening), flush=True)
    server.run([listening])


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
