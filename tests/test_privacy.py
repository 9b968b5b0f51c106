"""Libraries report nothing about their use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from dawnchorus.models.bundle import Bundle
from dawnchorus.privacy import OPT_OUTS, opt_out
from tests.fixtures.sounds import tone

SCORE = """
import os, sys
from dawnchorus.identification import identify
run = identify(sys.argv[1], model=sys.argv[2], out=sys.argv[3])
assert run.counts.n_done == 1
child = os.fork()
if child == 0:
    from dawnchorus.models.bundle import read_bundle
    from dawnchorus.models.runner import open_session
    import numpy as np, pathlib
    open_session(read_bundle(pathlib.Path(sys.argv[2]))).run(np.zeros((1, 16_000), np.float32))
    os._exit(0)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Score a recording, and then a window in a forked child, which hangs where onnxruntime's reporting runs."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("is_opted_out", [True, False])
def test_scoring_leaves_nothing_in_the_home_folder(is_opted_out: bool, tmp_path: Path, level_bundle: Bundle) -> None:
    """onnxruntime reports where no CI variable is set, so the process gets a bare environment."""
    home = tmp_path / "home"
    home.mkdir()
    soundfile.write(tmp_path / "a.wav", tone(), 16_000)
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    code = SCORE
    if not is_opted_out:
        code = f"import onnxruntime\n{SCORE.partition('child = ')[0]}"  # imported before we can opt out
    arguments = [tmp_path / "a.wav", level_bundle.folder, tmp_path / "x.csv"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=environment, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    written = [path for path in home.rglob("*") if path.is_file()]
    if is_opted_out:
        assert not written
    elif not written:
        pytest.skip("this onnxruntime reports nothing even without the opt-out")


def test_opt_outs_respect_what_the_user_has_set() -> None:
    environment = {"WANDB_ERROR_REPORTING": "true"}
    opt_out(environment)
    assert environment == {**OPT_OUTS, "WANDB_ERROR_REPORTING": "true"}
    assert OPT_OUTS.items() <= {**os.environ, "WANDB_ERROR_REPORTING": "false"}.items(), "set on import"
