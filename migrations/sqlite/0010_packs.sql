-- A pack follows its manifest until a request says otherwise, as its workflows follow their files.
ALTER TABLE pack ADD COLUMN modified INTEGER NOT NULL DEFAULT 0;
UPDATE pack SET modified = 1 WHERE owner_id IS NOT NULL;
