-- Version 2: what ties jobs to others (those they come after, limits, turns), and the board.

-- A job that takes its turn stands between two places: so these are 2 to the 20th apart from here on. The upper 43 bits
-- are its seat, by which it comes after older ones; of those on one seat the lower bits tell which is first.
ALTER SEQUENCE @.places INCREMENT BY 1048576;
SELECT setval('@.places', ((last_value >> 20) + 1) << 20, FALSE) FROM @.places;

ALTER TABLE @.jobs ADD COLUMN gated boolean;       -- it has gates
ALTER TABLE @.ready ADD COLUMN gated boolean;      -- the same again
ALTER TABLE @.leased ADD COLUMN followed boolean;  -- since it was leased jobs were put that come after it
CREATE INDEX ready_gated ON @.ready (queue) WHERE gated;

-- Jobs that wait for those they come after.
CREATE TABLE @.pending (
    place bigint PRIMARY KEY,
    missing int NOT NULL,                 -- so many have not succeeded
    delay float8 NOT NULL,                -- to wait then
    queue bytea NOT NULL,
    rank bigint NOT NULL,
    attempts int NOT NULL,
    returns int NOT NULL,
    expires_at float8,
    failures bytea
) WITH (fillfactor = 50);
CREATE INDEX pending_queue ON @.pending (queue, place);
CREATE INDEX pending_expires ON @.pending (expires_at) WHERE expires_at IS NOT NULL;

-- Which job comes after which: until it has succeeded, is cancelled, or is forgotten.
CREATE TABLE @.edges (
    child bigint NOT NULL,                -- both are places
    n int NOT NULL,                       -- the parent's number among the child's
    parent bigint NOT NULL,
    result bytea,                         -- the parent's; NULL: it has not succeeded
    PRIMARY KEY (child, n)
);
CREATE INDEX edges_parent ON @.edges (parent) WHERE result IS NULL;

-- Limits that are held or stood for. Who changes anything about a key's holds, starts or line has locked its row here.
CREATE TABLE @.gates (
    key bytea PRIMARY KEY,
    held int NOT NULL,                    -- so many are leased
    opens float8                          -- when there will be room for the line's first, if only time shuts it out
) WITH (fillfactor = 50);
CREATE INDEX gates_opens ON @.gates (opens) WHERE opens IS NOT NULL;

-- Which leases count for a limit.
CREATE TABLE @.holds (
    key bytea NOT NULL,
    token bigint NOT NULL,
    place bigint NOT NULL,
    PRIMARY KEY (key, token)
);
CREATE INDEX holds_token ON @.holds (token);

-- When jobs were leased that count for a limit of starts.
CREATE TABLE @.starts (
    key bytea NOT NULL,
    at float8 NOT NULL,
    until float8 NOT NULL                 -- when that matters no more
);
CREATE INDEX starts_key ON @.starts (key, at);
CREATE INDEX starts_until ON @.starts (until);

-- Jobs that a limit has shut out, with its numbers.
CREATE TABLE @.lined (
    key bytea NOT NULL,
    running int,
    starts int,
    per float8 NOT NULL,
    place bigint NOT NULL UNIQUE,
    queue bytea NOT NULL,
    rank bigint NOT NULL,
    attempts int NOT NULL,
    returns int NOT NULL,
    expires_at float8,
    failures bytea,
    PRIMARY KEY (key, queue, rank, place)
);
CREATE INDEX lined_queue ON @.lined (queue, place);
CREATE INDEX lined_expires ON @.lined (expires_at) WHERE expires_at IS NOT NULL;

-- The seat of the last job put of each turn key.
CREATE TABLE @.turns (
    queue bytea NOT NULL,
    rank bigint NOT NULL,
    key bytea NOT NULL,
    seat bigint NOT NULL,
    at float8 NOT NULL,
    PRIMARY KEY (queue, rank, key)
) WITH (fillfactor = 50);
CREATE INDEX turns_at ON @.turns (at);

-- The board.
CREATE TABLE @.notes (
    space bytea NOT NULL,
    key bytea NOT NULL,
    value bytea NOT NULL,
    until float8,
    PRIMARY KEY (space, key)
);
CREATE INDEX notes_until ON @.notes (until) WHERE until IS NOT NULL;

-- Jobs that were packed for another store, written down until they are delivered there.
CREATE TABLE @.transit (
    name text COLLATE "C" PRIMARY KEY,
    parcels bytea NOT NULL                -- msgpack
);

ALTER TABLE @.edges SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0);
ALTER TABLE @.lined SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0);

UPDATE @.version SET version = 2;
