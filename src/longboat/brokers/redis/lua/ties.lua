-- What ties jobs to others: those that they come after, limits, turns. It is kept apart from the jobs' messages, in keys that are
-- there only while there are such jobs; most scripts meet none, and make these functions only when they are called for.
-- Needs: places

local ties_made = nil
local function ties()
  if ties_made then return ties_made end
  -- Here: message, waits, turns, after, gates, tied
  ties_made = {
    to_waiting = to_waiting,
    from_waiting = from_waiting,
    unknown_parent = unknown_parent,
    has_followers = has_followers,
    tell_followers = tell_followers,
    tell_the_rest = tell_the_rest,
    kept_out = kept_out,
    leave_line = leave_line,
    leave_gates = leave_gates,
    let_in = let_in,
    tend_gates = tend_gates,
    view_gate = view_gate,
    place = place_tied,
    store = store_tied,
    untie = untie,
  }
  return ties_made
end
