-- Where jobs are that have not ended, and how they are taken from there. Part of unleased.lua.

-- The job no longer waits, whatever for.
local function stop_waiting(key)
  if call('HEXISTS', P .. 'parked_info', key) == 1 then return unpark(key) end
  local name = any_constraints() and call('HGET', P .. 'blocked', key)
  if name then return constraints().unblock(key, name) end
  constraints().from_waiting(key)
end

-- Returns 'waiting', 'scheduled', 'running' or 'ready', then place, priority, queue and, of a running job, its consumer and
-- when it was leased. A queue of nil: the message cannot be read.
local function locate(key)
  local at = call('HGET', P .. 'placed', key)
  if at then
    local place, prio, queue = read_placed(at)
    return call('ZSCORE', P .. 'waiting:' .. queue, key) and 'waiting' or 'scheduled', place, prio, queue
  end
  for _, consumer in ipairs(call('ZRANGE', P .. 'consumers', 0, -1)) do
    local held = call('HGET', P .. 'held:' .. consumer, key)
    if held then
      local _, place, since, prio, queue = read_held(held)
      return 'running', place, prio, queue, consumer, since
    end
  end
  local fields = message(key)
  if not fields then return 'ready', 0, '0', nil end
  local place = call('ZSCORE', back_set(fields.priority, fields.queue), key)
  return 'ready', tonumber(place or 0), fields.priority, fields.queue
end

-- Take a job that is not leased from where it waits. A job in a pack stays there, and is skipped when a claim reaches it.
local function withdraw(key, state, prio, queue)
  if state == 'waiting' then
    stop_waiting(key)
  else
    if state == 'scheduled' then
      call('ZREM', P .. 'delayed:' .. queue, key)
      call('HDEL', P .. 'placed', key)
    elseif call('ZREM', back_set(prio, queue), key) == 0 then
      call('SADD', P .. 'gone', key)
    end
    count(state, queue, -1)
  end
  call('ZREM', P .. 'expires', key)
end
