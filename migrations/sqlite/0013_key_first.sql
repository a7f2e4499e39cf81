-- The key's columns before the others: SQLite 3.40, which Debian 12 brings, calls the table damaged otherwise when a
-- person lets it check the file.
ALTER TABLE occurrence_part RENAME TO occurrence_part_before;
CREATE TABLE occurrence_part (
    account      INTEGER NOT NULL,
    occurrence   INTEGER NOT NULL,
    effective_at INTEGER NOT NULL,
    from_batch   INTEGER NOT NULL,
    PRIMARY KEY (account, occurrence, effective_at)
) STRICT, WITHOUT ROWID;
INSERT INTO occurrence_part (account, occurrence, effective_at, from_batch)
    SELECT account, occurrence, effective_at, from_batch FROM occurrence_part_before;
DROP TABLE occurrence_part_before;
