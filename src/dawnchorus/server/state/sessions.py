"""Login sessions of browsers, as signed cookies.

A session ends when the cookie is too old, when the user logs out, or when the server no longer has the token.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from itsdangerous import BadSignature, URLSafeTimedSerializer
from sqlalchemy import delete

from dawnchorus.server.state.clock import now
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.tables import EndedSession


@dataclass(frozen=True)
class BrowserSession:
    """A valid session of a browser."""

    id: str
    """Random id, 32 hexadecimal digits."""
    token: str
    """Access token of the server with which the user logged in."""

    @property
    def csrf(self) -> str:
        """CSRF token in the forms of the session's pages; pages of other sites cannot read it."""
        return hmac.new(self.token.encode(), f"csrf {self.id}".encode(), "sha256").hexdigest()


class SessionStore:
    """Login sessions, which are valid on all servers that share the database and have the same access token.

    Args:
        database: database with the ended sessions.
        tokens: access tokens of the server, which are also the keys that sign the cookies.
        max_age_s: age at which a session ends.
    """

    def __init__(self, database: Database, tokens: Collection[str], *, max_age_s: int) -> None:
        self._database = database
        self._max_age_s = max_age_s
        self._serializers = {token: _serializer(token) for token in tokens}

    def start(self, token: str) -> str:
        """Start a session, and return the value of its cookie.

        Args:
            token: one of the server's access tokens.
        """
        return str(self._serializers[token].dumps(secrets.token_hex(16)))

    def find(self, cookie: str) -> BrowserSession | None:
        """Return the session of a cookie; None if the cookie is invalid or too old, or the user has logged out.

        Args:
            cookie: value of the cookie, a result of `start`.
        """
        for token, serializer in self._serializers.items():
            try:
                session = BrowserSession(serializer.loads(cookie, max_age=self._max_age_s), token)
            except BadSignature:
                continue
            with self._database.read() as rows:
                return session if rows.get(EndedSession, session.id) is None else None
        return None

    def end(self, session: BrowserSession) -> None:
        """End a session on all servers of the database, and delete old rows of sessions whose cookies have expired."""
        oldest = now() - timedelta(seconds=self._max_age_s)
        with self._database.write() as rows:
            rows.merge(EndedSession(id=session.id, ended_at=now()))
            rows.execute(delete(EndedSession).where(EndedSession.ended_at < oldest))


def _serializer(token: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(
        token, salt="dawnchorus session", signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256}
    )
