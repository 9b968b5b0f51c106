"""Opt-outs from the usage statistics and crash reports that libraries send by default."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping

OPT_OUTS = {
    # onnxruntime >= 1.29: on Linux and macOS it reports every session, writes into the user's home, and a child that is
    # forked after a session hangs. Read when onnxruntime is imported.
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Environment variables of libraries by name, with the values that turn usage statistics and crash reports off."""


def opt_out(environment: MutableMapping[str, str]) -> None:
    """Turn the libraries' reporting off for this process and its children, except where the user's variables allow it.

    Libraries read the variables of `OPT_OUTS` when they are imported, so `dawnchorus` calls this function on its own
    import. If onnxruntime was imported before, its reporting is turned off by a call, whatever the variables say.

    Args:
        environment: environment variables, such as `os.environ`. Missing variables of `OPT_OUTS` are added; variables
            that the user has set are not changed, whatever their value.
    """
    for name, value in OPT_OUTS.items():
        environment.setdefault(name, value)
    if "onnxruntime" in sys.modules:  # imported before us, by the program that we are part of
        sys.modules["onnxruntime"].disable_telemetry_events()
