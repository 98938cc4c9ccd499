-- Jobs as people look at them. Needs: unleased
-- ARGV: now, then keys.
-- Returns for each: false if unknown, else {state, message, history or false, details…}. Details of an ended job: what `done`
-- keeps; of a running one: since when, and who holds it; of a scheduled one: when it is due. Of big ones it returns fewer than
-- were asked for, at least one: the others are to be asked for again.

local function view(key, raw)
  local past = call('HGET', P .. 'history', key)
  local done = call('HGET', P .. 'done', key)
  if done then return {ENDED_NAMES[string.sub(done, 1, 1)] or 'dead', raw, past, done} end
  local state, _, _, queue, consumer, since = unleased().locate(key)
  if state == 'running' then
    local name = call('HGET', P .. 'consumer:' .. consumer, 'name')
    return {state, raw, past, string.format('%.17g', since), (name and name ~= '') and name or consumer}
  end
  return {state, raw, past, state == 'scheduled' and call('ZSCORE', P .. 'delayed:' .. queue, key)}
end

local found, bytes = {}, 0
for i = 2, #ARGV do
  if bytes > PORTION then break end
  local raw = call('HGET', P .. 'jobs', ARGV[i])
  local its = false
  if raw then
    local good, seen = readable(view, ARGV[i], raw)
    its = good and seen or {'dead', raw, false}
    bytes = bytes + #raw + #(its[4] or '')
  end
  found[#found + 1] = its
end
return found
