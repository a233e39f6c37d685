"""What a plan learns from a look at the sources: usable records, copies, pictures outside, and nothing that stays."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import picture_files
import pytest
from rich.console import Console

from vlfeedback import config, registry
from vlfeedback.commands import _plan_survey as surveys
from vlfeedback.commands._plan_command import plan_command
from vlfeedback.commands._plan_survey import Seen, Survey, Surveyor
from vlfeedback.commands._plan_world import of_sources
from vlfeedback.commands.plan import plan, show
from vlfeedback.errors import ImageError, PluginError
from vlfeedback.images import Roots
from vlfeedback.records import Dropped, Instruction
from vlfeedback.run_folder import roots_of
from vlfeedback.source import Embedded, Found, Named, Source, instructions


def settings(folder: Path, *sources: dict[str, Any], **more: Any) -> config.Settings:
    """Settings whose pictures lie in `folder`."""
    listed = [{"use": "jsonl", "path": str(folder / "data.jsonl"), "images": "own", **one} for one in sources or ({},)]
    judge = [{"use": "openai", "model": "judge", "base_url": "http://localhost:9/v1"}]
    data = {"source": listed, "images": {"own": str(folder / "pictures")}, "pool": judge, "judge": judge}
    return config.parse(data | {"decode": {"k": 1}} | more, "test")


def write(folder: Path, rows: list[tuple[str, str]], file: str = "data.jsonl") -> None:
    """Records of a prompt and a picture's name."""
    lines = [json.dumps({"id": str(number), "prompt": p, "image": i}) for number, (p, i) in enumerate(rows)]
    (folder / file).write_text("\n".join(lines), encoding="utf-8")
    (folder / "pictures").mkdir(exist_ok=True)


def picture(path: Path, width: int = 48, height: int = 32) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture_files.encoded(picture_files.gradient(width, height), "PNG"))
    return path


def kept(asked: config.Settings, spare: Path) -> int:
    """Instructions that the source room keeps."""
    sources: list[Source] = []
    roots = roots_of(asked, spare)
    for number, table in enumerate(asked.source):
        reader = registry.bind(registry.find("source", table.use), table.options, "", inject={"roots": roots})
        sources.append(Source(str(number), reader, table.images, table.sample))
    return sum(isinstance(one, Instruction) for one in instructions(sources, roots))


def half_used(folder: Path) -> None:
    """Of 60 records 15 can be used: 15 are copies, 20 lack their picture, and 10 have no prompt."""
    picture(folder / "pictures" / "a.png")
    good = [(f"What is number {number}?", "a.png") for number in range(15)]
    lost = [(f"What is lost {number}?", f"[/bold]{number}.png") for number in range(20)]
    write(folder, [*good, *lost, *good, *[(" ", "a.png")] * 10])


def test_records_that_are_seen_to_be_unusable_are_not_priced(tmp_path: Path) -> None:
    half_used(tmp_path)
    asked = settings(tmp_path)
    found = plan(asked)
    assert found.instructions == 15 == kept(asked, tmp_path / "spare")
    assert found.calls == 30
    [warning] = found.warnings
    assert "source 'jsonl': about 15 of 60 records are usable" in warning
    assert "24 are copies of others; 21 of 36 looked at cannot be used (first: " in warning
    console = Console(width=300, file=io.StringIO(), record=True)
    show(found, console)
    assert warning in console.export_text()


def told(found: Any) -> str:
    console = Console(width=300, file=io.StringIO(), record=True)
    show(found, console)
    return console.export_text()


@pytest.mark.parametrize("sample", [None, 10])
def test_what_the_reader_drops_is_told(tmp_path: Path, sample: int | None) -> None:
    half_used(tmp_path)
    with (tmp_path / "data.jsonl").open("a") as stream:
        stream.write('\n{broken\n["no object"]\n')
    found = plan(settings(tmp_path, {"sample": sample} if sample else {}))
    assert found.warnings[0].startswith(
        "source 'jsonl': 2 of 62 records are dropped (2 bad_record; first: line 61 is not"
    )
    assert found.warnings[0] in told(found) and "next: vlfeedback run" in told(found)


def test_a_source_of_which_nothing_can_be_used_is_not_advised_to_be_run(tmp_path: Path) -> None:
    picture(tmp_path / "pictures" / "a.png")
    write(tmp_path, [("Why?", "a.png")])
    (tmp_path / "bad.jsonl").write_text("{broken\n{broken\n")
    found = plan(settings(tmp_path, {}, {"path": str(tmp_path / "bad.jsonl"), "name": "bad"}))
    said = told(found)
    assert "source 'bad': 2 of 2 records are dropped" in said
    assert "usable records of source 'bad': a run refuses one that has none" in said
    assert "nothing is missing" not in said and "next: put in place what is missing" in said


def test_what_was_not_looked_at_is_taken_to_be_like_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveys, "SURVEYED", 400)
    picture(tmp_path / "pictures" / "a.png")
    rows = [(f"What is number {number}?", "lost.png" if number % 3 else "a.png") for number in range(3000)]
    write(tmp_path, rows + [("What is it?", "a.png")] * 999)
    world = of_sources(settings(tmp_path))
    assert world.count == pytest.approx(1001, rel=0.15)
    assert not world.complete and 100 < world.looked < 170


