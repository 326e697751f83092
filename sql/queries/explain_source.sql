-- The files of which a rule was made when a daemon last ran it, where they are other ones than those of digest $2.
SELECT s.path, s.files::text FROM moonwake.rules r JOIN moonwake.script_sources s USING (digest)
 WHERE r.name = $1::text AND r.digest <> $2::text
