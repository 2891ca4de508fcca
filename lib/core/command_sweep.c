/* Rows of commands whose device was deleted, hourly and on the pump's thread: from device to device, not
 * from row to row. */
#include <string.h>

#include "core/command_rows.h"

enum {
    ROUND_MS = 3600000,
    TURN_MS = 20, /* between two turns of a round: commits go between */
    SEEKS = 64    /* devices of one turn */
};

static int first_row(void *user, const struct tpc_row *row)
{
    *(uint64_t *) user = row->id;
    return 0;
}

/* The next device that has rows; 0 = there is none. Returns 0 or what the store says. */
static int next_device(struct tpc_core *core, uint64_t after, uint64_t *ret)
{
    struct tpi_part *part = core->entities_part;
    char key[TPI_COMMAND_OF_BYTES];
    tpi_command_of_key(after, NULL, key);
    key[16] = 'g'; /* above all digits */
    struct tpc_store_query q = { .size = sizeof(q),
                                 .space = TPC_SPACE_RECORD,
                                 .kind = TPC_STR("command_of"),
                                 .after_key = { key, 17 },
                                 .limit = 1 };
    *ret = 0;
    return part->ops->store.query(part->self, &q, first_row, ret);
}

static bool is_there(struct tpc_core *core, uint64_t device_id)
{
    tpi_registry_read_lock(core->registry);
    bool there = tpi_registry_by_id(core->registry, device_id) != NULL;
    tpi_registry_read_unlock(core->registry);
    return there;
}

void tpi_command_sweep_open(struct tpc_core *core)
{
    core->pump.sweep_after = 0;
    core->pump.sweep_next_ms = tpi_mono_ms(&core->env) + ROUND_MS;
}

void tpi_command_sweep(struct tpc_core *core)
{
    struct tpi_pump *p = &core->pump;
    uint64_t now = tpi_mono_ms(&core->env);
    uint64_t device_id = 0;
    if (now < p->sweep_next_ms) {
        return;
    }
    for (int i = 0; i < SEEKS; i++) {
        int rc = next_device(core, p->sweep_after, &device_id);
        if (rc == 0 && device_id > p->sweep_after && !is_there(core, device_id)) {
            rc = tpi_command_rows_trim(core, device_id, 0);
        }
        if (rc < 0 || device_id <= p->sweep_after) { /* the store's trouble, or the end */
            tpi_command_sweep_open(core);
            return;
        }
        p->sweep_after = device_id - (rc > 0); /* it may have more */
    }
    p->sweep_next_ms = now + TURN_MS;
}

uint64_t tpi_command_sweep_due_ms(struct tpc_core *core)
{
    uint64_t now = tpi_mono_ms(&core->env);
    return core->pump.sweep_next_ms > now ? core->pump.sweep_next_ms - now : 0;
}
