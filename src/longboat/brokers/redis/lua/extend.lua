-- One heartbeat.
-- ARGV: now, consumer, lease.
-- Returns nil if the consumer is over, else the messages of its jobs whose cancellation was requested.

even_when_full()
local consumer = ARGV[2]
if not call('ZSCORE', P .. 'consumers', consumer) then return nil end
call('ZADD', P .. 'consumers', now + tonumber(ARGV[3]), consumer)
local cancelling = call('SMEMBERS', P .. 'cancelling:' .. consumer)
return #cancelling > 0 and many_read('HMGET', P .. 'jobs', cancelling) or {}
