-- Format 1. Times are milliseconds since 1970; JSON and words are TEXT; rows of a finished run are never deleted.

PRAGMA application_id = 1684366704; -- "decp"

-- Written once when the journal is made: `journal_id` and `hash_key` (32 random bytes).
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Append-only. Script sources, results above 16 KiB and before-images, each once, by blake3 of the plain bytes.
CREATE TABLE blob (
    hash  TEXT PRIMARY KEY,
    kind  TEXT NOT NULL CHECK (kind IN ('source', 'result', 'before')),
    bytes INTEGER NOT NULL, -- plain size
    zstd  BLOB NOT NULL
) STRICT;

-- One row a run; status and what belongs to it change, the rest is as it was created.
CREATE TABLE run (
    id           TEXT PRIMARY KEY,
    script       TEXT NOT NULL,
    script_path  TEXT,
    params       TEXT NOT NULL,
    params_hash  TEXT NOT NULL, -- keyed blake3 of the canonical JSON
    argv         TEXT NOT NULL,
    mode         TEXT NOT NULL CHECK (mode IN ('run', 'undo')),
    status       TEXT NOT NULL CHECK (status IN ('running', 'waiting', 'succeeded', 'failed', 'cancelled',
                                                 'undoing', 'undone', 'undo_failed', 'abandoned')),
    epoch        INTEGER NOT NULL,
    operator     TEXT NOT NULL,
    tool_version TEXT NOT NULL,
    pivot_step   INTEGER REFERENCES step (id),
    outcome      TEXT, -- what it threw, what it waits for, why it was cancelled
    exit_code    INTEGER,
    created_at   INTEGER NOT NULL,
    finished_at  INTEGER
) STRICT;

-- One row a process that worked on a run; its end is filled in by itself or by the next one.
CREATE TABLE incarnation (
    run_id       TEXT NOT NULL REFERENCES run (id),
    epoch        INTEGER NOT NULL,
    mode         TEXT NOT NULL,
    host         TEXT NOT NULL,
    boot_id      TEXT NOT NULL,
    pid          INTEGER NOT NULL,
    pid_start    INTEGER NOT NULL,
    tool_version TEXT NOT NULL,
    started_at   INTEGER NOT NULL,
    ended_at     INTEGER,
    end_reason   TEXT,
    PRIMARY KEY (run_id, epoch)
) STRICT, WITHOUT ROWID;

-- Append-only. The full import closure each incarnation saw.
CREATE TABLE run_source (
    run_id    TEXT NOT NULL,
    epoch     INTEGER NOT NULL,
    module    TEXT NOT NULL,
    ord       INTEGER NOT NULL,
    blob_hash TEXT NOT NULL REFERENCES blob (hash),
    PRIMARY KEY (run_id, epoch, module),
    FOREIGN KEY (run_id, epoch) REFERENCES incarnation (run_id, epoch)
) STRICT, WITHOUT ROWID;

-- One row a step, found again by its key; UNIQUE (run_id, key) also serves every look-up by run.
CREATE TABLE step (
    id          INTEGER PRIMARY KEY,
    run_id      TEXT NOT NULL REFERENCES run (id),
    key         TEXT NOT NULL,
    parent_id   INTEGER REFERENCES step (id),
    ord         INTEGER NOT NULL, -- order of first entry within the run
    name        TEXT NOT NULL,
    kind        TEXT NOT NULL,
    status      TEXT NOT NULL CHECK (status IN ('running', 'waiting', 'done', 'failed', 'handled', 'lost',
                                                  'released')),
    attempt     INTEGER NOT NULL,
    epoch       INTEGER NOT NULL, -- incarnation that started it last
    inputs      TEXT,
    inputs_hash TEXT, -- keyed blake3 of the canonical JSON
    captured    TEXT, -- for display, never compared
    body_hash   TEXT NOT NULL,
    source      TEXT NOT NULL,
    line        INTEGER NOT NULL,
    changed     INTEGER,
    result      TEXT,
    result_blob TEXT REFERENCES blob (hash), -- instead of result, above 16 KiB
    error       TEXT,
    retry_at    INTEGER,
    deadline    INTEGER,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER,
    UNIQUE (run_id, key)
) STRICT;

-- One row for each place of an effect in a step, over all attempts; UNIQUE (step_id, seq) serves every look-up by step.
CREATE TABLE effect (
    id           INTEGER PRIMARY KEY,
    step_id      INTEGER NOT NULL REFERENCES step (id),
    seq          INTEGER NOT NULL,
    attempt      INTEGER NOT NULL,
    epoch        INTEGER NOT NULL,
    function     TEXT NOT NULL,
    target       TEXT NOT NULL,
    class        TEXT NOT NULL CHECK (class IN ('converge', 'once', 'destroy')),
    idem_key     TEXT NOT NULL UNIQUE,
    request      TEXT NOT NULL, -- redacted
    request_hash TEXT NOT NULL, -- keyed blake3 over function, target and canonical request
    status       TEXT NOT NULL CHECK (status IN ('intent', 'in_doubt', 'done', 'failed', 'abandoned')),
    decision     TEXT CHECK (decision IN ('happened', 'retry')),
    reconciled   INTEGER NOT NULL DEFAULT 0,
    before_blob  TEXT REFERENCES blob (hash),
    undo         TEXT,
    result       TEXT,
    result_blob  TEXT REFERENCES blob (hash),
    error        TEXT,
    started_at   INTEGER NOT NULL,
    finished_at  INTEGER,
    UNIQUE (step_id, seq)
) STRICT;

-- Questions to people and their answers, one row a name and run.
CREATE TABLE signal (
    run_id     TEXT NOT NULL REFERENCES run (id),
    name       TEXT NOT NULL,
    step_id    INTEGER REFERENCES step (id),
    question   TEXT,
    state      TEXT NOT NULL CHECK (state IN ('asked', 'granted')),
    via        TEXT,
    by         TEXT,
    asked_at   INTEGER,
    decided_at INTEGER,
    PRIMARY KEY (run_id, name)
) STRICT, WITHOUT ROWID;

-- Which run may touch what; kept after release as a record.
CREATE TABLE lease (
    run_id      TEXT NOT NULL REFERENCES run (id),
    target      TEXT NOT NULL,
    kind        TEXT NOT NULL,
    path        BLOB NOT NULL,
    mode        TEXT NOT NULL CHECK (mode IN ('shared', 'exclusive')),
    epoch       INTEGER NOT NULL,
    acquired_at INTEGER NOT NULL,
    released_at INTEGER,
    PRIMARY KEY (run_id, target, path)
) STRICT, WITHOUT ROWID;

-- Needed by taking a lease: what is held by anybody.
CREATE INDEX lease_held ON lease (run_id) WHERE released_at IS NULL;

-- Append-only. The story of a run; runs/<id>/events.ndjson says the same.
CREATE TABLE event (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id  TEXT NOT NULL REFERENCES run (id),
    at      INTEGER NOT NULL,
    level   TEXT NOT NULL,
    kind    TEXT NOT NULL,
    step_id INTEGER REFERENCES step (id),
    data    TEXT NOT NULL
) STRICT;

-- Needed by `log` and by bringing events.ndjson up to date: the events of one run in order.
CREATE INDEX event_run ON event (run_id, seq);
