"""Law 8: one addition, one file, with its own examples."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from vlfeedback import registry
from vlfeedback.errors import ConfigError, PluginError

EVERY = [(room, name) for room in registry.ROOMS for name in registry.names(room)]  # type: ignore[arg-type]
WITHOUT_EXAMPLES = {"models"}
"""A model's examples would be calls; its contract is tested in tests/models."""


@pytest.mark.parametrize(("room", "name"), EVERY)
def test_law_8_every_plugin_loads_and_carries_examples(room: registry.PluginRoom, name: str) -> None:
    plugin = registry.find(room, name)
    assert callable(plugin.load) and plugin.load.__doc__
    assert room in WITHOUT_EXAMPLES or plugin.examples, f"{room}/{name}.py has no EXAMPLES"


def test_law_8_every_room_has_plugins() -> None:
    assert {room for room, _ in EVERY} == set(get_args(registry.PluginRoom))


def test_law_8_listing_names_imports_nothing() -> None:
    code = (
        "import sys\nfrom vlfeedback import registry\n"
        "for room in registry.ROOMS: registry.names(room)\n"
        "print([m for m in sys.modules if m.startswith('vlfeedback.') and m.count('.') > 1])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_law_8_a_new_file_is_a_new_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        "def load(*, least: int = 2):\n    return ('mine', least)\n\nEXAMPLES = ((1, 2),)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginError, match="--allow-plugins"):
        registry.find("pair", "mine:load")
    plugin = registry.find("pair", "mine:load", allow_plugins=True)
    assert registry.bind(plugin, {"least": 5}, "[pair]") == ("mine", 5)
    assert plugin.examples == ((1, 2),)


def test_law_8_an_installed_package_brings_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "brought" not in registry.names("pair")
    (tmp_path / "bringing.py").write_text("def load(*, least: int = 2):\n    return ('brought', least)\n")
    described = tmp_path / "bringing-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: bringing\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[vlfeedback.pair]\nbrought = bringing:load\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "brought" in registry.names("pair") and "brought" not in registry.names("source")
    assert registry.bind(registry.find("pair", "brought"), {"least": 5}, "[pair]") == ("brought", 5)
    (described / "entry_points.txt").write_text("[vlfeedback.pair]\nlater = bringing:load\n")
    assert registry.find("pair", "later").load(least=3) == ("brought", 3)


def test_law_8_unknown_names_and_options_name_the_closest() -> None:
    with pytest.raises(PluginError, match="did you mean 'all_pairs'"):
        registry.find("pair", "all_pair")
    with pytest.raises(PluginError, match="no pair plug-in"):
        registry.find("pair", "_rules")
    with pytest.raises(ConfigError, match=r"\[pair\]: 'margin' has no option"):
        registry.bind(registry.find("pair", "margin"), {"mininum": 1}, "[pair]")
    with pytest.raises(PluginError, match="cannot be loaded"):
        registry.find("pair", "no_such_module_here:load", allow_plugins=True)


def test_law_8_option_values_are_checked_against_the_signature() -> None:
    with pytest.raises(ConfigError, match=r"\[train.loss\].*beta"):
        registry.bind(registry.find("train", "sigmoid"), {"beta": "much"}, "[train.loss]")
