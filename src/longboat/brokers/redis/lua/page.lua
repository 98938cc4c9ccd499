-- Keys of a queue's jobs in one state, in the order they are listed. Needs: places
-- ARGV: now, state, queue, limit, after: where the page before ended ("" at first): "priority place key" of a ready one
--   ("priority place+ key" of one that came back), "score key" of another, of an ended one its "score".
-- Returns {key, where it stands, …}, at most limit of each.

local state, queue, limit, after = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local found = {}

local function add(key, at)
  found[#found + 1] = key
  found[#found + 1] = at
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

-- The jobs in a level's sorted set that stand behind (place, key), one at each call.
local function returned_ones(back, place, key)
  local offset, part, at = 0, {}, 1
  local function following()
    if not part[at] then
      part, at = call('ZRANGEBYSCORE', back, place, '+inf', 'WITHSCORES', 'LIMIT', offset, limit), 1
      offset = offset + limit
      if not part[1] then return nil, math.huge end
    end
    at = at + 2
    local its = tonumber(part[at - 1])
    if its == place and part[at - 2] <= key then return following() end
    return part[at - 2], its
  end
  return following
end

-- One level: what stands by place in its sorted set, and between that the packs. `from` is the place of the first of these.
local function level(prio, place, key, from)
  local list, following = ready_list(prio, queue), returned_ones(back_set(prio, queue), place, key)
  local returned, its = following()
  local at = from < 0 and 0 or pack_beyond(list, from - 1)
  local function add_returned(till)
    while its <= till and #found < 2 * limit and returned do
      add(returned, prio .. ' ' .. string.format('%d', its) .. '+')
      returned, its = following()
    end
  end
  while #found < 2 * limit do
    local pack = call('LINDEX', list, at)
    if not pack then return add_returned(math.huge) end
    local first = struct.unpack('>I6', pack)
    for i = math.max(1, from - first + 1), (#pack - 6) / 12 do
      add_returned(first + i - 1)
      if #found >= 2 * limit then return end
      local one = string.sub(pack, 12 * i - 5, 12 * i + 6)
      if call('SISMEMBER', P .. 'gone', one) == 0 then add(one, prio .. ' ' .. string.format('%d', first + i - 1)) end
    end
    at = at + 1
  end
end

local function ready()
  local last_prio, last_place, plus, last_key = string.match(after, '^(%-?%d+) (%d+)(%+?) (.*)$')
  for _, prio in ipairs(call('ZRANGE', P .. 'levels:' .. queue, 0, -1)) do
    if #found >= 2 * limit then return end
    if not last_prio or tonumber(prio) < tonumber(last_prio) then
      level(prio, -1, '', -1)
    elseif prio == last_prio and plus == '+' then
      level(prio, tonumber(last_place), last_key, tonumber(last_place))
    elseif prio == last_prio then
      level(prio, last_place + 1, '', last_place + 1)
    end
  end
end

-- A sorted set from its first, or from its last, one by one behind (score, key).
local function sorted(set, backwards)
  local score, key = string.match(after, '^(%S+) ?(.*)$')
  local offset = 0
  while #found < 2 * limit do
    local part
    if backwards then
      part = call('ZREVRANGEBYSCORE', set, score and '(' .. score or '+inf', '-inf', 'WITHSCORES', 'LIMIT', offset, limit)
    else
      part = call('ZRANGEBYSCORE', set, score or '-inf', '+inf', 'WITHSCORES', 'LIMIT', offset, limit)
    end
    for i = 1, #part, 2 do
      local passed = not backwards and score and tonumber(part[i + 1]) == tonumber(score) and part[i] <= key
      if not passed and #found < 2 * limit then add(part[i], part[i + 1]) end
    end
    offset = offset + limit
    if #part < 2 * limit then return end
  end
end

local function running()
  local all = {}
  local last_place, last_key = string.match(after, '^(%d+) (.*)$')
  last_place = tonumber(last_place or -1)
  for _, consumer in ipairs(call('ZRANGE', P .. 'consumers', 0, -1)) do
    local held = call('HGETALL', P .. 'held:' .. consumer)
    for i = 1, #held, 2 do
      local place = struct.unpack('>I6', string.sub(held[i + 1], 7))
      local theirs = string.match(string.sub(held[i + 1], 21), '^%-?%d+:(.*)$')
      local behind = place > last_place or (place == last_place and held[i] > last_key)
      if theirs == queue and behind then all[#all + 1] = {held[i], place} end
    end
  end
  table.sort(all, function(a, b) return a[2] < b[2] or (a[2] == b[2] and a[1] < b[1]) end)
  for i = 1, math.min(#all, limit) do add(all[i][1], string.format('%d', all[i][2])) end
end

if state == 'ready' then
  ready()
elseif state == 'running' then
  running()
elseif state == 'scheduled' then
  sorted(P .. 'delayed:' .. queue, false)
elseif state == 'waiting' then
  sorted(P .. 'waiting:' .. queue, false)
else
  sorted(P .. 'ended:' .. state .. ':' .. queue, true)
end
return found
