"""run.toml ↔ typed settings; an unknown key is an error that names the closest key.

Options of a plug-in are the remaining keys of its table: they are checked against its signature when it is loaded.
Defaults are the paper's where the paper has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import tomli_w
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from vlfeedback import toml_text
from vlfeedback._config_models import (
    JudgeTable as JudgeTable,
    PluginTable as PluginTable,
    PoolTable as PoolTable,
    Table,
)
from vlfeedback._config_paths import anchor
from vlfeedback._config_text import NO_VARIABLE, assignment, explain, flat, for_all, is_variable, spread, without_none
from vlfeedback.errors import ConfigError, check_name

__all__ = ["Settings", "assignment", "changed", "differences", "load", "parse", "to_toml"]


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]
"""A list of names; a single one may stand without brackets, and is never read letter by letter."""


class _Strict(Table, BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), hide_input_in_errors=True)


class SourceTable(PluginTable):
    """[[source]]: a dataset of instructions.

    Attributes:
        name: Shown in tables; default the plug-in's name.
        images: Name of an image root of [images].
        sample: How many instructions to keep, by content hash; None keeps all.
        weight: Instead of `sample`: its part of what [mix] total leaves to the sources with a weight; at most 1e9.
    """

    name: str = ""
    images: str = ""
    sample: int | None = Field(default=None, ge=1)
    weight: float | None = Field(default=None, gt=0, le=1e9)


class MixSettings(_Strict):
    """[mix]: how sources are put together.

    Attributes:
        total: Instructions of all sources; every source has a `sample` or a `weight` then.
        near: Pictures that look alike: `split` keeps them on one side, `drop` also drops what asks the same of them.
        leaks: What shares a picture or question with a benchmark of [evaluate]: `drop`, only `tell`, or `off`.
    """

    total: int | None = Field(default=None, ge=1)
    near: Literal["split", "drop", "off"] = "split"
    leaks: Literal["drop", "tell", "off"] = "drop"


class DecodeSettings(_Strict):
    """[decode]: how responses are sampled.

    Attributes:
        k: Responses per instruction, each of another model.
        in_flight: Instructions under way at once on endpoints.
        bytes_in_flight: Bound on the pictures in memory, bytes.
    """

    k: int = Field(default=4, ge=1)
    temperature: float = Field(default=0.7, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1)
    seed: int | None = None
    system: str = ""
    in_flight: int = Field(default=64, ge=1)
    bytes_in_flight: int = Field(default=256 << 20, ge=1)


class AnnotateSettings(_Strict):
    """[annotate]: how responses are judged.

    Attributes:
        rubric: Name of a rubric.
        options: Its options.
        orders: Orders of the responses per instruction, each a call; 1 is the paper's.
        order: `hashed` draws the first order from the responses' ids, `texts` from what they say and who said it: the
            same texts, sampled otherwise, are not judged again; `fixed` keeps the pool's (the paper's).
        top_logprobs: Ask the judge for that many alternatives per token, 1 to 20: ratings get their mean score.
        partial: Judge what is there although responses may still come; judged, and paid, again when they are there.
        budget: Hard stop for the cost of the whole ledger, in the price table's currency.
    """

    rubric: str = "vlfeedback"
    options: dict[str, Any] = {}
    orders: int = Field(default=1, ge=1)
    order: Literal["hashed", "texts", "fixed"] = "hashed"
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=2048, ge=1)
    seed: int | None = None
    top_logprobs: int | None = Field(default=None, ge=1, le=20)
    partial: bool = False
    budget: float | None = Field(default=None, ge=0)
    in_flight: int = Field(default=64, ge=1)
    bytes_in_flight: int = Field(default=256 << 20, ge=1)


class PairTable(PluginTable):
    """[pair]: how ratings become preferences."""

    use: str = "all_pairs"


class LoraSettings(_Strict):
    """[train.lora]: low-rank adapters; the paper's values."""

    r: int = Field(default=64, ge=1)
    alpha: int = Field(default=16, ge=1)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    targets: Names | None = None


class LossTable(PluginTable):
    """[train.loss]: the objective."""

    use: str = "sigmoid"


