-- Jobs with constraints as they come and go. Part of constraints.lua.

-- Put a new job where it belongs. `parents`: keys in a row; `limits`: see limits.lua; each constraint may be "".
local function place_constrained(key, parents, fairness_key, limits, place, prio, queue, delay)
  if limits ~= '' then call('HSET', P .. 'limits', key, limits) end
  if fairness_key ~= '' then place = fair_place(key, fairness_key, place, prio, queue) end
  if parents ~= '' and depend(key, parents) > 0 then
    to_waiting(key, place, prio, queue)
  else
    to_queue(key, place, prio, queue, delay)
  end
end

-- These jobs have succeeded, are cancelled or are forgotten.
local function forget_constraints(keys)
  if #keys == 0 then return end
  forget_dependencies(keys)
  leave_limits(keys, true)
  forget_fairness(keys)
end
