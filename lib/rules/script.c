#include "rules/script.h"

#include <string.h>
#include <tpcore/json.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/error.h"
#include "rules/rules_state.h"

struct script {
    struct tpi_expr_script base; /* first */
    const struct tpc_allocator *alloc;
    const struct tpc_codec_ops *ops;
    void *self;
    void *program;
    atomic_bool warned; /* its failure was logged */
};

/* All on one line, so that the lines of messages are those of the code. */
static const char condition_head[] = "local J=require('json') local function F(...) ";
static const char condition_tail[] =
    "\nend function decode() end function encode(w) local p=w.params "
    "local r=F(table.unpack(p.a,1,p.n)) if r==nil then return 'null' end "
    "local s,e=J.encode({r}) if s==nil then error(e,0) end return s end";

static const char action_head[] =
    "local J=require('json') local L local rule={} "
    "local function P(p) if type(p)=='table' and next(p)==nil then return nil end return p end "
    "function rule.command(d,s,p) L[#L+1]={command={device=d,service=s,params=P(p)}} end "
    "function rule.notify(h,p,d) L[#L+1]={notify={handler=h,params=P(p),device=d}} end "
    "function rule.alert(k,s,t,d) L[#L+1]={alert={key=k,severity=s,text=t,device=d}} end "
    "function rule.clear(k,d) L[#L+1]={clear={key=k,device=d}} end "
    "local function F(params,device) ";
static const char action_tail[] =
    "\nend function decode() end function encode(w) L={} "
    "local r=F(w.params or {},{key=w.device,product=w.product}) "
    "if type(r)=='table' then for _,x in ipairs(r) do L[#L+1]=x end "
    "elseif r~=nil then error('the script returned a '..type(r)..', not a list of actions',0) end "
    "if #L==0 then return '[]' end "
    "local s,e=J.encode(L) if s==nil then error(e,0) end return s end";

/* ---- opening ---- */

static void close_script(struct tpi_expr_script *base)
{
    struct script *s = (struct script *) (void *) base;
    if (s->program != NULL) {
        s->ops->release(s->self, s->program);
    }
    tpi_free(s->alloc, s, sizeof(*s));
}

static int compile(struct script *s, const char *head, struct tpc_str code, const char *tail,
                   struct tpc_error *err)
{
    struct tpi_buf text;
    tpi_buf_init(&text, s->alloc, 0);
    int rc = tpi_buf_text(&text, tpc_str_from(head));
    rc = rc != 0 ? rc : tpi_buf_text(&text, code);
    rc = rc != 0 ? rc : tpi_buf_text(&text, tpc_str_from(tail));
    if (rc != 0) {
        tpi_buf_fini(&text);
        return tpi_error_set(err, rc, "rules", "no memory for a script");
    }
    const struct tpc_member members[] = {
        { TPC_STR("type"), { .type = TPC_TEXT, .len = 3, .as.text = "lua" } },
        { TPC_STR("script"),
          { .type = TPC_TEXT, .len = text.len, .as.text = (const char *) text.ptr } },
    };
    struct tpc_codec_source source = {
        .size = sizeof(source), .config = { .type = TPC_MAP, .len = 2, .as.members = members }
    };
    rc = s->ops->compile(s->self, &source, err, &s->program);
    tpi_buf_fini(&text);
    return rc;
}

static int open_script(struct tpi_registry *registry, const char *head, struct tpc_str code,
                       const char *tail, struct tpc_error *err, struct tpi_expr_script **ret)
{
    const struct tpc_codec_ops *ops = NULL;
    void *self = NULL;
    if (code.len > TPI_SCRIPT_CODE_BYTES) {
        return tpi_error_set(err, TPC_ETOOBIG, "rules", "a script of more than %d bytes",
                             TPI_SCRIPT_CODE_BYTES);
    }
    int rc = tpi_registry_codec(registry, TPC_STR("lua"), &ops, &self);
    if (rc == TPC_ENOENT) {
        return tpi_error_set(err, TPC_EUNSUPPORTED, "rules",
                             "a script needs the module lua, which is not there");
    }
    if (rc != 0) {
        return tpi_error_set(err, rc, "rules", "the module lua cannot be used");
    }
    const struct tpc_allocator *alloc = tpi_registry_allocator(registry);
    struct script *s = tpi_alloc_zero(alloc, sizeof(*s));
    if (s == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "rules", "no memory for a script");
    }
    s->base.close = close_script;
    s->alloc = alloc;
    s->ops = ops;
    s->self = self;
    atomic_init(&s->warned, false);
    /* A platform that only looks runs no rules, and has no codecs. */
    rc = ops->compile != NULL && ops->encode != NULL ? compile(s, head, code, tail, err) : 0;
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
    return open_script(registry, condition_head, code, condition_tail, err, ret);
}

int tpi_script_open_action(void *registry, struct tpc_str code, struct tpc_error *err,
                           struct tpi_expr_script **ret)
{
    return open_script(registry, action_head, code, action_tail, err, ret);
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
    struct tpc_bytes said;
    what->size = sizeof(*what);
    what->kind = TPC_MSG_COMMAND;
    tpc_arena_reset(arena);
    if (s->program == NULL) {
        return TPC_EUNSUPPORTED;
    }
    int rc = s->ops->encode(s->self, place, s->program, what, arena, &err, &said);
    if (rc == 0) {
        struct tpc_str text = { (const char *) said.ptr, said.len };
        rc = tpc_json_parse(arena, text, 0, &err, ret);
    }
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
