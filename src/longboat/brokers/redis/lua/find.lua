-- Jobs as people look at them. Needs: sweep
-- ARGV: now, then keys.
-- Returns for each: false if unknown, else {state, message, history or false, queue, time, time, text}: for a scheduled one when
-- it is due; for a running one since when, "", and who holds it; for an ended one, instead of queue and times, what done keeps.

local names = {}
local function name_of(consumer)
  if not names[consumer] then
    local name = call('HGET', P .. 'consumer:' .. consumer, 'name')
    names[consumer] = (name and name ~= '') and name or consumer
  end
  return names[consumer]
end

local function view(key, raw)
  local past = call('HGET', P .. 'history', key)
  local done = call('HGET', P .. 'done', key)
  if done then return {ENDED_NAMES[string.sub(done, 1, 1)], raw, past, done} end
  local state, _, _, queue, consumer, since = unleased().locate(key)
  if state == 'running' then return {state, raw, past, queue, string.format('%.17g', since), '', name_of(consumer)} end
  if state == 'scheduled' then return {state, raw, past, queue, call('ZSCORE', P .. 'delayed:' .. queue, key)} end
  return {state, raw, past, queue or ''}
end

local found = {}
for i = 2, #ARGV do
  local raw = call('HGET', P .. 'jobs', ARGV[i])
  found[#found + 1] = raw and view(ARGV[i], raw) or false
end
return found
