-- What belongs to a version of an anonymization script: profile, lookup table, and what is done about identifiers that
-- are left ('off', 'report', 'hold').
ALTER TABLE scripts ADD COLUMN profile text NOT NULL DEFAULT '';
ALTER TABLE scripts ADD COLUMN lookup_table text NOT NULL DEFAULT '';
ALTER TABLE scripts ADD COLUMN leftovers text NOT NULL DEFAULT '';

-- Replaced UIDs and moved dates follow from these. Made once and never changed: otherwise the same patient would get
-- other replacements from then on. Whoever reads one can test which original a replacement stands for.
CREATE TABLE project_secrets (
  project_id text PRIMARY KEY,  -- '': the site
  secret     bytea NOT NULL CHECK (length(secret) >= 16)
);
