-- One heartbeat.
-- ARGV: now, consumer, lease.
-- Returns nil if the consumer is over, else the keys of its jobs whose cancellation was requested.

even_when_full()
local consumer = ARGV[2]
if not call('ZSCORE', P .. 'consumers', consumer) then return nil end
call('ZADD', P .. 'consumers', now + tonumber(ARGV[3]), consumer)
return call('SMEMBERS', P .. 'cancelling:' .. consumer)
