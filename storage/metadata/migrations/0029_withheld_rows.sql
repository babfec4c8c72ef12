-- What belongs to a session in quarantine, or to a deleted one, is hidden with it (0020_row_security hid the session only).

-- The sessions that only owners see. Apart from sessions, so that a policy can ask without asking the policy of sessions; ids only.
CREATE TABLE withheld_sessions (session_id text PRIMARY KEY);
INSERT INTO withheld_sessions SELECT session_id FROM sessions WHERE status NOT IN ('ACTIVE', 'LOCKED');

CREATE FUNCTION note_withheld_sessions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM withheld_sessions w USING changed c WHERE w.session_id = c.session_id AND c.status IN ('ACTIVE', 'LOCKED');
  INSERT INTO withheld_sessions SELECT c.session_id FROM changed c WHERE c.status NOT IN ('ACTIVE', 'LOCKED') ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$;
CREATE TRIGGER sessions_withheld_insert AFTER INSERT ON sessions REFERENCING NEW TABLE AS changed
  FOR EACH STATEMENT EXECUTE FUNCTION note_withheld_sessions();
CREATE TRIGGER sessions_withheld_update AFTER UPDATE ON sessions REFERENCING NEW TABLE AS changed
  FOR EACH STATEMENT EXECUTE FUNCTION note_withheld_sessions();

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['scans', 'resources', 'files', 'session_documents', 'session_facts', 'session_history', 'removed_files'] LOOP
    EXECUTE format(
      'CREATE POLICY withheld ON %I AS RESTRICTIVE FOR SELECT USING ((SELECT access_all(''own''))'
      ' OR project_id = ANY((SELECT access_projects(''own''))::text[])'
      ' OR NOT EXISTS (SELECT 1 FROM withheld_sessions w WHERE w.session_id = %I.session_id))', name, name);
  END LOOP;
END $$;
