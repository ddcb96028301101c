"""What must hold before a copy of this project becomes a Space; nothing here needs a network but `resolve`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from huggingface_hub import SpaceHardware, metadata_load
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version
from yaml import YAMLError

FIELDS = {
    "title",
    "emoji",
    "colorFrom",
    "colorTo",
    "sdk",
    "sdk_version",
    "python_version",
    "app_file",
    "app_build_command",
    "app_port",
    "base_path",
    "fullWidth",
    "header",
    "short_description",
    "suggested_hardware",
    "suggested_storage",
    "models",
    "datasets",
    "tags",
    "thumbnail",
    "pinned",
    "license",
    "hf_oauth",
    "hf_oauth_scopes",
    "hf_oauth_expiration_minutes",
    "hf_oauth_authorized_org",
    "disable_embedding",
    "custom_headers",
    "startup_duration_timeout",
    "preload_from_hub",
}
"""Of a card's front matter: https://huggingface.co/docs/hub/spaces-config-reference, read in November 2026."""
NEEDED = ("title", "sdk", "sdk_version", "python_version", "app_file", "license")
COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
MAX_FILE = 10_000_000
"""A Space's repository takes larger files through LFS only, where a copy of what git tracks has none."""
MAX_TOTAL = 1_000_000_000
ADDED = ("gradio[oauth,mcp]=={sdk_version}", "uvicorn>=0.14.0", "websockets>=10.4", "spaces")
"""What a Gradio Space adds to the line that installs requirements.txt, as its build log shows (2026)."""
TORCH = "requirements-cuda.txt"
"""In space_config: what a Space's requirements.txt begins with, so that torch suits the drivers of its GPU."""
ZERO_GPU = "zero-"
"""How the names of ZeroGPU's hardware begin: it wants torch as the package index has it, and trains on the CPU here."""
SECRET_NAMES = re.compile(r"(^|/)(\.env(\..+)?|\.netrc|\.pypirc|id_(rsa|dsa|ecdsa|ed25519)|[^/]+\.(pem|key|p12|pfx))$")
SECRETS = {
    "a Hugging Face token": re.compile(rb"\bhf_[A-Za-z0-9]{30,}"),
    "a GitHub token": re.compile(rb"\b(gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{60,})"),
    "an OpenAI or Anthropic key": re.compile(rb"\bsk-(ant-|proj-)?[A-Za-z0-9_-]{32,}"),
    "an AWS key": re.compile(rb"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a Weights & Biases key": re.compile(rb"WANDB_API_KEY\s*[=:]\s*['\"]?[0-9a-f]{40}"),
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}


def every_problem(folder: Path, *, hardware: str) -> list[str]:
    """A sentence for whatever stands in the way of sending this folder as a Space; empty when nothing does."""
    found = [*_card(folder), *_sizes(folder), *_secrets(folder)]
    if not hardware.startswith(ZERO_GPU):
        found += _torch(folder)
    known = [one.value for one in SpaceHardware]
    if hardware not in known:
        found.append(f"Expected a Space's hardware ({', '.join(known)}), got {hardware!r}; choose one of these.")
    return found


def card_of(folder: Path) -> dict[str, Any]:
    """The front matter of the card at the folder's root; empty where there is none or it cannot be read."""
    try:
        return metadata_load(folder / "README.md") or {}
    except (OSError, ValueError, YAMLError):
        return {}


def files(folder: Path) -> Iterator[tuple[str, Path]]:
    """(path inside, path) of every file."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path


def _card(folder: Path) -> Iterator[str]:
    card = card_of(folder)
    if not card:
        yield "Expected a card with front matter in space_config/README.md, got none that can be read; mend it."
        return
    for name in sorted(set(card) - FIELDS):
        yield f"Expected fields that a Space knows in the card, got {name}; see the Hub's configuration reference."
    for name in (name for name in NEEDED if not card.get(name)):
        yield f"Expected {name} in the card, got nothing; add it."
    for name in ("colorFrom", "colorTo"):
        if card.get(name, "blue") not in COLOURS:
            yield f"Expected {name} of {', '.join(COLOURS)}, got {card[name]!r}; choose one of these."
    if len(card.get("short_description", "")) > 60:
        length = len(card["short_description"])
        yield f"Expected a short_description of at most 60 characters, got {length}; shorten it."
    if card.get("sdk") != "gradio":
        yield f"Expected sdk: gradio in the card, got {card.get('sdk')!r}; change it."
    if not (folder / str(card.get("app_file", "app.py"))).is_file():
        yield f"Expected the card's app_file in the copy, got no {card.get('app_file')}; commit it."
    hardware = card.get("suggested_hardware")
    if hardware is not None and hardware not in {one.value for one in SpaceHardware}:
        yield f"Expected a known suggested_hardware in the card, got {hardware!r}; choose one of the Hub's list."
    yield from _versions(folder, card)


def _versions(folder: Path, card: dict[str, Any]) -> Iterator[str]:
    """The card's versions against requirements.txt and pyproject.toml."""
    gradio = next((one for one in requirements(folder) if one.name == "gradio"), None)
    version = str(card.get("sdk_version", ""))
    if gradio is None:
        yield "Expected gradio in requirements.txt, got none; add it."
    elif version and not gradio.specifier.contains(version):
        yield f"Expected the card's sdk_version within {gradio}, got {version}; change one of them."
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    python = str(card.get("python_version", ""))
    if python and not SpecifierSet(project["requires-python"]).contains(python):
        yield f"Expected the card's python_version {project['requires-python']}, got {python}; change it."


def requirements(folder: Path) -> list[Requirement]:
    """What requirements.txt names."""
    lines = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line.partition(" #")[0]) for line in lines if line.strip() and line[0] not in "#-"]


