SELECT moonwake.take_over($1::text[], make_interval(secs => $2::double precision))