class TrainSettings(_Strict):
    """[train]: how the policy is trained; the paper's values.

    Attributes:
        use: Where the model is loaded from: `transformers` (a folder or hub name) or `pocket`.
        model: The policy before training, which is the reference as well.
        data: Run folders to train on instead of this one's own pairs.
        where: Which groups, as a condition in SQL: `category = 'red_team' AND pairs > 2`; empty for all.
        init: Adapter or weights to start from; they are the reference then.
        name: Suffix of the aligned model's identity.
        full: Train all weights of the language model instead of adapters.
        options: Further options of the `use` plug-in (for `pocket`: seed, …).
        image: `blind` hides the pictures: a control.
        report_to: Trackers of `transformers` that get every logged step too (`tensorboard`, `wandb`, …).
        quantization: `nf4` keeps the frozen weights of the language model in 4 bits (QLoRA).
    """

    use: str = "transformers"
    model: str = ""
    name: str = "dpo"
    options: dict[str, Any] = {}
    data: tuple[str, ...] = ()
    where: str = ""
    init: str | None = None
    full: bool = False
    epochs: int = Field(default=3, ge=1)
    learning_rate: float = Field(default=1e-5, gt=0, allow_inf_nan=False)
    pairs_per_step: int = Field(default=256, ge=1)
    warmup: float = Field(default=0.1, ge=0, le=1)
    weight_decay: float = Field(default=0.05, ge=0, allow_inf_nan=False)
    adam_beta2: float = Field(default=0.98, gt=0, lt=1)
    max_length: int = Field(default=2048, ge=1)
    tokens_per_batch: int = Field(default=8192, ge=1)
    dtype: Literal["bf16", "fp32"] = "bf16"
    seed: int = Field(default=0, ge=0, lt=2**32)
    image: Literal["seen", "blind"] = "seen"
    gradient_checkpointing: bool = False
    report_to: Names = ()
    quantization: Literal["none", "nf4"] = "none"
    loss: LossTable = LossTable()
    lora: LoraSettings = LoraSettings()


class ControlTable(_Strict):
    """[[control]]: the same training with one thing changed.

    Attributes:
        name: Suffix of its identity, such as `dpo:shuffled`.
        set: Changes as for `--set`: `"pair.use" = "shuffled"`; only [pair] and [train] may change.
    """

    name: str
    set: dict[str, Any]


class EvaluateTable(PluginTable):
    """[evaluate.NAME]: a benchmark; `use` defaults to NAME.

    Attributes:
        temperature: Of the answers; 0 is greedy. Like the next two, in [evaluate] for all benchmarks.
        top_p: Nucleus, in (0, 1]; of sampled answers.
        sampling_seed: Of sampled answers: every item draws by a seed of its own, made of this and its id.
        judge: [evaluate.NAME.judge]: the model that judges its answers, where it has one; never taken from [[judge]].
        judge_in_flight: Judgements under way at once.
    """

    use: str = ""
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    sampling_seed: int | None = None
    judge: JudgeTable | None = None
    judge_in_flight: int = Field(default=16, ge=1)


SAMPLED = ("temperature", "top_p", "sampling_seed")
"""Settings of a benchmark that may stand in [evaluate] for all of them."""


class ImageLimits(_Strict):
    """[image_limits]: which pictures are taken.

    Attributes:
        max_pixels: Largest width times height; None for the bound of `images`.
        max_bytes: Largest file, bytes; likewise.
        allow_outside: Let data name pictures outside their root (`..`, absolute, `file://`). For your own data only.
        allow_urls: Fetch pictures that data name by `http://`, `https://` or `data:`, once, into the run folder.
    """

    max_pixels: int | None = Field(default=None, ge=1)
    max_bytes: int | None = Field(default=None, ge=1)
    allow_outside: bool = False
    allow_urls: bool = False


class LedgerSettings(_Strict):
    """[ledger]: where calls are kept; a path shared by many runs buys each call once."""

    path: str = ""


class PriceSettings(_Strict):
    """[prices]: the price table; empty for the shipped one."""

    path: str = ""


OWN_ROOT = "run"
"""The image root that every run has in its own folder (`images.RUN_ROOT`)."""


class Settings(_Strict):
    """A whole run.toml.

    Attributes:
        images: Named roots; records hold paths relative to them.
        eval_share: Expected share of pictures held out for evaluation of the training, 0 to 1.
        upper: Models evaluated beside base and aligned, as an upper bound.
    """

    title: str = ""
    images: dict[str, str] = {}
    image_limits: ImageLimits = ImageLimits()
    eval_share: float = Field(default=0.005, ge=0, le=1)
    limit: int | None = Field(default=None, ge=1)
    source: tuple[SourceTable, ...] = ()
    mix: MixSettings = MixSettings()
    pool: tuple[PoolTable, ...] = ()
    decode: DecodeSettings = DecodeSettings()
    judge: tuple[JudgeTable, ...] = ()
    annotate: AnnotateSettings = AnnotateSettings()
    pair: PairTable = PairTable()
    train: TrainSettings = TrainSettings()
    control: tuple[ControlTable, ...] = ()
    evaluate: dict[str, EvaluateTable] = {}
    upper: tuple[PoolTable, ...] = ()
    ledger: LedgerSettings = LedgerSettings()
    prices: PriceSettings = PriceSettings()

    @model_validator(mode="before")
    @classmethod
    def _said_for_all_benchmarks(cls, data: Any) -> Any:
        return spread(cast("dict[str, Any]", data), "evaluate", SAMPLED) if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _no_root_is_the_runs_own(self) -> Settings:
        if OWN_ROOT in self.images:
            raise ValueError(
                f"[images] {OWN_ROOT} = {self.images[OWN_ROOT]!r}: this root is the run's own, for the pictures that "
                "it draws, unpacks or fetches. Give yours another name, also in `images` of the tables that name it"
            )
        return self

    @model_validator(mode="after")
    def _models_have_names(self) -> Settings:
        for section, tables in (("pool", self.pool), ("judge", self.judge), ("upper", self.upper)):
            for number, table in enumerate(tables, 1):
                name = table.options.get("model")
                if isinstance(name, str) and not name.strip():
                    raise ValueError(f"[[{section}]] {number}: model = {name!r} names no model")
                _refuse_key(table, f"[[{section}]] {number}")
        for name, test in self.evaluate.items():
            if test.judge is not None:
                _refuse_key(test.judge, f"[evaluate.{name}.judge]")
        return self


