CREATE TABLE enrollment (
    account     INTEGER NOT NULL,
    drip        TEXT NOT NULL,
    friend      INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    counts_from INTEGER NOT NULL,
    not_before  INTEGER NOT NULL,
    done        TEXT NOT NULL,
    standing    TEXT NOT NULL,
    step        TEXT,
    due_at      INTEGER,
    occurrence  INTEGER,
    ending      TEXT,
    ended_at    INTEGER,
    PRIMARY KEY (account, drip, friend, started_at)
) STRICT, WITHOUT ROWID;
CREATE INDEX enrollment_open ON enrollment (account, drip, friend, started_at) WHERE standing <> 'ended';
CREATE INDEX enrollment_ended ON enrollment (account, drip, ending) WHERE standing = 'ended';
CREATE INDEX enrollment_by_friend ON enrollment (account, friend, started_at);

CREATE TABLE deferral (
    account        INTEGER NOT NULL,
    occurrence     INTEGER NOT NULL,
    campaign       TEXT NOT NULL,
    step           TEXT NOT NULL,
    version        INTEGER NOT NULL,
    until          INTEGER NOT NULL,
    looked_at      INTEGER NOT NULL,
    children       INTEGER NOT NULL,
    waiting_count  INTEGER NOT NULL,
    waiting        BLOB NOT NULL,
    left_count     INTEGER NOT NULL,
    "left"         BLOB NOT NULL,
    lapsed_count   INTEGER NOT NULL,
    lapsed         BLOB NOT NULL,
    replaced_count INTEGER NOT NULL,
    replaced       BLOB NOT NULL,
    PRIMARY KEY (account, occurrence)
) STRICT;
CREATE INDEX deferral_open ON deferral (account, occurrence) WHERE waiting_count > 0;

CREATE TABLE tag_expiry (
    account  INTEGER NOT NULL,
    friend   INTEGER NOT NULL,
    tag      TEXT NOT NULL,
    given_at INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (account, friend, tag)
) STRICT, WITHOUT ROWID;
CREATE INDEX tag_expiry_by_time ON tag_expiry (account, at, friend, tag);

CREATE TABLE outbox (
    account     INTEGER NOT NULL,
    id          INTEGER NOT NULL,
    lane        TEXT NOT NULL,
    payload     TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    not_before  INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    given_up_at INTEGER,
    why         TEXT,
    PRIMARY KEY (account, id)
) STRICT;
-- With when each was decided, so that what waits is counted from the index alone.
CREATE INDEX outbox_open ON outbox (account, lane, not_before, id, created_at) WHERE given_up_at IS NULL;
CREATE INDEX outbox_given_up ON outbox (account, given_up_at) WHERE given_up_at IS NOT NULL;
