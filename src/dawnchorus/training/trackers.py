"""Experiment trackers (TensorBoard, W&B, MLflow); a failing tracker never ends a run."""

from __future__ import annotations

import importlib.util
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from dawnchorus.errors import InputError, MissingExtraError
from dawnchorus.training.config import TrackerConfig
from dawnchorus.training.runs import TrainingRun

MLFLOW_NAME = "mlflow.db"
"""MLflow's database next to the runs; show it by `mlflow ui --backend-store-uri sqlite:///runs/mlflow.db`."""

MODULES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
DATABASES = ("sqlite:", "postgresql", "mysql", "mssql")
AZURE = "azureml://"
WANDB_URL = "https://api.wandb.ai"

ANSWER_S = 5
"""Timeout for a tracker's server in seconds."""

MLFLOW_LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(ANSWER_S), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""Environment variables that limit the retries of MLflow's client, which would last minutes."""

LOG = logging.getLogger(__name__)


def check_tracker(config: TrackerConfig) -> TrackerConfig:
    """Check the tracker's configuration and server, and return the configuration to use.

    If the server does not respond, a warning is logged; W&B is then used offline, and MLflow not at all.

    Raises:
        MissingExtraError: the tracker's package is not installed.
        InputError: MLflow cannot use the URI, or W&B requires a login that is missing.
    """
    if config.name == "none":
        return config
    _require(MODULES[config.name], extra=config.name, purpose=f"The tracker {config.name}")
    if config.name == "wandb" and not config.offline:
        return _check_wandb(config)
    if config.name == "mlflow":
        return _check_mlflow(config)
    return config


def build_loggers(run: TrainingRun, config: TrackerConfig) -> list[Logger]:
    """Return the Lightning logger of the configured tracker in a list; [] without a tracker.

    `config` is the result of `check_tracker`, which makes sure that the tracker's package is installed, and leaves the
    tracker out or offline if its server does not respond.
    """
    if config.name == "tensorboard":
        return [TensorBoardLogger(run.folder, name="", version="tensorboard")]
    if config.name == "wandb":
        return [WandbLogger(name=run.name, project=config.project, save_dir=run.folder, offline=config.offline)]
    if config.name == "mlflow":
        uri = config.uri or f"sqlite:///{(run.folder.parent / MLFLOW_NAME).resolve()}"
        return [TolerantMlflow(config.project, run_name=run.name, tracking_uri=uri)]
    return []


class TolerantMlflow(MLFlowLogger):
    """MLflow logger that logs one warning and stops logging if its server fails, instead of ending the run.

    Args:
        project: name of the experiment in MLflow.
        run_name: name of the run.
        tracking_uri: URI of the server or database.
    """

    def __init__(self, project: str, *, run_name: str, tracking_uri: str) -> None:
        super().__init__(project, run_name=run_name, tracking_uri=tracking_uri)
        self._is_given_up = False

    def log_hyperparams(self, params: Any) -> None:
        self._attempt(lambda: super(TolerantMlflow, self).log_hyperparams(params))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._attempt(lambda: super(TolerantMlflow, self).log_metrics(metrics, step))

    def finalize(self, status: str = "success") -> None:
        self._attempt(lambda: super(TolerantMlflow, self).finalize(status))

    def _attempt(self, work: Callable[[], None]) -> None:
        from mlflow.exceptions import MlflowException

        if self._is_given_up:
            return
        try:
            work()
        except (MlflowException, OSError) as error:
            self._is_given_up = True
            LOG.warning(f"MLflow failed ({_reason(error)}). {_LOCAL}")


_LOCAL = "The run continues, and its curves are in its own metrics.csv."


def _check_mlflow(config: TrackerConfig) -> TrackerConfig:
    uri = config.uri or DATABASES[0]
    if uri.startswith(DATABASES):
        return config
    if uri.startswith(AZURE):
        _require("azureml.mlflow", package="azureml-mlflow", extra="azureml", purpose=f"A tracker at {AZURE}")
    for name, value in MLFLOW_LIMITS.items():
        os.environ.setdefault(name, value)
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        MlflowClient(uri).get_experiment_by_name(config.project)
    except (MlflowException, OSError, ValueError) as error:
        if not uri.startswith(("http://", "https://")):
            raise InputError(f"tracker.uri: {uri} cannot be used by MLflow ({_first_line(error)}).") from error
        LOG.warning(f"tracker.uri: no MLflow server answers at {uri} ({_reason(error)}). {_LOCAL}")
        return config.model_copy(update={"name": "none"})
    return config


def _check_wandb(config: TrackerConfig) -> TrackerConfig:
    import wandb
    from wandb.errors import UsageError

    url = os.environ.get("WANDB_BASE_URL", WANDB_URL)
    try:
        urllib.request.urlopen(url, timeout=ANSWER_S).close()  # noqa: S310 - W&B's own URL, or the user's
    except urllib.error.HTTPError:
        pass  # an answer, too
    except (OSError, ValueError) as error:
        LOG.warning(
            f"tracker.offline=false: W&B does not answer at {url} ({error}). The run is logged into its own "
            f"folder; send it later with `wandb sync`."
        )
        return config.model_copy(update={"offline": True})
    try:
        wandb.login()
    except UsageError as error:
        raise InputError(
            f"tracker.offline=false: W&B knows no login ({_reason(error)}). Run `wandb login`, set WANDB_API_KEY, "
            f"or use tracker.offline=true."
        ) from error
    return config


def _require(module: str, *, extra: str, purpose: str, package: str | None = None) -> None:
    try:
        is_there = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package that the module would be in
        is_there = False
    if not is_there:
        raise MissingExtraError(package or module, extra=extra, purpose=purpose)


def _reason(error: BaseException) -> str:
    """Return the first line of the message of an error's original cause."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
