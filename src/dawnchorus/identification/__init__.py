"""Audio and a bundle in, detections out: the only predict path."""

from dawnchorus.identification.options import Options
from dawnchorus.identification.result import Problem, Progress, Run
from dawnchorus.identification.run import identify

__all__ = ["Options", "Problem", "Progress", "Run", "identify"]
