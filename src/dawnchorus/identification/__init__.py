"""Identification: from recordings and a model to detections."""

from dawnchorus.identification.options import Options
from dawnchorus.identification.result import RecordingFailure, Run, RunCounts
from dawnchorus.identification.run import identify

__all__ = ["Options", "RecordingFailure", "Run", "RunCounts", "identify"]
