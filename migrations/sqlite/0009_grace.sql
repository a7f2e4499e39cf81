-- Not only after an import: also where the clock leapt ahead, nothing is too old to be kept for a day.
ALTER TABLE account RENAME COLUMN imported_at TO grace_from;
