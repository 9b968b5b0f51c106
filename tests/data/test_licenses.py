"""Licenses are known however they are written, and none of a data set's is passed over."""

from __future__ import annotations

import pytest

from dawnchorus.data.licenses import allows_derivatives, deed_url, is_allowed, parse_license, strictest


@pytest.mark.parametrize(
    ("text", "spdx"),
    [
        ("https://creativecommons.org/licenses/by-nc-sa/4.0/", "CC-BY-NC-SA-4.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("CC BY-NC 3.0", "CC-BY-NC-3.0"),
        ("CC-BY-SA-4.0", "CC-BY-SA-4.0"),
        ("cc0", "CC0-1.0"),
        ("CC BY-NC-ND 4.0", "CC-BY-NC-ND-4.0"),
        ("cc by nc nd", "CC-BY-NC-ND-4.0"),
        ("Creative Commons Attribution-NonCommercial-ShareAlike 4.0", "CC-BY-NC-SA-4.0"),
        ("Creative Commons Attribution-Noncommercial-Share Alike 3.0 Unported", "CC-BY-NC-SA-3.0"),
        ("Creative Commons Attribution-NonCommercial-NoDerivatives 4.0", "CC-BY-NC-ND-4.0"),
        ("Creative Commons Attribution-NonCommercial-NoDerivs 2.5", "CC-BY-NC-ND-2.5"),
        ("Creative Commons Attribution-ShareAlike 3.0", "CC-BY-SA-3.0"),
        ("Attribution 4.0 International (CC BY 4.0)", "CC-BY-4.0"),
        ("Attribution-NonCommercial 4.0 International", "CC-BY-NC-4.0"),
        ("Creative Commons Attribution 4.0", "CC-BY-4.0"),
        ("Creative Commons Zero v1.0 Universal", "CC0-1.0"),
        ("Public Domain Mark 1.0", "CC-PDM-1.0"),
        ("https://creativecommons.org/licenses/by-nd-nc/2.0/", "CC-BY-NC-ND-2.0"),
        ("Attribution: A. Bird", "Attribution: A. Bird"),
        ("CC-BY-XX", "CC-BY-XX"),
        ("", None),
        ("all rights reserved", "all rights reserved"),
    ],
)
def test_licenses_have_spdx_names(text: str, spdx: str | None) -> None:
    assert parse_license(text) == spdx


def test_no_license_is_not_allowed() -> None:
    assert not is_allowed(None, ("CC0", "CC-BY"))
    assert is_allowed("CC-BY-3.0", ("CC-BY",))
    assert not is_allowed("CC-BY-NC-3.0", ("CC-BY",))


@pytest.mark.parametrize(
    ("licenses", "spdx"),
    [
        (("CC-BY-4.0", None), "unknown"),
        (("CC-BY-4.0", "all rights reserved"), "unknown"),
        (("all rights reserved",), "all rights reserved"),
        ((), "unknown"),
        (("CC-BY-ND-4.0", "CC-BY-SA-4.0"), "CC-BY-ND-4.0"),
        (("CC-BY-NC-3.0", "CC-BY-SA-4.0", "CC0-1.0"), "CC-BY-NC-SA-4.0"),
        (("CC-BY-NC-SA-4.0", "CC-BY-NC-ND-4.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC0-1.0"), "CC-BY-NC-ND-4.0"),
        (("CC-BY-4.0", "apache-2.0"), "CC-BY-4.0"),
        (("CC0-1.0", "Apache-2.0"), "Apache-2.0"),
        (("CC0-1.0", None), "unknown"),
    ],
)
def test_weights_have_the_restrictions_of_all_licenses(licenses: tuple[str | None, ...], spdx: str) -> None:
    assert strictest(licenses) == spdx


def test_no_derivatives_is_known_and_has_a_url() -> None:
    assert not allows_derivatives("CC-BY-NC-ND-4.0")
    assert allows_derivatives("CC-BY-4.0")
    assert allows_derivatives(None)
    assert deed_url("CC-BY-NC-ND-4.0") == "https://creativecommons.org/licenses/by-nc-nd/4.0/"
    assert deed_url("CC0-1.0") == "https://creativecommons.org/publicdomain/zero/1.0/"
