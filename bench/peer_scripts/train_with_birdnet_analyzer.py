"""BirdNET-Analyzer's training: TRAIN_FOLDER OUT.npz [OPTION...], in its own environment.

The linear classifier over BirdNET's embeddings that it trains from a folder per species is kept as its weights, instead
of the TFLite file that it would be merged into (which needs a SavedModel that the package does not carry).
"""

import sys
import time

import numpy as np
from birdnet_analyzer import model
from birdnet_analyzer.train.cli import main

folder, out, *options = sys.argv[1:]
begin = time.perf_counter()


def keep(classifier, _path, labels, **_options):
    took_s = time.perf_counter() - begin
    weights = {f"w{k}": value for k, value in enumerate(classifier.get_weights())}
    np.savez(out, labels=np.array(labels), took_s=took_s, **weights)


model.save_linear_classifier = keep
sys.argv = ["train", folder, "-o", "unused", *options]
main()
