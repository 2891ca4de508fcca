#include "tk_clock.h"

static int64_t unix_ms(void *user)
{
    struct tk_clock *c = user;
    return atomic_load(&c->unix_ms);
}

static uint64_t mono_ns(void *user)
{
    struct tk_clock *c = user;
    return atomic_load(&c->mono_ns);
}

static int boot(void *user, struct tpc_id *ret)
{
    const struct tk_clock *c = user;
    *ret = c->boot;
    return 0;
}

void tk_clock_init(struct tk_clock *c, int64_t at_unix_ms)
{
    c->base = (struct tpc_clock){
        .size = sizeof(c->base), .user = c, .unix_ms = unix_ms, .mono_ns = mono_ns, .boot = boot
    };
    c->boot = (struct tpc_id){ { 0 } };
    atomic_init(&c->unix_ms, at_unix_ms);
    atomic_init(&c->mono_ns, UINT64_C(1000000000000));
}

void tk_clock_advance(struct tk_clock *c, uint64_t ms)
{
    atomic_fetch_add(&c->unix_ms, (int64_t) ms);
    atomic_fetch_add(&c->mono_ns, ms * 1000000);
}

void tk_clock_set_unix(struct tk_clock *c, int64_t at_unix_ms)
{
    atomic_store(&c->unix_ms, at_unix_ms);
}
