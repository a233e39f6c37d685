"""A killed run goes on where it was: what is settled is neither asked, nor read from the ledger, nor parsed again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from vlfeedback import annotate, config, decode, pipeline, run_folder, tables
from vlfeedback.decode import _slots
from vlfeedback.records import Annotation, Response
from vlfeedback.run_folder import RunFolder

COUNT = 40
SIZE = 4
KILLED_AT = 25
"""Judgements after which the process kills itself."""

MORTAL = """
import os, signal
from vlfeedback.models import scripted

class Mortal:
    identity, hosts, left = "mortal:judge", (), int(os.environ.get("LEFT", 10**9))

    def __init__(self):
        self.inner = scripted.load(model="judge", replies=[REPLY])

    async def answer(self, request):
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return await self.inner.answer(request)

def load(): return Mortal()

class Mended:
    def __init__(self):
        from vlfeedback.annotate import vlfeedback
        self.inner = vlfeedback.load()
    def __getattr__(self, name):
        return "mended" if name == "parser" else getattr(self.inner, name)

def mended(): return Mended()

class Flaky:
    identity, hosts, out = "flaky", (), False

    async def answer(self, request):
        from vlfeedback.records import Generation
        if Flaky.out and "sign 7 " in request.parts[-1].text:
            return Generation("", "error", error="timeout")
        return Generation("tried", "stop")

def flaky(): return Flaky()

