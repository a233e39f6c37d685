"""Data and models by name: a path of this machine, or what the hub has under that name, fetched once into its cache."""

# pyright: reportUnknownMemberType=false
# The hub's client has types in part only.
from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from vlfeedback.config import TrainSettings
from vlfeedback.errors import ConfigError, DataError, ModelUnavailable

_OF_THE_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILES = ("*.parquet", "*.arrow", "*.jsonl", "*.json")
"""What is fetched. Pictures beside the data may be many times as large; who needs them fetches the whole."""


def located(data: Path) -> Path:
    """Where data lie on this machine.

    Args:
        data: A file, a folder, or `OWNER/NAME` of a dataset of the hub; what is here goes before what is there.
    Returns:
        The path; of a dataset of the hub, the folder of its snapshot.
    Raises:
        DataError: it is a name of the hub, and nothing could be fetched and nothing is in the cache.
    """
    name = data.as_posix()
    if data.exists() or not _OF_THE_HUB.fullmatch(name) or data.suffix in (".parquet", ".arrow", ".jsonl", ".json"):
        return data
    try:
        import huggingface_hub
    except ImportError as error:
        raise DataError(
            f"{name} is no file or folder, and huggingface_hub, which fetches datasets by name, is not installed: "
            "pip install 'vlfeedback[train]'"
        ) from error
    print(f"{name} is no file or folder here: looking for the dataset of that name on the hub", file=sys.stderr)
    try:
        found = huggingface_hub.snapshot_download(name, repo_type="dataset", allow_patterns=list(_FILES))
    except (OSError, ValueError) as error:  # all of the hub's own errors of repositories and connections are one
        reason = str(error).strip().partition("\n")[0]
        raise DataError(
            f"{name} is no file or folder, and the dataset of that name on the hub could not be fetched ({reason}), "
            "nor is it in the cache. Check the name; a private one wants `hf auth login`; without a network give the "
            "folder of a copy."
        ) from error
    return Path(found)


def check_training(asked: TrainSettings) -> None:
    """Refuse what training could not start from, before anything that takes long; only settings are looked at.

    Raises:
        ConfigError: `model` is an adapter alone, or a tracker is not installed.
        ModelUnavailable: a folder is not there or holds no model, or the hub has none of that name.
    """
    _check_trackers(asked.report_to)
    if asked.use != "transformers":
        return
    for key, name in (("model", asked.model), ("init", asked.init)):
        if not name:
            continue
        folder = Path(name).expanduser()
        if not folder.exists() and key == "model" and not name.startswith(("/", ".", "~")):
            _check_on_hub(name)
        elif not folder.is_dir():
            raise ModelUnavailable(f"[train] {key}: there is no folder {name}")
        elif key == "model" and not (folder / "config.json").is_file():
            if (folder / "adapter_config.json").is_file():
                raise ConfigError(f"[train] {name} is an adapter: give its base as model and the adapter as init")
            raise ModelUnavailable(f"[train] model: {name} holds no config.json, so it is no model's folder")


def _check_trackers(names: Sequence[str]) -> None:
    if not names:
        return
    try:
        from vlfeedback.train._arguments import trackers
    except ImportError:
        return  # training says what is not installed
    trackers(names)


def _check_on_hub(name: str) -> None:
    try:
        import huggingface_hub

        huggingface_hub.hf_hub_download(name, "config.json")
    except ImportError:
        return  # training says what is not installed
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelUnavailable(
            f"[train] model: {name} is no folder here, and the hub's model of that name cannot be reached ({reason}). "
            "Check the name; without a network give a folder."
        ) from error
