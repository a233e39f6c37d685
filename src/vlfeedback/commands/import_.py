"""`vlfeedback import`: data that already has responses, ratings or pairs becomes a run folder."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from vlfeedback import config, flow, progress, registry, tables
from vlfeedback.commands._terminal import say, table, typed
from vlfeedback.config import Settings
from vlfeedback.errors import ConfigError, DataError, Stopped
from vlfeedback.exchange import IMAGES_ROOT, Batch, Books, Importer, Intake, Pictures, Record, ScoreImporter, Tally
from vlfeedback.recorder import Recorder
from vlfeedback.records import Annotation, Dropped, Instruction, PreferencePair, Response
from vlfeedback.run_folder import RunFolder, told_when_unwritable

EVAL_SHARE = 0.005
"""Share of pictures held back for evaluation; the paper held back 0.5 % of its pairs."""


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What an import read, kept and dropped.

    Attributes:
        format: Name of the format.
        out: The run folder.
        books: Every count (law 3).
        dropped: Dropped rows, completions and preferences by reason.
        notes: What else was noticed in the file, in words, with counts.
        hashed: Whether all pictures were opened and hashed, none only named.
    """

    format: str
    out: Path
    books: Books
    hashed: bool
    dropped: dict[str, int] = field(default_factory=dict[str, int])
    notes: dict[str, int] = field(default_factory=dict[str, int])

    def to_json(self) -> dict[str, Any]:
        """The summary as JSON values."""
        return {
            "format": self.format,
            "out": str(self.out),
            "hashed": self.hashed,
            **asdict(self.books),
            "reasons": self.dropped,
            "notes": self.notes,
        }


def import_data(
    format: str,
    path: Path,
    *,
    images: Path | None = None,
    out: Path,
    hash_images: bool = True,
    allow_outside: bool = False,
    eval_share: float = EVAL_SHARE,
    options: Mapping[str, object] | None = None,
) -> ImportSummary:
    """Read a file or folder into the tables and the ledger of a run folder.

    Nothing in the folder changes before the whole file was read. Importing again replaces the earlier import.

    Args:
        format: Name of a format that can be read.
        path: The file or folder.
        images: Folder or `.zip` of the pictures; None if they come inside the file or are only to be named.
        out: The run folder, made where needed.
        hash_images: Open, check and hash every picture. Without it pictures are known by name only, which is quick.
        allow_outside: Let the file name pictures outside `images`. For your own data only.
        eval_share: Share of pictures on the eval side, 0 to 1.
        options: Options of the format.
    Returns:
        What was read, kept and dropped.
    Raises:
        ConfigError: unknown format or option, no such path, or `out` holds tables of another origin.
        DataError: the file cannot be used, or nothing in it can, or `out` cannot be written.
        LedgerError: its ledger was emptied.
        RunLocked: another command is writing the run folder.
    """
    importer = _importer(format, options or {})
    _check(path, out)
    pictures = Pictures(out / "images", images, hashing=hash_images, allow_outside=allow_outside)
    run = RunFolder(out, _settings(out, images, eval_share))
    run.check_ledger()
    intake = Intake(origin=format, judge=importer.judge, eval_share=eval_share)
    tally: Tally = Counter()
    reasons: Counter[str] = Counter()
    first: Dropped | None = None
    with flow.without_collection(), run.writing(), Recorder(run.ledger_path) as recorder, ExitStack() as stack:
        writers = _writers(out, importer)
        for writer in writers.values():
            stack.callback(writer.discard)
        items = progress.track(importer.read(path, pictures, tally), "import", unit="rows")
        # Reading, keeping and writing overlap, one batch at a time and in order.
        for records in flow.each(
            intake.run(items), lambda batch: asyncio.to_thread(_keep, recorder, batch), in_flight=1
        ):
            for record in records:
                writers[type(record)].add(record)
                if isinstance(record, Dropped):
                    reasons[record.reason] += 1
                    first = first or record
        _refuse_nothing(path, intake.books, reasons, first)
        _replace(out, writers, _digest(path, format, options or {}, hash_images))
        RunFolder.create(out, run.settings)
    noticed = _noticed(tally, intake.books, prefers=importer.prefers)
    return ImportSummary(format, out, intake.books, not pictures.unopened, dict(reasons.most_common()), noticed)


def _keep(recorder: Recorder, batch: Batch) -> list[Record]:
    """What was said is in the ledger before anything that was derived from it goes on (law 2)."""
    recorder.record(batch.calls)
    return batch.records


def score_importer(format: str, options: Mapping[str, object]) -> ScoreImporter | None:
    """The importer of a format that holds evaluations instead of preferences; None for the others."""
    found = registry.bind(registry.find("exchange", format), options, f"import {format}")
    return found if isinstance(found, ScoreImporter) else None


def _importer(format: str, options: Mapping[str, object]) -> Importer:
    found = registry.bind(registry.find("exchange", format), options, f"import {format}")
    if not isinstance(found, Importer):
        raise ConfigError(f"{format!r} can only be exported. `vlfeedback import --help` lists what can be read.")
    return found


