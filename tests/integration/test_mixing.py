"""Room 1 of a run: counts and weights, one side for copies, no picture of a benchmark, and the plan before any call."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from in_process import command
from PIL import Image as Pillow

from vlfeedback import images, tables
from vlfeedback.decode import Plan
from vlfeedback.records import Dropped, Instruction, Response


def picture(seed: int) -> Pillow.Image:
    rng = random.Random(seed)
    small = Pillow.new("RGB", (6, 6))
    small.putdata([tuple(rng.randrange(256) for _ in range(3)) for _ in range(36)])  # type: ignore[arg-type]
    return small.resize((160, 160), Pillow.Resampling.BICUBIC)


def settings(folder: Path, *, mix: str = "", pool: int = 3) -> Path:
    """Two folders of pictures, a benchmark in MME's format that shows three of them, and scripted models."""
    for number in range(12):
        for name in ("one", "two"):
            (folder / name).mkdir(exist_ok=True)
            picture(number + 100 * (name == "two")).save(folder / name / f"{number}.png")
    for number in range(4, 8):  # copies, in the other folder
        picture(number).resize((80, 80)).save(folder / "two" / f"copy{number}.jpg", quality=85)
    exam = folder / "mme" / "color"
    exam.mkdir(parents=True, exist_ok=True)
    for number in range(3):
        picture(number).save(exam / f"{number}.jpg", quality=70)
        (exam / f"{number}.txt").write_text("Is it red? Please answer yes or no.\tYes\nIs it blue?\tNo\n")
    models = "".join(f'[[pool]]\nuse = "scripted"\nmodel = "m{n}"\nreplies = ["yes {n}"]\n' for n in range(pool))
    path = folder / "run.toml"
    path.write_text(
        f"eval_share = 0.5\n[mix]\n{mix}\n[images]\none = 'one'\ntwo = 'two'\nmme = 'mme'\n"
        "[[source]]\nuse = 'folder'\nname = 'a'\npath = 'one'\nimages = 'one'\nweight = 1\n"
        "[[source]]\nuse = 'folder'\nname = 'b'\npath = 'two'\nimages = 'two'\nweight = 1\n"
        f"{models}[decode]\nk = 2\n[evaluate.mme]\npath = 'mme'\nimages = 'mme'\n"
    )
    return path


def made(folder: Path) -> tuple[list[Instruction], list[Dropped]]:
    kept = list(tables.read(folder / "run" / "instructions.parquet", Instruction))
    return kept, list(tables.read(folder / "run" / "dropped" / "source.parquet", Dropped))


def test_a_mixed_source_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = settings(tmp_path, mix="total = 18")
    assert command(monkeypatch, "run", path, "--out", tmp_path / "run", "--to", "source") == 0
    kept, dropped = made(tmp_path)
    assert Counter(one.source for one in kept) == {"a": 9, "b": 9}
    leaked = {one.record_id for one in dropped if one.reason == "held_out"}
    assert leaked <= {"a/0.png", "a/1.png", "a/2.png"}
    assert not leaked & {f"{one.source}/{one.images[0].uri.split(':')[1]}" for one in kept}
    said = capsys.readouterr().err
    sides: dict[str, set[str]] = {}
    for one in kept:
        name = one.images[0].uri.split(":")[1]
        if (number := name.removeprefix("copy").split(".")[0]) and (one.source == "a" or name.startswith("copy")):
            sides.setdefault(number, set()).add(one.split)
    assert all(len(side) == 1 for side in sides.values())
    assert {one.split for one in kept} == {"train", "eval"}
    assert "pictures look like others" in said
    assert not list((tmp_path / "run").glob("*mixing*"))
    assert command(monkeypatch, "run", tmp_path / "run", "--to", "source") == 0
    assert "as before" in capsys.readouterr().out


def test_every_picture_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = settings(tmp_path)
    path.write_text(path.read_text().replace("weight = 1\n", ""))
    monkeypatch.setattr(images, "appearance", lambda *_, **__: pytest.fail("a picture was decoded again"))
    assert command(monkeypatch, "run", path, "--out", tmp_path / "run", "--to", "source") == 0
    kept, dropped = made(tmp_path)
    assert len(kept) + len(dropped) == 28 and any(one.reason == "held_out" for one in dropped)


