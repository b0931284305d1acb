-- Take it from exactly those who were seen, tell them, and let the next one in with a higher token. ARGV: 3 what stood there, 4… the readers' ids.
-- Answers 1, or 0 if it is not as it was seen.
local state, value = holding()
if state == 'free' or value ~= ARGV[3] then
  return 0
end
local gone = {}
if state == 'shared' then
  if call('ZCARD', readers) ~= #ARGV - 3 then
    return 0
  end
  for at = 4, #ARGV do
    if not call('ZSCORE', readers, ARGV[at]) then
      return 0
    end
    gone[#gone + 1] = ARGV[at]
  end
elseif state == 'alone' then
  gone[1] = string.sub(value, 7)
end
call('DEL', lock, readers)
draw()
for _, who in ipairs(gone) do
  call('DEL', about(who))
  call('PUBLISH', channel(who), 'lost ' .. who)
end
advance('free')
return 1
