-- Jobs with ties as they come and go. Part of ties.lua.

-- Put a new job where it belongs. `parents`: keys in a row; `turn`: a key; `gates`: see gates.lua; each may be "".
local function place_tied(key, parents, turn, gates, place, prio, queue, delay)
  if gates ~= '' then call('HSET', P .. 'gates', key, gates) end
  if turn ~= '' then place = take_turn(key, turn, place, prio, queue) end
  if parents ~= '' and bind(key, parents) > 0 then
    to_waiting(key, place, prio, queue)
  elseif delay > 0 then
    to_delayed(key, place, prio, queue, now + delay)
  else
    to_ready(key, place, prio, queue)
  end
end

-- Store n jobs as put.lua has them; gives the keys of the new ones, and adds the others to those known.
local function store_tied(from, n, known, place, prio, queue, delay)
  local keys = {}
  for i = 1, n do
    local key, raw, parents, turn, gates = unpack(ARGV, from + 5 * i - 5, from + 5 * i - 1)
    if remembered(key) or call('HSETNX', P .. 'jobs', key, raw) == 0 then
      known[#known + 1] = key
    else
      place_tied(key, parents, turn, gates, place + i - 1, prio, queue, delay)
      keys[#keys + 1] = key
    end
  end
  return keys
end

-- These jobs have succeeded, are cancelled or are forgotten.
local function untie(keys)
  if #keys == 0 then return end
  unbind(keys)
  forget_gates(keys)
  forget_turns(keys)
end
