-- Look, and change nothing. Answers {how it is held, what stands there, ms until that ends or -1, {id and record of those who hold it…},
-- {since when, id and record of those who wait…}}.
local state, value = 'free', ''
local left, holders, waiting = call('PTTL', lock), {}, {}
local function name(list, who)
  list[#list + 1] = who
  list[#list + 1] = call('GET', about(who)) or ''
end
local kind = call('TYPE', lock)['ok']
if kind == 'string' then
  value = call('GET', lock)
  state = 'foreign'
elseif kind ~= 'none' then
  state = 'foreign'
end
if value == SHARED then
  for _, who in ipairs(call('ZRANGEBYSCORE', readers, '(' .. digits(now), '+inf')) do
    name(holders, who)
  end
  state = #holders > 0 and 'shared' or 'free'
elseif string.sub(value, 1, #OURS) == OURS then
  state = 'alone'
  name(holders, string.sub(value, 7))
end
local queued = call('ZRANGE', queue, 0, -1, 'WITHSCORES')
for at = 1, #queued, 2 do
  if is_there(queued[at]) then
    waiting[#waiting + 1] = queued[at + 1]
    name(waiting, queued[at])
  end
end
return { state, value, left, holders, waiting }
