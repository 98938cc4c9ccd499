-- Keys of a queue's jobs in one state, in the order they are listed. Needs: leases
-- ARGV: now, state, queue, limit, after: where the page before ended ("" at first): "priority place key" of a ready job
--   ("priority place+ key" of one that came back), "score key" of another, of an ended one its "score".
-- Returns {key, where it stands, …}, at most limit of each.

local state, queue, limit, after = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local found = {}

local function add(key, at)
  found[#found + 1] = key
  found[#found + 1] = at
end

-- Up to limit members of a sorted set that stand behind (score, key), each as {key, score, score as a number}.
local function behind(set, score, key)
  local some, offset = {}, 0
  repeat
    local part = call('ZRANGEBYSCORE', set, score, '+inf', 'WITHSCORES', 'LIMIT', offset, limit)
    for i = 1, #part, 2 do
      if part[i] > key or tonumber(part[i + 1]) ~= tonumber(score) then
        some[#some + 1] = {part[i], part[i + 1], tonumber(part[i + 1])}
      end
    end
    offset = offset + limit
  until #some >= limit or #part < 2 * limit
  return some
end

-- The index of the first pack that reaches beyond a place.
local function pack_beyond(list, place)
  local low, high = 0, call('LLEN', list)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local pack = call('LINDEX', list, middle)
    if struct.unpack('>I6', pack) + (#pack - 6) / 12 - 1 > place then high = middle else low = middle + 1 end
  end
  return low
end

-- One level: the jobs of its sorted set behind (place, key), in the order of places, and between them the packs from `from` on.
local function level(prio, place, key, from)
  local list, returned, next_one = ready_list(prio, queue), behind(back_set(prio, queue), place, key), 1
  local function add_returned(till)
    local one = returned[next_one]
    while one and one[3] <= till and #found < 2 * limit do
      add(one[1], prio .. ' ' .. one[2] .. '+')
      next_one = next_one + 1
      one = returned[next_one]
    end
  end
  local at = pack_beyond(list, from - 1)
  local pack = call('LINDEX', list, at)
  while pack and #found < 2 * limit do
    local first = struct.unpack('>I6', pack)
    for i = math.max(1, from - first + 1), (#pack - 6) / 12 do
      add_returned(first + i - 1)
      if #found >= 2 * limit then return end
      local one = string.sub(pack, 12 * i - 5, 12 * i + 6)
      if call('SISMEMBER', P .. 'gone', one) == 0 then add(one, prio .. ' ' .. string.format('%d', first + i - 1)) end
    end
    at = at + 1
    pack = call('LINDEX', list, at)
  end
  add_returned(math.huge)
end

local function ready()
  local last_prio, last_place, plus, last_key = string.match(after, '^(%-?%d+) (%d+)(%+?) (.*)$')
  for _, prio in ipairs(call('ZRANGE', P .. 'levels:' .. queue, 0, -1)) do
    if not last_prio or tonumber(prio) < tonumber(last_prio) then
      level(prio, 0, '', 0)
    elseif prio == last_prio and plus == '+' then
      level(prio, last_place, last_key, tonumber(last_place))
    elseif prio == last_prio then
      local place = tonumber(last_place) + 1
      level(prio, string.format('%d', place), '', place)
    end
    if #found >= 2 * limit then return end
  end
end

local function running()
  local all = {}
  local last_place, last_key = string.match(after, '^(%d+) (.*)$')
  last_place = tonumber(last_place or -1)
  for _, consumer in ipairs(call('ZRANGE', P .. 'consumers', 0, -1)) do
    local held = call('HGETALL', P .. 'held:' .. consumer)
    for i = 1, #held, 2 do
      local _, place, _, _, theirs = read_held(held[i + 1])
      local is_behind = place > last_place or (place == last_place and held[i] > last_key)
      if theirs == queue and is_behind then all[#all + 1] = {held[i], place} end
    end
  end
  table.sort(all, function(a, b) return a[2] < b[2] or (a[2] == b[2] and a[1] < b[1]) end)
  for i = 1, math.min(#all, limit) do add(all[i][1], string.format('%d', all[i][2])) end
end

if state == 'ready' then
  ready()
elseif state == 'running' then
  running()
elseif state == 'scheduled' or state == 'waiting' then
  local score, key = string.match(after, '^(%S+) (.*)$')
  local set = P .. (state == 'scheduled' and 'delayed:' or 'waiting:') .. queue
  for i, each in ipairs(behind(set, score or '-inf', key or '')) do
    if i <= limit then add(each[1], each[2]) end
  end
else -- no two ended jobs share a score
  local from, set = after == '' and '+inf' or '(' .. after, P .. 'ended:' .. state .. ':' .. queue
  return call('ZREVRANGEBYSCORE', set, from, '-inf', 'WITHSCORES', 'LIMIT', 0, limit)
end
return found
