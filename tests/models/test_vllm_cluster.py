"""vLLM's engines under a cluster's workers: a run ends where a run in one process ends.

Needs vLLM and Ray: `benchmarks/vllm_engine.py` makes an environment that has both, and runs this.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import world
from nodes import cluster, ended, on
from servers import serve

pytestmark = pytest.mark.peers
COUNT = 6


def with_engines(toml: Path, *checkpoints: Path) -> Path:
    """The same settings with a pool of local checkpoints, asked greedily."""
    each = 'dtype = "float32"\nmax_num_seqs = 16\nengine = { enforce_eager = true, max_model_len = 512 }'
    pool = "".join(f'[[pool]]\nuse = "vllm"\nmodel = "{one}"\n{each}\n\n' for one in checkpoints)
    text = toml.read_text(encoding="utf-8")
    rest = text[text.index("[decode]") :].replace("k = 4", "k = 2").replace("max_tokens = 64", "max_tokens = 8")
    toml.write_text(text[: text.index("[[pool]]")] + pool + rest, encoding="utf-8")
    return toml


def test_engines_are_held_by_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiny_models import write_llava_for_vllm

    for name, value in {"KVCACHE_SPACE": "1", "OMP_THREADS_BIND": "nobind"}.items():
        monkeypatch.setenv(f"VLLM_CPU_{name}", value)
    world.draw(tmp_path, COUNT)
    models = [write_llava_for_vllm(tmp_path / f"model{seed}", seed) for seed in (1, 2)]
    with serve(tmp_path / "served.jsonl") as server:
        toml = with_engines(world.settings(tmp_path, server.url, temperature=0.0), *models)
        world.collect(toml, "--out", tmp_path / "alone")
        judged = len(server.served())
        with cluster(1) as nodes:
            ended(on(nodes, toml, "--out", tmp_path / "run", "--to", "pair"))
            assert len(server.served()) == 2 * judged == 2 * COUNT
            assert world.collect(tmp_path / "run")["calls_made"] == 0
    assert world.digest(tmp_path / "run") == world.digest(tmp_path / "alone")
