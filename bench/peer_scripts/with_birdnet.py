"""birdnet: FOLDER OUT.csv N_CORES, in its own environment."""

import csv
import os
import sys


def main() -> None:
    """Score the recordings; in a function, because the workers are spawned."""
    os.environ["BIRDNET_APP_DATA"] = os.path.join(sys.prefix, "app-data")  # it is read at the import
    import birdnet

    folder, out, n_cores = sys.argv[1:]
    model = birdnet.load("acoustic", "2.4", "tf", precision="fp32", lang="en_us", library="litert")
    predictions = model.predict(folder, n_workers=int(n_cores), top_k=None, default_confidence_threshold=0.25)
    with open(out, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["File", "Start (s)", "Scientific name", "Confidence"])
        for row in predictions.to_structured_array():
            name = str(row["species_name"]).split("_", 1)[0]
            rows.writerow([os.path.basename(str(row["input"])), row["start_time"], name, row["confidence"]])


if __name__ == "__main__":
    main()
