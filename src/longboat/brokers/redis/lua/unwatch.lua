-- Tell a listener of these jobs' ends no more.
-- ARGV: now, listener, then keys.

for i = 3, #ARGV do
  local listeners = call('HGET', P .. 'watchers', ARGV[i])
  if listeners then
    local from = string.find(listeners, ARGV[2], 1, true)
    local left = from and string.sub(listeners, 1, from - 1) .. string.sub(listeners, from + 16) or listeners
    if left == '' then call('HDEL', P .. 'watchers', ARGV[i]) else call('HSET', P .. 'watchers', ARGV[i], left) end
  end
end
