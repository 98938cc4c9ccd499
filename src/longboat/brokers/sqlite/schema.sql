-- Version 1 of the store. A job's message is stored once, in `jobs`; what moves between the other tables is a small row.
-- seq: when the job was put, as a 63-bit number (the first half of a generated id). rank: -priority. Times: unix seconds.

-- Every job that is known, in whatever state. Being here is what makes an id known.
CREATE TABLE jobs (
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    body BLOB NOT NULL,                   -- the message as put
    PRIMARY KEY (seq, id)
) WITHOUT ROWID, STRICT;

-- The order of this table is the order of receiving: no other index is kept on the way of a job.
CREATE TABLE ready (
    queue TEXT NOT NULL,
    rank INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    attempts INTEGER NOT NULL,            -- charged so far
    returns INTEGER NOT NULL,
    expires_at REAL,
    failures BLOB,                        -- msgpack, NULL for none
    PRIMARY KEY (queue, rank, seq, id)
) WITHOUT ROWID, STRICT;
CREATE INDEX ready_expires ON ready (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE leased (
    token INTEGER PRIMARY KEY AUTOINCREMENT,  -- the fence: never used twice
    consumer INTEGER NOT NULL,
    started INTEGER NOT NULL,
    cancel INTEGER NOT NULL,              -- 1: cancellation was asked for
    since REAL NOT NULL,
    queue TEXT NOT NULL,
    rank INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    returns INTEGER NOT NULL,
    expires_at REAL,
    failures BLOB
) STRICT;
CREATE INDEX leased_cancel ON leased (consumer) WHERE cancel;

CREATE TABLE delayed (
    due REAL NOT NULL,
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    queue TEXT NOT NULL,
    rank INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    returns INTEGER NOT NULL,
    expires_at REAL,
    failures BLOB,
    PRIMARY KEY (due, seq, id)
) WITHOUT ROWID, STRICT;
CREATE INDEX delayed_seq ON delayed (seq);
CREATE INDEX delayed_queue ON delayed (queue, due, seq);
CREATE INDEX delayed_expires ON delayed (expires_at) WHERE expires_at IS NOT NULL;

-- Waiting for a consumer that names the task.
CREATE TABLE parked (
    task TEXT NOT NULL,
    queue TEXT NOT NULL,
    rank INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    dead_at REAL NOT NULL,
    reason BLOB NOT NULL,                 -- the failure it dies of
    attempts INTEGER NOT NULL,
    returns INTEGER NOT NULL,
    expires_at REAL,
    failures BLOB,
    PRIMARY KEY (task, queue, rank, seq, id)
) WITHOUT ROWID, STRICT;
CREATE INDEX parked_seq ON parked (seq);
CREATE INDEX parked_dead_at ON parked (dead_at);
CREATE INDEX parked_expires ON parked (expires_at) WHERE expires_at IS NOT NULL;

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

-- Until when ended jobs are kept: one row for all that ended together, so that it costs nothing per job.
CREATE TABLE terms (
    until REAL NOT NULL,
    state TEXT NOT NULL,
    queue TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (until, state, queue, first)
) WITHOUT ROWID, STRICT;

-- Ids chosen by callers. until: forgotten then; NULL while the job is known.
CREATE TABLE names (
    id TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    until REAL
) WITHOUT ROWID, STRICT;
CREATE INDEX names_until ON names (until) WHERE until IS NOT NULL;

CREATE TABLE consumers (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    queues TEXT NOT NULL,                 -- JSON list
    lease REAL NOT NULL,
    deadline REAL NOT NULL
) STRICT;

-- The number of each client's last put.
CREATE TABLE producers (
    client TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    at REAL NOT NULL
) WITHOUT ROWID, STRICT;

CREATE TABLE counters (
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
