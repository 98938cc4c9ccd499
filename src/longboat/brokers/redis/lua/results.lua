-- How jobs ended.
-- ARGV: now, then keys. Returns for each: false, or {what done keeps, its history or false, its message}.

local found = {}
for i = 2, #ARGV do
  local done = call('HGET', P .. 'done', ARGV[i])
  found[#found + 1] = done and {done, call('HGET', P .. 'history', ARGV[i]), call('HGET', P .. 'jobs', ARGV[i]) or ''} or false
end
return found
