"""Addresses of Ray clusters."""

from __future__ import annotations

import sys

import pytest
from tests.fixtures.machines import free_port

from dawnchorus.errors import InputError, MissingExtraError
from dawnchorus.identification.ray_cluster import connect_to_cluster


@pytest.mark.parametrize("address", ["recordings", "ray://head:10001", "head", "head:x", ""])
def test_what_is_no_url_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="ray: expected the address of a cluster's head like 192"):
        connect_to_cluster(address).__enter__()


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "localhost:{}", "127.0.0.1:99999"])
def test_a_head_that_does_not_answer_is_said_at_once(address: str) -> None:
    with pytest.raises(InputError, match=r"ray: cannot connect to .* \(.*\)\. Start one: `RAY_AUTH_MODE=token ray"):
        connect_to_cluster(address.format(free_port())).__enter__()


def test_ray_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with pytest.raises(MissingExtraError, match=r"needs the package 'ray'.*pip install 'dawnchorus\[ray\]'"):
        connect_to_cluster("auto").__enter__()
