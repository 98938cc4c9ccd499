-- Layout 3 of the store. A job's message is stored once, in `jobs`; what moves between the other tables is a small row.
-- seq: when the job was put, as a 63-bit number (the first half of a generated id). rank: -priority. Times: unix seconds.

-- Every known job, whatever its state. Being here is what makes an id known.
CREATE TABLE jobs (
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    message BLOB NOT NULL,                -- as put
    PRIMARY KEY (seq, id)
) WITHOUT ROWID, STRICT;

-- The order of this table is the order of receiving: a job that runs and succeeds touches no other index.
CREATE TABLE ready (
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
CREATE INDEX ready_expires ON ready (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE leased (
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
CREATE INDEX leased_cancelled ON leased (consumer) WHERE cancelled;

CREATE TABLE scheduled (
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
CREATE INDEX scheduled_seq ON scheduled (seq);
CREATE INDEX scheduled_queue ON scheduled (queue, due, seq);
CREATE INDEX scheduled_expires ON scheduled (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE waiting (
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
CREATE INDEX waiting_seq ON waiting (seq);
CREATE INDEX waiting_dead_at ON waiting (dead_at);
CREATE INDEX waiting_expires ON waiting (expires_at) WHERE expires_at IS NOT NULL;

-- How jobs ended. n grows with every ending: what is newer than a number is what has ended since.
CREATE TABLE ended (
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
CREATE INDEX ended_seq ON ended (seq);

-- How long ended jobs are kept: one row for all that ended together, so that it costs nothing per job.
CREATE TABLE kept (
    until REAL NOT NULL,
    state TEXT NOT NULL,
    queue TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (until, state, queue, first)
) WITHOUT ROWID, STRICT;

-- The seq of ids that do not tell it: chosen by callers, or placed by a fairness key. until: forgotten then; NULL while known.
CREATE TABLE places (
    id TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    until REAL
) WITHOUT ROWID, STRICT;
CREATE INDEX places_until ON places (until) WHERE until IS NOT NULL;

CREATE TABLE consumers (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    queues TEXT NOT NULL,                 -- JSON list
    lease REAL NOT NULL,
    deadline REAL NOT NULL
) STRICT;

-- The number of each client's last put.
CREATE TABLE puts (
    client TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    at REAL NOT NULL
) WITHOUT ROWID, STRICT;

CREATE TABLE counts (
    queue TEXT NOT NULL,
    state TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (queue, state)
) WITHOUT ROWID, STRICT;

CREATE TABLE numbers (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
INSERT INTO numbers VALUES ('ended', 0);

CREATE TABLE entries (
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    until REAL,                           -- forgotten then
    PRIMARY KEY (namespace, key)
) WITHOUT ROWID, STRICT;
CREATE INDEX entries_until ON entries (until) WHERE until IS NOT NULL;

-- A job (the child) waits for another (the parent) to succeed.
CREATE TABLE dependencies (
    parent_seq INTEGER NOT NULL,
    parent TEXT NOT NULL,
    child_seq INTEGER NOT NULL,
    child TEXT NOT NULL,
    PRIMARY KEY (parent_seq, parent, child_seq, child)
) WITHOUT ROWID, STRICT;
CREATE INDEX dependencies_child ON dependencies (child_seq, child);

-- What the child is given: the result of a parent that has succeeded.
CREATE TABLE inputs (
    child_seq INTEGER NOT NULL,
    child TEXT NOT NULL,
    parent TEXT NOT NULL,
    result BLOB NOT NULL,
    PRIMARY KEY (child_seq, child, parent)
) WITHOUT ROWID, STRICT;

-- Jobs that wait for parents.
CREATE TABLE pending (
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    parents INTEGER NOT NULL,             -- that have not succeeded yet
    delay REAL NOT NULL,
    PRIMARY KEY (seq, id)
) WITHOUT ROWID, STRICT;
CREATE INDEX pending_none ON pending (seq) WHERE parents <= 0;

-- What limits count.
CREATE TABLE limit_usage (
    limit_key TEXT NOT NULL,
    token INTEGER NOT NULL,               -- the lease's
    id TEXT NOT NULL,
    at REAL NOT NULL,
    until REAL NOT NULL,                  -- a start counts so long; 0: starts are not counted
    live INTEGER NOT NULL,                -- 1: leased
    PRIMARY KEY (token, limit_key)
) WITHOUT ROWID, STRICT;
CREATE INDEX limit_usage_live ON limit_usage (limit_key, live) WHERE live;
CREATE INDEX limit_usage_starts ON limit_usage (limit_key, at, until) WHERE until > 0;
CREATE INDEX limit_usage_over ON limit_usage (until) WHERE NOT live;

-- When time unblocks a limit that jobs wait for.
CREATE TABLE limit_openings (
    limit_key TEXT PRIMARY KEY,
    at REAL NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX limit_openings_at ON limit_openings (at);

-- The place of the last job of each fairness key.
CREATE TABLE fairness (
    queue TEXT NOT NULL,
    rank INTEGER NOT NULL,
    fairness_key TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (queue, rank, fairness_key)
) WITHOUT ROWID, STRICT;

-- Jobs exported for another store, kept until their arrival there is confirmed.
CREATE TABLE exports (
    name TEXT PRIMARY KEY,
    jobs BLOB NOT NULL                    -- msgpack
) WITHOUT ROWID, STRICT;
