"""Where the app is hosted: who reaches it under which names, and what a Space's volume and hardware mean for runs."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from trainer.errors import sentence
from trainer.texts import mark, tr

VOLUME = Path("/data")
"""Where a Space mounts its persistent storage or its bucket."""
HOSTS = "PEFT_LAB_HOSTS"
"""The variable with host names, separated by commas, under which a proxy or a network's names reach the app."""
PROXIES = "FORWARDED_ALLOW_IPS"
"""Uvicorn's variable with the addresses or networks of proxies that are believed, separated by commas."""
PRIVATE = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,127.0.0.0/8,fc00::/7,::1"
"""Networks that a Space's own proxies are in (RFC 1918, 4193 and 6598): nobody outside has such an address."""
INSIDE = ("*.local", "*.internal")
"""Names within a network, which nobody can register (RFC 6762; ICANN's reserved `internal`)."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def on_space(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the program runs as a Hugging Face Space."""
    return bool((os.environ if environment is None else environment).get("SPACE_ID"))


def public(environment: Mapping[str, str] | None = None) -> bool:
    """Whether others than the machine's own user can reach the app.

    That is a Space, a password, a network, a share link, or a proxy, which a setting on names or proxies declares.
    """
    environment = os.environ if environment is None else environment
    if any(environment.get(name) for name in (HOSTS, PROXIES, "GRADIO_ROOT_PATH")):
        return True
    shared = environment.get("GRADIO_SHARE", "").lower() == "true"
    address = environment.get("GRADIO_SERVER_NAME", "").strip("[]") or LOOPBACK[1]
    return on_space(environment) or bool(environment.get("PEFT_LAB_PASSWORD")) or shared or not _is_loopback(address)


def trusted_proxies(environment: Mapping[str, str] | None = None) -> str:
    """The proxies whose headers tell the visitor's address, as Uvicorn takes them; empty where none is declared.

    Of a Space these are the private networks, so that an address that a visitor writes into the header is not taken
    for theirs: the last one that is not a proxy's counts.
    """
    environment = os.environ if environment is None else environment
    return environment.get(PROXIES, "").strip() or (PRIVATE if on_space(environment) else "")


@dataclass(frozen=True)
class Hosts:
    """The host names under which the app answers: against DNS rebinding, where another site's name leads here.

    A numeric address is always right as the Host header: a browser writes it there only for a page at that address. So
    is a name without a dot, such as a machine's on its own network: nobody can register one. Each of `names` may begin
    with `*.` for all names below a domain.
    """

    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, environment: Mapping[str, str], *, share: str = "") -> Hosts:
        """From environment variables; `share` is the address of Gradio's tunnel, if there is one."""
        names = [*environment.get(HOSTS, "").split(","), *environment.get("SPACE_HOST", "").split(",")]
        bound = environment.get("GRADIO_SERVER_NAME", "").strip("[]")
        names += [bound, host_of(share), host_of(environment.get("GRADIO_ROOT_PATH", ""))]
        if bound and not _is_loopback(bound):
            # In a container the machine's own name is unknown.
            names += [socket.gethostname().lower(), *INSIDE]
        if on_space(environment):
            names += INSIDE
        return cls(tuple(dict.fromkeys(name.strip().lower().rstrip(".") for name in names if name.strip())))

    def knows(self, host: str) -> bool:
        """Whether the app answers under the name in a Host header."""
        name = _name(host)
        numeric = _address(name) is not None
        return bool(name) and (numeric or "." not in name or _is_loopback(name) or self._named(name))

    def may_send(self, origin: str, host: str) -> bool:
        """Whether a page at `origin` may send requests to the app at `host`: its own, or one of `names`."""
        sender, name = host_of(origin), _name(host)
        if not sender:
            return False
        return sender == name or self._named(sender) or (_is_loopback(sender) and _is_loopback(name))

    def _named(self, name: str) -> bool:
        return any(name == one or (one.startswith("*.") and name.endswith(one[1:])) for one in self.names)


def host_of(address: str) -> str:
    """The host name in an http or https address; empty for anything else, such as an Origin header of `null`."""
    try:
        parts = urlsplit(address)
        return (parts.hostname or "").rstrip(".") if parts.scheme in ("http", "https") else ""
    except ValueError:
        return ""


def _name(host: str) -> str:
    """A Host header's name without its port; empty for one that is malformed."""
    if "[" in host and not re.fullmatch(r"\[[0-9A-Fa-f:.]+\](:\d*)?", host):
        return ""
    return "" if set(host) & set("/?#@\\ ") else host_of(f"http://{host}")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _is_loopback(name: str) -> bool:
    address = _address(name)
    return name in LOOPBACK or name.endswith(".localhost") or (address is not None and address.is_loopback)


