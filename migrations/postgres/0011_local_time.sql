-- The local time that was planned last, so that it is planned once also when the data about its zone change.
ALTER TABLE campaign ADD COLUMN last_planned_local TEXT;
