-- AUTOINCREMENT: an id consumed is never given again.
CREATE TABLE inbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    account     INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    source      TEXT NOT NULL,
    intakes     TEXT NOT NULL
) STRICT;
CREATE INDEX inbox_by_receipt ON inbox (account, received_at, id);

CREATE TABLE known (
    account INTEGER NOT NULL,
    id      BLOB NOT NULL,
    kind    TEXT NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (account, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE journal (
    account    INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    friend     INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    name       TEXT,
    value      TEXT,
    event_id   TEXT,
    properties TEXT,
    PRIMARY KEY (account, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE friend (
    account        INTEGER NOT NULL,
    friend         INTEGER NOT NULL,
    user_id        TEXT,
    status         TEXT NOT NULL,
    status_at      INTEGER NOT NULL,
    followed_at    INTEGER,
    external_id    TEXT,
    tags           TEXT NOT NULL,
    attributes     TEXT NOT NULL,
    erased_at      INTEGER,
    quarantined_at INTEGER,
    PRIMARY KEY (account, friend)
) STRICT, WITHOUT ROWID;
-- An erased friend keeps its user id until no open batch holds it; the user may come back before that.
CREATE UNIQUE INDEX friend_by_user ON friend (account, user_id) WHERE erased_at IS NULL;

CREATE TABLE checkpoint_manifest (
    account  INTEGER PRIMARY KEY,
    number   INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    chunks   INTEGER NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;

CREATE TABLE checkpoint_chunk (
    account  INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    key      TEXT NOT NULL,
    chunk    INTEGER NOT NULL,
    token    INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    data     BLOB NOT NULL,
    PRIMARY KEY (account, number, kind, key, chunk)
) STRICT;
