"""Audio and a bundle in, detections out: the only predict path."""

from dawnchorus.identify.options import Options
from dawnchorus.identify.result import Problem, Progress, Run
from dawnchorus.identify.run import identify

__all__ = ["Options", "Problem", "Progress", "Run", "identify"]
