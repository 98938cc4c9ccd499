-- Consumers of every queue. Those that pause the same queues share a wake-up list, which jobs of these queues leave alone.

local function stop_listening(consumer)
  if call('SREM', P .. 'every', consumer) == 1 and call('EXISTS', P .. 'every') == 0 then call('DEL', P .. 'wake') end
  local but = call('HGET', P .. 'consumer:' .. consumer, 'but')
  if not but then return end
  call('HDEL', P .. 'consumer:' .. consumer, 'but')
  call('SREM', P .. 'every_but:' .. but, consumer)
  if call('EXISTS', P .. 'every_but:' .. but) == 0 then
    call('SREM', P .. 'every_but', but)
    call('DEL', P .. 'paused:' .. but, P .. 'wake_but:' .. but)
  end
end
