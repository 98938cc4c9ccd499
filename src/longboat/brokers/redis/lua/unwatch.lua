-- A listener no longer waits for these jobs.
-- ARGV: now, listener, then keys.

for i = 3, #ARGV do
  local listeners = call('HGET', P .. 'watchers', ARGV[i])
  local from = listeners and string.find(listeners, ARGV[2], 1, true)
  if from then
    local left = string.sub(listeners, 1, from - 1) .. string.sub(listeners, from + 16)
    if left == '' then call('HDEL', P .. 'watchers', ARGV[i]) else call('HSET', P .. 'watchers', ARGV[i], left) end
  end
end
