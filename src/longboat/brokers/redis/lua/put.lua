-- Store a batch of jobs, all or nothing. Needs: constraints
-- ARGV: now, client, number ("" for no token), "after" if any job comes after others or "", groups; then for each group: queue,
--   priority, delay, expires ("" for none), "constrained" or "", n, and n times key, message; of constrained jobs also parents,
--   fairness key, limits (see constrained.lua). No key stands twice.
-- Returns nil for a token that is known; the keys, in a row, of a job and of its parent that nobody knows, if there is one: then
--   nothing is stored; else the keys that were known: for these nothing changed.

local client, number = ARGV[2], ARGV[3]

if ARGV[4] ~= '' then
  local last = number ~= '' and call('GET', P .. 'client:' .. client)
  local is_new = not (last and tonumber(number) <= tonumber(last))
  local unknown = is_new and constraints().unknown_parent(6, tonumber(ARGV[5]))
  if unknown then return unknown end
end
if number ~= '' then
  local last = call('SET', P .. 'client:' .. client, number, 'EX', FORGOTTEN_AFTER, 'GET')
  if last and tonumber(number) <= tonumber(last) then
    call('SET', P .. 'client:' .. client, last, 'EX', FORGOTTEN_AFTER)
    return nil
  end
end

local known = {}

-- Store the messages of a group, of `width` values a job. Returns the keys that are new, and which of n they were (nil: all).
local function store(from, n, width)
  local keys, chosen = {}, {}
  for i = 1, n do
    local key = ARGV[from + width * (i - 1)]
    keys[i] = key
    if string.byte(key) >= 128 then chosen[#chosen + 1] = key end
  end
  local remembered = {}
  if #chosen > 0 and call('EXISTS', P .. 'remembered') == 1 then
    for i, score in ipairs(many_read('ZMSCORE', P .. 'remembered', chosen)) do
      if score and tonumber(score) > now then remembered[chosen[i]] = true end
    end
  end
  local found, fresh = many_read('HMGET', P .. 'jobs', keys), {}
  for i = 1, n do
    if found[i] or remembered[keys[i]] then known[#known + 1] = keys[i] else fresh[#fresh + 1] = i end
  end
  if #fresh == n and width == 2 then
    for i = 1, n, CHUNK do
      call('HSET', P .. 'jobs', unpack(ARGV, from + 2 * i - 2, from + 2 * math.min(n, i + CHUNK - 1) - 1))
    end
    return keys
  end
  local stored = {}
  for _, i in ipairs(fresh) do
    call('HSET', P .. 'jobs', keys[i], ARGV[from + width * (i - 1) + 1])
    stored[#stored + 1] = keys[i]
  end
  return stored, fresh
end

local at = 6
for _ = 1, tonumber(ARGV[5]) do
  local queue, prio, delay, expires = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local constrained, n, from = ARGV[at + 4] ~= '', tonumber(ARGV[at + 5]), at + 6
  local width, place = constrained and 5 or 2, numbers('place', n)
  local keys, which = store(from, n, width)
  at = from + width * n
  if expires then
    for _, key in ipairs(keys) do call('ZADD', P .. 'expires', now + expires, key) end
    alarm('e', now + expires)
  end
  if constrained then
    for i, key in ipairs(keys) do
      local its = from + width * (which[i] - 1)
      constraints().place_constrained(key, ARGV[its + 2], ARGV[its + 3], ARGV[its + 4], place + i - 1, prio, queue, delay)
    end
  elseif delay > 0 then
    for i, key in ipairs(keys) do to_queue(key, place + i - 1, prio, queue, delay) end
  elseif #keys > 0 then
    local list = ready_list(prio, queue)
    for i = 1, #keys, PACK do
      call('RPUSH', list, struct.pack('>I6', place + i - 1) .. table.concat(keys, '', i, math.min(#keys, i + PACK - 1)))
    end
    call('ZADD', P .. 'levels:' .. queue, -tonumber(prio), prio)
    count('ready', queue, #keys)
    wake(queue)
  end
end
write_counts()
return known
