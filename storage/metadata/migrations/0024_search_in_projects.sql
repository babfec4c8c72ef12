-- Searches within projects, by label, and by numbers of scans and documents. docs/benchmarks.md has the measurements.

-- Labels are ASCII, compared by bytes everywhere: so an index serves a * at the end, too, and they come in one order whatever the
-- database's language.
ALTER TABLE sessions ALTER COLUMN label TYPE text COLLATE "C";
ALTER TABLE subjects ALTER COLUMN label TYPE text COLLATE "C";

CREATE INDEX sessions_project_label ON sessions (project_id, label, session_id);
CREATE INDEX sessions_project_date ON sessions (project_id, session_date);
CREATE INDEX sessions_project_date_order ON sessions (project_id, (coalesce(session_date, '-infinity'::date)), session_id);

-- Not called for what is not there.
ALTER FUNCTION number_of(text) STRICT;
CREATE INDEX scans_ti ON scans ((number_of(parameters ->> 'ti')));
CREATE INDEX scans_flip ON scans ((number_of(parameters ->> 'flip')));
CREATE INDEX scans_kvp ON scans ((number_of(parameters ->> 'kvp')));
CREATE INDEX scans_field_strength ON scans ((number_of(parameters ->> 'fieldStrength')));
CREATE INDEX session_facts_weight ON session_facts ((number_of(facts ->> 'dcmPatientWeight')));
CREATE INDEX session_facts_birth ON session_facts ((facts ->> 'dcmPatientBirthDate'));
