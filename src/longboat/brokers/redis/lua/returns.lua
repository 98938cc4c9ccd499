-- How leased jobs come back. Needs endings.lua.

-- What is kept of a lease, by the job's key: claim 6, place 6, since 8, level.
local function read_held(value)
  local claim, place, since = struct.unpack('>I6I6d', value)
  local prio, queue = string.match(string.sub(value, 21), '^(%-?%d+):(.*)$')
  return claim, place, since, prio, queue
end

-- A job that is nobody's any more stands at its old place, unless its time is over or it is not wanted any longer.
local function come_back(key, place, prio, queue, since, delay, unwanted, h)
  if unwanted then
    return finish(key, 'c', place, queue, since, failure(CANCELLED, 'its cancellation was asked for'), h)
  end
  local deadline = tonumber(call('HGET', P .. 'deadlines', key) or nil)
  if deadline then
    if deadline <= now then
      return finish(key, 'c', place, queue, 0, failure(EXPIRED, 'it expired before it started'), h)
    end
    call('HDEL', P .. 'deadlines', key)
    call('ZADD', P .. 'expires', deadline, key)
    alarm('e', deadline)
  end
  if delay > 0 then
    to_delayed(key, place, prio, queue, now + delay)
  else
    to_ready(key, place, prio, queue)
  end
end

-- The consumer is over, and what it holds comes back: charged with `why` where it had started, if it died.
local function end_consumer(consumer, why)
  local held = call('HGETALL', P .. 'held:' .. consumer)
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
  if call('SREM', P .. 'every', consumer) == 1 and call('EXISTS', P .. 'every') == 0 then call('DEL', P .. 'wake') end
  for _, name in ipairs({'held:', 'noted:', 'unwanted:', 'bell:', 'consumer:', 'tasks:', 'late:'}) do call('DEL', P .. name .. consumer) end
  return #held / 2
end
