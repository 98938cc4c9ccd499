-- How consumers end. Part of unleased.lua.

-- The consumer is over, and what it holds comes back. If it died, attempts that had started count, with `why` as their failure.
local function end_consumer(consumer, why)
  local held, keys = call('HGETALL', P .. 'held:' .. consumer), {}
  for i = 1, #held, 2 do keys[#keys + 1] = held[i] end
  if any_constraints() then constraints().leave_limits(keys) end
  for i = 1, #held, 2 do
    local key = held[i]
    local _, place, since, prio, queue = read_held(held[i + 1])
    local h = history(key)
    if why then
      if call('SISMEMBER', P .. 'started:' .. consumer, key) == 1 then
        h.attempts = h.attempts + 1
        h.failures[#h.failures + 1] = {why[1], why[2], why[3], h.attempts, why[5], why[6]}
        call('HDEL', P .. 'deadlines', key)
      end
      h.deaths = h.deaths + 1
      write_history(key, h)
    end
    count('running', queue, -1)
    local cancelling = call('SISMEMBER', P .. 'cancelling:' .. consumer, key) == 1
    come_back(key, place, prio, queue, since, 0, cancelling, h)
  end
  call('ZREM', P .. 'consumers', consumer)
  call('HDEL', P .. 'idle', consumer)
  stop_listening(consumer)
  for _, name in ipairs({'held:', 'started:', 'cancelling:', 'wake_consumer:', 'consumer:', 'tasks:', 'late:'}) do
    call('DEL', P .. name .. consumer)
  end
  return #held / 2
end
