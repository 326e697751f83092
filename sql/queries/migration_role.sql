-- A migration may act as the schema's owner; its record is written as whoever runs it.
RESET ROLE
