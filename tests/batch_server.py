"""A loopback endpoint with files, batches and live chat completions, which bills what it answers and logs it on disk.

Batches end after a fixed number of looks at them; of each, a share can be left unanswered as expired.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from servers import say

Body = dict[str, Any]


@dataclass
class BatchServer:
    """State of the endpoint.

    Attributes:
        looks: Looks at a batch before it has ended.
        expire: Whether a question is left unanswered, by its custom id.
        refuse: Words with which every batch fails its validation, if any.
        mangle: What becomes of a line of the output file, by its number.
        looked: The status of every look at a batch from now on, with nothing that is one, if not 0.
        lose_answer: How many batches are made without the client being told: the connection is cut instead.
        bad: Statuses with which the next requests are refused, by page: `files`, `batches` (one is made all the
            same where it is 5xx), `list`, `look` or `content`; with 200 comes a page of something else.
        short: How many times a file of answers lacks its last line, and how many lines of it are never there.
        queue: Batches that may be under way; a further one fails, if not 0.
        uploads: Most uploads at a time.
    """

    log: Path
    looks: int = 2
    expire: Callable[[str], bool] = lambda _: False
    refuse: str = ""
    mangle: Callable[[int, str], str] = lambda _, line: line
    lose_answer: int = 0
    looked: int = 0
    bad: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    short: tuple[int, int] = (0, 0)
    queue: int = 0
    uploads: int = 0
    uploading: int = 0
    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    batches: dict[str, Body] = field(default_factory=dict[str, Body])
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def lines(self, kind: str) -> list[Body]:
        """What was answered, `batch` or `live`."""
        rows = [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return [row for row in rows if row["kind"] == kind]

    def bought(self) -> Counter[str]:
        """How often each question was answered, by both ways."""
        return Counter(row["body"] for kind in ("batch", "live") for row in self.lines(kind))

    def answer(self, body: Body, kind: str) -> Body:
        """A completion, written down before it goes out."""
        with self.lock, self.log.open("a") as file:
            file.write(
                json.dumps({"kind": kind, "model": body["model"], "body": json.dumps(body, sort_keys=True)}) + "\n"
            )
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": say(body)}}
        return {"id": "c", "object": "chat.completion", "model": body["model"], "choices": [choice], "usage": usage}

    def content(self, name: str) -> bytes:
        """A file, perhaps without its end."""
        lines = self.files[name].split(b"\n")
        times, never = self.short
        self.short = (max(0, times - 1), never)
        return b"\n".join(lines[: len(lines) - (times > 0) - never])

    def make(self, asked: Body) -> Body:
        """A new batch."""
        with self.lock:
            name = f"batch_{len(self.batches) + 1}"
            self.batches[name] = {
                "id": name, "object": "batch", "endpoint": asked["endpoint"], "input_file_id": asked["input_file_id"],
                "completion_window": "24h", "status": "validating" if self.refuse else "in_progress", "created_at": 1,
                "metadata": asked.get("metadata"), "left": self.looks,
            }  # fmt: skip
            if self.queue and sum(one["status"] == "in_progress" for one in self.batches.values()) > self.queue:
                words = "Enqueued token limit reached for m. Please try again once some batches have been completed."
                errors = {"object": "list", "data": [{"code": "token_limit_exceeded", "message": words}]}
                self.batches[name] |= {"status": "failed", "errors": errors}
            return self.batches[name]

    def look(self, name: str) -> Body:
        """A batch as it stands; it ends after some looks."""
        batch = self.batches[name]
        if batch["left"] > 0:
            batch["left"] -= 1
        elif batch["status"] in ("in_progress", "validating"):
            self._end(batch)
        return batch

    def _end(self, batch: Body) -> None:
        if self.refuse:
            batch["status"] = "failed"
            batch["errors"] = {"object": "list", "data": [{"code": "bad", "message": self.refuse}]}
            return
        done: list[str] = []
        left: list[str] = []
        for line in self.files[batch["input_file_id"]].decode().splitlines():
            row = json.loads(line)
            if self.expire(row["custom_id"]):
                left.append(
                    json.dumps({"custom_id": row["custom_id"], "response": None, "error": {"code": "batch_expired"}})
                )
                continue
            reply = {"status_code": 200, "request_id": "r", "body": self.answer(row["body"], "batch")}
            line = {"id": "x", "custom_id": row["custom_id"], "response": reply, "error": None}
            done.append(self.mangle(len(done), json.dumps(line, ensure_ascii=False)))
        for kind, lines in (("output_file_id", done), ("error_file_id", left)):
            if lines:
                self.files[f"{batch['id']}_{kind}"] = "\n".join(reversed(lines)).encode()
                batch[kind] = f"{batch['id']}_{kind}"
        batch["status"] = "expired" if left else "completed"


class _Handler(BaseHTTPRequestHandler):
    state: BatchServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def _send(self, body: Body | bytes, status: int = 200) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _refused(self, page: str) -> bool:
        status = self.state.bad[page].pop(0) if self.state.bad.get(page) else 0
        if status:
            refusal = {"error": {"message": "not now", "code": "rate_limit_exceeded"}}
            data = b"<html>We are back in a minute.</html>" if status == 200 else json.dumps(refusal).encode()
            self.send_response(status)
            self.send_header("Retry-After", "0.1")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        return status > 0

    def _take_time(self) -> None:
        with self.state.lock:
            self.state.uploading += 1
            self.state.uploads = max(self.state.uploads, self.state.uploading)
        time.sleep(0.2)
        with self.state.lock:
            self.state.uploading -= 1

    def do_GET(self) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")[1:]
        if parts[0] == "files" and parts[-1] == "content":
            if self._refused("content"):
                return
            self._send(self.state.content(parts[1]))
        elif parts == ["batches"]:
            if not self._refused("list"):
                self._send({"object": "list", "data": list(self.state.batches.values()), "has_more": False})
        elif parts[0] == "batches" and self.state.looked:
            self._send(b"<html>" if self.state.looked == 200 else {"error": {"message": "no such"}}, self.state.looked)
        elif parts[0] == "batches":
            if not self._refused("look"):
                self._send(self.state.look(parts[1]))
        else:
            self._send({"error": {"message": "no such page"}}, 404)

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        path = self.path.split("/v1/")[1]
        if path == "files":
            self._take_time()
            if self._refused("files"):
                return
            boundary = self.headers["Content-Type"].split("boundary=")[1].strip('"').encode()
            part = next(one for one in data.split(b"--" + boundary) if b"filename=" in one)
            with self.state.lock:
                name = f"file_{len(self.state.files) + 1}"
                self.state.files[name] = part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
            self._send({"id": name, "object": "file", "bytes": len(data), "created_at": 1, "filename": "x",
                        "purpose": "batch", "status": "processed"})  # fmt: skip
        elif path == "batches":
            if self.state.bad.get("batches", [500])[:1] < [500] and self._refused("batches"):
                return
            batch = self.state.make(json.loads(data))
            if self._refused("batches"):
                return
            if self.state.lose_answer:
                self.state.lose_answer -= 1
                self.close_connection = True
                self.connection.close()
                return
            self._send(batch)
        else:
            self._send(self.state.answer(json.loads(data), "live"))


def _handler(server: BatchServer) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (_Handler,), {"state": server})


@contextlib.contextmanager
def serve_batches(log: Path, **options: Any) -> Iterator[BatchServer]:
    """Run the endpoint in threads of this process."""
    server = BatchServer(log, **options)
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    http.daemon_threads = True
    server.port = http.server_address[1]
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
