"""perch-hoplite: DATABASE VECTORS.npy QUERIES.npy K, in its own environment; prints times and found rows as JSON."""

import json
import sys
import time

import numpy as np
from perch_hoplite.db import sqlite_usearch_impl as hoplite


def main() -> None:
    """Store the vectors, open the database again, and search it."""
    folder, vectors_path, queries_path, k = sys.argv[1:]
    vectors, queries = np.load(vectors_path), np.load(queries_path)
    begin = time.perf_counter()
    db = hoplite.SQLiteUSearchDB.create(folder, hoplite.get_default_usearch_config(vectors.shape[1]))
    recording = db.insert_recording("20260501_040000.wav")
    rows = {
        db.insert_window(recording, [float(row), row + 3.0], vector, handle_duplicates="allow"): row  # the fastest way
        for row, vector in enumerate(vectors)
    }
    db.commit()
    db.db.close()
    stored_s = time.perf_counter() - begin
    db = hoplite.SQLiteUSearchDB.create(folder)
    db.ui.search(queries[0], int(k))
    found, times_s = [], []
    for query in queries:
        begin = time.perf_counter()
        hits = db.ui.search(query, int(k))
        times_s.append(time.perf_counter() - begin)
        found.append([rows[int(key)] for key in hits.keys])
    print(json.dumps({"stored_s": stored_s, "times_s": times_s, "rows": found}))


if __name__ == "__main__":
    main()
