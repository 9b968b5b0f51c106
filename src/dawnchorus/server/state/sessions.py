"""Sessions of browsers: signed cookies, which end by age, by logging out, or with their token."""

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
    """A valid session."""

    id: str
    token: str
    """The token that it was started with."""

    @property
    def csrf(self) -> str:
        """Token of its forms, which pages of other sites cannot read."""
        return hmac.new(self.token.encode(), f"csrf {self.id}".encode(), "sha256").hexdigest()


class SessionStore:
    """Sessions that any server of the database accepts while it has the token that signed their cookie."""

    def __init__(self, database: Database, tokens: Collection[str], *, max_age_s: int) -> None:
        self._database = database
        self._max_age_s = max_age_s
        self._serializers = {token: _serializer(token) for token in tokens}

    def start(self, token: str) -> str:
        """Start a session of a valid token, and return its cookie."""
        return str(self._serializers[token].dumps(secrets.token_hex(16)))

    def find(self, cookie: str) -> BrowserSession | None:
        """Return the session of a cookie; None if it is not valid, or not any more."""
        for token, serializer in self._serializers.items():
            try:
                session = BrowserSession(serializer.loads(cookie, max_age=self._max_age_s), token)
            except BadSignature:
                continue
            with self._database.read() as rows:
                return session if rows.get(EndedSession, session.id) is None else None
        return None

    def end(self, session: BrowserSession) -> None:
        """End a session, and delete those whose cookies have expired."""
        oldest = now() - timedelta(seconds=self._max_age_s)
        with self._database.write() as rows:
            rows.merge(EndedSession(id=session.id, ended_at=now()))
            rows.execute(delete(EndedSession).where(EndedSession.ended_at < oldest))


def _serializer(token: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(
        token, salt="dawnchorus session", signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256}
    )
