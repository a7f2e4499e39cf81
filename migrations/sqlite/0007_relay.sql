-- AUTOINCREMENT: an id that was relayed is never given again.
CREATE TABLE relay (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    account     INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    signature   TEXT NOT NULL,
    body        TEXT NOT NULL
) STRICT;
CREATE INDEX relay_by_account ON relay (account, id, received_at);