def network_of(address: str) -> str:
    """What counts as one visitor's address: an IPv4 address, or an IPv6 network of 64 bits, which one household has."""
    parsed = _address(address)
    if not isinstance(parsed, ipaddress.IPv6Address):
        return address
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))


def zero_gpu(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the Space is on ZeroGPU, where one function of the page at a time has a GPU, for seconds."""
    return (os.environ if environment is None else environment).get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def mounted(folder: Path) -> bool:
    """Whether a volume is mounted at this folder. The container's own folders are lost when it stops."""
    return os.path.ismount(folder)


@cache
def why_unfit(folder: Path) -> str | None:
    """Why a folder cannot hold runs, marked for `tr`; None where it can.

    Tries the file operations that a store needs: a bucket may lack some of them.
    """
    from filelock import FileLock

    if not folder.is_dir():
        return mark("there is none")
    probe = None
    try:
        probe = Path(tempfile.mkdtemp(prefix=".peft-lab-", dir=folder))
        with FileLock(probe / "lock", timeout=1):
            for line in (b"a\n", b"b\n"):
                handle = os.open(probe / "lines", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
                try:
                    os.write(handle, line)
                    os.fsync(handle)
                finally:
                    os.close(handle)
        (probe / "new").mkdir()
        os.replace(probe / "new", probe / "run")
        return None if (probe / "lines").read_bytes() == b"a\nb\n" else mark("what is added to a file is lost there")
    except (OSError, NotImplementedError) as error:
        return getattr(error, "strerror", None) or str(error) or type(error).__name__
    finally:
        if probe is not None:
            shutil.rmtree(probe, ignore_errors=True)


def store_root() -> Path | None:
    """The store's folder on a Space's volume. None elsewhere, and on a Space without a suitable volume."""
    return VOLUME / "peft-lab" if on_space() and mounted(VOLUME) and why_unfit(VOLUME) is None else None


def copies_bundled_runs(*, empty: bool) -> bool:
    """Whether the runs that come with the program are copied into the store when the app starts.

    PEFT_LAB_BUNDLED=0 leaves them out, 1 copies them into any store, as on a Space; else a store that is `empty` gets
    them, which has no runs and never had those.
    """
    setting = os.environ.get("PEFT_LAB_BUNDLED", "")
    return setting != "0" and (empty or on_space() or setting == "1")


def source_address(environment: Mapping[str, str] | None = None) -> str:
    """The address of the program's source where the app's host has it, a Space's files; empty elsewhere."""
    space = (os.environ if environment is None else environment).get("SPACE_ID")
    return f"https://huggingface.co/spaces/{space}/tree/main" if space else ""


def about_runs(root: Path) -> str:
    """A sentence that warns a Space's visitor that runs are lost at a restart; empty where they are not."""
    there = mounted(VOLUME)
    if not on_space() or (there and root.resolve().is_relative_to(VOLUME)):
        return ""
    why = why_unfit(VOLUME)
    if there and why:
        return tr(
            "Runs are lost when this Space restarts or sleeps: its volume cannot hold runs ({why}). "
            "To keep one, open it in Train, make a zip and download it.",
            why=tr(why),
        )
    return tr(
        "Runs are lost when this Space restarts or sleeps: this Space has no volume. "
        "To keep one, open it in Train, make a zip and download it."
    )


def about_kernels() -> str:
    """A sentence on the package through which transformers can run code from the Hub; empty where it is not there."""
    if importlib.util.find_spec("kernels") is None:
        return ""
    return tr(
        "The package kernels is installed: through it transformers can run code from the Hub (CVE-2026-4372). No file "
        "that is opened here can ask for that; uninstall the package if nothing else needs it."
    )


def about_hardware(kind: str) -> str:
    """A sentence on what a Space's hardware means for runs, or an empty text; `kind` is the detected device's."""
    if zero_gpu():
        return tr(
            "ZeroGPU lends a GPU for seconds at a time, too short to train: everything here runs on the CPU. "
            "The owner of this Space can choose a GPU that trains, such as t4-small, in its settings."
        )
    if kind == "cpu" and on_space():
        return tr("The owner of this Space can choose a GPU, such as t4-small, in its settings.")
    return ""


def admit_zero_gpu() -> None:
    """Report an unused GPU function to ZeroGPU, which stops a Space that has none.

    Its package reports when `gr.Blocks.launch` is called; this app has its own server, and calls the same function.
    Not tested on ZeroGPU itself. Its package needs a CUDA build of torch to be imported; without, the app goes on.
    """
    if not zero_gpu():
        return
    try:
        import spaces
        from spaces.zero import startup

        spaces.GPU(_nothing)
        startup()
    except Exception as error:
        print(sentence(error), file=sys.stderr, flush=True)


def _nothing() -> None:
    return None
