-- One heartbeat, and housekeeping. Needs: sweep, pruning, tidy, notes
-- ARGV: now, consumer, lease, then its queues.
-- Returns nil if the consumer is over, else the messages of its jobs whose cancellation was asked for.

even_when_full()
local consumer = ARGV[2]
sweep()
local alive = call('ZSCORE', P .. 'consumers', consumer)
if alive then
  call('ZADD', P .. 'consumers', now + tonumber(ARGV[3]), consumer)
  for i = 4, #ARGV do -- heals a ring that was lost with who heard it
    if call('EXISTS', P .. 'levels:' .. ARGV[i]) == 1 then ring(ARGV[i]) else call('DEL', P .. 'wake:' .. ARGV[i]) end
  end
end
prune(CHUNK)
prune_notes(CHUNK) -- however many jobs are over
write_counts()
tidy_counts()
if not alive then return nil end
local unwanted = call('SMEMBERS', P .. 'unwanted:' .. consumer)
if #unwanted == 0 then return {} end
return many_read('HMGET', P .. 'jobs', unwanted)
