"""Guards around the code of other packages: which errors name the plug-in, and which pass."""

from __future__ import annotations

import errno

import pytest

from dawnchorus.errors import FormatError, PlugInError
from dawnchorus.plug_ins import PlugIn

PLUG_IN = PlugIn("format", "ctm", "ctm-tables 2.1", "ctm_tables:CTM")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ValueError("no\nluck"), "ValueError: no luck"),
        (StopIteration(), "StopIteration"),
        (SystemExit(3), "SystemExit: 3"),
        (OSError("libx.so: cannot open shared object file"), "OSError: libx.so: cannot open shared object file"),
    ],
    ids=repr,
)
def test_a_failure_names_the_plug_in_and_keeps_its_cause(error: BaseException, cause: str) -> None:
    with pytest.raises(PlugInError) as raised:
        PLUG_IN.guard()(fail)(error)
    assert raised.value.__cause__ is error
    assert raised.value.reason == (
        "format 'ctm' of the package ctm-tables 2.1 (ctm_tables:CTM) failed. Update or uninstall that package, or tell "
        "its authors."
    )
    assert str(raised.value) == f"{raised.value.reason} Cause: {cause}"


@pytest.mark.parametrize(
    "error", [FormatError("line 3: expected a number."), OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()]
)
def test_errors_that_say_what_they_are_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        PLUG_IN.guard()(fail)(error)
    assert raised.value is error


def test_what_works_is_returned() -> None:
    assert PLUG_IN.guard()(max)(1, 2) == 2


def fail(error: BaseException) -> None:
    raise error
