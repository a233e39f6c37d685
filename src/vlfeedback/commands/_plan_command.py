"""What `vlfeedback plan` looks at: a run.toml alone, a run folder, or a folder that it makes for a pilot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from vlfeedback import config
from vlfeedback.commands.plan import Pilot, Plan, pilot, plan
from vlfeedback.commands.run import announce, open_run
from vlfeedback.config import Settings
from vlfeedback.errors import ConfigError
from vlfeedback.run_folder import RunFolder


class Planned(NamedTuple):
    """A plan, and what `vlfeedback run` is to be given next."""

    plan: Plan
    next: Path


def plan_command(
    target: Path,
    out: Path | None,
    changes: Sequence[str],
    count: int,
    tell: Callable[[str], None],
    *,
    allow_plugins: bool = False,
) -> Planned:
    """Plan, after a pilot if one is asked for.

    Args:
        target: A run.toml or a run folder.
        out: Run folder of the pilot.
        changes: Assignments of `--set`.
        count: Instructions of the pilot; 0 for none.
    Raises:
        ConfigError: `--out` without a pilot, or a mistake in the settings.
    """
    given = dict(map(config.assignment, changes))
    if count:
        opened = open_run(target, out, given)
        announce(opened, tell)
        run = opened.run
        # An unknown price is refused before anything is sent.
        plan(run.settings, ledger=run.ledger_path, allow_plugins=allow_plugins)
        found = pilot(run, count, allow_plugins=allow_plugins)
        tell(
            f"pilot: {found.instructions:,} instructions, {found.bought:,} calls made ({found.failed:,} without an "
            f"answer), {found.reused:,} reused; the run in {run.path} will not buy them again"
        )
        return Planned(_of_folder(run, run.settings, found, allow_plugins=allow_plugins), run.path)
    if out is not None:
        raise ConfigError("--out belongs to --pilot: a plan alone writes nothing.")
    settings = config.load(target / "run.toml" if target.is_dir() else target)
    settings = config.changed(settings, given) if given else settings
    if target.is_dir():
        return Planned(_of_folder(RunFolder.open(target), settings, allow_plugins=allow_plugins), target)
    return Planned(plan(settings, allow_plugins=allow_plugins), target)


def _of_folder(run: RunFolder, settings: Settings, found: Pilot | None = None, *, allow_plugins: bool) -> Plan:
    ledger = Path(settings.ledger.path) if settings.ledger.path else run.path / "ledger.sqlite"
    info = run.info("instructions")
    same = (settings.source, settings.limit) == (run.settings.source, run.settings.limit)
    table = run.table("instructions") if info is not None and info.complete and same else None
    return plan(settings, ledger=ledger, instructions=table, measured=found, allow_plugins=allow_plugins)
