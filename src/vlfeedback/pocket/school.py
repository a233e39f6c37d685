"""Where the tiny models learn: one trunk per seed, short lessons in manners for every character, kept in a cache.

The trunk of seed 0 is shipped (made by `benchmarks/trunk.py`); other seeds train their own, which takes minutes.
Everything is trained on scenes of the side `train` and is a function of the seed, the machine's arithmetic aside.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache as once
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vlfeedback import progress
from vlfeedback.errors import ConfigError, ModelUnavailable
from vlfeedback.pocket import _drill, _lessons, pool, scenes, tiny
from vlfeedback.pocket._drill import Plan

if TYPE_CHECKING:
    import torch
    from transformers import LlavaForConditionalGeneration

SHIPPED = Path(__file__).with_name("trunk.safetensors")
"""Trunk of seed 0 in half precision, at the end (`strong.*`) and on the way (`half.*`)."""

WORLD = 10_000
"""Scenes of lessons come from worlds of their own."""

SEE = Plan(steps=300, pictures=16, rate=1e-3, matrix_rate=1e-2)
FIND = Plan(steps=500, pictures=16, falls=False)
ANSWER = Plan(steps=1200, pictures=16)
HALF = 200
"""Steps of `ANSWER` after which the half-trained model leaves school."""

MANNERS = Plan(steps=100, pictures=12, rate=5e-4, matrix_rate=1e-3, rise=10)
WRITTEN_BY = (
    "_glyphs.py", "scenes.py", "_forms.py", "questions.py", "answers.py", "_lessons.py", "_drill.py", "tiny.py",
    "pool.py", "school.py",
)  # fmt: skip
"""Sources that decide what a checkpoint is."""


class Trunk(NamedTuple):
    """Weights by name: at the end of school, and half-way."""

    strong: dict[str, torch.Tensor]
    half: dict[str, torch.Tensor]


@once
def revision(seed: int) -> str:
    """What checkpoints of a seed are made from: sources, seed and shipped weights, eight hexadecimal digits."""
    digest = hashlib.sha256(f"pocket:{seed}".encode())
    for name in WRITTEN_BY:
        digest.update((SHIPPED.parent / name).read_bytes())
    if seed == 0 and SHIPPED.exists():
        digest.update(SHIPPED.read_bytes())
    return digest.hexdigest()[:8]


def cache_folder() -> Path:
    """Where checkpoints are kept: `$VLFEEDBACK_CACHE/pocket`, or `~/.cache/vlfeedback/pocket`."""
    return Path(os.environ.get("VLFEEDBACK_CACHE") or Path.home() / ".cache" / "vlfeedback") / "pocket"


def identity(name: str, seed: int = 0) -> str:
    """Declared identity of a pocket model: `pocket/NAME@REVISION`."""
    return f"pocket/{_member_name(name)}@{revision(seed)}"


def checkpoint(name: str, seed: int = 0, *, cache: Path | None = None) -> Path:
    """A folder with a pocket model that `AutoModelForImageTextToText` and `AutoProcessor` load; trained on first use.

    Args:
        name: Of `pool.MEMBERS`, with or without `pocket/` in front.
        seed: Other seeds have models of their own.
        cache: Where checkpoints are kept; default `cache_folder()`.
    Raises:
        ConfigError: there is no such model.
        ModelUnavailable: torch or transformers is not installed, or the cache cannot be written.
    """
    member = pool.MEMBERS[_member_name(name)]
    home = (cache or cache_folder()) / f"seed{seed}-{revision(seed)}"
    folder = home / f"{member.checkpoint}-{member.style}"
    if folder.is_dir():
        return folder
    try:
        import_module("transformers.models.llava")  # here, so that the message names the extra
    except ImportError as error:
        raise ModelUnavailable(
            f"pocket models need torch and transformers: pip install 'vlfeedback[train]' ({error})"
        ) from error
    weights = home / f"{member.checkpoint}.safetensors"
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not weights.is_file():
            _enrol(member.checkpoint, seed, home)
        _publish(weights, member.style, folder)
    except OSError as error:
        raise ModelUnavailable(
            f"pocket models cannot be kept under {home}: {error}. Set VLFEEDBACK_CACHE to a folder that can be written"
        ) from error
    return folder


def prepare(names: tuple[str, ...] = (*pool.NAMES, "policy"), seed: int = 0, *, cache: Path | None = None) -> None:
    """Make sure that checkpoints are there, so that nothing is trained later."""
    for name in names:
        checkpoint(name, seed, cache=cache)


def trunk(seed: int, *, see: Plan = SEE, find: Plan = FIND, answer: Plan = ANSWER, half: int = HALF) -> Trunk:
    """Train the trunk of a seed from nothing: to see every cell, then to look things up, then to answer.

    Args:
        seed: Of weights, scenes and lessons.
        see: Lessons in listing a scene.
        find: Lessons in what is where.
        answer: Lessons in all kinds of questions.
        half: Step of `answer` at which the half-trained weights are taken.
    """
    model = tiny.build(seed)
    kept: dict[str, torch.Tensor] = {}
    steps = see.steps + find.steps + answer.steps
    with progress.bar(f"pocket trunk {seed}: to see, to find, to answer", steps, "steps") as advance:
        done = 0

        def count() -> None:
            nonlocal done, kept
            done += 1
            if done == see.steps + find.steps + half:
                kept = {name: tensor.clone() for name, tensor in weights_of(model).items()}
            advance()

        stages = (
            (_lessons.seeing, see, scenes.crowded),
            (_lessons.finding, find, scenes.draw),
            (_lessons.answering, answer, scenes.draw),
        )
        for number, (teach, plan, draw) in enumerate(stages):
            _drill.drill(model, teach, plan, world=WORLD + seed, seed=10 * seed + number, draw=draw, step_done=count)
    return Trunk(weights_of(model), kept)


def weights_of(model: LlavaForConditionalGeneration) -> dict[str, torch.Tensor]:
    """Weights by name, without the head, which is tied to the embedding."""
    return {name: tensor.detach() for name, tensor in model.state_dict().items() if name != "lm_head.weight"}


def _member_name(name: str) -> str:
    short = name.removeprefix("pocket/")
    if short not in pool.MEMBERS:
        raise ConfigError(f"there is no pocket model {name!r}; there are {', '.join(pool.MEMBERS)}")
    return short


def _enrol(name: str, seed: int, home: Path) -> None:
    """Make the weights of one checkpoint, and on the way those it is made from."""
    from safetensors.torch import load_file

    if name in ("strong", "half"):
        made = read(SHIPPED) if seed == 0 and SHIPPED.exists() else trunk(seed)
        _write(made.strong, home / "strong.safetensors")
        _write(made.half, home / "half.safetensors")
        return
    if not (home / "strong.safetensors").is_file():
        _enrol("strong", seed, home)
    model = opened(load_file(home / "strong.safetensors"))
    teach = _lessons.manners(pool.CHARACTERS[name])
    lessons_seed = 100 * seed + pool.CHECKPOINTS.index(name)
    with progress.bar(f"pocket school: {name}", MANNERS.steps, "steps") as advance:
        _drill.drill(model, teach, MANNERS, world=WORLD + seed, seed=lessons_seed, step_done=advance)
    _write(weights_of(model), home / f"{name}.safetensors")


def read(path: Path) -> Trunk:
    """A trunk as `benchmarks/trunk.py` wrote it.

    Raises:
        ModelUnavailable: it was made for another vocabulary.
    """
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        words = (file.metadata() or {}).get("words")
        if words != vocabulary_digest():
            raise ModelUnavailable(
                f"{path.name} was made for other words than these sources have: run benchmarks/trunk.py again"
            )
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - no mapping
    halves = ("strong.", "half.")
    return Trunk(*({n.removeprefix(h): t for n, t in tensors.items() if n.startswith(h)} for h in halves))


def vocabulary_digest() -> str:
    """What the rows of the embedding stand for; written into the shipped trunk."""
    return hashlib.sha256("\n".join(tiny.vocabulary()).encode()).hexdigest()[:16]


def opened(weights: dict[str, torch.Tensor]) -> LlavaForConditionalGeneration:
    """A tiny model with given weights."""
    model = tiny.build(0)
    model.load_state_dict(weights, strict=False)
    model.tie_weights()
    return model.eval()


def _write(weights: dict[str, torch.Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    _atomically(path, lambda part: save_file({name: each.contiguous() for name, each in weights.items()}, part))


def _publish(weights: Path, style: tiny.Style, folder: Path) -> None:
    from safetensors.torch import load_file

    _atomically(folder, lambda part: tiny.save(opened(load_file(weights)), part, style))


def _atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside and rename, so that a file or folder is there whole or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".part-") as place:
        part = Path(place) / path.name
        write(part)
        try:
            part.replace(path)
        except OSError:
            if not path.exists():  # else another process was faster, with the same content
                raise
            shutil.rmtree(part, ignore_errors=True)
