-- Where jobs that have not ended are, and how they are taken from there. Part of unleased.lua.

-- How a job waits that is neither ready nor leased, or nil if it is scheduled; for one shut out, also the gate's name.
local function waiting_how(key)
  if call('HEXISTS', P .. 'parked_info', key) == 1 then return 'parked' end
  if not any_ties() then return nil end
  local name = call('HGET', P .. 'shut_out', key)
  if name then return 'shut out', name end
  return call('HEXISTS', P .. 'pending', key) == 1 and 'after others' or nil
end

-- It waits no more, whatever for.
local function stop_waiting(key)
  local how, name = waiting_how(key)
  if how == 'parked' then
    unpark(key)
  elseif how == 'shut out' then
    ties().leave_line(key, name)
  else
    ties().from_waiting(key)
  end
end

-- Where a job is that has not ended: 'waiting', 'scheduled', 'running' or 'ready', then place, priority, queue and, for a
-- running one, its consumer and the lease. A queue of nil: nobody can tell.
local function locate(key)
  local at = call('HGET', P .. 'placed', key)
  if at then
    local place, prio, queue = read_placed(at)
    return waiting_how(key) and 'waiting' or 'scheduled', place, prio, queue
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

-- Take a job that is nobody's from where it waits. One in a pack stays there, and is skipped when its turn comes.
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
