SELECT o.id FROM moonwake.outbox o WHERE o.id = ANY ($1::uuid[]) AND o.state = 'cancelled'
