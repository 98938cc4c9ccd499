-- Limits: keys of which so many jobs may be leased, or started, and the lines of those that were shut out. Part of ties.lua.
-- A job's gates are kept as {{key, most leased or false, most started or false, within seconds}, …}.

local function exact(number) return string.format('%.17g', number) end
local function line_of(name, queue) return P .. 'gate_line:' .. #queue .. ':' .. queue .. ':' .. name end

local touched = {} -- gates that may have room, or another time at which they open

-- The starts that matter no more are forgotten: they are oldest first, each with the time until when it does.
local function forget_starts(name)
  local starts, n = P .. 'gate_starts:' .. name, 2
  while true do
    local first = call('ZRANGE', starts, 0, n - 1)
    local over = {}
    for _, start in ipairs(first) do
      if struct.unpack('>d', string.sub(start, 19)) > now then break end
      over[#over + 1] = start
    end
    if #over > 0 then call('ZREM', starts, unpack(over)) end
    if #over < n then return end
    n = 100
  end
end

local function room(gate)
  local left = gate[2] and gate[2] - call('ZCARD', P .. 'gate_held:' .. gate[1]) or math.huge
  if left > 0 and gate[3] then
    local started = call('ZCOUNT', P .. 'gate_starts:' .. gate[1], '(' .. exact(now - gate[4]), '+inf')
    left = math.min(left, gate[3] - started)
  end
  return left
end

-- When it opens, if only time shuts it.
local function opens(gate)
  if not gate[3] or gate[3] < 1 then return nil end
  if gate[2] and gate[2] <= call('ZCARD', P .. 'gate_held:' .. gate[1]) then return nil end
  local decides = call('ZRANGE', P .. 'gate_starts:' .. gate[1], -gate[3], -gate[3], 'WITHSCORES')
  if not decides[1] or tonumber(decides[2]) <= now - gate[4] then return nil end
  return math.max(tonumber(decides[2]) + gate[4], now + 0.001)
end

local function enter(key, gates, claim)
  for _, gate in ipairs(gates) do
    call('ZADD', P .. 'gate_held:' .. gate[1], exact(now), key)
    if gate[3] then
      local matters = now + gate[4]
      forget_starts(gate[1])
      call('ZADD', P .. 'gate_starts:' .. gate[1], exact(now), key .. claim .. struct.pack('>d', matters))
      call('ZADD', P .. 'gates_started', 'GT', exact(matters), gate[1])
      touched[gate[1]] = true
    end
  end
end

local function line_up(key, gate, place, prio, queue)
  to_waiting(key, place, prio, queue)
  call('HSET', P .. 'shut_out', key, gate[1])
  call('ZADD', line_of(gate[1], queue), -prio, struct.pack('>I6', place) .. key)
  call('SADD', P .. 'gate_queues:' .. gate[1], queue)
  call('ZADD', P .. 'gate_looks', 'NX', exact(now), gate[1])
end

-- A ready job is about to be leased: it enters all of its gates, or waits in front of one that is shut.
local function kept_out(key, gates, claim, place, prio, queue)
  gates = cmsgpack.unpack(gates)
  for _, gate in ipairs(gates) do
    if room(gate) < 1 then
      line_up(key, gate, place, prio, queue)
      for _, each in ipairs(gates) do touched[each[1]] = true end -- another may have opened just for this one
      return true
    end
  end
  enter(key, gates, claim)
  return false
end

-- A job that was shut out waits no longer; gives its place, priority and queue.
local function leave_line(key, name)
  call('HDEL', P .. 'shut_out', key)
  local place, prio, queue = from_waiting(key)
  local line = line_of(name, queue)
  call('ZREM', line, struct.pack('>I6', place) .. key)
  if call('EXISTS', line) == 0 then
    call('SREM', P .. 'gate_queues:' .. name, queue)
    if call('EXISTS', P .. 'gate_queues:' .. name) == 0 then
      call('ZREM', P .. 'gate_looks', name)
      call('ZREM', P .. 'gate_opens', name)
    end
  end
  return place, prio, queue
end

-- The gate of this name as the first of a queue's line knows it, or nil if there is no line.
local function gate_of_first(name, queue)
  local first = call('ZRANGE', line_of(name, queue), 0, 0)[1]
  if not first then return nil end
  for _, gate in ipairs(cmsgpack.unpack(call('HGET', P .. 'gates', string.sub(first, 7)))) do
    if gate[1] == name then return gate end
  end
end

local to_let_in = 2 * CHUNK -- so many at once: others want their turn at the server

-- Whoever there is room for comes back to its queue from the front of each line: what is too many lines up again.
local function let_in(name)
  local soonest, its = math.huge, nil
  for _, queue in ipairs(call('SMEMBERS', P .. 'gate_queues:' .. name)) do
    local gate = gate_of_first(name, queue)
    local free = room(gate)
    local n = math.min(free, to_let_in)
    if n >= 1 then
      for _, member in ipairs(call('ZRANGE', line_of(name, queue), 0, n - 1)) do
        local key = string.sub(member, 7)
        local place, prio = leave_line(key, name)
        to_ready(key, place, prio, queue)
        to_let_in = to_let_in - 1
      end
      gate = gate_of_first(name, queue)
    end
    local at = gate and (free > n and now or opens(gate))
    if at and at < soonest then soonest, its = at, queue end
  end
  if its then
    call('ZADD', P .. 'gate_opens', exact(soonest), name)
    alarm('g', soonest, its)
  end
end

before_counts = function()
  local names = touched
  touched = {}
  for name in pairs(names) do let_in(name) end
end

-- These jobs are leased no more.
local function leave_gates(keys)
  if #keys == 0 or call('EXISTS', P .. 'gates') == 0 then return end
  for i, gates in ipairs(many_read('HMGET', P .. 'gates', keys)) do
    for _, gate in ipairs(gates and cmsgpack.unpack(gates) or {}) do
      call('ZREM', P .. 'gate_held:' .. gate[1], keys[i])
      touched[gate[1]] = true
    end
  end
end

-- These jobs, which nobody leases and no line has, are limited no more: the room that one stood for is another's.
local function forget_gates(keys)
  if call('EXISTS', P .. 'gates') == 0 then return end
  for i, gates in ipairs(many_read('HMGET', P .. 'gates', keys)) do
    for _, gate in ipairs(gates and cmsgpack.unpack(gates) or {}) do touched[gate[1]] = true end
  end
  many('HDEL', P .. 'gates', keys)
end

-- Look again at some lines, in turn, and forget starts that are over.
local function tend_gates()
  for _, name in ipairs(call('ZRANGEBYSCORE', P .. 'gate_looks', '-inf', exact(now - 0.5), 'LIMIT', 0, 100)) do
    call('ZADD', P .. 'gate_looks', exact(now), name)
    let_in(name)
  end
  for _, name in ipairs(call('ZRANGEBYSCORE', P .. 'gates_started', '-inf', exact(now), 'LIMIT', 0, 100)) do
    call('DEL', P .. 'gate_starts:' .. name)
    call('ZREM', P .. 'gates_started', name)
  end
end

-- What people look at: see gate_views.lua.
local function view_gate(name)
  forget_starts(name)
  local running, started = call('ZCARD', P .. 'gate_held:' .. name), call('ZCARD', P .. 'gate_starts:' .. name)
  local waiting, soonest = 0, math.huge
  for _, queue in ipairs(call('SMEMBERS', P .. 'gate_queues:' .. name)) do
    waiting = waiting + call('ZCARD', line_of(name, queue))
    soonest = math.min(soonest, opens(gate_of_first(name, queue)) or math.huge)
  end
  if running + started + waiting == 0 then return false end
  local ids = {}
  for _, key in ipairs(call('ZRANGE', P .. 'gate_held:' .. name, 0, 9)) do
    local fields = message(key)
    ids[#ids + 1] = fields and fields.id or key
  end
  return {running, waiting, started, soonest < math.huge and exact(soonest) or '', ids}
end
