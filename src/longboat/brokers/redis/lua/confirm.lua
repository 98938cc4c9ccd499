-- Forget what was exported under a name.
-- ARGV: now, name.

even_when_full()
call('DEL', P .. 'exported:' .. ARGV[2])
call('ZREM', P .. 'exports', ARGV[2])
