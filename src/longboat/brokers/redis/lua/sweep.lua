-- What time alone changes: silent consumers are over, delays end, jobs expire, parked ones die, limits open. Needs: unleased

-- Do a bounded part of what is due. Returns when something is due next (or nil).
local function sweep()
  local silent = call('ZRANGE', P .. 'consumers', 0, 0, 'WITHSCORES')
  local alarms = call('ZRANGE', P .. 'alarms', 0, 0, 'WITHSCORES')
  local first = math.min(tonumber(silent[2] or math.huge), tonumber(alarms[2] or math.huge))
  if first <= now then return unleased().do_due() end
  return first < math.huge and first or nil
end

-- For scripts that only look. Who may only read sees the jobs as the last of the others left them.
local function sweep_if_allowed()
  local told = redis.pcall('DEL', P .. 'nothing') -- as `even_when_full`
  if type(told) == 'table' then
    if string.find(told.err, 'user executing the script') or string.find(told.err, 'permission') then return end
    error(told.err)
  end
  sweep()
  write_counts()
end

local function in_seconds(following) return following and string.format('%.6f', math.max(0, following - now)) or '' end
