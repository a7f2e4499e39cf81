-- Instants are integer milliseconds since 1970-01-01T00:00:00Z. docs/schema.md explains every column.
CREATE TABLE config_version (
    id           INTEGER PRIMARY KEY,
    digest       BLOB NOT NULL,
    activated_at INTEGER NOT NULL,
    activated_by TEXT NOT NULL
) STRICT;

CREATE TABLE config_file (
    version INTEGER NOT NULL,
    path    TEXT NOT NULL,
    text    TEXT NOT NULL,
    PRIMARY KEY (version, path)
) STRICT;

-- One row, always there, so that two activations at once meet in its lock.
CREATE TABLE config_active (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER
) STRICT;
INSERT INTO config_active (one, version) VALUES (1, NULL);

CREATE TABLE account (
    id             INTEGER PRIMARY KEY,
    slug           TEXT NOT NULL UNIQUE,
    channel_id     TEXT NOT NULL UNIQUE,
    created_at     INTEGER NOT NULL,
    folded_seq     INTEGER NOT NULL DEFAULT 0,
    journal_seq    INTEGER NOT NULL DEFAULT 0,
    stopped_at     INTEGER,
    stopped_by     TEXT,
    stopped_reason TEXT,
    paused_at      INTEGER,
    paused_by      TEXT,
    paused_reason  TEXT
) STRICT;

CREATE TABLE account_lease (
    account    INTEGER PRIMARY KEY,
    token      INTEGER,
    seq        INTEGER NOT NULL,
    holder     TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    seen_at    INTEGER
) STRICT;
