local ffi = require "ffi"
local c = require "spec.support.c"
local script = require "spec.support.script"

local C = c.load { "base/err.h", "base/mem.h", "model/event.h", "model/handler.h", "lua/lua_host.h", "app/loader.h" }

local FILES = {
  ["projections/orders.lua"] = "projection 'orders' { on = { t = function() end } }",
  ["projections/broken.lua"] = "projection 'broken' { onn = {} }",
  ["scripts/reducers/order.lua"] = "reducer 'order' { aggregate = 'order', on = { t = function() end } }",
  ["scripts/reducers/money.lua"] = "reducer 'money' { aggregate = 'order', on = { t = function() end } }",
  ["scripts/reducers/device.lua"] = "reducer 'device' { aggregate = 'device', on = { t = function() end } }",
  ["scripts/reducers/one.lua"] = "reducer 'one' { aggregate = 'ticket', on = { t = function() end } }",
  ["scripts/reducers/two.lua"] = "reducer 'two' { aggregate = 'ticket', on = { t = function() end } }",
}

describe("the loader", function()
  teardown(script.clean)
  local err = ffi.new("Err")
  local dir

  local function options(files)
    dir = script.workspace(files)
    return ffi.new("LuaOptions", { workspace = dir })
  end

  --- The script that was opened, as "projection orders", or the error.
  local function told(h)
    if h == nil then
      return ffi.string(err.message)
    end
    local def = h.ops.definition(h)
    local text = (def.kind == C.KIND_REDUCER and "reducer " or "projection ") .. ffi.string(def.name)
    h.ops.close(h)
    return text
  end

  --- "path: ok" or "path: error", for each script.
  local function load(files, from)
    local loaded, list = ffi.new("LoadedScripts"), {}
    assert.is_true(C[from or "loader_load"](options(files), loaded, err), ffi.string(err.message))
    for i = 0, tonumber(loaded.n) - 1 do
      local s = loaded.scripts[i]
      local ok = from and s.err.kind == C.ERR_NONE or s.handler ~= nil
      list[#list + 1] = ffi.string(s.path) .. ": " .. (ok and "ok" or ffi.string(s.err.message))
    end
    C.loader_free(loaded)
    return list
  end

  it("loads projections, then reducers, each in the order of their names", function()
    assert.same({
      "projections/broken.lua: projections/broken.lua:1: projection 'broken': unknown field 'onn' (did you mean 'on'?)",
      "projections/orders.lua: ok", "scripts/reducers/device.lua: ok", "scripts/reducers/money.lua: ok",
      "scripts/reducers/one.lua: ok", "scripts/reducers/order.lua: ok", "scripts/reducers/two.lua: ok",
    }, load(FILES))
  end)

  it("gives a name to one script only", function()
    assert.same({ "projections/order.lua: ok",
      "scripts/reducers/order.lua: scripts/reducers/order.lua: projections/order.lua has the same name (rename one of them)" },
      load { ["projections/order.lua"] = FILES["projections/orders.lua"]:gsub("orders", "order"),
        ["scripts/reducers/order.lua"] = FILES["scripts/reducers/order.lua"] })
  end)

  it("needs one of the folders", function()
    local loaded = ffi.new("LoadedScripts")

    assert.is_false(C.loader_load(options { ["scripts/lib/x.lua"] = "" }, loaded, err))
    assert.matches("there is no folder projections/ or rules/ here %(name the workspace with %-C", ffi.string(err.message))
    assert.equal(1, #load { ["scripts/reducers/order.lua"] = FILES["scripts/reducers/order.lua"] })
  end)

  it("checks upcasters by themselves, and against each other", function()
    local function up(name, of)
      return ("upcaster '%s' { type = '%s', from = 1, up = function() end }"):format(name, of)
    end
    assert.same({ "scripts/upcasters/a.lua: ok",
      "scripts/upcasters/b.lua: scripts/upcasters/b.lua: scripts/upcasters/a.lua takes 'x' from 1, too (keep one of them)",
      "scripts/upcasters/c.lua: ok", "scripts/upcasters/d.lua: scripts/upcasters/d.lua:1: unknown word 'oops'" },
      load({ ["scripts/upcasters/a.lua"] = up("a", "x"), ["scripts/upcasters/b.lua"] = up("b", "x"),
        ["scripts/upcasters/c.lua"] = up("c", "x.*"), ["scripts/upcasters/d.lua"] = "oops()" }, "loader_upcasters"))
  end)

  it("finds one by its name or its file", function()
    local o = options(FILES)
    local cases = {
      { "orders", "projection orders" }, { "projections/orders.lua", "projection orders" },
      { "./projections/orders.lua", "projection orders" }, { "order", "reducer order" }, { "order.lua", "reducer order" },
      { "scripts/reducers/device.lua", "reducer device" }, { dir .. "/scripts/reducers/device.lua", "reducer device" },
      { "oders", "script 'oders': there is no such file in projections/, rules/ or scripts/reducers/ (did you mean 'orders'?)" },
      { "projections/device.lua", "script 'projections/device.lua': there is no such file in projections/, rules/ or scripts/reducers/" },
      { "", "script '': there is no such file in projections/, rules/ or scripts/reducers/" },
      { "broken", "projections/broken.lua:1: projection 'broken': unknown field 'onn' (did you mean 'on'?)" },
    }
    for _, case in ipairs(cases) do
      assert.equal(case[2], told(C.loader_open(o, case[1], err)):sub(1, #case[2]), case[1])
    end
  end)

  it("asks which one, where a projection and a reducer have one name", function()
    local o = options { ["projections/x.lua"] = "", ["scripts/reducers/x.lua"] = "" }

    assert.equal("script 'x': there are several (name its file: projections/x.lua)", told(C.loader_open(o, "x", err)))
  end)

  it("finds the reducer of an aggregate type", function()
    local o = options(FILES)

    assert.equal("reducer device", told(C.loader_reducer(o, "device", nil, err)))
    assert.equal("reducer order", told(C.loader_reducer(o, "order", nil, err)))
    assert.equal("reducer money", told(C.loader_reducer(o, "order", "money", err)))
    assert.equal("several reducers fold aggregates of type 'ticket': one, two (say --reducer NAME)",
      told(C.loader_reducer(o, "ticket", nil, err)))
    assert.equal("no reducer folds aggregates of type 'devise' (did you mean 'device'?)", told(C.loader_reducer(o, "devise", nil, err)))
    assert.equal("no reducer folds aggregates of type 'pallet' (write scripts/reducers/NAME.lua: reducer \"NAME\" { aggregate = "
      .. "\"pallet\", … })", told(C.loader_reducer(o, "pallet", nil, err)))
    assert.equal("reducer 'device' folds aggregates of type 'device', not 'order'", told(C.loader_reducer(o, "order", "device", err)))
    assert.equal("projections/orders.lua is no reducer (reducers are in scripts/reducers/)", told(C.loader_reducer(o, "order", "orders", err)))
    assert.matches("script 'mony': there is no such file .* %(did you mean 'money'%?%)", told(C.loader_reducer(o, "order", "mony", err)))
  end)

  it("says so where the reducer may be one that does not load", function()
    local o = options { ["scripts/reducers/x.lua"] = "reducer 'x' {" }

    assert.matches("no reducer folds aggregates of type 'order' %(one does not load: scripts/reducers/x.lua:1: ",
      told(C.loader_reducer(o, "order", nil, err)))
  end)

  it("reads a stored bundle in place of the folders", function()
    local o = options {}
    local bundle = require("dkjson").encode { ["projections/orders.lua"] = FILES["projections/orders.lua"],
      ["scripts/reducers/order.lua"] = FILES["scripts/reducers/order.lua"] }
    o.files = { bundle, #bundle }

    assert.equal("projection orders", told(C.loader_open(o, "orders", err)))
    assert.equal("reducer order", told(C.loader_reducer(o, "order", nil, err)))
  end)

  it("notices every file that is saved, added or removed", function()
    local o = options { ["projections/a.lua"] = "1", ["scripts/reducers/b.lua"] = "1", ["scripts/upcasters/c.lua"] = "1",
      ["scripts/lib/deep/d.lua"] = "1", ["scripts/other/e.lua"] = "1" }
    local function change(path, text)
      local before = C.loader_signature(o.workspace)
      local file = assert(io.open(dir .. "/" .. path, "wb"))
      file:write(text)
      file:close()
      return before ~= C.loader_signature(o.workspace)
    end

    assert.same({ true, true, true, true, true, false }, { change("projections/a.lua", "12"), change("scripts/reducers/b.lua", "12"),
      change("scripts/upcasters/c.lua", "12"), change("scripts/lib/deep/d.lua", "12"), change("scripts/upcasters/new.lua", ""),
      change("scripts/other/e.lua", "12") })
  end)
end)
