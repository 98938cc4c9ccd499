-- Cancel jobs that have not ended. Needs: sweep
-- ARGV: now, then keys. Returns how many it looked at, all unless their messages are big, and the keys of those that it changed.

even_when_full()
sweep()
local cancelled, looked_at = {}, 0
for i = 2, #ARGV do
  if looked_at > 0 and bytes_read > PORTION then break end
  looked_at = looked_at + 1
  local key = ARGV[i]
  if call('HEXISTS', P .. 'jobs', key) == 1 and call('HEXISTS', P .. 'done', key) == 0 then
    local state, place, prio, queue, consumer = unleased().locate(key)
    if state == 'running' then
      if call('SADD', P .. 'cancelling:' .. consumer, key) == 1 then
        cancelled[#cancelled + 1] = key
        unleased().wake_consumer(consumer, 'cancel')
      end
    elseif queue then
      unleased().withdraw(key, state, prio, queue)
      cancel(key, CANCELLED, CANCELLED_TEXT, place, queue, 0)
      cancelled[#cancelled + 1] = key
    end
  end
end
write_counts()
return {looked_at, cancelled}
