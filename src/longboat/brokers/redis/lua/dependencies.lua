-- Jobs that come after others, their parents. Part of constraints.lua.
-- While a child waits for a parent there is an edge, the keys of both. Then the parent's result is kept under the same keys.

local LAST = string.rep('\255', 12)

-- Whether a caller has used this id before, for a job that is gone.
local function remembered(key)
  local till = string.byte(key) >= 128 and call('ZSCORE', P .. 'remembered', key)
  return till and tonumber(till) > now
end

local function each_parent(parents, visit)
  local seen = {}
  for at = 1, #parents, 12 do
    local parent = string.sub(parents, at, at + 11)
    if not seen[parent] then
      seen[parent] = true
      visit(parent)
    end
  end
end

-- Look through a batch of puts (ARGV as in put.lua, from `at`) for a new job with a parent that is neither kept here nor stands
-- before it in the batch. Returns the keys of the first such job and its parent, in a row; nil if there is none.
local function unknown_parent(at, groups)
  local before = {}
  for _ = 1, groups do
    local n, width = tonumber(ARGV[at + 5]), ARGV[at + 4] ~= '' and 5 or 2
    for i = at + 6, at + 5 + width * n, width do
      local key, parents, unknown = ARGV[i], width == 5 and ARGV[i + 2] or '', nil
      local forgotten = remembered(key)
      if parents ~= '' and not forgotten and call('HEXISTS', P .. 'jobs', key) == 0 then
        each_parent(parents, function(parent)
          if not before[parent] and call('HEXISTS', P .. 'jobs', parent) == 0 then unknown = unknown or key .. parent end
        end)
      end
      if unknown then return unknown end
      before[key] = not forgotten
    end
    at = at + 6 + width * n
  end
end

-- A new job depends on its parents (keys in a row). Returns for how many of them it waits.
local function depend(key, parents)
  call('HSET', P .. 'after', key, parents)
  local left = 0
  each_parent(parents, function(parent)
    local done = call('HGET', P .. 'done', parent)
    if done and string.sub(done, 1, 1) == 's' then
      call('HSET', P .. 'inputs', key .. parent, string.sub(done, 30 + struct.unpack('>H', string.sub(done, 28))))
    else
      call('ZADD', P .. 'edges', 0, parent .. key)
      left = left + 1
    end
  end)
  if left > 0 then call('HSET', P .. 'pending', key, left) end
  return left
end

local to_tell = 2 * CHUNK -- children told by one script: others want to use the server, too

-- A job has succeeded: its children get the result, and those that wait for no other parent start their delay. If there are
-- very many, the rest of them is told later.
local function tell_children(parent, result)
  local edges = call('ZRANGEBYLEX', P .. 'edges', '[' .. parent, '[' .. parent .. LAST, 'LIMIT', 0, to_tell + 1)
  if #edges > to_tell then
    edges[#edges] = nil
    call('HSET', P .. 'untold', parent, result)
    call('ZADD', P .. 'untold_due', now, parent)
    alarm('f', now)
  end
  to_tell = to_tell - #edges
  many('ZREM', P .. 'edges', edges)
  for _, edge in ipairs(edges) do
    local key = string.sub(edge, 13)
    call('HSET', P .. 'inputs', key .. parent, result)
    if redis.pcall('HINCRBY', P .. 'pending', key, -1) == 0 then
      local good, place, prio, queue = readable(from_waiting, key)
      call('HDEL', P .. 'pending', key)
      local fields = message(key)
      if good then to_queue(key, place, prio, queue, fields and tonumber(fields.delay) or 0) end
    end
  end
end

local function tell_remaining_children(parent)
  local result = call('HGET', P .. 'untold', parent)
  call('HDEL', P .. 'untold', parent)
  call('ZREM', P .. 'untold_due', parent)
  tell_children(parent, result)
end

local function has_children(key)
  return #call('ZRANGEBYLEX', P .. 'edges', '[' .. key, '[' .. key .. LAST, 'LIMIT', 0, 1) > 0
end

local function forget_dependencies(keys)
  if call('EXISTS', P .. 'after') == 0 then return end
  for i, parents in ipairs(many_read('HMGET', P .. 'after', keys)) do
    if parents then
      local key, inputs, edges = keys[i], {}, {}
      each_parent(parents, function(parent)
        inputs[#inputs + 1] = key .. parent
        edges[#edges + 1] = parent .. key
      end)
      many('HDEL', P .. 'inputs', inputs)
      if call('HDEL', P .. 'pending', key) == 1 then many('ZREM', P .. 'edges', edges) end
      call('HDEL', P .. 'after', key)
    end
  end
end
