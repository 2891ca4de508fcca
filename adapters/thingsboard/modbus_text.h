/*
 * Parameters of the reserved methods get and set of a Modbus device, as ThingsBoard's users write them, into
 * those of the service `raw` of adapter modbus (contract 2.3).
 */
#ifndef THINGSBOARD_MODBUS_TEXT_H
#define THINGSBOARD_MODBUS_TEXT_H

#include <stdbool.h>
#include <tpcore/arena.h>
#include <tpcore/bytes.h>
#include <tpcore/value.h>

/*
 * text: "type=16int;functionCode=6;objectsCount=1;address=2;value=5;". set: of the method set; else what it
 * writes is refused. Returns 0 and a map (views into text and arena), TPC_EINVAL with the reason, or TPC_ENOMEM.
 */
int tb_modbus_text(struct tpc_arena *arena, struct tpc_str text, bool set, struct tpc_value *ret,
                   const char **ret_why);

#endif
