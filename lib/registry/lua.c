#include "registry/lua.h"

#include <tpcore/json.h>

#include "base/buf.h"
#include "base/error.h"

static int compile(struct tpi_lua *lua, const struct tpc_allocator *alloc,
                   const struct tpi_lua_wrap *wrap, struct tpc_str code, struct tpc_error *err)
{
    struct tpi_buf text;
    tpi_buf_init(&text, alloc, 0);
    int rc = tpi_buf_text(&text, tpc_str_from(wrap->head));
    rc = rc != 0 ? rc : tpi_buf_text(&text, code);
    rc = rc != 0 ? rc : tpi_buf_text(&text, tpc_str_from(wrap->tail));
    if (rc != 0) {
        tpi_buf_fini(&text);
        return tpi_error_set(err, rc, wrap->origin, "no memory for a script");
    }
    const struct tpc_member members[] = {
        { TPC_STR("type"), { .type = TPC_TEXT, .len = 3, .as.text = "lua" } },
        { TPC_STR("script"),
          { .type = TPC_TEXT, .len = text.len, .as.text = (const char *) text.ptr } },
    };
    struct tpc_codec_source source = {
        .size = sizeof(source), .config = { .type = TPC_MAP, .len = 2, .as.members = members }
    };
    rc = lua->ops->compile(lua->self, &source, err, &lua->program);
    tpi_buf_fini(&text);
    return rc;
}

int tpi_lua_open(struct tpi_registry *registry, const struct tpi_lua_wrap *wrap,
                 struct tpc_str code, struct tpc_error *err, struct tpi_lua *ret)
{
    struct tpi_lua lua = { NULL, NULL, NULL };
    int rc = tpi_registry_codec(registry, TPC_STR("lua"), &lua.ops, &lua.self);
    if (rc == TPC_ENOENT) {
        return tpi_error_set(err, TPC_EUNSUPPORTED, wrap->origin,
                             "a script needs the module lua, which is not there");
    }
    if (rc != 0) {
        return tpi_error_set(err, rc, wrap->origin, "%s", wrap->unusable);
    }
    if (lua.ops->compile != NULL && lua.ops->encode != NULL) {
        rc = compile(&lua, tpi_registry_allocator(registry), wrap, code, err);
    }
    if (rc == 0) {
        *ret = lua;
    }
    return rc;
}

void tpi_lua_close(struct tpi_lua *lua)
{
    if (lua->program != NULL) {
        lua->ops->release(lua->self, lua->program);
    }
}

int tpi_lua_run(const struct tpi_lua *lua, uint32_t place, struct tpc_encode *what,
                struct tpc_arena *arena, struct tpc_error *err, struct tpc_value *ret)
{
    struct tpc_bytes said;
    what->size = sizeof(*what);
    what->kind = TPC_MSG_COMMAND;
    int rc = lua->ops->encode(lua->self, place, lua->program, what, arena, err, &said);
    if (rc != 0) {
        return rc;
    }
    return tpc_json_parse(arena, (struct tpc_str){ (const char *) said.ptr, said.len }, 0, err,
                          ret);
}
