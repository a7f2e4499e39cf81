-- The key's columns before the others, as on SQLite, where it matters.
ALTER TABLE occurrence_part RENAME TO occurrence_part_before;
ALTER INDEX occurrence_part_pkey RENAME TO occurrence_part_before_pkey;
CREATE TABLE occurrence_part (
    account      BIGINT NOT NULL,
    occurrence   BIGINT NOT NULL,
    effective_at BIGINT NOT NULL,
    from_batch   BIGINT NOT NULL,
    PRIMARY KEY (account, occurrence, effective_at)
);
INSERT INTO occurrence_part (account, occurrence, effective_at, from_batch)
    SELECT account, occurrence, effective_at, from_batch FROM occurrence_part_before;
DROP TABLE occurrence_part_before;
