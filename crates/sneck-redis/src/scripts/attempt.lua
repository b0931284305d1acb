-- Try once; on request, join the queue or keep one's place in it.
-- ARGV: 3 for how long it would be held, in ms; 4 'queue' or 'try'; 5 how long a place in the queue is kept without a word, in ms; 6 who it is, for those who look.
-- Answers {1, token}, or {0, how it is held, what stands there, ms until that ends if nobody says anything or -1, id and record of those who hold it…}.
local life, stay, facts = ARGV[3], ARGV[5], ARGV[6]
local shares = is_shared(id)

-- 1. A question gets no answer, and its claimant gives up, over another connection. 2. The network delivers the question after all.
if call('EXISTS', family .. 'gone:' .. id) == 1 then
  return redis.error_reply('GONE this claimant has given up')
end

local state, value = holding()

-- 1. It is granted. 2. The answer is lost. 3. It is asked again, under the same name.
if value == 'sneck:' .. id or (state == 'shared' and call('ZSCORE', readers, id)) then
  local record = call('GET', about(id))
  local token = record and string.match(record, '^(%d+) ') or draw()
  call('SET', about(id), token .. ' ' .. digits(now) .. ' ' .. facts, 'PX', life)
  if shares then
    call('ZADD', readers, digits(now + life), id)
    settle()
  else
    call('PEXPIRE', lock, life)
  end
  return { 1, token }
end

local ahead = first()
local is_next = not ahead or ahead == id

if is_next and (state == 'free' or (state == 'shared' and shares)) then
  local token = draw()
  call('SET', about(id), token .. ' ' .. digits(now) .. ' ' .. facts, 'PX', life)
  if ahead then
    call('ZREM', queue, id)
  end
  if shares then
    if state == 'free' then
      call('DEL', readers)
      call('SET', lock, SHARED)
    end
    call('ZADD', readers, digits(now + life), id)
    settle()
    -- The next one may be a reader too.
    advance('shared')
  else
    call('SET', lock, 'sneck:' .. id, 'PX', life)
  end
  return { 1, token }
end

if ARGV[4] == 'queue' then
  if not call('ZSCORE', queue, id) then
    local last = call('ZRANGE', queue, -1, -1, 'WITHSCORES')[2]
    call('ZADD', queue, digits(math.max(micros, (tonumber(last) or 0) + 1)), id)
    ahead = ahead or id
    is_next = ahead == id
  end
  call('SET', about(id), '0 ' .. digits(now) .. ' ' .. facts, 'PX', stay)
  -- All are gone by then.
  call('PEXPIRE', queue, 60000)
end
if not is_next then
  -- Whoever was woken may have died since, and those after it are to know.
  advance(state)
end

-- A holder that falls silent ends by itself, and whoever is next looks then.
local left = -1
if is_next and state == 'shared' then
  left = latest() - now
elseif is_next then
  left = call('PTTL', lock)
end

local answer = { 0, state, value, left }
local function name(who)
  answer[#answer + 1] = who
  answer[#answer + 1] = call('GET', about(who)) or ''
end
if state == 'alone' then
  name(string.sub(value, 7))
elseif state == 'shared' then
  for _, who in ipairs(call('ZRANGE', readers, 0, 15)) do
    name(who)
  end
end
return answer
