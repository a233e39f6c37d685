"""Hostile data through the day-one command: an error in words or a count by reason, never a traceback."""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from in_process import command
from PIL import Image

from vlfeedback import tables
from vlfeedback.records import Dropped, Instruction

Train = Callable[..., str]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (24, 24), (50 * number, 9, 200)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def train(
    model_path: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Train:
    """`vlfeedback train --data` on some bytes; gives what stderr says."""

    def call(data: bytes, *more: str, code: int = 0, name: str = "a.jsonl", format: str = "trl") -> str:
        path = tmp_path / name
        path.write_bytes(data)
        order: list[object] = ["train", "--data", path, "--images", pictures, "--model", model_path, "--format", format]
        order += ["--out", tmp_path / "out", "--set", "train.dtype=fp32", "--set", "train.epochs=1"]
        order += ["--set", "train.lora.r=2", "--set", "train.max_length=60"]
        order += [word for one in more for word in ("--set", one)]
        assert command(monkeypatch, *order) == code
        told = capsys.readouterr().err
        assert "Traceback" not in told
        return told

    return call


def row(**changes: Any) -> dict[str, Any]:
    return {"prompt": "what is there ?", "chosen": "a red circle", "rejected": "no", "images": ["0.png"], **changes}


def lines(*rows: Any) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


def parquet(*rows: dict[str, Any]) -> bytes:
    data = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), data)  # pyright: ignore[reportUnknownMemberType]
    return data.getvalue()


GOOD = (row(), row(images=["1.png"]))


