"""What an endpoint refuses: no answer where it is about the key, and askable again where it was not the question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import world
from servers import serve

from vlfeedback.ledger import Ledger

KEY = [{"error": {"code": 400, "message": "API key not valid.", "details": [{"reason": "API_KEY_INVALID"}]}}]
OTHER: dict[str, Any] = {"error": {"message": "this model takes no top_p", "code": 400}}


def kept_refusals(run: Path) -> int:
    with Ledger.open(run / "ledger.sqlite", write=False) as ledger:
        return sum(call.state == "done" and call.generation.error == "bad_request" for call in ledger.calls())  # type: ignore[union-attr]


@pytest.mark.parametrize("refusal", [KEY, OTHER], ids=["a wrong key", "a wrong setting"])
def test_what_is_about_everything_stops_the_run_and_is_asked_again(refusal: Any, tmp_path: Path) -> None:
    world.draw(tmp_path, 60)
    with serve(tmp_path / "log", every={1: "400"}, refusal=refusal) as server:
        run, toml = tmp_path / "run", world.settings(tmp_path, server.url)
        said = world.call("run", toml, "--out", run, "--to", "decode", code=1)
        assert refusal[0]["error"]["message"] in said if isinstance(refusal, list) else "takes no top_p" in said
        assert kept_refusals(run) == 0
        server.every.clear()
        done = world.collect(run)
    assert done["rooms"][1]["kept"] == 60 * 4


def test_what_was_refused_is_said_and_can_be_asked_again(tmp_path: Path) -> None:
    world.draw(tmp_path, 12)
    with serve(tmp_path / "log", every={7: "400"}, refusal=OTHER) as server:
        run, toml = tmp_path / "run", world.settings(tmp_path, server.url)
        process = world.start("run", toml, "--out", run, "--to", "decode")
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0
        assert "question: status 400: this model takes no top_p" in err and "--ask-again" in err
        refused = kept_refusals(run)
        assert refused == 48 // 7
        server.every.clear()
        before = len(server.served())
        world.call("run", run, "--to", "decode")
        assert len(server.served()) == before
        done = world.collect(run, "--ask-again")
        assert len(server.served()) == before + refused + 12
    assert done["rooms"][1]["kept"] == 48
    assert kept_refusals(run) == 0
