-- What time alone changes. Part of unleased.lua.

local function due_one(name, set, key)
  if name == 'd' then
    local place, prio, queue = read_placed(call('HGET', P .. 'placed', key))
    call('ZREM', set, key)
    call('HDEL', P .. 'placed', key)
    count('scheduled', queue, -1)
    to_ready(key, place, prio, queue)
  elseif name == 'g' then
    call('ZREM', set, key)
    constraints().unblock_first(key)
  elseif name == 'f' then
    constraints().tell_remaining_children(key)
  elseif name == 'e' then
    local state, place, prio, queue = locate(key)
    withdraw(key, state, prio, queue)
    cancel(key, EXPIRED, EXPIRED_TEXT, place, queue, 0)
  else
    local place, _, queue, info = unpark(key)
    call('ZREM', P .. 'expires', key)
    finish(key, 'd', place, queue, 0, info[3])
  end
end

local SETS = {d = 'delayed:', p = 'parked_due:', e = 'expires', g = 'limit_opens', f = 'untold_due'}

-- The first alarm and its time. Expiries come first: what has expired is nothing else any more.
local function next_alarm()
  local first = call('ZRANGE', P .. 'alarms', 0, 0, 'WITHSCORES')
  if first[1] and tonumber(first[2]) <= now then
    even_when_full()
    local expiry = call('ZSCORE', P .. 'alarms', 'e')
    if expiry and tonumber(expiry) <= now then return 'e', tonumber(expiry) end
  end
  return first[1], tonumber(first[2] or math.huge)
end

-- A bounded part of what is due. Returns when something is due next (or nil).
local function do_due()
  local silent = call('ZRANGE', P .. 'consumers', 0, 0, 'WITHSCORES')
  while silent[1] and tonumber(silent[2]) <= now do
    even_when_full()
    local name = call('HGET', P .. 'consumer:' .. silent[1], 'name')
    name = (name and name ~= '') and name or silent[1]
    end_consumer(silent[1], {WORKER_DIED, string.format(WORKER_DIED_TEXT, name), '', 0, now, name})
    silent = call('ZRANGE', P .. 'consumers', 0, 0, 'WITHSCORES')
  end
  local left = CHUNK
  local first, at = next_alarm()
  while at <= now and left > 0 do
    local name = string.sub(first, 1, 1)
    local set = P .. SETS[name] .. string.sub(first, 3)
    local due = call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, left)
    for _, key in ipairs(due) do
      if not readable(due_one, name, set, key) then
        call('ZREM', set, key)
        if name ~= 'g' and call('HEXISTS', P .. 'jobs', key) == 1 then bury(key) end
      end
    end
    left = (name == 'f' or name == 'g') and 0 or left - #due -- each of those may change many jobs
    local following = call('ZRANGE', set, 0, 0, 'WITHSCORES')
    if following[1] then
      call('ZADD', P .. 'alarms', following[2], first)
    else
      call('ZREM', P .. 'alarms', first)
    end
    first, at = next_alarm()
  end
  local following = math.min(at, tonumber(silent[2] or math.huge))
  return following < math.huge and following or nil
end
