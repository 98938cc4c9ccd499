-- How consumers end. Part of unleased.lua.

-- The consumer is over, and what it holds comes back: charged with `why` where it had started, if it died.
local function end_consumer(consumer, why)
  local held, keys = call('HGETALL', P .. 'held:' .. consumer), {}
  for i = 1, #held, 2 do keys[#keys + 1] = held[i] end
  if any_ties() then ties().leave_gates(keys) end
  for i = 1, #held, 2 do
    local key = held[i]
    local _, place, since, prio, queue = read_held(held[i + 1])
    local h = history(key)
    if why then
      if call('SISMEMBER', P .. 'noted:' .. consumer, key) == 1 then
        h.attempts = h.attempts + 1
        h.failures[#h.failures + 1] = {why[1], why[2], why[3], h.attempts, why[5], why[6]}
        call('HDEL', P .. 'deadlines', key)
      end
      h.returns = h.returns + 1
      write_history(key, h)
    end
    count('running', queue, -1)
    local unwanted = call('SISMEMBER', P .. 'unwanted:' .. consumer, key) == 1
    come_back(key, place, prio, queue, since, 0, unwanted, h)
  end
  call('ZREM', P .. 'consumers', consumer)
  listen_no_more(consumer)
  for _, name in ipairs({'held:', 'noted:', 'unwanted:', 'bell:', 'consumer:', 'tasks:', 'late:'}) do call('DEL', P .. name .. consumer) end
  return #held / 2
end
