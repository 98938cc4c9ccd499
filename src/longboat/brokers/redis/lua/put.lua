-- Store a batch of jobs, all or nothing. Needs: ties
-- ARGV: now, client, number ("" for no token), "after" if any job comes after others or "", groups; then for each group: queue,
--   priority, delay, expires ("" for none), "tied" or "", n, and n times key, message; of tied ones key, message and what
--   ties().place is told: parents, turn, gates. No key stands twice.
-- Returns nil for a token that is known; the keys in a row of a job and of its parent that nobody knows, if there is one: then
--   nothing is stored; else the keys that were known, which changed nothing.

local client, number = ARGV[2], ARGV[3]

if ARGV[4] ~= '' then
  local last = number ~= '' and call('GET', P .. 'client:' .. client)
  local unknown = not (last and tonumber(number) <= tonumber(last)) and ties().unknown_parent(6, tonumber(ARGV[5]))
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

-- The keys of a group that are new; its messages are stored.
local function store(from, n)
  local keys, fresh, chosen = {}, {}, {}
  for i = 1, n do
    local key = ARGV[from + 2 * i - 2]
    keys[i] = key
    if string.byte(key) >= 128 then chosen[#chosen + 1] = key end
  end
  local remembered = {}
  if #chosen > 0 and call('EXISTS', P .. 'remembered') == 1 then
    for i, score in ipairs(many_read('ZMSCORE', P .. 'remembered', chosen)) do
      if score and tonumber(score) > now then remembered[chosen[i]] = true end
    end
  end
  local found = many_read('HMGET', P .. 'jobs', keys)
  for i = 1, n do
    if found[i] or remembered[keys[i]] then known[#known + 1] = keys[i] else fresh[#fresh + 1] = i end
  end
  if #fresh == n then
    for i = 1, n, CHUNK do
      call('HSET', P .. 'jobs', unpack(ARGV, from + 2 * i - 2, from + 2 * math.min(n, i + CHUNK - 1) - 1))
    end
    return keys
  end
  local kept = {}
  for _, i in ipairs(fresh) do
    call('HSET', P .. 'jobs', keys[i], ARGV[from + 2 * i - 1])
    kept[#kept + 1] = keys[i]
  end
  return kept
end

local at = 6
for _ = 1, tonumber(ARGV[5]) do
  local queue, prio, delay, expires = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local tied, n = ARGV[at + 4] == 'tied', tonumber(ARGV[at + 5])
  local place = numbers('place', n)
  local keys = tied and ties().store(at + 6, n, known, place, prio, queue, delay) or store(at + 6, n)
  at = at + 6 + (tied and 5 or 2) * n
  if expires then
    for _, key in ipairs(keys) do call('ZADD', P .. 'expires', now + expires, key) end
    alarm('e', now + expires)
  end
  if #keys == 0 or tied then
    -- all were known, or stand where they belong
  elseif delay > 0 then
    for i, key in ipairs(keys) do to_delayed(key, place + i - 1, prio, queue, now + delay) end
  else
    local list = ready_list(prio, queue)
    for i = 1, #keys, PACK do
      call('RPUSH', list, struct.pack('>I6', place + i - 1) .. table.concat(keys, '', i, math.min(#keys, i + PACK - 1)))
    end
    call('ZADD', P .. 'levels:' .. queue, -tonumber(prio), prio)
    count('ready', queue, #keys)
    ring(queue)
  end
end
write_counts()
return known