@pytest.mark.parametrize("sample", [10, 15, 20, 40])
def test_a_sample_takes_other_records_for_those_that_cannot_be_used(tmp_path: Path, sample: int) -> None:
    half_used(tmp_path)
    asked = settings(tmp_path, {"sample": sample})
    found = plan(asked)
    assert found.instructions == min(sample, 15) == kept(asked, tmp_path / "spare")
    assert bool(found.warnings) == (sample > 15)
    assert of_sources(asked).looked == min(sample, 15)


def test_what_two_sources_share_is_priced_once(tmp_path: Path) -> None:
    half_used(tmp_path)
    write(tmp_path, [(f"What is number {number}?", "a.png") for number in range(10, 20)], "more.jsonl")
    asked = settings(tmp_path, {}, {}, {"path": str(tmp_path / "more.jsonl")})
    world = of_sources(asked)
    assert list(world.sources.values()) == [15, 0, 5]
    assert world.count == 20 == kept(settings(tmp_path, {}, {"path": str(tmp_path / "more.jsonl")}), tmp_path / "spare")
    assert world.complete and "15 of 36 looked at stand in a source before it" in world.warnings[1]


def test_pictures_that_are_not_on_this_machine_make_no_record_unusable(tmp_path: Path) -> None:
    half_used(tmp_path)
    found = plan(settings(tmp_path, images={"own": "/nowhere"}))
    assert found.instructions == 35  # those with a prompt
    assert "one picture of 1024 × 768" in " ".join(found.assumptions)


def test_pictures_outside_their_root_are_looked_at_where_a_run_takes_them(tmp_path: Path) -> None:
    names = [str(picture(tmp_path / "elsewhere" / f"{number}.png", 640, 320)) for number in range(3)]
    write(tmp_path, [(f"What is in {number}?", name) for number, name in enumerate(names)])
    refused = settings(tmp_path)
    assert of_sources(refused).count == 0
    asked = settings(tmp_path, image_limits={"allow_outside": True})
    world = of_sources(asked)
    assert world.count == 3 == kept(asked, tmp_path / "spare")
    assert world.seen == {"jsonl": [Seen(len("What is in 0?"), ((640, 320),))] * 3}
    assert of_sources(settings(tmp_path, image_limits={"allow_outside": True, "max_pixels": 1000})).count == 0


def test_a_plan_fetches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlfeedback.images.fetch", lambda *_: pytest.fail("a plan sends nothing"))
    picture(tmp_path / "pictures" / "a.png")
    write(tmp_path, [("What is it?", "a.png"), ("And here?", "https://example.org/a.png")])
    assert of_sources(settings(tmp_path)).count == 1
    world = of_sources(settings(tmp_path, image_limits={"allow_urls": True}))
    assert (world.count, world.looked, world.complete) == (2, 1, False)
    asked = settings(tmp_path, image_limits={"allow_urls": True, "allow_outside": True})
    with pytest.raises(ImageError, match="is a URL"):  # what a benchmark's plug-in is given
        roots_of(asked, tmp_path / "spare", fetch=False).find("own", "https://example.org/a.png")


class Bytes(bytes):
    """Bytes of a picture that are counted while anything holds them."""

    alive: ClassVar[int] = 0
    most: ClassVar[int] = 0

    def __new__(cls, data: bytes) -> Bytes:
        cls.alive += 1
        cls.most = max(cls.most, cls.alive)
        return super().__new__(cls, data)

    def __del__(self) -> None:
        type(self).alive -= 1


@pytest.mark.parametrize("broken", [False, True])
def test_no_picture_outlives_the_glance_at_it(broken: bool) -> None:
    data = picture_files.encoded(picture_files.gradient(), "PNG")[: 20 if broken else None]

    def reader() -> Iterator[Found | Dropped]:
        for number in range(50):
            yield Found(str(number), f"What is number {number}?", (Embedded(Bytes(data)),))

    Bytes.most = 0
    found = Surveyor(Roots({}), frozenset()).survey("s", reader, "", None)
    assert found.instructions == len(found.seen) == (0 if broken else 50)
    assert 1 <= Bytes.most <= 2, "one that was looked at, and the next one"
    assert not Bytes.alive


def test_a_name_that_is_no_path_is_not_kept(tmp_path: Path) -> None:
    long = "x" * 100_000
    surveyor = Surveyor(Roots({"own": tmp_path}), frozenset({"own"}))
    record = surveyor._record(Found("1", "What?", (Named(long),)), "own")  # pyright: ignore[reportPrivateUsage]
    assert record.problem and len(repr(record)) < 1000
    found = surveyor.survey("s", lambda: iter([Found("1", "What?", (Named(long),))]), "own", None)
    assert found == Survey(0, [], found.warnings) and len(found.warnings[0]) < 1000


def test_plug_ins_from_outside_are_asked_where_they_are_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_of_the_plan.py").write_text(
        "from pathlib import Path\nfrom vlfeedback.annotate import vlfeedback\nfrom vlfeedback.source import jsonl\n"
        "def load(*, path: Path) -> object:\n    return jsonl.load(path)\n"
        "def rubric() -> object:\n    return vlfeedback.load()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    half_used(tmp_path)
    for given in (
        settings(tmp_path, {"use": "mine_of_the_plan:load"}),
        settings(tmp_path, annotate={"rubric": "mine_of_the_plan:rubric"}),
    ):
        with pytest.raises(PluginError, match="--allow-plugins"):
            plan(given)
        assert plan(given, allow_plugins=True).instructions == 15
        (tmp_path / "run.toml").write_text(config.to_toml(given), encoding="utf-8")
        assert plan_command(tmp_path / "run.toml", None, [], 0, print, allow_plugins=True).plan.instructions == 15