@dataclass(frozen=True)
class Build:
    """The build of torch that a Space asks for: its exact version, such as 2.13.0+cu126, and the index that has it."""

    version: Version
    index: str


def lay_torch(folder: Path, hardware: str) -> None:
    """Put the lines that choose torch's build at the head of the copy's requirements.txt, if they are not there."""
    path, lines = folder / "requirements.txt", (folder / "space_config" / TORCH).read_text(encoding="utf-8")
    rest = path.read_text(encoding="utf-8")
    if not hardware.startswith(ZERO_GPU) and not rest.startswith(lines):
        path.write_text(f"{lines}{rest}", encoding="utf-8")


def torch_build(folder: Path) -> Build | None:
    """The build that the copy's requirements.txt names, or None where it leaves torch to the package index."""
    text = (folder / "requirements.txt").read_text(encoding="utf-8")
    index = re.search(r"^--extra-index-url\s+(\S+)", text, re.MULTILINE)
    exact = [
        Version(one.version)
        for requirement in requirements(folder)
        if requirement.name == "torch"
        for one in requirement.specifier
        if one.operator == "==" and "+" in one.version
    ]
    return Build(exact[0], index[1].rstrip("/")) if index and exact else None


def _torch(folder: Path) -> Iterator[str]:
    """The build of torch against its index, the range in requirements.txt, and the libraries of bitsandbytes."""
    build, where = torch_build(folder), f"space_config/{TORCH}"
    if build is None:
        yield f"Expected an index and torch's exact build in {where}, got none; write them as torch==2.13.0+cu126."
        return
    if not build.index.endswith(f"/{build.version.local}"):
        yield f"Expected torch's index for {build.version.local}, got {build.index}; change one of them in {where}."
    for one in requirements(folder):
        if one.name == "torch" and not one.specifier.contains(build.version):
            yield f"Expected torch's build within {one}, got {build.version}; change {where} or requirements.txt."
    library = f"libbitsandbytes_cuda{str(build.version.local).removeprefix('cu')}.so"
    try:
        listed = {path.name for path in metadata.files("bitsandbytes") or ()}
    except metadata.PackageNotFoundError:
        listed = set()
    if library not in listed:
        yield f"Expected bitsandbytes to have {library}, got none here; install requirements.txt, or change {where}."


