-- Lease ready jobs to a consumer, in order, and do what is due. Needs: sweep
-- ARGV: now, consumer, n, claim (a number that grows from one of its claims to the next: the fence), heard, share ("" if it does
--   not wait for jobs; "part" if it has waited; "rest" if it has got jobs since: see `_part` in base.py), the mean size of the
--   last messages ("" at first), queues, then their names in order; for every queue "" instead. If it pauses any: the name of its wake-up list (see listening.lua) or "", paused
--   queues, their names, then paused tasks.
-- Returns nil if the consumer is over, else: seconds until something is due ("" for never; "again" if it stopped early among
--   jobs that limits block), keys in a row, messages in a row, or their sizes where they are big: then the consumer fetches
--   them, since each byte of a message that passes through Lua is hashed there; {queue, how many of them, …}, for each job its
--   history or false (or nil, if none has one), and 1 if it got nothing because what is ready is left to others, else 0.
-- An answer may be lost. Then `heard` is the last claim whose answer came, else "": newer leases are given again.
-- Of very big messages fewer than n are taken. Its first write takes from a list: it works when the memory is full, too.

local consumer, wanted, claim, heard = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local mean = tonumber(ARGV[7]) -- bytes of a message: of the last claim's, then of this one's
local following = sweep()
if not call('ZSCORE', P .. 'consumers', consumer) then
  write_counts()
  return nil
end

local sub, pack = string.sub, struct.pack
local held, keys, messages, spans = P .. 'held:' .. consumer, {}, {}, {}
local have = 0 -- how many keys
local claimed = pack('>I6', claim)
local FEW = 16000 -- bytes that are not worth another round trip
local bytes, packs_guessed, full, sizes, size_of = 0, 2, false, nil, {}
local limited, blocked, MOST_BLOCKED = false, 0, 500 -- so many at once: others want to use the server, too

local function is_full() return have >= wanted or full or bytes >= PORTION or blocked >= MOST_BLOCKED end

-- How many jobs to lease at once: few while nobody knows how big they are.
local function chunk()
  if have > 0 then mean = bytes / have end
  local most = have > 0 and CHUNK or mean and 128 or 8
  return math.max(1, math.min(wanted - have, most, math.floor((PORTION - bytes) / math.max(1, mean or 1))))
end

-- Of these jobs, how many fit into the answer. From here on it has sizes in place of messages, if they are big.
local function fitting(found)
  local n, one = #found, mean or 0
  if not sizes then
    if n > 8 then one = call('HSTRLEN', P .. 'jobs', found[n]) end
    if one <= BIG or n * one <= FEW then return n end
    sizes = {}
    for i = 1, have do sizes[i] = #messages[i] end
  end
  local total = bytes
  for i, key in ipairs(found) do
    local size = call('HSTRLEN', P .. 'jobs', key)
    total = total + size
    if total > PORTION and have + i > 1 then return i - 1 end
    size_of[key] = size
  end
  return n
end

