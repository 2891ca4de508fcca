#include "rules/script.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "registry/lua.h"
#include "rules/rules_state.h"

struct script {
    struct tpi_expr_script base; /* first */
    const struct tpc_allocator *alloc;
    struct tpi_lua lua;
    atomic_bool warned; /* its failure was logged */
};

static const struct tpi_lua_wrap condition = {
    .origin = "rules",
    .unusable = "the module lua cannot be used",
    .head = "local J=require('json') local function F(...) ",
    .tail = "\nend function decode() end function encode(w) local p=w.params "
            "local r=F(table.unpack(p.a,1,p.n)) if r==nil then return 'null' end "
            "local s,e=J.encode({r}) if s==nil then error(e,0) end return s end"
};

static const struct tpi_lua_wrap action = {
    .origin = "rules",
    .unusable = "the module lua cannot be used",
    .head =
        "local J=require('json') local L local rule={} "
        "local function P(p) if type(p)=='table' and next(p)==nil then return nil end return p end "
        "function rule.command(d,s,p) L[#L+1]={command={device=d,service=s,params=P(p)}} end "
        "function rule.notify(h,p,d) L[#L+1]={notify={handler=h,params=P(p),device=d}} end "
        "function rule.alert(k,s,t,d) L[#L+1]={alert={key=k,severity=s,text=t,device=d}} end "
        "function rule.clear(k,d) L[#L+1]={clear={key=k,device=d}} end "
        "local function F(params,device) ",
    .tail = "\nend function decode() end function encode(w) L={} "
            "local r=F(w.params or {},{key=w.device,product=w.product}) "
            "if type(r)=='table' then for _,x in ipairs(r) do L[#L+1]=x end "
            "elseif r~=nil then error('the script returned a '..type(r)..', not a list of "
            "actions',0) end "
            "if #L==0 then return '[]' end "
            "local s,e=J.encode(L) if s==nil then error(e,0) end return s end"
};

/* ---- opening ---- */

static void close_script(struct tpi_expr_script *base)
{
    struct script *s = (struct script *) (void *) base;
    tpi_lua_close(&s->lua);
    tpi_free(s->alloc, s, sizeof(*s));
}

static int open_script(struct tpi_registry *registry, const struct tpi_lua_wrap *wrap,
                       struct tpc_str code, struct tpc_error *err, struct tpi_expr_script **ret)
{
    if (code.len > TPI_SCRIPT_CODE_BYTES) {
        return tpi_error_set(err, TPC_ETOOBIG, "rules", "a script of more than %d bytes",
                             TPI_SCRIPT_CODE_BYTES);
    }
    const struct tpc_allocator *alloc = tpi_registry_allocator(registry);
    struct script *s = tpi_alloc_zero(alloc, sizeof(*s));
    if (s == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "rules", "no memory for a script");
    }
    s->base.close = close_script;
    s->alloc = alloc;
    atomic_init(&s->warned, false);
    int rc = tpi_lua_open(registry, wrap, code, err, &s->lua);
    if (rc != 0) {
        tpi_free(alloc, s, sizeof(*s));
        return rc;
    }
    *ret = &s->base;
    return 0;
}

int tpi_script_open(void *registry, struct tpc_str code, struct tpc_error *err,
                    struct tpi_expr_script **ret)
{
    return open_script(registry, &condition, code, err, ret);
}

int tpi_script_open_action(void *registry, struct tpc_str code, struct tpc_error *err,
                           struct tpi_expr_script **ret)
{
    return open_script(registry, &action, code, err, ret);
}

/* ---- running ---- */

static int failed(struct tpi_rules *r, struct script *s, int rc, const struct tpc_error *err)
{
    TPI_METRIC_ADD(r->counters.scripts_failed, 1);
    if (!atomic_exchange_explicit(&s->warned, true, memory_order_relaxed)) {
        tpi_log(r->env, TPC_LOG_WARN, "rules", "a script failed: %s", err->text);
    }
    return rc;
}

static int run(struct tpi_rules *r, uint32_t worker, struct script *s, struct tpc_encode *what,
               struct tpc_value *ret)
{
    struct tpc_arena *arena = r->workers[worker].script_arena;
    uint32_t place = r->host.script_place != 0 ? r->host.script_place : worker;
    struct tpc_error err = { .text = "" };
    tpc_arena_reset(arena);
    if (s->lua.program == NULL) {
        return TPC_EUNSUPPORTED;
    }
    int rc = tpi_lua_run(&s->lua, place, what, arena, &err, ret);
    TPI_METRIC_ADD(r->counters.scripts, 1);
    return rc == 0 ? 0 : failed(r, s, rc, &err);
}

int tpi_script_run(struct tpi_rules *r, uint32_t worker, struct tpi_expr_script *script,
                   struct tpc_str product, struct tpc_str device, const struct tpc_value *params,
                   struct tpc_value *ret)
{
    struct tpc_encode what = { .product = product, .device = device, .params = *params };
    return run(r, worker, (struct script *) (void *) script, &what, ret);
}

/* What an expression gets: no lists and maps. */
static bool give(const struct tpc_value *v, struct tpi_expr_scratch *scratch, struct tpc_value *ret)
{
    if (v->type == TPC_ARRAY || v->type == TPC_MAP) {
        return false;
    }
    *ret = *v;
    if (v->type != TPC_TEXT || v->len == 0) {
        return true;
    }
    struct tpc_buf room = tpi_expr_rest(scratch);
    room.need = v->len;
    int rc = room.ptr == NULL || room.need > room.cap ? TPC_ETOOBIG : 0;
    if (rc == 0) {
        memcpy(room.ptr, v->as.text, v->len);
        ret->as.text = (const char *) room.ptr;
    }
    return tpi_expr_took(scratch, &room, rc);
}

bool tpi_script_call(struct tpi_rules *r, uint32_t worker, struct tpi_expr_script *script,
                     const struct tpc_value *args, uint32_t count, struct tpi_expr_scratch *scratch,
                     struct tpc_value *ret)
{
    const struct tpc_member members[] = {
        { TPC_STR("a"), { .type = TPC_ARRAY, .len = count, .as.items = args } },
        { TPC_STR("n"), { .type = TPC_INT, .as.i = count } },
    };
    struct tpc_encode what = { .params = { .type = TPC_MAP, .len = 2, .as.members = members } };
    struct tpc_value list;
    if (run(r, worker, (struct script *) (void *) script, &what, &list) != 0 ||
        list.type != TPC_ARRAY || list.len != 1) {
        return false;
    }
    return give(&list.as.items[0], scratch, ret);
}
