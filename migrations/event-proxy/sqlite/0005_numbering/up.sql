-- PostgreSQL alone numbers in another way now; SQLite's writer counts in `next` as before.
SELECT 1;
