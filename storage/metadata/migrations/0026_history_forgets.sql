-- The history of archived sessions stays append-only, but for one thing: when a script ran over the files of a session that is
-- archived already, what their headers said before is taken out of all its entries, in whatever project they are.

-- The columns of sessions that come from headers.
CREATE FUNCTION header_columns() RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT ARRAY['study_instance_uid', 'session_date', 'session_time', 'scanner', 'scanner_manufacturer', 'scanner_model',
               'acquisition_site', 'description'] $$;

-- `entry` without what headers said, unless the session says it still.
CREATE FUNCTION forget_headers(entry jsonb, now jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT entry || coalesce((SELECT jsonb_object_agg(e.key, '(anonymized)') FROM jsonb_each(entry) e
                            WHERE e.key = ANY(header_columns()) AND e.value IS DISTINCT FROM now -> e.key
                              AND e.value NOT IN ('null', '""')), '{}') $$;

-- Whether `after` is `before` with nothing done to it but that.
CREATE FUNCTION only_forgets(before jsonb, after jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT before IS NOT DISTINCT FROM after
      OR NOT EXISTS (SELECT FROM jsonb_each(before) b FULL JOIN jsonb_each(after) a USING (key)
                     WHERE b.value IS DISTINCT FROM a.value
                       AND (key <> ALL(header_columns()) OR a.value IS DISTINCT FROM '"(anonymized)"')) $$;

CREATE FUNCTION refuse_history_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (NEW.project_id, NEW.session_id, NEW.number, NEW.change_time, NEW.user_name, NEW.action, NEW.note, NEW.request_id)
       IS DISTINCT FROM (OLD.project_id, OLD.session_id, OLD.number, OLD.change_time, OLD.user_name, OLD.action, OLD.note, OLD.request_id)
     OR (OLD.old_row IS NULL) <> (NEW.old_row IS NULL)
     OR NOT only_forgets(OLD.old_row, NEW.old_row) OR NOT only_forgets(OLD.new_row, NEW.new_row) THEN
    RAISE EXCEPTION 'AUDIT_APPEND_ONLY' USING ERRCODE = 'NX412';
  END IF;
  RETURN NEW;
END $$;
DROP TRIGGER session_history_append_only ON session_history;
CREATE TRIGGER session_history_append_only BEFORE DELETE OR TRUNCATE ON session_history
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER session_history_forgets BEFORE UPDATE ON session_history
  FOR EACH ROW EXECUTE FUNCTION refuse_history_change();

-- Does it for a session. Entries may be in projects that the session was in before, where the caller has no rights, and
-- callers may not change history themselves.
CREATE FUNCTION forget_history(project text, session text) RETURNS void LANGUAGE plpgsql
  SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  now jsonb;
  system text := coalesce(current_setting('narthex.system', true), '');
BEGIN
  SELECT to_jsonb(s) INTO now FROM sessions s WHERE s.project_id = project AND s.session_id = session;
  IF now IS NULL THEN RETURN; END IF;
  PERFORM set_config('narthex.system', 'on', true);
  UPDATE session_history h SET old_row = forget_headers(h.old_row, now), new_row = forget_headers(h.new_row, now)
    WHERE h.session_id = session;
  PERFORM set_config('narthex.system', system, true);
END $$;
