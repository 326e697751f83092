-- As its definition allows: one that asks for equality is compared once more, while nothing moves.
SELECT moonwake.promote_version(name, false, promote = 'when_equal')
  FROM moonwake.projection_versions WHERE name = $1 AND role = 'next'
