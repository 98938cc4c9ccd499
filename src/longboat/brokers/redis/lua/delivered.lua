-- Forget what was packed under a name.
-- ARGV: now, name.

even_when_full()
call('DEL', P .. 'transit:' .. ARGV[2])
call('ZREM', P .. 'transits', ARGV[2])
