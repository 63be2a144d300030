-- A pack follows its manifest until a request says otherwise, as its workflows follow their files.
ALTER TABLE pack ADD COLUMN modified boolean NOT NULL DEFAULT false;
UPDATE pack SET modified = true WHERE owner_id IS NOT NULL;
