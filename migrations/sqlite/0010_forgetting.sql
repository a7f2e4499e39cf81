-- Friends who are erased and of whom something may still be stored; ways through drips of those who are forgotten.
CREATE TABLE erasure (
    account     INTEGER NOT NULL,
    friend      INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    user_id     TEXT,
    external_id TEXT,
    PRIMARY KEY (account, friend)
) STRICT, WITHOUT ROWID;

CREATE TABLE enrollment_gone (
    account INTEGER NOT NULL,
    drip    TEXT NOT NULL,
    ending  TEXT NOT NULL,
    ways    INTEGER NOT NULL,
    PRIMARY KEY (account, drip, ending)
) STRICT, WITHOUT ROWID;

-- Whoever was erased before this is forgotten like everybody else.
INSERT INTO erasure SELECT account, friend, 0, erased_at, NULL, NULL FROM friend WHERE erased_at IS NOT NULL;
INSERT INTO erasure
SELECT j.account, j.friend, MAX(j.seq), MAX(j.at), MAX(f.user_id), MAX(f.external_id)
FROM journal j
LEFT JOIN friend f ON f.account = j.account AND f.friend = j.friend
WHERE j.kind = 'erased'
  AND NOT EXISTS (SELECT 1 FROM erasure e WHERE e.account = j.account AND e.friend = j.friend)
GROUP BY j.account, j.friend;

-- To whom test sends went stands in their occurrences, by number.
UPDATE act SET detail = '' WHERE act = 'test-send';