REPLY = """
KILLED = f"""
import sys
from vlfeedback import run_folder
run_folder.SIZE = {SIZE}
from vlfeedback.cli import main
main()
"""


def reply() -> str:
    return "\n".join(
        f"#### {aspect} Assessment\n"
        + "\n".join(f"##### Output for Text {text}\nRating: {text}\nRationale: {text}." for text in (1, 2, 3, 4))
        for aspect in ("Helpfulness", "Ethical Considerations", "Visual Faithfulness")
    )


class World(NamedTuple):
    """A folder with settings, and the environment in which the judge can be imported."""

    folder: Path
    environment: dict[str, str]

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def call(self, *arguments: object, code: str = "", **more: str) -> int:
        """`vlfeedback run … --to pair` in a process of its own."""
        start = [sys.executable, *(["-c", code] if code else ["-m", "vlfeedback"])]
        command = [*start, "run", *map(str, arguments), "--to", "pair", "--allow-plugins", "--json"]
        done = subprocess.run(command, env={**self.environment, **more}, capture_output=True, text=True, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.returncode


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A run that was killed while it judged; copied by each test."""
    folder = tmp_path_factory.mktemp("killed")
    rows = (json.dumps({"id": str(n), "prompt": f"What does sign {n} say?"}) for n in range(COUNT))
    (folder / "instructions.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (folder / "mortal.py").write_text(MORTAL + repr(reply()) + "\n", encoding="utf-8")
    pool = "".join(f'[[pool]]\nuse = "scripted"\nmodel = "m{n}"\nreplies = ["{n}"]\n\n' for n in range(4))
    (folder / "run.toml").write_text(
        f'[[source]]\nuse = "jsonl"\npath = "{folder}/instructions.jsonl"\n\n{pool}[decode]\nin_flight = 2\n\n'
        '[[judge]]\nuse = "mortal:load"\n\n[annotate]\nin_flight = 2\n',
        encoding="utf-8",
    )
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    world = World(folder, {**os.environ, "PYTHONPATH": path})
    assert world.call(folder / "run.toml", "--out", folder / "calm") == 0
    assert world.call(folder / "run.toml", "--out", world.run, code=KILLED, LEFT=str(KILLED_AT)) == -signal.SIGKILL
    return world


@pytest.fixture
def left(killed: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the killed run has left behind."""
    monkeypatch.syspath_prepend(str(killed.folder))
    monkeypatch.setattr(run_folder, "SIZE", SIZE)
    shutil.copytree(killed.run, tmp_path / "run")
    return tmp_path / "run"


class Work(NamedTuple):
    """What a run did: calls made and reused, replies of the pool and of the judge that were read."""

    made: int
    reused: int
    decoded: int
    parsed: int


def resume(run: Path, monkeypatch: pytest.MonkeyPatch, *, last: str = "pair", **changes: object) -> Work:
    """Go on in this process, and count."""
    count: Counter[str] = Counter()

    def counting(name: str, inner: object) -> object:
        def counted(*arguments: object, **options: object) -> object:
            count[name] += 1
            return inner(*arguments, **options)  # type: ignore[operator]

        return counted

    with monkeypatch.context() as patch:
        patch.setattr(decode, "read", counting("decoded", _slots.read))
        patch.setattr(_slots, "read", decode.read)
        patch.setattr(annotate, "read_reply", counting("parsed", annotate.read_reply))
        assigned = {name.replace("__", "."): value for name, value in changes.items()}
        settings = config.changed(config.load(run / "run.toml"), assigned)
        done = pipeline.run_rooms(RunFolder.create(run, settings), last=last, allow_plugins=True)
    return Work(done.calls_made, done.calls_reused, count["decoded"], count["parsed"])


def digests(run: Path) -> dict[str, str]:
    names = ("responses", "annotations", "pairs")
    return {name: tables.info(run / f"{name}.parquet").digest for name in names}


def test_only_what_was_under_way_is_made_again(killed: World, left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not (left / "responses.parquet").exists()
    assert list(left.glob(".*.part"))
    work = resume(left, monkeypatch)
    assert work.made <= COUNT - KILLED_AT + 4
    assert work.made + work.reused == 5 * COUNT
    assert work.parsed <= COUNT - KILLED_AT + SIZE + 2
    assert work.decoded <= 4 * (COUNT - KILLED_AT + SIZE + 4)
    assert digests(left) == digests(killed.folder / "calm")
    assert not (left / ".parts").exists()
    assert not list(left.rglob(".*.part")), "what the kill left of the tables is of no use"
    assert resume(left, monkeypatch) == (0, 0, 0, 0)


def test_what_is_answered_and_not_judged_is_judged(killed: World, left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(left / ".parts" / "annotations")
    work = resume(left, monkeypatch)
    assert work.parsed == COUNT
    assert work.decoded < 2 * COUNT
    assert digests(left) == digests(killed.folder / "calm")


def test_judgements_without_their_responses_are_not_taken(
    killed: World, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(left / ".parts" / "responses")
    work = resume(left, monkeypatch)
    assert (work.decoded, work.parsed) == (4 * COUNT, COUNT)
    assert digests(left) == digests(killed.folder / "calm")


def test_an_edited_parser_reads_every_judgement_again_and_no_response(
    killed: World, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = resume(left, monkeypatch, annotate__rubric="mortal:mended")
    assert work.made <= COUNT - KILLED_AT + 4
    assert work.parsed == COUNT
    assert work.decoded < 4 * COUNT
    calm = digests(killed.folder / "calm")
    assert digests(left)["responses"] == calm["responses"]
    assert digests(left)["annotations"] != calm["annotations"]


def test_an_edited_pair_rule_takes_all_over(killed: World, left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = resume(left, monkeypatch, pair__use="best_worst")
    assert work.parsed < COUNT
    assert digests(left)["annotations"] == digests(killed.folder / "calm")["annotations"]


def test_other_settings_of_the_pool_take_nothing_over(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = resume(left, monkeypatch, decode__temperature=0.5)
    assert work.made >= 4 * COUNT
    assert (work.decoded, work.parsed) == (4 * COUNT, COUNT)


def test_judging_alone_goes_on_too(killed: World, left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode is brought to its end by itself; the judgements of the killed run are still of its responses."""
    resume(left, monkeypatch, last="decode")
    work = resume(left, monkeypatch)
    assert (work.decoded, work.parsed < COUNT) == (0, True)
    assert digests(left) == digests(killed.folder / "calm")


def test_judgements_of_other_responses_are_not_taken(
    killed: World, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table of responses says it is of the same settings, but it holds other texts."""
    resume(left, monkeypatch, last="decode")
    path = left / "responses.parquet"
    inputs = tables.info(path).inputs
    rows = [
        Response(f"{row.id[:-1]}x", row.instruction_id, row.model, row.text, row.finish, row.sampling, row.call_key)
        for row in tables.read(path, Response)
    ]
    tables.write(path, Response, rows, room="decode", inputs=inputs)
    resume(left, monkeypatch, last="annotate")
    known = {row.id for row in rows}
    assert all(known.issuperset(row.order or ()) for row in tables.read(left / "annotations.parquet", Annotation))


def test_one_slot_that_is_still_to_come_costs_one_judgement(
    killed: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was judged without it is judged again; the judgements that lie beside it stay as they are."""
    monkeypatch.syspath_prepend(str(killed.folder))
    monkeypatch.setattr(run_folder, "SIZE", SIZE)
    import mortal  # type: ignore[import-not-found]

    plain = (killed.folder / "run.toml").read_text(encoding="utf-8")
    toml = plain.replace('use = "scripted"\nmodel = "m3"\nreplies = ["3"]', 'use = "mortal:flaky"')
    work: list[Work] = []
    for folder, out in (("run", True), ("run", False), ("calm", False)):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "run.toml").write_text(toml, encoding="utf-8")
        monkeypatch.setattr(mortal.Flaky, "out", out)
        work.append(resume(tmp_path / folder, monkeypatch))
    assert work[1].made == 2, "the slot, and the judgement of all four"
    assert (work[1].decoded, work[1].parsed) == (4, 1)
    assert digests(tmp_path / "run") == digests(tmp_path / "calm")
