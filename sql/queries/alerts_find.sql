-- The alerts whose episode begins with $1 and $2 (the same, filled up to a uuid with 0 and with f).
SELECT a.episode FROM moonwake.alerts a WHERE a.episode BETWEEN $1::uuid AND $2::uuid LIMIT 3
