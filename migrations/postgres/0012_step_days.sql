-- What drips' occurrences came to, once nothing but their counts is kept: a row for each step and day.
CREATE TABLE step_day (
    account     BIGINT NOT NULL,
    campaign    TEXT NOT NULL,
    step        TEXT NOT NULL,
    day         TEXT NOT NULL,
    occurrences BIGINT NOT NULL,
    matched     BIGINT NOT NULL,
    recipients  BIGINT NOT NULL,
    PRIMARY KEY (account, campaign, step, day)
);

CREATE TABLE step_day_count (
    account      BIGINT NOT NULL,
    campaign     TEXT NOT NULL,
    step         TEXT NOT NULL,
    day          TEXT NOT NULL,
    kind         TEXT NOT NULL CHECK (kind IN ('outcome', 'excluded')),
    arm          TEXT NOT NULL,
    name         TEXT NOT NULL,
    friend_count BIGINT NOT NULL,
    PRIMARY KEY (account, campaign, step, day, kind, arm, name)
);
