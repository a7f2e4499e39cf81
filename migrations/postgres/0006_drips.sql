-- COLLATE "C": pages go on by code point, whatever the order of the database.
CREATE TABLE enrollment (
    account     BIGINT NOT NULL,
    drip        TEXT COLLATE "C" NOT NULL,
    friend      BIGINT NOT NULL,
    started_at  BIGINT NOT NULL,
    version     BIGINT NOT NULL,
    counts_from BIGINT NOT NULL,
    not_before  BIGINT NOT NULL,
    done        TEXT NOT NULL,
    standing    TEXT NOT NULL,
    step        TEXT,
    due_at      BIGINT,
    occurrence  BIGINT,
    ending      TEXT,
    ended_at    BIGINT,
    PRIMARY KEY (account, drip, friend, started_at)
);
CREATE INDEX enrollment_open ON enrollment (account, drip, friend, started_at) WHERE standing <> 'ended';
CREATE INDEX enrollment_ended ON enrollment (account, drip, ending) WHERE standing = 'ended';
CREATE INDEX enrollment_by_friend ON enrollment (account, friend, started_at);

CREATE TABLE deferral (
    account        BIGINT NOT NULL,
    occurrence     BIGINT NOT NULL,
    campaign       TEXT NOT NULL,
    step           TEXT NOT NULL,
    version        BIGINT NOT NULL,
    until          BIGINT NOT NULL,
    looked_at      BIGINT NOT NULL,
    children       BIGINT NOT NULL,
    waiting_count  BIGINT NOT NULL,
    waiting        BYTEA NOT NULL,
    left_count     BIGINT NOT NULL,
    "left"         BYTEA NOT NULL,
    lapsed_count   BIGINT NOT NULL,
    lapsed         BYTEA NOT NULL,
    replaced_count BIGINT NOT NULL,
    replaced       BYTEA NOT NULL,
    PRIMARY KEY (account, occurrence)
);
CREATE INDEX deferral_open ON deferral (account, occurrence) WHERE waiting_count > 0;

CREATE TABLE tag_expiry (
    account  BIGINT NOT NULL,
    friend   BIGINT NOT NULL,
    tag      TEXT COLLATE "C" NOT NULL,
    given_at BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    PRIMARY KEY (account, friend, tag)
);
CREATE INDEX tag_expiry_by_time ON tag_expiry (account, at, friend, tag);

CREATE TABLE outbox (
    account     BIGINT NOT NULL,
    id          BIGINT NOT NULL,
    lane        TEXT NOT NULL,
    payload     TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    not_before  BIGINT NOT NULL,
    attempts    BIGINT NOT NULL,
    given_up_at BIGINT,
    why         TEXT,
    PRIMARY KEY (account, id)
);
-- With when each was decided, so that what waits is counted from the index alone.
CREATE INDEX outbox_open ON outbox (account, lane, not_before, id, created_at) WHERE given_up_at IS NULL;
CREATE INDEX outbox_given_up ON outbox (account, given_up_at) WHERE given_up_at IS NOT NULL;
