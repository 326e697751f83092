SELECT moonwake.finish_rebuild($1)
