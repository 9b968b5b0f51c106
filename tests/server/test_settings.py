"""Settings that need each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawnchorus.errors import InputError
from dawnchorus.server.settings import Role, Settings, token_roles


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "birds.example.org", "::"])
def test_public_host_requires_a_token(host: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a token is needed"):
        Settings(data=tmp_path, host=host)
    settings = Settings(data=tmp_path, host=host, tokens={"operator-secret": Role.ADMIN})
    assert "secret" not in repr(settings)
    with pytest.raises(InputError, match="fewer than 12 characters"):
        Settings(data=tmp_path, host=host, tokens={"short": Role.ADMIN})


def test_one_token_for_two_roles_is_refused() -> None:
    apart = token_roles(identify="for-identifying", train=None, admin="the-operators-one")
    assert apart == {"for-identifying": Role.IDENTIFY, "the-operators-one": Role.ADMIN}
    with pytest.raises(InputError, match=r"\$DAWNCHORUS_TRAIN_TOKEN and \$DAWNCHORUS_TOKEN: expected two tokens"):
        token_roles(identify=None, train="the-same-token", admin="the-same-token")