def test_leaks_can_be_told_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = settings(tmp_path, mix="total = 24\nleaks = 'tell'")
    assert command(monkeypatch, "run", path, "--out", tmp_path / "run", "--to", "source") == 0
    kept, dropped = made(tmp_path)
    assert not any(one.reason == "held_out" for one in dropped)
    assert len(kept) == 24
    assert "3 records share a picture or their question with a benchmark (kept" in capsys.readouterr().err


def test_a_benchmark_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = settings(tmp_path, mix="total = 4")
    path.write_text(path.read_text().replace("path = 'mme'", "path = 'nowhere'"))
    assert command(monkeypatch, "run", path, "--out", tmp_path / "run", "--to", "source") == 0
    assert "nothing is known of leaks" in capsys.readouterr().err


@pytest.mark.parametrize("broken", [b"no picture", None])
def test_a_benchmark_is_compared_without_its_broken_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], broken: bytes | None
) -> None:
    path = settings(tmp_path)
    path.write_text(path.read_text().replace("weight = 1\n", ""))
    bad = tmp_path / "mme" / "color" / "1.jpg"
    bad.unlink()
    if broken is None:
        bad.symlink_to("gone.jpg")
    else:
        bad.write_bytes(broken)
    assert command(monkeypatch, "run", path, "--out", tmp_path / "run", "--to", "source") == 0
    leaked = {one.record_id for one in made(tmp_path)[1] if one.reason == "held_out"}
    assert leaked == {"a/0.png", "a/2.png"}
    said = capsys.readouterr().err
    assert "the pictures of 2 of 6 items could not be read" in said and "color/1.jpg" in said


def test_a_benchmark_that_breaks_off_is_compared_up_to_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = settings(tmp_path)
    path.write_text(path.read_text().replace("weight = 1\n", ""))
    (tmp_path / "mme" / "color" / "1.txt").write_text("one line\n")
    assert command(monkeypatch, "run", path, "--out", tmp_path / "run", "--to", "source") == 0
    assert {one.record_id for one in made(tmp_path)[1] if one.reason == "held_out"} == {"a/0.png"}
    assert "could not be read behind its first 2 items" in capsys.readouterr().err


def test_the_plan_lies_there_before_a_call_and_is_what_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = settings(tmp_path, mix="total = 10")
    out = tmp_path / "run"
    assert command(monkeypatch, "run", path, "--out", out, "--to", "source") == 0
    from vlfeedback import decode

    def stopped(*_: object, **__: object) -> None:
        assert (out / "plan.parquet").is_file()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(decode, "answered", stopped)
        command(monkeypatch, "decode", out)
    written = (out / "plan.parquet").read_bytes()
    assert command(monkeypatch, "decode", out) == 0
    assert (out / "plan.parquet").read_bytes() == written
    rows = list(tables.read(out / "plan.parquet", Plan))
    info = tables.info(out / "plan.parquet")
    tables.write(out / "plan.parquet", Plan, rows[::-1], room="decode", inputs=info.inputs)
    (out / "responses.parquet").unlink()
    assert command(monkeypatch, "decode", out) == 0  # the same plan in another order is put in order, not refused
    assert list(tables.read(out / "plan.parquet", Plan)) == rows
    planned = {row.instruction_id: set(row.models) for row in tables.read(out / "plan.parquet", Plan)}
    asked: dict[str, set[str]] = {}
    for one in tables.read(out / "responses.parquet", Response):
        asked.setdefault(one.instruction_id, set()).add(one.model)
    assert planned == asked and len(planned) == 10


@pytest.mark.parametrize("mix", ["total = 0", "near = 'perhaps'", "total = 5\nleak = 'drop'", "leaks = true"])
def test_a_mistake_in_mix_is_the_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mix: str) -> None:
    path = settings(tmp_path, mix=mix)
    assert command(monkeypatch, "run", path, "--out", tmp_path / "run", "--to", "source") == 2
