"""Audio and a bundle in, detections out: the only predict path."""

from dawnchorus.identify.options import Options
from dawnchorus.identify.run import Failure, Progress, Run, identify

__all__ = ["Failure", "Options", "Progress", "Run", "identify"]
