-- Consumers whose leases hold. Needs: sweep
-- ARGV: now. Returns for each {id, deadline, name, queues (JSON), how many leases}.

sweep_if_allowed()
local found = {}
local all = call('ZRANGE', P .. 'consumers', 0, -1, 'WITHSCORES')
for i = 1, #all, 2 do
  local name, queues = unpack(call('HMGET', P .. 'consumer:' .. all[i], 'name', 'queues'))
  found[#found + 1] = {all[i], all[i + 1], name or '', queues or '[]', call('HLEN', P .. 'held:' .. all[i])}
end
return found
