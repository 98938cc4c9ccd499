-- How jobs end, and how they are forgotten. Needs: constraints, message

-- Whether any job has constraints.
local any_known = nil
local function any_constraints()
  if any_known == nil then
    any_known = call('EXISTS', P .. 'limits', P .. 'after', P .. 'fairness_of', P .. 'edges') > 0
  end
  return any_known
end

local ENDED_NAMES = {s = 'succeeded', d = 'dead', c = 'cancelled'}

-- What was tried of a job before. A job that never failed has none, and one that cannot be read counts as none.
local function history(key)
  local raw = call('HGET', P .. 'history', key)
  if raw then
    local good, fields = pcall(cmsgpack.unpack, raw)
    if good and type(fields) == 'table' and type(fields[3]) == 'table' then
      local attempts, deaths = tonumber(fields[1]), tonumber(fields[2])
      if attempts and deaths then return {attempts = attempts, deaths = deaths, failures = fields[3]} end
    end
  end
  return {attempts = 0, deaths = 0, failures = {}}
end

local function write_history(key, h)
  while #h.failures > FAILURES_KEPT do table.remove(h.failures, 1) end
  if h.attempts == 0 and h.deaths == 0 and #h.failures == 0 then
    call('HDEL', P .. 'history', key)
  else
    call('HSET', P .. 'history', key, cmsgpack.pack({h.attempts, h.deaths, h.failures}))
  end
end

-- Nothing remains of these jobs, except the keys of ids that callers chose, for a while. If the jobs were leased until now,
-- nothing is kept that tells where they wait or how they ended.
local function forget(keys, were_leased)
  if #keys == 0 then return end
  many('HDEL', P .. 'jobs', keys)
  if call('EXISTS', P .. 'history') == 1 then many('HDEL', P .. 'history', keys) end
  if not were_leased then
    if any_constraints() then constraints().forget_constraints(keys) end
    for _, name in ipairs({'done', 'placed', 'deadlines'}) do many('HDEL', P .. name, keys) end
    many('ZREM', P .. 'expires', keys)
  end
  for _, key in ipairs(keys) do
    if string.byte(key) >= 128 then call('ZADD', P .. 'remembered', now + FORGOTTEN_AFTER, key) end
  end
end

-- Of a queue's ended jobs the newest stay: of the dead, and of the succeeded and cancelled together.
when_ended = function(field)
  local state, queue = string.match(field, '^(%a+):(.*)$')
  if state ~= 'dead' and state ~= 'succeeded' and state ~= 'cancelled' then return end
  local kinds = state == 'dead' and {'dead'} or {'succeeded', 'cancelled'}
  local sets, sizes, surplus = {}, {}, -ENDED_KEPT
  for i, kind in ipairs(kinds) do
    sets[i] = P .. 'ended:' .. kind .. ':' .. queue
    sizes[i] = call('ZCARD', sets[i])
    surplus = surplus + sizes[i]
  end
  surplus = math.min(surplus, 2 * CHUNK)
  while surplus > 0 do
    local oldest, least = 1, math.huge
    for i, set in ipairs(sets) do
      local first = sizes[i] > 0 and call('ZRANGE', set, 0, 0, 'WITHSCORES')
      if first and tonumber(first[2]) < least then oldest, least = i, tonumber(first[2]) end
    end
    local alone = #kinds == 1 or sizes[3 - oldest] == 0
    local popped, keys = call('ZPOPMIN', sets[oldest], alone and math.min(surplus, CHUNK) or 1), {}
    for i = 1, #popped, 2 do keys[#keys + 1] = popped[i] end
    forget(keys)
    count(kinds[oldest], queue, -#keys)
    sizes[oldest] = sizes[oldest] - #keys
    surplus = surplus - #keys
  end
end

-- Jobs of this state and queue with the numbers first to last may be forgotten after `keep` seconds.
local function forget_later(state, queue, first, last, keep)
  call('ZADD', P .. 'terms', now + keep, struct.pack('>I6I6', first, last) .. state .. queue)
end

-- Tell those who wait for the job how it ended. `value`: the result, or the last failure.
local function tell(key, state, attempts, value)
  local listeners = call('HGET', P .. 'watchers', key)
  if not listeners then return end
  call('HDEL', P .. 'watchers', key)
  local fields = message(key)
  local task = fields and fields.task or ''
  local told = key .. state .. struct.pack('>I4H', attempts, #task) .. task .. value
  for i = 1, #listeners, 16 do
    local inbox = P .. 'inbox:' .. string.sub(listeners, i, i + 15)
    call('RPUSH', inbox, told)
    call('EXPIRE', inbox, 3600)
  end
end

-- What is kept of an ended job: state 1, ended 8, leased 8, attempts 4, place 6, length of the queue's name 2, name, result.
-- Returns of it attempts, place, queue and result.
local function read_done(done)
  local _, _, attempts, place, size = struct.unpack('>ddI4I6H', string.sub(done, 2))
  return attempts, place, string.sub(done, 30, 29 + size), string.sub(done, 30 + size)
end

-- End one job that did not succeed. `why` (a failure) is added to its history; without it, the last failure there is the reason.
local function finish(key, state, place, queue, since, why, h)
  h = h or history(key)
  h.failures[#h.failures + 1] = why
  write_history(key, h)
  local keep = DEAD_KEPT
  if state == 'c' then
    local fields = message(key)
    keep = fields and fields.keep or 0
    if keep == 0 then keep = DEFAULT_KEEP end -- `keep` counts for successes
    if any_constraints() then constraints().forget_constraints({key}) end
  end
  local number = numbers('ended', 1)
  call('HSET', P .. 'done', key, state .. struct.pack('>ddI4I6H', now, since, h.attempts, place, #queue) .. queue)
  call('ZADD', P .. 'ended:' .. ENDED_NAMES[state] .. ':' .. queue, number, key)
  forget_later(state, queue, number, number, keep)
  count(ENDED_NAMES[state], queue, 1)
  call('HDEL', P .. 'deadlines', key)
  tell(key, state, h.attempts, cmsgpack.pack(h.failures[#h.failures] or {}))
end

-- Cancel one job. `kind` and `text` are those of core/reasons.py.
local function cancel(key, kind, text, place, queue, since, h)
  h = h or history(key)
  finish(key, 'c', place, queue, since, {kind, text, '', h.attempts, now, ''}, h)
end
