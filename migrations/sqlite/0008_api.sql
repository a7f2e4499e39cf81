-- AUTOINCREMENT: a number is part of a token's text, so it is never given again.
CREATE TABLE api_token (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    account    INTEGER,
    name       TEXT NOT NULL,
    scopes     TEXT NOT NULL,
    sha256     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    revoked_at INTEGER,
    revoked_by TEXT
) STRICT;

CREATE TABLE api_answer (
    account INTEGER NOT NULL,
    key     TEXT NOT NULL,
    request BLOB NOT NULL,
    at      INTEGER NOT NULL,
    status  INTEGER NOT NULL,
    body    TEXT NOT NULL,
    PRIMARY KEY (account, key)
) STRICT;
CREATE INDEX api_answer_by_time ON api_answer (account, at);
