SAVEPOINT publish
