-- How leased jobs come back. Needs: endings

-- What is kept of a lease, by the job's key: claim 6, place 6, since 8, level.
local function read_held(value)
  local claim, place, since = struct.unpack('>I6I6d', value)
  local prio, queue = string.match(string.sub(value, 21), '^(%-?%d+):(.*)$')
  return claim, place, since, prio, queue
end

-- A job that is no longer leased returns to its old place, unless its cancellation was requested or its time is over.
local function come_back(key, place, prio, queue, since, delay, cancelling, h)
  if cancelling then return cancel(key, CANCELLED, CANCELLED_TEXT, place, queue, since, h) end
  local deadline = tonumber(call('HGET', P .. 'deadlines', key) or nil)
  if deadline then
    if deadline <= now then return cancel(key, EXPIRED, EXPIRED_TEXT, place, queue, 0, h) end
    call('HDEL', P .. 'deadlines', key)
    call('ZADD', P .. 'expires', deadline, key)
    alarm('e', deadline)
  end
  to_queue(key, place, prio, queue, delay)
end
