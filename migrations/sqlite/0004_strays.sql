CREATE TABLE stray (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    account     INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    source      TEXT NOT NULL,
    friends     INTEGER NOT NULL,
    intake      TEXT NOT NULL
) STRICT;
CREATE INDEX stray_by_account ON stray (account, id);
