"""Tables of run.toml that name a plug-in, and those of the models that a run asks."""

from __future__ import annotations

from typing import Any, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator


class Table(BaseModel):
    """A table whose numbers are numbers: `budget = true` is a slip and no budget of 1, and none is infinite."""

    model_config = ConfigDict(allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool):
            wanted = cls.model_fields[info.field_name or ""].annotation
            if not {bool, Any} & {wanted, *get_args(wanted)}:
                raise ValueError("must not be true or false")
        return value


class PluginTable(Table):
    """A table with `use = "NAME"`; its other keys are options of that plug-in."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())
    use: str

    @property
    def options(self) -> dict[str, Any]:
        """The keys that are not the room's own."""
        return dict(self.model_extra or {})

    @property
    def own(self) -> tuple[str, ...]:
        """The keys that are the room's own."""
        return tuple(type(self).model_fields)


class ModelTable(PluginTable):
    """A model that is asked by a run.

    Attributes:
        batch: true: ask an endpoint in provider batches, at about half the price with an answer within a day. A number
            is an option of the plug-in: a local model's questions in one pass.
    """

    batch: bool | int = False

    @field_validator("batch", mode="plain")
    @classmethod
    def _whose_batch(cls, value: Any) -> bool | int:
        if isinstance(value, bool) or (isinstance(value, int) and value >= 1):
            return value
        raise ValueError("must be true for a provider's batches, or a local model's number of questions, at least 1")

    @property
    def by_provider(self) -> bool:
        """Whether it is asked in provider batches."""
        return self.batch is True

    @property
    def options(self) -> dict[str, Any]:
        """The keys that are not the room's own."""
        return {**super().options, **({} if isinstance(self.batch, bool) else {"batch": self.batch})}


class PoolTable(ModelTable):
    """[[pool]]: a model that answers instructions.

    Attributes:
        share: Share of the instructions it answers, 0 to 1; None shares the remaining slots evenly with the others.
        always: It answers every instruction: `share = 1.0` in a word.
    """

    share: float | None = Field(default=None, ge=0, le=1)
    always: bool = False

    @model_validator(mode="before")
    @classmethod
    def _always_is_a_share(cls, data: Any) -> Any:
        if isinstance(data, dict):
            table = cast("dict[str, Any]", data)
            if table.get("always") is True:
                if table.get("share", 1) not in (1, None):
                    raise ValueError(f"always = true says share = 1, but share = {table['share']}: leave one out")
                return {**table, "share": 1.0}
        return cast("Any", data)


class JudgeTable(ModelTable):
    """[[judge]]: a model that rates."""
