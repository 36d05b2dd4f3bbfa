-- Format 2. Runs can be removed by `decamp runs prune`; everything else is as format 1 says.

-- Append-only. What was removed, so that a directory a kill left behind is known to be nobody's.
CREATE TABLE pruned (
    run_id     TEXT PRIMARY KEY,
    script     TEXT NOT NULL,
    status     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    pruned_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
