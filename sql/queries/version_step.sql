SELECT state, note, build FROM moonwake.step_version($1)
