"""`vlfeedback doctor`: what this machine can do, and whether a local model keeps its promises."""

from __future__ import annotations

import importlib.util
import io
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from vlfeedback.commands._terminal import table
from vlfeedback.errors import ConfigError, ModelUnavailable
from vlfeedback.images import Roots
from vlfeedback.records import Part, Request, Sampling
from vlfeedback.run_folder import RunFolder
from vlfeedback.scale import _mounts as mounts

State = Literal["ok", "absent", "bad"]

PACKAGES = ("openai", "aiohttp", "pyarrow", "polars", "pillow", "transformers", "peft", "accelerate", "vllm", "ray")
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "OPENROUTER_API_KEY", "HF_TOKEN")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
NEEDED_GB = 5.0
PROBES = 16


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: `absent` is no fault: some part of the package cannot be used without it.
        means: What follows, for the user.
    """

    name: str
    value: str
    state: State = "ok"
    means: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """What was found; `ok` unless something is bad."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether everything that is there works."""
        return all(finding.state != "bad" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"ok": self.ok, "findings": [asdict(finding) for finding in self.findings]}


def doctor(
    model: str = "",
    *,
    run: Path | None = None,
    answers: Callable[[str], tuple[list[str], list[str]]] | None = None,
    training: Callable[[str], Finding] | None = None,
) -> Health:
    """Look at this machine; nothing is downloaded, and of keys only whether they are set.

    Args:
        model: Folder or hub name of a local model to check: does a question get the same reply alone as in a batch, and
            can it be trained with prompts shared by their responses?
        run: A run folder whose ledger is looked at; by default, where one would be made from here.
        answers: Replaces the asking of the model, for tests.
        training: Replaces the look at its training, for tests.
    Raises:
        ModelUnavailable: the model cannot be loaded, or does not answer.
    """
    found = [*_system(), *_torch(), *_packages(), *_keys(), *_tools(), _ledger(run)]
    if model:
        found += [_exactness(model, answers or _ask), (training or _training)(model)]
    return Health(tuple(found))


