"""Tables of detections: one file per format, each writing and, where others write it too, reading."""
