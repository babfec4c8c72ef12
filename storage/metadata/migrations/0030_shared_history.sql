-- The history of a session belongs to its own project: it names the home, labels and people, which readers of a share do not see.
DROP POLICY readers ON session_history;
CREATE POLICY readers ON session_history FOR SELECT
  USING ((SELECT access_all('read')) OR project_id = ANY((SELECT access_projects('read'))::text[]));