-- Leases whose answer was lost become part of this claim.
local function lease_again()
  local all = call('HGETALL', held)
  for i = 1, #all, 2 do
    local before, _, _, _, queue = read_held(all[i + 1])
    if before > heard then
      call('HSET', held, all[i], claimed .. sub(all[i + 1], 7))
      have = have + 1
      keys[have] = all[i]
      messages[have] = call('HGET', P .. 'jobs', all[i]) or ''
      spans[#spans + 1] = queue
      spans[#spans + 1] = 1
    end
  end
end

-- Take the next n jobs of a level. Returns keys, places (making strings is what costs most here, so the jobs of a pack share the
-- place of the first), and whether the level is empty now.
local function next_ones(list, back, n)
  local asked = packs_guessed
  local packs = call('LPOP', list, asked) or {}
  local first = call('ZRANGE', back, 0, 0, 'WITHSCORES')
  local until_place = tonumber(first[2] or math.huge)
  local found, places, rest, count_found = {}, {}, {}, 0
  for _, ones in ipairs(packs) do
    local place, size = struct.unpack('>I6', ones), (#ones - 6) / 12
    packs_guessed = math.max(1, math.min(128, math.floor(n / size)))
    local take = math.max(0, math.min(size, n - count_found, until_place - place))
    if rest[1] then take = 0 end
    for i = 1, take do
      found[count_found + i] = sub(ones, 12 * i - 5, 12 * i + 6)
      places[count_found + i] = place
    end
    count_found = count_found + take
    if take == 0 then
      rest[#rest + 1] = ones
    elseif take < size then
      rest[#rest + 1] = pack('>I6', place + take) .. sub(ones, 12 * take + 7)
    end
  end
  for i = #rest, 1, -1 do call('LPUSH', list, rest[i]) end
  if count_found == 0 and first[1] then
    local limit = rest[1] and string.format('%d', struct.unpack('>I6', rest[1])) or '+inf'
    local back_ones = call('ZRANGEBYSCORE', back, '-inf', limit, 'WITHSCORES', 'LIMIT', 0, math.min(n, CHUNK))
    for i = 1, #back_ones, 2 do
      found[#found + 1] = back_ones[i]
      places[#places + 1] = tonumber(back_ones[i + 1])
    end
    call('ZREM', back, unpack(found))
    return found, places, false
  end
  return found, places, #packs < asked and not rest[1] and not first[1]
end

local late = P .. 'late:' .. consumer
local share, yields = ARGV[6], 0
local every, at = ARGV[8] == '', 9 + (tonumber(ARGV[8]) or 0)
local queues, rare = {}, {late, P .. 'gone', P .. 'expires', P .. 'history', P .. 'limits'}
for i = 9, at - 1 do
  queues[#queues + 1] = ARGV[i]
  rare[#rare + 1] = P .. 'parked_tasks:' .. ARGV[i]
end
local special = every or call('EXISTS', unpack(rare, 1, math.min(#rare, CHUNK))) > 0 or #rare > CHUNK
local but, paused_queues, paused_tasks = '', nil, nil
if ARGV[at] then
  but, paused_queues, paused_tasks = ARGV[at], {}, {}
  local last = at + 1 + tonumber(ARGV[at + 1])
  for i = at + 2, last do paused_queues[ARGV[i]] = true end
  for i = last + 1, #ARGV do paused_tasks[ARGV[i]] = true end
end

-- A claim that was sent later came first: nobody would learn what this one leases.
if special and claim < tonumber(call('GET', late) or 0) then
  write_counts()
  return {'', '', '', {}, false, 0}
end

-- Leave out jobs that were cancelled or purged while they stood in a pack, that have expired, or that a limit blocks.
local function still_wanted(found, places, prio, queue)
  if not special then return found, places end
  local dropped = {}
  if call('EXISTS', P .. 'gone') == 1 then
    for i, gone in ipairs(call('SMISMEMBER', P .. 'gone', unpack(found))) do
      if gone == 1 then dropped[i] = call('SREM', P .. 'gone', found[i]) end
    end
  end
  local expiries = call('EXISTS', P .. 'expires') == 1 and call('ZMSCORE', P .. 'expires', unpack(found)) or {}
  for i = 1, #found do
    if expiries[i] and tonumber(expiries[i]) <= now and not dropped[i] then
      dropped[i] = 1
      call('ZREM', P .. 'expires', found[i])
      count('ready', queue, -1)
      cancel(found[i], EXPIRED, EXPIRED_TEXT, places[i], queue, 0)
    end
  end
  for i, limits in ipairs(limited and call('HMGET', P .. 'limits', unpack(found)) or {}) do
    if limits and not dropped[i] and constraints().is_blocked(found[i], limits, claimed, places[i], prio, queue) then
      dropped[i] = 1
      blocked = blocked + 1
      count('ready', queue, -1)
    end
  end
  if not next(dropped) and not next(expiries) then return found, places end
  local left, their = {}, {}
  for i, key in ipairs(found) do
    if not dropped[i] then
      if expiries[i] then
        call('ZREM', P .. 'expires', key)
        call('HSET', P .. 'deadlines', key, expiries[i])
      end
      left[#left + 1] = key
      their[#their + 1] = places[i]
    end
  end
  return left, their
end

local function lease(found, places, prio, queue)
  local level, n = pack('>d', now) .. prio .. ':' .. queue, #found
  local values, place, value = {}, nil, nil
  for i = 1, n do
    local key = found[i]
    if places[i] ~= place then
      place = places[i]
      value = claimed .. pack('>I6', place) .. level
    end
    keys[have + i] = key
    values[2 * i - 1] = key
    values[2 * i] = value
  end
  call('HSET', held, unpack(values))
  local raw = not sizes and call('HMGET', P .. 'jobs', unpack(found))
  for i = 1, n do
    if sizes then
      local size = size_of[found[i]]
      sizes[have + i] = size
      bytes = bytes + size
    else
      local message = raw[i] or ''
      messages[have + i] = message
      bytes = bytes + #message
    end
  end
  have = have + n
  spans[#spans + 1] = queue
  spans[#spans + 1] = n
  count('ready', queue, -n)
  count('running', queue, n)
end

local function claim_level(prio, queue)
  local list, back = ready_list(prio, queue), back_set(prio, queue)
  while not is_full() do
    local found, places, is_last = next_ones(list, back, chunk())
    local fit = fitting(found)
    if fit < #found then
      full, is_last = true, false
      for i = #found, fit + 1, -1 do
        call('ZADD', back, places[i], found[i])
        found[i], places[i] = nil, nil
      end
    end
    if #found > 0 then
      found, places = still_wanted(found, places, prio, queue)
      if #found > 0 then lease(found, places, prio, queue) end
    end
    if is_last then
      call('ZREM', P .. 'levels:' .. queue, prio)
      return
    end
  end
end

local function claim_queue(queue)
  local levels = P .. 'levels:' .. queue
  local prios = call('ZRANGE', levels, 0, 9)
  while prios[1] do
    for _, prio in ipairs(prios) do
      claim_level(prio, queue)
      if is_full() then return end
    end
    if #prios < 10 then return end
    prios = call('ZRANGE', levels, 0, 9)
  end
end

-- While the consumer takes its share, parked jobs whose tasks it knows stand among the ready ones.
local function with_parked(queue)
  local stood = {}
  for _, task in ipairs(call('SMEMBERS', P .. 'parked_tasks:' .. queue)) do
    if not (paused_tasks and paused_tasks[task]) and call('SISMEMBER', P .. 'tasks:' .. consumer, task) == 1 then
      for _, member in ipairs(call('ZRANGE', unleased().parked_set(queue, task), 0, wanted - 1)) do
        local key = sub(member, 7)
        local good, place, prio, _, info = readable(unleased().unpark, key)
        if good then
          call('ZADD', back_set(prio, queue), place, key)
          call('ZADD', P .. 'levels:' .. queue, -prio, prio)
          count('ready', queue, 1)
          stood[#stood + 1] = {key, place, prio, info}
        else
          call('ZREM', unleased().parked_set(queue, task), member)
          if call('HEXISTS', P .. 'jobs', key) == 1 then unleased().bury(key) end
        end
      end
    end
  end
  claim_queue(queue)
  for _, each in ipairs(stood) do
    local key, place, prio, info = unpack(each)
    if call('ZREM', back_set(prio, queue), key) == 1 then
      count('ready', queue, -1)
      unleased().park(key, place, prio, queue, info)
    end
  end
end

-- Every queue that has something for this consumer, each time with another one first.
local function every_queue()
  call('DEL', but == '' and P .. 'wake' or P .. 'wake_but:' .. but)
  local names, seen = {}, {}
  for _, field in ipairs(call('HKEYS', P .. 'counts')) do
    local name = string.match(field, '^ready:(.*)$') or string.match(field, '^waiting:(.*)$')
    if name and not seen[name] and not (paused_queues and paused_queues[name]) then
      names[#names + 1] = name
      seen[name] = true
    end
  end
  table.sort(names)
  local turned = {}
  for i = 1, #names do turned[i] = names[(i + claim) % #names + 1] end
  return turned
end

-- How many other consumers wait for jobs of these queues; if this one was served, those that yield too.
local function others()
  local n, all = 0, call('HGETALL', P .. 'idle')
  for i = 1, #all, 2 do
    local yielding, theirs = string.match(all[i + 1], '^(y?)(.*)$')
    local is_one = every or theirs == ''
    for _, queue in ipairs(queues) do is_one = is_one or string.find(theirs, '\0' .. queue .. '\0', 1, true) ~= nil end
    if is_one and all[i] ~= consumer and (yielding == '' or share == 'rest') then n = n + 1 end
  end
  return n
end

local function take_part(n)
  local ready = 0
  for _, queue in ipairs(n > 0 and queues or {}) do
    ready = ready + tonumber(call('HGET', P .. 'counts', 'ready:' .. queue) or 0)
  end
  if ready == 0 then return end -- parked jobs, perhaps
  local part = share == 'part' and math.ceil(ready / (n + 1)) or ready - n * RESERVED
  if part <= 0 then yields = 1 end
  wanted = math.max(0, math.min(wanted, part))
end

write_counts() -- what follows reads what the sweep changed
if heard then
  even_when_full()
  call('SET', late, string.format('%d', claim), 'EX', 3600)
  lease_again()
end
if have == 0 then
  if every then queues = every_queue() end
  limited = special and call('EXISTS', P .. 'limits') == 1
  if share ~= '' then take_part(others()) end
  for _, queue in ipairs(queues) do
    if is_full() then break end
    if special and call('EXISTS', P .. 'parked_tasks:' .. queue) == 1 then with_parked(queue) else claim_queue(queue) end
  end
  if is_full() then -- their put woke a consumer for some of them only
    for _, queue in ipairs(queues) do
      if call('EXISTS', P .. 'levels:' .. queue) == 1 then wake(queue) end
    end
  end
end
write_counts()
local histories = nil
if have > 0 and (special or heard) and call('EXISTS', P .. 'history') == 1 then
  histories = many_read('HMGET', P .. 'history', keys)
end
local wait = in_seconds(following)
if have < wanted and blocked >= MOST_BLOCKED then wait = 'again' end
if have > 0 then
  if share == 'part' then call('HDEL', P .. 'idle', consumer) end
elseif share ~= '' and wait ~= 'again' then
  local its = (yields == 1 and 'y' or '') .. (every and '' or '\0' .. table.concat(queues, '\0') .. '\0')
  if call('HGET', P .. 'idle', consumer) ~= its then -- not each second anew: it would grow the file of a server that keeps one
    even_when_full()
    call('HSET', P .. 'idle', consumer, its)
  end
end
return {wait, table.concat(keys), sizes or table.concat(messages), spans, histories or false, yields}
