-- The tables of a store; "@." stands for its schema. A job's message is stored once, in `jobs`. What moves between the other
-- tables is a small row. place: the order in which jobs were put. rank: -priority. Times are unix seconds.
-- Ids and names are bytes (UTF-8), so that any text can be one, whatever the database's encoding.

CREATE TABLE @.version (version int NOT NULL);      -- of this layout
INSERT INTO @.version VALUES (4);

-- Places are 2 to the 20th apart, because jobs with a fairness key go between two others. The upper 43 bits of a place are
-- its round: older rounds come first. The lower bits order the jobs of one round.
CREATE SEQUENCE @.places INCREMENT BY 1048576 START WITH 1048576;
CREATE SEQUENCE @.tokens;                           -- fences: never used twice
CREATE SEQUENCE @.endings;

-- Every known job, in whatever state. An id is known while its row is here.
CREATE TABLE @.jobs (
    place bigint PRIMARY KEY,
    id bytea NOT NULL UNIQUE,
    queue bytea NOT NULL,
    rank bigint NOT NULL,
    chosen boolean NOT NULL,                        -- a caller chose the id
    body bytea,                                     -- the message as put; NULL: the job is gone, its id is remembered
    until float8,                                   -- when the id of a job that is gone may be forgotten
    limited boolean                                 -- it has limits; NULL for most
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX jobs_until ON @.jobs (until) WHERE until IS NOT NULL;

-- Tables that turn over completely every few seconds have autovacuum settings by which their dead rows go as fast.
CREATE TABLE @.ready (
    place bigint NOT NULL,
    queue bytea NOT NULL,
    rank bigint NOT NULL,
    attempts int NOT NULL,                          -- made so far
    worker_deaths int NOT NULL,
    expires_at float8,
    failures bytea                                  -- msgpack; NULL for none
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_scale_factor = 0.5);

CREATE TABLE @.leased (
    token bigint PRIMARY KEY,
    consumer bigint NOT NULL,
    claim bigint NOT NULL,                          -- the consumer's own number of the claim
    started boolean NOT NULL,
    cancel boolean NOT NULL,                        -- its cancellation was requested
    since float8 NOT NULL,
    LIKE @.ready,
    has_dependents boolean                          -- some were put since it was leased; else NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_scale_factor = 0.5);
CREATE INDEX leased_cancel ON @.leased (consumer) WHERE cancel;

CREATE TABLE @.scheduled (
    due float8 NOT NULL,
    LIKE @.ready,
    PRIMARY KEY (due, place), UNIQUE (place)
);
CREATE INDEX scheduled_queue ON @.scheduled (queue, due, place);
CREATE INDEX scheduled_expires ON @.scheduled (expires_at) WHERE expires_at IS NOT NULL;

-- Jobs that wait for a consumer that knows their task.
CREATE TABLE @.parked (
    task bytea NOT NULL,
    dead_at float8 NOT NULL,
    reason bytea NOT NULL,                          -- the failure with which it dies then
    LIKE @.ready,
    PRIMARY KEY (task, queue, rank, place), UNIQUE (place)
);
CREATE INDEX parked_dead_at ON @.parked (dead_at);
CREATE INDEX parked_expires ON @.parked (expires_at) WHERE expires_at IS NOT NULL;

-- Jobs that wait for their parents.
CREATE TABLE @.dependent (
    missing int NOT NULL,                           -- how many parents have not succeeded
    delay float8 NOT NULL,                          -- seconds to wait after that
    LIKE @.ready,
    PRIMARY KEY (place)
) WITH (fillfactor = 50);
CREATE INDEX dependent_queue ON @.dependent (queue, place);
CREATE INDEX dependent_expires ON @.dependent (expires_at) WHERE expires_at IS NOT NULL;

-- Which job depends on which: until it has succeeded, is cancelled, or is forgotten.
CREATE TABLE @.dependencies (
    child bigint NOT NULL,                          -- both are places
    n int NOT NULL,                                 -- the parent's number among the child's
    parent bigint NOT NULL,
    result bytea,                                   -- the parent's; NULL: it has not succeeded
    PRIMARY KEY (child, n)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX dependencies_parent ON @.dependencies (parent) WHERE result IS NULL;

-- Limits in use. To change anything about a key's holders, starts or blocked jobs, its row here must be locked first.
CREATE TABLE @.limits (
    key bytea PRIMARY KEY,
    running int NOT NULL,                           -- how many jobs are leased
    opens float8                                    -- when the first blocked job may start, if only time blocks it
) WITH (fillfactor = 50);
CREATE INDEX limits_opens ON @.limits (opens) WHERE opens IS NOT NULL;

-- Which leases count for a limit.
CREATE TABLE @.holders (
    key bytea NOT NULL,
    token bigint NOT NULL,
    place bigint NOT NULL,
    PRIMARY KEY (key, token)
);
CREATE INDEX holders_token ON @.holders (token);

-- When jobs were leased that count for a limit of starts.
CREATE TABLE @.starts (
    key bytea NOT NULL,
    at float8 NOT NULL,
    until float8 NOT NULL                           -- after that it no longer counts
);
CREATE INDEX starts_key ON @.starts (key, at);
CREATE INDEX starts_until ON @.starts (until);

-- Jobs that a limit has blocked, with its numbers in the job and its name.
CREATE TABLE @.blocked (
    key bytea NOT NULL,
    running int,
    starts int,
    per float8 NOT NULL,
    LIKE @.ready,
    PRIMARY KEY (key, queue, rank, place), UNIQUE (place)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE @.blocked ADD COLUMN name bytea NOT NULL DEFAULT '';
CREATE INDEX blocked_queue ON @.blocked (queue, place);
CREATE INDEX blocked_expires ON @.blocked (expires_at) WHERE expires_at IS NOT NULL;

ALTER TABLE @.ready ADD COLUMN limited boolean, ADD PRIMARY KEY (queue, rank, place);
CREATE INDEX ready_expires ON @.ready (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX ready_limited ON @.ready (queue) WHERE limited;

-- The round of the last job put with each fairness key.
CREATE TABLE @.fairness (
    queue bytea NOT NULL,
    rank bigint NOT NULL,
    key bytea NOT NULL,
    round bigint NOT NULL,
    at float8 NOT NULL,
    PRIMARY KEY (queue, rank, key)
) WITH (fillfactor = 50);
CREATE INDEX fairness_at ON @.fairness (at);

-- How jobs ended. n: those of one queue that ended in one call share it; it grows with every call.
CREATE TABLE @.ended (
    state text COLLATE "C" NOT NULL,                -- succeeded, dead, cancelled
    queue bytea NOT NULL,
    n bigint NOT NULL,
    place bigint NOT NULL UNIQUE,
    ended float8 NOT NULL,
    started float8,
    attempts int NOT NULL,
    failures bytea,
    result bytea,
    PRIMARY KEY (state, queue, n, place)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0);

-- Until when ended jobs are kept: one row for all that ended together, so that it costs nothing per job.
CREATE TABLE @.retention (
    until float8 NOT NULL,
    state text COLLATE "C" NOT NULL,
    queue bytea NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (until, n)
);

CREATE TABLE @.consumers (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL UNIQUE,
    name bytea NOT NULL,
    queues bytea[] NOT NULL,
    lease float8 NOT NULL,
    deadline float8 NOT NULL,
    floor bigint NOT NULL DEFAULT 0,                -- claims up to this number come too late
    waiting boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);

-- Who waits for results, so that a settlement notifies them.
CREATE TABLE @.listeners (
    id text PRIMARY KEY,
    until float8 NOT NULL
) WITH (fillfactor = 50);

-- The number of each client's last put; a new row now and then, so that no row has very many dead versions.
CREATE TABLE @.producers (
    client text PRIMARY KEY,
    number bigint NOT NULL,
    at float8 NOT NULL
) WITH (fillfactor = 50);

-- Changes of the counts: each call adds rows, so that none waits for another. Now and then they are summed up.
CREATE TABLE @.counts (
    queue bytea NOT NULL,
    state text COLLATE "C" NOT NULL,
    n bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- The key-value store.
CREATE TABLE @.entries (
    namespace bytea NOT NULL,
    key bytea NOT NULL,
    value bytea NOT NULL,
    until float8,
    PRIMARY KEY (namespace, key)
);
CREATE INDEX entries_until ON @.entries (until) WHERE until IS NOT NULL;

-- Jobs exported to another store, kept until that is confirmed.
CREATE TABLE @.exports (
    name text COLLATE "C" PRIMARY KEY,
    jobs bytea NOT NULL                             -- msgpack
);