def _check(path: Path, out: Path) -> None:
    """Refuse what is surely a mistake before anything is read."""
    if not path.exists():
        raise ConfigError(f"{path} does not exist. Check the path of the data.")
    with told_when_unwritable(out):
        if out.exists() and not out.is_dir():
            raise ConfigError(f"{out} is a file. Give the name of a folder.")
        there = sorted(out.glob("*.parquet"))
    for found in there:
        room = tables.info(found).room
        if found.stem == "instructions" and room != "exchange":
            raise ConfigError(
                f"{out} is a run folder of its own (its instructions come from the room {room!r}), and importing would "
                "replace them. Give another --out."
            )


def _settings(out: Path, images: Path | None, eval_share: float) -> Settings:
    """Settings of the folder, so that later rooms find the pictures; what else was set there stays."""
    path = out / "run.toml"
    settings = config.load(path) if path.exists() else Settings(title=f"import into {out.name}")
    changes: dict[str, Any] = {"eval_share": eval_share}
    if images is not None:
        changes[f"images.{IMAGES_ROOT}"] = str(images.resolve())
    return config.changed(settings, changes, "import")


def _writers(out: Path, importer: Importer) -> dict[type[Record], tables.Writer]:
    """A writer for each table that the format fills; the others are left alone."""
    writers: dict[type[Record], tables.Writer] = {
        Instruction: tables.Writer(out / "instructions.parquet", Instruction, room="exchange"),
        Response: tables.Writer(out / "responses.parquet", Response, room="exchange"),
        Dropped: tables.Writer(out / "dropped" / "exchange.parquet", Dropped, room="exchange"),
    }
    if importer.judge:
        writers[Annotation] = tables.Writer(out / "annotations.parquet", Annotation, room="exchange")
    if importer.prefers:
        writers[PreferencePair] = tables.Writer(out / "pairs.parquet", PreferencePair, room="exchange")
    return writers


def _noticed(tally: Tally, books: Books, *, prefers: bool) -> dict[str, int]:
    """What nobody was asked to leave out, but may want to know, with counts."""
    tally["pairs whose opposite is a pair as well; both are kept"] = books.opposed
    tally["instructions without a picture"] = books.bare if prefers else 0
    return {what: count for what, count in tally.items() if count}


def _refuse_nothing(path: Path, books: Books, reasons: Counter[str], first: Dropped | None) -> None:
    """An import that keeps nothing is a mistake of the caller or of the file, never a result."""
    if flow.interrupted():
        raise Stopped(f"Stopped; nothing was changed. Run the same command again to import {path}.")
    if not books.instructions:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common()) or "it has no rows"
        where = f" The first is {first.record_id}: {first.detail or first.reason}." if first else ""
        raise DataError(
            f"none of the {books.rows:,} rows of {path} can be used ({counts}).{where} Is it the right format?"
        )


def _replace(out: Path, writers: Mapping[type[Record], tables.Writer], digest: str) -> None:
    """Make the tables visible, each with the digest of what it was made from."""
    before = _state(out)
    made = writers[Instruction].close(inputs=digest)
    for record, writer in writers.items():
        if record is not Instruction:
            writer.close(inputs=made.digest if record is Response else digest)
    if before != _state(out):
        for record, name in ((Annotation, "annotations.parquet"), (PreferencePair, "pairs.parquet")):
            if record not in writers:
                (out / name).unlink(missing_ok=True)  # a view of other responses: what is stale is never used


def _state(out: Path) -> list[str]:
    """Digests of the tables on which all others rest."""
    paths = [out / "instructions.parquet", out / "responses.parquet"]
    return [tables.info(path).digest for path in paths if path.exists()]


def _digest(path: Path, format: str, options: Mapping[str, object], hashed: bool) -> str:
    """Digest of what decides an import: the data and the settings, not their place."""
    total = hashlib.sha256(repr((format, sorted(options.items()), hashed)).encode())
    for file in _files(path):
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    else:
        yield from sorted(file for file in path.rglob("*") if file.is_file())


def show(found: ImportSummary, console: Console) -> None:
    """Print a summary for people."""
    books = found.books
    say(
        console,
        f"{found.format}: {books.rows:,} rows → {books.instructions:,} instructions, {books.responses:,} responses, "
        f"{books.annotations:,} annotations, {books.pairs:,} pairs in {found.out}",
    )
    if found.dropped or found.notes:
        rows = table("", "what", "how many", numbers=("how many",))
        for reason, count in found.dropped.items():
            rows.add_row(f"dropped: {reason}", f"{count:,}")
        for what, count in found.notes.items():
            rows.add_row(escape(what), f"{count:,}")
        console.print(rows)
    if not found.hashed:
        console.print("Pictures by name were not opened: training needs an import with --images.", highlight=False)
    following = "train" if books.pairs else "pair"
    say(console, f"next: vlfeedback {following} {typed(found.out)}")
