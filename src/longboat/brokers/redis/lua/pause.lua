-- A consumer of every queue pauses some. Needs: listening
-- ARGV: now, consumer, a name for these queues ("" for none), then the queues.

even_when_full()
local consumer, but = ARGV[2], ARGV[3]
if not call('ZSCORE', P .. 'consumers', consumer) then return end
stop_listening(consumer)
if but == '' then
  call('SADD', P .. 'every', consumer)
else
  call('HSET', P .. 'consumer:' .. consumer, 'but', but)
  call('SADD', P .. 'every_but:' .. but, consumer)
  call('SADD', P .. 'every_but', but)
  for i = 4, #ARGV do call('SADD', P .. 'paused:' .. but, ARGV[i]) end
end
