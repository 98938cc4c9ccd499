-- Limits: how many jobs with a key may be leased, or started within a time, and the jobs they block. Part of constraints.lua.
-- A job's limits are kept as {{key, most leased or false, most started or false, within seconds, name}, …}; their present
-- numbers by name as entries (see contract/limit_numbers.py).

local function exact(number) return string.format('%.17g', number) end
local function blocked_set(name, queue) return P .. 'blocked_by:' .. #queue .. ':' .. queue .. ':' .. name end

local touched = {} -- limits that may have room, or another time at which they open

-- Forget starts that no longer matter: they stand oldest first, each with the time until when it matters.
local function forget_starts(name)
  local starts, n = P .. 'limit_starts:' .. name, 2
  while true do
    local over = {}
    for _, start in ipairs(call('ZRANGE', starts, 0, n - 1)) do
      if struct.unpack('>d', string.sub(start, 19)) > now then break end
      over[#over + 1] = start
    end
    if #over > 0 then call('ZREM', starts, unpack(over)) end
    if #over < n then return end
    n = 100
  end
end

local known = {} -- present numbers by name

local function present_numbers(name)
  if known[name] == nil then
    known[name] = {string.match(read_entry('limits', name) or '', '^%[(%w+),(%w+),(%d+%.%d+)%]$')}
  end
  return unpack(known[name])
end

local function is_count(value) return value == false or (type(value) == 'number' and value >= 0) end

-- The limits of a job. Those that cannot be read hold nothing back.
local function read_limits(packed)
  local good, limits = pcall(cmsgpack.unpack, packed or '')
  if not good or type(limits) ~= 'table' then return {} end
  for _, limit in ipairs(limits) do
    if type(limit) ~= 'table' or type(limit[1]) ~= 'string' or not (is_count(limit[2]) and is_count(limit[3]) and is_count(limit[4])) then
      return {}
    end
  end
  return limits
end

-- The same with their present numbers.
local function limits_of(packed)
  local limits = read_limits(packed)
  for _, limit in ipairs(limits) do
    local name = limit[5]
    if type(name) == 'string' and name ~= '' then
      local running, starts, per = present_numbers(name)
      if per then limit[2], limit[3], limit[4] = tonumber(running), tonumber(starts), tonumber(per) end
    end
  end
  return limits
end

local function room(limit)
  local left = limit[2] and limit[2] - call('ZCARD', P .. 'limit_held:' .. limit[1]) or math.huge
  if left > 0 and limit[3] then
    local started = call('ZCOUNT', P .. 'limit_starts:' .. limit[1], '(' .. exact(now - limit[4]), '+inf')
    left = math.min(left, limit[3] - started)
  end
  return left
end

-- When the limit opens, if only time keeps it shut.
local function opens(limit)
  if not limit or not limit[3] or limit[3] < 1 then return nil end
  if limit[2] and limit[2] <= call('ZCARD', P .. 'limit_held:' .. limit[1]) then return nil end
  local decides = call('ZRANGE', P .. 'limit_starts:' .. limit[1], -limit[3], -limit[3], 'WITHSCORES')
  if not decides[1] or tonumber(decides[2]) <= now - limit[4] then return nil end
  return math.max(tonumber(decides[2]) + limit[4], now + 0.001)
end

local function enter(key, limits, claim)
  for _, limit in ipairs(limits) do
    call('ZADD', P .. 'limit_held:' .. limit[1], exact(now), key)
    if limit[3] then
      local matters = now + limit[4]
      forget_starts(limit[1])
      call('ZADD', P .. 'limit_starts:' .. limit[1], exact(now), key .. claim .. struct.pack('>d', matters))
      call('ZADD', P .. 'limits_started', 'GT', exact(matters), limit[1])
      touched[limit[1]] = true
    end
  end
end

-- A ready job is about to be leased: it counts for all of its limits, or one that has no room blocks it.
local function is_blocked(key, limits, claim, place, prio, queue)
  limits = limits_of(limits)
  for _, limit in ipairs(limits) do
    if room(limit) < 1 then
      to_waiting(key, place, prio, queue)
      call('HSET', P .. 'blocked', key, limit[1])
      call('ZADD', blocked_set(limit[1], queue), -prio, struct.pack('>I6', place) .. key)
      call('SADD', P .. 'blocked_queues:' .. limit[1], queue)
      call('ZADD', P .. 'limit_looks', 'NX', exact(now), limit[1])
      for _, each in ipairs(limits) do touched[each[1]] = true end -- another one may have opened just for this job
      return true
    end
  end
  enter(key, limits, claim)
  return false
end

-- The limit no longer blocks the job. Returns its place, priority and queue.
local function unblock(key, name)
  call('HDEL', P .. 'blocked', key)
  local place, prio, queue = from_waiting(key)
  local blocked = blocked_set(name, queue)
  call('ZREM', blocked, struct.pack('>I6', place) .. key)
  if call('EXISTS', blocked) == 0 then
    call('SREM', P .. 'blocked_queues:' .. name, queue)
    if call('EXISTS', P .. 'blocked_queues:' .. name) == 0 then
      call('ZREM', P .. 'limit_looks', name)
      call('ZREM', P .. 'limit_opens', name)
    end
  end
  return place, prio, queue
end

-- The limit of this name with the numbers of the first job that it blocks in a queue; nil if there is none, or they are lost.
local function limit_of_first(name, queue)
  local first = call('ZRANGE', blocked_set(name, queue), 0, 0)[1]
  if not first then return nil end
  for _, limit in ipairs(limits_of(call('HGET', P .. 'limits', string.sub(first, 7)))) do
    if limit[1] == name then return limit end
  end
end

local to_unblock = 2 * CHUNK -- jobs unblocked by one script: others want to use the server, too

-- As many blocked jobs as there is room for return to each queue, first ones first. One too many is blocked again.
local function unblock_first(name)
  local soonest, its = math.huge, nil
  for _, queue in ipairs(call('SMEMBERS', P .. 'blocked_queues:' .. name)) do
    local limit = limit_of_first(name, queue)
    local free = limit and room(limit) or math.huge
    local n = math.min(free, to_unblock)
    if n >= 1 then
      for _, member in ipairs(call('ZRANGE', blocked_set(name, queue), 0, n - 1)) do
        local key = string.sub(member, 7)
        local place, prio = unblock(key, name)
        to_ready(key, place, prio, queue)
        to_unblock = to_unblock - 1
      end
      limit = limit_of_first(name, queue)
    end
    local at = limit and (free > n and now or opens(limit))
    if at and at < soonest then soonest, its = at, queue end
  end
  if its then
    call('ZADD', P .. 'limit_opens', exact(soonest), name)
    alarm('g', soonest, its)
  end
end

before_counts = function()
  local names = touched
  touched = {}
  for name in pairs(names) do unblock_first(name) end
end

-- Look at the limits of these jobs; the jobs are no longer leased, or (`forgotten`) no longer exist. A job that stood in its
-- queue for the room left makes room for another one.
local function leave_limits(keys, forgotten)
  if #keys == 0 or call('EXISTS', P .. 'limits') == 0 then return end
  for i, limits in ipairs(many_read('HMGET', P .. 'limits', keys)) do
    for _, limit in ipairs(limits and read_limits(limits) or {}) do
      if not forgotten then call('ZREM', P .. 'limit_held:' .. limit[1], keys[i]) end
      touched[limit[1]] = true
    end
  end
  if forgotten then many('HDEL', P .. 'limits', keys) end
end

-- Look again at some limits that block jobs, by turns, and forget starts that are over.
local function tidy_limits()
  for _, name in ipairs(call('ZRANGEBYSCORE', P .. 'limit_looks', '-inf', exact(now - 0.5), 'LIMIT', 0, 100)) do
    call('ZADD', P .. 'limit_looks', exact(now), name)
    unblock_first(name)
  end
  for _, name in ipairs(call('ZRANGEBYSCORE', P .. 'limits_started', '-inf', exact(now), 'LIMIT', 0, 100)) do
    call('DEL', P .. 'limit_starts:' .. name)
    call('ZREM', P .. 'limits_started', name)
  end
end

-- See view_limits.lua.
local function view_limit(name)
  forget_starts(name)
  local running, started = call('ZCARD', P .. 'limit_held:' .. name), call('ZCARD', P .. 'limit_starts:' .. name)
  local waiting, soonest = 0, math.huge
  for _, queue in ipairs(call('SMEMBERS', P .. 'blocked_queues:' .. name)) do
    waiting = waiting + call('ZCARD', blocked_set(name, queue))
    soonest = math.min(soonest, opens(limit_of_first(name, queue)) or math.huge)
  end
  if running + started + waiting == 0 then return false end
  local ids = {}
  for _, key in ipairs(call('ZRANGE', P .. 'limit_held:' .. name, 0, 9)) do
    local fields = message(key)
    ids[#ids + 1] = fields and fields.id or key
  end
  return {running, waiting, started, soonest < math.huge and exact(soonest) or '', ids}
end
