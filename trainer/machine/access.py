"""Who may change runs. Everybody may view, compare and predict; on a Space, or with a password, not everybody trains.

On one's own machine everything is open. On a Hugging Face Space (SPACE_ID is set) runs are changed by the Space's
owner, signed in with Hugging Face, or by anybody with the password in PEFT_LAB_PASSWORD. Where that variable is set
elsewhere, such as on a classroom's server, the password is required there too.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from trainer.errors import UserError
from trainer.machine import hosting
from trainer.texts import tr

PASSWORD = "PEFT_LAB_PASSWORD"
HOURS = 12
"""How long a browser need not send the password again."""
GUESSES, GUESSES_OF_ALL, SECONDS = 5, 60, 60.0
"""Limits on wrong passwords: from one address, from all addresses together, and the seconds in which they are counted.

On a Space, whose visitors may share an address, only the limit for all counts, or a stranger's five wrong passwords
would lock the owner out.
"""
WRITERS = ("admin", "write")
"""Roles of an organisation that may change its Spaces."""


class Refused(UserError):
    """The error for a visitor who may view and predict, but not change runs."""


@dataclass(frozen=True)
class Visitor:
    """The sender of a request: the page's session, the network address, and the Hugging Face profile, if signed in.

    `origin` is the request's Origin header: the site whose page sent it. A program sends none.
    """

    session: str | None = None
    address: str = ""
    profile: Mapping[str, Any] | None = None
    origin: str | None = None

    @property
    def person(self) -> str:
        """Who this is for a count of what one person does: a signed-in user, else a network address."""
        name = str((self.profile or {}).get("preferred_username") or "")
        return f"user {name.casefold()}" if name else f"address {hosting.network_of(self.address)}"


@dataclass(frozen=True)
class Rules:
    """Where the app runs and how its owner is known, read from the environment once."""

    space: str = ""
    owner: str = ""
    password: str = field(default="", repr=False)
    sign_in: bool = False
    hosts: tuple[str, ...] = ()

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Rules:
        """The rules from environment variables, under the names that a Space gives them."""
        space = environment.get("SPACE_ID", "")
        return cls(
            space=space,
            owner=(environment.get("SPACE_AUTHOR_NAME") or space.partition("/")[0]).casefold(),
            password=environment.get(PASSWORD, ""),
            # Without hf_oauth in the card a Space has no sign-in.
            sign_in=bool(space and environment.get("OAUTH_CLIENT_ID") and environment.get("SYSTEM") == "spaces"),
            hosts=tuple(host.strip() for host in environment.get("SPACE_HOST", "").split(",") if host.strip()),
        )

    @property
    def open(self) -> bool:
        """Whether everybody may do everything."""
        return not self.space and not self.password

    def owns(self, visitor: Visitor) -> bool:
        """Whether the visitor is signed in as the Space's owner, or as one who may write in the owning organisation.

        A request that another site's page sends along with the sign-in's cookie does not count.
        """
        if not (self.sign_in and self.owner and visitor.profile):
            return False
        if self.hosts and visitor.origin and urlsplit(visitor.origin).netloc not in self.hosts:
            return False
        if str(visitor.profile.get("preferred_username", "")).casefold() == self.owner:
            return True
        return any(
            str(one.get("preferred_username", "")).casefold() == self.owner and one.get("roleInOrg") in WRITERS
            for one in visitor.profile.get("orgs") or ()
        )

    def refusal(self, *, program: bool = False) -> Refused:
        """The sentence for somebody who may not change runs: on the page, or through an endpoint."""
        if program and self.password:
            return Refused(
                expected=tr("the password of this app"), got=tr("none"), fix=tr("give it as the argument password")
            )
        if self.sign_in and self.password:
            return Refused(
                expected=tr("the owner of this Space or its password"),
                got=tr("neither"),
                fix=tr(
                    "sign in with Hugging Face as its owner or give the password at the top of Train, then press again "
                    "(looking, comparing and predicting are open)"
                ),
            )
        if self.sign_in:
            return Refused(
                expected=tr("the owner of this Space"),
                got=tr("none"),
                fix=tr(
                    "sign in with Hugging Face as its owner at the top of Train, then press again "
                    "(looking, comparing and predicting are open)"
                ),
            )
        if self.password:
            return Refused(
                expected=tr("the password of this app"),
                got=tr("none"),
                fix=tr(
                    "give the password at the top of Train, then press again "
                    "(looking, comparing and predicting are open)"
                ),
            )
        return Refused(
            expected=tr("a Space whose owner can be known"),
            got=tr("one without sign-in and password"),
            fix=tr("its owner sets the secret {name} in the Space's settings", name=PASSWORD),
        )


class Access:
    """The rules, and the grants of browsers that gave the password. One for a running app; safe for several threads."""

    def __init__(self, rules: Rules | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.rules = rules if rules is not None else Rules.of(os.environ)
        self._clock, self._lock = clock, threading.Lock()
        self._grants: dict[str, float] = {}
        self._sessions: dict[str, str] = {}
        self._wrong: dict[str, deque[float]] = {}

    def allows(self, visitor: Visitor, password: str | None = None) -> bool:
        """Whether the visitor may change runs; `password` is what a program sends with its request.

        Raises `Refused` for a wrong password, and after too many wrong ones.
        """
        if self.rules.open or self.rules.owns(visitor):
            return True
        if password:
            self._check(password, visitor.address)
            return True
        with self._lock:
            return self._is_valid(self._sessions.get(visitor.session or ""))

    def holds(self, grant: str | None) -> bool:
        """Whether a browser's grant is valid. Not enough to change runs: other sites' pages can send cookies."""
        with self._lock:
            return self._is_valid(grant)

    def require(self, visitor: Visitor, password: str | None = None, *, program: bool = False) -> None:
        """Raise `Refused` for a visitor who may not change runs."""
        if not self.allows(visitor, password):
            raise self.rules.refusal(program=program)

    def unlock(self, visitor: Visitor, password: str) -> str:
        """A grant for the visitor's browser, which opens its later pages too. Raises `Refused` for a wrong password."""
        self._check(password, visitor.address)
        grant = secrets.token_urlsafe(32)
        with self._lock:
            now = self._clock()
            self._grants = {old: end for old, end in self._grants.items() if end > now} | {grant: now + HOURS * 3600}
            self._sessions = {name: old for name, old in self._sessions.items() if old in self._grants}
        self.recognise(visitor, grant)
        return grant

    def recognise(self, visitor: Visitor, grant: str | None) -> bool:
        """Whether the browser's grant is valid; if so, the visitor's page may change runs from now on."""
        with self._lock:
            if not (visitor.session and self._is_valid(grant)):
                return False
            self._sessions[visitor.session] = str(grant)
            return True

    def lock(self, grant: str | None) -> None:
        """Revoke a grant, for every page that it opened."""
        with self._lock:
            self._grants.pop(grant or "", None)

    def _is_valid(self, grant: str | None) -> bool:
        return isinstance(grant, str) and self._grants.get(grant, 0.0) > self._clock()

    def _check(self, password: str, address: str) -> None:
        """Raise `Refused` unless this is the password. The comparison takes the same time for every guess.

        A program may send anything: a value that is no text is a wrong password.
        """
        if not self.rules.password:
            raise self.rules.refusal()
        passwords = (str(text).encode(errors="surrogatepass") for text in (password, self.rules.password))
        correct = hmac.compare_digest(*(hashlib.sha256(text).digest() for text in passwords))
        now, most = self._clock(), GUESSES_OF_ALL if self.rules.space else GUESSES
        with self._lock:
            for name, times in list(self._wrong.items()):
                while times and times[0] <= now - SECONDS:
                    times.popleft()
                if not times:
                    del self._wrong[name]
            mine = self._wrong.get(address, deque())
            if len(mine) >= most or sum(map(len, self._wrong.values())) >= GUESSES_OF_ALL:
                raise Refused(
                    expected=tr("at most {count} wrong passwords a minute", count=most),
                    got=tr("more"),
                    fix=tr("wait a minute and try again"),
                )
            if not correct:
                self._wrong.setdefault(address, mine).append(now)
                raise Refused(expected=tr("the password of this app"), got=tr("another one"), fix=tr("type it again"))
