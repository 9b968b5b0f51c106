"""Dawn Chorus: from any recording to a table of birds.

    from dawnchorus.identification import Options, identify

    run = identify("recordings/", Options(latitude=52.5, longitude=13.4), out="detections.csv")

Importing this package alone loads nothing else; it sets the opt-outs of `dawnchorus.privacy`.
"""

import os

from dawnchorus.privacy import opt_out

__version__ = "0.1.0"

opt_out(os.environ)
