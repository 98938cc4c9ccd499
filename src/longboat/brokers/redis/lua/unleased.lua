-- Jobs that nobody leases any more, or not yet: most scripts meet none that wait, and make these functions only when they are
-- called for. Needs: returns

local unleased_made = nil
local function unleased()
  if unleased_made then return unleased_made end
  -- Here: parking, whereabouts, listening, leaving, due
  unleased_made = {
    ring_consumer = ring_consumer,
    park = park,
    park_again = park_again,
    unpark = unpark,
    stop_waiting = stop_waiting,
    locate = locate,
    withdraw = withdraw,
    end_consumer = end_consumer,
    do_due = do_due,
  }
  return unleased_made
end
