SELECT moonwake.compare_again($1)
