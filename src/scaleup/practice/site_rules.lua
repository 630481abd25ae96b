-- The rules of a site, as job_submit.lua of the stand-in. What they are is in the tables above, written by
-- scaleup.practice.stand_in from data/machines.yml. Limits of Slurm's partitions are in slurm.conf.

local INVALID_PARTITION, INVALID_TIME, POLICY, INVALID_QOS = 2000, 2051, 2050, 2066
local NOT_PERMITTED, INVALID_GRES = 2018, 2072
local NONE, NONE16 = 4294967294, 65534

local function given(number)
  if number == nil or number == NONE or number == NONE16 or number == 0 then return nil end
  return number
end

local function sorted_names(set)
  local found = {}
  for name in pairs(set) do
    if name == "" then name = "none" elseif name == settings.own_qos then name = "the account's name" end
    table.insert(found, name)
  end
  table.sort(found)
  return table.concat(found, ", ")
end

-- "4" of "gres:gpu:a100:4"; 1 where no number stands; nil without devices.
local function devices_in(text)
  if text == nil then return nil end
  for part in string.gmatch(text, "[^,]+") do
    if string.match(part, "gpu") then return tonumber(string.match(part, ":(%d+)$") or "1") end
  end
  return nil
end

-- Of the whole job, where the request says it: total, and per node.
local function devices_of(job, nodes, tasks)
  local each = devices_in(job.tres_per_node)
  if each then return each * nodes, each end
  local all = devices_in(job.tres_per_job)
  if all then return all, nil end
  each = devices_in(job.tres_per_task)
  if each then return each * tasks, nil end
  if devices_in(job.tres_per_socket) then return nil, nil end
  return 0, 0
end

local function tasks_of(job, nodes)
  local every, each = given(job.num_tasks), given(job.ntasks_per_node)
  if each and (not every or every <= nodes) then return each * nodes end
  return every or nodes
end

-- How many jobs "0-9,20%5" are.
local function jobs_of(array)
  local count = 0
  for part in string.gmatch(string.gsub(array, "%%.*", ""), "[^,]+") do
    local first, last, step = string.match(part, "^(%d+)%-(%d+):?(%d*)$")
    if first then
      count = count + math.floor((tonumber(last) - tonumber(first)) / (tonumber(step) or 1)) + 1
    else
      count = count + 1
    end
  end
  return count
end

-- A type of device where the data name none, and what only the site itself could judge.
local function leave_out_what_is_unknown(job)
  if settings.device_type == nil then
    for _, field in ipairs({ "tres_per_node", "tres_per_job", "tres_per_task", "tres_per_socket" }) do
      local text = job[field]
      if text ~= nil then job[field] = string.gsub(text, "gpu:%a[%w_%-]*", "gpu") end
    end
  end
  for _, field in ipairs({ "features", "reservation", "req_nodes", "exc_nodes", "licenses", "dependency" }) do
    if job[field] ~= nil then job[field] = "" end
  end
end

local function lacks_mandatory(job)
  local has = {
    account = job.account ~= nil, qos = job.qos ~= nil, time = given(job.time_limit) ~= nil,
    partition = job.partition ~= nil, ["ntasks-per-node"] = given(job.ntasks_per_node) ~= nil,
  }
  for _, name in ipairs({ "account", "partition", "qos", "time", "ntasks-per-node" }) do
    if mandatory[name] and not has[name] then
      slurm.log_user("%s is mandatory here", mandatory[name])
      if name == "account" then return slurm.ESLURM_INVALID_ACCOUNT end
      if name == "qos" then return INVALID_QOS end
      return name == "time" and INVALID_TIME or POLICY
    end
  end
end

local function check_limits(job, target)
  local limit = limits[target] or {}
  local nodes = given(job.min_nodes) or 1
  local tasks = tasks_of(job, nodes)
  local cpus = (given(job.cpus_per_task) or 1) * tasks
  local devices, each = devices_of(job, nodes, tasks)
  if limit.on_request then
    slurm.log_user("partition %s is open to projects that asked for it", target)
    return NOT_PERMITTED
  end
  if limit.jobs and job.array_inx ~= nil and jobs_of(job.array_inx) > limit.jobs then
    slurm.log_user("QOSMaxSubmitJobPerUserLimit: at most %d jobs", limit.jobs)
    return POLICY
  end
  if limit.least_devices and devices == 0 then
    slurm.log_user("a job without a device is rejected here")
    return INVALID_GRES
  end
  if limit.devices and limit.devices > 0 and devices and devices > limit.devices then
    slurm.log_user("QOSMaxGRESPerJob: at most %d devices", limit.devices)
    return POLICY
  end
  if limit.cores and cpus > limit.cores * settings.cpus_per_core then
    slurm.log_user("QOSMaxCpuPerJobLimit: at most %d cores", limit.cores)
    return POLICY
  end
  local share = settings.cores_per_device
  if share and each and given(job.min_nodes) == nil then  -- Slurm takes as many nodes as the cores need
    devices = each * math.max(1, math.ceil(cpus / (settings.cores_per_node * settings.cpus_per_core)))
  end
  if share and devices and devices > 0 and job.shared ~= 0 and cpus ~= devices * share then
    slurm.log_user("%d cores for %d devices: it must be %d for each", cpus, devices, share)
    return POLICY
  end
end

function slurm_job_submit(job, partitions, uid)
  local lacking = lacks_mandatory(job)
  if lacking then return lacking end
  if job.account == nil then
    slurm.log_user("an account is needed: --account")
    return slurm.ESLURM_INVALID_ACCOUNT
  end
  if not string.match(job.account, settings.account) then
    slurm.log_user("account %s has not the form of an account here", job.account)
    return slurm.ESLURM_INVALID_ACCOUNT
  end
  leave_out_what_is_unknown(job)
  if job.partition == nil then job.partition = implied[job.qos or ""] or settings.default_partition end
  if job.partition == nil then return slurm.SUCCESS end  -- Slurm refuses it: there is no default
  local chosen = {}
  for name in string.gmatch(job.partition, "[^,]+") do
    local row = queues[name]
    if others[name] then
      row = { [job.qos or ""] = name }
    elseif row == nil then
      slurm.log_user("no partition %s; there are: %s", name, sorted_names(queues))
      return INVALID_PARTITION
    end
    local qos = job.qos or ""
    if row[qos] == nil and qos == "normal" then qos = "" end  -- the QOS that every Slurm has
    local target = row[qos] or (qos == job.account and row[settings.own_qos])
    if not target then
      slurm.log_user("no such QOS in partition %s; there are: %s", name, sorted_names(row))
      return INVALID_QOS
    end
    local refusal = check_limits(job, target)
    if refusal then return refusal end
    table.insert(chosen, target)
  end
  job.partition = table.concat(chosen, ",")
  job.qos = ""
  return slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, uid)
  return slurm.SUCCESS
end

return slurm.SUCCESS
