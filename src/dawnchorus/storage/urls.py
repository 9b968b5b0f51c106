"""URLs of objects in stores, split into the part that identifies the object and the secret part."""

from __future__ import annotations

import hashlib
import re
import urllib.parse
from dataclasses import dataclass, field, replace

HTTP_SCHEMES = frozenset(("http", "https"))
AZURE_SCHEMES = frozenset(("az", "azure", "adl", "abfs", "abfss"))
CLOUD_SCHEMES = frozenset(("s3", "s3a", "gs")) | AZURE_SCHEMES
ACCOUNT_SCHEMES = frozenset(("abfs", "abfss"))
"""Schemes with `container@account` in the place of the bucket."""
OBJECT_STORE_SCHEMES = CLOUD_SCHEMES | HTTP_SCHEMES
"""Schemes that obstore opens; fsspec opens all others."""

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://(?P<host>[^/]*)(?:/(?P<rest>.*))?", re.DOTALL)
_DIGEST = re.compile(r"[0-9a-f]{8}")
_WILDCARDS = re.compile(r"[*?\[]")

_SIGNATURE_PREFIXES = ("x-amz-", "x-goog-")
_SIGNATURE_NAMES = frozenset(
    {
        *("signature", "expires", "awsaccesskeyid", "googleaccessid", "policy", "key-pair-id", "token", "access_token"),
        *("sv", "ss", "srt", "sr", "sp", "se", "st", "spr", "sig", "sip", "skoid", "sktid", "skt", "ske", "sks", "skv"),
    }
)
"""Query parameters of signed URLs. They change with each signing while the object stays the same."""

_SIGNATURE = re.compile(r"\?(?:.*&)?(?:sig|signature|x-amz-signature|x-goog-signature)=", re.DOTALL | re.IGNORECASE)
_PORT = re.compile(r"[^:]*(?::[0-9]*)?|\[[^\]]*\](?::[0-9]*)?")

_UNQUOTED = "/~!$&'()*+,;=:@"
_QUERIES = re.compile(r"(https?://[^\s\"'<>?]*)\?[^\s\"'<>]*")
_LOGINS = re.compile(r"(?<=://)[^/?#\s]*@")


@dataclass(frozen=True)
class ObjectUrl:
    """The URL of an object, a folder or a pattern in a store; `str()` omits passwords, keys and signatures."""

    scheme: str
    """Scheme in lower case, without "://"."""
    host: str
    """Name of the bucket, container or server."""
    key: str
    """Path in the store, without a slash at its start, percent-decoded if `is_http`; "" for the whole store."""
    label: str = ""
    """Hexadecimal digest of the query parameters other than signatures, which identify the object; "" without any."""
    login: str = field(default="", repr=False, compare=False)
    """`user:password`, percent-encoded; secret. "" without a login."""
    query: str = field(default="", repr=False, compare=False)
    """Query string of a web server's URL, without "?"; may be secret. "" without a query."""

    def __str__(self) -> str:
        label = f"?{self.label}" if self.label else ""
        return f"{self.scheme}://{self.host}/{self._shown_key}{label}"

    @property
    def _shown_key(self) -> str:
        return urllib.parse.quote(self.key, safe=_UNQUOTED) if self.is_http else self.key

    @property
    def is_http(self) -> bool:
        """True for a web server, which cannot list objects."""
        return self.scheme in HTTP_SCHEMES

    @property
    def is_pattern(self) -> bool:
        """True if the key has a wildcard (`*`, `?` or `[`), and the store is not a web server."""
        return not self.is_http and _WILDCARDS.search(self.key) is not None

    @property
    def root(self) -> ObjectUrl:
        """URL of the store, with an empty key."""
        return replace(self, key="", label="", query="")

    @property
    def secret_text(self) -> str:
        """The whole URL with login and query parameters, for the libraries that open it."""
        login = f"{self.login}@" if self.login else ""
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{login}{self.host}/{self._shown_key}{query}"

    def at(self, key: str) -> ObjectUrl:
        """Return the URL of another object in the same store, without a query."""
        return replace(self, key=key, label="", query="")


def is_url(text: str) -> bool:
    """Return True for a text `scheme://...` other than `file://...`."""
    match = _URL.fullmatch(text)
    return match is not None and match["scheme"].lower() != "file"


def parse_url(text: str) -> ObjectUrl:
    """Parse a URL such as `s3://bucket/folder/a.wav`, `https://user:password@server/a.wav` or `sftp://server/folder`.

    Raises:
        ValueError: the text has no scheme, no bucket or server, a port that is no number, or a password or signature in
            a cloud's URL.
    """
    match = _URL.fullmatch(text)
    if match is None or not match["host"]:
        raise ValueError(f"expected a URL such as s3://bucket/folder, got {hide_secrets(text)!r}")
    scheme, host, key = match["scheme"].lower(), match["host"], match["rest"] or ""
    login = query = ""
    if scheme in CLOUD_SCHEMES:
        _check_no_secrets(scheme, host, key)
    else:
        login, _, host = host.rpartition("@")
    if scheme in HTTP_SCHEMES:
        path, _, query = f"{host}/{key}".partition("#")[0].partition("?")
        host, _, key = path.partition("/")
        key = urllib.parse.unquote(key)
    if _PORT.fullmatch(host) is None:  # else what follows a slash in a password would be shown
        raise ValueError(
            f"{scheme}://...: expected a number after the colon of the server. In a password write / as %2F, @ as %40, "
            f"? as %3F and # as %23"
        )
    label = _label(query)
    return ObjectUrl(scheme, host, key, label, login, "" if query == label else query)


def _check_no_secrets(scheme: str, host: str, key: str) -> None:
    """Refuse credentials in a cloud's URL, which would be ignored but shown; the message does not repeat them.

    Raises:
        ValueError: the URL has a login or a signature.
    """
    # A bucket has no colon and no @. Of a password with a slash, only the part before it is in `host`.
    has_login = ":" in host or ("@" in host and scheme not in ACCOUNT_SCHEMES)
    if has_login or _SIGNATURE.search(key):
        raise ValueError(
            f"{scheme}://...: expected a URL without user, password and signature. Credentials come from the "
            f"environment, as docs/STORES.md lists them; signed URLs begin with https://"
        )


def _label(query: str) -> str:
    """Return a digest of the query parameters other than signatures; a digest is returned as it is."""
    if _DIGEST.fullmatch(query):
        return query
    kept = [
        (name, value)
        for name, value in urllib.parse.parse_qsl(query, keep_blank_values=True)
        if name.lower() not in _SIGNATURE_NAMES and not name.lower().startswith(_SIGNATURE_PREFIXES)
    ]
    return hashlib.sha256(urllib.parse.urlencode(kept).encode()).hexdigest()[:8] if kept else ""


def hide_secrets(text: str) -> str:
    """Return a text in which http and https URLs have no query string, and logins in any URLs are `***`."""
    return _LOGINS.sub("***@", _QUERIES.sub(r"\1", text))
