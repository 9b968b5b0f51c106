"""Settings composed of built-in files, of own ones and of overrides."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawnchorus.errors import InputError
from dawnchorus.training.compose import (
    GROUPS,
    available_choices,
    compose_config,
    describe_config_dir,
    refuse_contradictions,
    sweep,
)

FILES = {
    "scheduler/step.yaml": "name: step\nstep_size: 6\ngamma: 0.89\n",
    "experiment/mine.yaml": """# @package _global_
defaults:
  - override /model: mel_cnn
  - override /scheduler: step
  - override /loss: focal
trainer:
  epochs: 1
  batch_size: 4
""",
    "habits/slow.yaml": "# @package _global_\noptimizer:\n  lr: 1.0e-5\n",
    "habits/lost.yaml": "lr: 1.0e-5\n",
    "sweep.yaml": "method: random\n",
    "config.yaml": "hydra:\n  run:\n    dir: elsewhere\ndefaults:\n  - nothing: at_all\n",
}


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """A project's own folder of groups; its name has what is special in Hydra's grammar."""
    folder = tmp_path / "my 'configs', 1=2"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_own_files_win_and_built_in_ones_are_found_from_them(configs: Path) -> None:
    config = compose_config(["data=x", "experiment=mine", "habits=slow"], config_dir=configs)
    assert config.model["family"] == "mel_cnn"
    assert (config.scheduler.step_size, config.scheduler.gamma) == (6, 0.89)
    assert config.loss.name == "focal"
    assert config.trainer.batch_size == 4
    assert config.optimizer.lr == 1e-5
    assert compose_config(["data=x", "scheduler=step"]).scheduler.step_size != 6
    assert available_choices(configs)["habits"] == ("lost", "slow")
    assert set(GROUPS["experiment"]) < set(available_choices(configs)["experiment"])


def test_what_shadows_and_what_is_no_choice_is_named(configs: Path) -> None:
    shadowing, unread = describe_config_dir(configs)
    assert "instead of the built-in files: scheduler/step.yaml." in shadowing
    assert "no choices of a group: config.yaml." in unread


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("hydra.searchpath=[file://configs]", "hydra.searchpath: .*not supported. Own groups: --config-dir FOLDER"),
        ("hydra.run.dir=out", "hydra.run.dir: .*not supported.*paths.runs"),
        ("++hydra.sweep.dir=out", "hydra.sweep.dir: .*paths.runs"),
        ("hydra/launcher=joblib", "hydra/launcher: .*not supported"),
        ("hydra.job.chdir=true", r"hydra.job.chdir: settings of Hydra itself are not supported\.$"),
    ],
)
def test_settings_of_hydra_itself_are_refused(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compose_config(["data=x", override])


def test_faults_of_own_files_are_named(configs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="habits: there is no such key.*@package _global_"):
        compose_config(["data=x", "habits=lost"], config_dir=configs)
    with pytest.raises(InputError, match="experiment: expected one of .*mine.*got 'mien'"):
        compose_config(["data=x", "experiment=mien"], config_dir=configs)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        compose_config(["data=x"], config_dir=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"expected files GROUP/NAME.yaml.*--init-config"):
        compose_config(["data=x"], config_dir=tmp_path / "empty")
    (configs / "experiment" / "lost.yaml").write_text("trainer:\n  epochs: 1\n")
    with pytest.raises(InputError, match=r"lost\.yaml: experiment: there is no such key.*@package _global_"):
        compose_config(["data=x", "experiment=lost"], config_dir=configs)
    (configs / "experiment" / "hydra.yaml").write_text("# @package _global_\nhydra:\n  run:\n    dir: x\n")
    with pytest.raises(InputError, match=r"hydra\.yaml: hydra: settings of Hydra itself are not supported"):
        compose_config(["data=x", "experiment=hydra"], config_dir=configs)
    (configs / "scheduler" / "bytes.yaml").write_bytes(b"\xff\xfename: step")
    with pytest.raises(InputError, match="expected YAML in UTF-8"):
        compose_config(["data=x", "scheduler=bytes"], config_dir=configs)
    (configs / "experiment" / "bad.yaml").write_text("trainer: [1, {")
    with pytest.raises(InputError, match=r"expected YAML.*bad\.yaml"):
        compose_config(["data=x", "experiment=bad"], config_dir=configs)


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ("model=mel_cnn model=efficientnet", "model"),
        ("optimizer.lr=1e-3 data=x ++optimizer.lr=1e-4", "optimizer.lr"),
        ("data=one data.path=two", "data.path"),
        ("trainer.epochs=3 model=mel_cnn trainer.epochs=3 data=x", None),
    ],
)
def test_a_key_with_two_values_is_refused(given: str, key: str | None) -> None:
    if key is None:
        refuse_contradictions(given.split())
        return
    with pytest.raises(InputError, match=f"expected one value of {key}. Leave one of them out"):
        refuse_contradictions(given.split())


def test_every_choice_of_every_group_composes(birds: Path) -> None:
    for k in range(max(map(len, GROUPS.values()))):
        overrides = [f"{group}={choices[k % len(choices)]}" for group, choices in GROUPS.items()]
        assert compose_config([*overrides, f"data.path={birds}"]).data.path == str(birds)
    assert len(list(sweep(["a=1,2", "b=[1,2]", "c=x,y,z"]))) == 6
