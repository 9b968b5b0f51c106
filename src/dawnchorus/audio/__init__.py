"""Reading of audio files, for which all other packages use this one: headers, decoding, mixing, resampling, windows."""
