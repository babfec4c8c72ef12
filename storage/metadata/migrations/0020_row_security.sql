-- The database decides a second time who may see and change what. docs/formats/database.md, "Row-level security".
--
-- Every transaction says for whom it runs: narthex.system = 'on' for the server's own work, else enter_as(user). A
-- transaction that says nothing sees nothing. The rights are read here from users, members and projects, not taken from
-- the server, so that a mistake there shows nobody anything. FORCE: the connecting role may own the tables.

-- The rights of `actor` for the rest of this transaction: '*' or project ids between commas. Rights as in docs/rights.md.
-- Unknown and disabled users have none; 'guest' has what everybody has.
CREATE FUNCTION enter_as(actor text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  person users;
  can_read text := '';
  can_edit text := '';
  can_own  text := '';
  can_know text := '';
BEGIN
  PERFORM set_config('narthex.system', 'on', true);
  SELECT * INTO person FROM users u WHERE u.user_name = actor AND NOT u.disabled;
  IF person.user_name IS NOT NULL OR actor = 'guest' THEN
    IF person.site_admin OR person.all_data_admin THEN
      can_edit := '*';
      can_own := '*';
    ELSE
      SELECT coalesce(string_agg(m.project_id, ',') FILTER (WHERE m.role <> 'COLLABORATOR'), ''),
             coalesce(string_agg(m.project_id, ',') FILTER (WHERE m.role = 'OWNER'), '')
        INTO can_edit, can_own FROM members m WHERE m.user_name = actor;
    END IF;
    IF person.site_admin OR person.all_data_admin OR person.all_data_read THEN
      can_read := '*';
      can_know := '*';
    ELSE
      SELECT coalesce(string_agg(p.project_id, ',') FILTER (WHERE p.accessibility <> 'PROTECTED' OR p.is_member), ''),
             coalesce(string_agg(p.project_id, ','), '')
        INTO can_read, can_know
        FROM (SELECT q.project_id, q.accessibility, m.user_name IS NOT NULL AS is_member
                FROM projects q LEFT JOIN members m ON m.project_id = q.project_id AND m.user_name = actor
                WHERE q.accessibility <> 'PRIVATE' OR m.user_name IS NOT NULL) p;
    END IF;
  END IF;
  PERFORM set_config('narthex.user', actor, true),
          set_config('narthex.admin', CASE WHEN person.site_admin THEN 'on' ELSE 'off' END, true),
          set_config('narthex.read', can_read, true),
          set_config('narthex.edit', can_edit, true),
          set_config('narthex.own', can_own, true),
          set_config('narthex.know', can_know, true),
          set_config('narthex.system', 'off', true);
END $$;

-- Policies ask these in sub-selects, once a query. `kind`: read, edit, own, know.
CREATE FUNCTION access_all(kind text) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT coalesce(current_setting('narthex.system', true), '') = 'on'
      OR coalesce(current_setting('narthex.' || kind, true), '') = '*' $$;
CREATE FUNCTION access_projects(kind text) RETURNS text[] LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT string_to_array(coalesce(current_setting('narthex.' || kind, true), ''), ',') $$;
CREATE FUNCTION access_user() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT coalesce(current_setting('narthex.user', true), '') $$;
CREATE FUNCTION access_admin() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT coalesce(current_setting('narthex.system', true), '') = 'on'
      OR coalesce(current_setting('narthex.admin', true), '') = 'on' $$;
-- Sessions of other projects that are shared into one that may be read.
CREATE FUNCTION access_shared() RETURNS text[] LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF to_regclass('session_shares') IS NULL THEN RETURN '{}'; END IF;
  RETURN ARRAY(SELECT h.session_id FROM session_shares h WHERE h.project_id = ANY(access_projects('read')));
END $$;

-- Puts a table of a project under the rule: who may read the project (or was given the session) sees its rows, who
-- may edit it changes them. For this and later migrations.
CREATE FUNCTION secure_project_table(name regclass, of_sessions boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', name);
  EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', name);
  EXECUTE format(
    'CREATE POLICY readers ON %s FOR SELECT USING ((SELECT access_all(''read'')) OR project_id = ANY((SELECT access_projects(''read''))::text[])%s)',
    name, CASE WHEN of_sessions THEN ' OR session_id = ANY((SELECT access_shared())::text[])' ELSE '' END);
  EXECUTE format(
    'CREATE POLICY adders ON %s FOR INSERT WITH CHECK ((SELECT access_all(''edit'')) OR project_id = ANY((SELECT access_projects(''edit''))::text[]))', name);
  EXECUTE format(
    'CREATE POLICY changers ON %s FOR UPDATE USING ((SELECT access_all(''edit'')) OR project_id = ANY((SELECT access_projects(''edit''))::text[]))', name);
  EXECUTE format(
    'CREATE POLICY removers ON %s FOR DELETE USING ((SELECT access_all(''edit'')) OR project_id = ANY((SELECT access_projects(''edit''))::text[]))', name);
END $$;

SELECT secure_project_table('subjects', false);
SELECT secure_project_table('session_documents', true);
SELECT secure_project_table('scans', true);
SELECT secure_project_table('resources', true);
SELECT secure_project_table('files', true);
SELECT secure_project_table('session_history', true);

-- Sessions: quarantined and deleted ones are seen by owners only.
SELECT secure_project_table('sessions', true);
DROP POLICY readers ON sessions;
CREATE POLICY readers ON sessions FOR SELECT USING (
  ((SELECT access_all('read')) OR project_id = ANY((SELECT access_projects('read'))::text[])
   OR session_id = ANY((SELECT access_shared())::text[]))
  AND (status IN ('ACTIVE', 'LOCKED') OR (SELECT access_all('own'))
       OR project_id = ANY((SELECT access_projects('own'))::text[])));

-- Projects: who may know of one sees it, owners change it. Anybody may add one; its names and members come with it, which
-- is the server's work.
ALTER TABLE projects ENABLE ROW LEVEL SECURITY;
ALTER TABLE projects FORCE ROW LEVEL SECURITY;
CREATE POLICY readers ON projects FOR SELECT
  USING ((SELECT access_all('know')) OR project_id = ANY((SELECT access_projects('know'))::text[]));
CREATE POLICY adders ON projects FOR INSERT WITH CHECK ((SELECT access_admin()));
CREATE POLICY changers ON projects FOR UPDATE
  USING ((SELECT access_all('own')) OR project_id = ANY((SELECT access_projects('own'))::text[]));
CREATE POLICY removers ON projects FOR DELETE USING ((SELECT access_admin()));

ALTER TABLE project_names ENABLE ROW LEVEL SECURITY;
ALTER TABLE project_names FORCE ROW LEVEL SECURITY;
CREATE POLICY readers ON project_names FOR SELECT
  USING ((SELECT access_all('know')) OR project_id = ANY((SELECT access_projects('know'))::text[]));
CREATE POLICY owners ON project_names
  USING ((SELECT access_all('own')) OR project_id = ANY((SELECT access_projects('own'))::text[]));

ALTER TABLE members ENABLE ROW LEVEL SECURITY;
ALTER TABLE members FORCE ROW LEVEL SECURITY;
CREATE POLICY readers ON members FOR SELECT
  USING ((SELECT access_all('read')) OR user_name = (SELECT access_user())
         OR project_id = ANY((SELECT access_projects('read'))::text[]));
CREATE POLICY owners ON members
  USING ((SELECT access_all('own')) OR project_id = ANY((SELECT access_projects('own'))::text[]));

-- Tokens are their user's; administrators see and revoke all.
ALTER TABLE tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY own_or_admin ON tokens USING ((SELECT access_admin()) OR user_name = (SELECT access_user()));

-- The audit trail: everybody's deeds are written, owners read their project's, administrators all.
ALTER TABLE audit_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_events FORCE ROW LEVEL SECURITY;
CREATE POLICY adders ON audit_events FOR INSERT WITH CHECK (true);
CREATE POLICY readers ON audit_events FOR SELECT
  USING ((SELECT access_admin())
         OR (project_id <> '' AND ((SELECT access_all('own')) OR project_id = ANY((SELECT access_projects('own'))::text[]))));
