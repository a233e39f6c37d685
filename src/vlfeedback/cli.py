"""The command line: names, flags and exit codes; what a command does lies in the rooms and in `commands/`."""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path
from typing import Annotated, Any, NoReturn, cast

import typer
from typer.core import TyperCommand

from vlfeedback import __version__
from vlfeedback.commands._telling import emit as _emit, leave as _leave, mistake, tell as _tell
from vlfeedback.errors import Stopped, VLFeedbackError
from vlfeedback.locks import follower

app = typer.Typer(
    name="vlfeedback",
    help="Images + instructions → an aligned vision-language model, and the proof that it got better.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, progress on stderr.")]
Set = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a setting: train.learning_rate=1e-5")
]
Plugins = Annotated[bool, typer.Option("--allow-plugins", help='Allow `use = "package.module:load"`.')]
Dir = Annotated[Path, typer.Argument(metavar="DIR", help="A run folder.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"vlfeedback {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


def _frugal() -> None:
    """Let tables of a run take memory from the system, unless the user says otherwise; before Arrow is imported.

    Arrow's own allocator keeps a heap for every thread that ever held a table: 50 MB in a run that never had more than
    11 in use. It is a tenth faster, so commands that do nothing but tables, like `import`, keep it.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def _run_rooms(run_dir: Path, first: str, last: str, changes: list[str], as_json: bool, plugins: bool) -> None:
    _frugal()
    from vlfeedback import config
    from vlfeedback.commands import run as command

    opened = command.open_run(run_dir, None, dict(map(config.assignment, changes)))
    _go(opened, first, last, as_json, plugins)


def _go(opened: Any, first: str, last: str, as_json: bool, plugins: bool, engine: str = "local", **more: bool) -> None:
    from vlfeedback import pipeline
    from vlfeedback.commands import finished, run as command

    command.announce(opened, _tell)
    done = pipeline.run_rooms(opened.run, first, last, allow_plugins=plugins, engine=engine, **more)
    _emit(done, as_json, lambda one, console: finished.show(opened.run.path, one, console))
    if done.interrupted:
        _tell("Stopped. The same command goes on.")
        raise typer.Exit(130)
    _leave(finished.left(done.unanswered, finished.waiting_in(done), finished.pictures_in(done)))


@app.command(rich_help_panel="Start here")
def demo(
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/demo"),
    quick: Annotated[bool, typer.Option("--quick", help="The same story smaller; its figures mean less.")] = False,
    seed: Annotated[int, typer.Option(help="Changes scenes, checkpoints and training order.")] = 0,
    as_json: Json = False,
) -> None:
    """The whole story in the pocket world: offline, on two cores, in minutes."""
    from vlfeedback.commands import demo as command, finished

    done = command.demo(out, quick=quick, seed=seed, tell=_tell)
    _emit(done, as_json, command.show)
    if done.interrupted:
        raise typer.Exit(130)
    _leave(finished.left(done.unanswered))


@app.command("run", rich_help_panel="Start here")
def run_command(
    target: Annotated[Path, typer.Argument(metavar="RUN_TOML_OR_DIR", help="Settings, or a run folder to resume.")],
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/NAME.")] = None,
    changes: Set = [],  # noqa: B006 - typer copies it
    first: Annotated[str, typer.Option("--from", metavar="ROOM", help="First room.")] = "source",
    last: Annotated[str, typer.Option("--to", metavar="ROOM", help="Last room.")] = "report",
    limit: Annotated[int | None, typer.Option(help="Only so many instructions: try this first.")] = None,
    engine: Annotated[
        str, typer.Option(help="Who asks pool and judge: local, or ray (a cluster's workers).")
    ] = "local",
    again: Annotated[bool, typer.Option("--ask-again", help="Ask again what endpoints refused.")] = False,
    as_json: Json = False,
    plugins: Plugins = False,
) -> None:
    """Run the rooms in order: source, decode, annotate, pair, train, evaluate, report; or resume a run folder."""
    _frugal()
    from vlfeedback import config
    from vlfeedback.commands import run as command

    opened = command.open_run(target, out, dict(map(config.assignment, changes)), limit)
    _go(opened, first, last, as_json, plugins, engine, ask_again=again)


@app.command(rich_help_panel="Start here")
def plan(
    target: Annotated[Path, typer.Argument(metavar="RUN_TOML_OR_DIR")],
    pilot: Annotated[int, typer.Option(min=0, help="Measure on so many instructions first: real calls, kept.")] = 0,
    out: Annotated[Path | None, typer.Option(help="With --pilot: the run folder; default runs/NAME.")] = None,
    changes: Set = [],  # noqa: B006
    as_json: Json = False,
    plugins: Plugins = False,
) -> None:
    """Calls, tokens, cost, time, disk, and who will see the pictures, before the run; --pilot 200 measures it."""
    from vlfeedback.commands import _plan_command as command
    from vlfeedback.commands.plan import show

    found = command.plan_command(target, out, list(changes), pilot, _tell, allow_plugins=plugins)
    _emit(found.plan, as_json, lambda one, console: show(one, console, str(found.next)))


class _WithFormats(TyperCommand):
    """A command whose help ends with the formats of its room and what each was tested on."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from vlfeedback import registry

        super().format_help(ctx, formatter)
        print("Formats (`use = ...`), and what each was tested on; options: docs/plugins.md\n")
        for name, files in registry.stated("source", "TESTED_ON").items():
            print(f"  {name:15} {', '.join(files) or 'not seen: no file of it was available'}")


def _room(name: str, text: str, cls: type[TyperCommand] | None = None) -> None:
    def command(run_dir: Dir, changes: Set = [], as_json: Json = False, plugins: Plugins = False) -> None:  # noqa: B006
        _run_rooms(run_dir, name, name, changes, as_json, plugins)

    command.__doc__ = text
    app.command(name, cls=cls, rich_help_panel="One room of a run folder")(command)


_room("source", "Instruction datasets → instructions.", _WithFormats)
_room("decode", "Instructions × the pool → responses.")
_room("annotate", "Responses × the judge × a rubric → annotations.")
_room("pair", "Annotations → preference pairs.")


@app.command(rich_help_panel="One room of a run folder")
def train(
    run_dir: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="A run folder; or name --data.")] = None,
    data: Annotated[Path | None, typer.Option(help="Preference pairs: a file, folder or hub dataset.")] = None,
    model: Annotated[str, typer.Option(help="With --data: the policy before training, folder or hub name.")] = "",
    out: Annotated[Path | None, typer.Option(help="With --data: the folder to make.")] = None,
    images: Annotated[Path | None, typer.Option(help="With --data: folder or .zip of the pictures.")] = None,
    format: Annotated[str, typer.Option(help="With --data: trl, rlaif_v, llama_factory; default: by columns.")] = "",
    split: Annotated[str, typer.Option(help="With --data: of a folder with several splits, only this one.")] = "",
    changes: Set = [],  # noqa: B006
    as_json: Json = False,
    plugins: Plugins = False,
) -> None:
    """Pairs → an aligned checkpoint: of a run folder, or --data FILE --model NAME --out DIR."""
    from vlfeedback import config
    from vlfeedback.commands import train as command

    if (run_dir is None) == (data is None):
        raise typer.BadParameter("give a run folder, or --data with --model and --out")
    if run_dir is not None:
        _run_rooms(run_dir, "train", "train", changes, as_json, plugins)
    elif data is not None:
        given = dict(map(config.assignment, changes))
        opened = command.open_data(
            data, model, out, format=format, images=images, split=split, changes=given, allow_plugins=plugins
        )
        _go(opened, "train", "train", as_json, plugins)


@app.command(rich_help_panel="One room of a run folder")
def evaluate(
    target: Annotated[Path, typer.Argument(metavar="DIR_OR_TOML", help="A run folder, or settings with benchmarks.")],
    out: Annotated[Path | None, typer.Option(help="Run folder to make of settings.")] = None,
    models: Annotated[
        list[str], typer.Option("--model", metavar="NAME", help="Only this checkpoint folder, hub name or endpoint.")
    ] = [],  # noqa: B006
    base_url: Annotated[str, typer.Option(metavar="URL", help="With --model: it is asked at this endpoint.")] = "",
    base_only: Annotated[bool, typer.Option("--base-only", help="Only the model before training.")] = False,
    changes: Set = [],  # noqa: B006
    judge_prompt: Annotated[
        list[str],
        typer.Option(metavar="[NAME=]FILE", help="Official judge template, from your copy of benchmark NAME."),
    ] = [],  # noqa: B006
    as_json: Json = False,
    plugins: Plugins = False,
) -> None:
    """Base, aligned and controls × benchmarks → scores; or any model by itself: --model NAME --out DIR."""
    from vlfeedback.commands import evaluate as command

    opened = command.open_evaluation(
        target, out, models=models, base_url=base_url, base_only=base_only, changes=changes, judge_prompt=judge_prompt
    )
    _go(opened, "evaluate", "evaluate", as_json, plugins, base_only=base_only)


_room("report", "A run folder → report.html, figures, dataset card.")


@app.command(rich_help_panel="Look")
def status(run_dir: Dir, as_json: Json = False) -> None:
    """Where a run stands, what was dropped and why, what was spent."""
    from vlfeedback.commands import status as command

    _emit(command.status(run_dir), as_json, command.show)


@app.command(rich_help_panel="Look")
def digest(run_dir: Dir, as_json: Json = False) -> None:
    """The identity of a run: equal for identical runs, whatever their order, times and costs."""
    from vlfeedback.commands import status as command
    from vlfeedback.commands._terminal import say

    def show(found: dict[str, str], console: Any) -> None:
        for name, value in found.items():
            say(console, f"{value}  {name}")

    _emit(command.digest(run_dir), as_json, show)


@app.command(rich_help_panel="Look")
def compare(
    dir_a: Annotated[Path | None, typer.Argument(metavar="[DIR_A]", help="Run folder with the old results.")] = None,
    dir_b: Annotated[
        Path | None, typer.Argument(metavar="[DIR_B]", help="With the new ones; without it, models with their base.")
    ] = None,
    first: Annotated[list[Path], typer.Option("--a", metavar="DIR", help="A seed of the old side; several.")] = [],  # noqa: B006
    second: Annotated[list[Path], typer.Option("--b", metavar="DIR", help="A seed of the new side; as many.")] = [],  # noqa: B006
    parts: Annotated[bool, typer.Option("--parts", help="Also the subtasks of sums.")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Although judge, prompt, decoding, … differ.")] = False,
    max_failed: Annotated[float, typer.Option(help="Share of failed items above which there is no headline.")] = 0.02,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Also as a page.")] = None,
    as_json: Json = False,
) -> None:
    """Paired differences of two runs' scores, with intervals; or of several seeds of each with --a and --b."""
    from vlfeedback.commands import compare as command

    if (dir_a is None) == (not first) or (first and dir_b is not None) or (second and not first):
        raise typer.BadParameter("give DIR_A and DIR_B, or --a DIR --b DIR for every seed")
    olds = first or [one for one in (dir_a,) if one is not None]
    news = (second or None) if first else [dir_b] if dir_b is not None else None
    found = command.compare_runs(olds, news, parts=parts, anyway=anyway, max_failed=max_failed)
    _emit(found, as_json, command.show)
    if html is not None:
        command.write_page(found, html)
    if found.refused:
        raise typer.Exit(1)


@app.command(rich_help_panel="Look")
def score(
    benchmark: Annotated[str, typer.Argument(help="mme, pope, mmhal, mmvet or llava_bench.")],
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Files in the official format; mme: a folder.")],
    parser: Annotated[str, typer.Option(help="official; also lenient (mme), strict (pope, mmhal).")] = "official",
    template: Annotated[Path | None, typer.Option(help="mmhal: response_template.json, for the types.")] = None,
    capabilities: Annotated[Path | None, typer.Option(help="mmvet: question id → capabilities.")] = None,
    questions: Annotated[list[Path], typer.Option(help="pope: official files, where PATH… are answers alone.")] = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """The scorer alone, on files in the benchmark's official format."""
    from vlfeedback.commands import _score_text, score as command

    found = command.score(
        benchmark, paths, parser=parser, template=template, capabilities=capabilities, questions=questions
    )
    if as_json:
        for warning in found.warnings:
            _tell(warning if warning.startswith("INCOMPLETE") else f"note: {warning}")
    _emit(found, as_json, _score_text.show)


@app.command(rich_help_panel="Look")
def doctor(
    model: Annotated[str, typer.Option(help="Local model: does it answer the same alone and in a batch?")] = "",
    run: Annotated[Path | None, typer.Option(help="A run folder: is its ledger on a disk of this machine?")] = None,
    as_json: Json = False,
) -> None:
    """What this machine can do: torch, GPU, keys, disk."""
    from vlfeedback.commands import doctor as command

    found = command.doctor(model, run=run)
    _emit(found, as_json, command.show)
    if (model or run is not None) and not found.ok:
        raise typer.Exit(1)


@app.command("import", rich_help_panel="Exchange")
def import_command(
    format: Annotated[str, typer.Argument(help="vlfeedback, trl, rlaif_v, llama_factory; lmms_eval, vlmevalkit.")],
    path: Annotated[Path, typer.Argument(help="File or folder.")],
    out: Annotated[Path, typer.Option(help="Run folder to make.")],
    images: Annotated[Path | None, typer.Option(help="Folder or .zip of the pictures.")] = None,
    hash_images: Annotated[bool, typer.Option(help="Open, check and hash every picture.")] = True,
    allow_outside: Annotated[
        bool, typer.Option("--allow-outside", help="The file may name pictures outside --images; own data only.")
    ] = False,
    eval_share: Annotated[float, typer.Option(min=0, max=1, help="Share of pictures held out.")] = 0.005,
    options: Annotated[list[str], typer.Option("--option", metavar="KEY=VALUE", help="Option of the format.")] = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Data that already has responses, ratings or pairs → a run folder; or another engine's scores, to compare."""
    from vlfeedback import config
    from vlfeedback.commands import import_ as command

    given = dict(map(config.assignment, options))
    scores = command.score_importer(format, given)
    if scores is not None:
        from vlfeedback.commands import _scored

        _emit(_scored.import_scores(format, scores, path, out), as_json, _scored.show)
        return
    found = command.import_data(
        format,
        path,
        images=images,
        out=out,
        hash_images=hash_images,
        allow_outside=allow_outside,
        eval_share=eval_share,
        options=given,
    )
    _emit(found, as_json, command.show)


@app.command(rich_help_panel="Exchange")
def export(
    format: Annotated[str, typer.Argument(help="trl, or merged: the trained adapter folded into its base.")],
    run_dir: Dir,
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    options: Annotated[list[str], typer.Option("--option", metavar="KEY=VALUE", help="Option of the format.")] = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """The pairs of a run folder in another tool's format, or its trained model as one checkpoint."""
    from vlfeedback import config
    from vlfeedback.commands import export as command

    _emit(command.export(format, run_dir, out, options=dict(map(config.assignment, options))), as_json, command.show)


LET_SPEAK = 5.0
"""Seconds that a follower stays with its error: a launcher ends all processes with the first that fails, and only the
first one says why."""


def main() -> NoReturn:
    """Entry point: 0 on success, 1 when the work failed, 2 for a mistake of the caller, 130 when interrupted."""
    # A terminal of another encoding shows what it cannot as escapes; it must not end a command that has done its work.
    if hasattr(sys.stdout, "reconfigure"):
        cast("Any", sys.stdout).reconfigure(errors="backslashreplace")
    # Pillow's, on pictures beyond a bound of its own: ours is [image_limits], and what is above it is dropped and said.
    warnings.filterwarnings("ignore", r"Image size \(\d+ pixels\) exceeds limit", RuntimeWarning)
    try:
        code = app(standalone_mode=False) or 0  # outside of standalone mode, an Exit's code is returned
    except VLFeedbackError as error:
        _tell(f"{error}" if isinstance(error, Stopped) else f"error: {error}")
        code = error.exit_code
        if follower():
            time.sleep(LET_SPEAK)
    except Exception as error:
        code = mistake(error)
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