def _refuse_key(table: PluginTable, where: str) -> None:
    variable = table.options.get("api_key_env")
    if isinstance(variable, str) and variable and not is_variable(variable):
        raise ValueError(f"{where}: {NO_VARIABLE}")


def parse(data: Mapping[str, Any], where: str) -> Settings:
    """Check a parsed TOML document.

    Raises:
        ConfigError: an unknown key (the closest is named), or a value of the wrong type or out of range.
    """
    try:
        return Settings.model_validate(dict(data))
    except ValidationError as error:
        raise explain(error, where, Settings) from error


def load(path: Path) -> Settings:
    """Read a run.toml; relative paths in it are relative to the file.

    Raises:
        ConfigError: the file is missing or unreadable, no TOML, or holds a mistake; its name is not UTF-8.
    """
    check_name(path)  # relative paths become its own, and stand in the run's run.toml
    try:
        data = toml_text.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is not there. `vlfeedback demo` writes an example, configs/ holds more.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. Give a run.toml or a run folder.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8.") from error
    except toml_text.TOMLError as error:
        raise ConfigError(f"{path} is no valid TOML: {error}.") from error
    anchor(data, path.resolve().parent)
    return parse(data, str(path))


def changed(settings: Settings, assignments: Mapping[str, Any], where: str = "--set") -> Settings:
    """Settings with some values replaced; relative paths among these are relative to the current folder.

    Args:
        assignments: Dotted key → value, such as `{"train.beta": 0.2}`; list entries by number: `pool.0.model`.
    Raises:
        ConfigError: a key or value that run.toml could not have either.
    """
    data = settings.model_dump(mode="python")
    given = for_all(assignments, "evaluate", SAMPLED, settings.evaluate)
    for key, value in given.items():
        _table_of(data, key, where)[key.rpartition(".")[2]] = value
    # Kept as they were typed, they would mean the run folder when it is resumed, and an empty ledger there.
    there = deepcopy(data)
    anchor(there, Path.cwd())
    for key in given:
        last = key.rpartition(".")[2]
        _table_of(data, key, where)[last] = _table_of(there, key, where)[last]
    return parse(data, where)


def _table_of(data: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    """The table in which the last part of a dotted key stands; made where it is not there."""
    target: Any = data
    *path, _ = key.split(".")
    for part in path:
        target = _step(target, part, key, where)
    if isinstance(target, list | tuple):
        raise ConfigError(f"{where} {key}: ends at a list; name a key of one of its entries, such as {path[-1]}.0.KEY")
    if not isinstance(target, dict):
        raise ConfigError(f"{where} {key}: {'.'.join(path)} is no table but {target!r}.")
    return cast("dict[str, Any]", target)


def _step(target: Any, part: str, key: str, where: str) -> Any:
    if isinstance(target, list | tuple):
        entries = cast("Sequence[Any]", target)
        if not part.isdigit() or int(part) >= len(entries):
            raise ConfigError(f"{where} {key}: {part!r} is no entry of a list of {len(entries)}.")
        return entries[int(part)]
    if not isinstance(target, dict):
        raise ConfigError(f"{where} {key}: there is no table with a {part!r}, but {target!r}.")
    table = cast("dict[str, Any]", target)
    if table.get(part) is None:
        table[part] = {}
    return table[part]


def to_toml(settings: Settings) -> str:
    """The settings as resolved, as TOML; what is None is left out."""
    return tomli_w.dumps(without_none(settings.model_dump(mode="python")))


def differences(old: Settings, new: Settings) -> list[str]:
    """Lines `key: old → new` for every value that differs."""
    before, after = flat(old.model_dump(mode="python")), flat(new.model_dump(mode="python"))
    keys = sorted(before.keys() | after.keys())
    return [f"{key}: {before.get(key)!r} → {after.get(key)!r}" for key in keys if before.get(key) != after.get(key)]
