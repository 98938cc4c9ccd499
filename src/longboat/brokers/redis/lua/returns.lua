-- How leased jobs come back. Needs: endings

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
