-- What drips' occurrences came to, once nothing but their counts is kept: a row for each step and day.
CREATE TABLE step_day (
    account     INTEGER NOT NULL,
    campaign    TEXT NOT NULL,
    step        TEXT NOT NULL,
    day         TEXT NOT NULL,
    occurrences INTEGER NOT NULL,
    matched     INTEGER NOT NULL,
    recipients  INTEGER NOT NULL,
    PRIMARY KEY (account, campaign, step, day)
) STRICT, WITHOUT ROWID;

CREATE TABLE step_day_count (
    account      INTEGER NOT NULL,
    campaign     TEXT NOT NULL,
    step         TEXT NOT NULL,
    day          TEXT NOT NULL,
    kind         TEXT NOT NULL CHECK (kind IN ('outcome', 'excluded')),
    arm          TEXT NOT NULL,
    name         TEXT NOT NULL,
    friend_count INTEGER NOT NULL,
    PRIMARY KEY (account, campaign, step, day, kind, arm, name)
) STRICT, WITHOUT ROWID;
