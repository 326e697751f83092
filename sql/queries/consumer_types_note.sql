SELECT moonwake.note_types($1::jsonb)
