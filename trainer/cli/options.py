"""The options that several commands share: their declarations, and the settings that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")]
Sets = Annotated[
    Optional[list[str]],
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="any setting of the recipe or the method, in a suite also METHOD.NAME=VALUE; may be repeated",
    ),
]
Track = Annotated[bool, typer.Option("--track", help="track with Weights & Biases")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="a run's id, or a beginning of it or a label of one run")]
Method = Annotated[str, typer.Option(metavar="METHOD", help="full, lora, qlora, adapter or adapter_fusion")]
Task = Annotated[Optional[str], typer.Option(metavar="TASK", help="a task's name or a file")]
Backbone = Annotated[Optional[str], typer.Option(metavar="BACKBONE", help="a backbone's name or a local folder")]
TextColumn = Annotated[
    Optional[str], typer.Option(metavar="COLUMN", help="for a file: the column with the text, or two as a||b")
]
LabelColumn = Annotated[Optional[str], typer.Option(metavar="COLUMN", help="for a file: the column with the label")]
SeveralLabels = Annotated[
    bool, typer.Option("--several-labels", help="for a file: a label cell is any number of labels, a list or a|b")
]
LabelColumns = Annotated[
    Optional[str],
    typer.Option(metavar="COLUMN,COLUMN", help="for a file with a column of 0 and 1 for each label: those columns"),
]
GroupColumn = Annotated[
    Optional[str], typer.Option(metavar="COLUMN", help="for a file: the column that joins sentences of one document")
]
SeparatorName = Annotated[
    Optional[str],
    typer.Option("--separator", metavar="NAME", help="for a CSV or TSV file: comma, semicolon, tab or pipe"),
]
EncodingName = Annotated[
    Optional[str], typer.Option("--encoding", metavar="NAME", help="for a file that is not UTF-8, such as cp1252")
]
ValidationFile = Annotated[Optional[str], typer.Option(metavar="FILE", help="for a file: another file to validate on")]
TestFile = Annotated[Optional[str], typer.Option(metavar="FILE", help="for a file: another file to test on")]
RunNames = "RUN,RUN"
"""How a list of runs is written in the help."""


def parse_settings(pairs: Sequence[str] | None) -> dict[str, Any]:
    """Settings by name, from the NAME=VALUE pairs after --set: see `recipes.parse_settings`."""
    from trainer.runs import recipes

    return recipes.parse_settings(pairs or ())


def file_settings(*, label_columns: str | None, **given: Any) -> dict[str, Any]:
    """The settings of a file's columns and held-out files that are given; those that are None or False are left out.

    The label columns are written a,b, or as a JSON list where a name has a comma.
    """
    settings = {name: value for name, value in given.items() if value not in (None, False)}
    return settings | (parse_settings([f"label_columns={label_columns}"]) if label_columns else {})


def defaults() -> tuple[str, str]:
    """Default (task, backbone) on this machine: BERT base on SST-2 with CUDA, else those that need no Hub."""
    # Importing torch takes seconds: only on a machine that may have a GPU.
    if _has_nvidia_driver():
        from trainer.machine.device import detect

        if detect().kind == "cuda":
            return "sst2", "bert-base"
    return "movies", "minilm"


def _has_nvidia_driver() -> bool:
    import shutil

    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
