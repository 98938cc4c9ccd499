-- Version 1 of the store; "@." stands for its schema. A job's message is stored once, in `jobs`; what moves between the
-- other tables is a small row. place: when the job was put, a number that grows. rank: -priority. Times: unix seconds.
-- Ids and names are bytes (UTF-8), so that any text can be one, whatever the database's encoding.

CREATE SEQUENCE @.places;
CREATE SEQUENCE @.tokens;                 -- fences: never used twice
CREATE SEQUENCE @.endings;

-- Every job that is known, in whatever state. Being here is what makes an id known.
CREATE TABLE @.jobs (
    place bigint PRIMARY KEY,
    id bytea NOT NULL UNIQUE,
    queue bytea NOT NULL,
    rank bigint NOT NULL,
    chosen boolean NOT NULL,              -- the id was chosen by a caller
    body bytea,                           -- the message as put; NULL: the job is gone, its id is remembered
    until float8                          -- when the id of a job that is gone may be forgotten
);
CREATE INDEX jobs_until ON @.jobs (until) WHERE until IS NOT NULL;

CREATE TABLE @.ready (
    place bigint NOT NULL,
    queue bytea NOT NULL,
    rank bigint NOT NULL,
    attempts int NOT NULL,                -- charged so far
    returns int NOT NULL,
    expires_at float8,
    failures bytea,                       -- msgpack, NULL for none
    PRIMARY KEY (queue, rank, place)
);
CREATE INDEX ready_expires ON @.ready (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE @.leased (
    token bigint PRIMARY KEY,
    consumer bigint NOT NULL,
    claim bigint NOT NULL,                -- the consumer's own number of the claim
    started boolean NOT NULL,
    cancel boolean NOT NULL,              -- cancellation was asked for
    since float8 NOT NULL,
    place bigint NOT NULL,
    queue bytea NOT NULL,
    rank bigint NOT NULL,
    attempts int NOT NULL,
    returns int NOT NULL,
    expires_at float8,
    failures bytea
);
CREATE INDEX leased_cancel ON @.leased (consumer) WHERE cancel;

CREATE TABLE @.delayed (
    due float8 NOT NULL,
    place bigint NOT NULL UNIQUE,
    queue bytea NOT NULL,
    rank bigint NOT NULL,
    attempts int NOT NULL,
    returns int NOT NULL,
    expires_at float8,
    failures bytea,
    PRIMARY KEY (due, place)
);
CREATE INDEX delayed_queue ON @.delayed (queue, due, place);
CREATE INDEX delayed_expires ON @.delayed (expires_at) WHERE expires_at IS NOT NULL;

-- Waiting for a consumer that names the task.
CREATE TABLE @.parked (
    task bytea NOT NULL,
    place bigint NOT NULL UNIQUE,
    queue bytea NOT NULL,
    rank bigint NOT NULL,
    dead_at float8 NOT NULL,
    reason bytea NOT NULL,                -- the failure it dies of
    attempts int NOT NULL,
    returns int NOT NULL,
    expires_at float8,
    failures bytea,
    PRIMARY KEY (task, queue, rank, place)
);
CREATE INDEX parked_dead_at ON @.parked (dead_at);
CREATE INDEX parked_expires ON @.parked (expires_at) WHERE expires_at IS NOT NULL;

-- How jobs ended. n: those of one queue that ended in one call share it; it grows with every call.
CREATE TABLE @.ended (
    state text COLLATE "C" NOT NULL,      -- succeeded, dead, cancelled
    queue bytea NOT NULL,
    n bigint NOT NULL,
    place bigint NOT NULL UNIQUE,
    ended float8 NOT NULL,
    started float8,
    attempts int NOT NULL,
    failures bytea,
    result bytea,
    PRIMARY KEY (state, queue, n, place)
);

-- Until when ended jobs are kept: one row for all that ended together, so that it costs nothing per job.
CREATE TABLE @.terms (
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
    floor bigint NOT NULL DEFAULT 0,      -- claims up to this number come too late
    waiting boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);

-- Who waits for results, so that settling tells them.
CREATE TABLE @.watchers (
    id text PRIMARY KEY,
    until float8 NOT NULL
) WITH (fillfactor = 50);

-- The number of each client's last put.
CREATE TABLE @.producers (
    client text PRIMARY KEY,
    number bigint NOT NULL,
    at float8 NOT NULL
) WITH (fillfactor = 50);

-- How the counts change: a call adds rows, so that none waits for another; heartbeats sum them up.
CREATE TABLE @.counts (
    queue bytea NOT NULL,
    state text COLLATE "C" NOT NULL,
    n bigint NOT NULL
);

-- These tables turn over completely every few seconds: their dead rows must go as fast.
ALTER TABLE @.ready SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0, autovacuum_vacuum_insert_scale_factor = 0.5);
ALTER TABLE @.leased SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0, autovacuum_vacuum_insert_scale_factor = 0.5);
ALTER TABLE @.counts SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0);
ALTER TABLE @.jobs SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0);
ALTER TABLE @.ended SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0);

CREATE TABLE @.version (version int NOT NULL);
INSERT INTO @.version VALUES (1);
