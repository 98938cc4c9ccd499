-- Fields and rings that mean nothing any more.

local function tidy_counts()
  local all = call('HGETALL', P .. 'counts')
  for i = 1, #all, 2 do
    if all[i + 1] == '0' then
      call('HDEL', P .. 'counts', all[i])
      local queue = string.match(all[i], '^%a+:(.*)$')
      if call('EXISTS', P .. 'levels:' .. queue) == 0 then call('DEL', P .. 'wake:' .. queue) end -- rung for nothing
    end
  end
end
