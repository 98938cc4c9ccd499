-- Version 2: notes, jobs that depend on others, and jobs on their way into another store.

CREATE TABLE notes (
    space TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    until REAL,                           -- forgotten then
    PRIMARY KEY (space, key)
) WITHOUT ROWID, STRICT;
CREATE INDEX notes_until ON notes (until) WHERE until IS NOT NULL;

-- A job (the child) waits for another (the parent) to succeed.
CREATE TABLE edges (
    parent_seq INTEGER NOT NULL,
    parent TEXT NOT NULL,
    child_seq INTEGER NOT NULL,
    child TEXT NOT NULL,
    PRIMARY KEY (parent_seq, parent, child_seq, child)
) WITHOUT ROWID, STRICT;
CREATE INDEX edges_child ON edges (child_seq, child);

-- What the child is given: the result of a parent that has succeeded.
CREATE TABLE inputs (
    child_seq INTEGER NOT NULL,
    child TEXT NOT NULL,
    parent TEXT NOT NULL,
    result BLOB NOT NULL,
    PRIMARY KEY (child_seq, child, parent)
) WITHOUT ROWID, STRICT;

-- Jobs that wait for parents. They stand in `parked` as well, under a task that nobody has.
CREATE TABLE pending (
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    parents INTEGER NOT NULL,             -- that have not succeeded yet
    delay REAL NOT NULL,
    PRIMARY KEY (seq, id)
) WITHOUT ROWID, STRICT;
CREATE INDEX pending_none ON pending (seq) WHERE parents <= 0;

-- What limits count. Jobs that a limit shut out stand in `parked`, under a task that nobody has.
CREATE TABLE held (
    gate TEXT NOT NULL,
    token INTEGER NOT NULL,
    id TEXT NOT NULL,
    at REAL NOT NULL,
    until REAL NOT NULL,                  -- a start counts so long; 0: starts are not counted
    live INTEGER NOT NULL,                -- 1: leased
    PRIMARY KEY (token, gate)
) WITHOUT ROWID, STRICT;
CREATE INDEX held_live ON held (gate, live) WHERE live;
CREATE INDEX held_starts ON held (gate, at, until) WHERE until > 0;
CREATE INDEX held_over ON held (until) WHERE NOT live;

-- When time opens a limit that jobs wait for.
CREATE TABLE opening (
    gate TEXT PRIMARY KEY,
    at REAL NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX opening_at ON opening (at);

-- The place of the last job of each turn key.
CREATE TABLE turns (
    queue TEXT NOT NULL,
    rank INTEGER NOT NULL,
    turn TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (queue, rank, turn)
) WITHOUT ROWID, STRICT;

-- Jobs that were packed for another store, written down until they are delivered there.
CREATE TABLE transit (
    name TEXT PRIMARY KEY,
    parcels BLOB NOT NULL                 -- msgpack
) WITHOUT ROWID, STRICT;
