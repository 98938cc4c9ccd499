-- Layout 4 of the store. A job's message is stored once, in `jobs`; what moves between the other tables is a small row.
-- seq: when the job was put, as a 63-bit number (the first half of a generated id). rank: -priority. Times: unix seconds.

-- Every known job, whatever its state. Being here is what makes an id known.
CREATE TABLE longboat_jobs (
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    message BLOB NOT NULL,                -- as put
    PRIMARY KEY (seq, id)
) WITHOUT ROWID, STRICT;

-- The order of this table is the order of receiving: a job that runs and succeeds touches no other index.
CREATE TABLE longboat_ready (
    queue TEXT NOT NULL,
    rank INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    attempts INTEGER NOT NULL,            -- made so far
    worker_deaths INTEGER NOT NULL,       -- since an attempt last ended
    expires_at REAL,
    failures BLOB,                        -- msgpack, NULL for none
    PRIMARY KEY (queue, rank, seq, id)
) WITHOUT ROWID, STRICT;
CREATE INDEX longboat_ready_expires ON longboat_ready (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE longboat_leased (
    token INTEGER PRIMARY KEY AUTOINCREMENT,  -- the fence: never used twice
    consumer INTEGER NOT NULL,
    started INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,           -- 1: its cancellation was requested
    since REAL NOT NULL,
    queue TEXT NOT NULL,
    rank INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    worker_deaths INTEGER NOT NULL,
    expires_at REAL,
    failures BLOB
) STRICT;
CREATE INDEX longboat_leased_cancelled ON longboat_leased (consumer) WHERE cancelled;

CREATE TABLE longboat_scheduled (
    due REAL NOT NULL,
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    queue TEXT NOT NULL,
    rank INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    worker_deaths INTEGER NOT NULL,
    expires_at REAL,
    failures BLOB,
    PRIMARY KEY (due, seq, id)
) WITHOUT ROWID, STRICT;
CREATE INDEX longboat_scheduled_seq ON longboat_scheduled (seq);
CREATE INDEX longboat_scheduled_queue ON longboat_scheduled (queue, due, seq);
CREATE INDEX longboat_scheduled_expires ON longboat_scheduled (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE longboat_waiting (
    waits_for TEXT NOT NULL,              -- a task, for a worker that knows it; or parents, or a limit: see following.py, limits.py
    queue TEXT NOT NULL,
    rank INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    dead_at REAL NOT NULL,                -- its patience ends
    reason BLOB NOT NULL,                 -- the failure it dies of then
    attempts INTEGER NOT NULL,
    worker_deaths INTEGER NOT NULL,
    expires_at REAL,
    failures BLOB,
    PRIMARY KEY (waits_for, queue, rank, seq, id)
) WITHOUT ROWID, STRICT;
CREATE INDEX longboat_waiting_seq ON longboat_waiting (seq);
CREATE INDEX longboat_waiting_dead_at ON longboat_waiting (dead_at);
CREATE INDEX longboat_waiting_expires ON longboat_waiting (expires_at) WHERE expires_at IS NOT NULL;

-- How jobs ended. n grows with every ending: what is newer than a number is what has ended since.
CREATE TABLE longboat_ended (
    state TEXT NOT NULL,                  -- succeeded, dead, cancelled
    queue TEXT NOT NULL,
    n INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    ended REAL NOT NULL,
    started REAL,
    attempts INTEGER NOT NULL,
    failures BLOB,
    result BLOB,
    PRIMARY KEY (state, queue, n)
) WITHOUT ROWID, STRICT;
CREATE INDEX longboat_ended_seq ON longboat_ended (seq);

-- How long ended jobs are kept: one row for all that ended together, so that it costs nothing per job.
CREATE TABLE longboat_kept (
    until REAL NOT NULL,
    state TEXT NOT NULL,
    queue TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (until, state, queue, first)
) WITHOUT ROWID, STRICT;

-- The seq of ids that do not tell it: chosen by callers, or placed by a fairness key. until: forgotten then; NULL while known.
CREATE TABLE longboat_places (
    id TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    until REAL
) WITHOUT ROWID, STRICT;
CREATE INDEX longboat_places_until ON longboat_places (until) WHERE until IS NOT NULL;

CREATE TABLE longboat_consumers (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    queues TEXT NOT NULL,                 -- JSON list
    lease REAL NOT NULL,
    deadline REAL NOT NULL
) STRICT;

-- The number of each client's last put.
CREATE TABLE longboat_puts (
    client TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    at REAL NOT NULL
) WITHOUT ROWID, STRICT;

CREATE TABLE longboat_counts (
    queue TEXT NOT NULL,
    state TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (queue, state)
) WITHOUT ROWID, STRICT;

CREATE TABLE longboat_numbers (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
INSERT INTO longboat_numbers VALUES ('ended', 0);

CREATE TABLE longboat_entries (
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    until REAL,                           -- forgotten then
    PRIMARY KEY (namespace, key)
) WITHOUT ROWID, STRICT;
CREATE INDEX longboat_entries_until ON longboat_entries (until) WHERE until IS NOT NULL;

-- A job (the child) waits for another (the parent) to succeed.
CREATE TABLE longboat_dependencies (
    parent_seq INTEGER NOT NULL,
    parent TEXT NOT NULL,
    child_seq INTEGER NOT NULL,
    child TEXT NOT NULL,
    PRIMARY KEY (parent_seq, parent, child_seq, child)
) WITHOUT ROWID, STRICT;
CREATE INDEX longboat_dependencies_child ON longboat_dependencies (child_seq, child);

-- What the child is given: the result of a parent that has succeeded.
CREATE TABLE longboat_inputs (
    child_seq INTEGER NOT NULL,
    child TEXT NOT NULL,
    parent TEXT NOT NULL,
    result BLOB NOT NULL,
    PRIMARY KEY (child_seq, child, parent)
) WITHOUT ROWID, STRICT;

-- Jobs that wait for parents.
CREATE TABLE longboat_pending (
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    parents INTEGER NOT NULL,             -- that have not succeeded yet
    delay REAL NOT NULL,
    PRIMARY KEY (seq, id)
) WITHOUT ROWID, STRICT;
CREATE INDEX longboat_pending_none ON longboat_pending (seq) WHERE parents <= 0;

-- What limits count.
CREATE TABLE longboat_limit_usage (
    limit_key TEXT NOT NULL,
    token INTEGER NOT NULL,               -- the lease's
    id TEXT NOT NULL,
    at REAL NOT NULL,
    until REAL NOT NULL,                  -- a start counts so long; 0: starts are not counted
    live INTEGER NOT NULL,                -- 1: leased
    PRIMARY KEY (token, limit_key)
) WITHOUT ROWID, STRICT;
CREATE INDEX longboat_limit_usage_live ON longboat_limit_usage (limit_key, live) WHERE live;
CREATE INDEX longboat_limit_usage_starts ON longboat_limit_usage (limit_key, at, until) WHERE until > 0;
CREATE INDEX longboat_limit_usage_over ON longboat_limit_usage (until) WHERE NOT live;

-- When time unblocks a limit that jobs wait for.
CREATE TABLE longboat_limit_openings (
    limit_key TEXT PRIMARY KEY,
    at REAL NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX longboat_limit_openings_at ON longboat_limit_openings (at);

-- The place of the last job of each fairness key.
CREATE TABLE longboat_fairness (
    queue TEXT NOT NULL,
    rank INTEGER NOT NULL,
    fairness_key TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (queue, rank, fairness_key)
) WITHOUT ROWID, STRICT;

-- Jobs exported for another store, kept until their arrival there is confirmed.
CREATE TABLE longboat_exports (
    name TEXT PRIMARY KEY,
    jobs BLOB NOT NULL                    -- msgpack
) WITHOUT ROWID, STRICT;
