CREATE TABLE campaign (
    account         INTEGER NOT NULL,
    campaign        TEXT NOT NULL,
    step            TEXT NOT NULL,
    schedule_digest BLOB NOT NULL,
    activated_at    INTEGER NOT NULL,
    last_planned_at INTEGER,
    paused_at       INTEGER,
    paused_by       TEXT,
    paused_reason   TEXT,
    PRIMARY KEY (account, campaign, step)
) STRICT;

CREATE TABLE occurrence (
    account     INTEGER NOT NULL,
    id          INTEGER NOT NULL,
    campaign    TEXT NOT NULL,
    step        TEXT NOT NULL,
    due_at      INTEGER NOT NULL,
    run_kind    TEXT NOT NULL CHECK (run_kind IN ('scheduled', 'test')),
    run_number  INTEGER NOT NULL,
    parent      INTEGER,
    child       INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    state       TEXT NOT NULL,
    reason      TEXT,
    detail      TEXT NOT NULL,
    category    TEXT NOT NULL,
    capped      INTEGER NOT NULL CHECK (capped IN (0, 1)),
    immediate   INTEGER NOT NULL CHECK (immediate IN (0, 1)),
    frozen_at   INTEGER NOT NULL,
    deadline_at INTEGER,
    pace_friends INTEGER,
    pace_per    INTEGER,
    notify      INTEGER NOT NULL CHECK (notify IN (0, 1)),
    matched     INTEGER NOT NULL,
    recipients  INTEGER NOT NULL,
    finished_at INTEGER,
    PRIMARY KEY (account, id)
) STRICT;
-- Each due instant once (a child counts under its parent's).
CREATE UNIQUE INDEX occurrence_once
    ON occurrence (account, campaign, step, due_at, run_kind, run_number, child);
CREATE INDEX occurrence_by_due ON occurrence (account, due_at, id);
CREATE INDEX occurrence_open ON occurrence (account, id) WHERE state IN ('sending', 'paused', 'held');

CREATE TABLE occurrence_part (
    account      INTEGER NOT NULL,
    occurrence   INTEGER NOT NULL,
    from_batch   INTEGER NOT NULL,
    effective_at INTEGER NOT NULL,
    PRIMARY KEY (account, occurrence, effective_at)
) STRICT, WITHOUT ROWID;
CREATE INDEX occurrence_part_by_effect ON occurrence_part (account, effective_at, occurrence);

CREATE TABLE occurrence_variant (
    account    INTEGER NOT NULL,
    occurrence INTEGER NOT NULL,
    position   INTEGER NOT NULL,
    name       TEXT NOT NULL,
    messages   TEXT NOT NULL,
    content    BLOB NOT NULL,
    unit       TEXT,
    friend_count INTEGER NOT NULL,
    recipients BLOB NOT NULL,
    PRIMARY KEY (account, occurrence, position)
) STRICT;

CREATE TABLE occurrence_set (
    account      INTEGER NOT NULL,
    occurrence   INTEGER NOT NULL,
    kind         TEXT NOT NULL CHECK (kind IN ('excluded', 'outcome')),
    name         TEXT NOT NULL,
    friend_count INTEGER NOT NULL,
    friends      BLOB NOT NULL,
    PRIMARY KEY (account, occurrence, kind, name)
) STRICT;

CREATE TABLE stride (
    account    INTEGER NOT NULL,
    occurrence INTEGER NOT NULL,
    first      INTEGER NOT NULL,
    upto       INTEGER NOT NULL,
    opened_at  INTEGER NOT NULL,
    boot_id    TEXT NOT NULL,
    since_boot INTEGER NOT NULL,
    digests    BLOB NOT NULL,
    PRIMARY KEY (account, occurrence, first)
) STRICT;

CREATE TABLE batch (
    account             INTEGER NOT NULL,
    occurrence          INTEGER NOT NULL,
    n                   INTEGER NOT NULL,
    generation          INTEGER NOT NULL,
    parent              INTEGER,
    friends             BLOB,
    friend_count        INTEGER NOT NULL,
    opened_at           INTEGER,
    boot_id             TEXT,
    since_boot          INTEGER,
    body_sha256         BLOB NOT NULL,
    ending              TEXT,
    ended_at            INTEGER,
    attempts            INTEGER,
    request_id          TEXT,
    accepted_request_id TEXT,
    detail              TEXT,
    PRIMARY KEY (account, occurrence, n, generation)
) STRICT;
-- Our own count since LINE's last reading.
CREATE INDEX batch_accepted ON batch (account, ended_at, friend_count) WHERE ending = 'accepted';

CREATE TABLE quota_reading (
    account INTEGER NOT NULL,
    month   TEXT NOT NULL,
    read_at INTEGER NOT NULL,
    quota   INTEGER,
    used    INTEGER NOT NULL,
    PRIMARY KEY (account, month)
) STRICT;

CREATE TABLE act (
    id      INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    by      TEXT NOT NULL,
    act     TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail  TEXT NOT NULL
) STRICT;
CREATE INDEX act_by_time ON act (account, at, id);
