-- Deliveries of an ended occurrence, by arm, by the instant they count at, and by outcome: the books, and what caps read
-- at a start without a look at any other table.
CREATE TABLE delivery (
    account      BIGINT NOT NULL,
    occurrence   BIGINT NOT NULL,
    position     BIGINT NOT NULL,
    effective_at BIGINT NOT NULL,
    outcome      TEXT NOT NULL,
    campaign     TEXT NOT NULL,
    category     TEXT NOT NULL,
    capped       BOOLEAN NOT NULL,
    content      BYTEA NOT NULL,
    counted      TEXT NOT NULL CHECK (counted IN ('no', 'yes', 'merged')),
    friend_count BIGINT NOT NULL,
    friends      BYTEA NOT NULL,
    PRIMARY KEY (account, occurrence, position, effective_at, outcome)
);
CREATE INDEX delivery_by_effect ON delivery (account, effective_at, occurrence) WHERE counted <> 'no';
CREATE INDEX delivery_unmerged ON delivery (account, campaign, effective_at) WHERE counted = 'yes';

CREATE TABLE received (
    account      BIGINT NOT NULL,
    campaign     TEXT NOT NULL,
    friend_count BIGINT NOT NULL,
    friends      BYTEA NOT NULL,
    PRIMARY KEY (account, campaign)
);

CREATE TABLE exclusion (
    account      BIGINT NOT NULL,
    occurrence   BIGINT NOT NULL,
    name         TEXT NOT NULL,
    friend_count BIGINT NOT NULL,
    friends      BYTEA NOT NULL,
    PRIMARY KEY (account, occurrence, name)
);

-- What is already there. The outcomes of one arm are its own. Those of several arms were not told apart: where all were
-- accepted they are known, elsewhere they are unknown, which counts in every cap.
INSERT INTO exclusion SELECT account, occurrence, name, friend_count, friends
    FROM occurrence_set WHERE kind = 'excluded';
INSERT INTO delivery
SELECT s.account, s.occurrence, v.position,
       COALESCE((SELECT MAX(p.effective_at) FROM occurrence_part p
                 WHERE p.account = s.account AND p.occurrence = s.occurrence), o.due_at),
       s.name, o.campaign, o.category, o.capped, v.content,
       CASE WHEN o.run_kind = 'scheduled' AND s.name IN ('accepted', 'unknown') THEN 'yes' ELSE 'no' END,
       s.friend_count, s.friends
FROM occurrence_set s
JOIN occurrence o ON o.account = s.account AND o.id = s.occurrence
JOIN occurrence_variant v ON v.account = s.account AND v.occurrence = s.occurrence AND v.friend_count > 0
WHERE s.kind = 'outcome' AND s.friend_count > 0
  AND (SELECT COUNT(*) FROM occurrence_variant w
       WHERE w.account = s.account AND w.occurrence = s.occurrence AND w.friend_count > 0) = 1;
INSERT INTO delivery
SELECT v.account, v.occurrence, v.position,
       COALESCE((SELECT MAX(p.effective_at) FROM occurrence_part p
                 WHERE p.account = v.account AND p.occurrence = v.occurrence), o.due_at),
       CASE WHEN s.friend_count = o.recipients THEN 'accepted' ELSE 'unknown' END,
       o.campaign, o.category, o.capped, v.content,
       CASE WHEN o.run_kind = 'scheduled' THEN 'yes' ELSE 'no' END, v.friend_count, v.recipients
FROM occurrence_variant v
JOIN occurrence o ON o.account = v.account AND o.id = v.occurrence AND o.finished_at IS NOT NULL
LEFT JOIN occurrence_set s ON s.account = v.account AND s.occurrence = v.occurrence
    AND s.kind = 'outcome' AND s.name = 'accepted'
WHERE v.friend_count > 0
  AND (SELECT COUNT(*) FROM occurrence_variant w
       WHERE w.account = v.account AND w.occurrence = v.occurrence AND w.friend_count > 0) > 1;
DROP TABLE occurrence_set;

-- An occurrence is open until its last outcome has come, whatever its state says.
DROP INDEX occurrence_open;
CREATE INDEX occurrence_open ON occurrence (account, id) WHERE finished_at IS NULL;
CREATE INDEX occurrence_by_campaign ON occurrence (account, campaign, due_at, id);
-- Nothing asks for parts by their instants any more.
DROP INDEX occurrence_part_by_effect;

ALTER TABLE occurrence ADD COLUMN kept TEXT NOT NULL DEFAULT 'all';
CREATE INDEX occurrence_kept ON occurrence (account, kept, finished_at);

ALTER TABLE account ADD COLUMN imported_at BIGINT;
CREATE INDEX known_webhook ON known (account, at) WHERE kind = 'webhook';