def missing_wheel(folder: Path) -> str | None:
    """A sentence where torch's own index does not answer, or lacks the build for the card's Python; needs the network.

    Other packages come from the package index, which pip asks in `resolve`.
    """
    import requests

    build, python = torch_build(folder), str(card_of(folder)["python_version"])
    if build is None:
        return None
    address, interpreter = f"{build.index}/torch/", "cp" + "".join(python.split(".")[:2])
    try:
        answer = requests.get(address, timeout=30)
        answer.raise_for_status()
    except requests.RequestException as error:
        status = getattr(error.response, "status_code", None)
        reason = f"status {status}" if status else type(error).__name__
        return (
            f"Expected an answer of {address}, got {reason}; check the network and run it again, or give --no-resolve."
        )
    versions = set()
    for target in re.findall(r"""<a\s[^>]*href=["']([^"']+)""", answer.text):
        try:
            _, version, _, tags = parse_wheel_filename(unquote(urlsplit(target).path.rpartition("/")[2]))
        except InvalidWheelFilename:
            continue
        if any(tag.interpreter == tag.abi == interpreter and _is_linux(tag.platform) for tag in tags):
            versions.add(version)
    if build.version in versions:
        return None
    newest = f"{max(versions)} as its newest" if versions else "no build for it"
    return (
        f"Expected torch {build.version} for Python {python} at {address}, got {newest}; "
        f"put a version that is there into space_config/{TORCH}."
    )


def _is_linux(platform: str) -> bool:
    """Whether a wheel's platform is a Space's: Linux on x86-64."""
    return "linux" in platform and platform.endswith("x86_64")


def _sizes(folder: Path) -> Iterator[str]:
    total = 0
    for name, path in files(folder):
        size = path.stat().st_size
        total += size
        if size > MAX_FILE:
            yield f"Expected files of at most 10 MB, got {size / 1e6:.0f} MB in {name}; take it out of git."
    if total > MAX_TOTAL:
        yield f"Expected at most 1 GB in all, got {total / 1e9:.1f} GB; take large files out of git."


def _secrets(folder: Path) -> Iterator[str]:
    for name, path in files(folder):
        if SECRET_NAMES.search(name):
            yield f"Expected no file that holds secrets, got {name}; take it out of git."
            continue
        content = path.read_bytes()
        for what, pattern in SECRETS.items():
            if pattern.search(content):
                yield f"Expected no secret in the files, got {what} in {name}; revoke it and take it out of git."


def notes(folder: Path) -> list[str]:
    """What is no problem and should be known."""
    found = []
    version = str(card_of(folder).get("sdk_version", ""))
    if (here := metadata.version("gradio")) != version:
        found.append(f"The Space gets gradio {version}, while this environment was tried with {here}.")
    return found


def resolve(folder: Path) -> list[str]:
    """Ask pip what it would install on the Space, which also needs what a Space adds: "name version" of each.

    Needs the package index. Raises `ValueError` with pip's reason where the requirements do not go together.
    """
    card = card_of(folder)
    python = str(card["python_version"])
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    command += ["--disable-pip-version-check", "--no-input", "-r", str(folder / "requirements.txt")]
    command += [one.format(sdk_version=card["sdk_version"]) for one in ADDED]
    if python != ".".join(map(str, sys.version_info[: python.count(".") + 1])):
        command += ["--python-version", python, "--only-binary", ":all:", "--target", str(folder / "none")]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        told = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise ValueError(" ".join(told)[:1500] or "pip said nothing")
    rows = (one["metadata"] for one in json.loads(done.stdout)["install"])
    return sorted(f"{row['name'].lower()} {row['version']}" for row in rows)
