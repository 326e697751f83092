SELECT moonwake.compare_page($1)
