"""A cluster's library may put its own handlers in place of ours; ours come back, all of them."""

from __future__ import annotations

import signal
import sys
import threading
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vlfeedback import _flow_signals as signals, config, flow
from vlfeedback.errors import ModelUnavailable
from vlfeedback.run_folder import RunFolder
from vlfeedback.scale import _cluster


def take_all(*_: Any, **__: Any) -> None:
    for number in signals.ALL:
        signal.signal(number, signal.SIG_DFL)


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in signals.ALL]


def test_all_are_those_that_drain_a_command() -> None:
    before = handlers()
    with flow.draining_on_interrupt():
        mine = handlers()
        assert all(one not in (signal.SIG_DFL, *before) for one in mine)
        with signals.kept():
            take_all()
        assert handlers() == mine
    assert handlers() == before


def test_joining_a_cluster_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: Any) -> None:
        take_all()
        raise ConnectionError("nobody is there")

    fake: Any = ModuleType("ray")
    fake.__spec__ = ModuleSpec("ray", None)
    fake.init, fake.is_initialized = init, lambda: False
    monkeypatch.setitem(sys.modules, "ray", fake)
    run = RunFolder.create(tmp_path / "run", config.parse({}, "test"))
    with flow.draining_on_interrupt():
        mine = handlers()
        with pytest.raises(ModelUnavailable, match="nobody is there"), _cluster.engine(run):
            pass
        assert handlers() == mine


def test_another_thread_sets_none() -> None:
    problems: list[BaseException] = []

    def run() -> None:
        try:
            with signals.kept():
                pass
        except ValueError as problem:
            problems.append(problem)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not problems