def _system() -> Iterator[Finding]:
    new = sys.version_info >= (3, 11)
    yield Finding("python", platform.python_version(), "ok" if new else "bad", "" if new else "3.11 or newer is needed")
    yield Finding("system", f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors")
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    roomy = free >= NEEDED_GB
    yield Finding(
        "disk", f"{free:,.1f} GB free here", "ok" if roomy else "bad", "" if roomy else "a run needs more room"
    )


def _ledger(run: Path | None) -> Finding:
    """Whether calls would be kept on a disk of this machine."""
    path = (Path.cwd() / "runs") if run is None else RunFolder.open(run).ledger_path
    kind = mounts.file_system(path)
    if not kind:
        return Finding("ledger", "this system does not tell where", "absent", "keep it off network file systems")
    if mounts.over_a_network(kind):
        advice = "SQLite loses data on a network file system: name a file on a local disk as [ledger] path"
        return Finding("ledger", f"on {kind}", "bad", advice)
    return Finding("ledger", f"on {kind}")


def _torch() -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        yield Finding(
            "torch", "not installed", "absent", "no local models, no training: pip install 'vlfeedback[train]'"
        )
        return
    import torch

    yield Finding("torch", torch.__version__)
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            name, memory = torch.cuda.get_device_name(number), torch.cuda.mem_get_info(number)[1]
            yield Finding(f"gpu {number}", f"{name}, {memory / 2**30:,.0f} GiB")
    elif torch.backends.mps.is_available():
        yield Finding("gpu", "Apple")
    else:
        yield Finding("gpu", "none", "absent", "the pocket world runs on processors; large models need a GPU")


def _packages() -> Iterator[Finding]:
    why = {
        "aiohttp": "optional: endpoints cost less processor time with it",
        "transformers": "no local models, no training: pip install 'vlfeedback[train]'",
        "peft": "no LoRA: pip install 'vlfeedback[train]'",
        "accelerate": "no training: pip install 'vlfeedback[train]'",
        "vllm": 'optional: only for models with use = "vllm"',
        "ray": "optional: only for clusters",
    }
    for name in PACKAGES:
        try:
            yield Finding(name, version(name))
        except PackageNotFoundError:
            yield Finding(
                name, "not installed", "absent" if name in why else "bad", why.get(name, "reinstall vlfeedback")
            )


def _keys() -> Iterator[Finding]:
    for name in KEYS:
        there = bool(os.environ.get(name, "").strip())
        yield Finding(name, "set" if there else "not set", "ok" if there else "absent")


def _tools() -> Iterator[Finding]:
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    state: State = "ok" if browser else "absent"
    yield Finding("chromium", browser or "not found", state, "" if browser else "optional: only for tests of pages")


def _exactness(model: str, answers: Callable[[str], tuple[list[str], list[str]]]) -> Finding:
    together, alone = answers(model)
    same = sum(one == other for one, other in zip(together, alone, strict=True))
    value = f"{same} of {len(alone)} replies are the same alone and in a batch"
    if same == len(alone):
        return Finding(model, value)
    return Finding(model, value, "bad", 'a resumed run can differ from an undisturbed one; try dtype = "float32"')


def _training(model: str) -> Finding:
    """The layouts of training on a made-up group, compared as at the start of every run."""
    if importlib.util.find_spec("peft") is None:
        return Finding("training", "not looked at", "absent", "pip install 'vlfeedback[train]'")
    from vlfeedback.train._probe import fitting, probe

    try:
        found = probe(fitting(model))
    except ConfigError as error:
        return Finding("training", "not possible", "bad", str(error))
    measured = ", ".join(f"{name} {value:.0e}" for name, value in found.differences.items())
    allowed = f"largest difference of a token in {found.precision} (nats, {found.limit:.0e} allowed): {measured}"
    value = f"layout {found.name}; {allowed}"
    reasons = [*([found.refused] if found.refused else []), *found.warnings]
    means = "a prompt is read once for all its responses" if found.name == "shared" else "; ".join(reasons)
    return Finding("training", value, means=means)


def _ask(model: str) -> tuple[list[str], list[str]]:
    """Replies to the same questions in one batch and one by one."""
    if importlib.util.find_spec("transformers") is None:
        raise ModelUnavailable("local models need transformers: pip install 'vlfeedback[train]'")
    from vlfeedback.models import transformers as backend

    with tempfile.TemporaryDirectory() as folder:
        roots = Roots({"probe": Path(folder)})
        requests = list(_probes(roots, Path(folder)))
        opened = backend.load(model=model, roots=roots, batch=PROBES)
        replies = opened.answer_all(requests)
        if failed := [reply for reply in replies if not reply.answered]:
            raise ModelUnavailable(f"{model}: {len(failed)} of {PROBES} questions have no answer: {failed[0].detail}")
        together = [reply.text for reply in replies]
        alone = [opened.answer_all([request])[0].text for request in requests]
        opened.close()
    return together, alone


def _probes(roots: Roots, folder: Path) -> Iterator[Request]:
    import PIL.Image
    import PIL.ImageDraw

    for number in range(PROBES):
        picture = PIL.Image.new("RGB", (224 + 28 * (number % 3), 224), (240, 240, 240))
        corner = 20 + 8 * number
        PIL.ImageDraw.Draw(picture).ellipse((corner, corner, corner + 60, corner + 60), fill=(200, 12 * number, 30))
        data = io.BytesIO()
        picture.save(data, "PNG")
        (folder / f"{number}.png").write_bytes(data.getvalue())
        words = (
            "Describe the picture." if number % 2 else "Which colour has the disc, and where is it?" * (1 + number % 4)
        )
        parts = (Part(image=roots.find("probe", f"{number}.png")), Part(text=words))
        yield Request("", parts, Sampling(temperature=0.7, max_tokens=24, sample_index=number), purpose="probe")


def show(found: Health, console: Console) -> None:
    """Print the findings for people."""
    rows = table("", "part", "found", "what it means")
    marks = {"ok": "[green]ok[/green]", "absent": "–", "bad": "[bold red]bad[/bold red]"}
    for finding in found.findings:
        rows.add_row(finding.name, f"{finding.value}", f"{marks[finding.state]} {finding.means}".strip())
    console.print(rows)