@pytest.mark.parametrize(
    ("data", "name", "words"),
    [
        (b"", "a.jsonl", "is empty"),
        (b"\n \n", "a.jsonl", "holds no row"),
        (lines(*GOOD).decode().encode("utf-16"), "a.jsonl", "is UTF-16"),
        (lines(*GOOD).replace(b"red", b"r\xe9d"), "a.jsonl", "line 1, byte 44: 0xe9 is not UTF-8"),
        (parquet(*GOOD)[:-40], "a.parquet", "cannot be read as Parquet"),
        (json.dumps(GOOD).encode()[:-30], "a.json", "damaged JSON"),
        (
            lines({"question": "what ?"}),
            "a.jsonl",
            "none of the 1 rows of {} can be used (1 bad_record). The first is a.jsonl:1: chosen and rejected must",
        ),
        (lines(row(rejected="a red circle")), "a.jsonl", "none of the 1 rows of {} gives a pair: 1 identical"),
        (lines(row(images=["9.png"])), "a.jsonl", "(1 missing_image). The first is a.jsonl:1: 'images:9.png'"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_in_words(
    train: Train, tmp_path: Path, data: bytes, name: str, words: str
) -> None:
    told = train(data, code=1, name=name)
    assert f"error: {tmp_path / name}" in told or "error: none of the" in told
    assert words.format(tmp_path / name) in told.replace("\n", " ")
    assert not (tmp_path / "out" / "checkpoint").exists()


ROWS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("bad_record", row(chosen=None)),
    ("bad_record", row(rejected=7)),
    ("bad_record", row(prompt=7)),
    ("bad_record", {**{key: value for key, value in row().items() if key != "prompt"}, "question": "what is there ?"}),
    ("empty_prompt", row(prompt=None)),
    ("bad_record", row(images=7)),
    ("bad_record", row(images=[None])),
    ("bad_record", row(margin="much")),
    ("bad_record", row(margin=float("nan"))),
    ("bad_record", row(images=None, img_path="0.png")),
    ("bad_record", row(chosen=[{"role": "assistant", "content": "yes"}])),
    ("bad_record", row(prompt=[{"role": "system", "content": "be terse"}, {"role": "user", "content": "what ?"}])),
    ("empty_prompt", row(prompt=" ")),
    ("identical", row(rejected="a red circle")),
    ("duplicate", row()),
    ("duplicate", row(margin=2.0)),
    ("missing_image", row(images=["9.png"])),
    ("missing_image", row(prompt=[{"role": "user", "content": [{"type": "image"}] * 2}], images=["0.png"])),
    ("refused_path", row(images=["../a.jsonl"])),
    ("refused_path", row(images=["/etc/hostname"])),
    ("refused_uri", row(images=["http://127.0.0.1/a.png"])),
    ("too_long", row(prompt="what " * 100)),
)


def test_rows_that_cannot_be_used_are_counted_by_reason_before_training(train: Train, tmp_path: Path) -> None:
    told = train(lines(*GOOD, *(hostile for _, hostile in ROWS)))
    for reason, count in Counter(reason for reason, _ in ROWS).items():
        assert f"  {count} left out: {reason}\n" in told
    assert f"{2 + len(ROWS)} rows, 3 pairs of 3 prompts" in told and "2 pairs of 2 groups to train on" in told
    dropped = {one.record_id: one for one in tables.read(tmp_path / "out" / "dropped" / "exchange.parquet", Dropped)}
    found = [one and one.reason for one in (dropped.get(f"a.jsonl:{number}") for number in range(3, 3 + len(ROWS)))]
    assert found == [reason if reason != "too_long" else None for reason, _ in ROWS]
    assert dropped["a.jsonl:12"].detail == "its picture is in the column img_path, which must be called images"


def test_what_is_kept_but_doubtful_is_said(train: Train) -> None:
    opposite = row(chosen="no", rejected="a red circle")
    told = train(
        lines(*GOOD, opposite, row(prompt="is <image> it ?"), row(prompt="and ?", images=[]), row(images=["2.png"]))
    )
    assert "6 rows, 6 pairs of 5 prompts" in told and "left out" not in told
    assert "1 pairs whose opposite is a pair as well; both are kept" in told
    assert "1 rows that say <image>, which is read as a word" in told
    assert "1 instructions without a picture" in told


def test_forms_may_be_mixed_and_control_words_are_words(train: Train, tmp_path: Path) -> None:
    """Text beside messages, a byte order mark, `<image>` and `</s>` as words, other pictures to one prompt."""
    messages = row(
        prompt=[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what is there ?"}]}],
        chosen=[{"role": "assistant", "content": "yes"}],
        rejected=[{"role": "assistant", "content": [{"type": "text", "text": "no"}]}],
    )
    written = row(prompt="</s> is <image> it <s> ?", chosen="</s> yes", rejected="<image> no")
    two = (row(images=["0.png", "1.png"]), row(images=["1.png", "0.png"]))
    told = train(b"\xef\xbb\xbf" + lines(*GOOD, messages, written, *two))
    assert "6 pairs of 5 groups to train on" in told, "the messages are of the first row's prompt and picture"
    shown = [len(one.images) for one in tables.read(tmp_path / "out" / "instructions.parquet", Instruction)]
    assert sorted(shown) == [1, 1, 1, 2, 2]


def odd_pictures(folder: Path) -> dict[str, str]:
    """Files and what becomes of them; empty for those that are used."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "whole.jpg")
    (folder / "cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:900])
    (folder / "empty.png").write_bytes(b"")
    (folder / "words.png").write_bytes(b"no picture at all")
    Image.new("1", (30_000, 30_000)).save(folder / "bomb.png")
    Image.fromarray(np.full((24, 24), 40_000, np.uint16)).save(folder / "16bit.png")
    Image.new("CMYK", (24, 24), (10, 20, 30, 40)).save(folder / "cmyk.jpg")
    Image.new("P", (24, 24), 3).save(folder / "palette.png")
    Image.new("RGBA", (24, 24), (1, 2, 3, 0)).save(folder / "clear.webp")
    more = [Image.new("RGB", (24, 24), (255, 0, 0))]
    Image.new("RGB", (24, 24)).save(folder / "moving.gif", save_all=True, append_images=more)
    turned = Image.Exif()
    turned[0x112] = 6
    Image.new("RGB", (48, 24), (9, 0, 9)).save(folder / "turned.jpg", exif=turned)
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("RGB", (200, 1)).save(folder / "line.png")
    bad = dict.fromkeys(("cut.jpg", "empty.png", "words.png"), "bad_image") | {"bomb.png": "image_too_large"}
    good = ("16bit.png", "cmyk.jpg", "palette.png", "clear.webp", "moving.gif", "turned.jpg", "dot.png", "line.png")
    return {**bad, **dict.fromkeys(good, "")}


def test_pictures_of_every_kind_are_used_or_counted(train: Train, pictures: Path) -> None:
    odd = odd_pictures(pictures)
    told = train(lines(*GOOD, *(row(images=[name], prompt=f"what is in {name} ?") for name in odd)))
    assert "  3 left out: bad_image" in told and "  1 left out: image_too_large" in told
    used = 2 + sum(not reason for reason in odd.values())
    assert f"{used} pairs of {used} groups to train on" in told


def test_pictures_come_inside_a_file_and_broken_ones_are_counted(train: Train, pictures: Path) -> None:
    data = [(pictures / f"{number}.png").read_bytes() for number in range(3)]
    shown: list[dict[str, Any]] = [{"bytes": one, "path": None} for one in (*data, data[0][:40])]
    told = train(
        parquet(*(row(images=[one]) for one in shown), row(images=[{"bytes": None, "path": None}])), name="a.parquet"
    )
    assert "3 pairs of 3 groups to train on" in told
    assert "  1 left out: bad_image" in told and "  1 left out: bad_record" in told


def test_rlhf_v_keeps_its_texts_in_one_column(train: Train) -> None:
    def packed(number: int, text: Any) -> dict[str, Any]:
        return {"ds_name": "RLHF-V", "image_path": f"{number}.png", "text": json.dumps(text), "idx": number}

    said = {"question": "what is there ?", "chosen": "a red circle", "rejected": "no"}
    told = train(
        lines(*(packed(number, said) for number in range(3)), packed(3, ["what ?"]), {**packed(3, 0), "text": "{"}),
        format="",
    )
    assert "a.jsonl, read as rlaif_v: 5 rows" in told, "the columns say which format it is"
    assert "3 pairs of 3 groups to train on" in told and "  2 left out: bad_record" in told


def test_no_pair_left_says_what_to_change(train: Train) -> None:
    assert "(2 too_long): raise [train] max_length" in train(lines(*GOOD), "train.max_length=4", code=1)


def test_the_command_line_and_not_an_earlier_one_decides(train: Train, tmp_path: Path) -> None:
    """Wrong or other settings of one command are not those of the next, and that it begins anew is said."""
    first = train(lines(*GOOD), "train.learning_rate=1e-3")
    assert "begins anew" not in first
    before = (tmp_path / "out" / "checkpoint" / "adapter_model.safetensors").read_bytes()
    assert "there is no train plug-in" in train(lines(*GOOD), "train.loss.use=nobody", code=2)
    assert "epochs: input should be" in train(lines(*GOOD), "train.epochs=0", code=2)
    assert "seed: input should be" in train(lines(*GOOD), "train.seed=-1", code=2)
    other = train(lines(*GOOD), "train.learning_rate=1e-3", "train.seed=3")
    assert "checkpoint: other data or settings than last time: training begins anew" in other
    assert (tmp_path / "out" / "checkpoint" / "adapter_model.safetensors").read_bytes() != before
    train(lines(*GOOD), "train.learning_rate=1e-3")
    assert (tmp_path / "out" / "checkpoint" / "adapter_model.safetensors").read_bytes() == before


@pytest.mark.parametrize("kind", ["base", "adapter", "rank"])
def test_damaged_weights_are_an_error_in_words(model_path: Path, train: Train, tmp_path: Path, kind: str) -> None:
    train(lines(*GOOD))
    folder = tmp_path / kind
    shutil.copytree(model_path if kind == "base" else tmp_path / "out" / "checkpoint", folder)
    if kind == "rank":
        settings = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**settings, "r": 3}))
    else:
        (weights,) = folder.glob("*.safetensors")
        weights.write_bytes(weights.read_bytes()[:900])
    told = train(lines(*GOOD), f"train.{'model' if kind == 'base' else 'init'}={folder}", code=1)
    assert "error: cannot load" in told and str(folder) in told


def test_pictures_that_no_processor_takes_are_counted_and_the_others_trained(
    train: Train, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flat one is never shown to the processor, which would fill the memory with it; one that it refuses goes too."""
    from transformers import CLIPImageProcessorPil

    Image.new("RGB", (20_000, 1), (9, 9, 9)).save(pictures / "flat.png")
    Image.new("RGB", (60, 30), (9, 9, 9)).save(pictures / "odd.png")
    plain: Any = CLIPImageProcessorPil.preprocess
    widths: set[int] = set()

    def preprocess(self: Any, images: Any, *more: Any, **options: Any) -> Any:
        shown: Any = images[0]
        widths.add(shown.width)
        if shown.width == 60:
            raise ValueError("absolute aspect ratio must be smaller than 2")
        return plain(self, images, *more, **options)

    monkeypatch.setattr(CLIPImageProcessorPil, "preprocess", preprocess)
    told = train(lines(*GOOD, row(images=["flat.png"]), row(images=["odd.png"])))
    assert "2 left out: bad_image" in told and "2 pairs of 2 groups to train on" in told
    dropped = list(tables.read(tmp_path / "out" / "dropped" / "train.parquet", Dropped))
    assert sorted(one.detail for one in dropped) == [
        "images:flat.png has 20000 x 1 pixels: one side is more than 200 times the other",
        "the model's processor does not take images:odd.png: absolute aspect ratio must be smaller than 2",
    ]
    assert 20_000 not in widths
